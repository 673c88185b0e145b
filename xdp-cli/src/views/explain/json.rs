//! Answers as JSON: an object a line.

use std::io::{self, Write};

use super::Explained;
use crate::notation::json_line;

/// Writes one answer as an object on a line.
pub fn write(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    out.write_all(&json_line(explained)?)
}
