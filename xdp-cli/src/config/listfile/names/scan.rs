//! A list file of names that is being read: what all its forms have in common.

use super::super::{Fault, column, quoted};
use super::entries::{NameEntries, NameFindings, Skipped};
use super::zone::Zone;
use crate::config::domain_name::{NameBuffer, NameError};
use crate::ruleset::domains::{DomainName, ListedName};

/// Why a line is left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Exception,
    Rule,
    Record,
}

/// A file that is being read.
pub(super) struct Scan<'s> {
    pub(super) file: u16,
    /// The line being read, from 1, and its text.
    pub(super) line: u32,
    pub(super) text: &'s [u8],
    pub(super) entries: &'s mut NameEntries,
    pub(super) buffer: NameBuffer,
    pub(super) findings: NameFindings,
    /// Whether it is a list for ad blockers, in which most of what is no name is a rule.
    pub(super) is_adblock: bool,
    pub(super) zone: Zone<'s>,
    /// Whether a name of one label is meant to stand for all below it.
    pub(super) is_meant: &'s dyn Fn(DomainName<'_>) -> bool,
}

impl<'s> Scan<'s> {
    pub(super) fn skip(&mut self, why: Skip) {
        let Skipped { exceptions, rules, records, .. } = &mut self.findings.skipped;
        *match why {
            Skip::Exception => exceptions,
            Skip::Rule => rules,
            Skip::Record => records,
        } += 1;
    }

    /// Takes a part of the line as a name, or else reports it.
    pub(super) fn take(&mut self, name: &[u8]) {
        match self.buffer.read(name) {
            Ok(()) => self.push(name),
            Err(error) => self.refuse(name, error),
        }
    }

    /// Adds the name that was read last, from this part of the line.
    pub(super) fn push(&mut self, from: &[u8]) {
        let (name, below_only) = (self.buffer.name(), self.buffer.below_only());
        if name.parent() == Some(DomainName::ROOT) && !(self.is_meant)(name) {
            let (line, span) = (self.line, span(self.text, from));
            self.findings.one_label.add(|| Fault {
                line,
                column: column(self.text, span.0),
                message: format!(
                    "{} stands for every name that ends in it",
                    quoted(self.text, span)
                ),
                hint:
                    "where that is meant, write it into the names of each list that has this file; \
                       catch_all = true says it of all such names"
                        .into(),
            });
        }
        if name == DomainName::ROOT {
            let (line, span) = (self.line, span(self.text, from));
            self.findings.catch_all.add(|| Fault {
                line,
                column: column(self.text, span.0),
                message: format!("{} stands for every name", quoted(self.text, span)),
                hint: "leave it out; where it is meant, the list says catch_all = true".into(),
            });
        }
        self.entries.push(ListedName { name, below_only, file: self.file, line: self.line });
        self.findings.yields = true;
    }

    /// Reports a record whose parenthesis is open, and takes it for closed.
    pub(super) fn refuse_open(&mut self) {
        if std::mem::take(&mut self.zone.open) > 0 {
            let line = self.zone.opened;
            self.findings.unreadable.add(|| Fault {
                line,
                column: 1,
                message: "the record has a parenthesis that is not closed".into(),
                hint:
                    "close it, or leave the record out: the lines behind it were taken for its own"
                        .into(),
            });
        }
    }

    /// Reports a part of the line that is no name.
    pub(super) fn refuse(&mut self, part: &[u8], error: NameError) {
        self.findings.addresses += usize::from(error == NameError::Address);
        self.unreadable(part, &error.message(), &error.hint());
    }

    pub(super) fn unreadable(&mut self, part: &[u8], message: &str, hint: &str) {
        let (text, line, span) = (self.text, self.line, span(self.text, part));
        self.findings.unreadable.add(|| Fault {
            line,
            column: column(text, span.0),
            message: format!("{} {message}", quoted(text, span)),
            hint: hint.to_owned(),
        });
    }
}

/// Where a part of a line begins and ends in it.
fn span(line: &[u8], part: &[u8]) -> (usize, usize) {
    let start = (part.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
    // A part that is not the line's own stands for all of it.
    match line.get(start..).is_some_and(|rest| part.len() <= rest.len()) {
        true => (start, start + part.len()),
        false => (0, line.len()),
    }
}
