//! From a packet to its verdict: the order of judgement, from top to bottom.

use crate::filter::dynamic::{DynamicEntries, EntryAction};
use crate::filter::rules::Classes;
use crate::filter::{lists, rules};
use crate::image::{Action, ActionKind, Header, Lines, flag};
use crate::lookup::interval_tree;
use crate::packet::{self, LinkType, NO_SENDER, Network, Packet, PacketBytes, Transport};
use crate::stats::counter::{CELLS, CounterId, Matrix};
use crate::stats::verdict::{Reason, Verdict};

/// What is to become of a packet, and what to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement<'a> {
    /// The verdict, unless what `action` asks for cannot be done.
    pub verdict: Verdict,
    pub reason: Reason,
    /// A list to count the packet to: the one that decided, or one that only counts.
    pub list: CounterId,
    /// The rule that decided, for its counter and for what a redirect or a bounce needs.
    pub action: Option<&'a Action>,
}

impl Judgement<'_> {
    /// A verdict that nothing but its reason is counted for.
    #[inline(always)]
    const fn plain(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason, list: CounterId::NONE, action: None }
    }

    /// A verdict that the image's policy gives.
    #[inline(always)]
    fn policy(header: &Header, drop: u32, reason: Reason) -> Self {
        let verdict = if header.has(drop) { Verdict::Drop } else { Verdict::Pass };
        Self::plain(verdict, reason)
    }

    #[inline(always)]
    const fn listed(verdict: Verdict, reason: Reason, word: u64) -> Self {
        Self { verdict, reason, list: CounterId(word as u32), action: None }
    }

    /// The image is not what it should be: the program's own failure, never a packet's.
    pub const BROKEN: Self = Self::plain(Verdict::Aborted, Reason::Default);
}

/// What is known of the packet that is being judged. In the kernel it lies in a per-CPU map, see
/// [`crate::verifier::launder`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// What was read of the packet.
    pub packet: Packet,
    /// Length of the frame with all its buffers.
    pub length: u32,
    /// Whether it is malformed; nothing else is known of it then.
    pub malformed: u32,
    /// Always 0, but the verifier does not know that: adding it makes the verifier forget a range, so
    /// states merge.
    pub zero: u32,
    /// What its fields were found to be.
    pub classes: Classes,
    /// What of a [`Judgement`] does not fit into an [`Outcome`].
    pub list: CounterId,
    /// That of the rule that decided; else anything.
    pub action: Action,
}

/// A [`Judgement`] in one number: its verdict, its cell of the counters' matrix, and whether a
/// rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub u32);

impl Outcome {
    const BY_RULE: u32 = 1 << 16;

    #[inline(always)]
    pub const fn new(verdict: Verdict, reason: Reason, by_rule: bool) -> Self {
        let rule = if by_rule { Self::BY_RULE } else { 0 };
        Self((verdict as u32) << 8 | Matrix::cell(verdict, reason) as u32 | rule)
    }

    /// The number of its [`Verdict`].
    #[inline(always)]
    pub const fn verdict(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    #[inline(always)]
    pub const fn cell(self) -> u32 {
        self.0 & 0xff
    }

    #[inline(always)]
    pub const fn by_rule(self) -> bool {
        self.0 & Self::BY_RULE != 0
    }
}

const _: () = assert!(CELLS <= 0x100 && Verdict::COUNT <= 0x100);

impl Scratch {
    /// With what another packet left in it.
    pub const LEFT_BEHIND: Self = Self {
        packet: Packet::LEFT_BEHIND,
        length: 0,
        malformed: 1,
        zero: 0,
        classes: Classes::LEFT_BEHIND,
        list: CounterId(u32::MAX),
        action: Action::DROP,
    };

    /// Reads a frame of a link of that type into it.
    #[inline(always)]
    pub fn read<P: PacketBytes + ?Sized>(&mut self, link_type: LinkType, bytes: &P) {
        self.length = bytes.length();
        self.malformed = u32::from(packet::parse(link_type, bytes, &mut self.packet).is_err());
    }

    /// Writes a judgement down in it.
    #[inline(always)]
    pub fn conclude(&mut self, judgement: &Judgement<'_>) -> Outcome {
        self.list = judgement.list;
        if let Some(action) = judgement.action {
            action.copy_to(&mut self.action);
        }
        Outcome::new(judgement.verdict, judgement.reason, judgement.action.is_some())
    }
}

/// Judges the frame that was read into `scratch` by a ruleset and the entries added at run time.
#[inline(always)]
pub fn judge<'a, L: Lines, E: DynamicEntries>(
    lines: &'a L,
    entries: &E,
    header: &Header,
    scratch: &mut Scratch,
) -> Judgement<'a> {
    let Scratch { packet, malformed, classes, .. } = scratch;
    if *malformed != 0 {
        return Judgement::policy(header, flag::MALFORMED_DROP, Reason::Malformed);
    }
    let judgement = match packet.network {
        Network::ARP => judge_arp(lines, header, packet),
        Network::IPV4 | Network::IPV6 => judge_ip(lines, entries, header, packet, classes),
        _ => judge_by_rules(lines, header, packet, classes, CounterId::NONE),
    };
    match judgement {
        Some(judgement) => judgement,
        None => Judgement::BROKEN,
    }
}

#[inline(always)]
fn judge_arp<'a, L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<Judgement<'a>> {
    let sender = packet.source[0];
    if header.has(flag::ARP_DROP)
        && sender != NO_SENDER
        && interval_tree::find_32(lines, header.arp_tree, sender as u32)? != 0
    {
        return Some(Judgement::plain(Verdict::Pass, Reason::Arp));
    }
    Some(Judgement::policy(header, flag::ARP_DROP, Reason::Arp))
}

#[inline(always)]
fn judge_ip<'a, L: Lines, E: DynamicEntries>(
    lines: &'a L,
    entries: &E,
    header: &Header,
    packet: &Packet,
    classes: &mut Classes,
) -> Option<Judgement<'a>> {
    let action = entries.action(packet.network, packet.source);
    if action == EntryAction::ALLOWED {
        return Some(Judgement::plain(Verdict::Pass, Reason::Allowed));
    }
    let mut drop = 0;
    let mut count = 0;
    if header.has(flag::SOURCE_LISTS) {
        let value = lists::find_listed(lines, header, packet.network, packet.source)?;
        if value != 0 {
            let decision = lists::decision(lines, header, value)?;
            if decision.source_allow != 0 {
                let word = decision.source_allow;
                return Some(Judgement::listed(Verdict::Pass, Reason::Allowlist, word));
            }
            drop = decision.source_drop;
            count = decision.source_count;
        }
    }
    if action == EntryAction::BLOCKED {
        return Some(Judgement::plain(Verdict::Drop, Reason::Banned));
    }
    if header.has(flag::FRAGMENTS_DROP) && packet.transport == Transport::FRAGMENT {
        return Some(Judgement::plain(Verdict::Drop, Reason::Fragment));
    }
    if header.has(flag::DESTINATION_LISTS) {
        let value = lists::find_listed(lines, header, packet.network, packet.destination)?;
        if value != 0 {
            let decision = lists::decision(lines, header, value)?;
            drop = lists::higher(drop, decision.destination_drop);
            count = lists::higher(count, decision.destination_count);
        }
    }
    if drop != 0 {
        return Some(Judgement::listed(Verdict::Drop, Reason::Blocklist, drop));
    }
    // Blocked names would be asked for here.
    judge_by_rules(lines, header, packet, classes, CounterId(count as u32))
}

#[inline(always)]
fn judge_by_rules<'a, L: Lines>(
    lines: &'a L,
    header: &Header,
    packet: &Packet,
    classes: &mut Classes,
    list: CounterId,
) -> Option<Judgement<'a>> {
    if header.has(flag::RULES)
        && let Some(rule) = rules::first_match(lines, header, packet, classes)?
    {
        let action = rules::action(lines, header, rule)?;
        let verdict = match ActionKind::try_from(action.kind) {
            Ok(ActionKind::Pass) => Verdict::Pass,
            Ok(ActionKind::Bounce) => Verdict::Tx,
            Ok(ActionKind::Redirect) => Verdict::Redirect,
            Ok(ActionKind::Drop) | Err(_) => Verdict::Drop,
        };
        return Some(Judgement { verdict, reason: Reason::Rule, list, action: Some(action) });
    }
    let policy = Judgement::policy(header, flag::DEFAULT_DROP, Reason::Default);
    Some(Judgement { list, ..policy })
}
