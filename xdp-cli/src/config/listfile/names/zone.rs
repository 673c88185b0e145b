//! What a zone file has said so far.

/// What earlier lines of a zone file said.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// The name of the zone, and the one that relative names are completed with, as in a message.
    /// Empty where no line has said so.
    pub(super) apex: Vec<u8>,
    pub(super) origin: Vec<u8>,
    /// The owner of the record before, as it was written.
    pub(super) owner: Vec<u8>,
    /// Open parentheses: a record goes on in the next line until all are closed.
    pub(super) open: usize,
    /// The line of the record that they belong to.
    pub(super) opened: u32,
}

impl Zone {
    /// Counts parentheses, outside of strings and comments (RFC 1035, section 5.1). A record that is
    /// open behind the line goes on in the next.
    pub(super) fn count_parentheses(&mut self, text: &[u8]) {
        let (mut is_quoted, mut is_escaped) = (false, false);
        for byte in text {
            if std::mem::take(&mut is_escaped) {
                continue;
            }
            match byte {
                b'\\' => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                _ if is_quoted => {}
                b';' => break,
                b'(' => self.open += 1,
                b')' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }
}
