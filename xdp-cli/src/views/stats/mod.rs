//! Counters as they are shown: as JSON, as lines, and as a picture that follows them.
//!
//! What is printed is a [`Sample`]; where it comes from is not known here.

pub mod follow;
pub mod json;
pub mod rate;
pub mod stop;
mod table;
pub mod terminal;
pub mod text;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use xdp_common::stats::counter::{Counter, Matrix};
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::image::metadata::{Kind, Mode};

/// The counters of one interface at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub interface: String,
    pub ifindex: u32,
    /// The program is on no interface any more, and its counters stand still.
    pub gone: bool,
    /// Everything passes, whatever the ruleset says.
    pub bypass: bool,
    pub mode: Mode,
    /// Number of the ruleset in force.
    pub generation: u64,
    pub time: SystemTime,
    /// Summed over all CPUs.
    pub matrix: Matrix,
    /// Every list and rule in force, in the order of the configuration.
    pub counted: Vec<CountedSample>,
    /// The names of the interfaces that rules redirect to.
    pub redirects: Vec<String>,
}

/// What a list or a rule has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedSample {
    pub name: String,
    pub kind: Kind,
    /// As it stands in the configuration; "pass" for an allowlist.
    pub action: String,
    pub counter: Counter,
    /// What a redirect rule matched and could not redirect; `None` for all others.
    pub lost: Option<Counter>,
}

impl Sample {
    /// All packets with a verdict.
    pub fn verdict(&self, verdict: Verdict) -> Counter {
        sum(Reason::ALL.iter().map(|&reason| self.matrix.cells[Matrix::cell(verdict, reason)]))
    }

    /// All packets with a reason.
    pub fn reason(&self, reason: Reason) -> Counter {
        sum(Verdict::ALL.iter().map(|&verdict| self.matrix.cells[Matrix::cell(verdict, reason)]))
    }

    /// All packets.
    pub fn total(&self) -> Counter {
        sum(self.matrix.cells.iter().copied())
    }
}

fn sum(counters: impl Iterator<Item = Counter>) -> Counter {
    counters.fold(Counter::default(), |sum, counter| Counter {
        packets: sum.packets.saturating_add(counter.packets),
        bytes: sum.bytes.saturating_add(counter.bytes),
    })
}
