//! Conditions that exclude each other: a rule that has them can never match.

use super::super::prefix::{Family, IpPrefix};
use super::super::report::Report;
use super::super::table::{Placed, TomlTable};
use super::field::{EXTENSION_HEADERS, ICMP, ICMPV6, SCTP, TCP, UDP};
use super::{Conditions, IS, NOT, negation};
use crate::ruleset::Protocol;

pub(super) fn report(
    table: &TomlTable<'_>,
    conditions: &Conditions,
    excluded: &Conditions,
    report: &mut Report<'_>,
) {
    let title = &table.title;
    let protocol = conditions.protocol.as_ref().and_then(|it| it.value.first().copied());
    // If the protocol is wrong, that has been reported, and nothing follows for other keys.
    let known = protocol.is_some() || !table.has("protocol");
    let mut told = false;

    let ports = [
        (IS.source_port, conditions.source_port.as_ref()),
        (IS.destination_port, conditions.destination_port.as_ref()),
        (NOT.source_port, excluded.source_port.as_ref()),
        (NOT.destination_port, excluded.destination_port.as_ref()),
    ];
    for (key, ports) in ports {
        if let Some(ports) = ports
            && !matches!(protocol, None | Some(Protocol::Number(TCP | UDP | SCTP)))
        {
            told = true;
            report.error(
                ports.at,
                format!("{title}: {key} with protocol = {} can never match", shown(protocol)),
                "only tcp, udp and sctp have ports",
            );
        }
    }
    for (key, flags) in
        [(IS.tcp_flags, &conditions.tcp_flags), (NOT.tcp_flags, &excluded.tcp_flags)]
    {
        if let Some(flags) = flags
            && !matches!(protocol, None | Some(Protocol::Number(TCP)))
        {
            told = true;
            report.error(
                flags.at,
                format!("{title}: {key} with protocol = {} can never match", shown(protocol)),
                "only tcp has these flags",
            );
        }
    }
    for (key, types) in
        [(IS.icmp_type, &conditions.icmp_type), (NOT.icmp_type, &excluded.icmp_type)]
    {
        if let Some(types) = types
            && known
            && !matches!(protocol, Some(Protocol::Icmp | Protocol::Icmpv6))
        {
            told = true;
            no_types(title, key, types.at, protocol, report);
        }
    }
    let told = families(title, protocol, conditions, report) || told;
    if known && !told {
        negation::report(title, protocol, conditions, excluded, report);
    }
}

/// Reports types without ICMP or ICMPv6 by name.
fn no_types(
    title: &str,
    key: &str,
    at: usize,
    protocol: Option<Protocol>,
    report: &mut Report<'_>,
) {
    let hint = "add protocol = \"icmp\" (IPv4) or protocol = \"icmpv6\" (IPv6)";
    // A number is of both families, in one of which it has no types.
    let by_number = match protocol {
        Some(Protocol::Number(ICMP)) => Some("icmp"),
        Some(Protocol::Number(ICMPV6)) => Some("icmpv6"),
        _ => None,
    };
    let shown = shown(protocol);
    if let Some(name) = by_number {
        report.error(
            at,
            format!("{title}: {key} wants the protocol's name, found protocol = {shown}"),
            format!("write protocol = {name:?}"),
        );
    } else if protocol.is_some() {
        let message = format!("{title}: {key} with protocol = {shown} can never match");
        report.error(at, message, hint);
    } else {
        report.missing(at, format!("{title}: {key} without protocol"), hint);
    }
}

/// The protocol as a configuration writes it.
fn shown(protocol: Option<Protocol>) -> String {
    match protocol {
        Some(Protocol::Number(TCP)) => "\"tcp\"".into(),
        Some(Protocol::Number(UDP)) => "\"udp\"".into(),
        Some(Protocol::Number(SCTP)) => "\"sctp\"".into(),
        Some(Protocol::Number(number)) => number.to_string(),
        Some(Protocol::Icmp) => "\"icmp\"".into(),
        Some(Protocol::Icmpv6) => "\"icmpv6\"".into(),
        None => "anything".into(),
    }
}

fn first_of(prefixes: &[Placed<IpPrefix>], family: Family) -> Option<&Placed<IpPrefix>> {
    prefixes.iter().find(|prefix| prefix.value.family() == family)
}

/// Reports prefixes of a family that the protocol or the other side excludes. Returns whether there
/// are any.
fn families(
    title: &str,
    protocol: Option<Protocol>,
    conditions: &Conditions,
    report: &mut Report<'_>,
) -> bool {
    // The family that the protocol excludes, and the reason for the message.
    let excluded = match protocol {
        Some(Protocol::Icmp) => Some((Family::V6, "icmp is over IPv4; \"icmpv6\" is over IPv6")),
        Some(Protocol::Icmpv6) => Some((Family::V4, "icmpv6 is over IPv6; \"icmp\" is over IPv4")),
        Some(Protocol::Number(number)) if EXTENSION_HEADERS.contains(&number) => Some((
            Family::V6,
            "in IPv6 this is an extension header; the protocol is what comes after",
        )),
        _ => None,
    };
    let source = conditions.source.as_deref().unwrap_or_default();
    let destination = conditions.destination.as_deref().unwrap_or_default();
    let mut told = false;
    if let Some((family, hint)) = excluded {
        for (key, prefixes) in [("source", source), ("destination", destination)] {
            if let Some(prefix) = first_of(prefixes, family) {
                told = true;
                report.error(
                    prefix.at,
                    format!(
                        "{title}: {key} {} with protocol = {} can never match",
                        prefix.value,
                        shown(protocol)
                    ),
                    hint,
                );
            }
        }
    }
    if told || source.is_empty() || destination.is_empty() {
        return told;
    }
    for family in [Family::V4, Family::V6] {
        let sides = [first_of(source, family), first_of(destination, family)];
        let (prefix, here, there) = match sides {
            [Some(prefix), None] => (prefix, "source", "destination"),
            [None, Some(prefix)] => (prefix, "destination", "source"),
            _ => continue,
        };
        told = true;
        let name = family.name();
        report.missing(
            prefix.at,
            format!(
                "{title}: {here} {} can never match, since {there} names no {name} prefix",
                prefix.value
            ),
            format!("name {name} on both sides, or on neither"),
        );
    }
    told
}
