//! `xdpctl limits`.

use super::{Failure, Session};
use crate::args::Limits;
use crate::datapath::attached::limits::read;
use crate::views::limits::{Limited, json, text};

/// Shows the limits of rules, and the keys that are over them.
pub fn run(args: &Limits, session: &mut Session<'_>) -> Result<(), Failure> {
    let (_, attachment) = super::look_at(&args.interface)?;
    let limits = read(&attachment)?;
    let write = if args.json { json::write } else { text::write };
    let shown: Vec<Limited> = limits.iter().map(Limited::new).collect();
    write(session.out, &shown).map_err(Failure::from_output)
}
