//! Builds the search trees of [`xdp_common::lookup::interval_tree`] from intervals.

use xdp_common::image::{LINE_WORDS, Line};
use xdp_common::lookup::interval_tree::{
    Descriptor, LEAF_32, LEAF_64, Level, MAX_DEPTH, SEPARATORS_32, SEPARATORS_64,
};

use super::intervals::Intervals;

/// The lines of an image that is being built, numbered from `first` on.
pub struct LineWriter {
    first: u32,
    lines: Vec<Line>,
}

impl LineWriter {
    pub fn new(first: u32) -> Self {
        Self { first, lines: Vec::new() }
    }

    /// The number that the next line will have.
    pub fn next(&self) -> u32 {
        self.first + self.lines.len() as u32
    }

    pub fn push(&mut self, line: Line) -> u32 {
        let number = self.next();
        self.lines.push(line);
        number
    }

    /// Appends lines, and returns the number of the first.
    pub fn append(&mut self, lines: Vec<Line>) -> u32 {
        let number = self.next();
        self.lines.extend(lines);
        number
    }

    /// Appends lines that are given as words, [`LINE_WORDS`] each.
    pub fn append_words(&mut self, words: &[u64]) {
        self.lines.extend(words.as_chunks::<LINE_WORDS>().0);
    }

    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    /// Writes a tree over 32-bit keys, and returns the line of its descriptor.
    pub fn tree_32(&mut self, intervals: &Intervals<u32>) -> u32 {
        let firsts: Vec<u32> = intervals.starts.chunks(LEAF_32).map(|leaf| leaf[0].0).collect();
        let leaves = intervals.starts.chunks(LEAF_32).map(|leaf| {
            let mut words = [0u32; 2 * LINE_WORDS];
            for slot in 0..LEAF_32 {
                let (key, value) = leaf[slot.min(leaf.len() - 1)];
                words[slot] = key;
                words[LEAF_32 + slot] = value;
            }
            line_of(words)
        });
        self.tree(firsts, leaves, SEPARATORS_32, |separators| {
            let mut words = [0u32; 2 * LINE_WORDS];
            fill(&mut words, separators);
            line_of(words)
        })
    }

    /// Writes a tree over 64-bit keys, and returns the line of its descriptor.
    pub fn tree_64(&mut self, intervals: &Intervals<u64>) -> u32 {
        let firsts: Vec<u64> = intervals.starts.chunks(LEAF_64).map(|leaf| leaf[0].0).collect();
        let leaves = intervals.starts.chunks(LEAF_64).map(leaf_64);
        self.tree(firsts, leaves, SEPARATORS_64, |separators| {
            let mut words = [0u64; LINE_WORDS];
            fill(&mut words, separators);
            words
        })
    }

    /// Writes the levels above the leaves, then the leaves, then the descriptor.
    fn tree<K: Copy>(
        &mut self,
        firsts: Vec<K>,
        leaves: impl Iterator<Item = Line>,
        separators: usize,
        node: impl Fn(&[K]) -> Line,
    ) -> u32 {
        // Level by level from the leaves up; each level holds the first keys of its nodes.
        let mut levels = vec![firsts];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            let above = below.chunks(separators + 1).map(|children| children[0]).collect();
            levels.push(above);
        }
        assert!(levels.len() <= MAX_DEPTH, "a ruleset's limits keep its trees below that");
        let mut descriptor = Descriptor { depth: levels.len() as u32, ..Descriptor::default() };
        for (depth, pair) in levels.windows(2).rev().enumerate() {
            let first = self.next();
            for children in pair[0].chunks(separators + 1) {
                self.push(node(&children[1..]));
            }
            descriptor.levels[depth] = Level { first, last: self.next() - 1 };
        }
        let first = self.next();
        self.lines.extend(leaves);
        descriptor.levels[levels.len() - 1] = Level { first, last: self.next() - 1 };
        self.push(descriptor.to_line())
    }
}

fn leaf_64(leaf: &[(u64, u32)]) -> Line {
    let mut words = [0u64; LINE_WORDS];
    let mut values = [0u32; 2 * (LINE_WORDS - LEAF_64)];
    for slot in 0..LEAF_64 {
        let (key, value) = leaf[slot.min(leaf.len() - 1)];
        words[slot] = key;
        values[slot] = value;
    }
    for (word, pair) in words[LEAF_64..].iter_mut().zip(values.chunks_exact(2)) {
        *word = join(pair[0], pair[1]);
    }
    words
}

/// Fills a node with separators, repeating the last one. A node with one child has no separators:
/// it is filled with the greatest key, so that every other key goes to that child. The greatest key
/// itself is sent further, and the lookup holds it down to the last line of the level.
fn fill<K: Copy + From<u8> + std::ops::Not<Output = K>>(words: &mut [K], separators: &[K]) {
    let padding = separators.last().copied().unwrap_or(!K::from(0));
    for (slot, word) in words.iter_mut().enumerate() {
        *word = separators.get(slot).copied().unwrap_or(padding);
    }
}

/// A word of two halves, in the order in which they lie in memory.
fn join(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

pub fn line_of(words: [u32; 2 * LINE_WORDS]) -> Line {
    let mut line = [0; LINE_WORDS];
    for (word, pair) in line.iter_mut().zip(words.chunks_exact(2)) {
        *word = join(pair[0], pair[1]);
    }
    line
}
