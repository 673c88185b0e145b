//! How a frame was judged, by the program in the kernel or by the same code here.

use xdp_common::filter::effect::Effect;
use xdp_common::filter::limits::{Answer as Asked, Limiting};
use xdp_common::filter::order::{Scratch, onward};
use xdp_common::filter::replies::Reply;
use xdp_common::filter::services::{Told, Work};
use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::filter::tracking::By;
use xdp_common::image::Action;
use xdp_common::lookup::services::Lost;
use xdp_common::packet::Packet;
use xdp_common::packet::dns::Unreadable;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};

/// How a frame was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The counter of the list that decided, or that only counted the frame.
    pub list: CounterId,
    /// The counter of the list of names that decided, or that let the message go on.
    pub domain: CounterId,
    /// Why the question of a DNS message could not be read; `None` if it could, or was not asked
    /// for.
    pub unreadable: Option<Unreadable>,
    /// The number of the counter of the run-time entry that decided; 0 if none did.
    pub entry: u32,
    /// The action of the rule that decided; `None` if no rule did.
    pub action: Option<Action>,
    /// The counter of the rule that decided, or that let the packet in to its service.
    pub rule: CounterId,
    /// What the limits said of the rules with limits that were asked, in their order.
    pub limits: Vec<Asked>,
    /// What the service did with it that took it; `None` if none did.
    pub served: Option<Served>,
    /// What was found out of the sockets that it may answer; `None` if they were not asked about.
    pub reply: Option<Reply>,
    /// What became of a SYN, where a rule decided that answers those.
    pub syn_cookie: Option<Outcome>,
    /// The headers that were read; `None` if the frame is malformed.
    pub packet: Option<Packet>,
    /// The frame as it is sent on; `None` if that is how it came in.
    pub changed: Option<Vec<u8>>,
}

impl Answer {
    /// Whether a run-time entry decided, or let the packet in to its service.
    pub fn has_entry(&self) -> bool {
        match self.reason {
            Reason::Allowed | Reason::Banned => true,
            Reason::Service => self.entry != 0,
            _ => false,
        }
    }
}

/// What was found out of the sockets that a packet may answer; `None` if they were not asked about.
pub fn reply(reason: Reason, scratch: &Scratch) -> Option<Reply> {
    let asked =
        scratch.onward & onward::REPLIES != 0 && matches!(reason, Reason::Reply | Reason::Default);
    asked.then_some(scratch.reply)
}

/// What a service did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The counter of the service.
    pub service: CounterId,
    /// That of its backend; none where it has none that takes the packet.
    pub backend: CounterId,
    /// How the backend was chosen; `None` if it is the one that sent the packet.
    pub by: Option<By>,
    /// Why the packet did not get there, or not by itself.
    pub lost: Option<Lost>,
    /// Index of the interface that it leaves by; `None` if it does not, or if that is not known.
    pub to: Option<u32>,
}

impl Served {
    /// Of a packet that was judged for that reason; `None` if no service took it.
    pub fn of(verdict: Verdict, reason: Reason, told: Told) -> Option<Self> {
        if reason != Reason::Service {
            return None;
        }
        let leaves = matches!(verdict, Verdict::Tx | Verdict::Redirect) && told.to != 0;
        let is_chosen = told.work == Work::Forward as u32;
        Some(Self {
            service: told.service,
            backend: told.backend,
            by: By::ALL.into_iter().find(|by| is_chosen && *by as u32 == told.by),
            lost: Lost::ALL.into_iter().find(|lost| *lost as u32 == told.lost),
            to: leaves.then_some(told.to),
        })
    }
}

/// What the limits said.
pub fn limits(effect: &Effect, limiting: &Limiting) -> Vec<Asked> {
    limiting.answers.iter().take(effect.limits as usize).copied().collect()
}
