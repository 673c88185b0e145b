//! The filter in front of a table, whose bits say which prefixes may have an entry there.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use xdp_common::filter::dynamic::{
    self, FILTER_BITS, FILTER_WORDS, LENGTHS_V6, SHORTEST_V6, flag, host_bit, prefix_bit_v4,
    prefix_bit_v6,
};

use crate::config::prefix::IpPrefix;
use crate::datapath::maps::dynamic::memory::MappedValue;
use crate::datapath::maps::handles;
use xdp_common::maps::FILTER;

/// A filter in the kernel.
pub(super) struct MappedFilter {
    memory: MappedValue<dynamic::EntryFilter>,
}

impl MappedFilter {
    /// Makes a filter without any bit set.
    pub(super) fn create() -> io::Result<(Self, OwnedFd)> {
        let map = handles::create(FILTER, "xdpctl_filter")?;
        Ok((Self::open(&map)?, map))
    }

    pub(super) fn open(map: &OwnedFd) -> io::Result<Self> {
        Ok(Self { memory: MappedValue::open(map)? })
    }

    /// Sets the bits of a prefix, and returns the flags that have the program look at them.
    pub(super) fn add(&self, multipliers: [u64; 2], prefix: &IpPrefix) -> u32 {
        bits(multipliers, prefix, |bits| self.set(bits))
    }

    fn set(&self, bits: Range<u32>) {
        let mut at = bits.start;
        while at < bits.end {
            let count = (64 - at % 64).min(bits.end - at);
            let mask = u64::MAX >> (64 - count) << (at % 64);
            let word = (at / 64) as usize % FILTER_WORDS;
            // SAFETY: the word lies in the mapping, which lives as long as `self`; it is aligned,
            // and all that access it do so in one.
            let word = unsafe { AtomicU64::from_ptr(&raw mut (*self.memory.as_ptr())[word]) };
            word.fetch_or(mask, Ordering::Relaxed);
            at += count;
        }
    }
}

/// Calls `set` with the bits of a prefix in the filter of its table, and returns the flags, beside
/// the table's own, that have the program look at them.
pub fn bits(multipliers: [u64; 2], prefix: &IpPrefix, mut set: impl FnMut(Range<u32>)) -> u32 {
    let mut one = |bit: u32| set(bit..bit + 1);
    match *prefix {
        IpPrefix::V4(prefix) if prefix.length == 32 => {
            one(host_bit(multipliers, [prefix.address.into(), 0]));
            0
        }
        IpPrefix::V4(prefix) => {
            let first = prefix_bit_v4(prefix.address);
            let count = 1 << FILTER_BITS.saturating_sub(prefix.length.into());
            set(first..first + count);
            0
        }
        IpPrefix::V6(prefix) => {
            let (upper, lower) = ((prefix.address >> 64) as u64, prefix.address as u64);
            let length = u32::from(prefix.length);
            if length == 128 {
                one(host_bit(multipliers, [upper, lower]));
                return 0;
            }
            if length < SHORTEST_V6 {
                return flag::V6_ALWAYS;
            }
            let fitting = LENGTHS_V6.into_iter().rev().find(|(at, _)| *at <= length);
            let (at, flag) = fitting.unwrap_or(LENGTHS_V6[0]);
            for part in 0..1u64 << at.saturating_sub(length) {
                let upper = upper + (part << (64 - at));
                one(prefix_bit_v6(multipliers, upper, at));
            }
            flag
        }
    }
}

/// How much a removed entry weighs in the decision to make its filter anew: as much as it has bits.
/// An IPv6 prefix that is too short for bits sends all packets to the table, and weighs more than
/// any.
pub fn weight(prefix: &IpPrefix) -> u64 {
    match prefix {
        IpPrefix::V4(prefix) => 1 << FILTER_BITS.saturating_sub(prefix.length.into()),
        IpPrefix::V6(prefix) if u32::from(prefix.length) < SHORTEST_V6 => u64::from(u32::MAX),
        IpPrefix::V6(prefix) => 1 << LENGTHS_V6[0].0.saturating_sub(prefix.length.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::prefix::{masked_v4, masked_v6, parse};

    const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

    fn of(prefix: &IpPrefix) -> (Vec<Range<u32>>, u32) {
        let mut found = Vec::new();
        let flags = bits(MULTIPLIERS, prefix, |bits| found.push(bits));
        (found, flags)
    }

    fn holds(bits: &[Range<u32>], bit: u32) -> bool {
        bits.iter().any(|bits| bits.contains(&bit))
    }

    proptest! {
        /// The filter never hides the table's entry for an address of a prefix.
        #[test]
        fn addresses_find_the_bits_of_their_prefixes(
            address: u32, length in 0u8..32, upper: u64, lower: u64, length_v6 in 0u8..128,
        ) {
            let (prefix, _) = masked_v4(address, length);
            let (bits, _) = of(&IpPrefix::V4(prefix));
            prop_assert!(holds(&bits, prefix_bit_v4(address)));
            prop_assert!(bits.iter().all(|bits| bits.end <= 1 << FILTER_BITS));

            let (prefix, _) =
                masked_v6(u128::from(upper) << 64 | u128::from(lower), length_v6);
            let (bits, flags) = of(&IpPrefix::V6(prefix));
            let asked = LENGTHS_V6.iter().any(|(at, flag)| {
                flags & flag != 0 && holds(&bits, prefix_bit_v6(MULTIPLIERS, upper, *at))
            });
            prop_assert!(asked || flags == flag::V6_ALWAYS);
            prop_assert!(bits.iter().all(|bits| bits.end <= 1 << FILTER_BITS));
        }
    }

    #[test]
    fn bits_and_weights_by_length() {
        for (text, count, weighs, flags) in [
            ("192.0.2.1", 1, 1, 0),
            ("192.0.2.0/24", 1, 1, 0),
            ("192.0.0.0/22", 1, 1, 0),
            ("192.0.0.0/16", 64, 64, 0),
            ("0.0.0.0/0", 1 << 22, 1 << 22, 0),
            ("2001:db8::1", 1, 1, 0),
            ("2001:db8::/64", 1, 1, flag::V6_AT_64),
            ("2001:db8::/56", 1, 1, flag::V6_AT_48),
            ("2001:db8::/32", 1, 1, flag::V6_AT_32),
            ("2001:db8::/29", 8, 8, flag::V6_AT_32),
            ("2000::/3", 0, u64::from(u32::MAX), flag::V6_ALWAYS),
        ] {
            let prefix = parse(text).unwrap().prefix;
            let (bits, found) = of(&prefix);
            let bits: usize = bits.iter().map(|bits| bits.len()).sum();
            assert_eq!((bits, weight(&prefix), found), (count, weighs, flags), "{text}");
        }
    }
}
