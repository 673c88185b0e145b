//! Static search trees: from a key to the value of the interval that holds it.
//!
//! Intervals cover all keys. A tree is a B+ tree without pointers over their starts: one cache line
//! a node, level by level in one array. A lookup reads one line a level and compares without
//! branching, so that its cost does not depend on the keys. With 32-bit keys a line has 16
//! separators, thus 17 children, and 1,000 intervals are three lines deep. The builder turns
//! prefixes into intervals (`image::intervals` and `image::interval_tree` in xdp-cli).
//!
//! ```text
//! descriptor (one line):  u32 depth, then for each level u32 first line, u32 last line
//! inner node:             separators; separator j is the first key of child j + 1
//! leaf, 32-bit keys:      8 keys (u32), 8 values (u32)
//! leaf, 64-bit keys:      5 keys (u64), 5 values (u32), 4 bytes unused
//! ```
//!
//! Nodes that are not full repeat their last separator or, in a leaf, their last key and value. A
//! repeated separator stands for a child that does not exist, so a child's number beyond the end of
//! its level is taken for the last one of the level.

use crate::image::{LINE_WORDS, Line, Lines};
use crate::verifier::black_box;

/// Separators of an inner node and keys of a leaf.
pub const SEPARATORS_32: usize = 16;
pub const LEAF_32: usize = 8;
pub const SEPARATORS_64: usize = 8;
pub const LEAF_64: usize = 5;
/// Levels that a descriptor has room for. Seven levels of 64-bit keys hold 2.6 million intervals,
/// of 32-bit keys 193 million.
pub const MAX_DEPTH: usize = 7;

/// A tree's descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Descriptor {
    pub depth: u32,
    pub levels: [Level; MAX_DEPTH],
    pub reserved: u32,
}

/// One level of a tree, in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Level {
    pub first: u32,
    pub last: u32,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<Line>());

impl Descriptor {
    /// The line that holds this descriptor.
    pub const fn to_line(self) -> Line {
        // SAFETY: same size, and every bit pattern is a line.
        unsafe { core::mem::transmute::<Self, Line>(self) }
    }

    #[inline(always)]
    const fn of(line: &Line) -> &Self {
        // SAFETY: same size, alignment of the line is the greater one, and every bit pattern is a
        // descriptor.
        unsafe { &*line.as_ptr().cast::<Self>() }
    }
}

#[inline(always)]
const fn halves(line: &Line) -> &[u32; 2 * LINE_WORDS] {
    // SAFETY: same size, alignment of the line is the greater one, and every bit pattern is good.
    unsafe { &*line.as_ptr().cast() }
}

/// 1 if `separator <= key`, else 0, where `biased` is the key plus 2^32.
///
/// All comparisons here are arithmetic. eBPF has no conditional move, so a comparison turned into a
/// number would be a jump, which the processor guesses wrong half of the time, and which the
/// verifier follows both ways: 2^16 ways through a node of 16 separators.
#[inline(always)]
const fn at_most_32(separator: u32, biased: u64) -> u64 {
    biased.wrapping_sub(separator as u64) >> 32
}

/// 1 if `separator > key`, else 0: the borrow of the subtraction (Hacker's Delight, section 2-13),
/// kept from being recognized.
#[inline(always)]
fn above_64(separator: u64, key: u64) -> u64 {
    let difference = black_box(key.wrapping_sub(separator));
    black_box((!key & separator) | ((!key | separator) & difference)) >> 63
}

/// The value of the interval that holds `key` in the tree described at `tree`; 0 without a tree.
/// `None` is a corrupt image.
#[inline(always)]
pub fn find_32<L: Lines>(lines: &L, tree: u32, key: u32) -> Option<u32> {
    if tree == 0 {
        return Some(0);
    }
    let biased = key as u64 + (1 << 32);
    let descriptor = Descriptor::of(lines.line(tree)?);
    let mut node = 0u32;
    let mut depth = descriptor.depth;
    for level in &descriptor.levels {
        let mut line = level.first.wrapping_add(node);
        if line > level.last {
            line = level.last;
        }
        let words = halves(lines.line(line)?);
        if depth <= 1 {
            return leaf_32(words, biased);
        }
        depth -= 1;
        let mut child = 0;
        for &separator in words {
            child += at_most_32(separator, biased) as u32;
        }
        let before = line.wrapping_sub(level.first).wrapping_mul(SEPARATORS_32 as u32 + 1);
        node = before.wrapping_add(child);
    }
    None
}

#[inline(always)]
fn leaf_32(words: &[u32; 2 * LINE_WORDS], biased: u64) -> Option<u32> {
    let mut at_most = 0u64;
    let mut index = 0;
    while index < LEAF_32 {
        at_most += at_most_32(words[index], biased);
        index += 1;
    }
    // 8 keys were compared, and the first is never above `key`: the values' places are 8 to 15.
    words.get(black_box(LEAF_32 as u64 - 1 + at_most) as usize).copied()
}

/// As [`find_32`], for 64-bit keys.
#[inline(always)]
pub fn find_64<L: Lines>(lines: &L, tree: u32, key: u64) -> Option<u32> {
    if tree == 0 {
        return Some(0);
    }
    let descriptor = Descriptor::of(lines.line(tree)?);
    let mut node = 0u32;
    let mut depth = descriptor.depth;
    for level in &descriptor.levels {
        let mut line = level.first.wrapping_add(node);
        if line > level.last {
            line = level.last;
        }
        let words = lines.line(line)?;
        if depth <= 1 {
            return leaf_64(words, key);
        }
        depth -= 1;
        let mut child = SEPARATORS_64 as u32;
        for &separator in words {
            child -= above_64(separator, key) as u32;
        }
        let before = line.wrapping_sub(level.first).wrapping_mul(SEPARATORS_64 as u32 + 1);
        node = before.wrapping_add(child);
    }
    None
}

#[inline(always)]
fn leaf_64(words: &Line, key: u64) -> Option<u32> {
    let mut at_most = LEAF_64 as u64;
    let mut index = 0;
    while index < LEAF_64 {
        at_most -= above_64(words[index], key);
        index += 1;
    }
    // The five values follow the five keys: 10 to 14.
    halves(words).get(black_box(2 * LEAF_64 as u64 - 1 + at_most) as usize).copied()
}
