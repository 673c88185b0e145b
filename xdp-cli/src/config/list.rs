//! `[[allowlist]]` and `[[blocklist]]`, with the files that they name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::file::{FileKey, Files};
use super::guard;
use super::listfile::content;
use super::listfile::{self, Fault, Faults, Findings, ListEntries};
use super::prefix::{self, IpPrefix};
use super::range;
use super::report::{HOST_BITS, Report, Words, counted, quote};
use super::table::{Placed, TomlTable};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ruleset::{Guards, List, ListAction, Side};
use xdp_common::capacity::{MAX_LIST_ENTRIES, MAX_PREFIXES};

/// The greatest number of list files beside a configuration of one file: entries name their file in
/// 16 bits, and the configuration is number 0.
const MAX_FILES: usize = u16::MAX as usize;

const SIDES: [(&str, Side); 3] =
    [("source", Side::Source), ("destination", Side::Destination), ("either", Side::Either)];
const ACTIONS: [(&str, ListAction); 2] = [("drop", ListAction::Drop), ("count", ListAction::Count)];

/// All lists, as far as they could be read.
pub(super) struct Lists {
    pub(super) allowlists: Vec<List>,
    pub(super) blocklists: Vec<List>,
    /// The place of each list's name, or else of its header; allowlists first.
    pub(super) places: Vec<usize>,
    /// The files that entries index by `file`: those of the configuration, then list files.
    pub(super) files: Vec<PathBuf>,
    /// How many of these are files of the configuration.
    pub(super) configurations: u16,
    /// Mistakes and warnings in list files.
    pub(super) found: Diagnostics,
    /// Whether all lists were read to their ends, not just up to a limit.
    pub(super) complete: bool,
}

/// Reads the tables, and then the files that they name: each once, into all lists that name it.
pub(super) fn read(
    allowlists: Vec<TomlTable<'_>>,
    blocklists: Vec<TomlTable<'_>>,
    files: &dyn Files,
    report: &mut Report<'_>,
) -> Lists {
    let mut reading = Reading::new(files, report);
    let allowlist_count = allowlists.len();
    for table in allowlists {
        reading.allowlist(table, report);
    }
    for table in blocklists {
        reading.blocklist(table, report);
    }
    reading.read_files(report);
    reading.check_guards(report);
    let places = reading.drafts.iter().map(|draft| draft.at).collect();
    let mut allowlists: Vec<List> = reading.drafts.into_iter().map(Draft::finish).collect();
    let blocklists = allowlists.split_off(allowlist_count);
    let paths = reading.named.into_iter().map(|file| file.path).collect();
    Lists {
        allowlists,
        blocklists,
        places,
        files: paths,
        // It fits: it is at most the number of includes and one.
        configurations: reading.configurations as u16,
        found: reading.found,
        complete: !reading.full,
    }
}

/// A list whose files are not all read yet.
struct Draft {
    title: String,
    /// The place of its name, or else of its header.
    at: usize,
    /// The list without its entries.
    list: List,
    entries: ListEntries,
    /// Whether something in it was wrong and reported. Too few entries are no further mistake then.
    failed: bool,
}

impl Draft {
    fn finish(self) -> List {
        List { v4: self.entries.v4, v6: self.entries.v6, ..self.list }
    }
}

/// What a list's table says, without its name and its place.
struct TableRead {
    /// The entries that stand in the table itself.
    entries: ListEntries,
    /// Whether mistakes in its files are errors, and not warnings.
    strict: bool,
    guards: Guards,
    failed: bool,
}

/// A file, and which lists name it.
struct NamedFile {
    path: PathBuf,
    namings: Vec<Naming>,
}

#[derive(Clone, Copy)]
struct Naming {
    /// Index into the drafts.
    list: usize,
    at: usize,
}

struct Reading<'f> {
    files: &'f dyn Files,
    /// How many files the configuration has; their numbers come before those of list files.
    configurations: usize,
    /// Indexed by the number of the file.
    named: Vec<NamedFile>,
    numbers: HashMap<FileKey, u16>,
    drafts: Vec<Draft>,
    /// Number of entries of all drafts together, duplicates included.
    held: usize,
    /// The draft that was last added to.
    last: usize,
    found: Diagnostics,
    /// Whether a limit was passed: then nothing more is read.
    full: bool,
}

impl<'f> Reading<'f> {
    fn new(files: &'f dyn Files, report: &Report<'_>) -> Self {
        let paths = report.paths().map(Path::to_owned);
        let named: Vec<_> = paths.map(|path| NamedFile { path, namings: Vec::new() }).collect();
        Self {
            files,
            configurations: named.len(),
            named,
            numbers: HashMap::new(),
            drafts: Vec::new(),
            held: 0,
            last: 0,
            found: Diagnostics::default(),
            full: false,
        }
    }

    fn allowlist(&mut self, mut table: TomlTable<'_>, report: &mut Report<'_>) {
        let table_read = self.read_table(&mut table, report);
        self.draft(table, (Side::Source, ListAction::default()), table_read, report);
    }

    fn blocklist(&mut self, mut table: TomlTable<'_>, report: &mut Report<'_>) {
        let table_read = self.read_table(&mut table, report);
        let side = table.word("match", &SIDES, report).unwrap_or_default();
        let action = table.word("action", &ACTIONS, report).unwrap_or_default();
        self.draft(table, (side, action), table_read, report);
    }

    fn draft(
        &mut self,
        table: TomlTable<'_>,
        (side, action): (Side, ListAction),
        TableRead { entries, strict, guards, failed }: TableRead,
        report: &mut Report<'_>,
    ) {
        self.held += entries.len();
        let (line, column) = report.place(table.place());
        self.drafts.push(Draft {
            title: table.title.clone(),
            at: table.place(),
            list: List {
                name: table.name.map(|name| name.value.to_owned()).unwrap_or_default(),
                file: report.file(table.place()),
                line,
                column,
                side,
                action,
                strict,
                guards,
                v4: Vec::new(),
                v6: Vec::new(),
            },
            entries,
            failed,
        });
        table.finish(report);
        self.last = self.drafts.len() - 1;
        self.check(SLACK, report);
    }

    /// Reads the keys that allowlists and blocklists share. Notes which files the list names.
    fn read_table(&mut self, table: &mut TomlTable<'_>, report: &mut Report<'_>) -> TableRead {
        let hint = "write prefixes, such as [\"203.0.113.0/24\"]";
        let (prefixes, is_partial) = table.strings_and_names("prefixes", hint, report);
        let files = table.strings("files", "write paths, such as [\"lists/drop.netset\"]", report);
        let strict = table.boolean("strict", report).unwrap_or(false);
        let guards = guard::read(table, report);

        // Values of the wrong type have been reported; the list is not reported as empty too.
        let wrong = |key| table.has(key) && !table.is_empty_array(key);
        let nothing = prefixes.is_empty() && files.is_empty();
        let wrong = wrong("prefixes") || wrong("files");
        if nothing && !guards.allow_empty && !wrong {
            report.missing(
                table.place(),
                format!("{}: neither prefixes nor files: it can never match", table.title),
                "add prefixes = [\"203.0.113.0/24\"] or files = [\"lists/drop.netset\"]; where that \
                 is meant, allow_empty = true",
            );
        }

        let mut failed = is_partial || (nothing && (wrong || !guards.allow_empty));
        let mut entries = ListEntries::default();
        for text in prefixes {
            let Some(read) = read_prefixes(&table.title, text, report) else {
                failed = true;
                continue;
            };
            if let Some(prefix) = read.iter().find(|prefix| prefix.length() == 0)
                && !guards.catch_all
            {
                report.error(
                    text.at,
                    format!("{}: {:?} {}", table.title, text.value, prefix.family().all_of_it()),
                    "leave it out; where it is meant, say catch_all = true",
                );
            }
            // Once a limit is passed, the rest is only checked for mistakes.
            if self.full || entries.overfull {
                continue;
            }
            let (file, line) = (report.file(text.at), report.line(text.at));
            for prefix in read.iter() {
                match *prefix {
                    IpPrefix::V4(prefix) => entries.push_v4(prefix, file, line),
                    IpPrefix::V6(prefix) => entries.push_v6(prefix, file, line),
                }
            }
        }
        for name in files {
            self.name_file(&table.title, name, report);
        }
        TableRead { entries, strict, guards, failed }
    }

    /// Notes that the list being read names a file.
    fn name_file(&mut self, title: &str, name: Placed<&str>, report: &mut Report<'_>) {
        if name.value.is_empty() {
            report.error(
                name.at,
                format!("{title}: \"\" is not a path"),
                "write a path, relative to the configuration's folder or absolute",
            );
            return;
        }
        let folder = report.path(name.at).parent().unwrap_or(Path::new(""));
        let path = folder.join(name.value);
        let key = FileKey::of(self.files, &path);
        let naming = Naming { list: self.drafts.len(), at: name.at };
        if let Some(number) = self.numbers.get(&key) {
            let namings = &mut self.named[usize::from(*number)].namings;
            // A list that names a file twice gets its entries once.
            if namings.last().is_none_or(|last| last.list != naming.list) {
                namings.push(naming);
            }
            return;
        }
        let number = self.named.len();
        // Reported once, at the first file too many.
        if number == MAX_FILES + 1 {
            report.error(
                name.at,
                format!("{title}: more than {} list files", self.most_files()),
                format!("{} different files are the most", self.most_files()),
            );
            self.named.push(NamedFile { path, namings: Vec::new() });
        } else if let Ok(number) = u16::try_from(number) {
            self.named.push(NamedFile { path, namings: vec![naming] });
            self.numbers.insert(key, number);
        }
    }

    /// How many list files there may be, beside the files of the configuration.
    fn most_files(&self) -> usize {
        MAX_FILES + 1 - self.configurations
    }

    fn read_files(&mut self, report: &mut Report<'_>) {
        // The number of configuration files fits 16 bits: it is at most that of includes and one.
        for number in self.configurations as u16..=u16::MAX {
            let Some(file) = self.named.get_mut(usize::from(number)) else { break };
            if self.full {
                break;
            }
            let namings = std::mem::take(&mut file.namings);
            self.read_file(number, &namings, report);
        }
        self.check(0, report);
    }

    /// Reads a file into all lists that name it.
    fn read_file(&mut self, number: u16, namings: &[Naming], report: &mut Report<'_>) {
        let path = &self.named[usize::from(number)].path;
        let text = self.files.read(path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            (message, error.hint())
        });
        let text = text.and_then(|bytes| {
            content::read(bytes).map_err(|no_list| (no_list.message(), no_list.hint()))
        });
        let text = match text {
            Ok(text) => text,
            Err((message, hint)) => return self.refuse(number, namings, &message, hint, report),
        };
        if text.tail {
            self.found.warnings.push(Diagnostic {
                file: path.clone(),
                line: 0,
                column: 0,
                message: "what follows its gzip data is not gzip's, and was left aside".into(),
                hint: Some("`gzip -t` says so too; fetch the file again".into()),
                excerpt: None,
            });
        }
        let mut entries = ListEntries::default();
        let findings = listfile::scan(&text.data, number, &mut entries);
        drop(text);
        if findings.is_of_hosts_file(&entries) {
            let (why, hint) = (content::HOSTS.message(), content::HOSTS.hint());
            return self.refuse(number, namings, &why, hint, report);
        }
        if !findings.yields {
            return self.refuse_without_entry(number, namings, findings, report);
        }
        let path = &self.named[usize::from(number)].path;
        let strict =
            |strict: bool| namings.iter().any(|n| self.drafts[n.list].list.strict == strict);
        if strict(true) {
            let rest = findings.unreadable.clone();
            tell(path, rest, UNREADABLE, &mut self.found.errors);
        }
        if strict(false) {
            tell(path, findings.unreadable, UNREADABLE, &mut self.found.warnings);
        }
        tell(path, findings.host_bits, HOST_BITS, &mut self.found.warnings);
        let guarded = namings.iter().map(|it| &self.drafts[it.list]);
        if let Some(list) = guarded.into_iter().find(|draft| !draft.list.guards.catch_all) {
            let mut faults = findings.catch_all;
            for fault in &mut faults.shown {
                fault.message = format!("{}: {}", list.title, fault.message);
            }
            tell(path, faults, CATCH_ALL, &mut self.found.errors);
        }

        let Some((last, others)) = namings.split_last() else { return };
        if !others.is_empty() {
            entries.fold();
        }
        for naming in others {
            self.add(naming.list, |list| list.extend(&entries), report);
            if self.full {
                return;
            }
        }
        self.add(last.list, |list| list.append(entries), report);
    }

    /// Reports to all lists that name a file why nothing is taken from it.
    fn refuse(
        &mut self,
        number: u16,
        namings: &[Naming],
        why: &str,
        hint: &str,
        report: &mut Report<'_>,
    ) {
        let shown = quote(&self.named[usize::from(number)].path.to_string_lossy(), 200);
        for Naming { list, at } in namings {
            let draft = &mut self.drafts[*list];
            draft.failed = true;
            report.error(*at, format!("{}: the list file {shown} {why}", draft.title), hint);
        }
    }

    /// Refuses a file without any entry. If it has lines that cannot be read, it is refused even by
    /// a list that may be empty.
    fn refuse_without_entry(
        &mut self,
        number: u16,
        namings: &[Naming],
        findings: Findings,
        report: &mut Report<'_>,
    ) {
        if let Some(Fault { line, message, hint, .. }) = findings.unreadable.shown.first() {
            let why = format!("holds no entry: in line {line}, {message}");
            return self.refuse(number, namings, &why, hint, report);
        }
        let refusing: Vec<Naming> = namings
            .iter()
            .filter(|naming| !self.drafts[naming.list].list.guards.allow_empty)
            .copied()
            .collect();
        let hint = "see whether it was fetched whole; where it is meant to be empty, its list says \
                    allow_empty = true";
        self.refuse(number, &refusing, "holds no entry", hint, report);
    }

    /// Checks the lists that were read to their ends against their guards.
    fn check_guards(&self, report: &mut Report<'_>) {
        // Lists that were cut off at a limit have been refused already.
        if self.full {
            return;
        }
        for Draft { title, at, list, entries, failed, .. } in &self.drafts {
            if !failed {
                guard::check(title, *at, &list.guards, entries, report);
            }
        }
    }

    fn add(&mut self, list: usize, add: impl FnOnce(&mut ListEntries), report: &mut Report<'_>) {
        let entries = &mut self.drafts[list].entries;
        self.held -= entries.len();
        add(entries);
        self.held += entries.len();
        self.last = list;
        self.check(SLACK, report);
    }

    /// Stops reading if the list that was last added to, or all lists together, hold too much.
    /// Duplicates inside a list do not count; they are removed only once there are more than
    /// `slack` entries too many.
    fn check(&mut self, slack: usize, report: &mut Report<'_>) {
        let Some(Draft { title, at, entries, .. }) = self.drafts.get(self.last) else { return };
        if self.full {
            return;
        }
        if entries.overfull {
            self.full = true;
            let (number, family) = match (entries.v4.len(), entries.v6.len()) {
                (v4, v6) if v4 > v6 => (v4, "IPv4"),
                (_, v6) => (v6, "IPv6"),
            };
            report.error(
                *at,
                format!(
                    "{title}: at least {number} {family} prefixes, {MAX_PREFIXES} are the most"
                ),
                "leave entries out, or merge neighbouring prefixes",
            );
            return;
        }
        if self.held <= MAX_LIST_ENTRIES + slack {
            return;
        }
        self.drafts.iter_mut().for_each(|draft| draft.entries.fold());
        self.held = self.drafts.iter().map(|draft| draft.entries.len()).sum();
        if self.held > MAX_LIST_ENTRIES {
            self.full = true;
            let Draft { title, at, .. } = &self.drafts[self.last];
            report.error(
                *at,
                format!(
                    "{title}: with it, all lists together have at least {} entries, \
                     {MAX_LIST_ENTRIES} are the most",
                    self.held
                ),
                "a prefix counts once in each list that has it: put what several lists share into \
                 one list",
            );
        }
    }
}

/// How many entries too many may be held before duplicates are removed. Without this, they would be
/// searched again after each of many small files.
const SLACK: usize = MAX_PREFIXES;

/// What a diagnostic that counts lines which are no entries calls them.
pub(crate) const UNREADABLE: Words = ["line that cannot be read", "lines that cannot be read"];

/// What a diagnostic that counts entries which hold everything calls them.
const CATCH_ALL: Words = ["entry that holds every address", "entries that hold every address"];

/// Turns faults in a list file into diagnostics; one more counts those that are not shown.
pub(crate) fn tell(path: &Path, faults: Faults, rest: Words, found: &mut Vec<Diagnostic>) {
    let more = faults.total - faults.shown.len();
    found.extend(faults.shown.into_iter().map(|Fault { line, column, message, hint }| {
        let hint = Some(hint);
        Diagnostic { file: path.to_owned(), line, column, message, hint, excerpt: None }
    }));
    found.extend(counted(path, more, rest));
}

/// The prefixes that one value in a configuration stands for.
pub(super) enum Prefixes {
    One(IpPrefix),
    OfRange(Vec<IpPrefix>),
}

impl Prefixes {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, IpPrefix> {
        match self {
            Self::One(prefix) => std::slice::from_ref(prefix).iter(),
            Self::OfRange(prefixes) => prefixes.iter(),
        }
    }
}

/// Reads a prefix or a range in a configuration. Bits beyond a prefix's length are a warning.
pub(super) fn read_prefixes(
    title: &str,
    text: Placed<&str>,
    report: &mut Report<'_>,
) -> Option<Prefixes> {
    let error = match prefix::parse(text.value) {
        Ok(parsed) => {
            if parsed.host_bits {
                report.masked(
                    text.at,
                    format!("{title}: {:?} has bits set beyond its length", text.value),
                    format!("taken as {}", parsed.prefix),
                );
            }
            return Some(Prefixes::One(parsed.prefix));
        }
        Err(error) => error,
    };
    let shown = quote(text.value, 90);
    match range::parse(text.value) {
        Some(Ok(range)) => return Some(Prefixes::OfRange(range::prefixes(range))),
        Some(Err(error)) => {
            report.error(text.at, format!("{title}: {shown} {}", error.message()), error.hint());
        }
        None => {
            report.error(text.at, format!("{title}: {shown} is not a prefix"), error.hint());
        }
    }
    None
}
