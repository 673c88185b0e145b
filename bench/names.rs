//! Domain names: a list of them, and queries for names that are listed and for others.

use crate::random::Random;
use crate::traffic::NAME;

/// Names of three labels, all of one length on the wire.
pub struct Names {
    count: usize,
}

impl Names {
    pub const fn new(count: usize) -> Self {
        Self { count }
    }

    /// As lines of a hosts file.
    pub fn hosts_file(&self) -> String {
        use std::fmt::Write as _;

        let mut text = String::with_capacity(self.count * 34);
        for number in 0..self.count as u64 {
            let _ = writeln!(text, "0.0.0.0 {}", text_of(&wire(number)));
        }
        text
    }

    /// Listed names in no order.
    pub fn hits(&self, count: usize, seed: u64) -> Vec<[u8; NAME]> {
        let mut random = Random::new(seed);
        (0..count).map(|_| wire(random.between(0, self.count as u64 - 1))).collect()
    }

    /// Names that are not listed, and whose parents are not.
    pub fn misses(&self, count: usize, seed: u64) -> Vec<[u8; NAME]> {
        let mut random = Random::new(seed);
        (0..count).map(|_| wire(self.count as u64 + random.between(0, 1 << 32))).collect()
    }
}

/// The name of that number: labels of 4, 12 and 4 letters, and the root's.
fn wire(number: u64) -> [u8; NAME] {
    // Another number for each: what is drawn from a seed is a permutation of it.
    let mixed = Random::new(number).next();
    let mut name = *b"\x04....\x0c............\x04test\0\0";
    for (place, byte) in name.iter_mut().filter(|byte| **byte == b'.').enumerate() {
        // Sixteen letters of four bits are all 64.
        *byte = b'a' + (mixed >> (4 * place) & 0xf) as u8;
    }
    name
}

fn text_of(wire: &[u8; NAME]) -> String {
    let label = |range: std::ops::Range<usize>| String::from_utf8_lossy(&wire[range]).into_owned();
    [label(1..5), label(6..18), label(19..23)].join(".")
}
