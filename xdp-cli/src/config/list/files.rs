//! The files that lists name: each is read once, into all lists that name it.

use std::path::Path;

use xdp_common::capacity::MAX_FILES;

use super::{Content, Draft, NamedFile, Naming, Reading};
use crate::config::file::FileKey;
use crate::config::listfile::names::{self, NameEntries, NameFindings, Skipped};
use crate::config::listfile::{self, Fault, Faults, ListEntries, content};
use crate::config::report::{HOST_BITS, Report, Words, counted, quote};
use crate::config::table::Placed;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::notation;
use crate::ruleset::domains::DomainName;

impl Reading<'_> {
    /// Notes that the list being read names a file.
    pub(super) fn name_file(&mut self, title: &str, name: Placed<&str>, report: &mut Report<'_>) {
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
        if number == MAX_FILES {
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
        MAX_FILES - self.configurations
    }

    pub(super) fn read_files(&mut self, report: &mut Report<'_>) {
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
        self.check_names(0, report);
    }

    /// Reads a file into all lists that name it: into those of prefixes, and into those of names.
    fn read_file(&mut self, number: u16, namings: &[Naming], report: &mut Report<'_>) {
        let path = &self.named[usize::from(number)].path;
        let text = self.files.read(path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            (message, error.hint())
        });
        let text = text.and_then(|bytes| {
            let of_names = namings.iter().all(|it| self.is_of_names(it));
            let of = if of_names { "names" } else { "addresses" };
            content::read(bytes).map_err(|no_list| (no_list.message(of), no_list.hint()))
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
        let (of_names, of_prefixes): (Vec<Naming>, Vec<Naming>) =
            namings.iter().partition(|naming| self.is_of_names(naming));
        if of_names.is_empty() {
            return self.read_prefixes(number, &of_prefixes, text.data, report);
        }
        if !of_prefixes.is_empty() {
            self.read_prefixes(number, &of_prefixes, text.data.clone(), report);
        }
        if !self.full {
            self.read_names(number, &of_names, text.data, report);
        }
    }

    fn is_of_names(&self, naming: &Naming) -> bool {
        matches!(self.drafts[naming.list].content, Content::Names(..))
    }

    /// Reads a file's text into the lists of prefixes that name it.
    fn read_prefixes(
        &mut self,
        number: u16,
        namings: &[Naming],
        text: Vec<u8>,
        report: &mut Report<'_>,
    ) {
        let mut entries = ListEntries::default();
        let findings = listfile::scan(&text, number, &mut entries);
        drop(text);
        if findings.is_of_hosts_file(&entries) {
            let (why, hint) = (content::HOSTS.message("addresses"), content::HOSTS.hint());
            return self.refuse(number, namings, &why, hint, report);
        }
        if !findings.yields {
            return self.refuse_without_entry(number, namings, &findings.unreadable, report);
        }
        let path = &self.named[usize::from(number)].path;
        tell_unreadable(path, findings.unreadable, namings, &self.drafts, &mut self.found);
        tell(path, findings.host_bits, HOST_BITS, &mut self.found.warnings);
        let guarded = namings.iter().map(|it| &self.drafts[it.list]);
        if let Some(list) = guarded.into_iter().find(|draft| !draft.guards.catch_all) {
            let faults = titled(findings.catch_all, &list.title);
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

    /// Reads a file's text into the lists of names that name it.
    fn read_names(
        &mut self,
        number: u16,
        namings: &[Naming],
        text: Vec<u8>,
        report: &mut Report<'_>,
    ) {
        let mut entries = NameEntries::default();
        let guarded: Vec<usize> = namings
            .iter()
            .map(|naming| naming.list)
            .filter(|list| self.drafts[*list].is_guarded_from_all())
            .collect();
        let is_meant = |name: DomainName<'_>| {
            let own = |list: &usize| self.one_label.contains(&(*list, name.wire().to_vec()));
            guarded.iter().all(own)
        };
        let findings = names::scan(&text, number, &mut entries, &is_meant);
        drop(text);
        if findings.is_of_addresses(&entries) {
            let hint = "name it in a blocklist or an allowlist, or a list of names here";
            return self.refuse(number, namings, "holds addresses, not names", hint, report);
        }
        if !findings.yields {
            let NameFindings { unreadable, skipped, .. } = &findings;
            return self.refuse_without_name(number, namings, unreadable, *skipped, report);
        }
        let path = &self.named[usize::from(number)].path;
        tell_unreadable(path, findings.unreadable, namings, &self.drafts, &mut self.found);
        self.found.warnings.extend(skipped(path, findings.skipped));
        if let Some(list) = guarded.first() {
            let title = &self.drafts[*list].title;
            let faults = titled(findings.catch_all, title);
            tell(path, faults, ALL_NAMES, &mut self.found.errors);
            // Of several lists, some may have the name themselves, and it is not known here which.
            let faults = match guarded[..] {
                [_] => titled(findings.one_label, title),
                _ => findings.one_label,
            };
            tell(path, faults, ONE_LABEL, &mut self.found.warnings);
        }

        let Some((last, others)) = namings.split_last() else { return };
        if !others.is_empty() {
            entries.fold();
        }
        for naming in others {
            self.add_names(naming.list, |list| list.extend(&entries), report);
            if self.full {
                return;
            }
        }
        self.add_names(last.list, |list| list.append(entries), report);
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
        unreadable: &Faults,
        report: &mut Report<'_>,
    ) {
        if let Some(Fault { line, message, hint, .. }) = unreadable.shown.first() {
            let why = format!("holds no entry: in line {line}, {message}");
            return self.refuse(number, namings, &why, hint, report);
        }
        let refusing = self.that_may_not_be_empty(namings);
        self.refuse(number, &refusing, "holds no entry", NO_ENTRY, report);
    }

    /// As above, for a file of names, of which lines may have been left aside.
    fn refuse_without_name(
        &mut self,
        number: u16,
        namings: &[Naming],
        unreadable: &Faults,
        skipped: Skipped,
        report: &mut Report<'_>,
    ) {
        let mut aside = left_aside(skipped);
        aside.extend(number_of(skipped.comments, "comment", ""));
        aside.extend(number_of(skipped.local, "name", " of the host itself"));
        let aside = match &aside[..] {
            [] => String::new(),
            aside => format!("; left aside: {}", aside.join(", ")),
        };
        if let Some(Fault { line, message, hint, .. }) = unreadable.shown.first() {
            let why = format!("holds no entry: in line {line}, {message}{aside}");
            return self.refuse(number, namings, &why, hint, report);
        }
        let refusing = self.that_may_not_be_empty(namings);
        let hint = if skipped.exceptions > 0 { EXCEPTIONS } else { NO_ENTRY };
        self.refuse(number, &refusing, &format!("holds no entry{aside}"), hint, report);
        if refusing.len() < namings.len() {
            let path = &self.named[usize::from(number)].path;
            self.found.warnings.extend(self::skipped(path, skipped));
        }
    }

    fn that_may_not_be_empty(&self, namings: &[Naming]) -> Vec<Naming> {
        let namings = namings.iter();
        namings.filter(|it| !self.drafts[it.list].guards.allow_empty).copied().collect()
    }
}

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

/// What a diagnostic that counts names which stand for every name calls them.
const ALL_NAMES: Words = ["name that stands for every name", "names that stand for every name"];

/// What a diagnostic that counts names of one label calls them.
const ONE_LABEL: Words = ["name of one label", "names of one label"];

/// Faults with the title of their list before them.
fn titled(mut faults: Faults, title: &str) -> Faults {
    for fault in &mut faults.shown {
        fault.message = format!("{title}: {}", fault.message);
    }
    faults
}

/// Reports lines that cannot be read: as errors if a list that names the file is strict, and as
/// warnings if one is not.
fn tell_unreadable(
    path: &Path,
    faults: Faults,
    namings: &[Naming],
    drafts: &[Draft],
    found: &mut Diagnostics,
) {
    let strict = |strict: bool| namings.iter().any(|it| drafts[it.list].strict == strict);
    if strict(true) {
        tell(path, faults.clone(), UNREADABLE, &mut found.errors);
    }
    if strict(false) {
        tell(path, faults, UNREADABLE, &mut found.warnings);
    }
}

/// What to do about a list file without any entry.
const NO_ENTRY: &str = "see whether it was fetched whole; where it is meant to be empty, its list says \
                        allow_empty = true";

/// What to do about exceptions in a list file.
const EXCEPTIONS: &str =
    "names that are to pass belong into [[domains]] of their own, with action = \"pass\"";

fn number_of(number: usize, noun: &str, which: &str) -> Option<String> {
    (number > 0).then(|| format!("{}{which}", notation::counted(number as u64, noun)))
}

/// How many lines of a file were left aside that say more than nothing, by kind.
fn left_aside(Skipped { exceptions, rules, records, .. }: Skipped) -> Vec<String> {
    let kinds = [
        number_of(exceptions, "exception", ""),
        number_of(rules, "rule", " beyond a name"),
        number_of(records, "record", " of another kind"),
    ];
    kinds.into_iter().flatten().collect()
}

/// The warning that says how many lines of a file were left aside; `None` if there are none.
fn skipped(path: &Path, skipped: Skipped) -> Option<Diagnostic> {
    let told = left_aside(skipped);
    let hint = if skipped.exceptions > 0 { EXCEPTIONS } else { "names alone are taken" };
    (!told.is_empty()).then(|| Diagnostic {
        file: path.to_owned(),
        line: 0,
        column: 0,
        message: format!("left aside: {}", told.join(", ")),
        hint: Some(hint.into()),
        excerpt: None,
    })
}
