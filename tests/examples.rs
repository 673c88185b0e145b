//! Every configuration in `configs/` loads without a word.

use std::fs;
use std::path::{Path, PathBuf};

use xdpctl::config;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be read to its end").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    found
}

#[test]
fn each_loads_without_errors_or_warnings() {
    for path in examples() {
        let loaded = config::load(&path);
        assert!(
            loaded.diagnostics.errors.is_empty() && loaded.diagnostics.warnings.is_empty(),
            "{}: {:#?}",
            path.display(),
            loaded.diagnostics
        );
        assert!(loaded.ruleset.is_some(), "{} gave no ruleset", path.display());
    }
}

#[test]
fn the_three_to_start_from_are_there() {
    let names: Vec<_> =
        examples().iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    for name in ["edge", "host", "lab"] {
        assert!(names.iter().any(|found| found == name), "configs/{name}.toml is not in {names:?}");
    }
}

/// A list file that no example names is not checked by anything.
#[test]
fn every_list_file_is_named_by_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let texts: String = examples()
        .iter()
        .map(|path| fs::read_to_string(path).expect("an example is text"))
        .collect();
    for entry in fs::read_dir(folder.join("lists")).expect("configs/lists is there") {
        let name = entry.expect("a folder can be read to its end").file_name();
        let named = format!("lists/{}", name.to_string_lossy());
        assert!(texts.contains(&named), "no example names {named}");
    }
}
