//! The text of a configuration, and where in it an offset stands.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A configuration as read, with an index of its lines.
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// Offsets at which lines start, in [`Source::text`].
    lines: Vec<usize>,
}

impl Source {
    /// Takes the file's bytes; what is not text is refused at the first bad byte. Zeros are UTF-8, but
    /// a file of nothing else, as sparse files are, would take the parser very long.
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
        let lines = std::iter::once(0)
            .chain(
                body.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1),
            )
            .collect();
        Ok(Self { path: path.to_owned(), text, lines })
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

    /// Line from 1.
    pub(super) fn line(&self, offset: usize) -> u32 {
        count(self.lines.partition_point(|&start| start <= offset))
    }

    /// The number of the last line.
    pub(super) fn last_line(&self) -> u32 {
        count(self.lines.len())
    }

    /// Line and column, both from 1; the column in characters.
    pub(super) fn place(&self, offset: usize) -> (u32, u32) {
        let line = self.line(offset);
        let start = self.lines[line as usize - 1];
        let before = self.text().get(start..offset).unwrap_or_default();
        (line, count(before.chars().count() + 1))
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
        let start = self.lines[line as usize - 1];
        let end = self.lines.get(line as usize).map_or(self.text().len(), |next| next - 1);
        start..end
    }
}

/// What stands at `bad`, up to which the bytes are text.
fn not_text(path: &Path, bytes: &[u8], bad: usize) -> Diagnostic {
    let (good, bad) = bytes.split_at(bad);
    let good = String::from_utf8_lossy(good);
    let good = good.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&good);
    let line = good.rsplit('\n').next().unwrap_or_default();
    Diagnostic {
        file: path.to_owned(),
        line: count(good.matches('\n').count() + 1),
        column: count(line.chars().count() + 1),
        message: format!(
            "the byte 0x{:02x} is not UTF-8 text",
            bad.first().copied().unwrap_or_default()
        ),
        hint: Some("TOML is UTF-8; save the file in that encoding".into()),
    }
}

/// Files end at 1 GiB, so no line or column passes 32 bits.
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
}
