//! What a reload changes, as text and as JSON.

pub mod json;
pub mod text;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::difference::Difference;

/// A reload of one interface, done or only asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    pub interface: String,
    /// Of the ruleset in force: the new one, or with `dry_run` the one before.
    pub generation: u64,
    /// Nothing was changed.
    pub dry_run: bool,
    pub difference: Difference,
    pub map_bytes: MapBytes,
}

/// Memory of all maps of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapBytes {
    pub before: u64,
    /// While both rulesets are there.
    pub meanwhile: u64,
    pub after: u64,
}
