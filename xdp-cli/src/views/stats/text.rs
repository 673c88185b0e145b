//! Prints samples as plain lines, for pipes and for a single look.

use std::io::{self, Write};

use xdp_common::packet::dns::Unreadable;

use super::Sample;
use super::rate::Before;
use super::table::{Digits, TextTable, loss_hints, rows, title};
use crate::notation::{grouped, timestamp};

/// How a sample is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// Whether there are columns for rates.
    pub rates: bool,
    /// The sample that rates are computed against; without it they are shown as `-`.
    pub before: Option<Before<'a>>,
    /// Whether to say where to look for lost redirects.
    pub hints: bool,
    /// Whether rows that have counted nothing are printed too.
    pub all: bool,
}

/// Writes one sample: a title line and a table.
pub fn write(out: &mut dyn Write, sample: &Sample, style: Style<'_>) -> io::Result<()> {
    let rows = rows(sample, style.before, style.all);
    let table = TextTable::new(&rows, sample.total(), Digits::Plain, style.rates);
    writeln!(out, "{}, {}", title(sample, Digits::Plain), timestamp(sample.time))?;
    for line in table.lines(table.name_width()) {
        writeln!(out, "{line}")?;
    }
    if let Some(line) = unreadable(sample) {
        writeln!(out, "{line}")?;
    }
    if style.hints {
        for hint in loss_hints(sample) {
            writeln!(out, "hint: {hint}")?;
        }
    }
    Ok(())
}

/// How many DNS messages had a question that could not be read, if any had.
fn unreadable(sample: &Sample) -> Option<String> {
    let mut parts = Vec::new();
    for (why, counter) in Unreadable::ALL.into_iter().zip(sample.unreadable) {
        if counter.packets > 0 {
            let what = match why {
                Unreadable::Label => "with a compressed or unknown label",
                Unreadable::Questions => "with more than one question",
                Unreadable::Length => "cut short or too long",
            };
            parts.push(format!("{} {what}", grouped(counter.packets)));
        }
    }
    (!parts.is_empty())
        .then(|| format!("DNS questions that could not be read: {}", parts.join(", ")))
}
