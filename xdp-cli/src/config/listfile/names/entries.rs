//! The names of a list, and what was found in its files.

use xdp_common::capacity::MAX_NAMES;

use super::super::Faults;
use crate::ruleset::domains::{ListedName, Names};

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
    /// Names of one label, such as `com`, that are not known to be meant.
    pub one_label: Faults,
    pub skipped: Skipped,
    /// How many of the unreadable lines hold an address.
    pub(super) addresses: usize,
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
    /// Lines that are comments.
    pub comments: usize,
    /// Names that a hosts file has for the host itself.
    pub local: usize,
}
