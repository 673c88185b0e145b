//! Compares two rulesets: lists entry by entry, everything else key by key.
//!
//! The line on which something stands makes no difference, and neither does the order of values
//! that form a set, such as ports. The order of lists and rules does: which comes first can decide.

mod pair;
mod services;

pub use pair::{Fate, KeyChange, Move};
pub use services::{BackendChange, ServiceChange};

use pair::{fate, key_changes, pair};

use crate::config::written::{self, Setting};
use crate::image::metadata::{Kind, Metadata};
use crate::ruleset::domains::{DomainList, DomainName, ListedName};
use crate::ruleset::{EntryCount, List, Rule, Ruleset, in_order};

/// The changes from one ruleset to the next. What stays as it is does not appear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Changes in `[policy]`.
    pub policy: Vec<KeyChange>,
    /// Changes in `[arp]`.
    pub arp: Vec<KeyChange>,
    /// Allowlists, then blocklists, then domains.
    pub lists: Vec<ListChange>,
    pub rules: Vec<RuleChange>,
    /// Changes in `[services]`.
    pub service_settings: Vec<KeyChange>,
    pub services: Vec<ServiceChange>,
    /// Only names and entry counts of the ruleset before are known, so neither values of keys nor
    /// single entries were compared.
    pub by_numbers: bool,
}

impl Difference {
    /// Whether nothing that could be compared differs (see `by_numbers`).
    pub fn is_empty(&self) -> bool {
        let Self { policy, arp, lists, rules, service_settings, services, by_numbers: _ } = self;
        policy.is_empty()
            && arp.is_empty()
            && lists.is_empty()
            && rules.is_empty()
            && service_settings.is_empty()
            && services.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListChange {
    pub name: String,
    pub kind: Kind,
    pub fate: Fate,
    /// Zero for a list that was not there.
    pub before: EntryCount,
    pub after: EntryCount,
    /// `None` if it is not known which entries there were.
    pub entries: Option<EntryChange>,
    pub settings: Vec<KeyChange>,
    pub moved: Option<Move>,
}

/// The entries that a list has in only one of two rulesets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryChange {
    pub added: EntryCount,
    pub removed: EntryCount,
    /// The first [`NAMED`] of each, IPv4 before IPv6.
    pub first_added: Vec<String>,
    pub first_removed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    pub name: String,
    /// A rule that only moved is `Changed` too.
    pub fate: Fate,
    pub settings: Vec<KeyChange>,
    pub moved: Option<Move>,
}

/// How many of the entries added to a list, and how many of those removed, are named.
pub const NAMED: usize = 10;

impl Difference {
    /// Compares all of two rulesets. Sorts the entries of each list, and holds in memory a sorted
    /// copy of those of one list at a time, from both rulesets.
    pub fn between(before: &Ruleset, after: &Ruleset) -> Self {
        let Ruleset {
            policy,
            arp,
            allowlists,
            blocklists,
            domains,
            rules,
            service_settings,
            services,
            files: _,
            configurations: _,
        } = after;
        let mut lists = list_changes(Kind::Allowlist, &before.allowlists, allowlists);
        lists.extend(list_changes(Kind::Blocklist, &before.blocklists, blocklists));
        lists.extend(list_changes(Kind::Domains, &before.domains, domains));
        Self {
            policy: key_changes(written::policy(&before.policy), written::policy(policy)),
            arp: key_changes(written::arp(&before.arp), written::arp(arp)),
            service_settings: services::setting_changes(&before.service_settings, service_settings),
            services: services::changes(&before.services, services),
            lists,
            rules: rule_changes(&before.rules, rules),
            by_numbers: false,
        }
    }

    /// Compares with the metadata of a ruleset in force, for when the ruleset itself was not kept:
    /// names, kinds and numbers of entries.
    pub fn by_numbers(before: &Metadata, after: &Ruleset) -> Self {
        let counted = |kind| {
            let of_kind = before.counted.iter().filter(move |counted| counted.kind == kind);
            of_kind.map(|counted| (counted.name.as_str(), counted.entries.unwrap_or_default()))
        };
        let lists = |kind: Kind, after: Vec<(&str, EntryCount)>| {
            let before: Vec<(&str, EntryCount)> = counted(kind).collect();
            let pairs = pair(&before, &after, |(name, _)| *name);
            let changes = pairs.into_iter().filter_map(|pair| {
                let name = pair.either().0.to_owned();
                let [before, after] =
                    [pair.before, pair.after].map(|one| one.map(|(_, count)| count));
                let different = before != after || pair.moved.is_some();
                different.then(|| ListChange {
                    name,
                    kind,
                    fate: fate(&before, &after),
                    before: before.unwrap_or_default(),
                    after: after.unwrap_or_default(),
                    entries: None,
                    settings: Vec::new(),
                    moved: pair.moved,
                })
            });
            changes.collect::<Vec<_>>()
        };
        let by_name = |kind: Kind, after: Vec<&str>| {
            let before: Vec<&str> = counted(kind).map(|(name, _)| name).collect();
            let pairs = pair(&before, &after, |name| *name).into_iter();
            let changes = pairs.filter_map(|pair| {
                let different = pair.before != pair.after || pair.moved.is_some();
                different.then(|| RuleChange {
                    name: (*pair.either()).to_owned(),
                    fate: fate(&pair.before, &pair.after),
                    settings: Vec::new(),
                    moved: pair.moved,
                })
            });
            changes.collect::<Vec<_>>()
        };
        let rules = by_name(Kind::Rule, after.rules.iter().map(|it| it.name.as_str()).collect());
        let backends = before.backends.iter().map(Vec::len);
        let numbers: Vec<(&str, usize)> =
            counted(Kind::Service).map(|(name, _)| name).zip(backends).collect();
        let coming: Vec<(&str, usize)> =
            after.services.iter().map(|it| (it.name.as_str(), it.backends.len())).collect();
        let services = pair(&numbers, &coming, |(name, _)| *name).into_iter().filter_map(|pair| {
            let different = pair.before != pair.after || pair.moved.is_some();
            different.then(|| ServiceChange {
                name: pair.either().0.to_owned(),
                fate: fate(&pair.before, &pair.after),
                settings: Vec::new(),
                moved: pair.moved,
                before: pair.before.map_or(0, |(_, number)| number),
                after: pair.after.map_or(0, |(_, number)| number),
                backends: Vec::new(),
            })
        });
        let services: Vec<ServiceChange> = services.collect();
        Self {
            policy: Vec::new(),
            arp: Vec::new(),
            lists: [
                lists(Kind::Allowlist, sizes(&after.allowlists)),
                lists(Kind::Blocklist, sizes(&after.blocklists)),
                lists(Kind::Domains, sizes(&after.domains)),
            ]
            .concat(),
            rules,
            service_settings: Vec::new(),
            services,
            by_numbers: true,
        }
    }
}

/// A list whose entries can be compared with those of another.
trait Compared {
    fn name(&self) -> &str;

    fn entries(&self) -> EntryCount;

    /// Its keys, without its name and its entries.
    fn settings(&self, kind: Kind) -> Vec<Setting>;

    /// Counts the entries before and after, and finds those that only one of the two lists has.
    fn compare(
        before: Option<&Self>,
        after: Option<&Self>,
    ) -> (EntryCount, EntryCount, EntryChange);
}

impl Compared for List {
    fn name(&self) -> &str {
        &self.name
    }

    fn entries(&self) -> EntryCount {
        self.entries()
    }

    fn settings(&self, kind: Kind) -> Vec<Setting> {
        written::list(self, kind == Kind::Blocklist)
    }

    fn compare(
        before: Option<&Self>,
        after: Option<&Self>,
    ) -> (EntryCount, EntryCount, EntryChange) {
        compare_entries(before, after)
    }
}

impl Compared for DomainList {
    fn name(&self) -> &str {
        &self.name
    }

    fn entries(&self) -> EntryCount {
        self.entries()
    }

    fn settings(&self, _: Kind) -> Vec<Setting> {
        written::domains(self)
    }

    fn compare(
        before: Option<&Self>,
        after: Option<&Self>,
    ) -> (EntryCount, EntryCount, EntryChange) {
        compare_names(before, after)
    }
}

/// Name and number of entries of each list.
fn sizes<L: Compared>(lists: &[L]) -> Vec<(&str, EntryCount)> {
    lists.iter().map(|list| (list.name(), list.entries())).collect()
}

fn list_changes<L: Compared>(kind: Kind, before: &[L], after: &[L]) -> Vec<ListChange> {
    let before: Vec<&L> = before.iter().collect();
    let after: Vec<&L> = after.iter().collect();
    let pairs = pair(&before, &after, |list| list.name()).into_iter();
    let changes = pairs.filter_map(|pair| {
        let name = pair.either().name().to_owned();
        let (before, after, entries) = L::compare(pair.before, pair.after);
        let settings = |list: Option<&L>| list.map(|list| list.settings(kind)).unwrap_or_default();
        let settings = match (pair.before, pair.after) {
            (Some(_), Some(_)) => key_changes(settings(pair.before), settings(pair.after)),
            // A list that was added or removed has no changed keys.
            _ => Vec::new(),
        };
        let fate = fate(&pair.before, &pair.after);
        let different = fate != Fate::Changed
            || entries.added != EntryCount::default()
            || entries.removed != EntryCount::default()
            || !settings.is_empty()
            || pair.moved.is_some();
        let (entries, moved) = (Some(entries), pair.moved);
        let change = ListChange { name, kind, fate, before, after, entries, settings, moved };
        different.then_some(change)
    });
    changes.collect()
}

/// Compares the prefixes of two lists.
fn compare_entries(
    before: Option<&List>,
    after: Option<&List>,
) -> (EntryCount, EntryCount, EntryChange) {
    let mut change = EntryChange::default();
    let v4 = |list: Option<&List>| list.map(|list| in_order(&list.v4)).unwrap_or_default();
    let v6 = |list: Option<&List>| list.map(|list| in_order(&list.v6)).unwrap_or_default();
    let (old, new) = (v4(before), v4(after));
    let (before_v4, after_v4) = (old.len() as u64, new.len() as u64);
    for difference in Merge::of(&old, &new) {
        match difference {
            Alone::Before(prefix) => {
                change.removed.ipv4 += 1;
                name(&mut change.first_removed, || written::prefix_v4(prefix));
            }
            Alone::After(prefix) => {
                change.added.ipv4 += 1;
                name(&mut change.first_added, || written::prefix_v4(prefix));
            }
        }
    }
    drop((old, new));
    let (old, new) = (v6(before), v6(after));
    for difference in Merge::of(&old, &new) {
        match difference {
            Alone::Before(prefix) => {
                change.removed.ipv6 += 1;
                name(&mut change.first_removed, || written::prefix_v6(prefix));
            }
            Alone::After(prefix) => {
                change.added.ipv6 += 1;
                name(&mut change.first_added, || written::prefix_v6(prefix));
            }
        }
    }
    let before = EntryCount { ipv4: before_v4, ipv6: old.len() as u64, names: 0 };
    let after = EntryCount { ipv4: after_v4, ipv6: new.len() as u64, names: 0 };
    (before, after, change)
}

/// The same of names. Those below one and that one itself are two.
fn compare_names(
    before: Option<&DomainList>,
    after: Option<&DomainList>,
) -> (EntryCount, EntryCount, EntryChange) {
    fn in_order(list: Option<&DomainList>) -> Vec<(DomainName<'_>, bool)> {
        let names = list.into_iter().flat_map(|list| list.names.iter());
        let mut names: Vec<_> = names.map(|listed| (listed.name, listed.below_only)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    let text = |(name, below_only)| ListedName { name, below_only, file: 0, line: 0 }.to_string();
    let mut change = EntryChange::default();
    let (old, new) = (in_order(before), in_order(after));
    for difference in Merge::of(&old, &new) {
        match difference {
            Alone::Before(one) => {
                change.removed.names += 1;
                name(&mut change.first_removed, || text(one));
            }
            Alone::After(one) => {
                change.added.names += 1;
                name(&mut change.first_added, || text(one));
            }
        }
    }
    let count = |names: usize| EntryCount { names: names as u64, ..EntryCount::default() };
    (count(old.len()), count(new.len()), change)
}

fn name(named: &mut Vec<String>, prefix: impl FnOnce() -> String) {
    if named.len() < NAMED {
        named.push(prefix());
    }
}

/// An item that only one of two sequences has.
enum Alone<T> {
    Before(T),
    After(T),
}

/// Walks two sorted sequences without duplicates, and yields the items that only one of them has.
struct Merge<'a, T> {
    before: &'a [T],
    after: &'a [T],
}

impl<'a, T> Merge<'a, T> {
    fn of(before: &'a [T], after: &'a [T]) -> Self {
        Self { before, after }
    }
}

impl<T: Copy + Ord> Iterator for Merge<'_, T> {
    type Item = Alone<T>;

    fn next(&mut self) -> Option<Alone<T>> {
        loop {
            let (before, after) = (self.before.split_first(), self.after.split_first());
            match (before, after) {
                (None, None) => return None,
                (Some((one, rest)), Some((other, others))) if one == other => {
                    (self.before, self.after) = (rest, others);
                }
                (Some((one, rest)), other) if other.is_none_or(|(other, _)| one < other) => {
                    self.before = rest;
                    return Some(Alone::Before(*one));
                }
                (_, Some((other, others))) => {
                    self.after = others;
                    return Some(Alone::After(*other));
                }
                // Unreachable: the guard above takes every `before` that has nothing beside it.
                (Some(_), None) => return None,
            }
        }
    }
}

fn rule_changes(before: &[Rule], after: &[Rule]) -> Vec<RuleChange> {
    let before: Vec<&Rule> = before.iter().collect();
    let after: Vec<&Rule> = after.iter().collect();
    let pairs = pair(&before, &after, |rule| rule.name.as_str()).into_iter();
    let changes = pairs.filter_map(|pair| {
        let settings = match (pair.before, pair.after) {
            (Some(before), Some(after)) => key_changes(written::rule(before), written::rule(after)),
            _ => Vec::new(),
        };
        let fate = fate(&pair.before, &pair.after);
        let different = fate != Fate::Changed || !settings.is_empty() || pair.moved.is_some();
        let name = &pair.either().name;
        different.then(|| RuleChange { name: name.clone(), fate, settings, moved: pair.moved })
    });
    changes.collect()
}

#[cfg(test)]
mod tests;
