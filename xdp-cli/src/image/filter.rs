//! Builds the filter of [`xdp_common::index::may_hold`].

use xdp_common::image::{LINE_WORDS, Line};
use xdp_common::index::{FILTER_LINES, filter_place};

use super::index::Valued;
use super::intervals::Address as _;

/// Fewer prefixes have nodes that take no more room than the filter.
pub const WORTHWHILE: usize = 1 << 15;

/// A bit for each /24 in which some address is listed.
pub fn filter(prefixes: &[Valued<u32>]) -> Vec<Line> {
    let mut lines = vec![[0; LINE_WORDS]; FILTER_LINES as usize];
    for Valued { prefix, .. } in prefixes {
        for network in prefix.address >> 8..=prefix.address.last(prefix.length) >> 8 {
            let (line, word, bit) = filter_place(network << 8);
            lines[line as usize][word] |= 1 << bit;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Prefix;

    #[test]
    fn a_bit_for_each_network_that_holds_a_listed_address() {
        let prefixes = [(0x0a00_00fe, 31), (0x0a00_0100, 32), (0x0a01_0000, 16), (u32::MAX, 32)]
            .map(|(address, length)| Valued { prefix: Prefix { address, length }, value: 1 });
        let lines = filter(&prefixes);
        let is_set = |address| {
            let (line, word, bit) = filter_place(address);
            lines[line as usize][word] >> bit & 1 != 0
        };
        for listed in [0x0a00_0000, 0x0a00_01ff, 0x0a01_0000, 0x0a01_ffff, 0xffff_ff00] {
            assert!(is_set(listed), "{listed:x}");
        }
        for free in [0, 0x09ff_ffff, 0x0a00_0200, 0x0a00_ffff, 0x0a02_0000, 0xffff_feff] {
            assert!(!is_set(free), "{free:x}");
        }
        let bits: u32 = lines.iter().flatten().map(|word| word.count_ones()).sum();
        assert_eq!(bits, 2 + 256 + 1);
    }
}
