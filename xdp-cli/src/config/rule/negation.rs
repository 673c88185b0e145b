//! What a rule's keys and their negations leave together: a rule of which nothing is left can never
//! match, and a negation that takes nothing away was meant otherwise.

use super::super::prefix::{Family, IpPrefix};
use super::super::report::Report;
use super::super::table::Placed;
use super::field::{EXTENSION_HEADERS, ICMP, ICMPV6, SCTP, TCP, UDP};
use super::{Conditions, IS, NOT};
use crate::ruleset::{Fragment, MAX_DSCP, Protocol, TcpFlags, Vlan};

/// Numbers, as ranges with both ends in them.
type Ranges = Vec<(u128, u128)>;

/// What a negation is held against.
struct Check<'c, 'r, 's> {
    title: &'c str,
    report: &'r mut Report<'s>,
}

pub(super) fn report(
    title: &str,
    protocol: Option<Protocol>,
    is: &Conditions,
    not: &Conditions,
    report: &mut Report<'_>,
) {
    let mut check = Check { title, report };
    let Some(families) = check.addresses(protocol, is, not) else { return };
    check.protocols(protocol, families, is, not);

    let number = |value: &u8| (u128::from(*value), u128::from(*value));
    let octets = |placed: &Placed<Vec<u8>>| placed.value.iter().map(number).collect::<Ranges>();
    let octets = |key: &Option<Placed<Vec<u8>>>| placed(key, octets);
    let words = |key: &Option<Placed<Vec<(u16, u16)>>>| placed(key, |it| wide(&it.value));
    let flags = |key: &Option<Placed<TcpFlags>>| placed(key, |it| looks(it.value));
    let ids = |key: &Option<Placed<Vlan>>, negated| placed(key, |it| tags(&it.value, negated));
    let macs = |key: &Option<Placed<Vec<[u8; 6]>>>| {
        placed(key, |it| it.value.iter().map(mac).collect::<Ranges>())
    };
    let kinds = |key: &Option<Placed<Fragment>>| placed(key, |it| parts(it.value));

    let port = [(0, u16::MAX.into())];
    let octet = [(0, u8::MAX.into())];
    check.key(NOT.source_port, &port, words(&is.source_port), words(&not.source_port));
    let ports = [words(&is.destination_port), words(&not.destination_port)];
    let [key, negated] = ports;
    check.key(NOT.destination_port, &port, key, negated);
    check.key(NOT.icmp_type, &octet, octets(&is.icmp_type), octets(&not.icmp_type));
    check.key(NOT.tcp_flags, &octet, flags(&is.tcp_flags), flags(&not.tcp_flags));
    check.key(NOT.dscp, &[(0, MAX_DSCP.into())], octets(&is.dscp), octets(&not.dscp));
    check.key(NOT.vlan, &[(0, UNTAGGED)], ids(&is.vlan, false), ids(&not.vlan, true));
    let all_macs = [(0, (1 << 48) - 1)];
    check.key(NOT.source_mac, &all_macs, macs(&is.source_mac), macs(&not.source_mac));
    check.key(
        NOT.destination_mac,
        &all_macs,
        macs(&is.destination_mac),
        macs(&not.destination_mac),
    );
    check.lengths(families, words(&is.length), words(&not.length));
    check.key(NOT.ttl, &octet, placed(&is.ttl, |it| wide(&it.value)), {
        placed(&not.ttl, |it| wide(&it.value))
    });
    check.fragments(kinds(&is.fragment), kinds(&not.fragment), is, not);
}

/// The numbers of a key, with its place; `None` where none of its values can be read.
fn placed<T>(
    key: &Option<Placed<T>>,
    numbers: impl Fn(&Placed<T>) -> Ranges,
) -> Option<Placed<Ranges>> {
    let key = key.as_ref()?;
    Some(Placed { at: key.at, value: numbers(key) }).filter(|it| !it.value.is_empty())
}

fn wide<T: Copy + Into<u128>>(ranges: &[(T, T)]) -> Ranges {
    ranges.iter().map(|&(first, last)| (first.into(), last.into())).collect()
}

fn mac(&[a, b, c, d, e, f]: &[u8; 6]) -> (u128, u128) {
    let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into();
    (number, number)
}

/// The values of TCP's flags that look like that.
fn looks(flags: TcpFlags) -> Ranges {
    let values = (0..=u8::MAX).filter(|value| value & flags.mask == flags.value);
    values.map(|value| (value.into(), value.into())).collect()
}

/// The number of a frame without a tag, behind the ids.
const UNTAGGED: u128 = 1 << 12;

/// The tags of a key. A negation matches only tagged frames, so it excludes the others too.
fn tags(vlan: &Vlan, negated: bool) -> Ranges {
    let mut ranges: Ranges = match vlan {
        Vlan::Untagged => vec![(UNTAGGED, UNTAGGED)],
        Vlan::Ids(ids) => ids.iter().map(|&id| (id.into(), id.into())).collect(),
    };
    if negated && !ranges.is_empty() {
        ranges.push((UNTAGGED, UNTAGGED));
    }
    ranges
}

/// 0 for whole packets, 1 for first fragments, 2 for later ones.
fn parts(fragment: Fragment) -> Ranges {
    let accepted = fragment.accepted().into_iter().zip(0..);
    accepted.filter(|(accepts, _)| *accepts).map(|(_, part)| (part, part)).collect()
}

/// The ranges sorted, those that touch or overlap joined.
fn united(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut united: Ranges = Vec::new();
    for (first, last) in ranges {
        match united.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => united.push((first, last)),
        }
    }
    united
}

/// What is left of the first ranges without the second ones; both are united, and so is the result.
fn without(ranges: &Ranges, excluded: &Ranges) -> Ranges {
    let mut left = Vec::new();
    let mut excluded = excluded.iter().peekable();
    for &(mut first, last) in ranges {
        loop {
            while excluded.next_if(|range| range.1 < first).is_some() {}
            let Some(range) = excluded.peek().filter(|range| range.0 <= last) else {
                left.push((first, last));
                break;
            };
            if first < range.0 {
                left.push((first, range.0 - 1));
            }
            if range.1 >= last {
                break;
            }
            first = range.1 + 1;
        }
    }
    left
}

impl Check<'_, '_, '_> {
    /// Reports a negation by which nothing is left, or which takes nothing away. Returns what is left
    /// of the key's values, or of `all` where the key is left out.
    fn key(
        &mut self,
        name: &str,
        all: &[(u128, u128)],
        key: Option<Placed<Ranges>>,
        negation: Option<Placed<Ranges>>,
    ) -> Ranges {
        let named = key.is_some();
        let before = united(key.map_or_else(|| all.to_vec(), |key| key.value));
        let Some(negation) = negation else { return before };
        let left = without(&before, &united(negation.value));
        self.say(name, negation.at, named, left.is_empty(), left == before);
        left
    }

    fn say(&mut self, name: &str, at: usize, named: bool, takes_all: bool, takes_none: bool) {
        let title = self.title;
        let key = name.strip_prefix("not_").unwrap_or(name);
        if takes_all {
            let (message, hint) = if named {
                let message = format!("{title}: {key} and {name} together can never match");
                (message, format!("{name} excludes every value of {key}: leave one of them out"))
            } else {
                let message = format!("{title}: {name} excludes everything, so it can never match");
                (message, format!("leave {name} out, or name fewer values"))
            };
            self.report.error(at, message, hint);
        } else if takes_none {
            self.report.warning(
                at,
                format!("{title}: {name} excludes nothing that the rule would match without it"),
                format!("leave {name} out, or correct its values"),
            );
        }
    }

    /// Checks source and destination. Returns which families are left, IPv4 and IPv6; `None` if none
    /// is, which has been reported.
    fn addresses(
        &mut self,
        protocol: Option<Protocol>,
        is: &Conditions,
        not: &Conditions,
    ) -> Option<[bool; 2]> {
        let mut families = match protocol {
            Some(Protocol::Icmp) => [true, false],
            Some(Protocol::Icmpv6) => [false, true],
            Some(Protocol::Number(number)) => [true, !EXTENSION_HEADERS.contains(&number)],
            None => [true, true],
        };
        for sides in [&is.source, &is.destination] {
            for (family, left) in [Family::V4, Family::V6].into_iter().zip(&mut families) {
                *left &= sides.as_ref().is_none_or(|it| !of_family(it, family).is_empty());
            }
        }
        if families == [false; 2] {
            // A prefix that cannot be read is missing; that has been reported.
            return None;
        }
        let mut before = families;
        let sides = [
            (NOT.source, &is.source, &not.source),
            (NOT.destination, &is.destination, &not.destination),
        ];
        for (name, key, negation) in sides {
            let Some(negation) = negation.as_ref().filter(|it| !it.is_empty()) else { continue };
            let mut takes_none = true;
            for (family, is_left) in [Family::V4, Family::V6].into_iter().zip(&mut families) {
                if !*is_left {
                    continue;
                }
                let all =
                    || vec![(0, if family == Family::V4 { u32::MAX.into() } else { u128::MAX })];
                let addresses = key.as_ref().map_or_else(all, |it| of_family(it, family));
                let addresses = united(addresses);
                let left = without(&addresses, &united(of_family(negation, family)));
                takes_none &= left == addresses;
                *is_left = !left.is_empty();
            }
            let takes_all = families == [false; 2];
            // What the one side leaves may be a family that the other does not.
            let alone = before == [true; 2] || key.is_some();
            if takes_all && !alone {
                self.report.error(
                    negation[0].at,
                    format!("{}: {name} excludes all that the other keys leave", self.title),
                    "the rule can never match: leave one of its keys out",
                );
            } else {
                self.say(name, negation[0].at, key.is_some(), takes_all, takes_none);
            }
            if takes_all {
                return None;
            }
            before = families;
        }
        Some(families)
    }

    /// Checks the protocols that the other keys allow.
    fn protocols(
        &mut self,
        protocol: Option<Protocol>,
        families: [bool; 2],
        is: &Conditions,
        not: &Conditions,
    ) {
        let Some(negation) = not.protocol.as_ref().filter(|it| !it.value.is_empty()) else {
            return;
        };
        let ports =
            [&is.source_port, &is.destination_port, &not.source_port, &not.destination_port];
        let has_ports = ports.into_iter().any(Option::is_some);
        let has_flags = is.tcp_flags.is_some() || not.tcp_flags.is_some();
        let packets = families.into_iter().zip([false, true]).filter(|(left, _)| *left);
        let packets = packets.flat_map(|(_, v6)| (0..=u8::MAX).map(move |number| (v6, number)));
        let allowed = packets.filter(|&(v6, number)| {
            !(v6 && EXTENSION_HEADERS.contains(&number))
                && protocol.is_none_or(|protocol| is_protocol(protocol, v6, number))
                && (!has_ports || matches!(number, TCP | UDP | SCTP))
                && (!has_flags || number == TCP)
        });
        let allowed: Vec<(bool, u8)> = allowed.collect();
        let excludes = |&(v6, number): &(bool, u8)| {
            negation.value.iter().any(|&protocol| is_protocol(protocol, v6, number))
        };
        let excluded = allowed.iter().filter(|it| excludes(it)).count();
        let takes_all = excluded == allowed.len();
        if takes_all && protocol.is_none() {
            let (message, hint) = if has_ports || has_flags {
                let what = if has_flags { "TCP flags" } else { "ports" };
                (
                    format!("leaves no protocol that has {what}"),
                    "only tcp, udp and sctp have ports, only tcp has flags",
                )
            } else {
                ("excludes everything, so it can never match".into(), "name fewer protocols")
            };
            let message = format!("{}: {} {message}", self.title, NOT.protocol);
            self.report.error(negation.at, message, hint);
            return;
        }
        self.say(NOT.protocol, negation.at, protocol.is_some(), takes_all, excluded == 0);
    }

    /// Checks lengths, of which the shortest is that of an IP header.
    fn lengths(
        &mut self,
        families: [bool; 2],
        key: Option<Placed<Ranges>>,
        negation: Option<Placed<Ranges>>,
    ) {
        let (shortest, family) = match families {
            [true, _] => (20, "IP"),
            [false, _] => (40, "IPv6"),
        };
        let all = [(shortest, u16::MAX.into())];
        if let Some(key) = &key
            && key.value.iter().all(|range| range.1 < shortest)
        {
            self.report.error(
                key.at,
                format!("{}: {} of under {shortest} can never match", self.title, IS.length),
                format!("an {family} packet has at least {shortest} bytes, its header"),
            );
            return;
        }
        let key = key.map(|key| Placed {
            at: key.at,
            value: without(&united(key.value), &vec![(0, shortest - 1)]),
        });
        self.key(NOT.length, &all, key, negation);
    }

    /// Checks that what is left are not later fragments alone where the rule asks for what these
    /// lack.
    fn fragments(
        &mut self,
        key: Option<Placed<Ranges>>,
        negation: Option<Placed<Ranges>>,
        is: &Conditions,
        not: &Conditions,
    ) {
        let at = key.as_ref().or(negation.as_ref()).map(|it| it.at);
        let name = if key.is_some() { IS.fragment } else { NOT.fragment };
        let later_alone = self.key(NOT.fragment, &[(0, 2)], key, negation) == [(2, 2)];
        let Some(at) = at.filter(|_| later_alone) else { return };
        let asks = |keys: &super::Keys, values: &Conditions| {
            [
                (keys.source_port, values.source_port.is_some()),
                (keys.destination_port, values.destination_port.is_some()),
                (keys.icmp_type, values.icmp_type.is_some()),
                (keys.tcp_flags, values.tcp_flags.is_some()),
            ]
        };
        let mut asked = asks(&IS, is).into_iter().chain(asks(&NOT, not));
        if let Some((lacking, _)) = asked.find(|(_, is_asked)| *is_asked) {
            self.report.error(
                at,
                format!("{}: {name} and {lacking} together can never match", self.title),
                "only the first fragment has ports, flags and types: leave one of the keys out",
            );
        }
    }
}

/// The addresses of prefixes of a family.
fn of_family(prefixes: &[Placed<IpPrefix>], family: Family) -> Ranges {
    let of = prefixes.iter().filter(|prefix| prefix.value.family() == family);
    let range = |prefix: &Placed<IpPrefix>| match prefix.value {
        IpPrefix::V4(prefix) => {
            let hosts = u32::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
            (prefix.address.into(), (prefix.address | hosts).into())
        }
        IpPrefix::V6(prefix) => {
            let hosts = u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
            (prefix.address, prefix.address | hosts)
        }
    };
    of.map(range).collect()
}

fn is_protocol(protocol: Protocol, is_ipv6: bool, number: u8) -> bool {
    match protocol {
        Protocol::Number(own) => number == own,
        Protocol::Icmp => !is_ipv6 && number == ICMP,
        Protocol::Icmpv6 => is_ipv6 && number == ICMPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        let left = |ranges: &[(u128, u128)], excluded: &[(u128, u128)]| {
            without(&united(ranges.to_vec()), &united(excluded.to_vec()))
        };
        assert_eq!(left(&[(0, 9)], &[]), [(0, 9)]);
        assert_eq!(left(&[(0, 9)], &[(3, 4), (4, 5)]), [(0, 2), (6, 9)]);
        assert_eq!(left(&[(0, 9), (20, 29)], &[(5, 24)]), [(0, 4), (25, 29)]);
        assert_eq!(left(&[(5, 6)], &[(0, u128::MAX)]), []);
        assert_eq!(left(&[(0, u128::MAX)], &[(0, u128::MAX - 1)]), [(u128::MAX, u128::MAX)]);
        assert_eq!(left(&[(0, 9), (10, 19)], &[(9, 10)]), [(0, 8), (11, 19)]);
    }
}
