//! ARP, which `[arp]` alone judges.

use crate::filter::effect::{Decision, Stage, intact, policy};
use crate::image::{Header, Lines, flag};
use crate::lookup::interval_tree;
use crate::packet::{NO_SENDER, Packet};
use crate::stats::verdict::{Reason, Verdict};

/// Decides every ARP packet. Where the policy drops, a packet passes whose sender's IPv4 address is
/// allowed.
#[inline(always)]
pub fn judge<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Stage<Decision> {
    let sender = packet.source[0];
    if header.has(flag::ARP_DROP)
        && sender != NO_SENDER
        && intact(interval_tree::find_32(lines, header.arp_tree, sender as u32))? != 0
    {
        return Stage::Continue(Decision::new(Verdict::Pass, Reason::Arp));
    }
    Stage::Continue(policy(header, flag::ARP_DROP, Reason::Arp))
}
