//! How a frame was judged, by the program in the kernel or by the same code here.

use xdp_common::image::Action;
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
    /// The headers that were read; `None` if the frame is malformed.
    pub packet: Option<Packet>,
    /// The frame as it is sent on; `None` if that is how it came in.
    pub changed: Option<Vec<u8>>,
}
