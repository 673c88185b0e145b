//! TOML text as a tree of keys and values with places, and every mistake of syntax in it.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::report::{Report, quote};
use super::source::Source;

/// How often the text is parsed again without the lines that were wrong.
const ROUNDS: usize = 8;

const DUPLICATE: &str = "duplicate key";

/// Parses the text. Mistakes are reported, and the tree holds what could be read all the same.
///
/// The parser may drop all that follows a mistake. So it is asked again without the lines that
/// are wrong, every other byte in its place; `patched` is where that text is kept.
pub(super) fn parse<'t>(
    source: &'t Source,
    patched: &'t mut String,
    report: &mut Report<'_>,
) -> DeTable<'t> {
    let (tree, mut errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return tree.into_inner();
    }
    let mut bytes = source.text().as_bytes().to_vec();
    for round in 0..ROUNDS {
        let is_last = errors.iter().all(is_duplicate);
        let mut headless = Vec::new();
        for error in errors.iter().filter(|error| !is_duplicate(error)) {
            let line = source.line(offset(error, source));
            bytes[source.line_span(line)].fill(b' ');
            headless.extend(below_broken_header(source, line));
        }
        for error in &errors {
            let at = offset(error, source);
            let line = source.line(at);
            // A line that is wrong only without others may be right, and keys under a header that
            // was not understood went into the table before.
            let told = match is_duplicate(error) {
                true => !headless.iter().any(|below| below.contains(&line)),
                false => round == 0,
            };
            if told {
                let (message, hint) = describe(error, source);
                report.syntax_error(at, message, hint);
            }
        }
        for below in headless {
            for line in below.clone() {
                bytes[source.line_span(line)].fill(b' ');
            }
            report.ignore(below);
        }
        if is_last {
            break;
        }
        // Whole lines were filled with blanks: what was UTF-8 still is.
        *patched = String::from_utf8_lossy(&bytes).into_owned();
        errors = DeTable::parse_recoverable(patched).1;
    }
    if patched.is_empty() || !errors.iter().all(is_duplicate) {
        return tree.into_inner();
    }
    DeTable::parse_recoverable(patched).0.into_inner()
}

/// Of a key that stands twice, the tree has the first one, and the rest is as it should be.
fn is_duplicate(error: &Error) -> bool {
    error.message() == DUPLICATE
}

/// The lines below a table header that is broken, up to the next header.
fn below_broken_header(source: &Source, line: u32) -> Option<Range<u32>> {
    let is_header = |line| source.text()[source.line_span(line)].trim_start().starts_with('[');
    let below = line + 1..source.last_line() + 1;
    is_header(line).then(|| below.start..below.clone().find(|&l| is_header(l)).unwrap_or(below.end))
}

/// Where an error starts: a character's first byte, within the text.
fn offset(error: &Error, source: &Source) -> usize {
    let mut at = error.span().map_or(0, |span| span.start).min(source.text().len());
    while !source.text().is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn describe(error: &Error, source: &Source) -> (String, Option<String>) {
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let token = error
        .span()
        .and_then(|span| source.text().get(span))
        .and_then(|text| text.lines().next())
        .map(str::trim)
        .filter(|text| !text.is_empty());
    // Where nothing is what is wrong, the line says more.
    let line = source.text()[source.line_span(source.line(offset(error, source)))].trim();
    let value = quote(token.unwrap_or(line), 60);
    let (what, hint) = match (what, expected) {
        ("string values must be quoted", _) if token.is_none() => {
            ("a key without a value", "write the value after the equals sign".into())
        }
        ("string values must be quoted", _) => {
            ("neither a string in quotes nor another value", format!("write {value}"))
        }
        (DUPLICATE, _) => (DUPLICATE, "a key or table is written once".into()),
        (what, Some("nothing")) => (what, "leave it out".into()),
        (what, Some(expected)) => (what, format!("expected {expected}")),
        (what, None) => return (format!("not valid TOML: {what}: {value}"), None),
    };
    (format!("not valid TOML: {what}: {value}"), Some(hint))
}
