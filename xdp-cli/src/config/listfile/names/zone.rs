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
}

impl Zone {
    /// Whether the line is a part of a record that a line before began.
    pub(super) fn goes_on(&mut self, text: &[u8]) -> bool {
        let goes_on = self.open > 0;
        if goes_on {
            self.count_parentheses(text);
        }
        goes_on
    }

    pub(super) fn count_parentheses(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                b';' => break,
                b'(' => self.open += 1,
                b')' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }
}
