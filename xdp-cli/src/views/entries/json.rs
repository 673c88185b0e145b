//! Run-time entries as one JSON array.

use std::io::{self, Write};

use serde::Serialize;

use super::Listed;
use crate::notation::json_line;

/// Writes all entries as one array on one line; `[]` if there is none.
pub fn write(out: &mut dyn Write, all: &[Listed]) -> io::Result<()> {
    out.write_all(&json_line(all)?)?;
    out.flush()
}

/// Writes the entries of several interfaces as one array; each says on which it is.
pub fn write_all(out: &mut dyn Write, all: &[(String, Vec<Listed>)]) -> io::Result<()> {
    #[derive(Serialize)]
    struct On<'l> {
        interface: &'l str,
        #[serde(flatten)]
        listed: &'l Listed,
    }
    let all: Vec<On<'_>> = all
        .iter()
        .flat_map(|(interface, listed)| listed.iter().map(move |listed| On { interface, listed }))
        .collect();
    out.write_all(&json_line(&all)?)?;
    out.flush()
}
