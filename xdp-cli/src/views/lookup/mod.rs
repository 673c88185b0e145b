//! What holds an address, as it is shown. Where it comes from is not known here.

pub mod json;
pub mod text;

use serde::Serialize;

/// An entry of a list, or one added at run time, that holds the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// `allow` and `block` are run-time entries, `allowlist` and `blocklist` lists.
    pub kind: &'static str,
    /// The list's name.
    pub name: Option<String>,
    pub entry: String,
    /// What it does to a packet: pass, drop or count.
    pub action: &'static str,
    /// Which address of a packet it is asked about: source, destination or either.
    #[serde(rename = "match")]
    pub side: &'static str,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Of a run-time entry; `None` where it does not end.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// Whose run-time entry it is.
    pub owner: Option<String>,
}
