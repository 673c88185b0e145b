//! What allowlists and blocklists say of an address: one lookup an address, whatever the number of
//! lists, because user space folds them into decisions (`image::lists` in xdp-cli).

use crate::image::{Decision, Header, Lines};
use crate::lookup::lpm;
use crate::packet::Network;

/// What the lists say of an address: the number of a decision.
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

/// What the lists say of one address: a line of the image.
#[inline(always)]
pub fn decision<'a, L: Lines>(lines: &'a L, header: &Header, value: u32) -> Option<&'a Decision> {
    Some(Decision::of(lines.line(header.decisions.wrapping_add(value))?))
}

/// The word of the higher rank; the source's where they are equal.
#[inline(always)]
pub const fn higher(source: u64, destination: u64) -> u64 {
    if destination >> 32 > source >> 32 { destination } else { source }
}
