//! List files of names, in any of the forms that such lists are published in, up to a million lines,
//! read on every reload.

mod entries;
mod line;
mod records;
mod scan;
mod words;
mod zone;

use super::line_end;
use crate::config::domain_name::NameBuffer;
use crate::ruleset::domains::DomainName;
pub use entries::{NameEntries, NameFindings, Skipped};
use scan::Scan;
use zone::Zone;

/// Reads a list file's text, which need not be UTF-8, into `entries`. `file` is the number of the
/// file, which is written beside each name. `is_meant` says of a name of one label whether it is meant to
/// stand for all below it.
pub fn scan(
    bytes: &[u8],
    file: u16,
    entries: &mut NameEntries,
    is_meant: &dyn Fn(DomainName<'_>) -> bool,
) -> NameFindings {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut scan = Scan {
        file,
        line: 0,
        text: &[],
        entries,
        buffer: NameBuffer::default(),
        findings: NameFindings::default(),
        is_adblock: false,
        zone: Zone::default(),
        is_meant,
    };
    let mut at = 0;
    while at < bytes.len() && !scan.entries.overfull {
        let end = line_end(bytes, at);
        scan.line += 1;
        scan.text = &bytes[at..end];
        scan.read_line();
        at = end + 1;
    }
    scan.refuse_open();
    scan.findings
}

#[cfg(test)]
mod tests;
