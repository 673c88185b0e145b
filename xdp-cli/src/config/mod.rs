//! From the text of a configuration to a validated ruleset.
//!
//! The tree of a configuration is walked by hand, with the place of every value, instead of through
//! serde: so all its mistakes are reported at once, each with its place and with what would be
//! right. The files that it includes and the list files that it names are read on the way. Neither
//! a kernel nor root is needed.

pub mod asked;
pub mod domain_name;
pub mod file;
pub mod listfile;
pub mod prefix;
pub mod qtype;
pub mod sources;
pub mod written;

mod define;
mod excerpt;
pub(crate) mod guard;
mod include;
mod limits;
pub(crate) mod list;
mod name;
pub(crate) mod names;
mod policy;
mod range;
mod repeated;
mod repeated_names;
pub(crate) mod report;
pub(crate) mod rule;
mod service;
mod shadowed;
mod source;
pub(crate) mod spelling;
mod syntax;
mod table;
mod taken;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeValue;

use define::Defines;
use file::{Disk, FileError, Files};
use include::{Opened, Tree};
use names::Names;
use report::Report;
use service::BackendFiles;
use source::Source;
use table::TomlTable;

use crate::diagnostic::{Diagnostic, Diagnostics, Excerpt};
use crate::ruleset::Ruleset;

/// A configuration with its list files, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// There is one if and only if there are no errors.
    pub ruleset: Option<Ruleset>,
    /// All mistakes and warnings: those in the configuration in the order of its text, then those
    /// in the files that it includes, then those in each list file.
    pub diagnostics: Diagnostics,
    /// The configuration as read; empty if it is not a readable text.
    pub text: String,
    /// The text around the place of each list, where there is a ruleset: allowlists, then blocklists,
    /// then lists of names.
    pub excerpts: Vec<Excerpt>,
}

/// Reads a configuration and all the list files that it names. `-` and `/dev/stdin` mean standard
/// input; paths in it are relative to the folder that the command runs in. `/dev/null` is an empty
/// configuration.
pub fn load(path: &Path) -> Loaded {
    load_given(path, &Disk)
}

/// Like [`load`], but reads everything except standard input from `files`.
pub fn load_given(path: &Path, files: &dyn Files) -> Loaded {
    match file::means_stdin(path) {
        true => load_from(Path::new(file::STDIN), file::stdin(), files),
        false if path == Path::new("/dev/null") => load_from(path, Ok(Vec::new()), files),
        false => load_with(path, files),
    }
}

/// Like [`load`], but reads all files from `files`. `-` is a file like any other here.
pub fn load_with(path: &Path, files: &dyn Files) -> Loaded {
    load_from(path, files.read(path), files)
}

fn load_from(path: &Path, bytes: Result<Vec<u8>, FileError>, files: &dyn Files) -> Loaded {
    let source = bytes
        .map_err(|error| Diagnostic {
            file: path.to_owned(),
            line: 0,
            column: 0,
            message: format!("the configuration cannot be read: {error}"),
            hint: Some(error.hint().into()),
            excerpt: None,
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
    let opened = Opened::new(source);
    let mut report = Report::new(opened.source());
    let trees = include::gather(&opened, files, &mut report);
    let (ruleset, excerpts, in_files) = read(&trees, files, &mut report);
    drop(trees);
    let mut diagnostics = report.finish();
    diagnostics.errors.extend(in_files.errors);
    diagnostics.warnings.extend(in_files.warnings);
    let ruleset = diagnostics.is_ok().then_some(ruleset);
    Loaded { ruleset, diagnostics, text: opened.into_source().into_text(), excerpts }
}

/// Walks the trees. The ruleset is valid only if no error was reported. The text around each list's
/// place, and what was found in list files, are returned apart.
fn read<'t>(
    trees: &'t [Tree<'t>],
    files: &dyn Files,
    report: &mut Report<'_>,
) -> (Ruleset, Vec<Excerpt>, Diagnostics) {
    let each = trees.iter().map(|tree| (tree.base, &tree.table));
    let defines = Defines::read(each, report);
    let mut tables = Tables::default();
    for tree in trees {
        let root = TomlTable::new("configuration", tree.base, tree.base, &tree.table);
        tables.take(root.with(&defines), report);
    }
    let Tables {
        mut policy,
        arp,
        settings,
        mut allowlists,
        mut blocklists,
        mut domains,
        mut rules,
        mut services,
    } = tables;

    let kinds = [&mut allowlists, &mut blocklists, &mut domains, &mut rules, &mut services];
    taken::take(kinds.into_iter().flatten().collect(), report);
    limits::check_tables(&allowlists, &blocklists, &domains, &rules, &services, report);

    let names = Names::new(files);
    let places: Vec<usize> = rules.iter().map(TomlTable::place).collect();
    let lists = list::read(allowlists, blocklists, domains, files, report);
    let passed_fragments = policy.as_mut().and_then(policy::passed_fragments);
    let mut backend_files = BackendFiles::new(files, lists.files);
    let (service_settings, services) =
        service::read(settings, services, passed_fragments, (&names, &mut backend_files), report);
    let ruleset = Ruleset {
        policy: policy.map(|table| policy::read_policy(table, report)).unwrap_or_default(),
        arp: arp.map(|table| policy::read_arp(table, report)).unwrap_or_default(),
        allowlists: lists.allowlists,
        blocklists: lists.blocklists,
        domains: lists.domains,
        rules: rules.into_iter().filter_map(|table| rule::read(table, &names, report)).collect(),
        service_settings,
        services,
        files: backend_files.into_paths(),
        configurations: lists.configurations,
    };
    if lists.complete {
        limits::check_prefixes(&ruleset, &lists.places, report);
    }
    limits::check_targets(&ruleset, report);
    // With errors, conditions and rules that are wrong are left out, and others would seem to be
    // shadowed. The same goes for lists.
    if !report.has_errors() && lists.found.is_ok() {
        shadowed::warn(&ruleset.rules, &places, report);
        let (allowlists, others) = lists.places.split_at(ruleset.allowlists.len());
        let (blocklists, domains) = others.split_at(ruleset.blocklists.len());
        repeated::warn("allowlist", &ruleset.allowlists, allowlists, report);
        repeated::warn("blocklist", &ruleset.blocklists, blocklists, report);
        repeated_names::warn(&ruleset.domains, domains, report);
    }
    let excerpts = lists.places.iter().map(|at| report.excerpt(*at)).collect();
    (ruleset, excerpts, lists.found)
}

/// The tables of all files, in the order in which they count.
#[derive(Default)]
struct Tables<'t> {
    policy: Option<TomlTable<'t>>,
    arp: Option<TomlTable<'t>>,
    allowlists: Vec<TomlTable<'t>>,
    blocklists: Vec<TomlTable<'t>>,
    domains: Vec<TomlTable<'t>>,
    rules: Vec<TomlTable<'t>>,
    settings: Option<TomlTable<'t>>,
    services: Vec<TomlTable<'t>>,
}

impl<'t> Tables<'t> {
    /// Adds the tables of a file.
    fn take(&mut self, mut root: TomlTable<'t>, report: &mut Report<'_>) {
        // These keys were read before; asking for them makes them known.
        root.value("include");
        root.value("define");
        one(&mut root, "policy", &mut self.policy, report);
        one(&mut root, "arp", &mut self.arp, report);
        self.allowlists.extend(many(&mut root, "allowlist", report));
        self.blocklists.extend(many(&mut root, "blocklist", report));
        self.domains.extend(many(&mut root, "domains", report));
        self.rules.extend(many(&mut root, "rule", report));
        one(&mut root, "services", &mut self.settings, report);
        self.services.extend(many(&mut root, "service", report));
        let of_service = |key: &str| {
            let header = match key {
                "check" => "[service.check]",
                "backend" => "[[service.backend]]",
                _ => return None,
            };
            Some(format!("it belongs to a service: write {header}, below its [[service]]"))
        };
        root.finish_with(of_service, report);
    }
}

/// Reads a table that may stand once in all files together, such as `[policy]`.
fn one<'t>(
    root: &mut TomlTable<'t>,
    key: &'static str,
    present: &mut Option<TomlTable<'t>>,
    report: &mut Report<'_>,
) {
    let Some(value) = root.value(key) else { return };
    let DeValue::Table(entries) = value.value else {
        let hint = format!("write [{key}], once, and its keys below");
        return root.wrong_type(key, "a table", &value, hint, report);
    };
    let Some(first) = present else {
        *present = Some(root.inner(format!("[{key}]"), value.at, entries));
        return;
    };
    let line = report.line_seen_from(first.at, value.at);
    let hint = "over all files that are included, it stands once: write its keys there";
    report.error(value.at, format!("[{key}] stands in {line} already"), hint);
}

/// Reads tables that may stand any number of times, such as `[[rule]]`. `header` is what stands in the brackets: the
/// key, behind the names of the tables that it is in.
fn many<'t>(
    root: &mut TomlTable<'t>,
    header: &'static str,
    report: &mut Report<'_>,
) -> Vec<TomlTable<'t>> {
    let key = header.rsplit_once('.').map_or(header, |(_, key)| key);
    let Some(value) = root.value(key) else {
        return Vec::new();
    };
    let hint = format!("write [[{header}]], and its keys below");
    if !matches!(value.value, DeValue::Array(_)) {
        root.wrong_type(key, "an array of tables", &value, hint, report);
        return Vec::new();
    }
    let values = value.one_or_more();
    let mut tables = Vec::with_capacity(values.len());
    for value in values {
        match value.value {
            DeValue::Table(entries) => tables.push(root.inner(key, value.at, entries)),
            _ => root.wrong_type(&format!("each {key}"), "a table", &value, &hint, report),
        }
    }
    tables
}
