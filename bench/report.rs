//! The tables, for people and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::machine::Machine;
use crate::measure::Row;
use crate::ruleset::Build;

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub rows: Vec<Row>,
    pub builds: Vec<Build>,
}

/// Above this, rounds were disturbed so much that even the least may have been.
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
        "{:46} {:>8} {:>9} {:>10} {:>15}",
        "", "x floor", "added", "floor", "least..median"
    )
}

pub fn print_row(row: &Row, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "{:46} {:>8.2} {:>+6.1} ns {:>7.1} ns {:>8.2}..{:<5.2}",
        row.name, row.ratio, row.added_ns, row.floor_ns, row.ratio, row.median_ratio
    )?;
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
