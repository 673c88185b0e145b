//! Shows services and their backends, as JSON and as lines. Does not know where they come from.

pub mod json;
pub mod text;

use std::time::{Duration, SystemTime};

use serde::Serialize;
use xdp_common::lookup::services::{Lost, State};

use crate::config::prefix::IpPrefix;
use crate::notation::timestamp;
use crate::ruleset;
use crate::ruleset::services::{NextHop, Transport};
use crate::served::{BackendInKernel, InKernel, SaidBy};

/// A service. The keys and their order are part of the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    pub name: String,
    pub mode: String,
    /// Empty where only the configuration says it, and that is not kept any more; so are `protocol` and
    /// `port`.
    pub address: Vec<String>,
    pub protocol: Vec<&'static str>,
    pub port: Vec<String>,
    pub table: usize,
    pub tracking: Option<&'static str>,
    pub changed_places: usize,
    pub entries: u64,
    pub packets: u64,
    pub bytes: u64,
    pub new: u64,
    pub lost: Losses,
    pub slow: u64,
    pub panic: bool,
    pub backends: Vec<Backend>,
    /// For how long nobody has made the checks that the configuration asks for, in seconds; `None` while somebody does.
    pub unchecked_for_seconds: Option<u64>,
}

/// Packets that got to no backend, by why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Losses {
    pub no_backend: u64,
    pub too_big: u64,
    pub no_route: u64,
    pub fragment: u64,
    pub ttl: u64,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backend {
    pub name: String,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub weight: Option<u16>,
    pub state: &'static str,
    pub by: &'static str,
    /// How long it holds yet, in seconds, rounded up.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// The share of new connections.
    pub share: f64,
    pub packets: u64,
    pub bytes: u64,
    /// Connections that are remembered to be with it.
    pub entries: u64,
    pub next_hop: Option<String>,
    /// What the last check found: `ok` or `failed`.
    pub check: Option<Check>,
}

/// What checks of health found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub last: &'static str,
    /// Since when it is up or down, as far as that is known.
    pub since: Option<String>,
    /// How long the last check took.
    pub rtt_ms: Option<f64>,
    /// Why it failed, as far as that is known.
    pub why: Option<String>,
    /// When the last check ended.
    pub at: Option<String>,
}

/// What whoever checks a backend keeps beside the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What it found, and since when it does; `None` as long as that is not decided.
    pub is_up: Option<bool>,
    pub since: Option<SystemTime>,
    pub rtt_ms: Option<f64>,
    /// Why the last check did not succeed.
    pub message: Option<String>,
    /// When the last check ended.
    pub at: Option<SystemTime>,
}

impl Service {
    /// A service as the kernel has it, with what only its configuration says.
    pub fn new(
        service: &InKernel,
        written: Option<&ruleset::services::Service>,
        note: impl Fn(&str, &str) -> Option<String>,
        checked: impl Fn(&str, &ruleset::services::Backend) -> Option<Checked>,
        unchecked: Option<Duration>,
    ) -> Self {
        let lost = |why: Lost| service.losses[why as usize].packets;
        let up: usize = service.backends.iter().filter(|it| is_up(it)).map(|it| it.places).sum();
        let backends = service
            .backends
            .iter()
            .enumerate()
            .map(|(at, backend)| {
                let written = written.and_then(|written| written.backends.get(at));
                let share = if is_up(backend) { backend.places as f64 / up as f64 } else { 0.0 };
                Backend {
                    name: backend.name.clone(),
                    address: written.map(|it| it.address.to_string()),
                    port: written.and_then(|it| it.port),
                    weight: written.map(|it| it.weight),
                    state: match backend.state {
                        State::Up => "up",
                        State::Drain => "drain",
                        State::Down => "down",
                    },
                    by: backend.by.as_str(),
                    expires_in_seconds: backend
                        .left
                        .map(|left| left.as_millis().div_ceil(1000).max(1) as u64),
                    note: (backend.by == SaidBy::Command)
                        .then(|| note(&service.name, &backend.name))
                        .flatten(),
                    share: (share * 10_000.0).round() / 10_000.0,
                    packets: backend.counter.packets,
                    bytes: backend.counter.bytes,
                    entries: backend.connections,
                    next_hop: written.and_then(|it| match it.next_hop {
                        Some(mac @ NextHop::Mac(_)) => Some(mac.to_string()),
                        _ => None,
                    }),
                    check: backend.check.map(|is_ok| {
                        let checked = written.and_then(|it| checked(&service.name, it));
                        let same = checked.as_ref().filter(|it| it.is_up == Some(is_ok));
                        Check {
                            last: if is_ok { "ok" } else { "failed" },
                            since: same.and_then(|it| it.since).map(timestamp),
                            rtt_ms: checked.as_ref().and_then(|it| it.rtt_ms),
                            at: checked.as_ref().and_then(|it| it.at).map(timestamp),
                            why: checked.and_then(|it| it.message).filter(|_| !is_ok),
                        }
                    }),
                }
            })
            .collect();
        Self {
            name: service.name.clone(),
            mode: service.mode.clone(),
            address: written.map(addresses).unwrap_or_default(),
            protocol: written
                .map(|it| it.protocols.iter().map(|it| Transport::as_str(*it)).collect())
                .unwrap_or_default(),
            port: written.map(ports).unwrap_or_default(),
            table: service.places,
            tracking: written.map(|it| it.tracking.as_str()),
            changed_places: service.changed_places,
            entries: service.backends.iter().map(|it| it.connections).sum(),
            packets: service.counter.packets,
            bytes: service.counter.bytes,
            new: lost(Lost::New),
            lost: Losses {
                no_backend: lost(Lost::NoBackend),
                too_big: lost(Lost::TooBig),
                no_route: lost(Lost::NoRoute),
                fragment: lost(Lost::Fragment),
                ttl: lost(Lost::TimeToLive),
            },
            slow: lost(Lost::Slow),
            panic: service.panics,
            backends,
            unchecked_for_seconds: unchecked.map(|it| it.as_secs()),
        }
    }
}

fn is_up(backend: &BackendInKernel) -> bool {
    backend.state == State::Up
}

fn addresses(service: &ruleset::services::Service) -> Vec<String> {
    let v4 = service.addresses.v4.iter().map(|&prefix| IpPrefix::V4(prefix));
    let v6 = service.addresses.v6.iter().map(|&prefix| IpPrefix::V6(prefix));
    v4.chain(v6).map(|prefix| without_length(&prefix)).collect()
}

/// A prefix; a single address without its length.
fn without_length(prefix: &IpPrefix) -> String {
    let text = prefix.to_string();
    match text.split_once('/') {
        Some((address, _)) if prefix.is_host() => address.to_owned(),
        _ => text,
    }
}

/// Ports and ranges; empty for all of them.
fn ports(service: &ruleset::services::Service) -> Vec<String> {
    let ranges = service.ports.as_deref().unwrap_or_default();
    let shown = |&(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(shown).collect()
}
