//! Reading a configuration for a command that is to put it in force.

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
    /// Absolute, but as it was named: a link that is turned elsewhere is followed then.
    path: PathBuf,
    text: String,
    /// What was read for it.
    sources: Vec<Source>,
    pub ruleset: Ruleset,
    /// To be told when there is time: whoever reads them may be slow.
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

/// Reads a configuration; all that is wrong with it, where it has mistakes. It may lie on a server that
/// does not answer, so no lock is held meanwhile.
pub fn read(path: &Path) -> Result<Loaded, Diagnostics> {
    // What is in force names it so.
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
    // Whoever asks later where an entry stands may be somewhere else.
    for file in &mut ruleset.files {
        *file = absolute(file);
    }
    let mut sources = files.into_sources();
    for source in &mut sources {
        source.path = absolute(&source.path);
    }
    Ok(Loaded { path, text: loaded.text, sources, ruleset, warnings: loaded.diagnostics })
}

/// Why a ruleset whose configuration came from standard input cannot be read again.
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

/// Reads a configuration that is to take the place of what is in force: its lists may have lost no more
/// than they say.
pub fn read_in_place_of(path: &Path, in_force: &Metadata) -> Result<Loaded, Diagnostics> {
    let loaded = read(path)?;
    let errors = shrink::refusals(&loaded.ruleset, in_force);
    match errors.is_empty() {
        true => Ok(loaded),
        false => Err(Diagnostics { errors, ..loaded.warnings }),
    }
}

/// The same of one that was read before.
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

/// Reads a configuration, or tells all that is wrong with it.
pub fn load(path: &Path, session: &mut Session<'_>) -> Result<Loaded, Failure> {
    read(path).map_err(|diagnostics| {
        session.reporter.diagnostics(&diagnostics);
        Failure::Configuration
    })
}
