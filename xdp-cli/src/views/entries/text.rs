//! Run-time entries as a table.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Listed;
use crate::notation::{duration, plain};

/// Writes all entries, a line each, below a line of titles.
pub fn write(out: &mut dyn Write, all: &[Listed]) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "no run-time entries")?;
        return out.flush();
    }
    let rows: Vec<[String; 4]> = all.iter().map(row).collect();
    let titles = ["PREFIX", "KIND", "EXPIRES IN", "NOTE"];
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([titles[column].len()]).max().unwrap_or(0)
    };
    let [prefix, kind, expires] = [0, 1, 2].map(width);
    let mut text = String::new();
    for row in [titles].into_iter().chain(rows.iter().map(|row| row.each_ref().map(|it| &**it))) {
        let [first, second, third, note] = row;
        let _ = writeln!(text, "{first:prefix$}  {second:kind$}  {third:expires$}  {note}");
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn row(listed: &Listed) -> [String; 4] {
    [
        listed.prefix.to_string(),
        listed.kind.as_str().to_owned(),
        listed.expires_in_seconds.map_or_else(|| "-".to_owned(), duration),
        listed.note.as_deref().map_or_else(|| "-".to_owned(), plain),
    ]
}
