//! The manual page of configurations has every key that the reader knows.

use std::collections::BTreeMap;

use super::Setup;

/// The page.
const PAGE: &str = include_str!("../../../../man/xdpctl.toml.5");

/// What an unknown key in each table is answered with: the keys of that table.
fn known() -> BTreeMap<&'static str, Vec<String>> {
    let tables = [
        ("Top of the file", ""),
        ("[policy]", "[policy]"),
        ("[arp]", "[arp]"),
        ("[[allowlist]]", "[[allowlist]]"),
        ("[[blocklist]]", "[[blocklist]]"),
        ("[[domains]]", "[[domains]]"),
        ("[[rule]]", "[[rule]]"),
        ("[services]", "[services]"),
        ("[[service]]", "[[service]]"),
        ("[[service.backend]]", "[[service]]\n[[service.backend]]"),
        ("[service.check]", "[[service]]\n[service.check]"),
    ];
    let keys = |table: &str| {
        let setup = Setup::new(&[]);
        let loaded = setup.load(format!("{table}\nqqqqqqqqqqqqqqqq = 1\n"));
        let hints = loaded.diagnostics.errors.iter().filter_map(|error| error.hint.as_deref());
        let all = hints.filter_map(|hint| hint.strip_prefix("the keys here are ")).next();
        let all = all.unwrap_or_else(|| panic!("{table}: {:?}", loaded.diagnostics));
        let quoted = all.split('"').skip(1).step_by(2);
        quoted.map(str::to_owned).collect::<Vec<_>>()
    };
    tables.map(|(section, table)| (section, keys(table))).into()
}

/// The tags of a section of the page: what stands in bold in the line after each `.TP`.
fn tags(section: &str) -> Vec<String> {
    let (_, rest) = PAGE.split_once(&format!("\n.SS {section}\n")).expect("that section");
    let text = rest.split("\n.SS ").next().unwrap_or_default();
    let text = text.split("\n.SH ").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tags = lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]);
    let words = tags.flat_map(|tag| tag.split_whitespace().skip(1));
    let is_key = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    words.filter(is_key).map(str::to_owned).collect()
}

#[test]
fn every_key_stands_in_the_manual_page() {
    for (section, mut keys) in known() {
        let mut told = tags(section);
        keys.sort();
        told.sort();
        assert_eq!(told, keys, "{section}");
    }
}

/// A table that the reader takes is looked at above.
#[test]
fn every_table_of_the_page_is_looked_at() {
    let known = known();
    for table in &known["Top of the file"] {
        let is_seen = known.keys().any(|section| section.trim_matches(['[', ']']) == table);
        let has_keys = !matches!(table.as_str(), "include" | "define");
        assert_eq!(is_seen, has_keys, "{table}");
    }
}

/// The examples of the page are configurations: together they load.
#[test]
fn the_examples_load() {
    let blocks = PAGE.split("\n.EX\n").skip(1);
    let examples: Vec<String> =
        blocks.filter_map(|block| Some(block.split_once("\n.EE")?.0.replace("\\-", "-"))).collect();
    assert!(examples.len() > 6, "{}", examples.len());
    let list: &[u8] = b"203.0.113.7\n";
    let long: String = (0..1000u32).map(|n| format!("198.18.{}.{}\n", n / 256, n % 256)).collect();
    let setup = Setup::new(&[
        ("common.toml", b""),
        ("lists/partners.txt", list),
        ("lists/drop.txt", long.as_bytes()),
        ("lists/spamhaus-drop.txt", list),
        ("lists/hosts.txt", b"0.0.0.0 tracker.example\n"),
    ]);
    for example in examples {
        // Their seed is everybody's, and whoever copies it is told so.
        let said = setup.said(&example);
        let rest: Vec<&str> =
            said.lines().filter(|line| !line.contains("with the seed of an example")).collect();
        assert!(rest.is_empty(), "{example}\n{said}");
    }
}
