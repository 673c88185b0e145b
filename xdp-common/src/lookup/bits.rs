//! Counting bits, which eBPF has no instruction for.

use crate::verifier::black_box;

/// How many bits are set (Hacker's Delight, section 5-1). Written out, with black boxes, because
/// LLVM would recognize it and use a table, which takes a map.
#[inline(always)]
pub fn count_ones(word: u64) -> u32 {
    let mut x = black_box(word);
    x -= (x >> 1) & 0x5555_5555_5555_5555;
    x = black_box((x & 0x3333_3333_3333_3333) + ((x >> 2) & 0x3333_3333_3333_3333));
    x = (x + (x >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    black_box(x.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// The number of the lowest bit that is set: the count of the bits below it.
#[inline(always)]
pub fn lowest_bit(word: u64) -> u32 {
    count_ones(!word & word.wrapping_sub(1))
}

/// The same of a word of which only the lowest eight bits may be set, in half of the instructions: the product with a
/// de Bruijn sequence has a number of its own for each bit, in three bits (Hacker's Delight, section 5-4).
#[inline(always)]
pub fn lowest_bit_of_8(word: u64) -> u32 {
    const SEQUENCE: u64 = 0b0001_1101;
    // Which bit has the number n, in nibbles.
    const BITS: u64 = {
        let mut bits = 0;
        let mut bit = 0;
        while bit < 8 {
            bits |= bit << (4 * ((SEQUENCE << bit & 0xff) >> 5));
            bit += 1;
        }
        bits
    };
    let lowest = black_box(word & word.wrapping_neg());
    let number = lowest.wrapping_mul(SEQUENCE << 2) >> 5 & 0x1c;
    (BITS >> number) as u32 & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_processor() {
        let words = (0..64).flat_map(|bit| {
            let one = 1u64 << bit;
            [one, one - 1, !one, one | 1 << 63, one.wrapping_mul(0x9e37_79b9_7f4a_7c15)]
        });
        for word in words.chain([0, u64::MAX]) {
            assert_eq!(count_ones(word), word.count_ones(), "{word:x}");
            if word != 0 {
                assert_eq!(lowest_bit(word), word.trailing_zeros(), "{word:x}");
            }
        }
        for word in 1_u64..256 {
            assert_eq!(lowest_bit_of_8(word), word.trailing_zeros(), "{word:x}");
        }
    }
}
