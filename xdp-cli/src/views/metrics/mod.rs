//! Metrics for Prometheus: what `stats` and `status` know, as its text format and as OpenMetrics.
//! Does not know where that comes from.
//!
//! Labels are names of interfaces, lists, rules, services and backends and words of a fixed set, never addresses: a
//! label makes a time series of each of its values.

mod families;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use super::stats::Sample;
use super::status::{EntryCounts, Link};
use crate::image::metadata::{Kind, Mode};
use crate::ruleset::EntryCount;
use crate::served::InKernel;

/// Everything that was found at one time.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Each name once.
    pub interfaces: Vec<Interface>,
    /// How often an interface could not be read since the process began; `None` where the process
    /// ends with this scrape.
    pub errors: Option<u64>,
}

/// An attached interface.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    /// Whether everything that there is to read of it could be read.
    pub is_readable: bool,
    /// `None` where nothing is known of it.
    pub state: Option<State>,
    /// `None` where there are none, or they cannot be read.
    pub counters: Option<Sample>,
    /// Its services; none where they cannot be read.
    pub services: Vec<InKernel>,
}

/// What `status` says.
#[derive(Clone, Debug)]
pub struct State {
    pub mode: Mode,
    pub link: Link,
    /// Whether the program is on the interface, in this network namespace.
    pub is_on: bool,
    pub bypass: bool,
    /// How many problems `status` names.
    pub problems: u64,
    /// Memory of all maps, in bytes.
    pub map_bytes: u64,
    /// `None` where another version's layout keeps it from being read.
    pub ruleset: Option<InForce>,
    /// `None` where the kernel has not measured them.
    pub runs: Option<Runs>,
}

/// The ruleset in force.
#[derive(Clone, Debug)]
pub struct InForce {
    pub generation: u64,
    pub attached_at: SystemTime,
    pub loaded_at: SystemTime,
    pub entries: EntryCounts,
    pub lists: Vec<List>,
}

/// How many entries a list has.
#[derive(Clone, Debug)]
pub struct List {
    pub name: String,
    pub kind: Kind,
    pub entries: EntryCount,
}

/// How often the program has run and for how long, while the kernel measured it.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    pub count: u64,
    pub seconds: f64,
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text of a scrape.
pub fn write(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::write(self, encoder)
    }
}
