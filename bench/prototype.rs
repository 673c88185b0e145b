//! The bare prototypes beside the packet filter: how far the filter is from the limit, on this
//! machine. They are in `xdp-ebpf/src/bench/`.

use std::collections::BTreeMap;

use xdp_common::stats::verdict::Reason;

use crate::Result;
use crate::case::{Case, Subject};
use crate::prefixes::{Family, Prefixes};
use crate::structure::{BLOCKS, DESCRIPTORS, LEAF, LEAVES, descriptor_holds};
use crate::testbed::Testbed;

/// A program that does what a part of the filter does, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prototype {
    /// Looks the source up in a list: `prototype.rs`.
    List,
    /// A limit for each source: `limit.rs`.
    Limit,
    /// One lookup of a socket: `lookup.rs`.
    Lookup,
}

impl Prototype {
    /// Puts it on the filter's device in its place, until the next ruleset.
    pub fn put(self, testbed: &Testbed, subject: &Subject) -> Result<()> {
        match self {
            Self::List => testbed.fill_prototype(&Structure::new(subject.listed())?)?,
            Self::Limit => testbed.fill_limit_prototype()?,
            Self::Lookup => {}
        }
        testbed.put_prototype(self.program())
    }

    const fn program(self) -> &'static str {
        match self {
            Self::List => "bench_prototype",
            Self::Limit => "bench_limit",
            Self::Lookup => "bench_lookup",
        }
    }
}

/// Holds what a prototype has counted against what the filter would say: it finds nothing in what the default
/// decides.
pub fn expect(case: &Case, after: [u64; 2], before: [u64; 2]) -> Result<()> {
    let [missed, hit] = [after[0] - before[0], after[1] - before[1]];
    let wrong = if case.reason == Some(Reason::Default) { hit } else { missed };
    if wrong != 0 || missed + hit == 0 {
        return Err(format!("{}: {missed} packets missed, {hit} hit", case.name).into());
    }
    Ok(())
}

/// As they lie in the maps, see `xdp-ebpf/src/bench/structure.rs`.
pub type Block = [u64; 2];
pub type Leaf = [u64; 4];

/// The contents of its maps.
pub struct Structure {
    pub blocks: Vec<Block>,
    pub descriptors: Vec<u32>,
    pub leaves: Vec<Leaf>,
}

impl Structure {
    /// Of a set of IPv4 prefixes.
    pub fn new(prefixes: &Prefixes) -> Result<Self> {
        // What is listed of each /24: its descriptors, shortest prefixes first.
        let mut networks: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for prefix in prefixes.iter() {
            if prefix.family != Family::V4 {
                return Err("the prototype knows IPv4 alone".into());
            }
            let (first, host) = ((prefix.address >> 8) as u32, prefix.address as u8);
            let networks_inside = 1 << 24_u8.saturating_sub(prefix.length);
            for network in first..first + networks_inside {
                let length = prefix.length.max(24);
                networks.entry(network).or_default().push(descriptor(length, host));
            }
        }
        let mut it = Self {
            blocks: vec![[0; 2]; BLOCKS],
            descriptors: Vec::with_capacity(networks.len()),
            leaves: Vec::new(),
        };
        for (network, listed) in networks {
            it.blocks[network as usize / 64][0] |= 1 << (network % 64);
            let one = listed.iter().copied().find(|&one| {
                (0..256).all(|host| {
                    descriptor_holds(one, host)
                        || !listed.iter().any(|&other| descriptor_holds(other, host))
                })
            });
            let described = one.unwrap_or_else(|| {
                it.leaves.push(leaf(&listed));
                LEAF | (it.leaves.len() - 1) as u32
            });
            it.descriptors.push(described);
        }
        if it.descriptors.len() > DESCRIPTORS || it.leaves.len() > LEAVES {
            return Err("the prototype has no room for as many prefixes".into());
        }
        let mut before = 0;
        for block in &mut it.blocks {
            block[1] = before;
            before += u64::from(block[0].count_ones());
        }
        Ok(it)
    }
}

/// The descriptor of a prefix inside a /24, or of the whole /24: `length` is 24 to 32.
const fn descriptor(length: u8, host: u8) -> u32 {
    let mask = 0xff00_u32 >> (length - 24) & 0xff;
    mask << 8 | host as u32
}

fn leaf(listed: &[u32]) -> Leaf {
    let mut leaf = [0; 4];
    for host in (0..256).filter(|&host| listed.iter().any(|&it| descriptor_holds(it, host))) {
        leaf[host as usize / 64] |= 1 << (host % 64);
    }
    leaf
}
