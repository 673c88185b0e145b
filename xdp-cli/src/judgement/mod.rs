//! Judges frames in user space, and names what decided them. The names are used for the kernel's
//! answers too.
//!
//! The judgement is the program's own code (`xdp_common::filter::order`), compiled for the host, on
//! the same image, so it cannot differ from the program's. Only [`judge`] knows how that code is
//! called. No kernel is asked here, so a ruleset need not be in force to be asked about.

pub mod answer;
pub mod dns;
mod limits;
pub mod names;
pub mod reach;
mod serving;
pub mod sockets;

use xdp_common::filter::dynamic::{Deciding, DynamicEntries, EntryAction};
use xdp_common::filter::order::{self, Scratch, onward};
use xdp_common::filter::replies::{self, Found};
use xdp_common::filter::serve;
use xdp_common::filter::services::Told;
use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::image::Action;
use xdp_common::packet::dns::Unreadable;
use xdp_common::packet::syn_ack::is_answerable;
use xdp_common::packet::{LinkType, Network};
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::image::Image;
use crate::views::entries::Kind;
use crate::views::explain::Explained;
use crate::views::explain::entries::Address;
use answer::{Answer, Served};
use names::{Names, RunTime, addresses};
use sockets::Sockets;

/// Run-time entries to judge by: for each source that is asked about, the entry that decides.
#[derive(Clone, Debug, Default)]
pub struct RunTimeEntries(Vec<(Address, RunTime)>);

impl RunTimeEntries {
    /// Adds the entry that decides about a source.
    pub fn insert(&mut self, source: Address, entry: RunTime) {
        self.0.push((source, entry));
    }

    fn of_source(&self, source: Address) -> Option<&RunTime> {
        self.0.iter().find(|(of, _)| *of == source).map(|(_, entry)| entry)
    }
}

impl DynamicEntries for RunTimeEntries {
    fn deciding(&self, network: Network, source: [u64; 2]) -> Deciding {
        let entry = names::address(network, source).and_then(|source| self.of_source(source));
        let action = match entry.map(|entry| entry.kind) {
            None => EntryAction::NONE,
            Some(Kind::Allow) => EntryAction::ALLOWED,
            Some(Kind::Block) => EntryAction::BLOCKED,
        };
        // No counter (0): nobody really sent this frame.
        Deciding::new(action, 0)
    }
}

/// Judges a frame that came in over a link of that type. Assumes that every redirect is possible, and that
/// the host has nothing open.
pub fn judge(
    image: &Image,
    entries: &impl DynamicEntries,
    link_type: LinkType,
    frame: &[u8],
) -> Answer {
    judge_beside(image, entries, &Sockets::default(), link_type, frame)
}

/// The same on a host that has these sockets.
pub fn judge_beside(
    image: &Image,
    entries: &impl DynamicEntries,
    sockets: &Sockets,
    link_type: LinkType,
    frame: &[u8],
) -> Answer {
    let mut scratch = Scratch::LEFT_BEHIND;
    scratch.read(link_type, frame);
    let mut names = dns::Names::new(frame);
    order::judge(image, entries, &mut names, image.header(), &mut scratch);
    let is_asked = |of: u32| scratch.onward & of != 0;
    let (asks_services, asks_replies) = (is_asked(onward::SERVICES), is_asked(onward::REPLIES));
    let answers_syns = is_asked(onward::SYN_COOKIE);
    let sent = match asks_services {
        false => None,
        true => serving::serve(image, image.header(), frame, &mut scratch),
    };
    if asks_replies && replies::concerns(&scratch.packet, scratch.effect.decision) {
        let Scratch { packet, serving, reply, effect, .. } = &mut scratch;
        let about = &mut serving.about;
        if replies::judge(&mut &*sockets, image.header(), frame, packet, about, reply) {
            effect.decision = replies::PASS;
        } else if !sockets.are_known
            && matches!(
                Found::of(reply.found),
                Some(Found::NoSocket | Found::Protocol | Found::Pace)
            )
        {
            reply.found = Found::Unknown as u32;
        }
    }
    if answers_syns {
        answer_syn(frame, &mut scratch);
    }
    let Scratch { packet, effect, .. } = &mut scratch;
    let answered = effect.is_answered().then(|| names.answered(packet, effect)).flatten();
    if effect.is_answered() && answered.is_none() {
        effect.decision = effect.decision.dropped();
    }
    let broken = (Verdict::Aborted, Reason::Default);
    let (verdict, reason) = scratch.effect.decision.parts().unwrap_or(broken);
    let reply = answer::reply(reason, &scratch);
    let Scratch { packet, malformed, effect, serving, limiting, .. } = scratch;
    let by_rule = reason == Reason::Rule;
    let syn_cookie = Outcome::of(&effect);
    let rewritten = || {
        let leaves = by_rule && effect.leaves() && syn_cookie.is_none();
        leaves.then(|| rewritten(&effect.action, link_type, frame)).flatten()
    };
    Answer {
        verdict,
        reason,
        list: effect.list,
        domain: effect.domain,
        unreadable: Unreadable::of(effect.unreadable),
        entry: effect.entry,
        action: (reason == Reason::Rule).then_some(effect.action),
        rule: effect.rule,
        limits: answer::limits(&effect, &limiting),
        served: Served::of(verdict, reason, Told::of(&serving)),
        reply,
        syn_cookie,
        packet: (malformed == 0).then_some(packet),
        changed: sent.or(answered).or_else(rewritten),
    }
}

/// What becomes of a SYN where somebody listens, and where cookies are needed.
fn answer_syn(frame: &[u8], scratch: &mut Scratch) {
    let Scratch { packet, effect, .. } = scratch;
    // The kernel wants TCP's header whole, wherever the packet ends by its own word.
    let is_whole = packet.parts.payload as usize <= frame.len();
    let outcome = match is_whole && is_answerable(packet, serve::before(frame, packet)) {
        true => Outcome::Answered,
        false => Outcome::Odd,
    };
    effect.answer = outcome as u32;
    effect.decision = outcome.decision();
}

/// The frame with the MAC addresses that the action writes; `None` if that changes nothing.
fn rewritten(action: &Action, link_type: LinkType, frame: &[u8]) -> Option<Vec<u8>> {
    if link_type != LinkType::Ethernet {
        return None;
    }
    let mut changed = frame.to_vec();
    if action.set_source_mac != 0 {
        changed.get_mut(6..12)?.copy_from_slice(&action.source_mac);
    }
    if action.set_destination_mac != 0 {
        changed.get_mut(..6)?.copy_from_slice(&action.destination_mac);
    }
    (changed != frame).then_some(changed)
}

/// Judges a frame, and names the list or rule and the entry that decide it.
pub fn explain(
    image: &Image,
    names: &mut Names,
    entries: &RunTimeEntries,
    link_type: LinkType,
    frame: &[u8],
) -> Explained {
    explain_beside(image, names, entries, &Sockets::default(), link_type, frame)
}

/// The same on a host that has these sockets.
pub fn explain_beside(
    image: &Image,
    names: &mut Names,
    entries: &RunTimeEntries,
    sockets: &Sockets,
    link_type: LinkType,
    frame: &[u8],
) -> Explained {
    let answer = judge_beside(image, entries, sockets, link_type, frame);
    let source = answer.packet.as_ref().and_then(addresses).map(|(source, _)| source);
    let entry = source.and_then(|source| entries.of_source(source));
    names.explained(&answer, entry, link_type, frame)
}
