//! The emergency switch. It lies beside the switches of run-time entries because it belongs to the
//! program as these do, not to the ruleset.

use crate::datapath::error::{Context, Result};
use crate::datapath::maps::dynamic::memory::{self, Switches};
use crate::datapath::maps::handles::Maps;

/// Whether bypass is on: then everything passes.
///
/// # Errors
///
/// Where the kernel refuses to read the switches.
pub fn is_on(maps: &Maps) -> Result<bool> {
    Ok(memory::read(&maps.switches).context("look whether bypass is on")?.bypass != 0)
}

/// Switches bypass on or off, from the next packet on, and returns whether it was on before. It
/// writes one word that nobody else writes, so it cannot be cut off half way and needs no lock, and
/// it reads neither entries nor ruleset.
///
/// # Errors
///
/// Where the switches cannot be opened; nothing has changed then.
pub fn set(maps: &Maps, on: bool) -> Result<bool> {
    let switches = Switches::open_as_they_are(&maps.switches);
    Ok(switches.context("open the switches of the program")?.set_bypass(on))
}
