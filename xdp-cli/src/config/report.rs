//! Mistakes collected on the way through a configuration.

use std::collections::BTreeSet;
use std::ops::Range;

use super::source::Source;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::notation::plain;

/// All that was found so far in the configuration itself.
pub(super) struct Report<'s> {
    source: &'s Source,
    found: Diagnostics,
    /// Lines whose syntax is wrong, or that stand below such a header. What else is said of them would be guessed.
    broken: BTreeSet<u32>,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, found: Diagnostics::default(), broken: BTreeSet::new() }
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
        self.broken.insert(diagnostic.line);
        self.found.errors.push(diagnostic);
    }

    /// Lines of which nothing can be said, since it is not known what they belong to.
    pub(super) fn ignore(&mut self, lines: Range<u32>) {
        self.broken.extend(lines);
    }

    /// A mistake at an offset.
    pub(super) fn error(&mut self, at: usize, message: String, hint: impl Into<String>) {
        if !self.broken.contains(&self.source.line(at)) {
            let diagnostic = self.diagnostic(at, message, Some(hint.into()));
            self.found.errors.push(diagnostic);
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
        self.found.warnings.push(diagnostic);
    }

    /// Everything found, in the order of the text.
    pub(super) fn finish(mut self) -> Diagnostics {
        for diagnostics in [&mut self.found.errors, &mut self.found.warnings] {
            diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
            diagnostics.dedup();
        }
        self.found
    }

    fn diagnostic(&self, at: usize, message: String, hint: Option<String>) -> Diagnostic {
        let (line, column) = self.source.place(at);
        Diagnostic { file: self.source.path().to_owned(), line, column, message, hint }
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
    use super::*;

    #[test]
    fn quotes_are_short_and_harmless() {
        assert_eq!(quote("a\u{1b}[2Jb", 9), r#""a\u{1b}[2Jb""#);
        assert_eq!(quote("éééé", 4), "\"éééé\"");
        assert_eq!(quote("ééééé", 4), "\"éééé\"…");
        assert_eq!(quote("\u{202e}\u{9b}\u{200f}", 9), r#""\u{202e}\u{9b}\u{200f}""#);
        assert_eq!(bare("\u{202e}ab", 2), r"\u{202e}a");
    }
}
