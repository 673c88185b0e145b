//! One case's measurement: the floor and the filter by turns, and the least of many rounds.

use serde::Serialize;

use crate::Result;
use crate::cases::Goal;
use crate::testbed::{Device, Floor, Testbed};

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub floor: &'static str,
    /// Least cost of a frame at the floor and at the filter, the generator's part included.
    pub floor_ns: f64,
    pub filter_ns: f64,
    /// The one by the other.
    pub ratio: f64,
    pub added_ns: f64,
    /// The medians by the leasts: how far rounds lie apart, and how quiet the machine was.
    pub spread: f64,
    pub floor_spread: f64,
    /// What it should cost at most, and whether it does.
    pub goal: Option<Outcome>,
    /// Frames that were sent and never arrived, of a million.
    pub lost_ppm: u64,
    /// All rounds.
    pub floor_rounds_ns: Vec<f64>,
    pub filter_rounds_ns: Vec<f64>,
}

/// A goal, and what came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// What is held against the cost: `None` is the floor, else the row of that name.
    pub against: Option<&'static str>,
    pub at_most: f64,
    pub ratio: f64,
    pub reached: bool,
}

impl Row {
    /// Holds the row against its case's goal. Rows of the same traffic have the same floor; that
    /// each is divided by its own takes out what the machine did in between.
    pub fn judge(&mut self, goal: Option<Goal>, rows: &[Self]) {
        self.goal = goal.and_then(|goal| {
            let (against, at_most, ratio) = match goal {
                Goal::Floor(at_most) => (None, at_most, self.ratio),
                Goal::Case(name, at_most) => {
                    // A run of chosen cases may be without it.
                    let other = rows.iter().find(|row| row.name == name)?;
                    (Some(name), at_most, self.ratio / other.ratio)
                }
            };
            // What is printed as the goal has reached it.
            let reached = (ratio * 100.0).round() / 100.0 <= at_most;
            Some(Outcome { against, at_most, ratio, reached })
        });
    }
}

/// What is measured, by turns with the floor.
pub struct Measured<'a> {
    pub name: &'a str,
    pub floor: Floor,
    pub device: Device,
    pub frame: &'a [u8],
    /// Frames of a turn.
    pub frames: u32,
}

/// Frames of a turn: some 20 ms at the floor, so that what starting a run costs does not show.
pub const FRAMES: u32 = 200_000;

/// Measures what is in place, and the floor that is.
pub fn measure(testbed: &mut Testbed, measured: &Measured<'_>, rounds: usize) -> Result<Row> {
    let &Measured { frame, frames, .. } = measured;
    let devices = [Device::Floor, measured.device];
    for device in devices {
        // For caches and branch predictors.
        testbed.run(device, frame, frames / 4)?;
    }
    let [mut floor, mut filter] = [Vec::new(), Vec::new()];
    let (mut sent, mut arrived) = (0, 0);
    for _ in 0..rounds {
        for (device, costs) in devices.into_iter().zip([&mut floor, &mut filter]) {
            let run = testbed.run(device, frame, frames)?;
            sent += run.sent;
            arrived += run.arrived;
            costs.push(run.nanoseconds);
        }
    }
    let [floor_ns, filter_ns] = [least(&floor), least(&filter)];
    Ok(Row {
        name: measured.name.to_owned(),
        floor: measured.floor.as_str(),
        floor_ns,
        filter_ns,
        ratio: filter_ns / floor_ns,
        added_ns: filter_ns - floor_ns,
        spread: median(&filter) / filter_ns,
        floor_spread: median(&floor) / floor_ns,
        goal: None,
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
