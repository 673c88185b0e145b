//! TOML text as a tree of keys and values with places, and every mistake of syntax in it.

use toml::de::{DeTable, Error};

use super::report::{Report, quote};
use super::source::Source;

/// Parses the text. Mistakes are reported, and the tree holds what could be read all the same.
///
/// `patched` is where the text without its broken lines is kept, when the tree comes from there.
pub(super) fn parse<'t>(
    source: &'t Source,
    patched: &'t mut String,
    report: &mut Report<'_>,
) -> DeTable<'t> {
    let (tree, errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return tree.into_inner();
    }
    let mut lines = Vec::new();
    for error in &errors {
        let at = offset(error, source);
        lines.push(source.line(at));
        let (message, hint) = describe(error, source);
        report.syntax_error(at, message, hint);
    }

    // The parser may drop all that follows a mistake. Without the lines that are wrong, and with
    // every other byte in its place, it reads the rest.
    let mut bytes = source.text().as_bytes().to_vec();
    for line in lines {
        bytes[source.line_span(line)].fill(b' ');
    }
    *patched = String::from_utf8(bytes).unwrap_or_default();
    let (rest, errors) = DeTable::parse_recoverable(patched);
    if errors.is_empty() { rest.into_inner() } else { tree.into_inner() }
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
    let value = error
        .span()
        .and_then(|span| source.text().get(span))
        .map(|text| text.lines().next().unwrap_or_default())
        .filter(|text| !text.trim().is_empty())
        .map(|text| quote(text, 60));
    let message = match value {
        Some(value) => format!("not valid TOML: {what}: {value}"),
        None => format!("not valid TOML: {what}"),
    };
    let hint = match expected {
        Some("nothing") => Some("nothing should stand here".into()),
        Some(expected) => Some(format!("expected {expected}")),
        None if what == "duplicate key" => Some("a key or table is written once".into()),
        None => None,
    };
    (message, hint)
}
