//! List files of names, in any of the forms that such lists are published in, up to a million lines,
//! read on every reload.

mod line;
mod zone;

use super::{Fault, Faults, column, line_end, quoted};
use crate::config::domain_name::{NameBuffer, NameError};
use crate::ruleset::domains::{DomainName, ListedName, Names};
use xdp_common::capacity::MAX_NAMES;
use zone::Zone;

/// The names of one list, from the configuration and all its files.
#[derive(Debug)]
pub struct NameEntries {
    pub names: Names,
    /// Whether there are more names than a ruleset can hold, so that reading stopped.
    pub overfull: bool,
    /// Duplicates are removed once there are so many names.
    fold_at: usize,
    /// How many names were left when duplicates were last removed.
    folded: usize,
}

impl Default for NameEntries {
    fn default() -> Self {
        Self { names: Names::default(), overfull: false, fold_at: FOLD_AT, folded: 0 }
    }
}

/// Lists rarely have so many names, so duplicates are rarely removed before the end.
const FOLD_AT: usize = 2 * MAX_NAMES;

impl NameEntries {
    /// How many names there are, duplicates included.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Adds a name with its place.
    pub fn push(&mut self, listed: ListedName<'_>) {
        if self.len() >= self.fold_at {
            self.fold();
        }
        self.overfull |= self.names.push(listed).is_err();
    }

    /// Adds the names of a file.
    pub fn extend(&mut self, other: &Self) {
        self.overfull |= other.overfull | self.names.extend(&other.names).is_err();
        if self.len() >= self.fold_at {
            self.fold();
        }
    }

    /// Adds the names of a file that no other list names.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() { *self = other } else { self.extend(&other) }
    }

    /// Removes duplicates: keeps the first of each name.
    pub fn fold(&mut self) {
        if self.len() == self.folded {
            return;
        }
        self.names.keep_first();
        self.folded = self.len();
        self.overfull |= self.folded > MAX_NAMES;
        self.fold_at = FOLD_AT.max(self.folded + MAX_NAMES);
    }
}

/// What was found in a list file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NameFindings {
    /// Whether any line held a name.
    pub yields: bool,
    pub unreadable: Faults,
    /// Names that stand for every name.
    pub catch_all: Faults,
    pub skipped: Skipped,
    /// How many of the unreadable lines hold an address.
    addresses: usize,
}

impl NameFindings {
    /// Whether these are findings in a list of addresses. It would give a mistake for each line, so
    /// it is reported as a whole.
    pub fn is_of_addresses(&self, entries: &NameEntries) -> bool {
        self.addresses > entries.len() && 2 * self.addresses >= self.unreadable.total
    }
}

/// How many lines say something that a list of names does not, and are left aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Names that are to pass.
    pub exceptions: usize,
    /// Rules of ad blockers that are more than a name.
    pub rules: usize,
    /// Records of a zone that refuse no name.
    pub records: usize,
}

/// Why a line is left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Exception,
    Rule,
    Record,
}

/// Reads a list file's text, which need not be UTF-8, into `entries`. `file` is the number of the
/// file, which is written beside each name.
pub fn scan(bytes: &[u8], file: u16, entries: &mut NameEntries) -> NameFindings {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut scan = Scan {
        file,
        line: 0,
        text: &[],
        entries,
        buffer: NameBuffer::default(),
        findings: NameFindings::default(),
        is_adblock: false,
        zone: Zone::default(),
    };
    let mut at = 0;
    while at < bytes.len() && !scan.entries.overfull {
        let end = line_end(bytes, at);
        scan.line += 1;
        scan.text = &bytes[at..end];
        scan.read_line();
        at = end + 1;
    }
    scan.findings
}

/// A file that is being read.
struct Scan<'s> {
    file: u16,
    /// The line being read, from 1, and its text.
    line: u32,
    text: &'s [u8],
    entries: &'s mut NameEntries,
    buffer: NameBuffer,
    findings: NameFindings,
    /// Whether it is a list for ad blockers, in which most of what is no name is a rule.
    is_adblock: bool,
    zone: Zone,
}

impl<'s> Scan<'s> {
    fn skip(&mut self, why: Skip) {
        let Skipped { exceptions, rules, records } = &mut self.findings.skipped;
        *match why {
            Skip::Exception => exceptions,
            Skip::Rule => rules,
            Skip::Record => records,
        } += 1;
    }

    /// Takes a part of the line as a name, or else reports it.
    fn take(&mut self, name: &[u8]) {
        match self.buffer.read(name) {
            Ok(()) => self.push(name),
            Err(error) => self.refuse(name, error),
        }
    }

    /// Adds the name that was read last, from this part of the line.
    fn push(&mut self, from: &[u8]) {
        let (name, below_only) = (self.buffer.name(), self.buffer.below_only());
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

    /// Reports a part of the line that is no name.
    fn refuse(&mut self, part: &[u8], error: NameError) {
        self.findings.addresses += usize::from(error == NameError::Address);
        self.unreadable(part, &error.message(), &error.hint());
    }

    fn unreadable(&mut self, part: &[u8], message: &str, hint: &str) {
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

#[cfg(test)]
mod tests;
