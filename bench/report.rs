//! The tables, for people and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::commands::Figure;
use crate::machine::Machine;
use crate::measure::Row;
use crate::peers::Peers;
use crate::ruleset::Build;

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub rows: Vec<Row>,
    pub builds: Vec<Build>,
    pub commands: Vec<Figure>,
    pub peers: Peers,
}

impl Report {
    pub fn new(machine: Machine, rounds: usize) -> Self {
        Self {
            machine,
            rounds,
            rows: Vec::new(),
            builds: Vec::new(),
            commands: Vec::new(),
            peers: Peers::default(),
        }
    }
}

/// Above this spread, rounds were disturbed so much that even the least cost may be wrong.
const NOISY: f64 = 1.15;

pub fn print_machine(machine: &Machine, rounds: usize, out: &mut impl Write) -> io::Result<()> {
    let kind = if machine.virtual_machine { "virtual machine" } else { "machine" };
    writeln!(
        out,
        "{}, {kind} with {} processors (pinned to number {}) and {} MiB",
        machine.processor, machine.processors, machine.pinned_to, machine.memory_mib
    )?;
    writeln!(
        out,
        "kernel {}, {}, commit {}, least of {rounds} rounds\n",
        machine.kernel, machine.date, machine.commit
    )
}

pub fn print_heading(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:46} {:>10} {:>8} {:>10} {:>7}  goal",
        "", "floor", "x floor", "added", "spread"
    )
}

pub fn print_row(row: &Row, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "{:46} {:>7.1} ns {:>8.2} {:>+7.1} ns {:>5.1} %",
        row.name,
        row.floor_ns,
        row.ratio,
        row.added_ns,
        (row.spread - 1.0) * 100.0
    )?;
    if let Some(goal) = row.goal {
        let reached = if goal.reached { "reached" } else { "missed" };
        write!(out, "  {:.2} {reached}", goal.at_most)?;
        if let Some(other) = goal.against {
            write!(out, ": {:.2} x \"{other}\"", goal.ratio)?;
        }
    }
    if row.lost_ppm > 1_000 {
        write!(out, "  {:.1} % of the frames lost", row.lost_ppm as f64 / 1e4)?;
    }
    if row.floor_spread > NOISY {
        write!(out, "  noisy: the floor's median is {:.2} of its least", row.floor_spread)?;
    }
    writeln!(out)
}

pub fn print_builds(builds: &[Build], out: &mut impl Write) -> io::Result<()> {
    if builds.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{:46} {:>11} {:>11} {:>11} {:>10}", "", "read", "compile", "load", "image")?;
    for build in builds {
        writeln!(
            out,
            "{:46} {:>8.1} ms {:>8.1} ms {:>8.1} ms {:>6} KiB",
            build.name, build.read_ms, build.compile_ms, build.load_ms, build.image_kib
        )?;
    }
    Ok(())
}

pub fn print_commands(figures: &[Figure], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{:74} {:>16}  {:>12}  goal", "", "", "median")?;
    for figure in figures {
        let value = number(figure.value, figure.unit);
        let median = figure.median.map_or_else(String::new, |median| number(median, figure.unit));
        write!(out, "{:74} {value:>16}  {median:>12}", figure.name)?;
        let goal = figure.at_most.map(|goal| ("at most", goal));
        if let Some((which, goal)) = goal.or(figure.at_least.map(|goal| ("at least", goal))) {
            let reached = if figure.reached { "reached" } else { "missed" };
            write!(out, "  {which} {} {reached}", number(goal, figure.unit))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn number(value: f64, unit: &str) -> String {
    // Counts have no unit, and rates no use for a fraction.
    let decimals = match unit {
        "" | "/s" => 0,
        "MB" | "MiB" => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}
