//! Turns `first-last` ranges into prefixes.

use std::net::IpAddr;

use super::prefix::IpPrefix;
use crate::ruleset::Prefix;

/// A range of addresses, both ends included. The first is not greater than the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpRange {
    V4(u32, u32),
    V6(u128, u128),
}

/// Why two addresses are not the ends of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeError {
    Reversed,
    Families,
}

impl RangeError {
    /// What is wrong, worded to follow the value.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Reversed => "is a range whose end comes before its start",
            Self::Families => "is a range from one address family to the other",
        }
    }

    /// A hint that says what to write instead.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Reversed => "write the lower address first",
            Self::Families => "both ends are IPv4 or both are IPv6",
        }
    }
}

/// Reads `FIRST-LAST`; `None` if the text is not two addresses with a `-` between them.
pub(super) fn parse(text: &str) -> Option<Result<IpRange, RangeError>> {
    let (first, last) = text.split_once('-')?;
    match (first.trim_end().parse().ok()?, last.trim_start().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ok(IpRange::V4(first.to_bits(), last.to_bits())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ok(IpRange::V6(first.to_bits(), last.to_bits())))
        }
        (first, last) if first.is_ipv4() == last.is_ipv4() => Some(Err(RangeError::Reversed)),
        _ => Some(Err(RangeError::Families)),
    }
}

/// The fewest prefixes that hold exactly the addresses of a range.
pub(super) fn prefixes(range: IpRange) -> Vec<IpPrefix> {
    match range {
        IpRange::V4(first, last) => prefixes_v4(first, last).map(IpPrefix::V4).collect(),
        IpRange::V6(first, last) => prefixes_v6(first, last).map(IpPrefix::V6).collect(),
    }
}

/// The fewest prefixes that hold exactly the addresses from `first` to `last`, both included.
pub(super) fn prefixes_v4(first: u32, last: u32) -> impl Iterator<Item = Prefix<u32>> {
    // Both ends fit 32 bits, so every address between them does.
    Blocks::new(first.into(), last.into(), 32)
        .map(|(address, length)| Prefix { address: address as u32, length })
}

/// The fewest prefixes that hold exactly the addresses from `first` to `last`, both included.
pub(super) fn prefixes_v6(first: u128, last: u128) -> impl Iterator<Item = Prefix<u128>> {
    Blocks::new(first, last, 128).map(|(address, length)| Prefix { address, length })
}

/// Yields, from the front, always the largest aligned block that still fits: at most two blocks of
/// each size.
struct Blocks {
    next: Option<u128>,
    last: u128,
    width: u32,
}

impl Blocks {
    fn new(first: u128, last: u128, width: u32) -> Self {
        Self { next: (first <= last).then_some(first), last, width }
    }
}

impl Iterator for Blocks {
    type Item = (u128, u8);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next?;
        let aligned = first.trailing_zeros();
        let fitting = match (self.last - first).checked_add(1) {
            Some(addresses) => addresses.ilog2(),
            None => 128,
        };
        let bits = aligned.min(fitting).min(self.width);
        let end = first | 1u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1);
        self.next = (end < self.last).then(|| end + 1);
        // At most the width, which is 32 or 128.
        Some((first, (self.width - bits) as u8))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(first: u32, last: u32) -> Vec<(u32, u8)> {
        prefixes_v4(first, last).map(|prefix| (prefix.address, prefix.length)).collect()
    }

    /// The first and the last address of a prefix.
    fn ends(address: u128, length: u8, width: u32) -> (u128, u128) {
        let bits = width - u32::from(length);
        (address, address | 1u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1))
    }

    /// Checks that the blocks cover exactly `first` to `last` in order, that each is aligned, and
    /// that no two neighbours could be merged.
    fn covers(
        blocks: &[(u128, u8)],
        first: u128,
        last: u128,
        width: u32,
    ) -> Result<(), TestCaseError> {
        let mut at = Some(first);
        for &(address, length) in blocks {
            prop_assert_eq!(Some(address), at);
            let (_, end) = ends(address, length, width);
            prop_assert_eq!(address & ends(0, length, width).1, 0, "not aligned");
            prop_assert!(end <= last);
            at = end.checked_add(1);
        }
        prop_assert_eq!(at, last.checked_add(1));
        for pair in blocks.windows(2) {
            let ((a, length), (_, other)) = (pair[0], pair[1]);
            let (_, parent) = ends(0, length - 1, width);
            let mergeable = length == other && a & parent == 0;
            prop_assert!(!mergeable, "{:?} could be one", pair);
        }
        Ok(())
    }

    #[test]
    fn whole_spaces_and_single_addresses() {
        assert_eq!(v4(0, u32::MAX), [(0, 0)]);
        assert_eq!(v4(u32::MAX, u32::MAX), [(u32::MAX, 32)]);
        assert_eq!(v4(0, 0), [(0, 32)]);
        assert_eq!(v4(1, 0), []);
        assert_eq!(v4(1, u32::MAX - 1).len(), 62);
        assert_eq!(
            prefixes_v6(0, u128::MAX).collect::<Vec<_>>(),
            [Prefix { address: 0, length: 0 }]
        );
        assert_eq!(prefixes_v6(1, u128::MAX - 1).count(), 254);
    }

    proptest! {
        #[test]
        fn ipv4_ranges_are_covered_exactly(a: u32, b: u32) {
            let (first, last) = (a.min(b), a.max(b));
            let blocks: Vec<_> =
                v4(first, last).into_iter().map(|(address, length)| (address.into(), length)).collect();
            covers(&blocks, first.into(), last.into(), 32)?;
        }

        #[test]
        fn short_ranges_are_covered_exactly(first: u32, more in 0u32..1024) {
            let last = first.saturating_add(more);
            let blocks: Vec<_> =
                v4(first, last).into_iter().map(|(address, length)| (address.into(), length)).collect();
            covers(&blocks, first.into(), last.into(), 32)?;
        }

        #[test]
        fn ipv6_ranges_are_covered_exactly(a: u128, b: u128) {
            let (first, last) = (a.min(b), a.max(b));
            let blocks: Vec<_> =
                prefixes_v6(first, last).map(|prefix| (prefix.address, prefix.length)).collect();
            covers(&blocks, first, last, 128)?;
        }
    }
}
