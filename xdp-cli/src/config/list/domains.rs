//! `[[domains]]`: the names that stand in the table, and what is done about them.

use super::{Content, Draft, Reading, SLACK};
use crate::config::domain_name::NameBuffer;
use crate::config::listfile::names::NameEntries;
use crate::config::report::{Report, quote};
use crate::config::table::{Placed, TomlTable};
use crate::config::{guard, qtype};
use crate::notation::grouped;
use crate::ruleset::domains::{DomainAction, DomainList, DomainName, ListedName, Names};
use xdp_common::capacity::MAX_NAMES;

impl Reading<'_> {
    pub(super) fn domains(&mut self, mut table: TomlTable<'_>, report: &mut Report<'_>) {
        let hint = "write names, such as [\"example.org\"]";
        let names = table.strings("names", hint, report);
        let files = table.strings("files", "write paths, such as [\"lists/hosts.txt\"]", report);
        let words = DomainAction::ALL.map(|action| (action.as_str(), action));
        let action = table.word("action", &words, report).unwrap_or_default();
        let qtypes = read_qtypes(&mut table, report);
        let strict = table.boolean("strict", report).unwrap_or(false);
        let guards = guard::read(&mut table, MAX_NAMES as u32, report);

        // Values of the wrong type have been reported; the list is not reported as empty too.
        let wrong = |key| table.has(key) && !table.is_empty_array(key);
        let nothing = names.is_empty() && files.is_empty();
        let wrong = wrong("names") || wrong("files");
        if nothing && !guards.allow_empty && !wrong {
            report.missing(
                table.place(),
                format!("{}: neither names nor files: it can never match", table.title),
                "add names = [\"example.org\"] or files = [\"lists/hosts.txt\"]; where that is \
                 meant, allow_empty = true",
            );
        }
        let mut failed = nothing && (wrong || !guards.allow_empty);
        let mut entries = NameEntries::default();
        let mut buffer = NameBuffer::default();
        let mut all_names = None;
        for text in names {
            if let Err(error) = buffer.read(text.value.as_bytes()) {
                let shown = quote(text.value, 90);
                let message = format!("{}: {shown} {}", table.title, error.message());
                report.error(text.at, message, error.hint());
                failed = true;
                continue;
            }
            let (name, below_only) = (buffer.name(), buffer.below_only());
            if name == DomainName::ROOT {
                all_names.get_or_insert(text);
            }
            if name.parent() == Some(DomainName::ROOT) {
                self.one_label.insert((self.drafts.len(), name.wire().to_vec()));
            }
            if !self.full && !entries.overfull {
                let (file, line) = (report.file(text.at), report.line(text.at));
                entries.push(ListedName { name, below_only, file, line });
            }
        }
        for name in files {
            self.name_file(&table.title, name, report);
        }
        self.held_names += entries.len();
        let (line, column) = report.place(table.place());
        let list = DomainList {
            name: table.name.map(|name| name.value.to_owned()).unwrap_or_default(),
            file: report.file(table.place()),
            line,
            column,
            action,
            qtypes,
            strict,
            guards,
            names: Names::default(),
        };
        let draft = Draft {
            title: table.title.clone(),
            at: table.place(),
            strict,
            guards,
            content: Content::Names(list, entries),
            failed,
        };
        if let Some(Placed { at, value }) = all_names {
            let value = value.to_owned();
            self.every_name.push((self.drafts.len(), Placed { at, value }));
        }
        self.drafts.push(draft);
        table.finish(report);
        self.last = self.drafts.len() - 1;
        self.check_names(SLACK, report);
    }

    /// Refuses names in tables that stand for every name, where nothing shows that they are meant.
    pub(super) fn check_every_name(&self, report: &mut Report<'_>) {
        // With names that are excepted for all types, it is plain that all others are to be refused. Not so for a name in
        // a file, which comes from elsewhere.
        let is_exception = |draft: &Draft| match &draft.content {
            Content::Names(list, entries) => {
                list.action == DomainAction::Pass && list.qtypes.is_none() && !entries.is_empty()
            }
            Content::Prefixes(..) => false,
        };
        if self.drafts.iter().any(is_exception) {
            return;
        }
        for (number, Placed { at, value }) in &self.every_name {
            let draft = &self.drafts[*number];
            if draft.is_guarded_from_all() {
                report.error(
                    *at,
                    format!("{}: {} stands for every name", draft.title, quote(value, 90)),
                    "leave it out, narrow the list by qtype, or add [[domains]] of exceptions, with \
                     action = \"pass\"; where all names are meant, say catch_all = true",
                );
            }
        }
    }

    pub(super) fn add_names(
        &mut self,
        list: usize,
        add: impl FnOnce(&mut NameEntries),
        report: &mut Report<'_>,
    ) {
        let Content::Names(_, entries) = &mut self.drafts[list].content else { return };
        self.held_names -= entries.len();
        add(entries);
        self.held_names += entries.len();
        self.last = list;
        self.check_names(SLACK, report);
    }

    /// Stops reading if all lists of names together hold too much. Duplicates inside a list do not
    /// count; they are removed once there are more than `slack` names too many, and with a `slack` of
    /// 0 in any case.
    pub(super) fn check_names(&mut self, slack: usize, report: &mut Report<'_>) {
        let is_overfull = self.drafts.get(self.last).is_some_and(
            |draft| matches!(&draft.content, Content::Names(_, entries) if entries.overfull),
        );
        if self.full || (slack > 0 && !is_overfull && self.held_names <= MAX_NAMES + slack) {
            return;
        }
        self.held_names = 0;
        let mut over = None;
        for draft in &mut self.drafts {
            if let Content::Names(_, entries) = &mut draft.content {
                entries.fold();
                self.held_names += entries.len();
                if self.held_names > MAX_NAMES && over.is_none() {
                    over = Some((draft.title.clone(), draft.at));
                }
            }
        }
        let Some((title, at)) = over else { return };
        self.full = true;
        report.error(
            at,
            format!(
                "{title}: with it, all domains together have at least {} names, {} are the most",
                grouped(self.held_names as u64),
                grouped(MAX_NAMES as u64)
            ),
            "leave out names whose parents are listed: a name stands for all below it",
        );
    }
}

impl Draft {
    /// Whether a name that stands for every name is refused: it would have the list decide about all
    /// of the Domain Name System, which a mistake or a forged list file could do. A list of some
    /// question types only, or one whose names pass, cuts nobody off.
    pub(super) fn is_guarded_from_all(&self) -> bool {
        let Content::Names(list, _) = &self.content else { return false };
        !self.guards.catch_all && list.qtypes.is_none() && list.action != DomainAction::Pass
    }
}

/// Reads question types, sorted, each once; `None` without the key, and where a type is wrong.
fn read_qtypes(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Vec<u16>> {
    let value = table.value("qtype")?;
    let values = value.one_or_more();
    if values.is_empty() {
        let message = format!("{}: qtype is empty: it can never match", table.title);
        report.error(value.at, message, "leave it out to match all question types");
        return None;
    }
    let mut types = Vec::with_capacity(values.len());
    for value in values {
        match qtype::read(&value) {
            Some(Ok(number)) => types.push(number),
            Some(Err(hint)) => {
                let shown = value.raw(report);
                let message = format!("{}: {shown} is no question type", table.title);
                report.error(value.at, message, hint);
            }
            None => {
                let hint = "write types, such as [\"ANY\", \"TXT\"]";
                table.wrong_type("qtype", "a type or a list of them", &value, hint, report);
            }
        }
    }
    types.sort_unstable();
    types.dedup();
    Some(types)
}
