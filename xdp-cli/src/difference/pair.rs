//! Pairs up what two rulesets have by name, and compares it key by key.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

use crate::config::written::{Setting, Value};

/// A key whose value changed. `None` where the key is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    pub key: &'static str,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// What happened to a list or a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Added,
    Removed,
    Changed,
}

/// A list or rule moved relative to the others that both rulesets have. `from` and `to` count from
/// 1 over all lists of that kind, or all rules, of the ruleset before and the ruleset after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    pub from: usize,
    pub to: usize,
}

/// The keys that changed, in the order of `after`, and then those that it leaves out.
pub(super) fn key_changes(before: Vec<Setting>, after: Vec<Setting>) -> Vec<KeyChange> {
    let mut before: HashMap<&'static str, Value> =
        before.into_iter().map(|setting| (setting.key, setting.value)).collect();
    let mut changes: Vec<KeyChange> = Vec::new();
    for Setting { key, value } in after {
        let old = before.remove(key);
        if old.as_ref() != Some(&value) {
            changes.push(KeyChange { key, before: old, after: Some(value) });
        }
    }
    let mut gone: Vec<(&'static str, Value)> = before.into_iter().collect();
    gone.sort();
    changes.extend(gone.into_iter().map(|(key, value)| KeyChange {
        key,
        before: Some(value),
        after: None,
    }));
    changes
}

pub(super) fn fate<T>(before: &Option<T>, after: &Option<T>) -> Fate {
    match (before, after) {
        (None, _) => Fate::Added,
        (Some(_), None) => Fate::Removed,
        (Some(_), Some(_)) => Fate::Changed,
    }
}

/// A list or a rule as it is in both rulesets, or in the only one that has it.
pub(super) struct Pair<T> {
    pub(super) before: Option<T>,
    pub(super) after: Option<T>,
    pub(super) moved: Option<Move>,
}

impl<T: Copy> Pair<T> {
    pub(super) fn either(&self) -> T {
        self.after.or(self.before).expect("a pair is made of something")
    }
}

/// Pairs up items by name, which is unique in each slice: first those in `after`, in its order,
/// then those that only `before` has. As few as possible count as moved.
pub(super) fn pair<T: Copy, N: Copy + Eq + Hash>(
    before: &[T],
    after: &[T],
    name: impl Fn(&T) -> N,
) -> Vec<Pair<T>> {
    let mut old: HashMap<N, usize> =
        before.iter().enumerate().map(|(place, one)| (name(one), place)).collect();
    let from: Vec<Option<usize>> = after.iter().map(|one| old.remove(&name(one))).collect();
    let common: Vec<usize> = from.iter().copied().flatten().collect();
    let stayed = longest_increasing(&common);
    let mut common = 0;
    let mut pairs: Vec<Pair<T>> = Vec::new();
    for (to, (one, from)) in after.iter().zip(from).enumerate() {
        let moved = from.and_then(|from| {
            let moved = !stayed[common];
            common += 1;
            moved.then_some(Move { from: from + 1, to: to + 1 })
        });
        pairs.push(Pair { before: from.map(|place| before[place]), after: Some(*one), moved });
    }
    let mut gone: Vec<usize> = old.into_values().collect();
    gone.sort_unstable();
    pairs.extend(gone.into_iter().map(|at| Pair {
        before: Some(before[at]),
        after: None,
        moved: None,
    }));
    pairs
}

/// Marks the members of a longest increasing subsequence of these different numbers, in
/// O(n log n).
pub(super) fn longest_increasing(numbers: &[usize]) -> Vec<bool> {
    // For each length, the place of the lowest number that a subsequence of that length ends with.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] < *number);
        previous.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut chosen = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(place) = next {
        chosen[place] = true;
        next = previous[place];
    }
    chosen
}
