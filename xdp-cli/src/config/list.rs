//! `[[allowlist]]` and `[[blocklist]]`, with the files that they name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::ReadFile;
use super::listfile::{self, Fault, Faults, ListEntries};
use super::prefix::{self, IpPrefix};
use super::report::{HOST_BITS, Report, counted, quote};
use super::table::{Placed, TomlTable};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ruleset::{List, ListAction, Side};
use xdp_common::capacity::MAX_PREFIXES;

/// Most list files; entries name their origin in 16 bits, and the configuration is the first.
const MAX_FILES: usize = u16::MAX as usize;

const SIDES: [(&str, Side); 3] =
    [("source", Side::Source), ("destination", Side::Destination), ("either", Side::Either)];
const ACTIONS: [(&str, ListAction); 2] = [("drop", ListAction::Drop), ("count", ListAction::Count)];

/// What the lists share: their files, and what was found in those.
pub(super) struct Lists<'f> {
    folder: PathBuf,
    read_file: ReadFile<'f>,
    files: Vec<PathBuf>,
    numbers: HashMap<PathBuf, u16>,
    /// Files whose troubles were told, as strict or not.
    told: HashSet<(u16, bool)>,
    found: Diagnostics,
    /// Whether a list was too large to go on.
    overfull: bool,
}

impl<'f> Lists<'f> {
    pub(super) fn new(configuration: &Path, read_file: ReadFile<'f>) -> Self {
        Self {
            folder: configuration.parent().map(Path::to_owned).unwrap_or_default(),
            read_file,
            files: vec![configuration.to_owned()],
            numbers: HashMap::new(),
            told: HashSet::new(),
            found: Diagnostics::default(),
            overfull: false,
        }
    }

    /// The files that origins point into, and what was found in them.
    pub(super) fn finish(self) -> (Vec<PathBuf>, Diagnostics) {
        (self.files, self.found)
    }

    pub(super) fn read_allowlist(
        &mut self,
        mut table: TomlTable<'_>,
        report: &mut Report<'_>,
    ) -> List {
        let entries = self.read_entries(&mut table, report);
        let list = new_list(&table, Side::Source, ListAction::default(), entries, report);
        table.finish(report);
        list
    }

    pub(super) fn read_blocklist(
        &mut self,
        mut table: TomlTable<'_>,
        report: &mut Report<'_>,
    ) -> List {
        let entries = self.read_entries(&mut table, report);
        let side = table.word("match", &SIDES, report).unwrap_or_default();
        let action = table.word("action", &ACTIONS, report).unwrap_or_default();
        let list = new_list(&table, side, action, entries, report);
        table.finish(report);
        list
    }

    fn read_entries(&mut self, table: &mut TomlTable<'_>, report: &mut Report<'_>) -> ListEntries {
        let prefixes =
            table.strings("prefixes", "write prefixes, such as [\"203.0.113.0/24\"]", report);
        let files = table.strings("files", "write paths, such as [\"lists/drop.netset\"]", report);
        let strict = table.boolean("strict", report).unwrap_or(false);

        // Values of the wrong type have been reported, and are not nothing.
        let wrong = |key| table.has(key) && !table.is_empty_array(key);
        if prefixes.is_empty() && files.is_empty() && !wrong("prefixes") && !wrong("files") {
            report.missing(
                table.name.map_or(table.at, |name| name.at),
                format!("{}: neither prefixes nor files: it can never match", table.title),
                "add prefixes = [\"203.0.113.0/24\"] or files = [\"lists/drop.netset\"]",
            );
        }

        let mut entries = ListEntries::default();
        for text in prefixes {
            if let Some(prefix) = read_prefix(&table.title, text, report) {
                let line = report.source().line(text.at);
                match prefix {
                    IpPrefix::V4(prefix) => entries.push_v4(prefix, 0, line),
                    IpPrefix::V6(prefix) => entries.push_v6(prefix, 0, line),
                }
            }
        }
        let mut read = HashSet::new();
        for name in files {
            if let Some(number) = self.number(&table.title, name, report)
                // A second reading would add nothing.
                && read.insert(number)
            {
                self.read_file(number, &table.title, name, strict, &mut entries, report);
            }
        }
        if entries.overfull && !self.overfull {
            self.overfull = true;
            let (number, family) = match (entries.v4.len(), entries.v6.len()) {
                (v4, v6) if v4 > v6 => (v4, "IPv4"),
                (_, v6) => (v6, "IPv6"),
            };
            report.error(
                table.name.map_or(table.at, |name| name.at),
                format!(
                    "{}: at least {number} {family} prefixes, {MAX_PREFIXES} are the most",
                    table.title
                ),
                "leave entries out, or merge neighbouring prefixes",
            );
        }
        entries
    }

    /// Whether a list was too large to go on; the other lists are not complete then.
    pub(super) fn is_overfull(&self) -> bool {
        self.overfull
    }

    /// The number of a file among those of the ruleset.
    fn number(&mut self, title: &str, name: Placed<&str>, report: &mut Report<'_>) -> Option<u16> {
        if name.value.is_empty() {
            report.error(
                name.at,
                format!("{title}: \"\" is not a path"),
                "write a path, relative to the configuration's folder or absolute",
            );
            return None;
        }
        let path = self.folder.join(name.value);
        if let Some(number) = self.numbers.get(&path) {
            return Some(*number);
        }
        let Ok(number) = u16::try_from(self.files.len()) else {
            // Told at the first one alone.
            if self.files.len() == MAX_FILES + 1 {
                self.files.push(path);
                report.error(
                    name.at,
                    format!("{title}: more than {MAX_FILES} list files"),
                    format!("{MAX_FILES} different files are the most"),
                );
            }
            return None;
        };
        self.files.push(path.clone());
        self.numbers.insert(path, number);
        Some(number)
    }

    fn read_file(
        &mut self,
        number: u16,
        title: &str,
        name: Placed<&str>,
        strict: bool,
        entries: &mut ListEntries,
        report: &mut Report<'_>,
    ) {
        let path = &self.files[usize::from(number)];
        let bytes = match (self.read_file)(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let shown = quote(&path.to_string_lossy(), 200);
                report.error(
                    name.at,
                    format!("{title}: the list file {shown} cannot be read: {error}"),
                    error.hint(),
                );
                return;
            }
        };
        // Refused already; what is left is to find files that cannot be read.
        if self.overfull {
            return;
        }
        let findings = listfile::scan(&bytes, number, entries);
        if self.told.insert((number, strict)) {
            let severe = if strict { &mut self.found.errors } else { &mut self.found.warnings };
            tell(path, findings.unreadable, "lines that cannot be read", severe);
            let milder = &mut self.found.warnings;
            tell(path, findings.host_bits, HOST_BITS, milder);
        }
        if !findings.yields && !bytes.is_empty() && !entries.overfull {
            let shown = quote(&path.to_string_lossy(), 200);
            report.error(
                name.at,
                format!("{title}: the list file {shown} is not empty and holds no entry"),
                "a list file has an address, a prefix or a range a line",
            );
        }
    }
}

/// Turns what was found in a list file into diagnostics, the rest in one that counts.
pub(crate) fn tell(path: &Path, faults: Faults, rest: &str, found: &mut Vec<Diagnostic>) {
    let more = faults.total - faults.shown.len();
    found.extend(faults.shown.into_iter().map(|Fault { line, column, message, hint }| {
        Diagnostic { file: path.to_owned(), line, column, message, hint: Some(hint) }
    }));
    found.extend(counted(path, more, rest));
}

fn new_list(
    table: &TomlTable<'_>,
    side: Side,
    action: ListAction,
    entries: ListEntries,
    report: &Report<'_>,
) -> List {
    List {
        name: table.name.map(|name| name.value.to_owned()).unwrap_or_default(),
        line: table.line(report),
        side,
        action,
        v4: entries.v4,
        v6: entries.v6,
    }
}

/// A prefix of the configuration itself. Bits beyond its length are a warning.
pub(super) fn read_prefix(
    title: &str,
    text: Placed<&str>,
    report: &mut Report<'_>,
) -> Option<IpPrefix> {
    match prefix::parse(text.value) {
        Ok(parsed) => {
            if parsed.host_bits {
                report.masked(
                    text.at,
                    format!("{title}: {:?} has bits set beyond its length", text.value),
                    format!("taken as {}", parsed.prefix),
                );
            }
            Some(parsed.prefix)
        }
        Err(error) => {
            let message = format!("{title}: {} is not a prefix", quote(text.value, 90));
            report.error(text.at, message, error.hint());
            None
        }
    }
}
