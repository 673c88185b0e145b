//! Answers as JSON: an object a line.

use std::io::{self, Write};

use super::Explained;

/// Writes one answer as an object on a line.
pub fn write(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    let mut line = serde_json::to_vec(explained)?;
    line.push(b'\n');
    out.write_all(&line)
}
