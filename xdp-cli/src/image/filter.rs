//! Builds the filter of [`xdp_common::search::may_be_listed`] from intervals.

use xdp_common::image::{BLOCK_WORDS, Block};
use xdp_common::search::{FILTER_BLOCKS, filter_place};

use super::intervals::Intervals;

/// Fewer intervals are a tree that stays in the nearer caches, which two megabytes of bits would
/// only push out of them.
pub const WORTHWHILE: usize = 1 << 16;

/// A bit for each /24 in which some address has a value.
pub fn filter(intervals: &Intervals<u32>) -> Vec<Block> {
    let mut blocks = vec![[0; BLOCK_WORDS]; FILTER_BLOCKS];
    let ends = intervals.starts.iter().skip(1).map(|&(start, _)| start - 1).chain([u32::MAX]);
    for (&(start, value), end) in intervals.starts.iter().zip(ends) {
        if value != 0 {
            for network in start >> 8..=end >> 8 {
                let (block, word, bit) = filter_place(network << 8);
                blocks[block as usize][word] |= 1 << bit;
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_for_each_network_that_holds_a_listed_address() {
        let mut intervals = Intervals::new(0);
        // Across the border of two /24s; a whole /16; the very last address.
        for (start, value) in
            [(0x0a00_00ff, 1), (0x0a00_0101, 0), (0x0a01_0000, 2), (0x0a02_0000, 0), (u32::MAX, 3)]
        {
            intervals.set(start, value);
        }
        let blocks = filter(&intervals);
        let is_set = |address| {
            let (block, word, bit) = filter_place(address);
            blocks[block as usize][word] >> bit & 1 != 0
        };
        for listed in [0x0a00_0000, 0x0a00_01ff, 0x0a01_0000, 0x0a01_ffff, 0xffff_ff00] {
            assert!(is_set(listed), "{listed:x}");
        }
        for free in [0, 0x09ff_ffff, 0x0a00_0200, 0x0a00_ffff, 0x0a02_0000, 0xffff_feff] {
            assert!(!is_set(free), "{free:x}");
        }
        let bits: u32 = blocks.iter().flatten().map(|word| word.count_ones()).sum();
        assert_eq!(bits, 2 + 256 + 1);
    }
}
