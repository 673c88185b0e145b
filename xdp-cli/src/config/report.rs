//! Mistakes collected on the way through a configuration.

use std::ops::Range;
use std::path::Path;

use xdp_common::capacity::{MAX_SHOWN_MISTAKES, MAX_SHOWN_WARNINGS};

use super::source::Source;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::notation::plain;

/// All that was found so far in the configuration itself, as far as it will be shown.
pub(super) struct Report<'s> {
    source: &'s Source,
    errors: Shown,
    /// Of prefixes with host bits, of which there may be as many as prefixes.
    masked: Shown,
    /// All others.
    warnings: Shown,
    /// Lines whose syntax is wrong, or that stand below such a header. What else is said of them
    /// would be guessed.
    broken: LineSet,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self {
            source,
            errors: Shown::new(MAX_SHOWN_MISTAKES),
            masked: Shown::new(MAX_SHOWN_WARNINGS),
            warnings: Shown::new(MAX_SHOWN_WARNINGS),
            broken: LineSet::default(),
        }
    }

    pub(super) fn source(&self) -> &'s Source {
        self.source
    }

    /// Whether some of the text could not be understood as TOML.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// A mistake in the TOML at an offset.
    pub(super) fn syntax_error(&mut self, at: usize, message: String, hint: Option<String>) {
        let diagnostic = self.diagnostic(at, message, hint);
        self.broken.insert(diagnostic.line..diagnostic.line + 1);
        self.errors.add(diagnostic);
    }

    /// Mistakes in the TOML that are only counted.
    pub(super) fn more_syntax_errors(&mut self, number: usize) {
        self.errors.more += number;
    }

    /// Lines of which nothing can be said, since it is not known what they belong to.
    pub(super) fn ignore(&mut self, lines: Range<u32>) {
        self.broken.insert(lines);
    }

    /// A mistake at an offset.
    pub(super) fn error(&mut self, at: usize, message: String, hint: impl Into<String>) {
        if !self.broken.contains(self.source.line(at)) {
            let diagnostic = self.diagnostic(at, message, Some(hint.into()));
            self.errors.add(diagnostic);
        }
    }

    /// Something that is not there. Where the TOML is wrong it may well be there, unread.
    pub(super) fn missing(&mut self, at: usize, message: String, hint: impl Into<String>) {
        if !self.is_broken() {
            self.error(at, message, hint);
        }
    }

    /// What is accepted, but probably not as meant.
    pub(super) fn warning(&mut self, at: usize, message: String, hint: impl Into<String>) {
        let diagnostic = self.diagnostic(at, message, Some(hint.into()));
        self.warnings.add(diagnostic);
    }

    /// A prefix with bits set beyond its length, which is accepted without them.
    pub(super) fn masked(&mut self, at: usize, message: String, hint: String) {
        let diagnostic = self.diagnostic(at, message, Some(hint));
        self.masked.add(diagnostic);
    }

    /// Everything found, in the order of the text; behind it, how many more there are.
    pub(super) fn finish(self) -> Diagnostics {
        let path = self.source.path();
        let (mut errors, more) = self.errors.finish();
        errors.extend(counted(path, more, "mistakes"));
        let (mut warnings, more_others) = self.warnings.finish();
        let (masked, more_masked) = self.masked.finish();
        warnings.extend(masked);
        warnings.sort_by_key(place);
        warnings.extend(counted(path, more_others, "warnings"));
        warnings.extend(counted(path, more_masked, HOST_BITS));
        Diagnostics { errors, warnings }
    }

    fn diagnostic(&self, at: usize, message: String, hint: Option<String>) -> Diagnostic {
        let (line, column) = self.source.place(at);
        Diagnostic { file: self.source.path().to_owned(), line, column, message, hint }
    }
}

/// What is counted of prefixes with host bits.
pub(crate) const HOST_BITS: &str = "prefixes with bits set beyond their length";

/// What says that there are more than were shown; nothing where there are not.
pub(crate) fn counted(path: &Path, more: usize, what: &str) -> Option<Diagnostic> {
    (more > 0).then(|| Diagnostic {
        file: path.to_owned(),
        line: 0,
        column: 0,
        message: format!("{more} more {what}"),
        hint: None,
    })
}

fn place(diagnostic: &Diagnostic) -> (u32, u32) {
    (diagnostic.line, diagnostic.column)
}

/// The first in the order of the text, up to a number, and how many more there are: a
/// configuration of nothing but mistakes must not fill the memory.
struct Shown {
    most: usize,
    kept: Vec<Diagnostic>,
    more: usize,
}

impl Shown {
    fn new(most: usize) -> Self {
        Self { most, kept: Vec::new(), more: 0 }
    }

    fn add(&mut self, diagnostic: Diagnostic) {
        self.kept.push(diagnostic);
        // Sorted once for as many as are kept, and not for each.
        if self.kept.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by_key(place);
        // What is wrong with the syntax may be found each time that the text is parsed.
        self.kept.dedup();
        self.more += self.kept.len().saturating_sub(self.most);
        self.kept.truncate(self.most);
    }

    fn finish(mut self) -> (Vec<Diagnostic>, usize) {
        self.cut();
        (self.kept, self.more)
    }
}

/// Lines, as ranges in order that do not touch: a wrong header may have all others below it.
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
        // Those that touch it become one with it.
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

/// A text in quotes, cut after `most` characters, with what steers a terminal escaped.
pub(super) fn quote(text: &str, most: usize) -> String {
    let (cut, rest) = match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    };
    // Which characters `{:?}` escapes depends on the version of the standard library.
    plain(&format!("{cut:?}{rest}"))
}

/// As [`quote`], but without quotes, for what has none itself.
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
        };
        let mut shown = Shown::new(3);
        // Each twice.
        for line in (1..=50).rev().flat_map(|line| [line, line]) {
            shown.add(at(line));
        }
        let (kept, more) = shown.finish();
        assert_eq!(kept, [1, 2, 3].map(at));
        assert_eq!(more, 47);
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
