//! What an image says of itself to the command line: which names its counters and redirect slots
//! belong to, and where it came from. It lies in the image, so that it can never belong to another
//! ruleset than the one in force.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ruleset::{RedirectTarget, path_bytes};

/// The metadata of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The interface's name when it was attached.
    pub interface: String,
    /// The mode that was attached in.
    pub mode: Mode,
    /// The configuration file given at attach, absolute: the one that a reload reads.
    #[serde(with = "path_bytes")]
    pub config: PathBuf,
    /// The file that this ruleset came from: another one, if a reload was given one.
    #[serde(with = "path_bytes")]
    pub loaded_from: PathBuf,
    /// Milliseconds since 1970-01-01, of the attachment and of this ruleset.
    pub attached_at: u64,
    pub loaded_at: u64,
    /// Lists and rules, in the order of the configuration: allowlists, blocklists, rules.
    pub counted: Vec<Counted>,
    pub redirects: Vec<Redirect>,
    /// Prefixes in lists.
    pub ipv4_entries: u64,
    pub ipv6_entries: u64,
    /// Whether some rule asks for a VLAN.
    pub vlan_rules: bool,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, after the driver.
    Generic,
    /// On the device.
    Offload,
}

impl Mode {
    /// The mode's name on the command line and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A list or a rule, and its counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub name: String,
    pub kind: Kind,
    /// As it stands in the configuration; "pass" for an allowlist.
    pub action: String,
    /// Number of the counter.
    pub number: u32,
    /// Number of the counter of what could not be redirected.
    pub lost: Option<u32>,
}

/// What a counter counts for. A name with its kind keeps its counter from one ruleset to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Allowlist,
    Blocklist,
    Rule,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowlist => "allowlist",
            Self::Blocklist => "blocklist",
            Self::Rule => "rule",
        }
    }
}

/// An interface that rules redirect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Place in the map `REDIRECTS`.
    pub slot: u32,
    /// As the configuration names it.
    pub to: RedirectTarget,
    /// The interface that it was when the ruleset was put in force; `None` where it was missing,
    /// which only a reload allows.
    pub ifindex: Option<u32>,
    /// The rules that redirect there.
    pub rules: Vec<String>,
}
