use std::path::PathBuf;

use super::*;
use crate::image::counters;

/// The ruleset of a configuration.
fn ruleset(text: &str) -> Ruleset {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("a.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = crate::config::load(&path);
    loaded.ruleset.unwrap_or_else(|| panic!("{text}: {:?}", loaded.diagnostics))
}

fn compiled(text: &str) -> NicTables {
    let ruleset = ruleset(text);
    compile(&ruleset, &counters::assign(&ruleset, &[], &[]).counted).unwrap()
}

const FIRST: u64 = 0x80 | 7 << 4;
const SECOND: u64 = 0x80 | 6 << 4;

#[test]
fn an_address_has_a_byte_for_each_question() {
    let tables = compiled(
        r#"
        arp = { action = "drop", allow = ["192.0.2.1", "192.0.2.9"] }
        [[allowlist]]
        name = "allow"
        prefixes = ["192.0.2.1"]
        [[blocklist]]
        name = "either"
        prefixes = ["192.0.2.1", "2001:db8::7"]
        match = "either"
        [[blocklist]]
        name = "count"
        prefixes = ["192.0.2.1", "192.0.2.2"]
        match = "destination"
        action = "count"
        "#,
    );
    let either = (FIRST | 1) << 8 | (FIRST | 1) << 24;
    let count = (SECOND | 2) << 32;
    assert_eq!(
        tables.v4,
        BTreeMap::from([
            (0xc000_0201, FIRST | either | count | 1 << 40),
            (0xc000_0202, count),
            (0xc000_0209, 1 << 40),
        ])
    );
    assert_eq!(tables.v6, BTreeMap::from([([0x2001_0db8_0000_0000, 7], either)]));
    assert_eq!(
        tables.flags,
        flag::MALFORMED_DROP | flag::ARP_DROP | flag::SOURCE_LISTS | flag::DESTINATION_LISTS
    );
}

#[test]
fn the_list_that_comes_first_has_the_higher_rank() {
    let tables = compiled(
        r#"
        [[blocklist]]
        name = "first"
        prefixes = ["192.0.2.1"]
        [[blocklist]]
        name = "second"
        prefixes = ["192.0.2.1", "192.0.2.2"]
        "#,
    );
    let expected = BTreeMap::from([(0xc000_0201, FIRST << 8), (0xc000_0202, (SECOND | 1) << 8)]);
    assert_eq!(tables.v4, expected);
}

#[test]
fn nothing_is_asked_where_nothing_is_listed() {
    let tables = compiled("policy = { default = \"drop\", fragments = \"drop\" }\n");
    let flags = flag::DEFAULT_DROP | flag::MALFORMED_DROP | flag::FRAGMENTS_DROP;
    assert_eq!(tables, NicTables { flags, ..NicTables::default() });
    // ARP passes, so the senders that it lets through need no entries.
    assert_eq!(compiled("arp = { allow = [\"192.0.2.1\"] }\n").largest(), 0);
}

#[test]
fn what_does_not_fit_is_named() {
    let mut text = String::new();
    for nth in 0..12 {
        let _ = write!(text, "[[rule]]\nname = \"r{nth}\"\nvlan = {nth}\naction = \"drop\"\n");
    }
    for nth in 0..10 {
        let prefix = if nth < 2 { format!("10.0.{nth}.0/24") } else { format!("10.0.{nth}.1") };
        let _ = write!(text, "[[blocklist]]\nname = \"l{nth}\"\nprefixes = [\"{prefix}\"]\n");
    }
    text += "[[allowlist]]\nname = \"a\"\nprefixes = [\"2001:db8::/32\", \"::/0\", \"10.0.0.1\"]\ncatch_all = true\n";
    insta::assert_snapshot!(fits(&ruleset(&text)).unwrap_err().to_string());
}
