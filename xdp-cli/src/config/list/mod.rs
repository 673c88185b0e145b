//! `[[allowlist]]`, `[[blocklist]]` and `[[domains]]`, with the files that they name.

mod domains;
pub(crate) mod files;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::file::{FileKey, Files};
use super::guard;
use super::listfile::ListEntries;
use super::listfile::names::NameEntries;
use super::prefix::{self, IpPrefix};
use super::range;
use super::report::{Report, quote};
use super::table::{Placed, TomlTable};
use crate::diagnostic::Diagnostics;
use crate::ruleset::domains::DomainList;
use crate::ruleset::{Guards, List, ListAction, Side};
use xdp_common::capacity::{MAX_LIST_ENTRIES, MAX_PREFIXES};

const SIDES: [(&str, Side); 3] =
    [("source", Side::Source), ("destination", Side::Destination), ("either", Side::Either)];
const ACTIONS: [(&str, ListAction); 2] = [("drop", ListAction::Drop), ("count", ListAction::Count)];

/// All lists, as far as they could be read.
pub(super) struct Lists {
    pub(super) allowlists: Vec<List>,
    pub(super) blocklists: Vec<List>,
    pub(super) domains: Vec<DomainList>,
    /// The place of each list's name, or else of its header: allowlists, blocklists, domains.
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
    domains: Vec<TomlTable<'_>>,
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
    for table in domains {
        reading.domains(table, report);
    }
    reading.read_files(report);
    reading.check_every_name(report);
    reading.check_guards(report);
    let places = reading.drafts.iter().map(|draft| draft.at).collect();
    let (mut allowlists, mut domains) = (Vec::new(), Vec::new());
    for draft in reading.drafts {
        match draft.content {
            Content::Prefixes(list, entries) => {
                allowlists.push(List { v4: entries.v4, v6: entries.v6, ..list });
            }
            Content::Names(list, entries) => {
                domains.push(DomainList { names: entries.names, ..list });
            }
        }
    }
    let blocklists = allowlists.split_off(allowlist_count);
    let paths = reading.named.into_iter().map(|file| file.path).collect();
    Lists {
        allowlists,
        blocklists,
        domains,
        places,
        files: paths,
        // It fits: it is at most the number of includes and one.
        configurations: reading.configurations as u16,
        found: reading.found,
        complete: !reading.full,
    }
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

/// A list whose files are not all read yet.
struct Draft {
    title: String,
    /// The place of its name, or else of its header.
    at: usize,
    strict: bool,
    guards: Guards,
    content: Content,
    /// Whether something in it was wrong and reported. Too few entries are no further mistake then.
    failed: bool,
}

/// A list without its entries, and the entries that were read so far.
enum Content {
    Prefixes(List, ListEntries),
    Names(DomainList, NameEntries),
}

/// What a table of an allowlist or a blocklist says, without its name and its place.
struct TableRead {
    /// The entries that stand in the table itself.
    entries: ListEntries,
    /// Whether mistakes in its files are errors, and not warnings.
    strict: bool,
    guards: Guards,
    failed: bool,
}

struct Reading<'f> {
    files: &'f dyn Files,
    /// How many files the configuration has; their numbers come before those of list files.
    configurations: usize,
    /// Indexed by the number of the file.
    named: Vec<NamedFile>,
    numbers: HashMap<FileKey, u16>,
    drafts: Vec<Draft>,
    /// Number of prefixes and of names of all drafts together, duplicates included.
    held: usize,
    held_names: usize,
    /// Names in tables that stand for every name, with the index of their draft.
    every_name: Vec<(usize, Placed<String>)>,
    /// Names of one label in tables, as in a message, with the index of their draft.
    one_label: HashSet<(usize, Vec<u8>)>,
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
            held_names: 0,
            every_name: Vec::new(),
            one_label: HashSet::new(),
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
            strict,
            guards,
            content: Content::Prefixes(
                List {
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
            ),
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
        let guards = guard::read(table, guard::MOST_PREFIXES, report);

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

    /// Checks the lists that were read to their ends against their guards.
    fn check_guards(&self, report: &mut Report<'_>) {
        // Lists that were cut off at a limit have been refused already.
        if self.full {
            return;
        }
        for Draft { title, at, guards, content, failed, .. } in &self.drafts {
            match content {
                _ if *failed => {}
                Content::Prefixes(_, entries) => {
                    guard::check(title, *at, guards, entries, report);
                }
                Content::Names(_, entries) => {
                    guard::check_number(title, *at, guards, || entries.len(), report);
                }
            }
        }
    }

    fn add(&mut self, list: usize, add: impl FnOnce(&mut ListEntries), report: &mut Report<'_>) {
        let Content::Prefixes(_, entries) = &mut self.drafts[list].content else { return };
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
        let Some(Draft { title, at, content, .. }) = self.drafts.get(self.last) else { return };
        if self.full {
            return;
        }
        if let Content::Prefixes(_, entries) = content
            && entries.overfull
        {
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
        self.held = 0;
        for draft in &mut self.drafts {
            if let Content::Prefixes(_, entries) = &mut draft.content {
                entries.fold();
                self.held += entries.len();
            }
        }
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

/// Warns that a prefix has bits set beyond its length, and is taken without them.
pub(super) fn warn_of_host_bits(
    title: &str,
    text: Placed<&str>,
    prefix: IpPrefix,
    report: &mut Report<'_>,
) {
    report.masked(text.at, || {
        let message = format!("{title}: {:?} has bits set beyond its length", text.value);
        (message, format!("taken as {prefix}"))
    });
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
                warn_of_host_bits(title, text, parsed.prefix, report);
            }
            return Some(Prefixes::One(parsed.prefix));
        }
        Err(error) => error,
    };
    let shown = || quote(text.value, 90);
    match range::parse(text.value) {
        Some(Ok(range)) => return Some(Prefixes::OfRange(range::prefixes(range))),
        Some(Err(error)) => report.error_with(text.at, || {
            (format!("{title}: {} {}", shown(), error.message()), error.hint().into())
        }),
        None => report.error_with(text.at, || {
            (format!("{title}: {} is not a prefix", shown()), error.hint())
        }),
    }
    None
}
