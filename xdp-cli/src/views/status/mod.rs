//! Shows what is attached, as JSON and as lines. Does not know where that comes from.

pub mod json;
pub mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::image::metadata::Mode;
use crate::notation::{lossy_path, timestamp};

/// One attached interface. The keys and their order are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name now.
    pub interface: String,
    pub ifindex: u32,
    #[serde(serialize_with = "mode")]
    pub mode: Mode,
    pub link: Link,
    /// Number of the ruleset in force.
    pub generation: u64,
    /// The configuration file that was given at attach, which a reload reads.
    #[serde(serialize_with = "lossy_path")]
    pub config: PathBuf,
    #[serde(serialize_with = "time")]
    pub loaded_at: SystemTime,
    /// Seconds since attach.
    pub uptime_seconds: u64,
    pub program_id: u32,
    pub entries: EntryCounts,
    /// Memory of all maps, in bytes.
    pub map_bytes: u64,
    /// Whether bypass is on: everything passes.
    pub bypass: bool,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// The name of the interface at attach, if it has another one now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_as: Option<String>,
    /// The file that the ruleset in force was read from, if it is not `config`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_path")]
    pub loaded_from: Option<PathBuf>,
    pub redirects: Vec<Redirect>,
    /// What passes because it answers this host; left out where the ruleset does not ask for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replies: Option<Replies>,
}

/// What replies are recognized by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replies {
    /// Where what the host has asked is looked up: `sockets`, those of the network namespace.
    pub by: &'static str,
    /// How it is noted what the interface sends: `tcx` or `clsact`; `None` if it is not.
    pub sent: Option<&'static str>,
    /// Ranges of ports at which a UDP socket that is not connected is taken to have asked.
    pub udp_ports: Vec<(u16, u16)>,
}

/// Whether the interface itself is there and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    Up,
    Down,
    /// The interface is no longer in this network namespace.
    Gone,
}

impl Link {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }
}

/// How many entries and rules are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EntryCounts {
    pub ipv4: u64,
    pub ipv6: u64,
    pub domains: u64,
    pub rules: u64,
    /// Run-time entries.
    pub bans: u64,
    pub services: u64,
    /// Of all services together.
    pub backends: u64,
}

/// An interface that rules redirect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The interface as the configuration names it.
    pub to: String,
    /// `None` if there is no such interface.
    pub ifindex: Option<u32>,
    /// The rules that redirect there.
    pub rules: Vec<String>,
    /// Whether xdpctl attached a pass program there, which makes the driver take redirected frames.
    pub pass_program: bool,
}

fn optional_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

fn mode<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mode.as_str())
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}
