//! The measurement of a case: floor and filter take turns, and the least of many rounds counts.

use serde::Serialize;

use crate::Result;
use crate::case::Goal;
use crate::testbed::{Device, Floor, Testbed};

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub floor: &'static str,
    /// Least cost of a frame at the floor and at the filter, the generator's part included.
    pub floor_ns: f64,
    pub filter_ns: f64,
    /// The filter's cost divided by the floor's.
    pub ratio: f64,
    pub added_ns: f64,
    /// The medians divided by the least costs: how far rounds lie apart, and so how quiet the
    /// machine was.
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
    /// What the cost is compared with: the row of that name, or the floor where it is `None`.
    pub against: Option<&'static str>,
    pub at_most: f64,
    pub ratio: f64,
    pub reached: bool,
}

impl Row {
    /// Compares the row with its case's goal. Rows of the same traffic have the same floor, but
    /// each is divided by its own measurement of it, so that changes of the machine's speed in
    /// between cancel out.
    pub fn judge(&mut self, goal: Option<Goal>, rows: &[Self]) {
        self.goal = goal.and_then(|goal| {
            let (against, at_most, ratio) = match goal {
                Goal::Floor(at_most) => (None, at_most, self.ratio),
                Goal::Case(name, at_most) => {
                    // A run of chosen cases may be without it.
                    let other = rows.iter().find(|row| row.name == name)?;
                    (Some(name), at_most, self.ratio / other.ratio)
                }
                Goal::Above(name, more) => {
                    let other = rows.iter().find(|row| row.name == name)?;
                    (None, other.ratio + more, self.ratio)
                }
                Goal::Nanoseconds(name, more) => {
                    let other = rows.iter().find(|row| row.name == name)?;
                    // In parts of the floor, as all goals are.
                    let more = more / self.floor_ns;
                    (None, other.ratio + more, self.ratio)
                }
                Goal::Times { over, of, at_most } => {
                    let find = |name| rows.iter().find(|row| row.name == name);
                    let (over, other) = (find(over)?, find(of)?);
                    // As above.
                    let more = at_most * other.added_ns / self.floor_ns;
                    (None, over.ratio + more, self.ratio)
                }
            };
            // A ratio that is printed as the goal, with two decimals, has reached it.
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

/// Measures the filter and the floor as they are set up.
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
