//! Texts that are nearly configurations: whatever they hold, they are either accepted or refused
//! with diagnostics, and nothing panics.

use std::path::Path;

use proptest::prelude::*;

use crate::config::source::Source;
use crate::config::{file, understand};

const TEXT: &str = r#"# A bit of everything
policy.default = "pass"
[arp]
action = "drop"
allow = ["192.0.2.1"]
[[allowlist]]
name = "é"
prefixes = ["10.0.0.0/8", "2001:db8::/32"]
[[blocklist]]
name = "b"
files = ["/nonexistent"]
strict = true
[[rule]]
name = 'r'
protocol = "tcp"
source_port = [1, "2-3"]
tcp_flags = """syn,!ack"""
action = "redirect"
to = "eth0"
[rule.x]
[[rule.y]]
"#;

/// What is put into the text: mostly characters that mean something in TOML.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\[\\]{}=.,\"'#\n\\\\ ]{1,3}",
        Just("[[rule]]\n".to_owned()),
        Just("[rule]\n".to_owned()),
        Just("\u{feff}".to_owned()),
        "\\PC{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nearly_configurations(
        edits in prop::collection::vec((0..TEXT.len(), 0..8usize, piece()), 1..6),
    ) {
        let mut text: Vec<char> = TEXT.chars().collect();
        for (at, removed, added) in edits {
            let at = at.min(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, added.chars());
        }
        let text: String = text.into_iter().collect();
        let lines = text.split('\n').count();
        let source = Source::new(Path::new("x"), text.into_bytes()).unwrap();
        let loaded = understand(source, &file::read);
        prop_assert_eq!(loaded.ruleset.is_some(), loaded.diagnostics.is_ok());
        for found in loaded.diagnostics.errors {
            prop_assert!((1..=lines).contains(&(found.line as usize)), "{}", found);
            prop_assert!(found.column > 0, "{}", found);
        }
    }
}
