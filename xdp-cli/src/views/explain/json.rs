//! Prints answers as JSON, one object per line.

use std::io::{self, Write};

use super::{Explained, Unjudged};
use crate::notation::json_line;

/// Writes one answer as an object on a line.
///
/// # Errors
///
/// As of `out`.
pub fn write(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    out.write_all(&json_line(explained)?)
}

/// Writes an object on a line that says why there is no answer.
///
/// # Errors
///
/// As of `out`.
pub fn write_unjudged(out: &mut dyn Write, unjudged: &Unjudged) -> io::Result<()> {
    out.write_all(&json_line(unjudged)?)
}
