//! Status as one JSON array.

use std::io::{self, Write};

use super::Status;

/// Writes all interfaces as one array on one line; `[]` if there is none.
pub fn write(out: &mut dyn Write, all: &[Status]) -> io::Result<()> {
    let mut line = serde_json::to_vec(all)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
