//! What contradicts itself in a service, key by key against each other.

use super::super::prefix::IpPrefix;
use super::super::report::Report;
use super::super::table::{Placed, TomlTable};
use crate::ruleset::services::{Backend, Mode, Transport};

/// What was read of a service, as far as it could be.
pub(super) struct Read<'a> {
    pub(super) addresses: Option<&'a [Placed<IpPrefix>]>,
    pub(super) protocols: Option<&'a [Transport]>,
    pub(super) ports: Option<&'a Placed<Vec<(u16, u16)>>>,
    pub(super) mode: Option<Mode>,
    pub(super) backends: &'a [Placed<Backend>],
}

pub(super) fn report(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    let Some(mode) = read.mode else { return };
    for backend in read.backends {
        of_backend(table, read, mode, backend, report);
    }
    let Some(addresses) = read.addresses else { return };
    if mode == Mode::Nat {
        for is_v6 in [false, true] {
            let of_family = |it: &&Placed<IpPrefix>| matches!(it.value, IpPrefix::V6(_)) == is_v6;
            if let Some(second) = addresses.iter().filter(of_family).nth(1) {
                report.error(
                    second.at,
                    format!("{}: a second address of one family with mode = \"nat\"", table.title),
                    "a reply has to tell which address it is from: write a service for each",
                );
            }
        }
    }
}

fn of_backend(
    table: &TomlTable<'_>,
    read: &Read<'_>,
    mode: Mode,
    backend: &Placed<Backend>,
    report: &mut Report<'_>,
) {
    let Placed { at, value: backend } = backend;
    let title = format!("{}, backend {:?}", table.title, backend.name);
    let is_v6 = backend.address.is_ipv6();
    if let Some(port) = backend.port {
        if mode != Mode::Nat {
            report.error(
                *at,
                format!("{title}: port with mode = \"{}\"", mode.as_str()),
                "the packet stays as the client sent it, so the backend listens on the service's \
                 port: leave port out",
            );
        } else if read.protocols.is_some_and(|them| them.contains(&Transport::Sctp)) {
            report.error(
                *at,
                format!("{title}: port {port} with protocol \"sctp\""),
                "SCTP's checksum covers the port (RFC 9260, section 6.8): leave port out",
            );
        } else if !matches!(read.ports.map(|it| &it.value[..]), Some([(first, last)]) if first == last)
        {
            report.error(
                *at,
                format!("{title}: port {port}, and the service has not one port"),
                "a reply has to tell which port it is from: write a service for each port",
            );
        }
    }
    let families = |is_v6: bool| {
        let of = |it: &Placed<IpPrefix>| matches!(it.value, IpPrefix::V6(_)) == is_v6;
        read.addresses.is_some_and(|them| them.iter().any(of))
    };
    let (same, other) = (families(is_v6), families(!is_v6));
    let family = if is_v6 { "IPv6" } else { "IPv4" };
    match mode {
        Mode::Nat | Mode::L2dsr if read.addresses.is_some() && (!same || other) => report.error(
            *at,
            format!("{title}: {} is {family}, and not all addresses of the service are", backend.address),
            format!("mode = \"{}\" keeps the family: write a service for each", mode.as_str()),
        ),
        Mode::Ipip | Mode::Gue { .. } if !is_v6 && other => report.error(
            *at,
            format!("{title}: {} cannot take IPv6 packets", backend.address),
            "IPv6 in IPv4 is not made: give the backend's IPv6 address, or write a service for each \
             family",
        ),
        _ => {}
    }
}
