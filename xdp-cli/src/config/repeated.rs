//! Finds lists that repeat another: every address that such a list holds is in the other one too,
//! so that it decides nothing that the other would not.
//!
//! What is found is certain, but not everything is found: not a list that several others repeat
//! only together, and nothing more once comparing would take too long.

use std::cell::{Cell, OnceCell};

use super::report::{Report, quote};
use crate::ruleset::{Entry, List, Prefix, Side};

/// How many entries are looked at, at most. Without a limit, a thousand lists that differ in their
/// last entries would take minutes.
const MOST_LOOKS: usize = 50_000_000;
/// How often a list is searched from its start before it is sorted. Most lists have nothing to do
/// with each other, which one search finds out in a fraction of the time that sorting takes.
const SEARCHES: u32 = 8;

/// Warns of lists that repeat others of the same kind. `title` is the name of the kind; `places` are
/// the places of the lists.
pub(super) fn warn(title: &str, lists: &[List], places: &[usize], report: &mut Report<'_>) {
    let all: Vec<Addresses<'_>> = lists.iter().map(Addresses::of).collect();
    let left = Cell::new(MOST_LOOKS);
    for repeating in 0..lists.len() {
        let is_repeated = |&other: &usize| {
            let (one, other_list) = (&lists[repeating], &lists[other]);
            other != repeating
                && other_list.action == one.action
                && (other_list.side == one.side || other_list.side == Side::Either)
                && all[other].hold(&all[repeating], &left)
                // Of two that hold the same, the later one repeats the other.
                && (other < repeating
                    || other_list.side != one.side
                    || !all[repeating].hold(&all[other], &left))
        };
        if let Some(other) = (0..lists.len()).find(is_repeated) {
            report.warning(
                places[repeating],
                format!(
                    "{title} {} repeats {title} {} in {}: that holds all of its addresses too",
                    quote(&lists[repeating].name, 64),
                    quote(&lists[other].name, 64),
                    report.line_seen_from(places[other], places[repeating])
                ),
                "leave one of them out",
            );
        }
    }
}

/// The addresses of a list.
struct Addresses<'l> {
    v4: Family<'l, u32>,
    v6: Family<'l, u128>,
}

impl<'l> Addresses<'l> {
    fn of(list: &'l List) -> Self {
        Self { v4: Family::of(&list.v4), v6: Family::of(&list.v6) }
    }

    /// Whether these are all addresses of the other one, which has some. `false` if looking would
    /// take too long: `left` is how many more entries may be looked at.
    fn hold(&self, other: &Self, left: &Cell<usize>) -> bool {
        let is_empty = other.v4.entries.is_empty() && other.v6.entries.is_empty();
        !is_empty && self.v4.hold(&other.v4, left) && self.v6.hold(&other.v6, left)
    }
}

/// The addresses of one family.
struct Family<'l, A> {
    entries: &'l [Entry<A>],
    /// First and last addresses, sorted. No two of these ranges overlap or touch.
    ranges: OnceCell<Vec<(A, A)>>,
    searches: Cell<u32>,
}

impl<'l, A: Address> Family<'l, A> {
    fn of(entries: &'l [Entry<A>]) -> Self {
        Self { entries, ranges: OnceCell::new(), searches: Cell::new(0) }
    }

    fn hold(&self, other: &Self, left: &Cell<usize>) -> bool {
        let Some(first) = other.entries.first() else { return true };
        if self.entries.is_empty() {
            return false;
        }
        let spend = |looks: usize| {
            left.set(left.get().saturating_sub(looks));
            left.get() > 0
        };
        if self.ranges.get().is_none() && self.searches.get() < SEARCHES {
            self.searches.set(self.searches.get() + 1);
            let address = first.prefix.address;
            let is_there =
                |it: &Entry<A>| span(it.prefix).0 <= address && address <= span(it.prefix).1;
            if !spend(self.entries.len()) || !self.entries.iter().any(is_there) {
                return false;
            }
        }
        let ranges = self.ranges.get_or_init(|| joined(self.entries));
        other.entries.iter().all(|entry| {
            let (first, last) = span(entry.prefix);
            let before = ranges.partition_point(|range| range.0 <= first);
            spend(1) && before.checked_sub(1).is_some_and(|at| last <= ranges[at].1)
        })
    }
}

/// The ranges of addresses that entries hold together: sorted, and joined where they touch.
fn joined<A: Address>(entries: &[Entry<A>]) -> Vec<(A, A)> {
    let mut ranges: Vec<(A, A)> = entries.iter().map(|entry| span(entry.prefix)).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let touches = range.1.next().is_none_or(|behind| next.0 <= behind);
        if touches {
            range.1 = range.1.max(next.1);
        }
        touches
    });
    ranges
}

/// The first and the last address of a prefix.
fn span<A: Address>(prefix: Prefix<A>) -> (A, A) {
    (prefix.address, prefix.address.last(prefix.length))
}

trait Address: Copy + Ord {
    /// The last address of the prefix of that length which begins with this one.
    fn last(self, length: u8) -> Self;
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn last(self, length: u8) -> Self {
        self | u32::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn last(self, length: u8) -> Self {
        self | u128::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_with;

    fn warned(text: &str) -> Vec<String> {
        let read_file = |_: &Path| Ok(text.as_bytes().to_vec());
        let loaded = load_with(Path::new("x.toml"), &read_file);
        assert!(loaded.diagnostics.is_ok(), "{:?}", loaded.diagnostics);
        loaded.diagnostics.warnings.iter().map(|it| it.message.clone()).collect()
    }

    /// Lists `a`, `b` and so on, each with its prefixes and other keys.
    fn lists(kind: &str, all: &[(&str, &str)]) -> String {
        let list = |((prefixes, keys), name): (&(&str, &str), char)| {
            let prefixes: Vec<String> = prefixes.split(' ').map(|it| format!("\"{it}\"")).collect();
            let prefixes = prefixes.join(",");
            format!("[[{kind}]]\nname = \"{name}\"\nprefixes = [{prefixes}]\n{keys}\n")
        };
        all.iter().zip('a'..).map(list).collect()
    }

    #[test]
    fn what_another_list_holds_is_found() {
        let one = |all: &[(&str, &str)]| warned(&lists("blocklist", all)).join("; ");
        let b_repeats_a = "blocklist \"b\" repeats blocklist \"a\" in line 2: that holds all of its addresses too";
        let a_repeats_b = "blocklist \"a\" repeats blocklist \"b\" in line 6: that holds all of its addresses too";
        for (a, b, told) in [
            ("10.0.0.0/8", "10.0.0.0/8", b_repeats_a),
            ("10.0.0.0/8 2001:db8::/32", "2001:db8:7::/48 10.1.2.3 10.9.0.0/16", b_repeats_a),
            ("10.1.0.0/16", "10.0.0.0/8", a_repeats_b),
            // Two that touch hold a prefix around both.
            ("10.0.0.0/9 10.128.0.0/9", "10.0.0.0/8", b_repeats_a),
            ("0.0.0.0/1 255.255.255.255", "255.255.255.255", b_repeats_a),
            ("10.0.0.0/9 10.129.0.0/16", "10.0.0.0/8", a_repeats_b),
            ("10.0.0.0/9 11.0.0.0/8", "10.0.0.0/8", ""),
            ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.3", ""),
            ("10.0.0.1", "2001:db8::1", ""),
            ("10.0.0.1", "10.0.0.1 2001:db8::1", a_repeats_b),
        ] {
            assert_eq!(one(&[(a, ""), (b, "")]), told, "{a} and {b}");
        }
    }

    #[test]
    fn sides_actions_and_kinds_are_apart() {
        let one = |a: &str, b: &str| {
            warned(&lists("blocklist", &[("10.0.0.0/8", a), ("10.1.0.0/16", b)])).len()
        };
        assert_eq!(one("", ""), 1);
        for (wider, narrower, number) in [
            ("match = \"either\"", "", 1),
            ("match = \"either\"", "match = \"destination\"", 1),
            ("match = \"either\"", "match = \"either\"", 1),
            ("", "match = \"either\"", 0),
            ("", "match = \"destination\"", 0),
            ("", "action = \"count\"", 0),
            ("action = \"count\"", "", 0),
            ("action = \"count\"", "action = \"count\"", 1),
        ] {
            assert_eq!(one(wider, narrower), number, "{wider}, {narrower}");
        }
        let text = lists("allowlist", &[("10.0.0.0/8", "")]);
        let other = lists("blocklist", &[("10.0.0.0/8", "")]).replace("\"a\"", "\"b\"");
        assert_eq!(warned(&(text.clone() + &other)), [""; 0]);
        let other = lists("allowlist", &[("10.0.0.0/8", "")]).replace("\"a\"", "\"b\"");
        assert_eq!(
            warned(&(text + &other)),
            [
                "allowlist \"b\" repeats allowlist \"a\" in line 2: that holds all of its addresses too"
            ]
        );
    }

    #[test]
    fn each_list_is_told_once_and_an_empty_one_never() {
        let text = lists("blocklist", &[("10.0.0.1", ""), ("10.0.0.1", ""), ("10.0.0.1", "")]);
        let told = warned(&text);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("blocklist \"c\" repeats blocklist \"a\""), "{told:?}");
        let empty = "[[blocklist]]\nname = \"z\"\nprefixes = []\nallow_empty = true\n";
        assert_eq!(warned(&(lists("blocklist", &[("10.0.0.1", "")]) + empty)), [""; 0]);
    }

    /// Many lists that differ in their last entries only.
    #[test]
    fn looking_ends() {
        let prefix = |address| Prefix { address, length: 32 };
        let entry = |address| Entry { prefix: prefix(address), file: 0, line: 1 };
        let entries = |last| (0..10_000).map(entry).chain([entry(last)]).collect::<Vec<_>>();
        let all: Vec<Vec<Entry<u32>>> = (0..200).map(|n| entries(1 << 20 | n << 1)).collect();
        let families: Vec<Family<'_, u32>> = all.iter().map(|it| Family::of(it)).collect();
        let left = Cell::new(1_000_000);
        let mut held = 0;
        for one in &families {
            held += families.iter().filter(|other| one.hold(other, &left)).count();
        }
        assert_eq!(left.get(), 0);
        assert!(held < 200, "{held}");
    }
}
