//! `[[rule]]`.

mod action;
mod contradiction;
pub(crate) mod field;
pub(crate) mod icmp;

use super::names::Names;
use super::prefix::IpPrefix;
use super::report::Report;
use super::table::{Placed, TomlTable};
use crate::ruleset::{Matches, Prefixes, Protocol, Rule, TcpFlags, Vlan};

/// The conditions of a rule with their places; one that is missing or wrong is `None`.
struct Conditions {
    protocol: Option<Placed<Protocol>>,
    source: Option<Vec<Placed<IpPrefix>>>,
    destination: Option<Vec<Placed<IpPrefix>>>,
    source_port: Option<Placed<Vec<(u16, u16)>>>,
    destination_port: Option<Placed<Vec<(u16, u16)>>>,
    icmp_type: Option<Placed<Vec<u8>>>,
    tcp_flags: Option<Placed<TcpFlags>>,
    dscp: Option<Vec<u8>>,
    vlan: Option<Vlan>,
    source_mac: Option<Vec<[u8; 6]>>,
    destination_mac: Option<Vec<[u8; 6]>>,
}

/// Reads a rule. `None` if its action is missing or wrong, which has been reported.
pub(super) fn read(
    mut table: TomlTable<'_>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let protocol = field::protocol(&mut table, names, report);
    let of = protocol.map(|protocol| protocol.value);
    let conditions = Conditions {
        protocol,
        source: field::prefixes(&mut table, "source", report),
        destination: field::prefixes(&mut table, "destination", report),
        source_port: field::ports(&mut table, "source_port", of, names, report),
        destination_port: field::ports(&mut table, "destination_port", of, names, report),
        icmp_type: icmp::types(&mut table, of, report),
        tcp_flags: field::tcp_flags(&mut table, report),
        dscp: field::dscp(&mut table, report),
        vlan: field::vlan(&mut table, report),
        source_mac: field::macs(&mut table, "source_mac", report),
        destination_mac: field::macs(&mut table, "destination_mac", report),
    };
    contradiction::report(&table, &conditions, report);
    let action = action::read(&mut table, report);
    let name = table.name.map(|name| name.value.to_owned()).unwrap_or_default();
    let (file, line) = (report.file(table.place()), report.line(table.place()));
    table.finish(report);
    Some(Rule {
        name,
        file,
        line,
        matches: Matches {
            protocol: conditions.protocol.map(|protocol| protocol.value),
            source: conditions.source.map(by_family),
            destination: conditions.destination.map(by_family),
            source_port: conditions.source_port.map(|ports| ports.value),
            destination_port: conditions.destination_port.map(|ports| ports.value),
            icmp_type: conditions.icmp_type.map(|types| types.value),
            tcp_flags: conditions.tcp_flags.map(|flags| flags.value),
            dscp: conditions.dscp,
            vlan: conditions.vlan,
            source_mac: conditions.source_mac,
            destination_mac: conditions.destination_mac,
        },
        action: action?,
    })
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
