//! Whole configurations, from a file to a ruleset or to diagnostics.

mod accepted;
mod checks;
mod defined;
mod domains;
mod guards;
mod included;
mod limits;
mod manual;
mod mutated;
mod refused;
mod replies;
mod rule_actions;
mod rule_limits;
mod services;
mod shadowed;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Loaded, load};
use crate::ruleset::Ruleset;

/// A folder with a configuration and list files.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lists")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self, configuration: impl AsRef<[u8]>) -> Loaded {
        let path = self.path().join("x.toml");
        fs::write(&path, configuration).unwrap();
        load(&path)
    }

    /// The diagnostics of a configuration, with `DIR` in place of the folder.
    fn said(&self, configuration: impl AsRef<[u8]>) -> String {
        let loaded = self.load(configuration);
        assert_eq!(loaded.ruleset.is_some(), loaded.diagnostics.is_ok());
        let errors = loaded.diagnostics.errors.iter().map(|found| format!("error: {found}\n"));
        let warnings =
            loaded.diagnostics.warnings.iter().map(|found| format!("warning: {found}\n"));
        let said: String = errors.chain(warnings).collect();
        said.replace(&self.path().display().to_string(), "DIR")
    }
}

/// The ruleset of a configuration without mistakes and warnings.
fn ruleset(configuration: &str) -> Ruleset {
    let setup = Setup::new(&[]);
    assert_eq!(setup.said(configuration), "");
    setup.load(configuration).ruleset.unwrap()
}
