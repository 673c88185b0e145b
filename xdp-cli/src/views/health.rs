//! What one round of checks found, as a table.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use crate::notation::{plain, took};

const TITLES: [&str; 6] = ["SERVICE", "BACKEND", "CHECK", "STATE", "TIME", "WHY"];

/// A backend that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub service: String,
    pub backend: String,
    /// How, and where: `http 10.0.0.1:80`.
    pub check: String,
    /// `None` where that was not decided.
    pub is_up: Option<bool>,
    /// How long the last check took.
    pub took: Option<Duration>,
    /// Why it did not succeed.
    pub why: Option<String>,
}

/// Writes a line of titles and a line for each backend.
pub fn write(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let rows: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([TITLES[column].len()]).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in std::iter::once(&TITLES.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn cells(row: &Row) -> [String; 6] {
    let state = row.is_up.map_or("undecided", |is_up| if is_up { "up" } else { "down" });
    [
        plain(&row.service),
        plain(&row.backend),
        plain(&row.check),
        state.to_owned(),
        row.took.map_or_else(String::new, took),
        row.why.as_deref().map(plain).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_table() {
        let row = |backend: &str, is_up, millis: u64, why: Option<&str>| Row {
            service: "web".to_owned(),
            backend: backend.to_owned(),
            check: format!("http 10.0.0.1:{millis}"),
            is_up,
            took: Some(Duration::from_millis(millis)),
            why: why.map(str::to_owned),
        };
        let rows = [
            row("b1", Some(true), 2, None),
            row("backend-2", Some(false), 1000, Some("no answer within 1s\u{1b}[2J")),
            row("b3", None, 10, Some("connection refused")),
        ];
        let mut out = Vec::new();
        write(&mut out, &rows).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        SERVICE  BACKEND    CHECK               STATE      TIME    WHY
        web      b1         http 10.0.0.1:2     up         2.0 ms
        web      backend-2  http 10.0.0.1:1000  down       1.0 s   no answer within 1s\u{1b}[2J
        web      b3         http 10.0.0.1:10    undecided  10 ms   connection refused
        ");
    }
}
