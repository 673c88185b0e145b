//! The table that the lines and the picture share.

use std::cmp::Ordering;

use xdp_common::stats::counter::Counter;
use xdp_common::stats::verdict::{Reason, Verdict};

use super::rate::{Before, Rate};
use super::{Sample, sum};
use crate::notation::{counted, grouped, percent, plain, plural, shortened, si};

/// How counts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// For programs: `1204`.
    Plain,
    /// For people: `1,204`.
    Grouped,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(in crate::views) struct Row {
    pub(in crate::views) kind: &'static str,
    pub(in crate::views) name: String,
    pub(in crate::views) action: String,
    pub(in crate::views) counter: Counter,
    pub(in crate::views) rate: Option<Rate>,
}

impl Row {
    /// Whether the row is shown even if there is not enough room for all.
    pub(super) fn is_needed(&self) -> bool {
        self.kind == VERDICT
    }

    /// What makes one row busier than another: first its rate, then its count.
    pub(super) fn busyness(&self) -> (f64, u64) {
        (self.rate.map_or(0.0, |rate| rate.packets), self.counter.packets)
    }

    /// Sorts the busier row first. A list or a rule whose counter moves comes before any reason,
    /// since that packet shows up in a reason anyway: if there is no room for all rows, it is kept.
    pub(super) fn before(&self, other: &Self) -> Ordering {
        let of = |row: &Self| (row.kind != REASON && row.busyness().0 > 0.0, row.busyness());
        let ((rule, (rate, count)), (other_rule, (other_rate, other_count))) =
            (of(self), of(other));
        other_rule.cmp(&rule).then(other_rate.total_cmp(&rate)).then(other_count.cmp(&count))
    }
}

pub(in crate::views) const VERDICT: &str = "verdict";
pub(in crate::views) const REASON: &str = "reason";

/// The rows of a sample: verdicts, reasons, then lists and rules, the busiest first, and below a
/// redirect rule what it lost, below one with a limit what was under. Rows that have counted nothing are left out, unless `all` is set.
pub(in crate::views) fn rows(sample: &Sample, before: Option<Before<'_>>, all: bool) -> Vec<Row> {
    let row = |kind, name: &str, action: &str, now, then: Counter| Row {
        kind,
        name: plain(name),
        action: plain(action),
        counter: now,
        rate: before.map(|before| before.rate(then, now)),
    };
    let mut rows = Vec::new();
    for &verdict in Verdict::ALL {
        let now = sample.verdict(verdict);
        let then = before.map(|before| before.sample.verdict(verdict)).unwrap_or_default();
        if all || now.packets > 0 {
            rows.push(row(VERDICT, verdict.as_str(), "-", now, then));
        }
    }
    for &reason in Reason::ALL {
        let now = sample.reason(reason);
        let then = before.map(|before| before.sample.reason(reason)).unwrap_or_default();
        if all || now.packets > 0 {
            rows.push(row(REASON, reason.as_str(), "-", now, then));
        }
    }
    let mut counts: Vec<(Row, [Option<Row>; 2])> = Vec::new();
    for (place, counted) in sample.counted.iter().enumerate() {
        let [then, then_lost, then_under] =
            before.map(|before| before.counted(place, counted)).unwrap_or_default();
        let (name, action) = (&counted.name, &counted.action);
        let lost = counted.lost.filter(|lost| lost.packets > 0);
        let under = counted.under.filter(|under| under.packets > 0);
        if all || counted.counter.packets > 0 || lost.is_some() || under.is_some() {
            let lost = lost.map(|lost| row("lost", name, action, lost, then_lost));
            let under = under.map(|under| row("under", name, "-", under, then_under));
            let own = row(counted.kind.as_str(), name, action, counted.counter, then);
            counts.push((own, [lost, under]));
        }
    }
    // The sort is stable: equally busy rows stay in the order of the configuration.
    counts.sort_by(|(one, _), (other, _)| one.before(other));
    let in_order = |(own, [lost, under]): (Row, [Option<Row>; 2])| [Some(own), lost, under];
    rows.extend(counts.into_iter().flat_map(in_order).flatten());
    rows
}

/// The line above an interface's rows.
pub(super) fn title(sample: &Sample, digits: Digits) -> String {
    let total = sample.total();
    let count = |number| match digits {
        Digits::Plain => u64::to_string(&number),
        Digits::Grouped => grouped(number),
    };
    let gone = if sample.gone { " (not on it any more)" } else { "" };
    let bypass = if sample.bypass { ", bypass on" } else { "" };
    format!(
        "{}{gone}: {} mode, generation {}{bypass}, {} {} and {} {} since attach",
        plain(&sample.interface),
        sample.mode,
        sample.generation,
        count(total.packets),
        plural(total.packets, "packet"),
        count(total.bytes),
        plural(total.bytes, "byte"),
    )
}

const HEADER: [&str; COLUMNS] =
    ["KIND", "NAME", "ACTION", "PACKETS", "BYTES", "SHARE", "PACKETS/S", "BIT/S"];
const COLUMNS: usize = 8;
/// The columns that say what a row is; numbers follow.
const LABELS: usize = 3;
/// The column that may be shortened.
const NAME: usize = 1;

/// Rows as text: cells without spaces, so that awk finds the columns.
pub(super) struct TextTable {
    cells: Vec<[String; COLUMNS]>,
    widths: [usize; COLUMNS],
    columns: usize,
}

impl TextTable {
    /// The header and all rows. Without `rates`, their columns are left out.
    pub(super) fn new(rows: &[Row], total: Counter, digits: Digits, rates: bool) -> Self {
        let count = |number: u64| match digits {
            Digits::Plain => number.to_string(),
            Digits::Grouped => grouped(number),
        };
        let per_second = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), si);
        let cells = rows.iter().map(|row| {
            [
                row.kind.to_owned(),
                row.name.clone(),
                row.action.clone(),
                count(row.counter.packets),
                count(row.counter.bytes),
                percent(row.counter.packets, total.packets),
                per_second(row.rate.map(|rate| rate.packets)),
                per_second(row.rate.map(|rate| rate.bits)),
            ]
        });
        let cells: Vec<_> = [HEADER.map(str::to_owned)].into_iter().chain(cells).collect();
        let mut widths = [0; COLUMNS];
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        Self { cells, widths, columns: if rates { COLUMNS } else { COLUMNS - 2 } }
    }

    /// The width of a line, in characters.
    pub(super) fn width(&self) -> usize {
        self.widths[..self.columns].iter().sum::<usize>() + 2 * (self.columns - 1)
    }

    /// The width of the column of names, in characters.
    pub(super) fn name_width(&self) -> usize {
        self.widths[NAME]
    }

    /// Makes the columns of this table at least as wide as those of the other.
    pub(super) fn align(&mut self, other: &Self) {
        for (width, &least) in self.widths.iter_mut().zip(&other.widths) {
            *width = least.max(*width);
        }
    }

    /// The line of the header and one of each row, with names cut to `name_width` characters.
    pub(super) fn lines(&self, name_width: usize) -> impl Iterator<Item = String> {
        self.cells.iter().map(move |row| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().take(self.columns) {
                if column > 0 {
                    line.push_str("  ");
                }
                let width = self.widths[column];
                match column {
                    NAME => {
                        let name = shortened(cell, name_width);
                        line.push_str(&format!("{name:<width$}", width = width.min(name_width)));
                    }
                    _ if column < LABELS => line.push_str(&format!("{cell:<width$}")),
                    _ => line.push_str(&format!("{cell:>width$}")),
                }
            }
            line
        })
    }
}

/// The packets that could not be redirected, over all rules.
pub(super) fn lost(sample: &Sample) -> Counter {
    sum(sample.counted.iter().filter_map(|counted| counted.lost))
}

/// Hints where to look for packets that redirects lose; none if no rule redirects.
pub(super) fn loss_hints(sample: &Sample) -> Vec<String> {
    if sample.counted.iter().all(|counted| counted.lost.is_none()) {
        return Vec::new();
    }
    let mut hints = Vec::new();
    let lost = lost(sample).packets;
    if lost > 0 {
        hints.push(format!(
            "dropped {} that could not be redirected; `xdpctl status` says which target is missing",
            counted(lost, "packet"),
        ));
    }
    let statistics = match sample.redirects.as_slice() {
        [] => "`ethtool -S` of the target".to_owned(),
        redirects => {
            let targets = redirects.iter().map(|name| format!("`ethtool -S {}`", plain(name)));
            targets.collect::<Vec<_>>().join(", ")
        }
    };
    hints.push(format!(
        "what is lost after the verdict shows in the tracepoints xdp:xdp_devmap_xmit and \
         xdp:xdp_redirect_err, and in {statistics}"
    ));
    hints
}
