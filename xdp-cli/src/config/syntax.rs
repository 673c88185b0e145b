//! TOML text as a tree of keys and values with places, and every mistake of syntax in it.
//!
//! The parser goes on after a mistake, but may drop or misread all that follows. So it is asked
//! again without the lines that are wrong, every other byte in its place, until only right ones
//! are left.

use std::cell::OnceCell;
use std::ops::Range;

use toml::de::{DeTable, Error};
use xdp_common::capacity::{MAX_SHOWN_MISTAKES, MAX_TOKENS};

use super::report::{Report, quote};
use super::source::Source;

/// How often the text is parsed again. Each round but the last ends an open array, or is the one
/// that takes the wrong lines out.
const ROUNDS: usize = 8;

/// What the parser calls a key that stands twice. The tree has the first one then, and the rest
/// is as it should be.
const DUPLICATE: &str = "duplicate key";

/// Parses the text of a file that begins at `base`. Mistakes are reported, and the tree holds what
/// could be read all the same.
///
/// `patched` is where the text without its wrong lines is kept. `tokens` is how many there may still
/// be, of all files.
pub(super) fn parse<'t>(
    source: &'t Source,
    base: usize,
    patched: &'t OnceCell<String>,
    tokens: &mut usize,
    report: &mut Report<'_>,
) -> DeTable<'t> {
    // The parser makes a list of all tokens and another of all mistakes, and has no limit itself.
    let mut lexed = toml_parser::Source::new(source.text()).lex();
    let number = lexed.by_ref().take(*tokens).count();
    *tokens -= number;
    if let Some(token) = lexed.next() {
        report.syntax_error(
            base + token.span().start(),
            format!("more than {MAX_TOKENS} words, values, signs, blanks and line ends"),
            Some("put prefixes into list files, which may be larger".into()),
        );
        return DeTable::new();
    }
    let (tree, mut errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return tree.into_inner();
    }
    let mut bytes = source.text().as_bytes().to_vec();
    let mut right = String::new();
    // Once wrong lines are taken out, others can be wrong without them that were right.
    let mut guessing = false;
    for _ in 0..ROUNDS {
        let (mut mistakes, more) = mistakes(&errors, guessing, source);
        // All that follows an open array is taken for more of its values.
        let open_array = mistakes.iter().position(|mistake| mistake.is_swallowed(source));
        let taken_out: Vec<Range<u32>> = match open_array {
            Some(index) => {
                let next = mistakes[index].line;
                let first = statement_before(source, next);
                mistakes.retain(|mistake| mistake.line < first);
                let at = source.line_span(first).start;
                report.syntax_error(
                    base + at,
                    "not valid TOML: an array that is not closed".into(),
                    Some(format!("it needs a \"]\" before line {next}")),
                );
                std::iter::once(first..next).collect()
            }
            // Of a text with so many, nothing else is worth telling.
            None if more > 0 => {
                for mistake in mistakes {
                    report.syntax_error(base + mistake.at, mistake.message, mistake.hint);
                }
                report.more_syntax_errors(more);
                return DeTable::new();
            }
            None => {
                guessing = true;
                let wrong = errors.iter().filter(|error| error.message() != DUPLICATE);
                let mut lines: Vec<u32> =
                    wrong.map(|error| source.line(offset(error, source))).collect();
                lines.sort_unstable();
                lines.dedup();
                lines.into_iter().map(|line| with_what_hangs_on_it(source, line)).collect()
            }
        };
        for mistake in mistakes {
            // Keys under a header that was not understood went into the table before.
            let misplaced = || taken_out.iter().any(|lines| lines.contains(&mistake.line));
            if !mistake.is_duplicate || !misplaced() {
                report.syntax_error(base + mistake.at, mistake.message, mistake.hint);
            }
        }
        if taken_out.is_empty() {
            break;
        }
        for lines in taken_out {
            for line in lines.clone() {
                bytes[source.line_span(line)].fill(b' ');
            }
            report.ignore(base, lines);
        }
        // Whole lines were filled with blanks: what was UTF-8 still is.
        right = String::from_utf8_lossy(&bytes).into_owned();
        errors = DeTable::parse_recoverable(&right).1;
    }
    if right.is_empty() || errors.iter().any(|error| error.message() != DUPLICATE) {
        return tree.into_inner();
    }
    DeTable::parse_recoverable(patched.get_or_init(|| right)).0.into_inner()
}

/// A mistake as it will be told.
struct Mistake {
    at: usize,
    line: u32,
    is_duplicate: bool,
    message: String,
    hint: Option<String>,
}

impl Mistake {
    /// Whether a header or a key was read as a value of an array that is still open.
    fn is_swallowed(&self, source: &Source) -> bool {
        let line = source.text()[source.line_span(self.line)].trim_start();
        let before = source.line_span(self.line).start..self.at;
        self.message.contains("between array elements")
            && source.text()[before].trim().is_empty()
            && starts_statement(line)
    }
}

/// A header, or a key with its equals sign.
fn starts_statement(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.split('=').next().unwrap_or_default().trim_end();
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    is_header(line) || (key.len() < line.len() && !key.is_empty() && key.chars().all(bare))
}

/// `[name` or `[[name`; what is in an array starts with no letter.
fn is_header(line: &str) -> bool {
    let name = line.trim_start().strip_prefix('[').map(|rest| rest.trim_start_matches(['[', ' ']));
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The last line before this one that starts a statement.
fn statement_before(source: &Source, line: u32) -> u32 {
    let starts = |line: &u32| starts_statement(&source.text()[source.line_span(*line)]);
    (1..line).rev().find(starts).unwrap_or(1)
}

/// A wrong line, and below a wrong header all up to the next: what table it is for is not known.
fn with_what_hangs_on_it(source: &Source, line: u32) -> Range<u32> {
    let is_header = |line: u32| is_header(&source.text()[source.line_span(line)]);
    let mut end = line + 1;
    while is_header(line) && end <= source.last_line() && !is_header(end) {
        end += 1;
    }
    line..end
}

/// The mistakes in the order of the text, of each line the first, as many as are shown; and how many
/// more there are.
fn mistakes(errors: &[Error], only_duplicates: bool, source: &Source) -> (Vec<Mistake>, usize) {
    let mut first: Vec<(usize, &Error)> =
        errors.iter().map(|error| (offset(error, source), error)).collect();
    first.sort_by_key(|(at, _)| *at);
    first.dedup_by_key(|(at, _)| source.line(*at));
    if only_duplicates {
        first.retain(|(_, error)| error.message() == DUPLICATE);
    }
    let more = first.len().saturating_sub(MAX_SHOWN_MISTAKES);
    first.truncate(MAX_SHOWN_MISTAKES);
    (first.into_iter().map(|(_, error)| describe(error, source)).collect(), more)
}

/// Where an error starts: a character's first byte, within the text.
fn offset(error: &Error, source: &Source) -> usize {
    let mut at = error.span().map_or(0, |span| span.start).min(source.text().len());
    while !source.text().is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn describe(error: &Error, source: &Source) -> Mistake {
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let mut at = offset(error, source);
    let span = source.line_span(source.line(at));
    let word = word(source, span.clone(), at);
    let text = source.text()[word.clone()].trim();
    // Where nothing is what is wrong, the line says more.
    let shown = quote(if text.is_empty() { source.text()[span].trim() } else { text }, 60);

    let (message, hint) = match (what, expected) {
        // The parser's guess at what a bare word was to be is of no use.
        ("string values must be quoted", _) if text.is_empty() => (
            format!("a key without a value: {shown}"),
            Some("write the value after the equals sign".into()),
        ),
        (
            "string values must be quoted"
            | "invalid boolean"
            | "invalid float"
            | "invalid time"
            | "invalid date"
            | "invalid datetime",
            _,
        ) => {
            at = word.start;
            let hint = match text.to_ascii_lowercase().as_str() {
                boolean @ ("true" | "false") => format!("write {boolean}"),
                _ => format!("a string stands in quotes: write {shown}"),
            };
            (format!("{shown} is not a value"), Some(hint))
        }
        (DUPLICATE, _) => {
            (format!("{DUPLICATE} {shown}"), Some("a key or table is written once".into()))
        }
        (what, Some("nothing")) => (format!("{what}: {shown}"), Some("leave it out".into())),
        (what, Some(expected)) => {
            (format!("{what}: {shown}"), Some(format!("expected {expected}")))
        }
        (what, None) => (format!("{what}: {shown}"), None),
    };
    Mistake {
        at,
        line: source.line(at),
        is_duplicate: what == DUPLICATE,
        message: format!("not valid TOML: {message}"),
        hint,
    }
}

/// The word of a line that an offset is in.
fn word(source: &Source, line: Range<usize>, at: usize) -> Range<usize> {
    let apart = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#');
    let text = source.text();
    let at = at.clamp(line.start, line.end);
    let before = text[line.start..at].rfind(apart);
    let after = text[at..line.end].find(apart);
    // What sets words apart may take more than a byte.
    let start = before.map_or(line.start, |found| {
        let found = line.start + found;
        found + text[found..].chars().next().map_or(0, char::len_utf8)
    });
    start..after.map_or(line.end, |length| at + length)
}
