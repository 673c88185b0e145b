//! Which kernel this is: drivers learn things.

use std::fs;

/// Whether the running kernel is that version or a newer one.
#[track_caller]
pub fn is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(is_major)), Some(Ok(is_minor))) => (is_major, is_minor) >= (major, minor),
        _ => panic!("not a kernel's release: {release}"),
    }
}
