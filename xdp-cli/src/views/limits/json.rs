//! Limits as one JSON array.

use std::io::{self, Write};

use super::Limited;
use crate::notation::json_line;

/// Writes all limits as one array on one line; `[]` if there is none.
pub fn write(out: &mut dyn Write, all: &[Limited]) -> io::Result<()> {
    out.write_all(&json_line(all)?)?;
    out.flush()
}
