//! Shows limits of rules: what was under and over, and which keys are over most.

pub mod json;
pub mod text;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use xdp_common::stats::counter::Counter;

use crate::limited::{InKernel, Key};
use crate::ruleset::limits::{Per, Quantity};

/// A rule with a limit. The keys and their order are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limited {
    pub name: String,
    /// As a configuration has it, as the next two.
    pub rate: String,
    pub per: String,
    pub burst: Burst,
    pub under: Count,
    pub over: Count,
    /// Keys that were over within the last ten minutes, the heaviest first.
    pub heaviest: Vec<Heavy>,
}

/// Packets, or bytes with their unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Burst {
    Packets(u64),
    Bytes(String),
}

impl std::fmt::Display for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Packets(packets) => packets.fmt(f),
            Self::Bytes(text) => f.write_str(text),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl From<Counter> for Count {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes }
    }
}

/// A key that is over its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heavy {
    /// An address, or a prefix where the rule's key is one.
    pub key: String,
    /// That were over, since the key is remembered: at least so many.
    pub packets: u64,
    /// Since the last of them.
    pub seconds_ago: u64,
}

/// A key as it is shown; `None` where a rule has no keys.
fn key_text(key: Key, per: Per) -> Option<String> {
    let lengths = per.lengths()?;
    Some(match key {
        Key::V4(address) => with_length(&Ipv4Addr::from_bits(address), lengths.v4, 32),
        Key::V6(address) => with_length(&Ipv6Addr::from_bits(address), lengths.v6, 128),
    })
}

fn with_length(address: &dyn std::fmt::Display, length: u8, full: u8) -> String {
    if length == full { address.to_string() } else { format!("{address}/{length}") }
}

/// How many keys of a limit are shown, the heaviest.
const SHOWN: usize = 10;

impl Limited {
    pub fn new(rule: &InKernel) -> Self {
        let InKernel { name, limit, under, over, heaviest } = rule;
        let mut heaviest = heaviest.clone();
        heaviest.sort_by_key(|heavy| (Reverse(heavy.packets), heavy.key));
        let shown = heaviest.iter().filter_map(|heavy| {
            let key = key_text(heavy.key, limit.per)?;
            Some(Heavy { key, packets: heavy.packets, seconds_ago: heavy.seconds_ago })
        });
        Self {
            name: name.clone(),
            rate: limit.rate.to_string(),
            per: limit.per.to_string(),
            burst: match limit.rate.of {
                Quantity::Packets => Burst::Packets(limit.burst),
                Quantity::Bits => Burst::Bytes(limit.written_burst().to_string()),
            },
            under: (*under).into(),
            over: (*over).into(),
            heaviest: shown.take(SHOWN).collect(),
        }
    }
}
