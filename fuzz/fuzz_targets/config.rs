//! Any bytes as a configuration: what is said of them lies in them, there is a ruleset exactly if
//! nothing is wrong, and then it can be kept, read back and compiled.
//!
//! The input's parts are set apart by zero bytes, which are in no configuration. The first is the
//! configuration, the others are the list files `0`, `1` and so on. No other file can be read, so
//! that what a mutated text names is never opened.

#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use xdpctl::config::file::FileError;
use xdpctl::config::load_with;
use xdpctl::datapath::attached::kept_ruleset::{self, Borrowed};
use xdpctl::diagnostic::Diagnostic;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;

#[path = "places.rs"]
mod places;

const FOLDER: &str = "/folder";
const CONFIG: &str = "/folder/config.toml";

fuzz_target!(|input: &[u8]| {
    let parts: Vec<&[u8]> = input.split(|byte| *byte == 0).collect();
    let part = |path: &Path| {
        if path == Path::new(CONFIG) {
            return parts.first();
        }
        let number: usize = path.strip_prefix(FOLDER).ok()?.to_str()?.parse().ok()?;
        parts.get(number.checked_add(1)?)
    };
    let read_file = |path: &Path| match part(path) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(FileError::Io(io::ErrorKind::NotFound.into())),
    };
    let loaded = load_with(Path::new(CONFIG), &read_file);
    let diagnostics = &loaded.diagnostics;
    for Diagnostic { file, line, column, message, hint, excerpt } in
        diagnostics.errors.iter().chain(&diagnostics.warnings)
    {
        let bytes = part(file).expect("only what was read has places");
        // Lines of what gzip compressed are those of what it holds.
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            places::check(bytes, *line, *column);
        }
        places::check_harmless(message);
        hint.iter().for_each(|hint| places::check_harmless(hint));
        excerpt.iter().for_each(|excerpt| places::check_harmless(&excerpt.text));
    }
    assert_eq!(loaded.ruleset.is_some(), diagnostics.is_ok());
    let Some(ruleset) = loaded.ruleset else { return };

    let kept = Borrowed { loaded_at: 1, text: &loaded.text, sources: &[], ruleset: &ruleset };
    let mut bytes = Vec::new();
    kept_ruleset::encode(&kept, &mut bytes).expect("memory takes everything");
    let read = kept_ruleset::decode(&bytes).expect("what was written is not damaged");
    assert_eq!(read.expect("this version wrote it").ruleset, ruleset);

    // That the rules differ in too many ways is an answer too.
    let _ = Image::build(&ruleset, 1, &Metadata::unbound(&ruleset));
});
