//! Shows counters: as JSON, as lines, and as a picture that is redrawn as they change.
//!
//! What is printed is a [`Sample`]. Nothing here knows where it comes from.

pub mod follow;
pub mod json;
pub mod rate;
pub mod stop;
pub(in crate::views) mod table;
pub mod terminal;
pub mod text;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use xdp_common::packet::dns::Unreadable;
use xdp_common::stats::counter::{Counter, Matrix};
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::image::metadata::{Kind, Mode};

/// The counters of one interface at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub interface: String,
    pub ifindex: u32,
    /// Whether the program is on no interface any more, so that its counters stand still.
    pub gone: bool,
    /// Whether bypass is on: everything passes, whatever the ruleset says.
    pub bypass: bool,
    pub mode: Mode,
    /// Number of the ruleset in force.
    pub generation: u64,
    pub time: SystemTime,
    /// Counters by verdict and reason, summed over all CPUs.
    pub matrix: Matrix,
    /// DNS messages whose question could not be read, by [`Unreadable`], less 1. They are counted as
    /// what became of them, too.
    pub unreadable: [Counter; Unreadable::COUNT],
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
    /// The action's name in the configuration; "pass" for an allowlist.
    pub action: String,
    pub counter: Counter,
    /// Packets that a redirect rule matched but could not redirect; `None` for all other kinds.
    pub lost: Option<Counter>,
    /// Packets that were under a rule's limit, and went on; `None` if it has none.
    pub under: Option<Counter>,
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
