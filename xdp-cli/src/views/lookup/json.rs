//! What holds an address, as one JSON array.

use std::io::{self, Write};

use super::Holding;

/// Writes all of it on one line; `[]` if nothing holds the address.
pub fn write(out: &mut dyn Write, all: &[Holding]) -> io::Result<()> {
    let mut line = serde_json::to_vec(all)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
