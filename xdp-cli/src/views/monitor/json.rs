//! Writes an event as one JSON object on a line.

use std::io::{self, Write};

use crate::event::Event;
use crate::notation::json_line;

/// Writes an event.
pub fn write(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    out.write_all(&json_line(event)?)
}
