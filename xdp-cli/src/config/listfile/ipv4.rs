//! Reads IPv4 addresses and prefixes from bytes.
//!
//! Lists have up to a million lines, nearly all of them IPv4, and a reload waits for them. So this
//! goes over the bytes once and allocates nothing.

/// Reads an address at `at`, and returns where it ends. Accepts exactly what [`std::net::Ipv4Addr`]
/// does.
#[inline]
pub(super) fn address(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let (a, at) = l4_octet(bytes, at)?;
    let (b, at) = l4_octet(bytes, dot(bytes, at)?)?;
    let (c, at) = l4_octet(bytes, dot(bytes, at)?)?;
    let (d, at) = l4_octet(bytes, dot(bytes, at)?)?;
    Some((a << 24 | b << 16 | c << 8 | d, at))
}

/// Reads an address at `at`, with or without a length, and returns where it ends. The address is
/// not masked.
#[inline]
pub(super) fn prefix(bytes: &[u8], at: usize) -> Option<(u32, u8, usize)> {
    let (address, at) = address(bytes, at)?;
    if bytes.get(at) != Some(&b'/') {
        return Some((address, 32, at));
    }
    let (length, at) = l4_octet(bytes, at + 1)?;
    (length <= 32).then_some((address, length as u8, at))
}

#[inline]
fn dot(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'.')).then_some(at + 1)
}

/// Reads a number of 0 to 255 without leading zeros. Stops before a digit too many, which the
/// caller then rejects.
#[inline]
fn l4_octet(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = digit(bytes, at)?;
    let Some(second) = digit(bytes, at + 1) else {
        return Some((first, at + 1));
    };
    if first == 0 {
        return None;
    }
    let Some(third) = digit(bytes, at + 2) else {
        return Some((first * 10 + second, at + 2));
    };
    let number = first * 100 + second * 10 + third;
    (number <= 255).then_some((number, at + 3))
}

#[inline]
fn digit(bytes: &[u8], at: usize) -> Option<u32> {
    let digit = bytes.get(at)?.wrapping_sub(b'0');
    (digit <= 9).then_some(u32::from(digit))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// Reads all of the text as an address.
    fn whole(text: &str) -> Option<Ipv4Addr> {
        address(text.as_bytes(), 0)
            .filter(|(_, end)| *end == text.len())
            .map(|(address, _)| Ipv4Addr::from_bits(address))
    }

    #[test]
    fn lengths() {
        for (text, read) in [
            ("10.0.0.1", Some((0x0a00_0001, 32, 8))),
            ("10.0.0.1/8 x", Some((0x0a00_0001, 8, 10))),
            ("10.0.0.0/0", Some((0x0a00_0000, 0, 10))),
            ("10.0.0.0/33", None),
            ("10.0.0.0/08", None),
            ("10.0.0.0/", None),
            ("10.0.0", None),
        ] {
            assert_eq!(prefix(text.as_bytes(), 0), read, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn an_address_reads_as_std_reads_it(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(whole(&address.to_string()), Some(address));
        }

        #[test]
        fn near_misses_read_as_std_reads_them(text in "[0-9]{0,4}(\\.[0-9]{0,4}){2,4}[ .]?") {
            prop_assert_eq!(whole(&text), text.parse().ok());
        }

        #[test]
        fn small_octets_read_as_std_reads_them(text in "[0-2]?[0-9]{1,2}(\\.[0-2]?[0-9]{1,2}){3}") {
            prop_assert_eq!(whole(&text), text.parse().ok());
        }
    }
}
