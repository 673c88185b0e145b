//! The picture of `xdpctl top`, and what keys do to it.
//!
//! A [`Top`] is everything that is on the screen: what was counted and sampled, and what the user
//! has chosen. [`screen::draw`] makes a picture of it and does nothing else.

mod chosen;
pub mod keys;
pub mod screen;
pub mod sources;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use xdp_common::stats::verdict::Verdict;

use self::chosen::{Asking, Sort};
use self::sources::Source;
use crate::views::stats::Sample;
use crate::views::stats::rate::{Before, Rate};
use crate::views::stats::table::{REASON, Row, VERDICT, rows};

/// How many rates of each verdict are kept: as many as the widest sparkline has bars.
const HISTORY: usize = 240;

/// What is on the screen.
#[derive(Clone, Debug)]
pub struct Top {
    /// Whether the terminal shows colours.
    colours: bool,
    now: Seen,
    /// What is shown in place of `now` while the picture is paused.
    paused: Option<Box<Seen>>,
    sort: Sort,
    /// Only lists and rules with this in their names are shown.
    filter: String,
    asking: Asking,
    /// How many lists and rules are above those that are shown.
    above: usize,
    /// How many were shown last.
    page: Cell<usize>,
    /// The source that is selected. It is shown as long as it is, even where it sends no more.
    selected: Option<IpAddr>,
    /// What came of the last thing that was asked for; until the next key.
    message: Option<String>,
}

/// What was counted and sampled.
#[derive(Clone, Debug)]
struct Seen {
    sample: Sample,
    verdicts: Vec<VerdictRow>,
    /// Lists and rules, the busiest first.
    rules: Vec<Row>,
    sampling: Sampling,
    /// The busiest first.
    sources: Vec<Source>,
}

/// A verdict with its rates, of which the newest comes last.
#[derive(Clone, Debug)]
struct VerdictRow {
    verdict: Verdict,
    packets: u64,
    rate: Option<Rate>,
    history: VecDeque<u64>,
}

/// Whether sources are sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// One of so many frames is looked at, on each CPU.
    OneIn(u32),
    /// No frame is, and why.
    Off(String),
}

impl Top {
    /// A picture of the first sample, without rates yet.
    pub fn new(sample: Sample, sampling: Sampling, colours: bool) -> Self {
        let verdicts = Verdict::ALL.iter().map(|&verdict| VerdictRow {
            verdict,
            packets: sample.verdict(verdict).packets,
            rate: None,
            history: VecDeque::new(),
        });
        let verdicts = verdicts.collect();
        let rules = lists_and_rules(&sample, None);
        Self {
            colours,
            now: Seen { sample, verdicts, rules, sampling, sources: Vec::new() },
            paused: None,
            sort: Sort::default(),
            filter: String::new(),
            asking: Asking::default(),
            above: 0,
            page: Cell::new(0),
            selected: None,
            message: None,
        }
    }

    /// Takes the next sample, and the time since the one before.
    pub fn count(&mut self, sample: Sample, elapsed: Duration) {
        let now = &mut self.now;
        let before = (now.sample.ifindex == sample.ifindex)
            .then_some(Before { sample: &now.sample, elapsed });
        for row in &mut now.verdicts {
            let counter = sample.verdict(row.verdict);
            let then = before.map(|before| before.sample.verdict(row.verdict));
            row.packets = counter.packets;
            row.rate = then.map(|then| Rate::between(then, counter, elapsed));
            row.history.push_back(row.rate.unwrap_or_default().packets.round() as u64);
            if row.history.len() > HISTORY {
                row.history.pop_front();
            }
        }
        now.rules = lists_and_rules(&sample, before);
        now.sample = sample;
    }

    /// Takes what was found out about sources.
    pub fn rank(&mut self, sources: Vec<Source>, sampling: Sampling) {
        self.now.sources = sources;
        self.now.sampling = sampling;
    }

    /// Says what came of what the user asked for.
    pub fn say(&mut self, message: String) {
        self.message = Some(message);
    }

    /// What the picture is of.
    fn shown(&self) -> &Seen {
        self.paused.as_deref().unwrap_or(&self.now)
    }

    /// Lists and rules as they were asked for.
    fn rules(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let rules = self.shown().rules.iter();
        let mut rules: Vec<&Row> =
            rules.filter(|row| row.name.to_lowercase().contains(&filter)).collect();
        match self.sort {
            // As they are.
            Sort::Rate => {}
            Sort::Packets => rules.sort_by(|one, other| {
                other.counter.packets.cmp(&one.counter.packets).then(one.name.cmp(&other.name))
            }),
            Sort::Name => rules.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        rules
    }

    /// The sources that are shown; a selected one that was seen no more comes last.
    fn sources(&self) -> Vec<Source> {
        let mut sources = self.shown().sources.clone();
        if let Some(selected) = self.selected
            && sources.iter().all(|source| source.address != selected)
        {
            sources.push(Source { address: selected, rate: Rate::default(), dropped: None });
        }
        sources
    }
}

/// The rows of lists and rules, the busiest first.
fn lists_and_rules(sample: &Sample, before: Option<Before<'_>>) -> Vec<Row> {
    let mut rows = rows(sample, before, true);
    rows.retain(|row| row.kind != VERDICT && row.kind != REASON);
    rows
}
