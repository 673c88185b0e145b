//! Builds the filters of [`xdp_common::lookup::lpm::may_hold`].

use xdp_common::image::{LINE_WORDS, Line};
use xdp_common::lookup::lpm::{
    FILTER_V4_LINES, FILTER_V6_LINES, filter_bit_v4, filter_bit_v6, filter_place,
};

use super::intervals::Address as _;
use super::lpm::Valued;

/// Fewest prefixes that a filter is built for: the index of fewer takes no more room than the
/// filter would.
const WORTHWHILE_V4: usize = 1 << 15;
const WORTHWHILE_V6: usize = 1 << 12;

/// Shortest IPv6 prefix that a filter is built with: a shorter one would set too many bits.
const SHORTEST_V6: u8 = 20;
/// A filter in which more than one bit in so many is set keeps too little out.
const SPARSE: usize = 4;

struct Bitmap(Vec<Line>);

impl Bitmap {
    fn new(lines: u32) -> Self {
        Self(vec![[0; LINE_WORDS]; lines as usize])
    }

    fn set(&mut self, bit: u32) {
        let (line, word, bit) = filter_place(bit);
        self.0[line as usize][word] |= 1 << bit;
    }
}

/// A bit for each /24 in which some address is listed; `None` for fewer than [`WORTHWHILE_V4`]
/// prefixes.
pub fn v4(prefixes: &[Valued<u32>]) -> Option<Vec<Line>> {
    if prefixes.len() < WORTHWHILE_V4 {
        return None;
    }
    let mut filter = Bitmap::new(FILTER_V4_LINES);
    for Valued { prefix, .. } in prefixes {
        let last = prefix.address.last(prefix.length);
        for bit in filter_bit_v4(prefix.address)..=filter_bit_v4(last) {
            filter.set(bit);
        }
    }
    Some(filter.0)
}

/// A bit for each /32 in which some address is listed; `None` for fewer than [`WORTHWHILE_V6`]
/// prefixes, for prefixes shorter than [`SHORTEST_V6`], and where too many bits would be set.
pub fn v6(prefixes: &[Valued<u128>]) -> Option<Vec<Line>> {
    let long = || prefixes.iter().all(|p| p.prefix.length >= SHORTEST_V6);
    if prefixes.len() < WORTHWHILE_V6 || !long() {
        return None;
    }
    let mut filter = Bitmap::new(FILTER_V6_LINES);
    for Valued { prefix, .. } in prefixes {
        let upper = |address: u128| (address >> 96) as u32;
        let last = prefix.address.last(prefix.length);
        for upper in upper(prefix.address)..=upper(last) {
            filter.set(filter_bit_v6(upper));
        }
    }
    let set: usize = filter.0.iter().flatten().map(|word| word.count_ones() as usize).sum();
    (set * SPARSE <= filter.0.len() * size_of::<Line>() * 8).then_some(filter.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Prefix;

    fn is_set(filter: &[Line], bit: u32) -> bool {
        let (line, word, bit) = filter_place(bit);
        filter[line as usize][word] >> bit & 1 != 0
    }

    fn count(filter: &[Line]) -> u32 {
        filter.iter().flatten().map(|word| word.count_ones()).sum()
    }

    #[test]
    fn a_bit_for_each_ipv4_network_that_holds_a_listed_address() {
        // As many as make a filter worthwhile, all in one /15; then those that the test asks for.
        let hosts = (0..WORTHWHILE_V4 as u32).map(|number| (0xc612_0000 + 2 * number, 32));
        let others = [(0x0a00_00fe, 31), (0x0a00_0100, 32), (0x0a01_0000, 16), (u32::MAX, 32)];
        let prefixes: Vec<_> = hosts
            .chain(others)
            .map(|(address, length)| Valued { prefix: Prefix { address, length }, value: 1 })
            .collect();
        assert_eq!(v4(&prefixes[1..others.len()]), None, "too few");
        let filter = v4(&prefixes).expect("enough");
        for listed in [0x0a00_0000, 0x0a00_01ff, 0x0a01_0000, 0x0a01_ffff, 0xffff_ff00] {
            assert!(is_set(&filter, filter_bit_v4(listed)), "{listed:x}");
        }
        for free in [0, 0x09ff_ffff, 0x0a00_0200, 0x0a00_ffff, 0x0a02_0000, 0xffff_feff] {
            assert!(!is_set(&filter, filter_bit_v4(free)), "{free:x}");
        }
        assert_eq!(count(&filter), 256 + 2 + 256 + 1);
    }

    #[test]
    fn a_bit_for_each_ipv6_network_that_holds_a_listed_address() {
        let valued = |(address, length)| Valued { prefix: Prefix { address, length }, value: 1 };
        let hosts = (0..WORTHWHILE_V6 as u128).map(|number| (0x2001_0db8 << 96 | number, 128));
        let mut prefixes: Vec<_> =
            hosts.chain([(0x2a00 << 112, 30), (0x2b00 << 112, 48)]).map(valued).collect();
        let filter = v6(&prefixes).expect("enough, and long");
        for listed in [0x2001_0db8, 0x2a00_0000, 0x2a00_0003, 0x2b00_0000] {
            assert!(is_set(&filter, filter_bit_v6(listed)), "{listed:x}");
        }
        assert_eq!(count(&filter), 1 + 4 + 1);
        // A short prefix, and then many prefixes, that would set most of the filter.
        prefixes.push(valued((0x3000 << 112, 12)));
        assert_eq!(v6(&prefixes), None);
        let everywhere = (0..1u128 << 17).map(|number| valued((number << 111, 48)));
        assert_eq!(v6(&everywhere.collect::<Vec<_>>()), None);
    }
}
