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
    /// The services whose tables move places from one backend to another.
    pub moved_places: Vec<MovedPlaces>,
    pub map_bytes: MapBytes,
}

/// Places of a service's table that get another backend: new connections there go elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MovedPlaces {
    pub service: String,
    pub places: usize,
    pub of: usize,
    /// Rounded to hundredths.
    pub percent: f64,
}

impl Eq for MovedPlaces {}

impl MovedPlaces {
    pub fn new(service: &str, places: usize, of: usize) -> Self {
        let percent = places as f64 * 10_000.0 / of.max(1) as f64;
        Self { service: service.to_owned(), places, of, percent: percent.round() / 100.0 }
    }
}

/// Memory of all maps of an interface, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapBytes {
    pub before: u64,
    /// During the reload, while both rulesets are in the kernel.
    pub meanwhile: u64,
    pub after: u64,
}
