//! What services have in common and must not: where packets go to, and where replies come from.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use xdp_common::capacity::{MAX_BACKENDS, MAX_REPLIES, MAX_SERVICE_ADDRESSES};
use xdp_common::filter::services::MAX_SHARED;

use super::super::report::Report;
use super::ServiceRead;
use crate::ruleset::service_keys::{
    self, AnyPrefix, Destination, Destinations, PrefixSet, number_of_ports,
};
use crate::ruleset::services::{Mode, Service, Transport};

/// From so many ports on, leaving `port` out is the better way to take them.
const MANY_PORTS: usize = 1_024;

pub(super) fn report(services: &[ServiceRead], report: &mut Report<'_>) {
    backends(services, report);
    if let Some(named) = destinations(services, report) {
        clients(services, &named, report);
    }
    replies(services, report);
    at_services(services, report);
}

/// Backends that have the address of another service: what is sent there comes to no host.
fn at_services(services: &[ServiceRead], report: &mut Report<'_>) {
    let mut of: HashMap<AnyPrefix, (usize, usize)> = HashMap::new();
    for (index, read) in services.iter().enumerate() {
        for (prefix, at) in &read.addresses {
            of.entry(*prefix).or_insert((index, *at));
        }
    }
    for (index, read) in services.iter().enumerate() {
        for (backend, spot) in read.service.backends.iter().zip(&read.backends) {
            let Some(&(other, at)) = of.get(&AnyPrefix::host(backend.address)) else { continue };
            if other == index {
                // One of its own was reported where the service was read.
                continue;
            }
            let line = match spot.in_file {
                None => report.line_seen_from(at, spot.at),
                Some(_) => format!("line {} of the configuration", report.line(at)),
            };
            spot.error(
                format!(
                    "{}, backend {:?}: {} is the address of {} in {line}",
                    read.title, backend.name, backend.address, services[other].title
                ),
                "name the address by which the backend itself is reached",
                report,
            );
        }
    }
}

/// The first service with which a sum exceeds `most`, and the sum of all.
fn first_over(
    services: &[ServiceRead],
    most: usize,
    number: impl Fn(&Service) -> usize,
) -> Option<(&ServiceRead, usize)> {
    let mut sum: usize = 0;
    let mut over = None;
    for read in services {
        sum = sum.saturating_add(number(&read.service));
        if sum > most && over.is_none() {
            over = Some(read);
        }
    }
    over.map(|read| (read, sum))
}

fn backends(services: &[ServiceRead], report: &mut Report<'_>) {
    let number = |service: &Service| service.backends.len();
    if let Some((read, sum)) = first_over(services, MAX_BACKENDS, number) {
        report.error(
            read.at,
            format!("{sum} backends of all services, {MAX_BACKENDS} are the most"),
            "use fewer, larger backends, or attach another configuration to another interface",
        );
    }
}

/// Counts the destinations; `None` where there are too many.
fn destinations(services: &[ServiceRead], report: &mut Report<'_>) -> Option<Destinations> {
    // Each may be shared by so many, so that this is too many in any case.
    let most = MAX_SERVICE_ADDRESSES * MAX_SHARED as usize;
    let (at, number) = match first_over(services, most, service_keys::number) {
        Some((read, sum)) => (read.at, format!("{sum}")),
        None => {
            let plain: Vec<Service> = services.iter().map(|read| read.service.clone()).collect();
            let named = service_keys::named(&plain);
            let asked = service_keys::asked(&plain, &named);
            shared(services, &asked, report);
            if asked.len() <= MAX_SERVICE_ADDRESSES {
                return Some(named);
            }
            let over = first_over(services, MAX_SERVICE_ADDRESSES, service_keys::number);
            (over.map_or(0, |(read, _)| read.at), asked.len().to_string())
        }
    };
    let ports = |read: &ServiceRead| read.service.ports.as_deref().map_or(0, number_of_ports);
    let widest = services.iter().max_by_key(|read| ports(read)).filter(|it| ports(it) > MANY_PORTS);
    let hint = match widest {
        Some(read) => format!(
            "each port counts: leave port out of {} to take every port, which counts once",
            read.title
        ),
        None => "each address, with each protocol and each port, counts".to_owned(),
    };
    report.error(
        at,
        format!(
            "{number} combinations of address, protocol and port of all services, \
             {MAX_SERVICE_ADDRESSES} are the most"
        ),
        hint,
    );
    None
}

/// A destination can be shared by so many services as a packet may ask.
fn shared(services: &[ServiceRead], asked: &Destinations, report: &mut Report<'_>) {
    let mut told = HashSet::new();
    for (destination, of) in asked {
        let Some(&index) = of.get(MAX_SHARED as usize) else { continue };
        if !told.insert(index) {
            continue;
        }
        let read = &services[index];
        report.error(
            read.at,
            format!(
                "{}: {} services share {}, each for other clients, {MAX_SHARED} are the most",
                read.title,
                of.len(),
                shown(destination)
            ),
            "join services with the same backends: source takes a list",
        );
    }
}

fn shown(Destination { prefix, protocol, port }: &Destination) -> String {
    let protocol = protocol.as_str();
    match port {
        Some(port) => format!("address {prefix} with protocol \"{protocol}\" and port {port}"),
        None => format!("address {prefix} with protocol \"{protocol}\" and every port"),
    }
}

/// The clients of a family that a service is for; `None` for all.
fn source(service: &Service, is_v6: bool) -> Option<Vec<AnyPrefix>> {
    let source = service.source.as_ref()?;
    Some(AnyPrefix::all(source).filter(|prefix| prefix.is_v6 == is_v6).collect())
}

/// Finds services that others with the same destination leave no clients, or fewer than they name.
fn clients(services: &[ServiceRead], named: &Destinations, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    for (destination, of) in named {
        let is_v6 = destination.prefix.is_v6;
        for place in 1..of.len() {
            if seen.insert((is_v6, of[..=place].to_vec())) {
                of_destination(services, destination, &of[..=place], report);
            }
        }
    }
}

/// Reports what the services before the last of these leave it.
fn of_destination(
    services: &[ServiceRead],
    destination: &Destination,
    of: &[usize],
    report: &mut Report<'_>,
) {
    let is_v6 = destination.prefix.is_v6;
    let Some((&last, before)) = of.split_last() else { return };
    let own = &services[last];
    let at = own
        .addresses
        .iter()
        .find(|(prefix, _)| *prefix == destination.prefix)
        .map_or(own.at, |(_, at)| *at);
    let told = |first: &ServiceRead, report: &mut Report<'_>| {
        let line = report.line_seen_from(first.at, at);
        let (title, shown) = (&own.title, shown(destination));
        format!("{title}: {shown} goes to {} in {line}", first.title)
    };
    const OTHER: &str = "give one of them another address or port, or a source of its own: services \
                         are asked in the order of the text";
    if let Some(&first) = before.iter().find(|it| services[**it].service.source.is_none()) {
        let message = told(&services[first], report);
        let hint = match own.service.source {
            Some(_) => "that one takes all clients: put it behind this one",
            None => OTHER,
        };
        report.error(at, message, hint);
        return;
    }
    // The last one takes all that the others leave.
    let Some(sources) = source(&own.service, is_v6) else { return };
    let sets: Vec<(usize, PrefixSet)> = before
        .iter()
        .filter_map(|&it| Some((it, source(&services[it].service, is_v6)?.into_iter().collect())))
        .collect();
    let taken_by = |prefix: AnyPrefix| {
        sets.iter().find(|(_, set)| set.around(prefix).next().is_some()).map(|(it, _)| *it)
    };
    let taken: Vec<(AnyPrefix, usize)> =
        sources.iter().filter_map(|&prefix| Some((prefix, taken_by(prefix)?))).collect();
    let Some(&(prefix, by)) = taken.first() else { return };
    let message = told(&services[by], report);
    if taken.len() == sources.len() {
        report.error(at, format!("{message} for all clients of its source"), OTHER);
    } else {
        let hint = "services are asked in the order of the text: leave it out of one of them";
        report.warning(at, format!("{message} for clients of {prefix}"), hint);
    }
}

/// Replies of one address and protocol: a range of ports, and whose they are.
struct Replies {
    ports: (u16, u16),
    service: usize,
    backend: usize,
}

/// A reply is known by where it comes from, so no two backends of nat services may have an address,
/// a protocol and a port in common.
fn replies(services: &[ServiceRead], report: &mut Report<'_>) {
    let number = |service: &Service| match service.mode {
        Mode::Nat => {
            let ports = service.ports.as_deref().map_or(1, number_of_ports);
            let each = |port: Option<u16>| if port.is_some() { 1 } else { ports };
            let backends: usize = service.backends.iter().map(|it| each(it.port)).sum();
            backends.saturating_mul(service.protocols.len())
        }
        _ => 0,
    };
    if let Some((read, sum)) = first_over(services, MAX_REPLIES, number) {
        report.error(
            read.at,
            format!(
                "{sum} combinations of backend, protocol and port with mode = \"nat\", \
                 {MAX_REPLIES} are the most"
            ),
            "leave port out of the service to take every port, which counts once",
        );
    }
    let mut all: HashMap<(IpAddr, Transport), Vec<Replies>> = HashMap::new();
    for (index, read) in services.iter().enumerate() {
        let service = &read.service;
        if service.mode != Mode::Nat {
            continue;
        }
        for (backend, it) in service.backends.iter().enumerate() {
            let ranges = match (it.port, service.ports.as_deref()) {
                (Some(port), _) => &[(port, port)][..],
                (None, Some(ranges)) => ranges,
                (None, None) => &[(0, u16::MAX)],
            };
            for &protocol in &service.protocols {
                let of = all.entry((it.address, protocol)).or_default();
                of.extend(ranges.iter().map(|&ports| Replies { ports, service: index, backend }));
            }
        }
    }
    let mut pairs = HashSet::new();
    let mut told: Vec<_> =
        all.into_iter().flat_map(|(of, replies)| overlaps(of, replies)).collect();
    told.sort_unstable_by_key(|it| (it.second, it.first));
    for Overlap { first, second, address, protocol, port } in told {
        if first == second || !pairs.insert((first, second)) {
            continue;
        }
        let (of_first, of_second) = (&services[first.0], &services[second.0]);
        let (own, other) =
            (&of_second.service.backends[second.1], &of_first.service.backends[first.1]);
        let spot = &of_second.backends[second.1];
        let line = of_first.backends[first.1].line_seen_from(spot, report);
        let whose = match first.0 == second.0 {
            true => format!("backend {:?} in {line}", other.name),
            false => format!("{}, backend {:?} in {line}", of_first.title, other.name),
        };
        spot.error(
            format!(
                "{}, backend {:?}: its replies from {address}, protocol \"{}\", port {port}, could \
                 not be told from those of {whose}",
                of_second.title,
                own.name,
                protocol.as_str()
            ),
            "with mode = \"nat\" an address, a protocol and a port belong to one backend: give it a \
             port or an address of its own",
            report,
        );
    }
}

/// Two backends, each by service and number, that have a port in common.
struct Overlap {
    first: (usize, usize),
    second: (usize, usize),
    address: IpAddr,
    protocol: Transport,
    port: u16,
}

fn overlaps((address, protocol): (IpAddr, Transport), mut replies: Vec<Replies>) -> Vec<Overlap> {
    replies.sort_unstable_by_key(|it| (it.ports, it.service, it.backend));
    let mut found = Vec::new();
    let mut widest: Option<&Replies> = None;
    for it in &replies {
        let Some(before) = widest else {
            widest = Some(it);
            continue;
        };
        if it.ports.0 <= before.ports.1 {
            let mut both = [(before.service, before.backend), (it.service, it.backend)];
            both.sort_unstable();
            let [first, second] = both;
            found.push(Overlap { first, second, address, protocol, port: it.ports.0 });
        }
        if it.ports.1 > before.ports.1 {
            widest = Some(it);
        }
    }
    found
}
