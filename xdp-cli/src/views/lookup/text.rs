//! Prints the entries that hold an address or a name as a table.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Holding;
use crate::notation::{duration, plain};

const TITLES: [&str; 6] = ["KIND", "NAME", "ENTRY", "ACTION", "MATCH", "WHERE"];

/// Writes a line of titles and a line for each entry, the deciding one first.
/// `nothing` is written if there is none.
pub fn write(out: &mut dyn Write, nothing: &str, all: &[Holding]) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "{nothing}")?;
        return out.flush();
    }
    let rows: Vec<[String; 6]> = all.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([TITLES[column].len()]).max().unwrap_or(0)
    };
    let mut text = String::new();
    let titles = TITLES.map(str::to_owned);
    for row in std::iter::once(&titles).chain(&rows) {
        for (column, cell) in row.iter().enumerate().take(TITLES.len() - 1) {
            let _ = write!(text, "{cell:width$}  ", width = width(column));
        }
        text.push_str(&row[TITLES.len() - 1]);
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn row(holding: &Holding) -> [String; 6] {
    let place = match (&holding.file, holding.line) {
        (Some(file), Some(line)) => format!("{}:{line}", plain(file)),
        _ => {
            let ends = match holding.expires_in_seconds {
                Some(seconds) => format!("expires in {}", duration(seconds)),
                None => "does not expire".to_owned(),
            };
            let ends = match &holding.owner {
                Some(owner) => format!("of {}, {ends}", plain(owner)),
                None => ends,
            };
            match &holding.note {
                Some(note) => format!("{ends}: {}", plain(note)),
                None => ends,
            }
        }
    };
    [
        holding.kind.to_owned(),
        holding.name.as_deref().map_or_else(|| "-".to_owned(), plain),
        holding.entry.clone(),
        holding.action.to_owned(),
        match &holding.qtype {
            Some(types) => types.join(","),
            None => holding.side.to_owned(),
        },
        place,
    ]
}
