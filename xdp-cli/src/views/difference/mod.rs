//! What a reload changes, as text and as JSON.

pub mod json;
pub mod text;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::difference::Difference;

/// A reload of one interface: done, or a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    pub interface: String,
    /// The generation of the ruleset in force: the new one, or with `dry_run` the one before.
    pub generation: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
    pub difference: Difference,
    pub map_bytes: MapBytes,
}

/// Memory of all maps of an interface, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapBytes {
    pub before: u64,
    /// During the reload, while both rulesets are in the kernel.
    pub meanwhile: u64,
    pub after: u64,
}
