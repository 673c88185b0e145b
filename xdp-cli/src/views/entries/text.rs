//! Run-time entries as a table.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::SystemTime;

use super::Listed;
use crate::notation::{duration, grouped, plain};

const TITLES: [&str; 7] = ["PREFIX", "KIND", "OWNER", "PACKETS", "AGE", "EXPIRES IN", "NOTE"];
/// The column of packet counts, which is aligned to the right.
const PACKETS: usize = 3;

/// Writes a line of titles and a line for each entry. Ages are counted up to `now`.
pub fn write(out: &mut dyn Write, all: &[Listed], now: SystemTime) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "no run-time entries")?;
        return out.flush();
    }
    let rows: Vec<[String; 7]> = all.iter().map(|listed| row(listed, now)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([TITLES[column].len()]).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in std::iter::once(&TITLES.map(str::to_owned)).chain(&rows) {
        let (note, before) = (&row[TITLES.len() - 1], &row[..TITLES.len() - 1]);
        for (column, (cell, width)) in before.iter().zip(widths).enumerate() {
            let _ = match column {
                PACKETS => write!(text, "{cell:>width$}  "),
                _ => write!(text, "{cell:width$}  "),
            };
        }
        let _ = writeln!(text, "{note}");
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a table for each interface, below its name.
pub fn write_all(
    out: &mut dyn Write,
    all: &[(String, Vec<Listed>)],
    now: SystemTime,
) -> io::Result<()> {
    for (nth, (interface, listed)) in all.iter().enumerate() {
        let gap = if nth == 0 { "" } else { "\n" };
        writeln!(out, "{gap}{}:", plain(interface))?;
        write(out, listed, now)?;
    }
    out.flush()
}

fn row(listed: &Listed, now: SystemTime) -> [String; 7] {
    // If the clock was set back, an entry could seem to come from the future: its age is 0.
    let age = now.duration_since(listed.created).unwrap_or_default();
    [
        listed.prefix.to_string(),
        listed.kind.as_str().to_owned(),
        plain(&listed.owner),
        grouped(listed.packets),
        duration(age.as_secs()),
        listed.expires_in_seconds.map_or_else(|| "-".to_owned(), duration),
        listed.note.as_deref().map_or_else(|| "-".to_owned(), plain),
    ]
}
