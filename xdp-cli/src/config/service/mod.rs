//! `[services]` and `[[service]]`, with its backends.

mod backend;
mod contradiction;
mod settings;
pub(super) mod time;

use toml::de::DeValue;

use super::names::Names;
use super::prefix::IpPrefix;
use super::report::{Report, quote};
use super::rule::{by_family, field};
use super::table::{Placed, TomlTable, did_you_mean};
use time::{DAY, SECOND};

use crate::ruleset::services::{
    Echo, Hash, Mode, NoBackend, Service, Settings, TABLES, TooBig, Tracking, Transport,
    UDP_TIMEOUT,
};

pub(super) use settings::read as read_settings;

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

/// Reads a service. `None` where something that it cannot be without is missing or wrong, which has
/// been reported.
pub(super) fn read(
    mut table: TomlTable<'_>,
    settings: &Settings,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Service> {
    let addresses = addresses(&mut table, report);
    let protocols = protocols(&mut table, names, report);
    let ports = field::ports(&mut table, "port", None, names, report);
    let source = field::prefixes(&mut table, "source", report);
    let mode = mode(&mut table, report);
    let hash = table.word("hash", &words(Hash::ALL, Hash::as_str), report);
    let affinity = time::read(&mut table, "affinity", SECOND..=DAY, report);
    let tracking = table.word("tracking", &words(Tracking::ALL, Tracking::as_str), report);
    let tracking = tracking.unwrap_or(settings.tracking);
    let udp_timeout = time::read(&mut table, "udp_timeout", SECOND..=DAY, report);
    fragments(&mut table, report);
    let too_big = table.word("too_big", &words(TooBig::ALL, TooBig::as_str), report);
    let no_backend = table.word("no_backend", &words(NoBackend::ALL, NoBackend::as_str), report);
    let echo = table.word("echo", &words(Echo::ALL, Echo::as_str), report);
    let panic = table.number("panic", 100, "write percent of the weight: 0 to 100", report);
    let mtu_hint = "write the bytes of the longest IP packet: 1280 to 65535";
    let mtu_at = table.value("mtu").map(|value| value.at);
    let mtu = table.number("mtu", 65_535, mtu_hint, report);
    if let (Some(at), Some(0..1280)) = (mtu_at, mtu) {
        report.error(at, format!("{}: mtu is under 1280", table.title), mtu_hint);
    }
    let backends = backend::read_all(&mut table, report);
    let size = table_size(&mut table, backends.len(), report);
    let name = table.name.map(|name| name.value.to_owned()).unwrap_or_default();
    let (file, (line, column)) = (report.file(table.place()), report.place(table.place()));
    let read = contradiction::Read {
        addresses: addresses.as_deref(),
        protocols: protocols.as_deref(),
        ports: ports.as_ref(),
        mode,
        backends: &backends,
    };
    contradiction::report(&table, &read, report);
    table.finish(report);
    Some(Service {
        name,
        file,
        line,
        column,
        addresses: by_family(addresses?),
        protocols: protocols?,
        ports: ports.map(|ports| united(ports.value)),
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
        panic: panic.and_then(|panic| u8::try_from(panic).ok()).unwrap_or(0),
        mtu: mtu.and_then(|mtu| u16::try_from(mtu).ok()),
        backends: backends.into_iter().map(|backend| backend.value).collect(),
    })
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
    let read = field::prefixes(table, "address", report)?;
    let mut whole = true;
    for prefix in &read {
        if !prefix.value.is_host() {
            report.error(
                prefix.at,
                format!("{}: address {} is a prefix", table.title, prefix.value),
                "name single addresses",
            );
            whole = false;
        } else if let Some(what) = unfit(&prefix.value) {
            report.error(
                prefix.at,
                format!("{}: address {} is {what}", table.title, prefix.value),
                "name an address that a host may have",
            );
            whole = false;
        }
    }
    whole.then_some(read)
}

/// Why an address cannot be that of a service or of a backend.
fn unfit(prefix: &IpPrefix) -> Option<&'static str> {
    let address = match prefix {
        IpPrefix::V4(prefix) => std::net::IpAddr::from(prefix.address.to_be_bytes()),
        IpPrefix::V6(prefix) => std::net::IpAddr::from(prefix.address.to_be_bytes()),
    };
    let is_broadcast = address == std::net::IpAddr::from([255; 4]);
    [
        (address.is_multicast(), "a multicast address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_unspecified(), "the unspecified address"),
        (is_broadcast, "the broadcast address"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
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

fn mode(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Mode> {
    if !table.has("mode") {
        report.missing(
            table.place(),
            format!("{}: mode is missing", table.title),
            "write \"nat\", \"dsr\" or \"l2dsr\"",
        );
    }
    let word = table.word("mode", &MODES, report);
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

/// The size of the table: as it is written, or the least that gives each backend a hundred places.
fn table_size(table: &mut TomlTable<'_>, backends: usize, report: &mut Report<'_>) -> Option<u32> {
    let least = u32::try_from(backends.saturating_mul(100)).unwrap_or(u32::MAX);
    let fitting = TABLES.into_iter().find(|&size| size >= least.max(4093));
    let fitting = fitting.unwrap_or(TABLES[TABLES.len() - 1]);
    let Some(value) = table.value("table") else { return Some(fitting) };
    if matches!(value.value, DeValue::String(text) if text == "auto") {
        return Some(fitting);
    }
    let sizes = TABLES.map(|size| size.to_string()).join(", ");
    let hint = format!("write \"auto\", or one of {sizes}");
    let DeValue::Integer(_) = value.value else {
        table.wrong_type("table", "\"auto\" or an integer", &value, hint, report);
        return None;
    };
    let size = table.number("table", u32::MAX, &hint, report)?;
    if !TABLES.contains(&size) {
        let message = format!("{}: table cannot have {size} places", table.title);
        report.error(value.at, message, hint);
        return None;
    }
    if (size as usize) < backends {
        let message = format!("{}: {backends} backends, and {size} places", table.title);
        report.error(value.at, message, format!("write table = {fitting}"));
        return None;
    }
    if size < least {
        report.warning(
            value.at,
            format!("{}: {size} places are few for {backends} backends", table.title),
            format!(
                "with under 100 places for each, shares are uneven, and more flows move than need \
                 to: write table = {fitting}"
            ),
        );
    }
    Some(size)
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
