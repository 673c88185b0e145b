//! The text of a configuration file, and the lines and columns of offsets in it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Bytes from one mark to the next. To find a place, up to so many bytes are searched; the marks
/// take 3 % of the text's memory.
const STEP: usize = 256;

/// How much of the text comes before an offset.
#[derive(Clone, Copy, Default)]
struct Mark {
    line_feeds: u32,
    characters: u32,
}

impl Mark {
    /// The mark after these bytes, which follow this one.
    fn after(self, bytes: &[u8]) -> Self {
        let line_feeds = bytes.iter().filter(|byte| **byte == b'\n').count();
        // Counts all bytes but those that continue a character (RFC 3629, section 3).
        let characters = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        // At most one for each byte, and the number of bytes fits 32 bits.
        Self {
            line_feeds: self.line_feeds + line_feeds as u32,
            characters: self.characters + characters as u32,
        }
    }
}

/// The text of a file, with an index that finds any place equally fast: a line may be as long as
/// the file.
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// One mark for each multiple of [`STEP`] in [`Source::text`].
    marks: Vec<Mark>,
    /// How many bytes were searched for places.
    #[cfg(test)]
    looked_through: std::cell::Cell<usize>,
}

impl Source {
    /// Takes the bytes of the file. Refuses them at the first one that is not UTF-8 or is zero.
    /// Zeros are valid UTF-8, but a file of nothing else, such as a sparse file, would keep the
    /// parser busy for very long.
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Result<Self, Diagnostic> {
        let zero = bytes.iter().position(|&byte| byte == 0);
        let text = match (String::from_utf8(bytes), zero) {
            (Ok(text), None) => text,
            (Ok(text), Some(zero)) => return Err(not_text(path, text.as_bytes(), zero)),
            (Err(error), zero) => {
                let bad = error.utf8_error().valid_up_to();
                return Err(not_text(path, error.as_bytes(), zero.map_or(bad, |at| at.min(bad))));
            }
        };
        let body = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let steps = body.as_bytes().chunks_exact(STEP);
        let after_each = steps.scan(Mark::default(), |mark, step| {
            *mark = mark.after(step);
            Some(*mark)
        });
        let marks = std::iter::once(Mark::default()).chain(after_each).collect();
        Ok(Self {
            path: path.to_owned(),
            text,
            marks,
            #[cfg(test)]
            looked_through: std::cell::Cell::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text without a byte order mark; all offsets count from its start.
    pub(super) fn text(&self) -> &str {
        self.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.text)
    }

    /// The text as it was read.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> u32 {
        self.before(offset).line_feeds + 1
    }

    /// The number of the last line.
    pub(super) fn last_line(&self) -> u32 {
        self.line(self.text().len())
    }

    /// The line and the column of an offset, both from 1; the column in characters.
    pub(super) fn place(&self, offset: usize) -> (u32, u32) {
        let before = self.before(offset);
        let line = before.line_feeds + 1;
        let before_line = self.before(self.line_start(line));
        (line, before.characters - before_line.characters + 1)
    }

    fn before(&self, offset: usize) -> Mark {
        let offset = offset.min(self.text().len());
        let step = offset / STEP;
        self.marks[step].after(self.look_through(step * STEP, offset))
    }

    /// The offset at which a line starts.
    fn line_start(&self, line: u32) -> usize {
        let line_feeds = line - 1;
        // The line feed before the line lies after the last mark that has seen fewer.
        let seen_fewer = |mark: &Mark| mark.line_feeds < line_feeds;
        let Some(step) = self.marks.partition_point(seen_fewer).checked_sub(1) else { return 0 };
        let start = step * STEP;
        let bytes = self.look_through(start, (start + STEP).min(self.text().len()));
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let missing = line_feeds - self.marks[step].line_feeds;
        let end = ends.map(|(at, _)| at + 1).nth(missing as usize - 1);
        start + end.unwrap_or(bytes.len())
    }

    fn look_through(&self, start: usize, end: usize) -> &[u8] {
        #[cfg(test)]
        self.looked_through.set(self.looked_through.get() + (end - start));
        &self.text().as_bytes()[start..end]
    }

    /// The offset of a line and a column, both from 1.
    pub(super) fn offset(&self, line: u32, column: u32) -> usize {
        let span = self.line_span(line);
        let text = &self.text()[span.clone()];
        let mut columns = text.char_indices().map(|(at, _)| at).skip(column as usize - 1);
        span.start + columns.next().unwrap_or(text.len())
    }

    /// The offsets of a line, without its line feed.
    pub(super) fn line_span(&self, line: u32) -> Range<usize> {
        let start = self.line_start(line);
        let end = match line < self.last_line() {
            true => self.line_start(line + 1) - 1,
            false => self.text().len(),
        };
        start..end
    }
}

/// The byte order marks of UTF-16 (The Unicode Standard, section 23.8).
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The diagnostic for the byte at `bad`; all bytes before it are text.
fn not_text(path: &Path, bytes: &[u8], bad: usize) -> Diagnostic {
    let byte = bytes.get(bad).copied().unwrap_or_default();
    let (message, hint) = match byte {
        _ if UTF_16.iter().any(|mark| bytes.starts_with(mark)) => (
            "the file begins like UTF-16 text".to_owned(),
            "TOML is UTF-8; save the file in that encoding",
        ),
        0 => (
            "TOML has no character NUL, the byte 0x00".to_owned(),
            "take it out; where every other byte is one, the file is UTF-16: save it as UTF-8",
        ),
        _ => (
            format!("the byte 0x{byte:02x} is not UTF-8 text"),
            "TOML is UTF-8; save the file in that encoding",
        ),
    };
    let good = String::from_utf8_lossy(&bytes[..bad]);
    let good = good.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&good);
    let line = good.rsplit('\n').next().unwrap_or_default();
    Diagnostic {
        file: path.to_owned(),
        line: count(good.matches('\n').count() + 1),
        column: count(line.chars().count() + 1),
        message,
        hint: Some(hint.into()),
        excerpt: None,
    }
}

/// A line or column number. Files are at most 1 GiB long, so it fits 32 bits.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_characters() {
        let source = Source::new(Path::new("x"), "a\r\né = 1\n".into()).unwrap();
        let at = source.text().find('=').unwrap();
        assert_eq!(source.place(at), (2, 3));
        assert_eq!(source.offset(2, 3), at);
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(source.text().len()), (3, 1));
        assert_eq!(&source.text()[source.line_span(2)], "é = 1");
    }

    /// Counts lines and columns from the front of the text each time, as the reference.
    fn counted(text: &str, offset: usize) -> (u32, u32) {
        let before = &text[..offset];
        let line = before.rsplit('\n').next().unwrap();
        (count(before.matches('\n').count() + 1), count(line.chars().count() + 1))
    }

    #[test]
    fn places_are_found_across_marks() {
        let long = "é\u{1f600}x".repeat(STEP);
        let feeds = "\n".repeat(2 * STEP);
        for text in [
            String::new(),
            "x".repeat(STEP),
            format!("{}\n", "x".repeat(STEP - 1)),
            format!("{}\n", "x".repeat(STEP)),
            format!("a\n{long}\n\n{feeds}é\n{long}"),
        ] {
            let source = Source::new(Path::new("x"), text.clone().into_bytes()).unwrap();
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            for at in ends {
                let (line, column) = source.place(at);
                assert_eq!((line, column), counted(&text, at), "{at}");
                assert_eq!(source.line(at), line);
                assert_eq!(source.offset(line, column), at);
            }
            let spans = (1..=source.last_line()).map(|line| &text[source.line_span(line)]);
            assert!(spans.eq(text.split('\n')));
        }
    }

    /// Each place was once counted from the start of its line: 200,000 places in one line took half
    /// a minute.
    #[test]
    fn a_place_far_into_a_line_takes_no_longer() {
        let text = "é = 1, ".repeat(100_000);
        let source = Source::new(Path::new("x"), text.into_bytes()).unwrap();
        let places = 1000;
        for number in 0..places {
            assert_eq!(source.place(source.text().len() - 8 * number).0, 1);
        }
        assert!(source.looked_through.get() <= 3 * STEP * places);
    }

    #[test]
    fn a_byte_order_mark_takes_no_column() {
        let source = Source::new(Path::new("x"), "\u{feff}a = 1".into()).unwrap();
        assert_eq!(source.place(source.text().find('a').unwrap()), (1, 1));
        assert_eq!(source.into_text(), "\u{feff}a = 1");
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let Err(found) = Source::new(Path::new("x"), b"# ok\n# \xc3\xa9 \xff".to_vec()) else {
            panic!("taken as text");
        };
        assert_eq!((found.line, found.column), (2, 5));
        assert_eq!(found.message, "the byte 0xff is not UTF-8 text");
    }

    #[test]
    fn a_zero_has_a_place_too() {
        for (bytes, place) in [
            (&b"\0\0\0"[..], (1, 1)),
            (b"a = 1\n# \xc3\xa9\0\xff", (2, 4)),
            (b"a = 1\n# \xff\0", (2, 3)),
        ] {
            let Err(found) = Source::new(Path::new("x"), bytes.to_vec()) else {
                panic!("taken as text");
            };
            assert_eq!((found.line, found.column), place, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_called_by_its_name() {
        for (bytes, said) in [
            (&b"a = 1\0"[..], "TOML has no character NUL, the byte 0x00"),
            (b"\xff\xfea\0", "the file begins like UTF-16 text"),
            (b"\xfe\xff\0a", "the file begins like UTF-16 text"),
            (b"\xffa", "the byte 0xff is not UTF-8 text"),
        ] {
            let found = Source::new(Path::new("x"), bytes.to_vec()).err();
            assert_eq!(found.map(|it| it.message).as_deref(), Some(said), "{bytes:?}");
        }
    }
}
