//! The prefixes of a command: its arguments, or standard input.

use std::io::{self, Read as _};
use std::path::Path;

use super::{Failure, Session};
use crate::args::Prefixes;
use crate::config::list::{UNREADABLE, tell};
use crate::config::listfile::{self, ListEntries};
use crate::config::prefix::IpPrefix;
use crate::config::report::HOST_BITS;
use crate::datapath::error::Error;
use crate::diagnostic::Diagnostics;
use crate::notation::{grouped, plain};
use xdp_common::capacity::{MAX_FILE_SIZE, MAX_PREFIXES};

/// The argument that stands for standard input.
const STDIN: &str = "-";

/// Reads all of them, in order. Everything that cannot be read is told, and then nothing is done.
pub fn read(args: &Prefixes, session: &mut Session<'_>) -> Result<Vec<IpPrefix>, Failure> {
    if args.prefixes.iter().all(|prefix| prefix != STDIN) {
        return arguments(&args.prefixes, session);
    }
    if args.prefixes.len() > 1 {
        session.reporter.error(
            "`-` stands for all prefixes, read from standard input, and others are given too",
            Some("write the others to standard input, or run the command twice"),
        );
        return Err(Failure::Configuration);
    }
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        session.reporter.error("standard input is longer than 1 GiB", None);
        return Err(Failure::Configuration);
    }
    lines(&bytes, session)
}

fn lines(bytes: &[u8], session: &mut Session<'_>) -> Result<Vec<IpPrefix>, Failure> {
    let mut entries = ListEntries::default();
    let findings = listfile::scan(bytes, 0, &mut entries);
    if entries.overfull {
        let most = grouped(MAX_PREFIXES as u64);
        let told = format!("standard input has more than {most} prefixes of one family");
        session.reporter.error(&told, None);
        return Err(Failure::Configuration);
    }
    let name = Path::new("<stdin>");
    let mut found = Diagnostics::default();
    tell(name, findings.unreadable, UNREADABLE, &mut found.errors);
    tell(name, findings.host_bits, HOST_BITS, &mut found.warnings);
    session.reporter.diagnostics(&found);
    if !found.is_ok() {
        return Err(Failure::Configuration);
    }
    let prefixes = prefixes(&entries);
    if prefixes.is_empty() {
        // As from `zcat`, of a file that is not there.
        session.reporter.warning(
            "standard input had no prefixes",
            Some("see whether the command that writes to it failed"),
        );
    }
    Ok(prefixes)
}

fn arguments(texts: &[String], session: &mut Session<'_>) -> Result<Vec<IpPrefix>, Failure> {
    let mut entries = ListEntries::default();
    let mut wrong = false;
    for text in texts {
        // A list file's line ends there: what follows would be an entry that nobody asked for.
        if text.contains('\n') {
            let told = format!("\"{}\" has a line feed: an argument is one prefix", plain(text));
            let hint = "give each prefix as an argument of its own, or write them to standard \
                        input, one a line, and give `-`";
            session.reporter.error(&told, Some(hint));
            wrong = true;
            continue;
        }
        let findings = listfile::scan(text.as_bytes(), 0, &mut entries);
        for fault in &findings.unreadable.shown {
            session.reporter.error(&fault.message, Some(&fault.hint));
        }
        if !findings.yields && findings.unreadable.total == 0 {
            let told = format!("\"{}\" is not an address, a prefix or a range", plain(text));
            let hint = "a prefix looks like 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32";
            session.reporter.error(&told, Some(hint));
        }
        wrong |= !findings.yields || findings.unreadable.total > 0;
        for fault in &findings.host_bits.shown {
            session.reporter.warning(&fault.message, Some(&fault.hint));
        }
    }
    if wrong { Err(Failure::Configuration) } else { Ok(prefixes(&entries)) }
}

fn prefixes(entries: &ListEntries) -> Vec<IpPrefix> {
    let v4 = entries.v4.iter().map(|entry| IpPrefix::V4(entry.prefix));
    v4.chain(entries.v6.iter().map(|entry| IpPrefix::V6(entry.prefix))).collect()
}

/// How many, or which where it is one.
pub fn shown(prefixes: &[IpPrefix]) -> String {
    match prefixes {
        [prefix] => prefix.to_string(),
        _ => format!("{} prefixes", grouped(prefixes.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::steers;
    use crate::report::Reporter;

    /// What was read, and what was said.
    fn read_by(
        read: impl FnOnce(&mut Session<'_>) -> Result<Vec<IpPrefix>, Failure>,
    ) -> (Option<Vec<String>>, String) {
        let (mut out, mut said) = (Vec::new(), Vec::new());
        let mut session =
            Session { out: &mut out, reporter: Reporter::new(&mut said, false), colours: false };
        let read = read(&mut session).ok();
        let read = read.map(|read| read.iter().map(ToString::to_string).collect());
        (read, String::from_utf8(said).unwrap())
    }

    #[test]
    fn all_forms_of_list_files() {
        let text = "# today\r\n203.0.113.7\n\n10.0.0.0/8 ; SBL1\n2001:db8::/32\n\
                    192.0.2.4-192.0.2.6\n";
        let (read, said) = read_by(|session| lines(text.as_bytes(), session));
        let expected =
            ["203.0.113.7/32", "10.0.0.0/8", "192.0.2.4/31", "192.0.2.6/32", "2001:db8::/32"];
        assert_eq!(read.unwrap(), expected);
        assert_eq!(said, "");
    }

    #[test]
    fn nothing_is_taken_with_a_warning() {
        let (read, said) = read_by(|session| lines(b"# nothing\n", session));
        assert_eq!(read, Some(Vec::new()));
        assert!(said.starts_with("warning: standard input had no prefixes"), "{said}");
    }

    #[test]
    fn all_mistakes_are_told_and_nothing_is_taken() {
        let text = "203.0.113.7\nnonsense\n10.0.0.1/8\n10.0.0.0/33\n";
        let (read, said) = read_by(|session| lines(text.as_bytes(), session));
        assert_eq!(read, None);
        insta::assert_snapshot!(said);
    }

    #[test]
    fn arguments_are_told_as_they_are() {
        let given = ["nonsense", "10.0.0.1/8", "", "# x", "10.0.0.0/33", "192.0.2.9-192.0.2.1"];
        let given = given.map(str::to_owned);
        let (read, said) = read_by(|session| arguments(&given, session));
        assert_eq!(read, None);
        insta::assert_snapshot!(said);
        let given = ["10.0.0.1/8", "192.0.2.8-192.0.2.9"].map(str::to_owned);
        let (read, said) = read_by(|session| arguments(&given, session));
        assert_eq!(read.unwrap(), ["10.0.0.0/8", "192.0.2.8/31"]);
        assert_eq!(said.lines().count(), 2, "{said}");
    }

    #[test]
    fn an_argument_is_one_prefix() {
        for text in ["10.0.0.1\n0.0.0.0/0", "10.0.0.1\n", "\n", "# x\n10.0.0.1"] {
            let given = ["192.0.2.1".to_owned(), text.to_owned()];
            let (read, said) = read_by(|session| arguments(&given, session));
            assert_eq!(read, None, "{text:?}");
            let told = format!("error: \"{}\" has a line feed: an argument", plain(text));
            assert!(said.starts_with(&told), "{said}");
            assert_eq!(said.lines().count(), 2, "{said}");
        }
    }

    #[test]
    fn arguments_steer_no_terminal() {
        for character in ['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{61c}'] {
            let given = [format!("10.0.0.1{character}x")];
            let (read, said) = read_by(|session| arguments(&given, session));
            assert_eq!(read, None, "{said}");
            assert!(said.contains(&character.escape_default().to_string()), "{said}");
            assert!(!said.replace('\n', "").chars().any(steers), "{said:?}");
        }
    }
}
