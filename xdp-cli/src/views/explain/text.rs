//! Answers as lines for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Explained, Unjudged};
use crate::notation::plain;

/// Writes one answer; each line of it begins with the frame's number in a capture.
///
/// # Errors
///
/// As of `out`.
pub fn write(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    let Explained { verdict, reason, rule, entry, to, file, line, counted, .. } = explained;
    let number = explained.frame.map(|number| format!("{number}: ")).unwrap_or_default();
    let mut text = format!("{number}{verdict}");
    if let Some(to) = to {
        let _ = write!(text, " to {}", plain(to));
    }
    let _ = write!(text, ": {reason}");
    decider(&mut text, rule.as_deref(), entry.as_deref());
    place(&mut text, file.as_deref(), *line);
    if let Some(cause) = explained.cause {
        let _ = write!(text, ": the frame {cause}");
    }
    if let Some(counted) = counted {
        text.push_str("; counted by");
        decider(&mut text, Some(&counted.rule), counted.entry.as_deref());
        place(&mut text, counted.file.as_deref(), counted.line);
    }
    if let Some(missing) = &explained.missing {
        let _ = write!(text, "; {} is not there to redirect to", plain(missing));
    }
    if let Some(captured) = explained.captured {
        let _ = write!(text, "; only {captured} bytes were captured");
    }
    if let Some(output) = &explained.output {
        let _ = write!(text, "\n{number}  goes on as {output}");
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Writes why there is no answer.
///
/// # Errors
///
/// As of `out`.
pub fn write_unjudged(out: &mut dyn Write, unjudged: &Unjudged) -> io::Result<()> {
    writeln!(out, "{}: error: {}", unjudged.frame, plain(&unjudged.error))
}

fn decider(text: &mut String, rule: Option<&str>, entry: Option<&str>) {
    if let Some(rule) = rule {
        let _ = write!(text, " \"{}\"", plain(rule));
    }
    if let Some(entry) = entry {
        let _ = write!(text, " {entry}");
    }
}

fn place(text: &mut String, file: Option<&str>, line: Option<u32>) {
    if let (Some(file), Some(line)) = (file, line) {
        let _ = write!(text, " ({}:{line})", plain(file));
    }
}
