//! Parses TOML into a tree of keys and values with places, and reports every mistake of syntax.
//!
//! The parser goes on after a mistake, but may drop or misread all that follows. So wrong lines are
//! overwritten with blanks, which leaves every other byte at its offset, and the text is parsed
//! again, until no mistakes are left.

use std::cell::OnceCell;
use std::ops::Range;

use toml::de::{DeTable, Error};
use xdp_common::capacity::{MAX_SHOWN_MISTAKES, MAX_TOKENS};

use super::report::{Report, quote};
use super::source::Source;

/// How often the text is parsed again at most. Each round blanks out an array that is not closed,
/// or all lines that are wrong.
const ROUNDS: usize = 8;

/// The parser's message for a key that stands twice. The tree then has the first one, and is
/// otherwise complete.
const DUPLICATE: &str = "duplicate key";

/// Parses the text of a file that begins at the place `base`. Mistakes are reported; the tree holds
/// what could be read in spite of them.
///
/// `patched` keeps the text without its wrong lines, which the tree may borrow from. `tokens` is
/// how many more tokens all files together may have.
pub(super) fn parse<'t>(
    source: &'t Source,
    base: usize,
    patched: &'t OnceCell<String>,
    tokens: &mut usize,
    report: &mut Report<'_>,
) -> DeTable<'t> {
    // The parser makes a list of all tokens and another of all mistakes, and has no limit of its
    // own.
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
    // Once wrong lines are taken out, correct lines may become wrong without them.
    let mut guessing = false;
    for _ in 0..ROUNDS {
        let (mut mistakes, more) = mistakes(&errors, guessing, source);
        // The parser takes everything after an array that is not closed for more of its values.
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
            // A text with so many mistakes of syntax is not read any further.
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
            // Keys under a header that is wrong went into the table before it.
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
        // Only whole lines were filled with blanks, so the text is still UTF-8.
        right = String::from_utf8_lossy(&bytes).into_owned();
        errors = DeTable::parse_recoverable(&right).1;
    }
    if right.is_empty() || errors.iter().any(|error| error.message() != DUPLICATE) {
        return tree.into_inner();
    }
    DeTable::parse_recoverable(patched.get_or_init(|| right)).0.into_inner()
}

/// A mistake as it will be reported.
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

/// Whether a line starts with a header, or with a key and an equals sign.
fn starts_statement(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.split('=').next().unwrap_or_default().trim_end();
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    is_header(line) || (key.len() < line.len() && !key.is_empty() && key.chars().all(bare))
}

/// Whether a line starts with `[name` or `[[name`. A value in an array does not start with a
/// letter.
fn is_header(line: &str) -> bool {
    let name = line.trim_start().strip_prefix('[').map(|rest| rest.trim_start_matches(['[', ' ']));
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The last line before this one that starts a statement.
fn statement_before(source: &Source, line: u32) -> u32 {
    let starts = |line: &u32| starts_statement(&source.text()[source.line_span(*line)]);
    (1..line).rev().find(starts).unwrap_or(1)
}

/// The wrong line itself. For a wrong header, also all lines up to the next header, since it is not
/// known which table they belong to.
fn with_what_hangs_on_it(source: &Source, line: u32) -> Range<u32> {
    let is_header = |line: u32| is_header(&source.text()[source.line_span(line)]);
    let mut end = line + 1;
    while is_header(line) && end <= source.last_line() && !is_header(end) {
        end += 1;
    }
    line..end
}

/// The first mistake of each line in the order of the text, as many as are shown, and how many more
/// there are.
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

/// The offset at which an error starts, moved to the first byte of a character within the text.
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
    // If there is no word at the place, the whole line is shown.
    let shown = quote(if text.is_empty() { source.text()[span].trim() } else { text }, 60);

    let (message, hint) = match (what, expected) {
        // The parser takes a missing or bare value for a string without quotes, which is rarely
        // what was meant.
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

/// The word of a line that contains an offset.
fn word(source: &Source, line: Range<usize>, at: usize) -> Range<usize> {
    let apart = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#');
    let text = source.text();
    let at = at.clamp(line.start, line.end);
    let before = text[line.start..at].rfind(apart);
    let after = text[at..line.end].find(apart);
    // A character between words may be longer than a byte.
    let start = before.map_or(line.start, |found| {
        let found = line.start + found;
        found + text[found..].chars().next().map_or(0, char::len_utf8)
    });
    start..after.map_or(line.end, |length| at + length)
}
