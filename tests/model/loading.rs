//! A configuration read by the product's own loader, from text and list files on disk.

use std::fs;

use tempfile::TempDir;
use xdpctl::config::load;
use xdpctl::ruleset::Ruleset;

use super::config::Config;

/// `Err` says why the product refuses it.
pub fn ruleset(config: &Config) -> Result<Ruleset, String> {
    let (text, files) = config.to_toml();
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join("model.toml");
    fs::write(&path, text).unwrap();
    let loaded = load(&path);
    loaded
        .ruleset
        .ok_or_else(|| loaded.diagnostics.errors.iter().map(|error| format!("{error}\n")).collect())
}
