//! From a packet to its verdict: the order of judgement, from top to bottom.

use crate::filter::dynamic::DynamicEntries;
use crate::filter::effect::{Decision, Effect, Stage, policy};
use crate::filter::limits::{AskLimits, Judged, Limiting};
use crate::filter::replies::Reply;
use crate::filter::rules::Classes;
use crate::filter::services::{Serving, asked};
use crate::filter::{
    arp, bypass, caught, domains, dynamic, fragments, limits, lists, replies, rules, services,
    syn_cookie,
};
use crate::image::{Header, Lines, flag};
use crate::packet::{self, LinkType, Network, Packet, PacketBytes};
use crate::stats::verdict::Reason;
use crate::verifier::launder;

/// What is known of the packet that is being judged. In the kernel it lies in a per-CPU map, for
/// the reason that [`crate::verifier::launder`] gives. Fields that a packet lacks keep the previous
/// packet's values.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// What was read of the packet.
    pub packet: Packet,
    /// The generation of the ruleset by which it is judged, once another program goes on with it.
    pub generation: u64,
    /// Length of the frame with all its buffers, in bytes.
    pub length: u32,
    /// Whether it is malformed: 0 or 1. Then nothing is known of it but its length.
    pub malformed: u32,
    /// Always 0, but the verifier does not know that: adding it makes the verifier forget a range, so
    /// states merge.
    pub zero: u32,
    /// Who else is asked about it: see [`onward`].
    pub onward: u32,
    /// Not 0 if the ruleset that judged before has [`flag::ORDINARY`].
    pub ordinary: u32,
    pub unused: u32,
    /// Whether this is a question, which remembers nothing: 0 or 1. Written by the command line alone.
    pub question: u32,
    /// What a service does with it.
    pub serving: Serving,
    /// Whether it answers what this host has open.
    pub reply: Reply,
    /// The classes of its fields.
    pub classes: Classes,
    /// What the limits of its rules say.
    pub limiting: Limiting,
    /// What becomes of it.
    pub effect: Effect,
}

impl Scratch {
    /// A scratch with what another packet left in it, for tests and for judging in user space.
    pub const LEFT_BEHIND: Self = Self {
        packet: Packet::LEFT_BEHIND,
        generation: u64::MAX,
        length: 0,
        malformed: 1,
        zero: 0,
        onward: u32::MAX,
        ordinary: 0,
        unused: 0,
        question: 0,
        serving: Serving::LEFT_BEHIND,
        reply: Reply::LEFT_BEHIND,
        classes: Classes::LEFT_BEHIND,
        limiting: Limiting::LEFT_BEHIND,
        effect: Effect::LEFT_BEHIND,
    };

    /// Reads a frame of a link of that type into it.
    #[inline(always)]
    pub fn read<P: PacketBytes + ?Sized>(&mut self, link_type: LinkType, bytes: &P) {
        self.length = bytes.length();
        self.malformed = u32::from(packet::parse(link_type, bytes, &mut self.packet).is_err());
    }
}

/// Bits of [`Scratch::onward`]: what is asked about a packet once everything else has decided, each in a
/// program of its own.
pub mod onward {
    use super::asked;

    /// All that services are asked.
    pub const SERVICES: u32 = asked::DESTINATION | asked::SOURCE | asked::ICMP;
    /// Behind services, where these do not take it.
    pub const REPLIES: u32 = 1 << 3;
    /// Alone: a rule decided that catches the source of what it matches.
    pub const CATCH: u32 = 1 << 4;
    /// Alone: a rule decided that answers SYNs.
    pub const SYN_COOKIE: u32 = 1 << 5;
    const _: () = assert!(SERVICES & (REPLIES | CATCH | SYN_COOKIE) == 0);
}

/// Who asks the lists of names. They need the packet's payload, and in the kernel another program
/// (`xdp-ebpf/src/names.rs`); a third one goes on from there where
/// there are rules ([`judge_from_rules`]).
pub trait AskNames {
    /// What [`domains::judge`] says of the packet.
    fn judge<L: Lines>(
        &mut self,
        lines: &L,
        header: &Header,
        packet: &Packet,
        effect: &mut Effect,
    ) -> Stage;
}

/// Judges the frame that was read into `scratch` by a ruleset and the entries added at run time, and
/// leaves there what becomes of it.
#[inline(always)]
pub fn judge<L: Lines, E: DynamicEntries, N: AskNames + AskLimits>(
    lines: &L,
    entries: &E,
    names: &mut N,
    header: &Header,
    scratch: &mut Scratch,
) {
    scratch.effect.begin();
    scratch.ordinary = u32::from(header.has(flag::ORDINARY));
    let (Stage::Break(decision) | Stage::Continue(decision)) =
        ask_stages(lines, entries, names, header, scratch);
    scratch.effect.decision = decision;
    look_onward(lines, header, launder(scratch));
}

/// Goes on with a packet whose judgement stopped at the lists of names, and judges it to its end: by
/// the rules, and what follows them.
#[inline(always)]
pub fn judge_from_rules<L: Lines>(
    lines: &L,
    limits: &mut impl AskLimits,
    header: &Header,
    scratch: &mut Scratch,
) {
    let (Stage::Break(decision) | Stage::Continue(decision)) =
        ask_from_rules(lines, limits, header, scratch);
    scratch.effect.decision = decision;
    look_onward(lines, header, scratch);
}

/// Goes on with a packet whose judgement stopped at the limit of a rule. Whether it stops at another one; else it is
/// judged to its end.
#[inline(always)]
pub fn judge_from_limit<L: Lines>(
    lines: &L,
    beside: &mut impl limits::Beside,
    header: &Header,
    scratch: &mut Scratch,
) -> bool {
    let Scratch { packet, generation, length, classes, limiting, effect, .. } = &mut *scratch;
    let judged = Judged { length: *length, generation, classes, limiting, effect };
    let decision = match limits::judge(lines, beside, header, packet, judged) {
        Stage::Continue(true) => return true,
        Stage::Continue(false) => behind_rules(header),
        Stage::Break(decision) => decision,
    };
    scratch.effect.decision = decision;
    look_onward(lines, header, scratch);
    false
}

/// Notes who else is asked about the packet.
#[inline(always)]
fn look_onward<L: Lines>(lines: &L, header: &Header, scratch: &mut Scratch) {
    scratch.onward = 0;
    if header.has(flag::SERVICES | flag::REPLIES | flag::CATCHES | flag::SYN_COOKIES) {
        let Scratch { packet, malformed, effect, .. } = &*scratch;
        scratch.onward = who_else(lines, header, packet, *malformed, effect);
        scratch.generation = header.generation;
    }
}

#[inline(always)]
fn who_else<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    malformed: u32,
    effect: &Effect,
) -> u32 {
    let decision = effect.decision;
    let mut onward = 0;
    if header.has(flag::SERVICES) {
        onward = services::concerns(lines, header, packet, malformed, decision);
    }
    if header.has(flag::REPLIES) && replies::concerns(packet, decision) {
        onward |= onward::REPLIES;
    }
    if header.has(flag::CATCHES) && caught::concerns(effect) {
        onward = onward::CATCH;
    }
    if header.has(flag::SYN_COOKIES) && syn_cookie::concerns(effect) {
        onward = onward::SYN_COOKIE;
    }
    onward
}

/// What is decided behind the lists of names where the ruleset has no rules; `None` where it has.
#[inline(always)]
pub fn decision_without_rules(header: &Header) -> Option<Decision> {
    if header.has(flag::RULES | flag::SERVICES | flag::REPLIES) {
        return None;
    }
    Some(behind_rules(header))
}

/// What is decided where no rule decides.
#[inline(always)]
fn behind_rules(header: &Header) -> Decision {
    policy(header, flag::DEFAULT_DROP, Reason::Default)
}

#[inline(always)]
fn ask_from_rules<L: Lines>(
    lines: &L,
    limits: &mut impl AskLimits,
    header: &Header,
    scratch: &mut Scratch,
) -> Stage<Decision> {
    let Scratch { packet, generation, length, classes, limiting, effect, .. } = launder(scratch);
    if let Some(rule) = rules::judge(lines, header, packet, classes, effect)? {
        limiting.rule = rule;
        *generation = header.generation;
        let judged = Judged { length: *length, generation, classes, limiting, effect };
        limits.go_on(lines, header, packet, judged)?;
    }
    Stage::Continue(behind_rules(header))
}

/// The same of an ordinary packet ([`crate::packet::ordinary`]) by a ruleset with [`flag::ORDINARY`], while there are no
/// entries and no bypass: what is decided before services are asked. It is what is left of the stages below.
#[inline(always)]
pub fn judge_ordinary<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    effect: &mut Effect,
) -> Stage<Decision> {
    let found = lists::allow(lines, header, packet, effect)?;
    lists::judge(found, lines, header, packet, effect)?;
    Stage::Continue(behind_rules(header))
}

/// Asks one stage after the other, until one decides.
#[inline(always)]
fn ask_stages<L: Lines, E: DynamicEntries, N: AskNames + AskLimits>(
    lines: &L,
    entries: &E,
    names: &mut N,
    header: &Header,
    scratch: &mut Scratch,
) -> Stage<Decision> {
    let Scratch { packet, generation, malformed, effect, .. } = &mut *scratch;
    bypass::judge(entries)?;
    if *malformed != 0 {
        return Stage::Continue(policy(header, flag::MALFORMED_DROP, Reason::Malformed));
    }
    if packet.network == Network::ARP {
        return arp::judge(lines, header, packet);
    }
    if packet.network.is_ip() {
        let entry = entries.deciding(packet.network, packet.source);
        dynamic::allow(entry, effect)?;
        let packet = launder(packet);
        let found = lists::allow(lines, header, packet, effect)?;
        let packet = launder(packet);
        dynamic::block(entry, effect)?;
        fragments::judge(header, packet)?;
        lists::judge(found, lines, header, packet, effect)?;
        let packet = launder(packet);
        if domains::concerns(header, packet) {
            *generation = header.generation;
            names.judge(lines, header, packet, effect)?;
        }
    }
    ask_from_rules(lines, names, header, scratch)
}
