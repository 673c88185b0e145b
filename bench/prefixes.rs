//! Sets of prefixes as published lists have them, and addresses inside and outside of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use std::ops::RangeInclusive;

use rustc_hash::{FxHashMap, FxHashSet};
use xdpctl::config::prefix::IpPrefix;
use xdpctl::ruleset;

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// An address that a host could have; IPv4 in the lower bits.
    pub fn random_address(self, random: &mut Random) -> u128 {
        match self {
            // 1.0.0.0 to 223.255.255.255
            Self::V4 => random.between(0x0100_0000, 0xdfff_ffff).into(),
            // 2000::/3
            Self::V6 => random.wide() >> 3 | 1 << 125,
        }
    }

    pub fn text(self, address: u128) -> String {
        match self {
            Self::V4 => Ipv4Addr::from_bits(address as u32).to_string(),
            Self::V6 => Ipv6Addr::from_bits(address).to_string(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    pub family: Family,
    pub address: u128,
    pub length: u8,
}

impl Prefix {
    /// The prefix of that length that the address lies in.
    pub fn around(family: Family, address: u128, length: u8) -> Self {
        Self { family, address: address & !host_mask(family, length), length }
    }

    /// Any address in it.
    pub fn member(self, random: &mut Random) -> u128 {
        self.address | random.wide() & host_mask(self.family, self.length)
    }
}

impl From<Prefix> for IpPrefix {
    fn from(Prefix { family, address, length }: Prefix) -> Self {
        match family {
            Family::V4 => Self::V4(ruleset::Prefix { address: address as u32, length }),
            Family::V6 => Self::V6(ruleset::Prefix { address, length }),
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.family.text(self.address), self.length)
    }
}

fn host_mask(family: Family, length: u8) -> u128 {
    1u128.checked_shl((family.bits() - length).into()).unwrap_or(0).wrapping_sub(1)
}

/// Different prefixes of one family, in no order.
#[derive(Clone)]
pub struct Prefixes {
    family: Family,
    all: Vec<Prefix>,
    by_length: FxHashMap<u8, FxHashSet<u128>>,
}

impl Prefixes {
    fn new(family: Family) -> Self {
        Self { family, all: Vec::new(), by_length: FxHashMap::default() }
    }

    fn insert(&mut self, prefix: Prefix) {
        if self.by_length.entry(prefix.length).or_default().insert(prefix.address) {
            self.all.push(prefix);
        }
    }

    /// As block lists are: 80 % hosts, 17 % /24, the rest /16 to /23.
    pub fn blocklist_v4(count: usize, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut set = Self::new(Family::V4);
        while set.all.len() < count {
            let length = match random.between(0, 99) {
                0..80 => 32,
                80..97 => 24,
                _ => random.between(16, 23) as u8,
            };
            let address = Family::V4.random_address(random);
            set.insert(Prefix::around(Family::V4, address, length));
        }
        set
    }

    /// Single addresses.
    pub fn hosts_v4(count: usize, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut set = Self::new(Family::V4);
        while set.all.len() < count {
            set.insert(Prefix::around(Family::V4, Family::V4.random_address(random), 32));
        }
        set
    }

    /// The prefixes of a single address, for filters that take no others.
    pub fn hosts(&self) -> Self {
        let mut set = Self::new(self.family);
        for prefix in self.all.iter().filter(|prefix| prefix.length == self.family.bits()) {
            set.insert(*prefix);
        }
        set
    }

    pub fn iter(&self) -> impl Iterator<Item = &Prefix> {
        self.all.iter()
    }

    /// Prefixes of /20 to /31.
    pub fn networks_v4(count: usize, seed: u64) -> Self {
        Self::of_lengths(count, seed, 20..=31)
    }

    /// One inside the other, of all lengths but that of an address.
    pub fn nested(family: Family) -> Self {
        let mut set = Self::new(family);
        let address = match family {
            Family::V4 => 0x0a01_0203,
            Family::V6 => 0x2001_0db8 << 96 | 7,
        };
        for length in 1..family.bits() {
            set.insert(Prefix::around(family, address, length));
        }
        set
    }

    /// Addresses for [`Self::nested`]: one is in all prefixes, the next in all but the longest, and
    /// so on.
    pub fn outward(&self) -> Vec<u128> {
        let longest = self.all.iter().max_by_key(|prefix| prefix.length);
        let address = longest.map_or(0, |prefix| prefix.address);
        let flipped = |bit: u8| address ^ 1 << (self.family.bits() - 1 - bit);
        (1..self.family.bits()).map(flipped).collect()
    }

    fn of_lengths(count: usize, seed: u64, lengths: RangeInclusive<u64>) -> Self {
        let random = &mut Random::new(seed);
        let mut set = Self::new(Family::V4);
        while set.all.len() < count {
            let length = random.between(*lengths.start(), *lengths.end()) as u8;
            let address = Family::V4.random_address(random);
            set.insert(Prefix::around(Family::V4, address, length));
        }
        set
    }

    /// Prefixes of /32 to /128 in 20,000 providers' /32s, of which one in ten is listed whole.
    pub fn blocklist_v6(count: usize, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut set = Self::new(Family::V6);
        let around = |address, length| Prefix::around(Family::V6, address, length);
        let providers: Vec<Prefix> =
            (0..20_000).map(|_| around(Family::V6.random_address(random), 32)).collect();
        for whole in providers.iter().step_by(10) {
            set.insert(*whole);
        }
        while set.all.len() < count {
            let length = match random.between(0, 99) {
                0..30 => 48,
                30..45 => 56,
                45..75 => 64,
                75..95 => 128,
                _ => random.between(33, 127) as u8,
            };
            let address = random.pick(&providers).member(random);
            set.insert(around(address, length));
        }
        set
    }

    pub fn contains(&self, address: u128) -> bool {
        self.by_length.iter().any(|(&length, addresses)| {
            addresses.contains(&(address & !host_mask(self.family, length)))
        })
    }

    /// Addresses in listed prefixes, each prefix with the same probability.
    pub fn hits(&self, count: usize, seed: u64) -> Vec<u128> {
        let random = &mut Random::new(seed);
        (0..count).map(|_| random.pick(&self.all).member(random)).collect()
    }

    /// Addresses from anywhere that no prefix holds.
    pub fn misses(&self, count: usize, seed: u64) -> Vec<u128> {
        let random = &mut Random::new(seed);
        self.outside(count, || self.family.random_address(random))
    }

    /// Addresses that no prefix holds, but whose first `length` bits some longer prefix has too.
    pub fn misses_inside(&self, length: u8, count: usize, seed: u64) -> Vec<u128> {
        let random = &mut Random::new(seed);
        let longer: Vec<&Prefix> = self.all.iter().filter(|p| p.length > length).collect();
        self.outside(count, || {
            let near = random.pick(&longer).address;
            Prefix::around(self.family, near, length).member(random)
        })
    }

    fn outside(&self, count: usize, mut address: impl FnMut() -> u128) -> Vec<u128> {
        std::iter::repeat_with(&mut address)
            .filter(|&address| !self.contains(address))
            .take(count)
            .collect()
    }

    /// The texts of `count` list files, over which all prefixes are spread.
    pub fn files(&self, count: usize) -> Vec<String> {
        let mut files = vec![String::new(); count];
        for (number, prefix) in self.all.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(files[number % count], "{prefix}");
        }
        files
    }
}
