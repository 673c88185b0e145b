//! What a rule accepts of a field: the values of its key without those of the key's negation.

use xdp_common::packet::transport::{ICMP, ICMPV6, SCTP, TCP, UDP};

use crate::image::intervals::Address;
use crate::ruleset::{Fragment, Matches, Prefix, Protocol, Vlan};

/// The protocol of a packet, as far as rules can tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Number(u8),
    /// One that no rule names.
    Other,
    /// That of a fragment whose header names an extension header.
    Unknown,
}

/// Whether a packet is a fragment, as an index into [`Fragment::accepted`].
pub const FRAGMENTS: [xdp_common::packet::Fragment; 3] = [
    xdp_common::packet::Fragment::NONE,
    xdp_common::packet::Fragment::FIRST,
    xdp_common::packet::Fragment::LATER,
];

/// Whether a rule names anything that only an IP packet has.
pub fn asks_ip(matches: &Matches) -> bool {
    let not = &matches.not;
    matches.protocol.is_some()
        || matches.source.is_some()
        || matches.destination.is_some()
        || matches.source_port.is_some()
        || matches.destination_port.is_some()
        || matches.icmp_type.is_some()
        || matches.tcp_flags.is_some()
        || matches.dscp.is_some()
        || matches.length.is_some()
        || matches.ttl.is_some()
        || matches.fragment.is_some()
        || not.protocol.is_some()
        || not.source.is_some()
        || not.destination.is_some()
        || not.source_port.is_some()
        || not.destination_port.is_some()
        || not.icmp_type.is_some()
        || not.tcp_flags.is_some()
        || not.dscp.is_some()
        || not.length.is_some()
        || not.ttl.is_some()
        || not.fragment.is_some()
}

/// Whether a rule can match a packet of this family and protocol that is, or is not, a fragment
/// (an index into [`FRAGMENTS`]).
pub fn protocol(matches: &Matches, is_ipv6: bool, fragment: usize, carried: Carried) -> bool {
    let not = &matches.not;
    let is = |protocol: Protocol| match protocol {
        Protocol::Number(number) => carried == Carried::Number(number),
        Protocol::Icmp => !is_ipv6 && carried == Carried::Number(ICMP),
        Protocol::Icmpv6 => is_ipv6 && carried == Carried::Number(ICMPV6),
    };
    let excluded = not.protocol.as_ref().is_some_and(|protocols| {
        carried == Carried::Unknown || protocols.iter().any(|protocol| is(*protocol))
    });
    let later = FRAGMENTS[fragment] == xdp_common::packet::Fragment::LATER;
    let ports = matches.source_port.is_some()
        || matches.destination_port.is_some()
        || not.source_port.is_some()
        || not.destination_port.is_some();
    let flags = matches.tcp_flags.is_some() || not.tcp_flags.is_some();
    let types = matches.icmp_type.is_some() || not.icmp_type.is_some();
    let has_ports = !later && matches!(carried, Carried::Number(TCP | UDP | SCTP));
    let has_flags = !later && carried == Carried::Number(TCP);
    let fragments = |key: Option<Fragment>| key.map(|key| key.accepted()[fragment]);
    matches.protocol.is_none_or(is)
        && !excluded
        && (!ports || has_ports)
        && (!flags || has_flags)
        // Whether a rule means ICMP or ICMPv6 is said by its protocol, which it has to name.
        && (!types || !later)
        && fragments(matches.fragment) != Some(false)
        && fragments(not.fragment) != Some(true)
}

/// Whether a value is among those of a key, or the key is left out; and not among those of its
/// negation.
pub fn value<T: PartialEq>(key: Option<&[T]>, not: Option<&[T]>, value: &T) -> bool {
    key.is_none_or(|values| values.contains(value))
        && not.is_none_or(|values| !values.contains(value))
}

/// Likewise, of ranges with both ends in them.
pub fn in_ranges<T: Copy + PartialOrd>(
    key: Option<&[(T, T)]>,
    not: Option<&[(T, T)]>,
    value: T,
) -> bool {
    let holds =
        |ranges: &[(T, T)]| ranges.iter().any(|(first, last)| *first <= value && value <= *last);
    key.is_none_or(holds) && !not.is_some_and(holds)
}

/// Whether TCP flags look as a rule wants them.
pub fn flags(matches: &Matches, value: u8) -> bool {
    let looks = |flags: crate::ruleset::TcpFlags| value & flags.mask == flags.value;
    matches.tcp_flags.is_none_or(looks) && !matches.not.tcp_flags.is_some_and(looks)
}

/// Whether a rule accepts a tag whose id no rule names.
pub fn other_tag(matches: &Matches) -> bool {
    matches.vlan.is_none()
}

/// Whether a rule accepts a frame without a tag.
pub fn untagged(matches: &Matches) -> bool {
    matches.vlan.as_ref().is_none_or(|vlan| *vlan == Vlan::Untagged) && matches.not.vlan.is_none()
}

/// The ids that a condition names.
pub fn ids(vlan: Option<&Vlan>) -> &[u16] {
    match vlan {
        Some(Vlan::Ids(ids)) => ids,
        Some(Vlan::Untagged) | None => &[],
    }
}

/// The values that a rule accepts of a field of 16 bits, as ranges with their ends excluded, which
/// neither touch nor overlap. `None` if it names neither the key nor its negation.
pub fn ranges(key: Option<&[(u16, u16)]>, not: Option<&[(u16, u16)]>) -> Option<Vec<(u32, u32)>> {
    const ALL: [(u16, u16); 1] = [(0, u16::MAX)];
    if key.is_none() && not.is_none() {
        return None;
    }
    let excluded = united(not.unwrap_or_default());
    let mut left = Vec::new();
    let mut excluded = excluded.iter().peekable();
    for (mut first, end) in united(key.unwrap_or(&ALL)) {
        while first < end {
            while excluded.next_if(|range| range.1 <= first).is_some() {}
            match excluded.peek() {
                Some(range) if range.0 < end => {
                    if first < range.0 {
                        left.push((first, range.0));
                    }
                    first = range.1;
                }
                _ => {
                    left.push((first, end));
                    first = end;
                }
            }
        }
    }
    Some(left)
}

/// The ranges with their ends excluded; those that touch or overlap are joined.
fn united(ranges: &[(u16, u16)]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> =
        ranges.iter().map(|&(first, last)| (u32::from(first), u32::from(last) + 1)).collect();
    ranges.sort_unstable();
    let mut united: Vec<(u32, u32)> = Vec::new();
    for (first, end) in ranges {
        match united.last_mut() {
            Some(last) if first <= last.1 => last.1 = last.1.max(end),
            _ => united.push((first, end)),
        }
    }
    united
}

/// Prefixes that do not lie within one of the others.
pub fn outside<A: Address>(prefixes: &[Prefix<A>], others: &[Prefix<A>]) -> Vec<Prefix<A>> {
    if others.is_empty() {
        return prefixes.to_vec();
    }
    // Of prefixes that hold each other, only the outermost is kept: then none overlap, and the one
    // that may hold an address is the last that begins before it.
    let mut sorted = others.to_vec();
    sorted.sort_unstable_by_key(|prefix| (prefix.address, prefix.length));
    let mut outermost: Vec<(A, A)> = Vec::new();
    for prefix in sorted {
        if outermost.last().is_none_or(|(_, last)| *last < prefix.address) {
            outermost.push((prefix.address, prefix.address.last(prefix.length)));
        }
    }
    let is_outside = |prefix: &&Prefix<A>| {
        let at = outermost.partition_point(|(first, _)| *first <= prefix.address);
        let around = at.checked_sub(1).map(|at| outermost[at].1);
        around.is_none_or(|last| last < prefix.address.last(prefix.length))
    };
    prefixes.iter().filter(is_outside).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_negation_leaves_of_ranges() {
        let all = Some(&[(0, u16::MAX)][..]);
        assert_eq!(ranges(None, None), None);
        assert_eq!(ranges(Some(&[(5, 9), (1, 5)]), None), Some(vec![(1, 10)]));
        assert_eq!(ranges(None, Some(&[(0, 9), (20, 20)])), Some(vec![(10, 20), (21, 65536)]));
        assert_eq!(ranges(None, all), Some(vec![]));
        assert_eq!(ranges(all, Some(&[(1, u16::MAX)])), Some(vec![(0, 1)]));
        let key = [(10, 20), (30, 40), (50, 60)];
        let not = [(15, 35), (38, 38), (40, 49), (60, 70)];
        let left = vec![(10, 15), (36, 38), (39, 40), (50, 60)];
        assert_eq!(ranges(Some(&key), Some(&not)), Some(left));
    }

    /// Each value by itself, against what a range is.
    #[test]
    fn ranges_are_what_each_value_says() {
        let sets: [&[(u16, u16)]; 5] =
            [&[(0, 3)], &[(2, 2), (4, 9)], &[(7, 7)], &[(3, 12), (5, 6)], &[(0, u16::MAX)]];
        for key in sets {
            for not in sets {
                let left = ranges(Some(key), Some(not)).unwrap();
                for value in 0..20u16 {
                    let among = left
                        .iter()
                        .any(|(first, end)| *first <= u32::from(value) && u32::from(value) < *end);
                    let expected = in_ranges(Some(key), Some(not), value);
                    assert_eq!(among, expected, "{key:?} without {not:?}: {value}");
                }
            }
        }
    }

    #[test]
    fn prefixes_inside_excluded_ones_are_left_out() {
        let prefix = |address: u32, length| Prefix { address, length };
        let (net, inside, host, beside) = (
            prefix(0x0a00_0000, 8),
            prefix(0x0a01_0000, 16),
            prefix(0x0a01_0203, 32),
            prefix(0x0b00_0000, 8),
        );
        assert_eq!(outside(&[net, beside], &[inside, host]), [net, beside]);
        assert_eq!(outside(&[host, inside, beside], &[host, net]), [beside]);
        assert_eq!(outside(&[net], &[net]), []);
        assert_eq!(outside(&[net], &[prefix(0, 0)]), []);
        assert_eq!(outside(&[net, inside], &[]), [net, inside]);
    }
}
