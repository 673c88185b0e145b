//! Finds lists of names that decide nothing: another list holds every one of their names.
//!
//! What is found is certain. A name whose parent is in another list is not looked for: a third list
//! may hold a name between the two.

use super::report::{Report, quote};
use crate::ruleset::domains::DomainList;
use crate::ruleset::name_index::NameIndex;

/// How many names are looked for, at most: a thousand lists that differ in their last names would
/// take minutes.
const MOST_LOOKS: usize = 4_000_000;

/// Warns of lists all of whose names another list holds. `places` are the places of the lists.
pub(super) fn warn(lists: &[DomainList], places: &[usize], report: &mut Report<'_>) {
    let mut indexes: Vec<Option<NameIndex>> = lists.iter().map(|_| None).collect();
    let mut left = MOST_LOOKS;
    for (number, list) in lists.iter().enumerate() {
        for (other, before) in lists.iter().enumerate() {
            // A list further down decides nothing of what the other one holds too. One that stands
            // before the other repeats it only if both do the same.
            let is_before = other < number;
            // What stands between the two may do something else with the names of both.
            let between = lists.get(number..other).unwrap_or_default();
            let may_replace = is_before
                || before.action == list.action
                    && between.iter().all(|between| between.action == list.action);
            if other == number || !may_replace || !looks_at_all_of(before, list) {
                continue;
            }
            if !holds(before, &mut indexes[other], list, &mut left) {
                continue;
            }
            // Of two that hold the same, the later one is told of.
            if !is_before
                && looks_at_all_of(list, before)
                && holds(list, &mut indexes[number], before, &mut left)
            {
                continue;
            }
            let what = match before.action == list.action {
                true => "repeats",
                false => "never decides: it stands behind",
            };
            report.warning(
                places[number],
                format!(
                    "domains {} {what} domains {} in {}: that holds all of its names too",
                    quote(&list.name, 64),
                    quote(&before.name, 64),
                    report.line_seen_from(places[other], places[number])
                ),
                match before.action == list.action {
                    true => "leave one of them out",
                    false => "put the narrower list first, or leave it out",
                },
            );
            break;
        }
    }
}

/// Whether a list looks at every question type that the other one looks at.
fn looks_at_all_of(list: &DomainList, other: &DomainList) -> bool {
    match (&list.qtypes, &other.qtypes) {
        (None, _) => true,
        (Some(types), Some(others)) => others.iter().all(|it| types.binary_search(it).is_ok()),
        (Some(_), None) => false,
    }
}

/// Whether a list holds every name of the other one, which has some. `false` if looking would take
/// too long.
fn holds(
    list: &DomainList,
    index: &mut Option<NameIndex>,
    other: &DomainList,
    left: &mut usize,
) -> bool {
    let Some(first) = other.names.get(0) else { return false };
    // `example.org` holds `*.example.org` too.
    let is_it =
        |name, below_only, it: (_, bool)| it.0 == name && (it.1 == below_only || below_only);
    if index.is_none() {
        // Most lists have nothing to do with each other, which one look at each name finds out.
        let cost = list.names.len();
        let mut names = list.names.iter().map(|it| (it.name, it.below_only));
        *left = left.saturating_sub(cost);
        if *left == 0 || !names.any(|it| is_it(first.name, first.below_only, it)) {
            return false;
        }
    }
    let index = index.get_or_insert_with(|| NameIndex::of(&list.names));
    other.names.iter().all(|it| {
        *left = left.saturating_sub(1);
        let found = |below_only| index.find(&list.names, it.name, below_only).is_some();
        *left > 0 && (found(it.below_only) || (it.below_only && found(false)))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_with;

    /// The warnings of lists `a`, `b` and so on, each with its names and other keys.
    fn warned(all: &[(&str, &str)]) -> String {
        let list = |((names, keys), name): (&(&str, &str), char)| {
            let names: Vec<String> = names.split(' ').map(|it| format!("\"{it}\"")).collect();
            let names = names.join(",");
            format!("[[domains]]\nname = \"{name}\"\nnames = [{names}]\n{keys}\n")
        };
        let text: String = all.iter().zip('a'..).map(list).collect();
        let read_file = |_: &Path| Ok(text.as_bytes().to_vec());
        let loaded = load_with(Path::new("x.toml"), &read_file);
        assert!(loaded.diagnostics.is_ok(), "{:?}", loaded.diagnostics);
        let told = loaded.diagnostics.warnings.iter().map(|it| it.message.clone());
        told.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_another_list_holds_is_found() {
        let b_repeats_a =
            "domains \"b\" repeats domains \"a\" in line 2: that holds all of its names too";
        let a_repeats_b =
            "domains \"a\" repeats domains \"b\" in line 6: that holds all of its names too";
        let b_is_behind_a = "domains \"b\" never decides: it stands behind domains \"a\" in line 2: that holds all of its names too";
        for (a, b, told) in [
            (("x.example", ""), ("x.example", ""), b_repeats_a),
            (("x.example y.example", ""), ("Y.example", ""), b_repeats_a),
            (("x.example", ""), ("*.x.example", ""), b_repeats_a),
            (("*.x.example", ""), ("x.example", ""), a_repeats_b),
            (("y.example", ""), ("x.example y.example", ""), a_repeats_b),
            (("x.example", ""), ("y.example", ""), ""),
            // The name between the two may be in a third list.
            (("example", ""), ("x.example", ""), ""),
            (("x.example", ""), ("x.example", "action = \"pass\""), b_is_behind_a),
            (("x.example", ""), ("x.example y.example", "action = \"pass\""), ""),
            (("x.example", ""), ("x.example", "qtype = \"ANY\""), b_repeats_a),
            (("x.example", "qtype = \"ANY\""), ("x.example", ""), a_repeats_b),
            (("x.example", "qtype = \"ANY\""), ("x.example", "action = \"pass\""), ""),
            (("x.example", "qtype = \"A\""), ("x.example", "qtype = \"AAAA\""), ""),
        ] {
            assert_eq!(warned(&[a, b]), told, "{a:?} and {b:?}");
        }
    }

    #[test]
    fn each_list_is_told_once_and_an_empty_one_never() {
        let told = warned(&[("x.example", ""), ("x.example", ""), ("x.example", "")]);
        assert_eq!(told.matches("repeats domains \"a\"").count(), 2, "{told}");
        let empty = "[[domains]]\nname = \"z\"\nallow_empty = true\n";
        let read_file = |_: &Path| Ok(empty.as_bytes().to_vec());
        assert_eq!(load_with(Path::new("x.toml"), &read_file).diagnostics.warnings, []);
    }
}
