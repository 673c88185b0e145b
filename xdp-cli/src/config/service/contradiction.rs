//! What contradicts itself in a service, key by key against each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::prefix::{Family, IpPrefix};
use super::super::report::Report;
use super::super::table::{Placed, TomlTable};
use super::any_prefix;
use super::spot::{BackendRead, Spot};
use crate::ruleset::services::{Hash, Mode, NextHop, State, Tracking, Transport};

/// What was read of a service, as far as it could be.
pub(super) struct Read<'a> {
    pub(super) addresses: Option<&'a [Placed<IpPrefix>]>,
    pub(super) protocols: Option<&'a [Transport]>,
    pub(super) ports: Option<&'a Placed<Vec<(u16, u16)>>>,
    pub(super) source: Option<&'a [Placed<IpPrefix>]>,
    pub(super) mode: Option<Mode>,
    pub(super) hash: Option<Hash>,
    pub(super) tracking: Tracking,
    pub(super) affinity: Option<Placed<Duration>>,
    pub(super) udp_timeout: Option<Placed<Duration>>,
    pub(super) mtu: Option<Placed<u16>>,
    /// Where it is written.
    pub(super) too_big: Option<usize>,
    pub(super) panic: Option<Placed<u8>>,
    /// Where packets go on to, unless a backend says otherwise.
    pub(super) next_hop: NextHop,
    pub(super) backends: &'a [BackendRead],
}

pub(super) fn report(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    times(table, read, report);
    without_effect(table, read, report);
    states(table, read, report);
    clients(table, read, report);
    let Some(mode) = read.mode else { return };
    twice(table, mode, read.backends, report);
    for backend in read.backends {
        of_backend(table, read, mode, backend, report);
    }
    let Some(addresses) = read.addresses else { return };
    room(table, read, mode, report);
    if mode == Mode::Nat {
        for prefix in addresses.iter().filter(|it| !it.value.is_host()) {
            report.error(
                prefix.at,
                format!("{}: address {} with mode = \"nat\"", table.title, prefix.value),
                "a reply has to tell which address it is from: name a single address",
            );
        }
        for family in [Family::V4, Family::V6] {
            let of_family = |it: &&Placed<IpPrefix>| it.value.family() == family;
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

/// Times that the connection table keeps to.
fn times(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    let title = &table.title;
    if let Some(affinity) = read.affinity {
        // If the hash is wrong, that has been reported, and nothing follows here.
        let known = read.hash.is_some() || !table.has("hash");
        if known && read.hash.unwrap_or_default() != Hash::Source {
            report.error(
                affinity.at,
                format!("{title}: affinity without hash = \"source\""),
                "a client as a whole keeps its backend where nothing but its address chooses it",
            );
        } else if read.tracking == Tracking::None {
            report.error(
                affinity.at,
                format!("{title}: affinity with tracking = \"none\""),
                "clients are remembered in the table of connections: write tracking = \"changed\"",
            );
        }
    }
    let Some(timeout) = read.udp_timeout else { return };
    let unused = match read.protocols {
        Some(them) if !them.contains(&Transport::Udp) => "a protocol that is not \"udp\"",
        _ if read.tracking == Tracking::None => "tracking = \"none\"",
        _ => return,
    };
    report.warning(
        timeout.at,
        format!("{title}: udp_timeout has no effect with {unused}"),
        "it says how long the table of connections keeps flows of UDP: leave it out",
    );
}

/// Keys that come to nothing beside the others.
fn without_effect(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    let title = &table.title;
    if let Some(panic) = read.panic
        && panic.value > 0
        && !table.has("check")
    {
        report.warning(
            panic.at,
            format!("{title}: panic has no effect without a check"),
            "it disregards what checks find: write [service.check], or leave it out",
        );
    }
    if read.mode != Some(Mode::L2dsr) {
        return;
    }
    if let Some(mtu) = read.mtu {
        report.warning(
            mtu.at,
            format!("{title}: mtu has no effect with mode = \"l2dsr\""),
            "packets stay as long as they came in: leave it out",
        );
    }
    let is_fixed = |it: &BackendRead| match it.value.next_hop {
        Some(hop) => hop != NextHop::Route,
        None => read.next_hop != NextHop::Route,
    };
    if let Some(at) = read.too_big
        && read.backends.iter().all(is_fixed)
    {
        report.warning(
            at,
            format!("{title}: too_big has no effect with mode = \"l2dsr\" and MAC addresses"),
            "packets stay as long as they came in, and no route is asked: leave it out",
        );
    }
}

/// States of backends that come to nothing.
fn states(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    let title = &table.title;
    if read.tracking == Tracking::None {
        for BackendRead { spot, value } in read.backends {
            if value.state == State::Drain {
                spot.of(|keys| keys.state).warning(
                    format!(
                        "{title}, backend {:?}: state = \"drain\" with tracking = \"none\"",
                        value.name
                    ),
                    "nothing remembers the connections that it has: they end as with \"down\"",
                    report,
                );
            }
        }
    }
    if !read.backends.is_empty() && read.backends.iter().all(|it| it.value.state != State::Up) {
        report.warning(
            table.place(),
            format!("{title}: no backend is up"),
            "no_backend says what becomes of new connections; `xdpctl backend` can bring one up",
        );
    }
}

/// Clients that a service is for.
fn clients(table: &TomlTable<'_>, read: &Read<'_>, report: &mut Report<'_>) {
    let (Some(addresses), Some(source)) = (read.addresses, read.source) else { return };
    let title = &table.title;
    for address in addresses {
        let family = address.value.family();
        if !source.iter().any(|it| it.value.family() == family) {
            report.error(
                address.at,
                format!(
                    "{title}: no packet to {} is taken, since source names no {} prefix",
                    any_prefix(address.value),
                    family.name()
                ),
                format!("name {} on both sides, or on neither", family.name()),
            );
        }
    }
    if read.mode != Some(Mode::Nat) {
        return;
    }
    for BackendRead { spot, value: backend } in read.backends {
        let address = host(backend.address);
        if let Some(around) = source.iter().find(|it| it.value.holds(&address)) {
            spot.warning(
                format!(
                    "{title}, backend {:?}: {} is among the clients of source, {}",
                    backend.name, backend.address, around.value
                ),
                "its replies have to come back by this host: where clients are its neighbours, they \
                 go straight to them, and no connection comes about",
                report,
            );
        }
    }
}

fn host(address: IpAddr) -> IpPrefix {
    use crate::ruleset::Prefix;
    match address {
        IpAddr::V4(address) => IpPrefix::V4(Prefix { address: address.to_bits(), length: 32 }),
        IpAddr::V6(address) => IpPrefix::V6(Prefix { address: address.to_bits(), length: 128 }),
    }
}

/// The least MTU of IPv6 (RFC 8200, section 5).
const LEAST_V6: u16 = 1280;

/// Whether what goes into a tunnel may be as long as the least that every link takes.
fn room(table: &TomlTable<'_>, read: &Read<'_>, mode: Mode, report: &mut Report<'_>) {
    let (Some(mtu), Some(addresses)) = (read.mtu, read.addresses) else { return };
    if !addresses.iter().any(|it| it.value.family() == Family::V6) {
        return;
    }
    let most = read.backends.iter().map(|it| mode.overhead(it.value.address.is_ipv6())).max();
    let overhead = most.unwrap_or(0);
    if mtu.value < LEAST_V6 + overhead {
        report.error(
            mtu.at,
            format!(
                "{}: mtu = {} leaves {} bytes of IPv6 packets in a tunnel, and senders may count on \
                 {LEAST_V6}",
                table.title,
                mtu.value,
                mtu.value - overhead
            ),
            format!("write {} or more", LEAST_V6 + overhead),
        );
    }
}

/// Finds backends that are there twice. Those of nat are found by their replies.
fn twice(table: &TomlTable<'_>, mode: Mode, backends: &[BackendRead], report: &mut Report<'_>) {
    if mode == Mode::Nat {
        return;
    }
    let mut first: HashMap<(IpAddr, Option<[u8; 6]>), &Spot> = HashMap::new();
    for BackendRead { spot, value } in backends {
        let mac = match value.next_hop {
            Some(NextHop::Mac(mac)) => Some(mac),
            Some(NextHop::Route) | None => None,
        };
        if let Some(before) = first.get(&(value.address, mac)) {
            let line = before.line_seen_from(spot, report);
            spot.error(
                format!(
                    "{}, backend {:?}: {} is the backend in {line} too",
                    table.title, value.name, value.address
                ),
                "name it once: weight gives it more",
                report,
            );
            continue;
        }
        first.insert((value.address, mac), spot);
    }
}

fn of_backend(
    table: &TomlTable<'_>,
    read: &Read<'_>,
    mode: Mode,
    backend: &BackendRead,
    report: &mut Report<'_>,
) {
    let BackendRead { spot, value: backend } = backend;
    let title = format!("{}, backend {:?}", table.title, backend.name);
    if let Some(port) = backend.port {
        of_port(&title, read, mode, (&spot.of(|keys| keys.port), port), report);
    }
    let Some(addresses) = read.addresses else { return };
    let own = host(backend.address);
    if addresses.iter().any(|it| it.value.holds(&own)) {
        spot.error(
            format!("{title}: {} is the service's own address", backend.address),
            "name the address by which the backend itself is reached",
            report,
        );
        return;
    }
    let family = own.family();
    let same = addresses.iter().any(|it| it.value.family() == family);
    let other = addresses.iter().any(|it| it.value.family() != family);
    match mode {
        Mode::Nat | Mode::L2dsr if !same || other => spot.error(
            format!(
                "{title}: {} is {}, and not all addresses of the service are",
                backend.address,
                family.name()
            ),
            format!("mode = \"{}\" keeps the family: write a service for each", mode.as_str()),
            report,
        ),
        Mode::Ipip | Mode::Gue { .. } if family == Family::V4 && other => spot.error(
            format!("{title}: {} cannot take IPv6 packets", backend.address),
            "IPv6 in IPv4 is not made: give the backend's IPv6 address, or write a service for each \
             family",
            report,
        ),
        _ => {}
    }
}

fn of_port(
    title: &str,
    read: &Read<'_>,
    mode: Mode,
    (spot, port): (&Spot, u16),
    report: &mut Report<'_>,
) {
    let own = match read.ports.map(|it| &it.value[..]) {
        Some(&[(first, last)]) if first == last => Some(first),
        _ => None,
    };
    if mode != Mode::Nat {
        spot.error(
            format!("{title}: port with mode = \"{}\"", mode.as_str()),
            "the packet stays as the client sent it, so the backend listens on the service's port: \
             leave port out",
            report,
        );
    } else if own == Some(port) {
        // Nothing is rewritten.
    } else if read.protocols.is_some_and(|them| them.contains(&Transport::Sctp)) {
        spot.error(
            format!("{title}: port {port} with protocol \"sctp\""),
            "SCTP's checksum covers the port (RFC 9260, section 6.8): leave port out",
            report,
        );
    } else if own.is_none() {
        spot.error(
            format!("{title}: port {port}, and the service has not one port"),
            "a reply has to tell which port it is from: write a service for each port",
            report,
        );
    }
}
