//! Any bytes as a list file of names: what is said of it lies in it, and a name that is written down
//! is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xdp_common::capacity::MAX_SHOWN_WARNINGS;
use xdpctl::config::listfile::names::{NameEntries, NameFindings, scan};

#[path = "places.rs"]
mod places;

const FILE: u16 = 7;

fn read(text: &[u8]) -> (NameEntries, NameFindings) {
    let mut entries = NameEntries::default();
    let findings = scan(text, FILE, &mut entries, &|_| false);
    assert_eq!(findings.yields, !entries.is_empty());
    assert!(entries.names.is_whole());
    (entries, findings)
}

fuzz_target!(|text: &[u8]| {
    let (mut entries, findings) = read(text);
    for faults in [&findings.unreadable, &findings.catch_all, &findings.one_label] {
        assert_eq!(faults.shown.len(), faults.total.min(MAX_SHOWN_WARNINGS));
        for fault in &faults.shown {
            assert!(fault.line > 0 && fault.column > 0);
            places::check(text, fault.line, fault.column);
            places::check_harmless(&fault.message);
            places::check_harmless(&fault.hint);
        }
    }
    for listed in entries.names.iter() {
        assert_eq!(listed.file, FILE);
        let wire = listed.name.wire();
        assert!(wire.len() < 255 && !wire.iter().any(u8::is_ascii_uppercase));
        let (again, findings) = read(listed.to_string().as_bytes());
        let only = again.names.get(0).expect("a name");
        assert_eq!((only.name, only.below_only, only.line), (listed.name, listed.below_only, 1));
        assert_eq!((again.len(), findings.unreadable.total), (1, 0));
    }
    let before = entries.len();
    entries.fold();
    assert!(entries.len() <= before && entries.is_empty() == (before == 0));
});
