//! Whether a rule can match at all, by the contract: those that cannot are refused.

use std::net::IpAddr;

use super::config::{Action, Fragment, Prefix, Protocol, Rule, Vlan, bits, with_bits};

/// Whether the rule alone can match a packet.
pub fn can_match(rule: &Rule) -> bool {
    if !matches!(rule.action, Action::SynCookie) {
        return has_packets(rule);
    }
    // As if it asked for that itself, and it may not ask for another protocol.
    let mut rule = rule.clone();
    let is_tcp = matches!(rule.protocol, None | Some(Protocol::Tcp | Protocol::Number(6)));
    rule.protocol = Some(Protocol::Tcp);
    rule.tcp_flags.extend([("syn", true), ("ack", false)]);
    is_tcp && has_packets(&rule)
}

fn has_packets(rule: &Rule) -> bool {
    let not = &rule.not;
    let icmp = matches!(rule.protocol, Some(Protocol::Icmp | Protocol::Icmpv6));
    let clash =
        |flags: &[(&str, bool)]| flags.iter().any(|(name, set)| flags.contains(&(name, !set)));
    let goes_out = matches!(rule.action, Action::Bounce | Action::Redirect(_));
    let types = !rule.icmp_type.is_empty() || !not.icmp_type.is_empty();
    !clash(&rule.tcp_flags)
        && !clash(&not.tcp_flags)
        && (!types || icmp)
        && (goes_out || (rule.set_source_mac.is_none() && rule.set_destination_mac.is_none()))
        && families_are_alike(rule)
        && [true, false].into_iter().any(|over_v4| can_match_over(rule, over_v4))
        && any(0..=u16::MAX, &rule.source_port, &not.source_port, in_ranges)
        && any(0..=u16::MAX, &rule.destination_port, &not.destination_port, in_ranges)
        && any(0..=u8::MAX, &rule.ttl, &not.ttl, in_ranges)
        && any(0..=u8::MAX, &rule.icmp_type, &not.icmp_type, |types, it| types.contains(&it))
        && any(0..64, &rule.dscp, &not.dscp, |points, it| points.contains(&it))
        && any(0..=u8::MAX, &rule.tcp_flags, &not.tcp_flags, looks)
        && tags(rule)
        && macs(&rule.source_mac, &not.source_mac)
        && macs(&rule.destination_mac, &not.destination_mac)
        && fragments(rule)
}

/// Whether one of these values is among those that are wanted, or none is wanted, and not among those
/// that are not.
fn any<T: Copy, S>(
    mut all: impl Iterator<Item = T>,
    wanted: &[S],
    not: &[S],
    among: impl Fn(&[S], T) -> bool,
) -> bool {
    let has = |values: &[S], value| !values.is_empty() && among(values, value);
    all.any(|value| (wanted.is_empty() || has(wanted, value)) && !has(not, value))
}

fn in_ranges<T: Copy + PartialOrd>(ranges: &[(T, T)], value: T) -> bool {
    ranges.iter().any(|(first, last)| *first <= value && value <= *last)
}

fn looks(flags: &[(&'static str, bool)], value: u8) -> bool {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    flags.iter().all(|(name, set)| {
        let bit = names.iter().position(|known| known == name).unwrap();
        (value >> bit & 1 == 1) == *set
    })
}

fn tags(rule: &Rule) -> bool {
    let frames = std::iter::once(None).chain((0..4096).map(Some));
    frames.into_iter().any(|tag: Option<u16>| {
        let is = |vlan: &Vlan| match vlan {
            Vlan::Untagged => tag.is_none(),
            Vlan::Ids(ids) => tag.is_some_and(|tag| ids.contains(&tag)),
        };
        rule.vlan.as_ref().is_none_or(is)
            && rule.not.vlan.as_ref().is_none_or(|vlan| tag.is_some() && !is(vlan))
    })
}

/// Of addresses that are excluded alone, there are always others.
fn macs(wanted: &[[u8; 6]], not: &[[u8; 6]]) -> bool {
    wanted.is_empty() || wanted.iter().any(|mac| !not.contains(mac))
}

/// A later fragment has neither ports nor flags nor type.
fn fragments(rule: &Rule) -> bool {
    let not = &rule.not;
    let transport = !(rule.source_port.is_empty()
        && rule.destination_port.is_empty()
        && rule.icmp_type.is_empty()
        && rule.tcp_flags.is_empty()
        && not.source_port.is_empty()
        && not.destination_port.is_empty()
        && not.icmp_type.is_empty()
        && not.tcp_flags.is_empty());
    // Whole, the first, a later one.
    (0..3).any(|part| {
        let is = |fragment: Fragment| match fragment {
            Fragment::No => part == 0,
            Fragment::Yes => part != 0,
            Fragment::First => part == 1,
            Fragment::Later => part == 2,
        };
        rule.fragment.is_none_or(is) && !not.fragment.is_some_and(is) && !(transport && part == 2)
    })
}

/// "Where a rule names source and destination, a family that stands on one side only is refused."
/// A prefix of a family that the protocol excludes can never match either.
fn families_are_alike(rule: &Rule) -> bool {
    let has = |prefixes: &[Prefix], v4| prefixes.iter().any(|it| it.address.is_ipv4() == v4);
    let (over_v4, over_v6) = match rule.protocol {
        // In IPv6 these are extension headers, never protocols.
        Some(Protocol::Icmp | Protocol::Number(0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)) => {
            (true, false)
        }
        Some(Protocol::Icmpv6) => (false, true),
        _ => (true, true),
    };
    let both_named = !rule.source.is_empty() && !rule.destination.is_empty();
    [(true, over_v4), (false, over_v6)].into_iter().all(|(family, carried)| {
        let (source, destination) = (has(&rule.source, family), has(&rule.destination, family));
        (carried || !(source || destination)) && (!both_named || source == destination)
    })
}

/// Whether the keys leave a packet over IPv4, or over IPv6.
fn can_match_over(rule: &Rule, v4: bool) -> bool {
    let not = &rule.not;
    let side = |wanted: &[Prefix], not: &[Prefix]| {
        let any: IpAddr = if v4 { [0; 4].into() } else { [0; 16].into() };
        // If addresses are left, one is at the edge of some prefix, or the first of all.
        let edges = wanted.iter().chain(not).filter(|prefix| prefix.address.is_ipv4() == v4);
        let edges = edges.flat_map(|prefix| {
            let (first, last) = prefix.ends();
            let (number, width) = bits(last);
            let most = if width == 32 { u32::MAX.into() } else { u128::MAX };
            [first, with_bits(last, if number == most { number } else { number + 1 })]
        });
        std::iter::once(any).chain(edges).any(|address| {
            (wanted.is_empty() || wanted.iter().any(|prefix| prefix.contains(address)))
                && !not.iter().any(|prefix| prefix.contains(address))
        })
    };
    let ports = !(rule.source_port.is_empty()
        && rule.destination_port.is_empty()
        && not.source_port.is_empty()
        && not.destination_port.is_empty());
    let flags = !(rule.tcp_flags.is_empty() && not.tcp_flags.is_empty());
    let carried = (0..=u8::MAX).any(|number| {
        let is = |protocol: &Protocol| match protocol {
            Protocol::Tcp => number == 6,
            Protocol::Udp => number == 17,
            Protocol::Sctp => number == 132,
            Protocol::Icmp => v4 && number == 1,
            Protocol::Icmpv6 => !v4 && number == 58,
            Protocol::Number(own) => number == *own,
        };
        (v4 || !matches!(number, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140))
            && rule.protocol.iter().all(is)
            && !not.protocol.iter().any(is)
            && (!ports || matches!(number, 6 | 17 | 132))
            && (!flags || number == 6)
    });
    let shortest = if v4 { 20 } else { 40 };
    carried
        && side(&rule.source, &not.source)
        && side(&rule.destination, &not.destination)
        && any(shortest..=u16::MAX, &rule.length, &not.length, in_ranges)
}
