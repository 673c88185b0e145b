//! What a zone file has said so far, and the words of its records.

use super::words::is_blank;

/// What earlier lines of a zone file said.
#[derive(Debug, Default)]
pub(super) struct Zone<'s> {
    /// The name of the zone, as in a message; `None` where no line has said so.
    pub(super) apex: Option<Vec<u8>>,
    pub(super) origin: Origin,
    /// The owner of the record before, as it was written; empty before the first.
    pub(super) owner: Vec<u8>,
    /// The origin that this owner is relative to, if another one was named since.
    pub(super) owner_origin: Option<Origin>,
    /// The owner of the SOA record, as it was written.
    pub(super) soa_owner: Vec<u8>,
    /// Open parentheses: a record goes on in the next line until all are closed.
    pub(super) open: usize,
    /// The line of the record that they belong to, and its text.
    pub(super) opened: u32,
    pub(super) opened_text: &'s [u8],
    /// The words of that record, with blanks between.
    pub(super) joined: Vec<u8>,
}

/// What relative names are completed with.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// This name, and then that of the zone, which need not be known.
    Zone(Vec<u8>),
    /// This name.
    Full(Vec<u8>),
    /// An `$ORIGIN` that could not be read.
    Unreadable,
}

impl Default for Origin {
    fn default() -> Self {
        Self::Zone(Vec::new())
    }
}

/// No name and type are longer; what follows them in a record in parentheses is not kept.
const LONGEST_JOINED: usize = 8 << 10;

impl Zone<'_> {
    /// Adds the words of a line to those of the record, without parentheses and comments (RFC 1035,
    /// section 5.1), and counts the parentheses that are open behind it.
    pub(super) fn join(&mut self, text: &[u8]) {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let mut before = b' ';
        for &byte in text {
            let kept = match byte {
                _ if std::mem::take(&mut is_escaped) => byte,
                b'\\' => {
                    is_escaped = true;
                    byte
                }
                b'"' => {
                    is_quoted = !is_quoted;
                    byte
                }
                _ if is_quoted => byte,
                b';' => break,
                b'#' if is_blank(before) => break,
                b'(' => {
                    self.open += 1;
                    b' '
                }
                b')' => {
                    self.open = self.open.saturating_sub(1);
                    b' '
                }
                _ => byte,
            };
            before = kept;
            if self.joined.len() < LONGEST_JOINED {
                self.joined.push(kept);
            }
        }
        self.joined.push(b' ');
    }
}

/// Whether a name ends with a dot that divides labels: it is not relative.
pub(super) fn is_absolute(name: &[u8]) -> bool {
    name.strip_suffix(b".").is_some_and(|name| {
        let escapes = name.iter().rev().take_while(|byte| **byte == b'\\').count();
        escapes % 2 == 0
    })
}
