//! `[services]` and `[[service]]`, with its backends.

mod backend;
mod check;
mod collision;
mod contradiction;
mod files;
mod settings;
mod spot;
mod table_size;
mod unfit;

use std::collections::HashSet;

use toml::de::DeValue;

use super::names::Names;
use super::prefix::{Family, IpPrefix};
use super::report::{Report, quote};
use super::rule::{by_family, field};
use super::table::{Placed, TomlTable, did_you_mean};
use super::time::{self, DAY, SECOND};
use spot::Spot;
use unfit::unfit;

use crate::ruleset::Prefix;
use crate::ruleset::service_keys::AnyPrefix;
use crate::ruleset::services::{
    Echo, Hash, Mode, NextHop, NoBackend, Service, Settings, TooBig, Tracking, Transport,
    UDP_TIMEOUT,
};

pub(super) use files::BackendFiles;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModeWord {
    Nat,
    Dsr,
    L2dsr,
}

const MODES: [(&str, ModeWord); 3] =
    [("nat", ModeWord::Nat), ("dsr", ModeWord::Dsr), ("l2dsr", ModeWord::L2dsr)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encapsulation {
    Ipip,
    Gue,
}

const ENCAPSULATIONS: [(&str, Encapsulation); 2] =
    [("ipip", Encapsulation::Ipip), ("gue", Encapsulation::Gue)];

/// The port of GUE where none is named, as katran has it.
const GUE_PORT: u16 = 6080;

/// Every value of a key with its word.
fn words<T: Copy, const N: usize>(
    all: [T; N],
    word: impl Fn(T) -> &'static str,
) -> [(&'static str, T); N] {
    all.map(|value| (word(value), value))
}

/// A service with the places of what may collide with others.
struct ServiceRead {
    /// What messages call it.
    title: String,
    /// The place of its name.
    at: usize,
    service: Service,
    addresses: Vec<(AnyPrefix, usize)>,
    /// In the order of [`Service::backends`].
    backends: Vec<Spot>,
}

/// Reads `[services]` and each `[[service]]`. `passed_fragments` is the place at which the policy says
/// that fragments pass, if it says so.
pub(super) fn read(
    settings: Option<TomlTable<'_>>,
    services: Vec<TomlTable<'_>>,
    passed_fragments: Option<usize>,
    (names, files): (&Names<'_>, &mut BackendFiles<'_>),
    report: &mut Report<'_>,
) -> (Settings, Vec<Service>) {
    let seeded = settings.as_ref().is_some_and(|table| table.has("seed"));
    let (settings, places) =
        settings.map(|table| settings::read(table, report)).unwrap_or_default();
    if let Some(first) = services.first() {
        if !seeded && !report.is_broken() {
            report.warning(
                first.place(),
                "services without a seed: anybody can compute which backend a flow goes to".into(),
                "write seed in [services]: `openssl rand -base64 12` makes one; boxes that share an \
                 address need the same one",
            );
        }
        if let Some(at) = passed_fragments {
            report.warning(
                at,
                "fragments = \"pass\", but services drop fragments to their addresses".into(),
                "a fragment has no ports to choose a backend by",
            );
        }
    }
    let read: Vec<ServiceRead> = services
        .into_iter()
        .filter_map(|table| read_one(table, &settings, (names, files), report))
        .collect();
    collision::report(&read, report);
    if !read.is_empty() {
        settings::beside(&settings, places, &read, report);
    }
    for one in read.iter().filter(|one| one.service.mode == Mode::L2dsr) {
        let NextHop::Mac(_) = settings.next_hop else { break };
        for (backend, spot) in one.service.backends.iter().zip(&one.backends) {
            if backend.next_hop.is_none() {
                spot.warning(
                    format!(
                        "{}, backend {:?}: mode = \"l2dsr\" with the MAC address of [services] \
                         next_hop, {}",
                        one.title, backend.name, settings.next_hop
                    ),
                    "packets go to that address whichever backend is chosen: give each backend \
                     next_hop, its own MAC address or \"route\"",
                    report,
                );
            }
        }
    }
    (settings, read.into_iter().map(|read| read.service).collect())
}

/// Reads a service. `None` where something that it cannot be without is missing or wrong, which has
/// been reported.
fn read_one(
    mut table: TomlTable<'_>,
    settings: &Settings,
    (names, files): (&Names<'_>, &mut BackendFiles<'_>),
    report: &mut Report<'_>,
) -> Option<ServiceRead> {
    let addresses = addresses(&mut table, report);
    let protocols = protocols(&mut table, names, report);
    let ports = match is_empty(&mut table, "port", "no packet is taken", report) {
        true => None,
        false => field::ports(&mut table, "port", None, names, report)
            .map(|Placed { at, value }| Placed { at, value: united(value) }),
    };
    let source = match is_empty(&mut table, "source", "no client is served", report) {
        true => None,
        false => field::prefixes(&mut table, "source", report),
    };
    let mode = mode(&mut table, report);
    let hash = table.word("hash", &words(Hash::ALL, Hash::as_str), report);
    let affinity = time::read(&mut table, "affinity", SECOND..=DAY, report);
    let tracking = table.word("tracking", &words(Tracking::ALL, Tracking::as_str), report);
    let tracking = tracking.unwrap_or(settings.tracking);
    let udp_timeout = time::read(&mut table, "udp_timeout", SECOND..=DAY, report);
    fragments(&mut table, report);
    let too_big_at = table.value("too_big").map(|value| value.at);
    let too_big = table.word("too_big", &words(TooBig::ALL, TooBig::as_str), report);
    let mtu = mtu(&mut table, report);
    let no_backend = table.word("no_backend", &words(NoBackend::ALL, NoBackend::as_str), report);
    let echo = table.word("echo", &words(Echo::ALL, Echo::as_str), report);
    let panic_at = table.value("panic").map_or(0, |value| value.at);
    let panic = table.number("panic", 100, "write percent of the weight: 0 to 100", report);
    let panic = panic
        .and_then(|panic| u8::try_from(panic).ok())
        .map(|value| Placed { at: panic_at, value });
    let backends = backend::read_all(&mut table, files, report);
    let size = table_size::read(&mut table, &backends, report);
    let check = check::read(&mut table, ports.as_ref(), &backends, report);
    let read = contradiction::Read {
        addresses: addresses.as_deref(),
        protocols: protocols.as_deref(),
        ports: ports.as_ref(),
        source: source.as_deref(),
        mode,
        hash,
        tracking,
        affinity,
        udp_timeout,
        mtu,
        too_big: too_big_at,
        panic,
        next_hop: settings.next_hop,
        backends: &backends,
    };
    contradiction::report(&table, &read, report);
    let (title, at) = (table.title.clone(), table.place());
    let name = table.name.map(|name| name.value.to_owned()).unwrap_or_default();
    table.finish(report);
    let (line, column) = report.place(at);
    let addresses = addresses?;
    let places = addresses.iter().map(|it| (any_prefix(it.value), it.at)).collect();
    let service = Service {
        name,
        file: report.file(at),
        line,
        column,
        addresses: by_family(addresses),
        protocols: protocols?,
        ports: ports.map(|ports| ports.value).filter(|ports| *ports != [(0, u16::MAX)]),
        source: source.map(by_family),
        mode: mode?,
        hash: hash.unwrap_or_default(),
        table: size?,
        tracking,
        affinity: affinity.map(|it| it.value),
        udp_timeout: udp_timeout.map_or(UDP_TIMEOUT, |it| it.value),
        too_big: too_big.unwrap_or_default(),
        no_backend: no_backend.unwrap_or_default(),
        echo: echo.unwrap_or_default(),
        panic: panic.map_or(0, |panic| panic.value),
        mtu: mtu.map(|mtu| mtu.value),
        check,
        backends: Vec::new(),
    };
    let (backends, all) = backends.into_iter().map(|it| (it.spot, it.value)).unzip();
    let service = Service { backends: all, ..service };
    Some(ServiceRead { title, at, service, addresses: places, backends })
}

fn any_prefix(prefix: IpPrefix) -> AnyPrefix {
    match prefix {
        IpPrefix::V4(Prefix { address, length }) => {
            AnyPrefix { is_v6: false, address: address.into(), length }
        }
        IpPrefix::V6(Prefix { address, length }) => AnyPrefix { is_v6: true, address, length },
    }
}

fn mtu(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Placed<u16>> {
    const HINT: &str = "write the bytes of the longest IP packet: 1280 to 65535";
    let at = table.value("mtu")?.at;
    let mtu = u16::try_from(table.number("mtu", 65_535, HINT, report)?).ok()?;
    if mtu < 1280 {
        report.error(at, format!("{}: mtu {mtu} is under 1280", table.title), HINT);
        return None;
    }
    Some(Placed { at, value: mtu })
}

/// Reports a key whose list is empty.
fn is_empty(
    table: &mut TomlTable<'_>,
    key: &'static str,
    what: &str,
    report: &mut Report<'_>,
) -> bool {
    let Some(value) = table.value(key).filter(|_| table.is_empty_array(key)) else { return false };
    let hint = match key {
        "port" => "name at least one, or leave it out to take every port",
        "source" => "name at least one, or leave it out to take all clients",
        "tunnel_source" => "name one prefix of each family, or leave it out to take the usual ones",
        _ => "name at least one",
    };
    report.error(value.at, format!("{}: {key} is empty: {what}", table.title), hint);
    true
}

/// The addresses that clients send to.
fn addresses(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Vec<Placed<IpPrefix>>> {
    if !table.has("address") {
        report.missing(
            table.place(),
            format!("{}: address is missing", table.title),
            "name the address that clients send to: address = \"192.0.2.10\"",
        );
    }
    if is_empty(table, "address", "no packet is taken", report) {
        return None;
    }
    let hint = "write an address such as \"192.0.2.10\", or a list of them";
    let (read, mut whole) = field::readable_prefixes(table, "address", hint, report)?;
    let mut seen = HashSet::new();
    for prefix in &read {
        if !seen.insert(prefix.value) {
            report.error(
                prefix.at,
                format!("{}: address {} is named twice", table.title, any_prefix(prefix.value)),
                "name it once",
            );
            whole = false;
        } else if let Some(least) = shortest(&prefix.value) {
            report.error(
                prefix.at,
                format!("{}: address {} is too short a prefix", table.title, prefix.value),
                format!("a service takes prefixes from /{least} on"),
            );
            whole = false;
        } else if let Some(what) = unfit(&prefix.value) {
            report.error(
                prefix.at,
                format!("{}: address {} is {what}", table.title, any_prefix(prefix.value)),
                "name an address that a host may have",
            );
            whole = false;
        }
    }
    whole.then_some(read)
}

/// The least length of a prefix that is a service's address, where this one is shorter.
fn shortest(prefix: &IpPrefix) -> Option<u8> {
    let least = match prefix.family() {
        Family::V4 => 16,
        Family::V6 => 64,
    };
    (prefix.length() < least).then_some(least)
}

fn protocols(
    table: &mut TomlTable<'_>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Transport>> {
    const WORDS: &str = "\"tcp\", \"udp\" or \"sctp\", or a list of them";
    if !table.has("protocol") {
        report.missing(
            table.place(),
            format!("{}: protocol is missing", table.title),
            format!("write {WORDS}"),
        );
    }
    if is_empty(table, "protocol", "no packet is taken", report) {
        return None;
    }
    let values = field::values(table, "protocol", report)?;
    let mut protocols = Vec::new();
    for value in values.value {
        let DeValue::String(text) = value.value else {
            let expected = "a string or an array of strings";
            table.wrong_type("protocol", expected, &value, format!("write {WORDS}"), report);
            continue;
        };
        if text == "quic" {
            report.error(
                value.at,
                format!("{}: protocol \"quic\" is not there yet", table.title),
                "write \"udp\": its packets are spread by address and port",
            );
            continue;
        }
        let number = names.protocol(text).ok();
        match Transport::ALL.into_iter().find(|it| number == Some(it.number())) {
            Some(protocol) => protocols.push(protocol),
            None => {
                let message = format!("{}: protocol cannot be {}", table.title, quote(text, 60));
                let known = Transport::ALL.map(Transport::as_str);
                report.error(value.at, message, did_you_mean(text, known, WORDS));
            }
        }
    }
    protocols.sort_unstable();
    protocols.dedup();
    (!protocols.is_empty()).then_some(protocols)
}

/// What becomes of fragments. There is one answer so far.
fn fragments(table: &mut TomlTable<'_>, report: &mut Report<'_>) {
    if let Some(value) = table.value("fragments")
        && matches!(value.value, DeValue::String(text) if text == "track")
    {
        let message = format!("{}: fragments = \"track\" is not there yet", table.title);
        report.error(value.at, message, "write \"drop\", or leave it out");
        return;
    }
    table.word("fragments", &[("drop", ())], report);
}

/// What other load balancers call the modes.
const MODES_ELSEWHERE: [(&str, &str); 13] = [
    ("masq", "mode = \"nat\""),
    ("masquerade", "mode = \"nat\""),
    ("masquerading", "mode = \"nat\""),
    ("dnat", "mode = \"nat\""),
    ("tun", "mode = \"dsr\""),
    ("tunnel", "mode = \"dsr\""),
    ("tunneling", "mode = \"dsr\""),
    ("ipip", "mode = \"dsr\""),
    ("gue", "mode = \"dsr\" and encapsulation = \"gue\""),
    ("dr", "mode = \"l2dsr\""),
    ("direct", "mode = \"l2dsr\""),
    ("gateway", "mode = \"l2dsr\""),
    ("direct-routing", "mode = \"l2dsr\""),
];

fn mode_word(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<ModeWord> {
    if let Some(value) = table.value("mode")
        && let DeValue::String(text) = value.value
        && let Some((_, here)) =
            MODES_ELSEWHERE.iter().find(|(word, _)| text.eq_ignore_ascii_case(word))
    {
        let message = format!("{}: mode cannot be {}", table.title, quote(text, 60));
        report.error(value.at, message, format!("that is {here} here"));
        return None;
    }
    table.word("mode", &MODES, report)
}

fn mode(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Mode> {
    if !table.has("mode") {
        report.missing(
            table.place(),
            format!("{}: mode is missing", table.title),
            "write \"nat\", \"dsr\" or \"l2dsr\"",
        );
    }
    let word = mode_word(table, report);
    let encapsulation_at = table.value("encapsulation").map(|value| value.at);
    let encapsulation = table.word("encapsulation", &ENCAPSULATIONS, report);
    let port_at = table.value("gue_port").map(|value| value.at);
    let hint = "a port is 1 to 65535";
    let port = table.number("gue_port", 65_535, hint, report);
    if let (Some(at), Some(0)) = (port_at, port) {
        report.error(at, format!("{}: gue_port 0 is out of range", table.title), hint);
    }
    let word = word?;
    if let Some(at) = encapsulation_at
        && word != ModeWord::Dsr
    {
        let message = format!("{}: encapsulation without mode = \"dsr\"", table.title);
        report.error(at, message, "only dsr puts packets into others: leave it out");
    }
    if let Some(at) = port_at
        && (word != ModeWord::Dsr || encapsulation != Some(Encapsulation::Gue))
    {
        let message = format!("{}: gue_port without encapsulation = \"gue\"", table.title);
        report.error(at, message, "leave it out, or write encapsulation = \"gue\"");
    }
    Some(match (word, encapsulation) {
        (ModeWord::Nat, _) => Mode::Nat,
        (ModeWord::L2dsr, _) => Mode::L2dsr,
        (ModeWord::Dsr, Some(Encapsulation::Gue)) => {
            Mode::Gue { port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(GUE_PORT) }
        }
        (ModeWord::Dsr, _) => Mode::Ipip,
    })
}

/// Ranges that do not touch, sorted.
fn united(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut united: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match united.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                before.1 = before.1.max(last);
            }
            _ => united.push((first, last)),
        }
    }
    united
}
