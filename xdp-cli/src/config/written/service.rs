//! The keys of services: what holds for all of them, and what a service, its check and a backend have.

use super::super::time;
use super::settings::{Settings, range};
use super::value::{Setting, Value, prefix_v4, prefix_v6};
use crate::ruleset::services;
use crate::ruleset::services::check::{Check, Http, Probe, Tls};

/// The keys of `[services]` that are not those of a configuration without it.
pub fn service_settings(settings: &services::Settings) -> Vec<Setting> {
    let services::Settings {
        seed,
        tracking,
        connections,
        history,
        tunnel_source_v4,
        tunnel_source_v6,
        next_hop,
    } = settings;
    let usual = services::Settings::default();
    let mut written = Settings::default();
    if let Some(seed) = seed {
        written.add("seed", Value::Text(base64(seed)));
    }
    if *tracking != usual.tracking {
        written.add("tracking", Value::text(tracking.as_str()));
    }
    if *connections != usual.connections {
        written.add("connections", Value::Number(*connections));
    }
    if *history != usual.history {
        written.add("history", Value::Text(time::text(*history)));
    }
    let mut sources = Vec::new();
    if *tunnel_source_v4 != usual.tunnel_source_v4 {
        sources.push(Value::Text(prefix_v4(*tunnel_source_v4)));
    }
    if *tunnel_source_v6 != usual.tunnel_source_v6 {
        sources.push(Value::Text(prefix_v6(*tunnel_source_v6)));
    }
    if !sources.is_empty() {
        written.add("tunnel_source", Value::Several(sources));
    }
    if *next_hop != usual.next_hop {
        written.add("next_hop", Value::Text(next_hop.to_string()));
    }
    written.0
}

/// The keys of a service, without its name and its backends.
pub fn service(service: &services::Service) -> Vec<Setting> {
    let services::Service {
        name: _,
        file: _,
        line: _,
        column: _,
        // These have tables of their own.
        check: _,
        backends: _,
        addresses,
        protocols,
        ports: ranges,
        source,
        mode,
        hash,
        table,
        tracking,
        affinity,
        udp_timeout,
        too_big,
        no_backend,
        echo,
        panic,
        mtu,
    } = service;
    let mut settings = Settings::default();
    settings.prefixes("address", Some(addresses));
    settings.several("protocol", Some(protocols), |it| Value::text(it.as_str()));
    settings.several("port", ranges.as_deref(), range);
    settings.prefixes("source", source.as_ref());
    settings.add("mode", Value::text(mode.as_str()));
    if let services::Mode::Gue { port } = mode {
        settings.add("encapsulation", Value::text("gue"));
        settings.add("gue_port", Value::Number((*port).into()));
    }
    if *hash != services::Hash::default() {
        settings.add("hash", Value::text(hash.as_str()));
    }
    settings.add("table", Value::Number(*table));
    // What a service tracks that does not say so depends on [services].
    settings.add("tracking", Value::text(tracking.as_str()));
    if let Some(affinity) = affinity {
        settings.add("affinity", Value::Text(time::text(*affinity)));
    }
    if *udp_timeout != services::UDP_TIMEOUT {
        settings.add("udp_timeout", Value::Text(time::text(*udp_timeout)));
    }
    if *too_big != services::TooBig::default() {
        settings.add("too_big", Value::text(too_big.as_str()));
    }
    if *no_backend != services::NoBackend::default() {
        settings.add("no_backend", Value::text(no_backend.as_str()));
    }
    if *echo != services::Echo::default() {
        settings.add("echo", Value::text(echo.as_str()));
    }
    if *panic != 0 {
        settings.add("panic", Value::Number((*panic).into()));
    }
    if let Some(mtu) = mtu {
        settings.add("mtu", Value::Number((*mtu).into()));
    }
    settings.0
}

/// The keys of a service's check.
pub fn check(check: &Check) -> Vec<Setting> {
    let Check { probe, through, port, interval, timeout, fall, rise, if_unwatched } = check;
    let mut settings = Settings::default();
    settings.add("type", Value::text(probe.as_str()));
    settings.add("through", Value::text(through.as_str()));
    if let Some(port) = port {
        settings.add("port", Value::Number((*port).into()));
    }
    match probe {
        Probe::Tcp { send, expect } | Probe::Udp { send, expect } => {
            for (key, text) in [("send", send), ("expect", expect)] {
                if let Some(text) = text {
                    settings.add(key, Value::text(text));
                }
            }
        }
        Probe::Http(Http { tls, host, path, status, body }) => {
            settings.add("path", Value::text(path));
            if let Some(host) = host {
                settings.add("host", Value::text(host));
            }
            settings.several("status", Some(status), range);
            if let Some(body) = body {
                settings.add("body", Value::text(body));
            }
            if let Some(Tls { verify }) = tls {
                settings.add("verify", Value::Boolean(*verify));
            }
        }
        Probe::Icmp => {}
        Probe::Exec { command } => {
            settings.add("command", Value::Several(command.iter().map(Value::text).collect()));
        }
    }
    settings.add("interval", Value::Text(time::text(*interval)));
    settings.add("timeout", Value::Text(time::text(*timeout)));
    settings.add("fall", Value::Number((*fall).into()));
    settings.add("rise", Value::Number((*rise).into()));
    settings.add("if_unwatched", Value::text(if_unwatched.as_str()));
    settings.0
}

/// A service's check, as the value of one key, to be compared.
pub fn checked(check: &Check) -> Setting {
    let settings = self::check(check);
    let keys = settings.iter().map(|Setting { key, value }| format!("{key} {value}"));
    Setting { key: "check", value: Value::Text(keys.collect::<Vec<_>>().join(", ")) }
}

/// The keys of a backend, without its name.
pub fn backend(backend: &services::Backend) -> Vec<Setting> {
    let usual = [("weight", Value::Number(1)), ("state", Value::text("up"))];
    let mut settings = whole_backend(backend);
    settings.retain(|it| !usual.iter().any(|(key, value)| *key == it.key && *value == it.value));
    settings
}

/// The keys of a backend, without its name, even those with default values: what is compared.
pub fn whole_backend(backend: &services::Backend) -> Vec<Setting> {
    let services::Backend { name: _, file: _, line: _, address, port, weight, state, next_hop } =
        backend;
    let mut settings = Settings::default();
    settings.add("address", Value::Text(address.to_string()));
    if let Some(port) = port {
        settings.add("port", Value::Number((*port).into()));
    }
    settings.add("weight", Value::Number((*weight).into()));
    settings.add("state", Value::text(state.as_str()));
    if let Some(next_hop) = next_hop {
        settings.add("next_hop", Value::Text(next_hop.to_string()));
    }
    settings.0
}

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}
