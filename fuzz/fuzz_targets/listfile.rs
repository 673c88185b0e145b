//! Any bytes as a list file: each line says by itself what it says among the others, what is said
//! of it lies in it, and an entry that is written down is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xdp_common::capacity::MAX_SHOWN_WARNINGS;
use xdpctl::config::listfile::{Faults, ListEntries, scan};
use xdpctl::config::prefix::{IpPrefix, masked_v4, masked_v6};

#[path = "places.rs"]
mod places;

const FILE: u16 = 7;

/// The entries of a text with their lines, in the order in which they were read.
fn read(text: &[u8]) -> (Vec<(u32, IpPrefix)>, [Faults; 2]) {
    let mut entries = ListEntries::default();
    let findings = scan(text, FILE, &mut entries);
    let v4 = entries.v4.iter().map(|it| (it.file, it.line, IpPrefix::V4(it.prefix)));
    let v6 = entries.v6.iter().map(|it| (it.file, it.line, IpPrefix::V6(it.prefix)));
    let mut all: Vec<(u32, IpPrefix)> = Vec::new();
    for (file, line, prefix) in v4.chain(v6) {
        assert_eq!(file, FILE);
        all.push((line, prefix));
    }
    all.sort_by_key(|(line, _)| *line);
    assert_eq!(findings.yields, !all.is_empty());
    (all, [findings.unreadable, findings.host_bits])
}

fuzz_target!(|text: &[u8]| {
    let (entries, faults) = read(text);
    for faults in &faults {
        assert_eq!(faults.shown.len(), faults.total.min(MAX_SHOWN_WARNINGS));
        for fault in &faults.shown {
            assert!(fault.line > 0 && fault.column > 0);
            places::check(text, fault.line, fault.column);
            places::check_harmless(&fault.message);
            places::check_harmless(&fault.hint);
        }
    }

    let body = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut alone = Vec::new();
    let mut totals = [0, 0];
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        // That mark is one at a file's start alone, and none in front of a mark.
        let Some(line) = (!line.starts_with(b"\xef\xbb\xbf")).then_some(line) else { return };
        let (entries, faults) = read(line);
        alone.extend(entries.into_iter().map(|(_, prefix)| (number, prefix)));
        totals = [totals[0] + faults[0].total, totals[1] + faults[1].total];
    }
    assert_eq!(entries, alone);
    assert_eq!(faults.map(|faults| faults.total), totals);

    for (_, prefix) in entries {
        let masked = match prefix {
            IpPrefix::V4(prefix) => IpPrefix::V4(masked_v4(prefix.address, prefix.length).0),
            IpPrefix::V6(prefix) => IpPrefix::V6(masked_v6(prefix.address, prefix.length).0),
        };
        assert_eq!(masked, prefix);
        let (again, faults) = read(prefix.to_string().as_bytes());
        assert_eq!(again, [(1, prefix)]);
        assert!(faults.iter().all(|faults| faults.total == 0));
    }
});
