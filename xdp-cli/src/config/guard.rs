//! Keys that keep a list from being put in force by mistake: `allow_empty`, `catch_all`,
//! `min_entries`, and `max_shrink`, which is checked where a ruleset takes the place of another.
//!
//! A download that broke off leaves a short file, or an empty one. A file that was tampered with
//! may hold `0.0.0.0/0`. As a blocklist, the first opens the network and the other closes it.

use super::listfile::ListEntries;
use super::prefix::Family;
use super::report::{Report, quote};
use super::table::TomlTable;
use crate::notation::{counted, grouped};
use crate::ruleset::{Guards, Prefix, in_order};
use xdp_common::capacity::MAX_PREFIXES;

/// The number of prefixes that a ruleset can hold, both families together.
pub(super) const MOST_PREFIXES: u32 = 2 * MAX_PREFIXES as u32;

/// Reads the keys of a list that can have at most so many entries.
pub(super) fn read(table: &mut TomlTable<'_>, most: u32, report: &mut Report<'_>) -> Guards {
    Guards {
        allow_empty: table.boolean("allow_empty", report).unwrap_or(false),
        catch_all: table.boolean("catch_all", report).unwrap_or(false),
        min_entries: table.number(
            "min_entries",
            most,
            &format!("write a number of entries, 0 to {most}"),
            report,
        ),
        max_shrink: percent(table, "max_shrink", report),
    }
}

/// Reads a share in percent, such as `"50%"`.
fn percent(table: &mut TomlTable<'_>, key: &'static str, report: &mut Report<'_>) -> Option<u8> {
    let hint = "write a share of 0% to 100%, such as \"50%\"";
    let text = table.string(key, hint, report)?;
    // The number parser alone would accept a sign.
    let digits = text.value.strip_suffix('%').filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
    let share = digits.and_then(|digits| digits.parse().ok()).filter(|share| *share <= 100);
    if share.is_none() {
        let message = format!("{}: {key} cannot be {}", table.title, quote(text.value, 60));
        report.error(text.at, message, hint);
    }
    share
}

/// Checks a list that was read to its end. `at` is the place of its name.
pub(super) fn check(
    title: &str,
    at: usize,
    guards: &Guards,
    entries: &ListEntries,
    report: &mut Report<'_>,
) {
    check_number(title, at, guards, || distinct(entries), report);
    // A single entry that holds every address has been reported at its own line.
    if !guards.catch_all {
        let v4 = hold_all_v4(entries.v4.iter().map(|entry| entry.prefix));
        let v6 = hold_all_v6(entries.v6.iter().map(|entry| entry.prefix));
        for (_, family) in [(v4, Family::V4), (v6, Family::V6)].iter().filter(|(all, _)| *all) {
            report.error(
                at,
                format!("{title}: its entries together hold every {} address", family.name()),
                "where that is meant, say catch_all = true",
            );
        }
    }
}

/// Checks that a list holds enough entries. `number` counts each once.
pub(super) fn check_number(
    title: &str,
    at: usize,
    guards: &Guards,
    number: impl FnOnce() -> usize,
    report: &mut Report<'_>,
) {
    let Some(least) = guards.min_entries else { return };
    let number = number();
    if number < least as usize {
        report.error(
            at,
            format!(
                "{title}: {}, and min_entries is {}",
                counted(number as u64, "entry"),
                grouped(least.into())
            ),
            "see whether its files are whole, or lower min_entries",
        );
    }
}

/// How many entries there are, each prefix counted once.
fn distinct(entries: &ListEntries) -> usize {
    in_order(&entries.v4).len() + in_order(&entries.v6).len()
}

/// Whether IPv4 prefixes hold every address together, but none does alone.
pub(crate) fn hold_all_v4(prefixes: impl Iterator<Item = Prefix<u32>> + Clone) -> bool {
    hold_all(prefixes.map(|it| (u128::from(it.address) << 96, it.length)))
}

/// The same of IPv6.
pub(crate) fn hold_all_v6(prefixes: impl Iterator<Item = Prefix<u128>> + Clone) -> bool {
    hold_all(prefixes.map(|it| (it.address, it.length)))
}

/// Whether prefixes hold every address of their family together, but none does alone. `0.0.0.0/1`
/// and `128.0.0.0/1` do, for example. Addresses are shifted to the top of 128 bits.
fn hold_all(prefixes: impl Iterator<Item = (u128, u8)> + Clone) -> bool {
    if prefixes.clone().any(|(_, length)| length == 0) {
        return false;
    }
    let size = |length: u8| 1u128 << (128 - u32::from(length));
    // Most lists hold too few addresses to cover everything, however they lie.
    let mut sizes = prefixes.clone().map(|(_, length)| size(length));
    if sizes.try_fold(0u128, u128::checked_add).is_some() {
        return false;
    }
    let mut spans: Vec<(u128, u128)> =
        prefixes.map(|(address, length)| (address, address | (size(length) - 1))).collect();
    spans.sort_unstable();
    // The lowest address that no span so far holds; `None` past the last address.
    let mut next = Some(0);
    for (first, last) in spans {
        match next {
            Some(address) if first > address => return false,
            Some(address) if last >= address => next = last.checked_add(1),
            _ => {}
        }
    }
    next.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(prefixes: &[(u32, u8)]) -> bool {
        hold_all_v4(prefixes.iter().map(|&(address, length)| Prefix { address, length }))
    }

    #[test]
    fn entries_that_hold_everything_together() {
        assert!(together(&[(0, 1), (1 << 31, 1)]));
        assert!(together(&[(1 << 31, 1), (1 << 30, 2), (0, 2), (0, 32)]));
        // 0.0.0.0/1, 128.0.0.0/2 and so on to a single address: all but 255.255.255.255.
        let prefixes = (1..=32u8).map(|length| (!(u32::MAX >> (length - 1)), length));
        let mut all: Vec<_> = prefixes.collect();
        assert!(!together(&all));
        // Enough addresses in total, but one is still missing.
        all.extend([(0, 1), (0, 2)]);
        assert!(!together(&all));
        all.push((u32::MAX, 32));
        assert!(together(&all));
        assert!(!together(&[]));
    }
}
