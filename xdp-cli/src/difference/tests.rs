//! Differences between configurations, compared as rulesets.

use std::path::Path;

use super::pair::longest_increasing;
use super::*;
use crate::config::file::FileError;
use crate::config::load_with;
use crate::config::written::Value;

fn ruleset(text: &str) -> Ruleset {
    let bytes = text.as_bytes().to_vec();
    let files = move |path: &Path| -> Result<Vec<u8>, FileError> {
        match path.to_str() {
            Some("x.toml") => Ok(bytes.clone()),
            // A file named by a number holds so many addresses.
            Some(number) => {
                let number: u32 = number.parse().expect("a number of addresses");
                Ok((0..number)
                    .map(|host| format!("10.1.{}.{}\n", host >> 8, host & 255))
                    .collect::<String>()
                    .into_bytes())
            }
            None => unreachable!("a name in UTF-8"),
        }
    };
    let loaded = load_with(Path::new("x.toml"), &files);
    loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn between(before: &str, after: &str) -> Difference {
    Difference::between(&ruleset(before), &ruleset(after))
}

fn rules(names: &str) -> String {
    names
        .chars()
        .map(|name| {
            format!(
                "[[rule]]\nname = \"{name}\"\nprotocol = {}\naction = \"drop\"\n",
                name as u32 % 128
            )
        })
        .collect()
}

fn count(ipv4: u64, ipv6: u64) -> EntryCount {
    EntryCount { ipv4, ipv6, names: 0 }
}

/// No difference: lines, the order of sets, prefixes named twice, and list files instead of
/// prefixes in the configuration.
#[test]
fn what_means_the_same_is_no_difference() {
    let one = "[[blocklist]]\nname = 'x'\nprefixes = ['10.0.0.1', '10.0.0.0/8', '2001:db8::/32']\n\
        [[rule]]\nname = 'r'\ndestination_port = [80, '443-444', 22]\nsource = ['10.0.0.0/8', '::/0']\n\
        vlan = [3, 2]\naction = 'drop'\n";
    let other = "# another text\n\n[policy]\ndefault = 'pass'\n[arp]\naction = 'pass'\n\
        [[blocklist]]\nname = 'x'\nmatch = 'source'\naction = 'drop'\n\
        prefixes = ['2001:db8::/32', '10.0.0.0/8', '10.0.0.1', '10.0.0.1/32']\n\
        [[rule]]\nname = 'r'\naction = 'drop'\nsource = ['::/0', '10.0.0.0/8']\nvlan = [2, 3, 3]\n\
        destination_port = [22, 80, 22, '443-444']\n";
    assert_eq!(between(one, other), Difference::default());
    assert!(between(one, other).is_empty());
    let files = "[[blocklist]]\nname = 'x'\nfiles = ['3']";
    let prefixes =
        "[[blocklist]]\nname = 'x'\nprefixes = ['10.1.0.2', '10.1.0.0/31', '10.1.0.0', '10.1.0.1']";
    let difference = between(files, prefixes);
    let entries = difference.lists[0].entries.as_ref().unwrap();
    assert_eq!((entries.added, entries.removed), (count(1, 0), count(0, 0)));
    assert_eq!(entries.first_added, ["10.1.0.0/31"]);
}

#[test]
fn entries_are_compared_one_by_one() {
    // The number of entries stays the same, so totals alone would show no change.
    let before = "[[allowlist]]\nname = 'x'\nprefixes = ['10.0.0.1', '10.0.0.2', '10.0.0.0/24', '2001:db8::1']";
    let after = "[[allowlist]]\nname = 'x'\nprefixes = ['10.0.0.0/25', '10.0.0.3', '10.0.0.2', '2001:db8::/64']";
    let difference = between(before, after);
    let [list] = &difference.lists[..] else { panic!("{difference:?}") };
    assert_eq!((list.fate, list.kind, &*list.name), (Fate::Changed, Kind::Allowlist, "x"));
    assert_eq!((list.before, list.after), (count(3, 1), count(3, 1)));
    let entries = list.entries.as_ref().unwrap();
    assert_eq!((entries.added, entries.removed), (count(2, 1), count(2, 1)));
    assert_eq!(entries.first_added, ["10.0.0.0/25", "10.0.0.3", "2001:db8::/64"]);
    assert_eq!(entries.first_removed, ["10.0.0.0/24", "10.0.0.1", "2001:db8::1"]);
}

#[test]
fn lists_come_and_go_and_the_first_entries_are_named() {
    let before =
        "[[blocklist]]\nname = 'old'\nfiles = ['2']\n[[blocklist]]\nname = 'x'\nfiles = ['5']";
    let after = "[[blocklist]]\nname = 'x'\nfiles = ['300']\naction = 'count'\n\
        [[allowlist]]\nname = 'new'\nfiles = ['1']";
    let difference = between(before, after);
    let told: Vec<_> =
        difference.lists.iter().map(|l| (l.fate, l.kind, &*l.name, l.before, l.after)).collect();
    assert_eq!(
        told,
        [
            (Fate::Added, Kind::Allowlist, "new", count(0, 0), count(1, 0)),
            (Fate::Changed, Kind::Blocklist, "x", count(5, 0), count(300, 0)),
            (Fate::Removed, Kind::Blocklist, "old", count(2, 0), count(0, 0)),
        ]
    );
    let entries = difference.lists[1].entries.as_ref().unwrap();
    assert_eq!(entries.added, count(295, 0));
    assert_eq!(entries.first_added.len(), NAMED);
    assert_eq!(entries.first_added[0], "10.1.0.5");
    let word = |word: &str| Some(Value::Text(word.to_owned()));
    let setting = KeyChange { key: "action", before: word("drop"), after: word("count") };
    assert_eq!(difference.lists[1].settings, [setting]);
    // The other one of the two was removed, so nothing counts as moved.
    assert!(difference.lists.iter().all(|list| list.moved.is_none()));
}

#[test]
fn names_are_compared_one_by_one() {
    let before = "[[domains]]\nname = 'x'\nnames = ['a.example', '*.b.example', 'c.example']\n\
        qtype = 'ANY'";
    let after = "[[domains]]\nname = 'x'\nnames = ['C.example.', 'b.example', 'd.example']\n\
        action = 'refuse'";
    let difference = between(before, after);
    let [list] = &difference.lists[..] else { panic!("{difference:?}") };
    let names = |names| EntryCount { names, ..EntryCount::default() };
    assert_eq!((list.fate, list.kind, &*list.name), (Fate::Changed, Kind::Domains, "x"));
    assert_eq!((list.before, list.after), (names(3), names(3)));
    let entries = list.entries.as_ref().unwrap();
    assert_eq!((entries.added, entries.removed), (names(2), names(2)));
    assert_eq!(entries.first_added, ["b.example", "d.example"]);
    assert_eq!(entries.first_removed, ["a.example", "*.b.example"]);
    let text = |text: &str| Some(Value::Text(text.into()));
    let settings = [
        KeyChange { key: "action", before: text("drop"), after: text("refuse") },
        KeyChange { key: "qtype", before: text("ANY"), after: None },
    ];
    assert_eq!(list.settings, settings);
    // The same names in another order are the same list.
    let one = "[[domains]]\nname = 'x'\nnames = ['a.example', 'b.example']";
    let other = "[[domains]]\nname = 'x'\nnames = ['B.example', 'a.example', 'b.example.']";
    assert_eq!(between(one, other), Difference::default());
    // By numbers alone, the list is there as well.
    let after = ruleset(one);
    let by_numbers = Difference::by_numbers(&Metadata::unbound(&ruleset(before)), &after);
    let [list] = &by_numbers.lists[..] else { panic!("{by_numbers:?}") };
    assert_eq!(
        (list.fate, list.kind, list.before, list.after),
        (Fate::Changed, Kind::Domains, names(3), names(2))
    );
}

/// An allowlist and a blocklist of the same name are two lists, as they are for counters.
#[test]
fn a_list_that_becomes_of_another_kind_is_another() {
    let difference = between(
        "[[allowlist]]\nname = 'x'\nfiles = ['1']",
        "[[blocklist]]\nname = 'x'\nfiles = ['1']",
    );
    let told: Vec<_> = difference.lists.iter().map(|list| (list.fate, list.kind)).collect();
    assert_eq!(told, [(Fate::Removed, Kind::Allowlist), (Fate::Added, Kind::Blocklist)]);
}

#[test]
fn every_key_of_a_rule_is_compared() {
    let whole = "protocol = 'tcp'\nsource = '10.0.0.0/8'\ndestination = '192.0.2.1'\nsource_port = 1\n\
        destination_port = 2\ntcp_flags = 'syn,!ack'\ndscp = ['ef', 1]\nvlan = [7, 8]\n\
        source_mac = '02:00:00:00:00:09'\ndestination_mac = '02:00:00:00:00:0a'\nlength = '40-100'\nttl = 64\n\
        fragment = false\nnot_protocol = 47\nnot_source = '10.1.0.0/16'\nnot_destination = '192.0.2.2'\n\
        not_source_port = 7\nnot_destination_port = 8\nnot_tcp_flags = 'rst'\nnot_dscp = 1\nnot_vlan = 8\n\
        not_source_mac = '02:00:00:00:00:01'\nnot_destination_mac = '02:00:00:00:00:02'\n\
        not_length = 50\nnot_ttl = 1\nnot_fragment = 'later'\naction = 'redirect'\n\
        to = 'eth1'\nset_source_mac = '02:00:00:00:00:01'\nset_destination_mac = '02:00:00:00:00:02'\n";
    let other = [
        ("protocol = 'tcp'", "protocol = 6"),
        ("source = '10.0.0.0/8'", "source = '10.0.0.0/9'"),
        ("destination = '192.0.2.1'", "destination = ['192.0.2.1', '192.0.2.2']"),
        ("source_port = 1", "source_port = '1-2'"),
        ("destination_port = 2", "destination_port = 3"),
        ("tcp_flags = 'syn,!ack'", "tcp_flags = 'syn,ack'"),
        ("dscp = ['ef', 1]", "dscp = ['be', 1]"),
        ("vlan = [7, 8]", "vlan = [7, 8, 9]"),
        ("source_mac = '02:00:00:00:00:09'", "source_mac = '02:00:00:00:00:08'"),
        ("destination_mac = '02:00:00:00:00:0a'", ""),
        ("length = '40-100'", "length = ['40-99', 100]"),
        ("ttl = 64", "ttl = '63-64'"),
        ("fragment = false", "fragment = 'first'"),
        ("not_protocol = 47", "not_protocol = ['udp', 47]"),
        ("not_source = '10.1.0.0/16'", ""),
        ("not_destination = '192.0.2.2'", "not_destination = '192.0.2.3'"),
        ("not_source_port = 7", "not_source_port = '7-8'"),
        ("not_destination_port = 8", ""),
        ("not_tcp_flags = 'rst'", "not_tcp_flags = 'rst,ack'"),
        ("not_dscp = 1", "not_dscp = '1-3'"),
        ("not_vlan = 8", "not_vlan = 'none'"),
        ("not_source_mac = '02:00:00:00:00:01'", ""),
        ("not_destination_mac = '02:00:00:00:00:02'", ""),
        ("not_length = 50", "not_length = '50-51'"),
        ("not_ttl = 1", "not_ttl = [1, 2]"),
        ("not_fragment = 'later'", "not_fragment = true"),
        ("to = 'eth1'", "to = 'eth2'"),
        ("set_source_mac = '02:00:00:00:00:01'", ""),
        ("set_destination_mac = '02:00:00:00:00:02'", "set_destination_mac = '02:00:00:00:00:03'"),
    ];
    for (before, after) in other {
        let text = |whole: &str| format!("[[rule]]\nname = 'r'\n{whole}");
        let changed =
            format!("\n{whole}").replace(&format!("\n{before}\n"), &format!("\n{after}\n"));
        let difference = between(&text(whole), &text(&changed));
        if before == "protocol = 'tcp'" {
            assert_eq!(difference, Difference::default(), "another way to write it");
            continue;
        }
        let key = before.split(' ').next().unwrap();
        let [rule] = &difference.rules[..] else { panic!("{before}: {difference:?}") };
        let keys: Vec<_> = rule.settings.iter().map(|change| change.key).collect();
        assert_eq!((keys, rule.fate, rule.moved), (vec![key], Fate::Changed, None), "{before}");
    }
    let icmp = |number| {
        format!("[[rule]]\nname = 'r'\nprotocol = 'icmp'\nicmp_type = {number}\naction = 'drop'")
    };
    assert_eq!(between(&icmp(8), &icmp(0)).rules[0].settings[0].key, "icmp_type");
    let not = |number| icmp(8).replace("icmp_type = 8", &format!("not_icmp_type = {number}"));
    assert_eq!(between(&not(3), &not(4)).rules[0].settings[0].key, "not_icmp_type");
}

#[test]
fn policies_are_compared_key_by_key() {
    let difference = between(
        "[policy]\nfragments = 'drop'",
        "[policy]\ndefault = 'drop'\nmalformed = 'pass'\n[arp]\naction = 'drop'\nallow = ['192.0.2.1']",
    );
    let keys = |changes: &[KeyChange]| changes.iter().map(|change| change.key).collect::<Vec<_>>();
    assert_eq!(keys(&difference.policy), ["default", "malformed", "fragments"]);
    assert_eq!(keys(&difference.arp), ["action", "allow"]);
    assert_eq!(difference.arp[1].before, None);
}

#[test]
fn as_few_as_possible_have_moved() {
    let moved = |before: &str, after: &str| -> Vec<(String, Option<(usize, usize)>)> {
        let difference = between(&rules(before), &rules(after));
        difference.rules.into_iter().map(|r| (r.name, r.moved.map(|m| (m.from, m.to)))).collect()
    };
    let place = |name: &str, from, to| (name.to_owned(), Some((from, to)));
    assert_eq!(moved("abcdef", "bcdefa"), [place("a", 1, 6)]);
    assert_eq!(moved("abcdef", "fabcde"), [place("f", 6, 1)]);
    assert_eq!(moved("abcd", "acbd").len(), 1);
    // Rules that are added or removed do not make others count as moved.
    assert_eq!(
        moved("abcd", "xbyd"),
        [
            ("x".to_owned(), None),
            ("y".to_owned(), None),
            ("a".to_owned(), None),
            ("c".to_owned(), None)
        ]
    );
    assert_eq!(moved("abc", "cba").len(), 2);
}

#[test]
fn of_many_numbers_a_longest_increasing_subsequence() {
    let chosen = |numbers: &[usize]| {
        let chosen = longest_increasing(numbers);
        numbers
            .iter()
            .zip(chosen)
            .filter(|(_, chosen)| *chosen)
            .map(|(n, _)| *n)
            .collect::<Vec<_>>()
    };
    assert_eq!(chosen(&[]), [] as [usize; 0]);
    assert_eq!(chosen(&[5, 1, 6, 2, 3, 9, 4]), [1, 2, 3, 4]);
    assert_eq!(chosen(&[3, 2, 1]).len(), 1);
}

/// The metadata in the kernel has neither entries nor keys, only counts.
#[test]
fn names_and_numbers_are_left_where_a_ruleset_is_not_kept() {
    let before = format!(
        "[[blocklist]]\nname = 'x'\nfiles = ['5']\n[[blocklist]]\nname = 'y'\nfiles = ['5']\n{}",
        rules("abc")
    );
    let after = format!(
        "[policy]\ndefault = 'drop'\n[[blocklist]]\nname = 'x'\nfiles = ['7']\n[[blocklist]]\nname = 'y'\n\
         prefixes = ['10.0.0.0/29', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']\n{}",
        rules("bcd")
    );
    let difference =
        Difference::by_numbers(&Metadata::unbound(&ruleset(&before)), &ruleset(&after));
    assert!(difference.by_numbers);
    let [list] = &difference.lists[..] else { panic!("{difference:?}") };
    assert_eq!((&*list.name, list.before, list.after), ("x", count(5, 0), count(7, 0)));
    assert_eq!(list.entries, None);
    let rules: Vec<_> = difference.rules.iter().map(|rule| (&*rule.name, rule.fate)).collect();
    assert_eq!(rules, [("d", Fate::Added), ("a", Fate::Removed)]);
}
