//! Shows the entries that hold an address or a name. Does not know where they come from.

pub mod json;
pub mod text;

use serde::Serialize;

/// An entry of a list, or one added at run time, that holds the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// `allow` or `block` for a run-time entry; `allowlist`, `blocklist` or `domains` for an entry of
    /// a list.
    pub kind: &'static str,
    /// The name of the list.
    pub name: Option<String>,
    pub entry: String,
    /// What it does to a packet: pass, drop, count, or one of the actions of domains.
    pub action: &'static str,
    /// What of a packet it is compared with: source, destination or either, or the question.
    #[serde(rename = "match")]
    pub side: &'static str,
    /// The question types of the list, if it does not look at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<Vec<String>>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Seconds left of a run-time entry; `None` if it does not expire.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// The owner of a run-time entry.
    pub owner: Option<String>,
}
