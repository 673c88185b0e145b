//! Configurations and list files.

use std::path::Path;

use xdpctl::config::file::FileError;
use xdpctl::config::load_with;

/// All that is said of a configuration that names no files.
fn said(text: &str) -> String {
    let read_file = |path: &Path| match path.to_str() {
        Some("x.toml") => Ok(text.as_bytes().to_vec()),
        _ => Err(FileError::Io(std::io::ErrorKind::NotFound.into())),
    };
    let found = load_with(Path::new("x.toml"), &read_file).diagnostics;
    found.errors.iter().chain(&found.warnings).map(|found| format!("{found}\n")).collect()
}

/// A value of a kind that is never quoted, which a mistake had the parser read out of a line of
/// anything, was shown as it stood, escape sequences for a terminal included.
#[test]
fn what_is_no_value_steers_no_terminal() {
    let said = said("[[blocklist]]\nname = \"b\"\nfiles = [\"0\", #\nnam\u{1b}mpv6\"\n");
    assert!(said.contains("nam\\u{1b}"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
