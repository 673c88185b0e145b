//! Configuration text to validated ruleset.
//!
//! A configuration is walked by hand, with every value's place at hand, so that all its mistakes
//! are told at once, each with its place and with what would be right. The list files that it
//! names are read on the way. Neither a kernel nor root is needed.

pub mod file;
pub mod listfile;
pub mod prefix;

mod guard;
mod limits;
pub(crate) mod list;
mod name;
mod policy;
pub(crate) mod report;
mod rule;
mod source;
mod spelling;
mod syntax;
mod table;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::{DeTable, DeValue};

use file::{Disk, Files};
use report::Report;
use source::Source;
use table::{TomlTable, Value};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ruleset::Ruleset;

/// A configuration with its list files, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// There is one exactly if there are no errors.
    pub ruleset: Option<Ruleset>,
    /// All mistakes and warnings: the configuration's in the order of its text, then each list
    /// file's.
    pub diagnostics: Diagnostics,
    /// The configuration as read; empty if it is not a readable text.
    pub text: String,
}

/// Reads a configuration and all the list files that it names.
pub fn load(path: &Path) -> Loaded {
    load_with(path, &Disk)
}

/// As [`load`], with the files from somewhere else.
pub fn load_with(path: &Path, files: &dyn Files) -> Loaded {
    let source = files
        .read(path)
        .map_err(|error| Diagnostic {
            file: path.to_owned(),
            line: 0,
            column: 0,
            message: format!("the configuration cannot be read: {error}"),
            hint: Some(error.hint().into()),
        })
        .and_then(|bytes| Source::new(path, bytes));
    let source = match source {
        Ok(source) => source,
        Err(error) => {
            let diagnostics = Diagnostics { errors: vec![error], warnings: Vec::new() };
            return Loaded { diagnostics, ..Loaded::default() };
        }
    };
    understand(source, files)
}

fn understand(source: Source, files: &dyn Files) -> Loaded {
    let mut report = Report::new(&source);
    let mut patched = String::new();
    let tree = syntax::parse(&source, &mut patched, &mut report);
    let (ruleset, in_files) = read(&tree, files, &mut report);
    let mut diagnostics = report.finish();
    diagnostics.errors.extend(in_files.errors);
    diagnostics.warnings.extend(in_files.warnings);
    let ruleset = diagnostics.is_ok().then_some(ruleset);
    Loaded { ruleset, diagnostics, text: source.into_text() }
}

/// Walks the tree. The ruleset counts only if nothing was reported; what was found in list files
/// comes apart.
fn read<'t>(
    tree: &'t DeTable<'t>,
    files: &dyn Files,
    report: &mut Report<'_>,
) -> (Ruleset, Diagnostics) {
    let mut root = TomlTable::new("configuration", 0, tree);
    let policy = one(&mut root, "policy", report);
    let arp = one(&mut root, "arp", report);
    let mut allowlists = many(&mut root, "allowlist", report);
    let mut blocklists = many(&mut root, "blocklist", report);
    let mut domains = many(&mut root, "domains", report);
    let mut rules = many(&mut root, "rule", report);
    root.finish(report);

    let kinds = [&mut allowlists, &mut blocklists, &mut domains, &mut rules];
    name::take(kinds.into_iter().flatten().collect(), report);
    limits::check_tables(&allowlists, &blocklists, &rules, report);
    for table in domains {
        report.error(
            table.at,
            format!("{}: [[domains]] is not supported by this version", table.title),
            "leave the table out",
        );
    }

    let lists = list::read(allowlists, blocklists, files, report);
    let ruleset = Ruleset {
        policy: policy.map(|table| policy::read_policy(table, report)).unwrap_or_default(),
        arp: arp.map(|table| policy::read_arp(table, report)).unwrap_or_default(),
        allowlists: lists.allowlists,
        blocklists: lists.blocklists,
        rules: rules.into_iter().filter_map(|table| rule::read(table, report)).collect(),
        files: lists.files,
    };
    if lists.complete {
        limits::check_prefixes(&ruleset, report);
    }
    limits::check_targets(&ruleset, report);
    (ruleset, lists.found)
}

/// A table that stands once, such as `[policy]`.
fn one<'t>(
    root: &mut TomlTable<'t>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<TomlTable<'t>> {
    let value = root.value(key)?;
    match value.value {
        DeValue::Table(entries) => Some(TomlTable::new(format!("[{key}]"), value.at, entries)),
        _ => {
            let hint = format!("write [{key}], once, and its keys below");
            root.wrong_type(key, "a table", &value, hint, report);
            None
        }
    }
}

/// Tables that stand any number of times, such as `[[rule]]`.
fn many<'t>(
    root: &mut TomlTable<'t>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Vec<TomlTable<'t>> {
    let Some(value) = root.value(key) else {
        return Vec::new();
    };
    let hint = format!("write [[{key}]], and its keys below");
    let DeValue::Array(values) = value.value else {
        root.wrong_type(key, "an array of tables", &value, hint, report);
        return Vec::new();
    };
    let mut tables = Vec::with_capacity(values.len());
    for value in values.iter().map(Value::new) {
        match value.value {
            DeValue::Table(entries) => tables.push(TomlTable::new(key, value.at, entries)),
            _ => root.wrong_type(&format!("each {key}"), "a table", &value, &hint, report),
        }
    }
    tables
}
