//! Reads a configuration for a command that puts it in force.

use std::path::{Path, PathBuf};

use super::{Failure, Session, shrink};
use crate::config;
use crate::config::file::{Disk, STDIN, means_stdin};
use crate::config::sources::{Recorded, Source};
use crate::datapath::change::configured::Configured;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::image::metadata::Metadata;
use crate::ruleset::Ruleset;

/// A configuration without mistakes.
pub struct Loaded {
    /// Absolute, but with symbolic links as they were named: if one is changed later, a reload
    /// follows it.
    path: PathBuf,
    text: String,
    /// The files that were read for it.
    sources: Vec<Source>,
    pub ruleset: Ruleset,
    /// To be printed once no lock is held: whoever reads them may be slow.
    pub warnings: Diagnostics,
}

impl Loaded {
    pub fn configured(&self) -> Configured<'_> {
        Configured {
            path: &self.path,
            text: &self.text,
            sources: &self.sources,
            ruleset: &self.ruleset,
        }
    }
}

/// Reads a configuration. The error is everything that is wrong with it. The file may lie on a
/// server that does not answer, so no lock may be held meanwhile.
pub fn read(path: &Path) -> Result<Loaded, Diagnostics> {
    // A ruleset in force that came from standard input has this as its path.
    if path == Path::new(STDIN) {
        return Err(Diagnostics { errors: vec![not_again()], warnings: Vec::new() });
    }
    let files = Recorded::new(&Disk);
    let loaded = config::load_given(path, &files);
    let Some(mut ruleset) = loaded.ruleset else { return Err(loaded.diagnostics) };
    let absolute = |path: &Path| {
        if path == Path::new(STDIN) || means_stdin(path) {
            return STDIN.into();
        }
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    };
    let path = absolute(path);
    // A later command that names the place of an entry may run in another directory.
    for file in &mut ruleset.files {
        *file = absolute(file);
    }
    let mut sources = files.into_sources();
    for source in &mut sources {
        source.path = absolute(&source.path);
    }
    Ok(Loaded { path, text: loaded.text, sources, ruleset, warnings: loaded.diagnostics })
}

/// Says that a configuration that came from standard input cannot be read again.
fn not_again() -> Diagnostic {
    Diagnostic {
        file: STDIN.into(),
        line: 0,
        column: 0,
        message: "the ruleset in force was read from standard input, which cannot be read again"
            .into(),
        hint: Some(
            "name a file with `-c FILE`, or give it on standard input and say `-c -`".into(),
        ),
        excerpt: None,
    }
}

/// Reads a configuration that is to replace what is in force. Its lists may not have lost more than
/// their `max_shrink`.
pub fn read_in_place_of(path: &Path, in_force: &Metadata) -> Result<Loaded, Diagnostics> {
    let loaded = read(path)?;
    let errors = shrink::refusals(&loaded.ruleset, in_force);
    match errors.is_empty() {
        true => Ok(loaded),
        false => Err(Diagnostics { errors, ..loaded.warnings }),
    }
}

/// Checks the same for a configuration that was read before.
pub fn refuse_shrunk(
    loaded: &Loaded,
    in_force: &Metadata,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let errors = shrink::refusals(&loaded.ruleset, in_force);
    if errors.is_empty() {
        return Ok(());
    }
    session.reporter.diagnostics(&Diagnostics { errors, warnings: Vec::new() });
    Err(Failure::Configuration)
}

/// Reads a configuration, or reports all that is wrong with it.
pub fn load(path: &Path, session: &mut Session<'_>) -> Result<Loaded, Failure> {
    read(path).map_err(|diagnostics| {
        session.reporter.diagnostics(&diagnostics);
        Failure::Configuration
    })
}
