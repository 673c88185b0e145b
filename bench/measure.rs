//! One case's measurement: the floor and the filter by turns, and the least of many rounds.

use serde::Serialize;

use crate::Result;
use crate::cases::Case;
use crate::stand::{Device, Stand};

/// Frames of a turn: some 30 ms at the floor, so that what starting a run costs does not show.
const FRAMES: u32 = 200_000;
/// A quarter of a turn before the first round, for caches and branch predictors.
const WARM_UP: u32 = FRAMES / 4;

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub floor: &'static str,
    /// Least cost of a frame at the floor and at the filter, the generator's part included.
    pub floor_ns: f64,
    pub filter_ns: f64,
    /// The one by the other.
    pub ratio: f64,
    pub added_ns: f64,
    /// The same ratio with the median of the filter's rounds.
    pub median_ratio: f64,
    /// The floor's own median by its least: how quiet the machine was.
    pub floor_spread: f64,
    /// Frames that were sent and never arrived, of a million.
    pub lost_ppm: u64,
    /// All rounds.
    pub floor_rounds_ns: Vec<f64>,
    pub filter_rounds_ns: Vec<f64>,
}

/// Measures a case, whose ruleset and floor are in place.
pub fn measure(stand: &mut Stand, case: &Case, frame: &[u8], rounds: usize) -> Result<Row> {
    for device in [Device::Floor, Device::Filter] {
        stand.run(device, frame, WARM_UP)?;
    }
    let [mut floor, mut filter] = [Vec::new(), Vec::new()];
    let (mut sent, mut arrived) = (0, 0);
    for _ in 0..rounds {
        for (device, costs) in [(Device::Floor, &mut floor), (Device::Filter, &mut filter)] {
            let run = stand.run(device, frame, FRAMES)?;
            sent += run.sent;
            arrived += run.arrived;
            costs.push(run.nanoseconds);
        }
    }
    let [floor_ns, filter_ns] = [least(&floor), least(&filter)];
    Ok(Row {
        name: case.name,
        floor: case.floor.as_str(),
        floor_ns,
        filter_ns,
        ratio: filter_ns / floor_ns,
        added_ns: filter_ns - floor_ns,
        median_ratio: median(&filter) / floor_ns,
        floor_spread: median(&floor) / floor_ns,
        lost_ppm: (sent - arrived) * 1_000_000 / sent,
        floor_rounds_ns: floor,
        filter_rounds_ns: filter,
    })
}

fn least(costs: &[f64]) -> f64 {
    costs.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(costs: &[f64]) -> f64 {
    let mut sorted = costs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
