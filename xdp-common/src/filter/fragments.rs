//! Fragments after the first, which carry no ports.

use crate::filter::effect::{Stage, decide};
use crate::image::{Header, flag};
use crate::packet::{Packet, Transport};
use crate::stats::verdict::{Reason, Verdict};

/// Drops them, where the policy says so.
#[inline(always)]
pub fn judge(header: &Header, packet: &Packet) -> Stage {
    if header.has(flag::FRAGMENTS_DROP) && packet.transport == Transport::FRAGMENT {
        return decide(Verdict::Drop, Reason::Fragment);
    }
    Stage::Continue(())
}
