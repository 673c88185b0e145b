//! Addresses and prefixes as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ruleset::Prefix;

/// A prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpPrefix {
    V4(Prefix<u32>),
    V6(Prefix<u128>),
}

impl IpPrefix {
    /// The prefix length, in bits.
    pub const fn length(&self) -> u8 {
        match self {
            Self::V4(prefix) => prefix.length,
            Self::V6(prefix) => prefix.length,
        }
    }

    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Whether it is a single address.
    pub const fn is_host(&self) -> bool {
        match self {
            Self::V4(prefix) => prefix.length == 32,
            Self::V6(prefix) => prefix.length == 128,
        }
    }

    /// The prefix of that length around this one. `length` is at most this prefix's own.
    pub fn shortened(&self, length: u8) -> Self {
        match self {
            Self::V4(prefix) => Self::V4(masked_v4(prefix.address, length).0),
            Self::V6(prefix) => Self::V6(masked_v6(prefix.address, length).0),
        }
    }

    /// Whether it holds all addresses of the other one. A prefix holds itself.
    pub fn holds(&self, other: &Self) -> bool {
        self.length() <= other.length() && other.shortened(self.length()) == *self
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The message about a prefix or a range that holds every address of the family.
    pub(super) fn all_of_it(self) -> String {
        format!("holds every {} address", self.name())
    }
}

impl fmt::Display for IpPrefix {
    /// `ADDRESS/LENGTH`, also for a single address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) => {
                write!(f, "{}/{}", Ipv4Addr::from_bits(prefix.address), prefix.length)
            }
            Self::V6(prefix) => {
                write!(f, "{}/{}", Ipv6Addr::from_bits(prefix.address), prefix.length)
            }
        }
    }
}

/// A prefix as read from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Masked: no bit is set beyond the length.
    pub prefix: IpPrefix,
    /// Whether masking changed anything.
    pub host_bits: bool,
}

/// Why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    Address,
    Ipv4Length,
    Ipv6Length,
    /// A netmask in place of the length; the length would be this.
    Netmask(u8),
    Zone,
    Range,
}

impl PrefixError {
    /// A hint that says what to write instead.
    pub fn hint(self) -> String {
        match self {
            Self::Address => "write an address, or an address and a length, \
                              such as 203.0.113.0/24 or 2001:db8::/32"
                .into(),
            Self::Ipv4Length => "the length of an IPv4 prefix is 0 to 32".into(),
            Self::Ipv6Length => "the length of an IPv6 prefix is 0 to 128".into(),
            Self::Netmask(length) => format!("write the length, /{length}, not a netmask"),
            Self::Zone => "a zone id has no place in a prefix".into(),
            Self::Range => "a range looks like 203.0.113.1-203.0.113.9".into(),
        }
    }
}

/// Reads `ADDRESS` or `ADDRESS/LENGTH`. Bits beyond the length are cleared, and reported in
/// [`Parsed::host_bits`].
pub fn parse(text: &str) -> Result<Parsed, PrefixError> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(if text.contains('%') {
            PrefixError::Zone
        } else if text
            .split_once('-')
            .is_some_and(|(first, _)| first.trim().parse::<IpAddr>().is_ok())
        {
            PrefixError::Range
        } else {
            PrefixError::Address
        });
    };
    match address {
        IpAddr::V4(address) => {
            let length = match length {
                None => 32,
                Some(text) => read_length(text, 32).ok_or_else(|| {
                    netmask(text).map_or(PrefixError::Ipv4Length, PrefixError::Netmask)
                })?,
            };
            let (prefix, host_bits) = masked_v4(address.to_bits(), length);
            Ok(Parsed { prefix: IpPrefix::V4(prefix), host_bits })
        }
        IpAddr::V6(address) => {
            let length = match length {
                None => 128,
                Some(text) => read_length(text, 128).ok_or(if text.contains('%') {
                    PrefixError::Zone
                } else {
                    PrefixError::Ipv6Length
                })?,
            };
            let (prefix, host_bits) = masked_v6(address.to_bits(), length);
            Ok(Parsed { prefix: IpPrefix::V6(prefix), host_bits })
        }
    }
}

/// Reads a length of up to `most` bits: only digits, without a sign or a leading zero.
fn read_length(text: &str, most: u8) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|&length| plain && length <= most)
}

fn netmask(text: &str) -> Option<u8> {
    let mask = text.parse::<Ipv4Addr>().ok()?.to_bits();
    let length = mask.leading_ones();
    (mask.checked_shl(length).unwrap_or(0) == 0).then_some(length as u8)
}

/// The prefix of this length around the address, and whether that cleared any bits. `length` is at
/// most 32.
#[inline]
pub fn masked_v4(address: u32, length: u8) -> (Prefix<u32>, bool) {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    (Prefix { address: address & mask, length }, address & !mask != 0)
}

/// The prefix of this length around the address, and whether that cleared any bits. `length` is at
/// most 128.
#[inline]
pub fn masked_v6(address: u128, length: u8) -> (Prefix<u128>, bool) {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    (Prefix { address: address & mask, length }, address & !mask != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_what_is_inside() {
        let of = |text: &str| parse(text).unwrap().prefix;
        for (outer, inner, holds) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/7", false),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            assert_eq!(of(outer).holds(&of(inner)), holds, "{outer} {inner}");
        }
        assert!(of("10.0.0.1").is_host() && of("::1").is_host() && !of("::/127").is_host());
    }

    #[test]
    fn prefixes_read_and_mask() {
        for (text, shown, host_bits) in [
            ("203.0.113.7", "203.0.113.7/32", false),
            ("203.0.113.0/24", "203.0.113.0/24", false),
            ("10.1.2.3/8", "10.0.0.0/8", true),
            ("0.0.0.0/0", "0.0.0.0/0", false),
            ("1.2.3.4/0", "0.0.0.0/0", true),
            ("::/0", "::/0", false),
            ("2001:db8::1", "2001:db8::1/128", false),
            ("2001:DB8::1/32", "2001:db8::/32", true),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4/128", false),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!((parsed.prefix.to_string().as_str(), parsed.host_bits), (shown, host_bits));
        }
        assert!(matches!(parse("::ffff:1.2.3.4").unwrap().prefix, IpPrefix::V6(_)));
    }

    #[test]
    fn what_is_not_a_prefix_says_why() {
        for (text, error) in [
            ("", PrefixError::Address),
            ("1.2.3", PrefixError::Address),
            ("01.2.3.4", PrefixError::Address),
            ("1.2.3.4 ", PrefixError::Address),
            ("example.org", PrefixError::Address),
            ("1.2.3.4/", PrefixError::Ipv4Length),
            ("1.2.3.4/33", PrefixError::Ipv4Length),
            ("1.2.3.4/08", PrefixError::Ipv4Length),
            ("1.2.3.4/+8", PrefixError::Ipv4Length),
            ("1.2.3.4/8/8", PrefixError::Ipv4Length),
            ("1.2.3.0/255.255.255.0", PrefixError::Netmask(24)),
            ("1.2.3.0/255.255.0.255", PrefixError::Ipv4Length),
            ("::1/129", PrefixError::Ipv6Length),
            ("fe80::1%eth0", PrefixError::Zone),
            ("fe80::%eth0/64", PrefixError::Zone),
            ("1.2.3.4-1.2.3.9", PrefixError::Range),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
