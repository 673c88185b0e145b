//! How often a run met what.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::kinds::{ALL, ENDS, Kind};

/// How often each kind was met, and with what verdict and reason.
#[derive(Default)]
pub struct Table {
    pub pairs: usize,
    kinds: BTreeMap<Kind, BTreeMap<Kind, usize>>,
    cells: BTreeMap<(Kind, Kind), usize>,
}

const VERDICTS: [Kind; 4] = ["pass", "drop", "tx", "redirect"];
const REASONS: [Kind; 10] = [
    "malformed",
    "arp",
    "allowed",
    "allowlist",
    "banned",
    "blocklist",
    "fragment",
    "domain",
    "rule",
    "default",
];
/// Each verdict with each reason that it can have.
const CELLS: [(Kind, Kind); 17] = [
    ("pass", "malformed"),
    ("drop", "malformed"),
    ("pass", "arp"),
    ("drop", "arp"),
    ("pass", "allowed"),
    ("pass", "allowlist"),
    ("drop", "banned"),
    ("drop", "blocklist"),
    ("drop", "fragment"),
    ("drop", "domain"),
    ("tx", "domain"),
    ("pass", "rule"),
    ("drop", "rule"),
    ("tx", "rule"),
    ("redirect", "rule"),
    ("pass", "default"),
    ("drop", "default"),
];

impl Table {
    pub fn add(&mut self, kinds: impl IntoIterator<Item = Kind>, verdict: Kind, reason: Kind) {
        self.pairs += 1;
        *self.cells.entry((verdict, reason)).or_default() += 1;
        for kind in kinds {
            let row = self.kinds.entry(kind).or_default();
            *row.entry(verdict).or_default() += 1;
            *row.entry(reason).or_default() += 1;
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.pairs += other.pairs;
        for (cell, times) in other.cells {
            *self.cells.entry(cell).or_default() += times;
        }
        for (kind, row) in other.kinds {
            let own = self.kinds.entry(kind).or_default();
            for (column, times) in row {
                *own.entry(column).or_default() += times;
            }
        }
    }

    /// What of all that can be met was not.
    pub fn missing(&self, kinds: &[Kind]) -> Vec<String> {
        let kinds = kinds.iter().filter(|kind| !self.kinds.contains_key(*kind));
        let cells = CELLS.iter().filter(|cell| !self.cells.contains_key(*cell));
        let cells = cells.map(|(verdict, reason)| format!("{verdict} by {reason}"));
        kinds.map(|kind| (*kind).to_owned()).chain(cells).collect()
    }
}

/// As a table of Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = || VERDICTS.iter().chain(&REASONS);
        let mut head = String::from("| frames with | pairs |");
        let mut line = String::from("|---|---:|");
        for column in columns() {
            write!(head, " {column} |")?;
            line.push_str("---:|");
        }
        writeln!(f, "{head}\n{line}")?;
        for kind in ALL.iter().chain(ENDS) {
            let Some(row) = self.kinds.get(kind) else { continue };
            let of = |column: &Kind| row.get(column).copied().unwrap_or(0);
            let all: usize = VERDICTS.iter().map(of).sum();
            write!(f, "| {kind} | {all} |")?;
            for column in columns() {
                write!(f, " {} |", of(column))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
