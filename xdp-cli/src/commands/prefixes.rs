//! Reads the prefixes that a command is given, as arguments or on standard input.

use std::io::{self, Read as _};
use std::path::Path;

use super::{Failure, Session};
use crate::args::Prefixes;
use crate::config::guard;
use crate::config::list::files::{UNREADABLE, tell};
use crate::config::listfile::content::{self, NoList};
use crate::config::listfile::{self, ListEntries};
use crate::config::prefix::{Family, IpPrefix, masked_v6};
use crate::config::report::HOST_BITS;
use crate::datapath::error::Error;
use crate::diagnostic::Diagnostics;
use crate::notation::{grouped, plain};
use xdp_common::capacity::{MAX_FILE_SIZE, MAX_PREFIXES};

/// The argument that stands for standard input.
const STDIN: &str = "-";

/// The arguments of a command on entries.
pub struct Given {
    /// `None` if all interfaces are meant and none is named.
    pub interface: Option<String>,
    /// Sorted, each once.
    pub prefixes: Vec<IpPrefix>,
}

/// Reads the arguments of a command on entries, and cuts prefixes to the length that is asked for.
/// Reports everything that cannot be read, and then fails.
pub fn read(interface: &str, args: &Prefixes, session: &mut Session<'_>) -> Result<Given, Failure> {
    // With `--all-interfaces`, the first argument is a prefix, or an interface if it cannot be one.
    let is_prefix = || {
        let found = listfile::scan(interface.as_bytes(), 0, &mut ListEntries::default());
        interface == STDIN || found.yields || found.unreadable.total > 0 && args.prefixes.is_empty()
    };
    let first = (args.all_interfaces && is_prefix()).then(|| interface.to_owned());
    let named = first.is_none().then(|| interface.to_owned());
    let texts: Vec<String> = first.into_iter().chain(args.prefixes.iter().cloned()).collect();
    Ok(Given { interface: named, prefixes: read_all(&texts, args.aggregate, session)? })
}

fn read_all(
    texts: &[String],
    aggregate: Option<u8>,
    session: &mut Session<'_>,
) -> Result<Vec<IpPrefix>, Failure> {
    let mut prefixes = read_as_given(texts, session)?;
    if let Some(length) = aggregate {
        for prefix in &mut prefixes {
            *prefix = aggregated(*prefix, length);
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(prefixes)
}

/// Refuses prefixes that hold every source of a family, one of them alone or several together,
/// unless that is meant.
pub fn refuse_catch_all(
    prefixes: &[IpPrefix],
    meant: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if meant {
        return Ok(());
    }
    let all = prefixes.iter().filter(|prefix| prefix.length() == 0);
    let mut told: Vec<String> = all
        .map(|prefix| format!("{prefix} holds every {} source", prefix.family().name()))
        .collect();
    let v4 = prefixes.iter().filter_map(|prefix| match prefix {
        IpPrefix::V4(prefix) => Some(*prefix),
        IpPrefix::V6(_) => None,
    });
    let v6 = prefixes.iter().filter_map(|prefix| match prefix {
        IpPrefix::V6(prefix) => Some(*prefix),
        IpPrefix::V4(_) => None,
    });
    for (together, family) in
        [(guard::hold_all_v4(v4), Family::V4), (guard::hold_all_v6(v6), Family::V6)]
    {
        if together {
            told.push(format!("these prefixes together hold every {} source", family.name()));
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let hint = "give `--catch-all` where that is what you mean";
    session.reporter.error(&told.join(", and "), Some(hint));
    Err(Failure::Configuration)
}

/// Cuts a longer IPv6 prefix to that length. IPv4 prefixes stay as they are.
fn aggregated(prefix: IpPrefix, length: u8) -> IpPrefix {
    match prefix {
        IpPrefix::V6(longer) if longer.length > length => {
            IpPrefix::V6(masked_v6(longer.address, length).0)
        }
        other => other,
    }
}

/// The prefixes in the order in which they were given.
fn read_as_given(texts: &[String], session: &mut Session<'_>) -> Result<Vec<IpPrefix>, Failure> {
    if texts.iter().all(|prefix| prefix != STDIN) {
        return arguments(texts, session);
    }
    if texts.len() > 1 {
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
    lines(bytes, session)
}

/// Reads lines as those of a list file, which gzip may have compressed.
fn lines(bytes: Vec<u8>, session: &mut Session<'_>) -> Result<Vec<IpPrefix>, Failure> {
    let refuse = |no_list: NoList, session: &mut Session<'_>| {
        let told = format!("standard input {}", no_list.message("addresses"));
        session.reporter.error(&told, Some(no_list.hint()));
        Failure::Configuration
    };
    let text = content::read(bytes).map_err(|no_list| refuse(no_list, session))?;
    if text.tail {
        session.reporter.warning(
            "what follows the gzip data on standard input is not gzip's, and was left aside",
            None,
        );
    }
    let mut entries = ListEntries::default();
    let findings = listfile::scan(&text.data, 0, &mut entries);
    if findings.is_of_hosts_file(&entries) {
        return Err(refuse(content::HOSTS, session));
    }
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
        // For example from `zcat` of a missing file.
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
        // A line of a list file would end there, and the rest would be an entry of its own.
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

/// The prefix if there is just one, or else how many there are.
pub fn shown(prefixes: &[IpPrefix]) -> String {
    match prefixes {
        [prefix] => prefix.to_string(),
        _ => format!("{} prefixes", grouped(prefixes.len() as u64)),
    }
}

/// A message names at most so many prefixes.
const NAMED: usize = 10;

/// Prefixes for a message: the first ones, and how many more there are.
pub fn named(prefixes: &[IpPrefix]) -> String {
    let named: Vec<String> = prefixes.iter().take(NAMED).map(ToString::to_string).collect();
    let rest = match prefixes.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {} more", grouped(rest as u64)),
    };
    named.join(", ") + &rest
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::notation::steers;
    use crate::report::Reporter;

    /// What was read, and what was said.
    fn read_by(
        read: impl FnOnce(&mut Session<'_>) -> Result<Vec<IpPrefix>, Failure>,
    ) -> (Option<Vec<String>>, String) {
        let (mut out, mut said) = (Vec::new(), Vec::new());
        let mut session = Session {
            out: &mut out,
            reporter: Reporter::new(&mut said, false),
            colours: false,
            is_untold: false,
        };
        let read = read(&mut session).ok();
        let read = read.map(|read| read.iter().map(ToString::to_string).collect());
        (read, String::from_utf8(said).unwrap())
    }

    #[test]
    fn all_forms_of_list_files() {
        let text = "# today\r\n203.0.113.7\n\n10.0.0.0/8 ; SBL1\n2001:db8::/32\n\
                    192.0.2.4-192.0.2.6\n";
        let (read, said) = read_by(|session| lines(text.into(), session));
        let expected =
            ["203.0.113.7/32", "10.0.0.0/8", "192.0.2.4/31", "192.0.2.6/32", "2001:db8::/32"];
        assert_eq!(read.unwrap(), expected);
        assert_eq!(said, "");
    }

    #[test]
    fn standard_input_is_a_list_file() {
        let mut gzipped = GzEncoder::new(Vec::new(), Compression::default());
        gzipped.write_all(b"203.0.113.7\n").unwrap();
        let gzipped = gzipped.finish().unwrap();
        let (read, said) = read_by(|session| lines(gzipped.clone(), session));
        assert_eq!((read, said.as_str()), (Some(vec!["203.0.113.7/32".to_owned()]), ""));
        let hosts = "0.0.0.0 a.example\n0.0.0.0 b.example\n";
        for (bytes, told) in [
            (gzipped[..9].to_vec(), "standard input cannot be read: "),
            (
                b"<!DOCTYPE html>\n<p>10.0.0.1\n".to_vec(),
                "standard input is an HTML or XML page, not a list of addresses\n  hint: look ",
            ),
            (b"PK\x03\x04".to_vec(), "standard input is a zip archive, not a list"),
            (hosts.into(), "standard input is a hosts file, whose lines name hosts, not a list"),
        ] {
            let (read, said) = read_by(|session| lines(bytes, session));
            assert_eq!(read, None);
            assert!(said.starts_with(&format!("error: {told}")), "{said}");
            assert_eq!(said.lines().count(), 2, "{said}");
        }
    }

    #[test]
    fn nothing_is_taken_with_a_warning() {
        let (read, said) = read_by(|session| lines(b"# nothing\n".to_vec(), session));
        assert_eq!(read, Some(Vec::new()));
        assert!(said.starts_with("warning: standard input had no prefixes"), "{said}");
    }

    #[test]
    fn all_mistakes_are_told_and_nothing_is_taken() {
        let text = "203.0.113.7\nnonsense\n10.0.0.1/8\n10.0.0.0/33\n";
        let (read, said) = read_by(|session| lines(text.into(), session));
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

    fn texts(given: &[&str]) -> Vec<String> {
        given.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn all_interfaces_need_no_name() {
        let ask = |interface: &str, prefixes: &[&str], all_interfaces| {
            let args = Prefixes { prefixes: texts(prefixes), all_interfaces, aggregate: None };
            let mut named = None;
            let (read, said) = read_by(|session| {
                let given = read(interface, &args, session)?;
                named = given.interface;
                Ok(given.prefixes)
            });
            (named, read, said)
        };
        let ten = || Some(vec!["10.0.0.1/32".to_owned()]);
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(ask("in0", &["10.0.0.1"], false), (named("in0"), ten(), String::new()));
        assert_eq!(ask("10.0.0.1", &[], true), (None, ten(), String::new()));
        assert_eq!(ask("in0", &["10.0.0.1"], true), (named("in0"), ten(), String::new()));
        let (_, read, said) = ask("in0", &[], true);
        assert_eq!(read, None);
        assert!(said.starts_with("error: \"in0\" is not an address"), "{said}");
    }

    #[test]
    fn prefixes_are_sorted_and_cut_to_a_length() {
        let given = texts(&[
            "2001:db8::7",
            "2001:db8::8",
            "2001:db8::/48",
            "10.0.0.9",
            "10.0.0.0/8",
            "10.0.0.9",
        ]);
        let (cut, said) = read_by(|session| read_all(&given, Some(64), session));
        let expected = ["10.0.0.0/8", "10.0.0.9/32", "2001:db8::/48", "2001:db8::/64"];
        assert_eq!((cut.unwrap(), said.as_str()), (expected.map(str::to_owned).to_vec(), ""));
        let given = texts(&["2001:db8::7", "2001:db8::/48"]);
        let (whole, _) = read_by(|session| read_all(&given, None, session));
        assert_eq!(whole.unwrap(), ["2001:db8::/48", "2001:db8::7/128"]);
    }

    #[test]
    fn what_holds_every_source_wants_to_be_meant() {
        let ask = |prefixes: &[&str], aggregate, meant| {
            let given = texts(prefixes);
            read_by(move |session| {
                let prefixes = read_all(&given, aggregate, session)?;
                refuse_catch_all(&prefixes, meant, session)?;
                Ok(prefixes)
            })
        };
        let hint = "  hint: give `--catch-all` where that is what you mean\n";
        for (prefixes, aggregate, told) in [
            (&["10.0.0.1", "0.0.0.0/0"][..], None, "0.0.0.0/0 holds every IPv4 source"),
            (&["::/0"], None, "::/0 holds every IPv6 source"),
            (
                &["::/0", "0.0.0.0/0"],
                None,
                "0.0.0.0/0 holds every IPv4 source, and ::/0 holds every IPv6 source",
            ),
            (&["0.0.0.0/1", "128.0.0.0/1"], None, "these prefixes together hold every IPv4 source"),
            (
                &["0.0.0.0-9.255.255.255", "::1", "10.0.0.0-255.255.255.255"],
                None,
                "these prefixes together hold every IPv4 source",
            ),
            (&["::/1", "8000::1"], Some(1), "these prefixes together hold every IPv6 source"),
            (&["0.0.0.0-255.255.255.255"], None, "0.0.0.0/0 holds every IPv4 source"),
            (&["2001:db8::1"], Some(0), "::/0 holds every IPv6 source"),
        ] {
            let (read, said) = ask(prefixes, aggregate, false);
            assert_eq!(read, None);
            assert_eq!(said, format!("error: {told}\n{hint}"));
            assert!(ask(prefixes, aggregate, true).0.is_some());
        }
        assert!(ask(&["0.0.0.0/1", "128.0.0.0/2", "::/1"], None, false).0.is_some());
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
