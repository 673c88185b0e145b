//! List files: one entry a line, up to a million lines, read on every reload.

pub mod backends;
pub(crate) mod content;
mod ipv4;
mod line;
pub mod names;

use line::Line;

use super::prefix::{self, Family, IpPrefix};
use super::range;
use crate::ruleset::{Entry, Prefix};
use xdp_common::capacity::{MAX_PREFIXES, MAX_SHOWN_WARNINGS};

/// The entries of one list, from the configuration and all its files.
#[derive(Debug)]
pub struct ListEntries {
    pub v4: Vec<Entry<u32>>,
    pub v6: Vec<Entry<u128>>,
    /// Whether one family has more prefixes than a ruleset can hold, so that reading stopped.
    pub overfull: bool,
    /// Duplicates are removed once there are so many entries.
    fold_at: usize,
    /// How many entries were left when duplicates were last removed.
    folded: usize,
}

impl Default for ListEntries {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), overfull: false, fold_at: FOLD_AT, folded: 0 }
    }
}

/// Lists rarely have so many entries, so duplicates rarely have to be removed.
const FOLD_AT: usize = 2 * MAX_PREFIXES;

impl ListEntries {
    /// How many entries there are, duplicates included.
    #[inline]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an IPv4 prefix with its place.
    #[inline]
    pub fn push_v4(&mut self, prefix: Prefix<u32>, file: u16, line: u32) {
        if self.len() >= self.fold_at {
            self.fold();
        }
        self.v4.push(Entry { prefix, file, line });
    }

    /// Adds an IPv6 prefix with its place.
    #[inline]
    pub fn push_v6(&mut self, prefix: Prefix<u128>, file: u16, line: u32) {
        if self.len() >= self.fold_at {
            self.fold();
        }
        self.v6.push(Entry { prefix, file, line });
    }

    /// Adds the entries of a file.
    pub fn extend(&mut self, other: &Self) {
        self.v4.extend_from_slice(&other.v4);
        self.v6.extend_from_slice(&other.v6);
        self.overfull |= other.overfull;
        if self.len() >= self.fold_at {
            self.fold();
        }
    }

    /// Adds the entries of a file that no other list names.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() { *self = other } else { self.extend(&other) }
    }

    /// Removes duplicates: keeps the first entry of each prefix.
    #[cold]
    pub fn fold(&mut self) {
        if self.len() == self.folded {
            return;
        }
        self.overfull |= !compact(&mut self.v4) | !compact(&mut self.v6);
        self.folded = self.len();
        // So many more entries must be added before this is done again that it costs little for
        // each of them.
        self.fold_at = FOLD_AT.max(self.folded + MAX_PREFIXES);
    }
}

/// Keeps the first entry of each prefix, and returns whether a ruleset can hold what is left.
///
/// Duplicates are normal, but a file of nothing else must not take all memory.
fn compact<A: Copy + Ord>(entries: &mut Vec<Entry<A>>) -> bool {
    entries.sort_unstable_by_key(|entry| (entry.prefix, entry.file, entry.line));
    entries.dedup_by_key(|entry| entry.prefix);
    entries.len() <= MAX_PREFIXES
}

/// A line with a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    pub message: String,
    pub hint: String,
}

/// The first lines with one kind of mistake, and how many there are in total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub shown: Vec<Fault>,
    pub total: usize,
}

impl Faults {
    fn add(&mut self, fault: impl FnOnce() -> Fault) {
        self.total += 1;
        if self.shown.len() < MAX_SHOWN_WARNINGS {
            self.shown.push(fault());
        }
    }
}

/// What was found in a list file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether any line held an entry.
    pub yields: bool,
    pub unreadable: Faults,
    /// Prefixes with bits set beyond their length.
    pub host_bits: Faults,
    /// Entries that hold every address of a family.
    pub catch_all: Faults,
    /// How many of the unreadable lines look like those of a hosts file.
    pub hosts_lines: usize,
}

impl Findings {
    /// Whether these are findings in a hosts file. It would give a mistake for each line, so it is
    /// reported as a whole.
    pub fn is_of_hosts_file(&self, entries: &ListEntries) -> bool {
        self.hosts_lines > entries.len() && 2 * self.hosts_lines >= self.unreadable.total
    }
}

/// Reads a list file's text, which need not be UTF-8, into `entries`. `file` is the number of the
/// file, which is written into each entry.
pub fn scan(bytes: &[u8], file: u16, entries: &mut ListEntries) -> Findings {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut findings = Findings::default();
    let mut at = 0;
    let mut line = 0;
    while at < bytes.len() && !entries.overfull {
        line += 1;
        if let Some((address, length, next)) = ipv4_line(bytes, at) {
            let (prefix, host_bits) = prefix::masked_v4(address, length);
            if host_bits {
                let rest = bytes[at..].iter();
                let end = at + rest.take_while(|byte| is_entry(**byte)).count();
                masked(&mut findings.host_bits, line, &bytes[at..end], (0, end - at), || {
                    IpPrefix::V4(prefix)
                });
            }
            if prefix.length == 0 {
                let text = &bytes[at..next];
                catch_all(&mut findings.catch_all, line, text, line::entry_span(text), Family::V4);
            }
            entries.push_v4(prefix, file, line);
            findings.yields = true;
            at = next;
            continue;
        }
        let end = line_end(bytes, at);
        other_line(&bytes[at..end], file, line, entries, &mut findings);
        at = end + 1;
    }
    findings
}

/// Reads the most common kind of line: an IPv4 address or prefix at its start, then at most blanks
/// and a comment. `None` for any other line, which is left to [`line::read`].
#[inline]
fn ipv4_line(bytes: &[u8], at: usize) -> Option<(u32, u8, usize)> {
    let (address, length, mut end) = ipv4::prefix(bytes, at)?;
    loop {
        match bytes.get(end) {
            None => return Some((address, length, end)),
            Some(b'\n') => return Some((address, length, end + 1)),
            Some(&byte) if line::is_blank(byte) => end += 1,
            Some(b'#' | b';') => return Some((address, length, line_end(bytes, end) + 1)),
            Some(_) => return None,
        }
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn is_entry(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'/')
}

fn other_line(
    text: &[u8],
    file: u16,
    line: u32,
    entries: &mut ListEntries,
    findings: &mut Findings,
) {
    match line::read(text) {
        Ok(Line::Nothing) => return,
        Ok(Line::Prefix(parsed, span)) => {
            if parsed.host_bits {
                masked(&mut findings.host_bits, line, text, span, || parsed.prefix);
            }
            if parsed.prefix.length() == 0 {
                catch_all(&mut findings.catch_all, line, text, span, parsed.prefix.family());
            }
            match parsed.prefix {
                IpPrefix::V4(prefix) => entries.push_v4(prefix, file, line),
                IpPrefix::V6(prefix) => entries.push_v6(prefix, file, line),
            }
        }
        Ok(Line::RangeV4(first, last)) => {
            if (first, last) == (0, u32::MAX) {
                catch_all(&mut findings.catch_all, line, text, line::entry_span(text), Family::V4);
            }
            for prefix in range::prefixes_v4(first, last) {
                entries.push_v4(prefix, file, line);
            }
        }
        Ok(Line::RangeV6(first, last)) => {
            if (first, last) == (0, u128::MAX) {
                catch_all(&mut findings.catch_all, line, text, line::entry_span(text), Family::V6);
            }
            for prefix in range::prefixes_v6(first, last) {
                entries.push_v6(prefix, file, line);
            }
        }
        Err(error) => {
            findings.hosts_lines += usize::from(line::is_of_hosts_file(text));
            findings.unreadable.add(|| Fault {
                line,
                column: column(text, error.span.0),
                message: format!("{} {}", quoted(text, error.span), error.reason.message()),
                hint: error.reason.hint(),
            });
            return;
        }
    }
    findings.yields = true;
}

fn masked(
    faults: &mut Faults,
    line: u32,
    text: &[u8],
    span: (usize, usize),
    prefix: impl Fn() -> IpPrefix,
) {
    faults.add(|| Fault {
        line,
        column: column(text, span.0),
        message: format!("{} has bits set beyond its length", quoted(text, span)),
        hint: format!("taken as {}", prefix()),
    });
}

fn catch_all(faults: &mut Faults, line: u32, text: &[u8], span: (usize, usize), family: Family) {
    faults.add(|| Fault {
        line,
        column: column(text, span.0),
        message: format!("{} {}", quoted(text, span), family.all_of_it()),
        hint: "leave it out; where it is meant, the list says catch_all = true".into(),
    });
}

/// The column of a byte of a line, in characters from 1.
fn column(line: &[u8], at: usize) -> u32 {
    let before = String::from_utf8_lossy(&line[..at]).chars().count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

fn quoted(line: &[u8], (start, end): (usize, usize)) -> String {
    /// No entry has more characters; the rest of a line would only fill the screen.
    const MOST: usize = 90;
    // A character takes at most four bytes.
    let cut = &line[start..end.min(start + 4 * MOST)];
    super::report::quote(&String::from_utf8_lossy(cut), MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: impl AsRef<[u8]>) -> (Vec<String>, Findings) {
        let mut entries = ListEntries::default();
        let findings = scan(text.as_ref(), 7, &mut entries);
        let v4 = entries.v4.iter().map(|e| (e.line, e.file, IpPrefix::V4(e.prefix)));
        let v6 = entries.v6.iter().map(|e| (e.line, e.file, IpPrefix::V6(e.prefix)));
        let mut all: Vec<_> = v4.chain(v6).collect();
        all.sort_by_key(|(line, ..)| *line);
        let shown = all.iter().map(|(line, file, prefix)| {
            assert_eq!(*file, 7);
            format!("{line}: {prefix}")
        });
        (shown.collect(), findings)
    }

    #[test]
    fn lines_of_all_kinds_keep_their_numbers() {
        let text = "\u{feff}1.2.3.4\r\n# comment\r\n\r\n10.0.0.0/8 ; SBL1\n1.1.1.1# x\n\
                    2001:db8::/32\n  9.9.9.9\t\n10.0.0.1-10.0.0.2\nnonsense\n\
                    {\"cidr\":\"1.10.16.0/20\"}\n255.255.255.255";
        let (entries, findings) = scanned(text);
        assert_eq!(
            entries,
            [
                "1: 1.2.3.4/32",
                "4: 10.0.0.0/8",
                "5: 1.1.1.1/32",
                "6: 2001:db8::/32",
                "7: 9.9.9.9/32",
                "8: 10.0.0.1/32",
                "8: 10.0.0.2/32",
                "10: 1.10.16.0/20",
                "11: 255.255.255.255/32",
            ]
        );
        assert!(findings.yields);
        assert_eq!(findings.unreadable.total, 1);
        let fault = &findings.unreadable.shown[0];
        assert_eq!((fault.line, fault.column), (9, 1));
        assert_eq!(fault.message, r#""nonsense" is not an address, a prefix or a range"#);
        assert_eq!(findings.host_bits, Faults::default());
    }

    #[test]
    fn the_first_ten_are_shown_and_the_rest_counted() {
        let (entries, findings) = scanned("bad\n1.2.3.4/8 # x\n  2001:db8::1/32\n".repeat(11));
        assert_eq!(entries.len(), 22);
        assert_eq!((findings.unreadable.shown.len(), findings.unreadable.total), (10, 11));
        assert_eq!((findings.host_bits.shown.len(), findings.host_bits.total), (10, 22));
        let [first, second, ..] = findings.host_bits.shown.as_slice() else {
            panic!("nothing found");
        };
        assert_eq!((first.line, first.column, first.hint.as_str()), (2, 1, "taken as 1.0.0.0/8"));
        assert_eq!(first.message, r#""1.2.3.4/8" has bits set beyond its length"#);
        assert_eq!((second.line, second.column), (3, 3));
    }

    #[test]
    fn nothing_but_comments_yields_nothing() {
        for text in ["", "\n\n", "# a\n; b", "{\"type\":\"metadata\"}\n", "\u{feff}"] {
            assert_eq!(scanned(text), (vec![], Findings::default()), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let (entries, findings) = scanned(b"1.2.3.4\n \xff\xfe\n1.2.3.4 # caf\xe9\n");
        assert_eq!(entries, ["1: 1.2.3.4/32", "3: 1.2.3.4/32"]);
        let fault = &findings.unreadable.shown[0];
        assert_eq!((fault.line, fault.column), (2, 2));
        assert_eq!(fault.message, "\"\u{fffd}\u{fffd}\" is not UTF-8 text");
    }

    #[test]
    fn duplicates_do_not_pile_up() {
        let mut entries = ListEntries::default();
        let findings = scan("1.2.3.4\n".repeat(2 * MAX_PREFIXES + 5).as_bytes(), 1, &mut entries);
        assert!(findings.yields);
        assert!(!entries.overfull);
        assert_eq!(entries.v4.len(), 6);
        assert_eq!(entries.v4[0].line, 1);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

        /// The fast reader of common lines accepts no line that the reader of all lines refuses,
        /// and reads the same from it.
        #[test]
        fn the_fast_way_reads_what_the_slow_one_does(
            line in "[0-2]?[0-9]{1,2}(\\.[0-2]?[0-9]{1,2}){3}(/[0-9]{0,3})?[ \t\r]{0,2}([#;x-].?)?",
        ) {
            let fast = ipv4_line(line.as_bytes(), 0).map(|(address, length, _)| {
                let (prefix, host_bits) = prefix::masked_v4(address, length);
                prefix::Parsed { prefix: IpPrefix::V4(prefix), host_bits }
            });
            let slow = match line::read(line.as_bytes()) {
                Ok(Line::Prefix(parsed, _)) => Some(parsed),
                _ => None,
            };
            proptest::prop_assert_eq!(fast, slow);
        }

        #[test]
        fn any_bytes_can_be_scanned(bytes: Vec<u8>) {
            let mut entries = ListEntries::default();
            let findings = scan(&bytes, 0, &mut entries);
            let any = !entries.v4.is_empty() || !entries.v6.is_empty();
            proptest::prop_assert_eq!(findings.yields, any);
        }
    }

    /// Prints how long reading took. It does not test speed, since a busy machine would fail that.
    #[test]
    #[ignore = "a measurement, for a release build"]
    fn a_million_lines() {
        use std::fmt::Write;

        let mut text = String::new();
        for number in 0..1_000_000u32 {
            let address = std::net::Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761));
            writeln!(text, "{address}").unwrap();
        }
        for _ in 0..5 {
            let start = std::time::Instant::now();
            let mut entries = ListEntries::default();
            let findings = scan(text.as_bytes(), 1, &mut entries);
            println!("{} lines in {:?}", entries.v4.len(), start.elapsed());
            assert!(findings.yields);
        }
    }
}
