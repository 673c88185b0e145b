//! Checks that a ruleset is not larger than it may be.

use std::collections::HashSet;

use super::report::Report;
use super::table::TomlTable;
use crate::ruleset::{Entry, List, RuleAction, Ruleset};
use xdp_common::capacity::{MAX_LISTS, MAX_PREFIXES, MAX_REDIRECTS, MAX_RULES, MAX_SERVICES};

/// Counts the tables. A mistake is reported at the first table too many.
pub(super) fn check_tables(
    allowlists: &[TomlTable<'_>],
    blocklists: &[TomlTable<'_>],
    domains: &[TomlTable<'_>],
    rules: &[TomlTable<'_>],
    services: &[TomlTable<'_>],
    report: &mut Report<'_>,
) {
    let lists = allowlists.iter().chain(blocklists).chain(domains);
    let mut lists: Vec<usize> = lists.map(|list| list.at).collect();
    lists.sort_unstable();
    if let Some(&at) = lists.get(MAX_LISTS) {
        let number = lists.len();
        report.error(
            at,
            format!("{number} allowlists, blocklists and domains, {MAX_LISTS} are the most"),
            "put entries that share an action into one list",
        );
    }
    if let Some(rule) = rules.get(MAX_RULES) {
        let number = rules.len();
        report.error(
            rule.at,
            format!("{number} rules, {MAX_RULES} are the most"),
            "join rules that differ in a prefix or a port, or use a list",
        );
    }
    if let Some(service) = services.get(MAX_SERVICES) {
        let number = services.len();
        report.error(
            service.at,
            format!("{number} services, {MAX_SERVICES} are the most"),
            "join services that differ in an address or a port",
        );
    }
}

/// Counts the prefixes of each family over all lists, duplicates once. `places` are the places of
/// the lists.
pub(super) fn check_prefixes(ruleset: &Ruleset, places: &[usize], report: &mut Report<'_>) {
    let lists = ruleset.allowlists.iter().chain(&ruleset.blocklists);
    let lists: Vec<(usize, &List)> = places.iter().copied().zip(lists).collect();
    check_family("IPv4", lists.iter().map(|(at, list)| (*at, list.v4.as_slice())), report);
    check_family("IPv6", lists.iter().map(|(at, list)| (*at, list.v6.as_slice())), report);
}

fn check_family<'l, A: Copy + Ord + 'l>(
    family: &str,
    lists: impl Iterator<Item = (usize, &'l [Entry<A>])> + Clone,
    report: &mut Report<'_>,
) {
    let total: usize = lists.clone().map(|(_, entries)| entries.len()).sum();
    if total <= MAX_PREFIXES {
        return;
    }
    let mut prefixes = Vec::with_capacity(total);
    for (_, entries) in lists.clone() {
        prefixes.extend(entries.iter().map(|entry| entry.prefix));
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    let number = prefixes.len();
    if number <= MAX_PREFIXES {
        return;
    }
    // The first list with which the sum exceeds the limit.
    let mut sum = 0;
    let at = lists
        .into_iter()
        .find(|(_, entries)| {
            sum += entries.len();
            sum > MAX_PREFIXES
        })
        .map_or(0, |(at, _)| at);
    report.error(
        at,
        format!("{number} {family} prefixes in all lists, {MAX_PREFIXES} are the most"),
        "leave entries out, or merge neighbouring prefixes",
    );
}

/// Counts the different interfaces that rules redirect to. A mistake is reported at the first one
/// too many.
pub(super) fn check_targets(ruleset: &Ruleset, report: &mut Report<'_>) {
    let mut targets = HashSet::new();
    let mut over = None;
    for rule in &ruleset.rules {
        if let RuleAction::Redirect { to, line, column, .. } = &rule.action {
            targets.insert(to);
            if targets.len() > MAX_REDIRECTS as usize && over.is_none() {
                over = Some((rule.file, *line, *column));
            }
        }
    }
    if let Some((file, line, column)) = over {
        let number = targets.len();
        report.error(
            report.at(file, line, column),
            format!("{number} interfaces to redirect to, {MAX_REDIRECTS} are the most"),
            "redirect to fewer different interfaces",
        );
    }
}
