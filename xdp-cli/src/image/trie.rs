//! Builds the tries of [`xdp_common::search::find_in_trie`] from intervals.

use rustc_hash::FxHashMap;
use xdp_common::image::Block;
use xdp_common::search::{NODE_ENTRIES, NODE_LEAF};

use super::intervals::Intervals;
use super::rules::page_block;

/// Most nodes of all tries of an image: 8 MiB. Rules that need more get trees.
const MAX_NODES: usize = 1 << 14;

type Node = [u16; NODE_ENTRIES];

/// The nodes of an image's tries, each once.
#[derive(Default)]
pub struct Tries {
    nodes: Vec<Node>,
    numbers: FxHashMap<Node, u16>,
}

/// A trie has more nodes, or greater values, than there is room for.
pub struct TooLarge;

impl Tries {
    /// Adds a trie; its number is its root's. Nothing is added where there is no room.
    pub fn add(&mut self, intervals: &Intervals<u32>) -> Result<u16, TooLarge> {
        let before = self.nodes.len();
        let mut rest = intervals.starts.as_slice();
        self.node(&mut rest, 0, 24).inspect_err(|TooLarge| {
            for node in self.nodes.drain(before..) {
                self.numbers.remove(&node);
            }
        })
    }

    /// The node for the addresses from `start` on whose entries are `1 << shift` addresses each.
    /// `rest` begins with the interval that holds `start`, and afterwards with the one that holds
    /// the last address.
    fn node(&mut self, rest: &mut &[(u32, u32)], start: u32, shift: u32) -> Result<u16, TooLarge> {
        let mut node = [0; NODE_ENTRIES];
        for (byte, entry) in (0u32..).zip(node.iter_mut()) {
            let first = start + (byte << shift);
            let last = first + ((1u32 << shift) - 1);
            while rest.get(1).is_some_and(|next| next.0 <= first) {
                *rest = &rest[1..];
            }
            let uniform = rest.get(1).is_none_or(|next| next.0 > last);
            *entry = if uniform {
                let value = u16::try_from(rest[0].1).map_err(|_| TooLarge)?;
                if value & NODE_LEAF != 0 {
                    return Err(TooLarge);
                }
                value | NODE_LEAF
            } else {
                self.node(rest, first, shift - 8)?
            };
        }
        if let Some(&number) = self.numbers.get(&node) {
            return Ok(number);
        }
        if self.nodes.len() == MAX_NODES {
            return Err(TooLarge);
        }
        let number = self.nodes.len() as u16;
        self.nodes.push(node);
        self.numbers.insert(node, number);
        Ok(number)
    }

    /// The nodes, one block each.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.nodes.iter().map(page_block)
    }
}
