//! Reads a configuration for a command that puts it in force.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Failure, Session, shrink};
use crate::config;
use crate::config::file::{Disk, STDIN, means_stdin};
use crate::config::sources::{Recorded, Source};
use crate::datapath::change::configured::Configured;
use crate::diagnostic::{Diagnostic, Diagnostics, Excerpt};
use crate::image::metadata::Metadata;
use crate::notation::{counted, grouped, plain, took, word};
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
    /// The text around the place of each list, see [`config::Loaded::excerpts`].
    excerpts: Vec<Excerpt>,
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
    let (begun, files) = (Instant::now(), Recorded::new(&Disk));
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
    log::info!("{} in {}", what_was_read(&path, &sources, &ruleset), took(begun.elapsed()));
    let (text, excerpts, warnings) = (loaded.text, loaded.excerpts, loaded.diagnostics);
    Ok(Loaded { path, text, sources, ruleset, excerpts, warnings })
}

fn what_was_read(path: &Path, sources: &[Source], ruleset: &Ruleset) -> String {
    let more = match sources.len().saturating_sub(1) as u64 {
        0 => String::new(),
        more => format!(" and {}", counted(more, "more file")),
    };
    let lists = ruleset.allowlists.iter().chain(&ruleset.blocklists);
    let entries: usize = lists.map(|list| list.v4.len() + list.v6.len()).sum();
    let entries = match entries as u64 {
        1 => "1 entry".to_owned(),
        entries => format!("{} entries", grouped(entries)),
    };
    let rules = counted(ruleset.rules.len() as u64, "rule");
    format!("read {}{more} ({entries}, {rules})", path.display())
}

/// The file that was given at attach, to be read again. There is none if the configuration came from
/// standard input then.
pub fn given_at_attach<'m>(
    interface: &str,
    in_force: &'m Metadata,
) -> Result<&'m Path, Diagnostics> {
    let Metadata { config, loaded_from, .. } = in_force;
    if config != Path::new(STDIN) {
        return Ok(config);
    }
    let name = word(interface);
    let hint = match loaded_from == Path::new(STDIN) {
        true => {
            "name a file with `-c FILE`, or give it on standard input and say `-c -`".to_owned()
        }
        false => {
            let file = word(&loaded_from.to_string_lossy());
            format!(
                "the ruleset in force is that of {file}: `xdpctl reload {name} -c {file}` reads it \
                 again; `xdpctl attach --replace {name} -c {file}` makes it the file that reloads read"
            )
        }
    };
    let error = Diagnostic {
        file: STDIN.into(),
        line: 0,
        column: 0,
        message: format!(
            "{} was given its configuration on standard input at attach, which cannot be read again",
            plain(interface)
        ),
        hint: Some(hint),
        excerpt: None,
    };
    Err(Diagnostics { errors: vec![error], warnings: Vec::new() })
}

/// Reads a configuration that is to replace what is in force. Its lists may not have lost more than
/// their `max_shrink`.
pub fn read_in_place_of(path: &Path, in_force: &Metadata) -> Result<Loaded, Diagnostics> {
    let loaded = read(path)?;
    let errors = shrink::refusals(&loaded.ruleset, &loaded.excerpts, in_force);
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
    let errors = shrink::refusals(&loaded.ruleset, &loaded.excerpts, in_force);
    if errors.is_empty() {
        return Ok(());
    }
    session.reporter.diagnostics(&Diagnostics { errors, warnings: Vec::new() });
    Err(Failure::Configuration)
}

/// Reads a configuration, or reports all that is wrong with it.
pub fn load(path: &Path, session: &mut Session<'_>) -> Result<Loaded, Failure> {
    or_told(read(path), session)
}

/// Reports what is wrong with a configuration.
pub fn or_told<T>(result: Result<T, Diagnostics>, session: &mut Session<'_>) -> Result<T, Failure> {
    result.map_err(|diagnostics| {
        session.reporter.diagnostics(&diagnostics);
        Failure::Configuration
    })
}
