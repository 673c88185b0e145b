//! `[[service.backend]]`.

use std::collections::HashMap;
use std::net::IpAddr;

use xdp_common::capacity::{MAX_BACKENDS_OF_ONE, MAX_NAME};

use super::super::many;
use super::super::name::fault;
use super::super::prefix::{self, IpPrefix};
use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable};
use super::files::BackendFiles;
use super::settings::next_hop;
use super::spot::{BackendRead, Keys, Spot};
use super::unfit::unfit;
use super::words;
use crate::ruleset::services::{Backend, State};

/// The backends of a service, as far as they could be read: those of its tables, then those of its
/// files.
pub(super) fn read_all(
    table: &mut TomlTable<'_>,
    files: &mut BackendFiles<'_>,
    report: &mut Report<'_>,
) -> Vec<BackendRead> {
    let tables = many(table, "service.backend", report);
    let of_files = files.of(table, report);
    let names_files = table.has("files") && !table.is_empty_array("files");
    // A key of the wrong type has been reported.
    let wrong = table.has("backend") && !table.is_empty_array("backend");
    if tables.is_empty() && !names_files && !wrong {
        report.missing(
            table.place(),
            format!("{}: neither backends nor files", table.title),
            "add [[service.backend]] with an address, or files = [\"lists/web.backends\"]",
        );
    }
    let service = table.title.clone();
    let mut read: Vec<BackendRead> =
        tables.into_iter().filter_map(|table| read(table, &service, report)).collect();
    read.extend(of_files);
    if let Some(BackendRead { spot, .. }) = read.get(MAX_BACKENDS_OF_ONE) {
        let number = read.len();
        spot.error(
            format!("{service}: {number} backends, {MAX_BACKENDS_OF_ONE} are the most"),
            "write two services, or put several backends behind one address",
            report,
        );
    }
    let mut first: HashMap<&str, &Spot> = HashMap::new();
    for BackendRead { spot, value } in &read {
        if let Some(before) = first.get(&*value.name) {
            let line = before.line_seen_from(spot, report);
            let message = format!("{service}: backend {:?} stands in {line} too", value.name);
            spot.of(|keys| keys.name).error(
                message,
                "give each backend of a service a name of its own",
                report,
            );
            continue;
        }
        first.insert(&value.name, spot);
    }
    read
}

fn read(mut table: TomlTable<'_>, service: &str, report: &mut Report<'_>) -> Option<BackendRead> {
    table.title = format!("{service}, backend");
    let name = table.string("name", "write a name in quotes", report);
    if let Some(name) = name {
        let shown = quote(name.value, MAX_NAME);
        if let Some(why) = fault(name.value) {
            report.error(name.at, format!("{}: {shown} cannot be a name", table.title), why);
        }
        table.title = format!("{service}, backend {shown}");
    }
    let address = address(&mut table, report);
    let port_at = table.value("port").map(|value| value.at);
    let port = table.number("port", 65_535, "a port is 1 to 65535", report);
    if let (Some(at), Some(0)) = (port_at, port) {
        let message = format!("{}: port 0 is out of range", table.title);
        report.error(at, message, "a port is 1 to 65535");
    }
    let weight_at = table.value("weight").map(|value| value.at);
    let weight = table.number("weight", 65_535, "a weight is 1 to 65535", report);
    if let (Some(at), Some(0)) = (weight_at, weight) {
        let message = format!("{}: weight 0 is out of range", table.title);
        report.error(at, message, "a weight is 1 to 65535; state = \"drain\" gives a backend no new connections, \"down\" none at all");
    }
    let state_at = table.value("state").map(|value| value.at);
    let state = table.word("state", &words(State::ALL, State::as_str), report).unwrap_or_default();
    let next_hop = next_hop(&mut table, report);
    if let Some(value) = table.value("server_id") {
        report.error(
            value.at,
            format!("{}: server_id is not there yet", table.title),
            "leave it out; QUIC is served with protocol = \"udp\"",
        );
    }
    let (file, line) = (report.file(table.at), report.line(table.at));
    let at = address.as_ref().map_or(table.at, |address| address.at);
    table.finish(report);
    let address = address?.value;
    let keys = Keys { name: name.as_ref().map(|name| name.at), port: port_at, state: state_at };
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let name = match name {
        Some(name) => name.value.to_owned(),
        None => Backend::default_name(address, port),
    };
    // A wrong one has been reported.
    let weight = weight.and_then(|it| u16::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(1);
    let backend = Backend { name, address, port, weight, state, next_hop, file, line };
    Some(BackendRead { spot: Spot { at, keys, in_file: None }, value: backend })
}

fn address(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Placed<IpAddr>> {
    const HINT: &str = "write the address of one host, such as \"10.0.0.1\"";
    if !table.has("address") {
        report.missing(table.at, format!("{}: address is missing", table.title), HINT);
    }
    let text = table.string("address", HINT, report)?;
    let Ok(address) = text.value.parse::<IpAddr>() else {
        let message = format!("{}: {} is not an address", table.title, quote(text.value, 60));
        report.error(text.at, message, HINT);
        return None;
    };
    let host = prefix::parse(text.value).ok().map(|parsed| parsed.prefix);
    if let Some(what) = host.as_ref().and_then(|host: &IpPrefix| unfit(host)) {
        let message = format!("{}: {address} is {what}", table.title);
        report.error(text.at, message, HINT);
        return None;
    }
    Some(Placed { at: text.at, value: address })
}
