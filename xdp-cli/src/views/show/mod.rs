//! Shows a ruleset in force, as a configuration that loads again, and as JSON.
//!
//! By default, the entries of list files are written out as they were loaded: the files may hold
//! something else by now. With `terse`, the files are named instead.

pub mod json;
pub mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::config::written::{prefix_v4, prefix_v6};
use crate::image::metadata::Mode;
use crate::ruleset::domains::DomainList;
use crate::ruleset::{Entry, List, Prefix, Ruleset};

/// A ruleset in force.
#[derive(Clone, Debug)]
pub struct Shown {
    pub interface: String,
    pub mode: Mode,
    pub generation: u64,
    pub loaded_at: SystemTime,
    /// The configuration file that it came from.
    pub loaded_from: PathBuf,
    pub ruleset: Ruleset,
    /// Whether list files are named in place of their entries.
    pub terse: bool,
}

/// A file that entries of a list come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    /// Index into [`Ruleset::files`].
    file: u16,
    /// How many entries come from it. A prefix that several files name counts for the first.
    entries: u64,
}

/// The files that entries of a list come from, in the order of [`Ruleset::files`].
fn origins(list: &List) -> Vec<Origin> {
    let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
    let v4 = each_once(&list.v4);
    let v6 = each_once(&list.v6);
    for file in v4.iter().map(|(_, file)| *file).chain(v6.iter().map(|(_, file)| *file)) {
        *counts.entry(file).or_default() += 1;
    }
    counts.into_iter().map(|(file, entries)| Origin { file, entries }).collect()
}

/// The files that names of a list come from, in the order of [`Ruleset::files`].
fn name_origins(list: &DomainList) -> Vec<Origin> {
    let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
    for listed in list.names.iter() {
        *counts.entry(listed.file).or_default() += 1;
    }
    counts.into_iter().map(|(file, entries)| Origin { file, entries }).collect()
}

/// The names of a list, without those of files that are named in their place.
fn names<'s>(shown: &'s Shown, list: &'s DomainList) -> impl Iterator<Item = String> + use<'s> {
    let written = list.names.iter().filter(|listed| !shown.is_named(listed.file));
    written.map(|listed| listed.to_string())
}

impl Shown {
    /// Whether a file of [`Ruleset::files`] is named in place of its entries.
    fn is_named(&self, file: u16) -> bool {
        self.terse && file >= self.ruleset.configurations
    }
}

/// The prefixes of a list, sorted, each once, without those of files that are named in their place.
/// Those that stand for a name have the file that defines it.
fn prefixes<'s>(shown: &'s Shown, list: &List) -> impl Iterator<Item = String> + use<'s> {
    let v4 = each_once(&list.v4).into_iter().filter(|(_, file)| !shown.is_named(*file));
    let v6 = each_once(&list.v6).into_iter().filter(|(_, file)| !shown.is_named(*file));
    v4.map(|(prefix, _)| prefix_v4(prefix)).chain(v6.map(|(prefix, _)| prefix_v6(prefix)))
}

/// Each prefix once, with the first file that names it.
fn each_once<A: Copy + Ord>(entries: &[Entry<A>]) -> Vec<(Prefix<A>, u16)> {
    let mut all: Vec<_> = entries.iter().map(|entry| (entry.prefix, entry.file)).collect();
    all.sort_unstable();
    all.dedup_by_key(|(prefix, _)| *prefix);
    all
}
