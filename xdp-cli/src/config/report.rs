//! Collects the mistakes in a configuration and the files that it includes.
//!
//! A *place* is an offset into all files together: each file begins where the one before it ends.
//! So code that reads a value need not know which file it is from.

use std::ops::Range;
use std::path::Path;

use xdp_common::capacity::{MAX_SHOWN_MISTAKES, MAX_SHOWN_WARNINGS};

use super::excerpt::excerpt;
use super::source::Source;
use crate::diagnostic::{Diagnostic, Diagnostics, Excerpt};
use crate::notation::plain;

/// A file of a configuration.
struct File<'s> {
    /// The place at which it begins.
    base: usize,
    source: &'s Source,
    /// Lines whose syntax is wrong, or that stand below a header whose syntax is. Any further
    /// mistake in them would be a guess, and is not reported.
    broken: LineSet,
}

/// All mistakes and warnings found so far in the configuration and the files that it includes, as
/// far as they will be shown.
pub(super) struct Report<'s> {
    /// The configuration, then the files that it includes.
    files: Vec<File<'s>>,
    errors: Shown,
    /// Warnings of prefixes with host bits. They are kept apart since every prefix may have one,
    /// and others must not be lost among them.
    masked: Shown,
    /// All other warnings.
    warnings: Shown,
    /// Whether an included file could not be read.
    lacks_files: bool,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self {
            files: vec![File { base: 0, source, broken: LineSet::default() }],
            errors: Shown::new(MAX_SHOWN_MISTAKES),
            masked: Shown::new(MAX_SHOWN_WARNINGS),
            warnings: Shown::new(MAX_SHOWN_WARNINGS),
            lacks_files: false,
        }
    }

    /// Adds a file, and returns the place at which it begins.
    pub(super) fn include(&mut self, source: &'s Source) -> usize {
        let before = &self.files[self.files.len() - 1];
        // One more, so that the end of a file is not the beginning of the next.
        let base = before.base + before.source.text().len() + 1;
        self.files.push(File { base, source, broken: LineSet::default() });
        base
    }

    /// Notes that an included file is missing, so that what it defines is unknown.
    pub(super) fn lack_file(&mut self) {
        self.lacks_files = true;
    }

    pub(super) fn lacks_files(&self) -> bool {
        self.lacks_files
    }

    /// The paths of all files, in the order of their numbers.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'s Path> {
        self.files.iter().map(|file| file.source.path())
    }

    /// The number of the file that a place is in.
    pub(super) fn file(&self, at: usize) -> u16 {
        // There are at most as many files as may be included, which fits 16 bits.
        (self.files.partition_point(|file| file.base <= at) - 1) as u16
    }

    fn of(&self, at: usize) -> &File<'s> {
        &self.files[usize::from(self.file(at))]
    }

    /// The path of the file that a place is in.
    pub(super) fn path(&self, at: usize) -> &'s Path {
        self.of(at).source.path()
    }

    /// The line of a place in its file, from 1.
    pub(super) fn line(&self, at: usize) -> u32 {
        let file = self.of(at);
        file.source.line(at - file.base)
    }

    /// Line and column of a place in its file, both from 1.
    pub(super) fn place(&self, at: usize) -> (u32, u32) {
        let file = self.of(at);
        file.source.place(at - file.base)
    }

    /// The place of a line and a column, both from 1, in a file.
    pub(super) fn at(&self, file: u16, line: u32, column: u32) -> usize {
        let File { base, source, .. } = &self.files[usize::from(file)];
        base + source.offset(line, column)
    }

    /// `line 7`, with its file if that is not the file of `from`.
    pub(super) fn line_seen_from(&self, at: usize, from: usize) -> String {
        let line = format!("line {}", self.line(at));
        match self.file(at) == self.file(from) {
            true => line,
            false => format!("{line} of {}", quote(&self.path(at).to_string_lossy(), 200)),
        }
    }

    /// The text between two places of the same file.
    pub(super) fn text(&self, places: Range<usize>) -> &'s str {
        let file = self.of(places.start);
        let text = file.source.text();
        text.get(places.start - file.base..places.end.saturating_sub(file.base)).unwrap_or_default()
    }

    /// Whether some of the text could not be parsed as TOML.
    pub(super) fn is_broken(&self) -> bool {
        self.files.iter().any(|file| !file.broken.is_empty())
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.kept.is_empty()
    }

    /// Reports a mistake in the TOML at a place.
    pub(super) fn syntax_error(&mut self, at: usize, message: String, hint: Option<String>) {
        let diagnostic = self.diagnostic(at, message, hint);
        self.ignore(at, diagnostic.line..diagnostic.line + 1);
        self.errors.add(at, diagnostic);
    }

    /// Reports a mistake that has no place in these texts, such as an included file that is not
    /// text, or a line of a file of backends. `at` only says where it belongs in the order of mistakes.
    pub(super) fn elsewhere(&mut self, at: usize, diagnostic: Diagnostic) {
        self.errors.add(at, diagnostic);
    }

    /// As [`Self::elsewhere`], for a warning.
    pub(super) fn warning_elsewhere(&mut self, at: usize, diagnostic: Diagnostic) {
        self.warnings.add(at, diagnostic);
    }

    /// Counts mistakes in the TOML that are not shown.
    pub(super) fn more_syntax_errors(&mut self, number: usize) {
        self.errors.more += number;
    }

    /// Marks lines in the file of `at` as broken: nothing can be said about them, since it is not
    /// known which table they belong to.
    pub(super) fn ignore(&mut self, at: usize, lines: Range<u32>) {
        let file = usize::from(self.file(at));
        self.files[file].broken.insert(lines);
    }

    /// Reports a mistake at a place, unless its line is broken.
    pub(super) fn error(&mut self, at: usize, message: String, hint: impl Into<String>) {
        self.error_with(at, || (message, hint.into()));
    }

    /// As [`Self::error`], for mistakes that may be as many as there are values: message and hint
    /// are only made where they may be shown.
    pub(super) fn error_with(&mut self, at: usize, said: impl FnOnce() -> (String, String)) {
        if self.of(at).broken.contains(self.line(at)) {
            return;
        }
        if self.errors.is_past(at) {
            self.errors.more += 1;
            return;
        }
        let (message, hint) = said();
        let diagnostic = self.diagnostic(at, message, Some(hint));
        self.errors.add(at, diagnostic);
    }

    /// Reports that something is missing, unless some of the TOML could not be parsed: then it may
    /// well be there.
    pub(super) fn missing(&mut self, at: usize, message: String, hint: impl Into<String>) {
        if !self.is_broken() {
            self.error(at, message, hint);
        }
    }

    /// Warns of something that is accepted, but probably not meant.
    pub(super) fn warning(&mut self, at: usize, message: String, hint: impl Into<String>) {
        let diagnostic = self.diagnostic(at, message, Some(hint.into()));
        self.warnings.add(at, diagnostic);
    }

    /// Warns of a prefix with bits set beyond its length. It is accepted without these bits.
    /// Every prefix may be one, so message and hint are only made where they may be shown.
    pub(super) fn masked(&mut self, at: usize, said: impl FnOnce() -> (String, String)) {
        if self.masked.is_past(at) {
            self.masked.more += 1;
            return;
        }
        let (message, hint) = said();
        let diagnostic = self.diagnostic(at, message, Some(hint));
        self.masked.add(at, diagnostic);
    }

    /// Everything found, file by file in the order of the text, and at the end how many more there
    /// are.
    pub(super) fn finish(self) -> Diagnostics {
        let path = self.path(0);
        let (errors, more) = self.errors.finish();
        let mut errors = in_order(errors);
        errors.extend(counted(path, more, ["mistake", "mistakes"]));
        let (mut warnings, more_others) = self.warnings.finish();
        let (masked, more_masked) = self.masked.finish();
        warnings.extend(masked);
        let mut warnings = in_order(warnings);
        warnings.extend(counted(path, more_others, ["warning", "warnings"]));
        warnings.extend(counted(path, more_masked, HOST_BITS));
        Diagnostics { errors, warnings }
    }

    fn diagnostic(&self, at: usize, message: String, hint: Option<String>) -> Diagnostic {
        let (line, column) = self.place(at);
        let file = self.path(at).to_owned();
        Diagnostic { file, line, column, message, hint, excerpt: Some(self.excerpt(at)) }
    }

    /// The text around a place.
    pub(super) fn excerpt(&self, at: usize) -> Excerpt {
        let file = self.of(at);
        let span = file.source.line_span(self.line(at));
        let text = &file.source.text()[span.clone()];
        excerpt(text, (at - file.base).saturating_sub(span.start))
    }
}

/// What a diagnostic that counts things calls one of them, and several.
pub(crate) type Words = [&'static str; 2];

/// What a diagnostic that counts prefixes with host bits calls them.
pub(crate) const HOST_BITS: Words =
    ["prefix with bits set beyond its length", "prefixes with bits set beyond their length"];

/// The diagnostic that says how many more there are than were shown; `None` if there are none.
pub(crate) fn counted(path: &Path, more: usize, [one, several]: Words) -> Option<Diagnostic> {
    (more > 0).then(|| Diagnostic {
        file: path.to_owned(),
        line: 0,
        column: 0,
        message: format!("{more} more {}", if more == 1 { one } else { several }),
        hint: None,
        excerpt: None,
    })
}

/// Sorts by place, and drops the places.
fn in_order(mut found: Vec<(usize, Diagnostic)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Keeps the first `most` diagnostics in the order of the text, and counts the others: a
/// configuration of nothing but mistakes must not fill the memory.
struct Shown {
    most: usize,
    /// With their places.
    kept: Vec<(usize, Diagnostic)>,
    /// The place of the last of `most` that were kept when they were cut: of what comes, only what
    /// stands before it can be shown.
    last: Option<usize>,
    more: usize,
}

impl Shown {
    fn new(most: usize) -> Self {
        Self { most, kept: Vec::new(), last: None, more: 0 }
    }

    fn add(&mut self, at: usize, diagnostic: Diagnostic) {
        self.kept.push((at, diagnostic));
        // Sorting only once for every `most` additions keeps this cheap.
        if self.kept.len() >= 2 * self.most {
            self.cut();
        }
    }

    /// Whether what stands at this place will only be counted, since enough that will be shown
    /// stands before it.
    fn is_past(&self, at: usize) -> bool {
        self.last.is_some_and(|last| at > last)
    }

    fn cut(&mut self) {
        self.kept.sort_by_key(|(at, _)| *at);
        // The text may be parsed several times, which finds the same mistake in its syntax again.
        self.kept.dedup();
        self.more += self.kept.len().saturating_sub(self.most);
        self.kept.truncate(self.most);
        if self.kept.len() == self.most {
            self.last = self.kept.last().map(|(at, _)| *at);
        }
    }

    fn finish(mut self) -> (Vec<(usize, Diagnostic)>, usize) {
        self.cut();
        (self.kept, self.more)
    }
}

/// A set of lines, as sorted ranges that do not touch. Ranges, since a wrong header may have
/// all other lines below it.
#[derive(Debug, Default)]
struct LineSet(Vec<Range<u32>>);

impl LineSet {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, line: u32) -> bool {
        let at = self.0.partition_point(|lines| lines.end <= line);
        self.0.get(at).is_some_and(|lines| lines.contains(&line))
    }

    fn insert(&mut self, lines: Range<u32>) {
        // Ranges that touch the new one are merged with it.
        let first = self.0.partition_point(|other| other.end < lines.start);
        let end = self.0.partition_point(|other| other.start <= lines.end);
        let joined = match self.0.get(first..end) {
            Some([one]) => lines.start.min(one.start)..lines.end.max(one.end),
            Some([one, .., other]) => lines.start.min(one.start)..lines.end.max(other.end),
            _ => lines,
        };
        self.0.splice(first..end, [joined]);
    }
}

/// A text in quotes, cut after `most` characters. Characters that control a terminal are escaped.
pub(super) fn quote(text: &str, most: usize) -> String {
    let (cut, rest) = match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    };
    // Which characters `{:?}` escapes depends on the version of the standard library.
    plain(&format!("{cut:?}{rest}"))
}

/// Like [`quote`], but without the quotes, for values that are written without them.
pub(super) fn bare(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    plain(&text[..end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn line_sets_hold_what_was_put_in(
            ranges in prop::collection::vec((1u32..60, 1u32..8), 0..12),
        ) {
            let (mut lines, mut each) = (LineSet::default(), BTreeSet::new());
            for (start, length) in ranges {
                lines.insert(start..start + length);
                each.extend(start..start + length);
            }
            prop_assert_eq!(lines.is_empty(), each.is_empty());
            for line in 0..80 {
                prop_assert_eq!(lines.contains(line), each.contains(&line));
            }
            let apart = lines.0.windows(2).all(|pair| pair[0].end < pair[1].start);
            prop_assert!(apart, "{:?}", lines);
        }
    }

    #[test]
    fn the_first_of_the_text_are_shown_in_whatever_order_they_come() {
        let at = |line| Diagnostic {
            file: "x".into(),
            line,
            column: 1,
            message: "wrong".into(),
            hint: None,
            excerpt: None,
        };
        let mut shown = Shown::new(3);
        // Each line twice.
        for line in (1..=50).rev().flat_map(|line| [line, line]) {
            shown.add(line as usize, at(line));
        }
        let (kept, more) = shown.finish();
        assert_eq!(in_order(kept), [1, 2, 3].map(at));
        assert_eq!(more, 47);
    }

    /// Two million unknown keys took a minute, most of it for suggestions that nobody saw.
    #[test]
    fn what_is_only_counted_is_put_into_no_words() {
        let number = 100_000;
        let source = Source::new(Path::new("x.toml"), "x\n".repeat(number).into()).unwrap();
        let mut report = Report::new(&source);
        let mut made = [0; 2];
        for at in (0..number).map(|line| 2 * line) {
            report.error_with(at, || {
                made[0] += 1;
                ("wrong".to_owned(), "right".to_owned())
            });
            report.masked(at, || {
                made[1] += 1;
                ("masked".to_owned(), "taken".to_owned())
            });
        }
        assert_eq!(made, [2 * MAX_SHOWN_MISTAKES, 2 * MAX_SHOWN_WARNINGS]);
        let Diagnostics { errors, warnings } = report.finish();
        let last = |found: &[Diagnostic]| found.last().map(|it| it.message.clone()).unwrap();
        assert_eq!(
            (errors.len(), warnings.len()),
            (MAX_SHOWN_MISTAKES + 1, MAX_SHOWN_WARNINGS + 1)
        );
        assert_eq!(last(&errors), format!("{} more mistakes", number - MAX_SHOWN_MISTAKES));
        let more = number - MAX_SHOWN_WARNINGS;
        assert_eq!(last(&warnings), format!("{more} more {}", HOST_BITS[1]));
    }

    #[test]
    fn quotes_are_short_and_harmless() {
        assert_eq!(quote("a\u{1b}[2Jb", 9), r#""a\u{1b}[2Jb""#);
        assert_eq!(quote("éééé", 4), "\"éééé\"");
        assert_eq!(quote("ééééé", 4), "\"éééé\"…");
        assert_eq!(quote("\u{202e}\u{9b}\u{200f}", 9), r#""\u{202e}\u{9b}\u{200f}""#);
        assert_eq!(bare("\u{202e}ab", 2), r"\u{202e}a");
    }
}
