//! Shows the entries that hold an address. Does not know where they come from.

pub mod json;
pub mod text;

use serde::Serialize;

/// An entry of a list, or one added at run time, that holds the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// `allow` or `block` for a run-time entry, `allowlist` or `blocklist` for an entry of a list.
    pub kind: &'static str,
    /// The name of the list.
    pub name: Option<String>,
    pub entry: String,
    /// What it does to a packet: pass, drop or count.
    pub action: &'static str,
    /// Which address of a packet it is compared with: source, destination or either.
    #[serde(rename = "match")]
    pub side: &'static str,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Seconds left of a run-time entry; `None` if it does not expire.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// The owner of a run-time entry.
    pub owner: Option<String>,
}
