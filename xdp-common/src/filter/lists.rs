//! What allowlists and blocklists say of an address: one lookup for each, whatever the number of
//! lists, because user space folds them into memberships (`image::lists` in xdp-cli).

use crate::filter::effect::{Effect, Stage, decide, intact};
use crate::image::{Header, Lines, Membership, flag};
use crate::lookup::lpm;
use crate::packet::{Network, Packet};
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};

/// What the blocklists found of a packet so far: words of [`Membership`].
#[derive(Clone, Copy)]
pub struct Found {
    drop: u64,
    count: u64,
}

/// Asks what the lists say of the source. An allowlist decides; what blocklists say is returned for
/// [`judge`].
#[inline(always)]
pub fn allow<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    effect: &mut Effect,
) -> Stage<Found> {
    let mut found = Found { drop: 0, count: 0 };
    if header.has(flag::SOURCE_LISTS) {
        let value = intact(find_listed(lines, header, packet.network, packet.source))?;
        if value != 0 {
            let lists = intact(membership(lines, header, value))?;
            if lists.source_allow != 0 {
                effect.list = counter(lists.source_allow);
                return decide(Verdict::Pass, Reason::Allowlist);
            }
            found = Found { drop: lists.source_drop, count: lists.source_count };
        }
    }
    Stage::Continue(found)
}

/// Decides by the blocklists: by what was found of the source, and by the destination.
#[inline(always)]
pub fn judge<L: Lines>(
    mut found: Found,
    lines: &L,
    header: &Header,
    packet: &Packet,
    effect: &mut Effect,
) -> Stage {
    if header.has(flag::DESTINATION_LISTS) {
        let value = intact(find_listed(lines, header, packet.network, packet.destination))?;
        if value != 0 {
            let lists = intact(membership(lines, header, value))?;
            found.drop = higher(found.drop, lists.destination_drop);
            found.count = higher(found.count, lists.destination_count);
        }
    }
    if found.drop != 0 {
        effect.list = counter(found.drop);
        return decide(Verdict::Drop, Reason::Blocklist);
    }
    effect.list = counter(found.count);
    Stage::Continue(())
}

/// The counter of the list in a word of a membership: the lower half.
#[inline(always)]
const fn counter(word: u64) -> CounterId {
    CounterId(word as u32)
}

/// What the lists say of an address: the number of its [`Membership`], or 0.
#[inline(always)]
pub fn find_listed<L: Lines>(
    lines: &L,
    header: &Header,
    network: Network,
    address: [u64; 2],
) -> Option<u32> {
    let (filter, bit) = if network == Network::IPV6 {
        (header.list_v6_filter, lpm::filter_bit_v6((address[0] >> 32) as u32))
    } else {
        (header.list_v4_filter, lpm::filter_bit_v4(address[0] as u32))
    };
    if !lpm::may_hold(lines, filter, bit)? {
        return Some(0);
    }
    lpm::find_of(lines, [header.list_v4_root, header.list_v6_root], network, address)
}

/// The membership of that number: a line of the image.
#[inline(always)]
fn membership<'a, L: Lines>(lines: &'a L, header: &Header, value: u32) -> Option<&'a Membership> {
    Some(Membership::of(lines.line(header.memberships.wrapping_add(value))?))
}

/// The word of the higher rank; the source's where they are equal.
#[inline(always)]
const fn higher(source: u64, destination: u64) -> u64 {
    if destination >> 32 > source >> 32 { destination } else { source }
}
