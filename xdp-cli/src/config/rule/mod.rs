//! `[[rule]]`.

mod action;
mod contradiction;
pub(crate) mod field;
pub(crate) mod icmp;
mod limit;
mod negation;
pub mod number;
mod syn;

use super::names::Names;
use super::prefix::IpPrefix;
use super::report::Report;
use super::table::{Placed, TomlTable};
use crate::ruleset::{
    Excluded, Fragment, Matches, Prefixes, Protocol, Rule, RuleAction, TcpFlags, Vlan,
};

/// The names of the keys of conditions.
struct Keys {
    protocol: &'static str,
    source: &'static str,
    destination: &'static str,
    source_port: &'static str,
    destination_port: &'static str,
    icmp_type: &'static str,
    tcp_flags: &'static str,
    dscp: &'static str,
    vlan: &'static str,
    source_mac: &'static str,
    destination_mac: &'static str,
    length: &'static str,
    ttl: &'static str,
    fragment: &'static str,
}

const IS: Keys = Keys {
    protocol: "protocol",
    source: "source",
    destination: "destination",
    source_port: "source_port",
    destination_port: "destination_port",
    icmp_type: "icmp_type",
    tcp_flags: "tcp_flags",
    dscp: "dscp",
    vlan: "vlan",
    source_mac: "source_mac",
    destination_mac: "destination_mac",
    length: "length",
    ttl: "ttl",
    fragment: "fragment",
};

const NOT: Keys = Keys {
    protocol: "not_protocol",
    source: "not_source",
    destination: "not_destination",
    source_port: "not_source_port",
    destination_port: "not_destination_port",
    icmp_type: "not_icmp_type",
    tcp_flags: "not_tcp_flags",
    dscp: "not_dscp",
    vlan: "not_vlan",
    source_mac: "not_source_mac",
    destination_mac: "not_destination_mac",
    length: "not_length",
    ttl: "not_ttl",
    fragment: "not_fragment",
};

/// Conditions of a rule with their places; one that is missing or wrong is `None`.
struct Conditions {
    protocol: Option<Placed<Vec<Protocol>>>,
    source: Option<Vec<Placed<IpPrefix>>>,
    destination: Option<Vec<Placed<IpPrefix>>>,
    source_port: Option<Placed<Vec<(u16, u16)>>>,
    destination_port: Option<Placed<Vec<(u16, u16)>>>,
    icmp_type: Option<Placed<Vec<u8>>>,
    tcp_flags: Option<Placed<TcpFlags>>,
    dscp: Option<Placed<Vec<u8>>>,
    vlan: Option<Placed<Vlan>>,
    source_mac: Option<Placed<Vec<[u8; 6]>>>,
    destination_mac: Option<Placed<Vec<[u8; 6]>>>,
    length: Option<Placed<Vec<(u16, u16)>>>,
    ttl: Option<Placed<Vec<(u8, u8)>>>,
    fragment: Option<Placed<Fragment>>,
}

impl Conditions {
    /// Reads the keys of these names. `protocol` is what the rule's own key says, by which names of
    /// ports and types are known.
    fn read(
        table: &mut TomlTable<'_>,
        keys: &Keys,
        protocol: Option<Placed<Vec<Protocol>>>,
        of: Option<Protocol>,
        names: &Names<'_>,
        report: &mut Report<'_>,
    ) -> Self {
        Self {
            protocol,
            source: field::prefixes(table, keys.source, report),
            destination: field::prefixes(table, keys.destination, report),
            source_port: field::ports(table, keys.source_port, of, names, report),
            destination_port: field::ports(table, keys.destination_port, of, names, report),
            icmp_type: icmp::types(table, keys.icmp_type, of, report),
            tcp_flags: field::tcp_flags(table, keys.tcp_flags, report),
            dscp: number::dscp(table, keys.dscp, report),
            vlan: field::vlan(table, keys.vlan, report),
            source_mac: field::macs(table, keys.source_mac, report),
            destination_mac: field::macs(table, keys.destination_mac, report),
            length: number::ranges(table, keys.length, &number::LENGTH, report),
            ttl: number::ranges(table, keys.ttl, &number::TTL, report),
            fragment: field::fragment(table, keys.fragment, report),
        }
    }
}

/// Reads a rule. `None` if its action is missing or wrong, which has been reported.
pub(super) fn read(
    mut table: TomlTable<'_>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let protocol = field::protocol(&mut table, names, report);
    let of = protocol.as_ref().and_then(|protocol| protocol.value.first().copied());
    let conditions = Conditions::read(&mut table, &IS, protocol, of, names, report);
    let protocols = field::protocols(&mut table, NOT.protocol, names, report);
    let excluded = Conditions::read(&mut table, &NOT, protocols, of, names, report);
    let limit = limit::read(&mut table, report);
    let action = action::read(&mut table, limit.as_ref(), report);
    let mut conditions = conditions;
    let mut of = of;
    if action == Some(RuleAction::SynCookie) {
        let at = table.value("action").map_or(table.at, |value| value.at);
        of = syn::narrow(&table, at, &mut conditions, report);
    }
    contradiction::report(&table, &conditions, &excluded, report);
    let name = table.name.map(|name| name.value.to_owned()).unwrap_or_default();
    let (file, line) = (report.file(table.place()), report.line(table.place()));
    table.finish(report);
    Some(Rule {
        name,
        file,
        line,
        matches: Matches {
            protocol: of,
            source: conditions.source.map(by_family),
            destination: conditions.destination.map(by_family),
            source_port: value(conditions.source_port),
            destination_port: value(conditions.destination_port),
            icmp_type: value(conditions.icmp_type),
            tcp_flags: value(conditions.tcp_flags),
            dscp: value(conditions.dscp),
            vlan: value(conditions.vlan),
            source_mac: value(conditions.source_mac),
            destination_mac: value(conditions.destination_mac),
            length: value(conditions.length),
            ttl: value(conditions.ttl),
            fragment: value(conditions.fragment),
            not: Excluded {
                protocol: value(excluded.protocol),
                source: excluded.source.map(by_family),
                destination: excluded.destination.map(by_family),
                source_port: value(excluded.source_port),
                destination_port: value(excluded.destination_port),
                icmp_type: value(excluded.icmp_type),
                tcp_flags: value(excluded.tcp_flags),
                dscp: value(excluded.dscp),
                vlan: value(excluded.vlan),
                source_mac: value(excluded.source_mac),
                destination_mac: value(excluded.destination_mac),
                length: value(excluded.length),
                ttl: value(excluded.ttl),
                fragment: value(excluded.fragment),
            },
        },
        limit,
        action: action?,
    })
}

fn value<T>(placed: Option<Placed<T>>) -> Option<T> {
    placed.map(|placed| placed.value)
}

pub(super) fn by_family(prefixes: Vec<Placed<IpPrefix>>) -> Prefixes {
    let mut families = Prefixes::default();
    for prefix in prefixes {
        match prefix.value {
            IpPrefix::V4(prefix) => families.v4.push(prefix),
            IpPrefix::V6(prefix) => families.v6.push(prefix),
        }
    }
    families
}
