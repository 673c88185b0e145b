//! A configuration on its way into force, and its copy beside the pins.

use std::path::Path;

use crate::config::sources::Source;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::kernel::PreparedKernel;
use crate::datapath::error::Result;
use crate::ruleset::Ruleset;

/// A configuration that was read, and its ruleset.
pub struct Configured<'a> {
    /// Absolute.
    pub path: &'a Path,
    pub text: &'a str,
    /// The files that it was read from.
    pub sources: &'a [Source],
    pub ruleset: &'a Ruleset,
}

pub fn keep(
    namespace: &Locked,
    key: Key,
    configured: &Configured<'_>,
    prepared: &PreparedKernel,
) -> Result<()> {
    keep_ruleset(namespace, key, configured, prepared.metadata.loaded_at, prepared.generation)
}

/// Writes a ruleset that is about to be put in force beside the pins.
pub fn keep_ruleset(
    namespace: &Locked,
    key: Key,
    configured: &Configured<'_>,
    loaded_at: u64,
    generation: u64,
) -> Result<()> {
    let Configured { text, sources, ruleset, .. } = *configured;
    let snapshot = kept_ruleset::Borrowed { loaded_at, text, sources, ruleset };
    let directory = namespace.state_directory(key);
    kept_ruleset::write(&directory, generation, &snapshot)?;
    log::info!("kept the ruleset under {}", directory.display());
    Ok(())
}
