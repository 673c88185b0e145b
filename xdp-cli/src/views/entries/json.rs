//! Run-time entries as one JSON array.

use std::io::{self, Write};

use super::Listed;
use crate::notation::json_line;

/// Writes all entries as one array on one line; `[]` if there is none.
pub fn write(out: &mut dyn Write, all: &[Listed]) -> io::Result<()> {
    out.write_all(&json_line(all)?)?;
    out.flush()
}
