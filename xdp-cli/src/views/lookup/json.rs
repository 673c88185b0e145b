//! Prints the entries that hold an address as one JSON array.

use std::io::{self, Write};

use super::Holding;
use crate::notation::json_line;

/// Writes all entries on one line; `[]` if nothing holds the address.
pub fn write(out: &mut dyn Write, all: &[Holding]) -> io::Result<()> {
    out.write_all(&json_line(all)?)?;
    out.flush()
}
