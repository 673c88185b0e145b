use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write;

use std::path::{Path, PathBuf};

use super::Setup;
use crate::config::file::{Disk, FileError, FileId, Files};
use crate::config::load_with;
use crate::ruleset::Ruleset;
use xdp_common::capacity::{
    MAX_LIST_ENTRIES, MAX_LISTS, MAX_PREFIXES, MAX_REDIRECTS, MAX_RULES, MAX_SHOWN_MISTAKES,
    MAX_SHOWN_WARNINGS, MAX_TOKENS,
};

/// As many tables as asked for, each with its number in place of `#`.
fn tables(number: usize, table: &str) -> String {
    (0..number).map(|number| table.replace('#', &number.to_string())).collect()
}

#[test]
fn rules() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = 'r#'\naction = 'drop'\nsource_port = #\n";
    assert_eq!(setup.said(tables(MAX_RULES, rule)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_RULES + 2, rule)), @"error: DIR/x.toml:16385:1: 4098 rules, 4096 are the most (join rules that differ in a prefix or a port, or use a list)");
}

#[test]
fn lists() {
    let setup = Setup::new(&[]);
    let lists = "[[blocklist]]\nname = 'b#'\nprefixes = ['::#']\n\
                 [[allowlist]]\nname = 'a#'\nprefixes = ['::#']\n";
    assert_eq!(setup.said(tables(MAX_LISTS / 2, lists)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_LISTS / 2 + 1, lists)), @"error: DIR/x.toml:3073:1: 1026 allowlists, blocklists and domains, 1024 are the most (put entries that share an action into one list)");
}

#[test]
fn redirect_targets() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = 'r#'\nvlan = #\naction = 'redirect'\nto = 'if#'\n\
                [[rule]]\nname = 's#'\nsource_port = #\naction = 'redirect'\nto = 'if#'\n";
    assert_eq!(setup.said(tables(MAX_REDIRECTS as usize, rule)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_REDIRECTS as usize + 2, rule)), @"error: DIR/x.toml:645:6: 66 interfaces to redirect to, 64 are the most (redirect to fewer different interfaces)");
}

/// Different addresses, one a line.
fn addresses(first: usize, number: usize) -> String {
    let mut text = String::new();
    for bits in first..first + number {
        let address = std::net::Ipv4Addr::from_bits(u32::try_from(bits).unwrap());
        writeln!(text, "{address}").unwrap();
    }
    text
}

/// A configuration whose list files all have the same content, and how often list files were read.
struct Same<'t> {
    text: String,
    list: &'t str,
    reads: Cell<usize>,
}

impl<'t> Same<'t> {
    fn new(text: String, list: &'t str) -> Self {
        Self { text, list, reads: Cell::new(0) }
    }

    /// What is reported, and how many blocklists the ruleset has; 0 if there is none.
    fn said(&self) -> (String, usize) {
        let read_file = |path: &Path| {
            if path == Path::new("x.toml") {
                return Ok(self.text.clone().into_bytes());
            }
            self.reads.set(self.reads.get() + 1);
            Ok(self.list.as_bytes().to_vec())
        };
        let loaded = load_with(Path::new("x.toml"), &read_file);
        let found = &loaded.diagnostics;
        let said: Vec<_> =
            found.errors.iter().chain(&found.warnings).map(ToString::to_string).collect();
        (said.join("\n"), loaded.ruleset.map_or(0, |ruleset| ruleset.blocklists.len()))
    }
}

const TWO_LISTS: &str = "[[allowlist]]\nname = 'x'\nfiles = ['lists/a']\n\
                         [[blocklist]]\nname = 'y'\nfiles = ['lists/b']\n";

#[test]
fn prefixes_over_all_lists() {
    let half = MAX_PREFIXES / 2;
    let (a, b) = (addresses(0, half), addresses(half, half));
    let setup = Setup::new(&[("lists/a", a.as_bytes()), ("lists/b", b.as_bytes())]);
    assert_eq!(setup.said(TWO_LISTS), "");

    let b = addresses(half, half + 3);
    let setup = Setup::new(&[("lists/a", a.as_bytes()), ("lists/b", b.as_bytes())]);
    insta::assert_snapshot!(setup.said(TWO_LISTS), @"error: DIR/x.toml:5:8: 1000003 IPv4 prefixes in all lists, 1000000 are the most (leave entries out, or merge neighbouring prefixes)");
}

#[test]
fn duplicates_do_not_count() {
    let all = addresses(0, MAX_PREFIXES);
    let setup = Setup::new(&[("lists/a", all.as_bytes()), ("lists/b", all.as_bytes())]);
    assert_eq!(setup.said(TWO_LISTS), "");
}

#[test]
fn a_list_that_goes_on_and_on_is_left() {
    let all = addresses(0, 2 * MAX_PREFIXES + 100_000);
    let setup = Setup::new(&[("lists/a", all.as_bytes()), ("lists/b", b"10.0.0.1")]);
    insta::assert_snapshot!(setup.said(TWO_LISTS), @r#"error: DIR/x.toml:2:8: allowlist "x": at least 2000001 IPv4 prefixes, 1000000 are the most (leave entries out, or merge neighbouring prefixes)"#);
}

#[test]
fn list_files() {
    let most = usize::from(u16::MAX);
    let names = |number: usize| tables(number, "'none#',\n");
    let text = |number| {
        format!("[[blocklist]]\nname = 'x'\nallow_empty = true\nfiles = [\n{}]\n", names(number))
    };
    let said = |number| {
        let text = text(number);
        let read_file = |path: &Path| match path == Path::new("x.toml") {
            true => Ok(text.clone().into_bytes()),
            false => Ok(Vec::new()),
        };
        let found = load_with(Path::new("x.toml"), &read_file).diagnostics;
        assert_eq!(found.warnings, []);
        found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(said(most), "");
    insta::assert_snapshot!(said(most + 2), @r#"x.toml:65540:1: blocklist "x": more than 65535 list files (65535 different files are the most)"#);
}

#[test]
fn warnings_of_one_line_are_shown_up_to_ten() {
    let number = 200_000;
    let prefixes = "\"10.1.2.3/8\", ".repeat(number);
    let setup = Setup::new(&[]);
    let text = format!(
        "[[blocklist]]\nname = 'x'\nprefixes = [{prefixes}]\n[arp]\nallow = ['192.0.2.1']\n"
    );
    let loaded = setup.load(text);
    assert_eq!(loaded.ruleset.map(|ruleset: Ruleset| ruleset.blocklists[0].v4.len()), Some(number));
    let found = loaded.diagnostics.warnings;
    assert_eq!(found.len(), MAX_SHOWN_WARNINGS + 2);
    for (place, warning) in found[..MAX_SHOWN_WARNINGS].iter().enumerate() {
        assert_eq!((warning.line, warning.column as usize), (3, 13 + 14 * place));
    }
    // It is of another kind, so it is not lost among those.
    assert_eq!((found[10].line, found[10].column), (5, 10));
    assert_eq!(
        (found[11].line, found[11].message.as_str()),
        (0, "199990 more prefixes with bits set beyond their length")
    );
}

#[test]
fn mistakes_are_shown_up_to_a_limit_and_counted() {
    let number = 50_000;
    let in_order = |found: &[crate::diagnostic::Diagnostic], first: u32| {
        assert_eq!(found.len(), MAX_SHOWN_MISTAKES + 1);
        let lines = found[..MAX_SHOWN_MISTAKES].iter().map(|found| found.line);
        assert!(lines.eq((first..).take(MAX_SHOWN_MISTAKES)), "{:?}", &found[..3]);
        let rest = found.last().unwrap();
        let more = number - MAX_SHOWN_MISTAKES;
        assert_eq!((rest.line, rest.message.clone()), (0, format!("{more} more mistakes")));
    };
    let setup = Setup::new(&[]);
    // Mistakes in values, in the syntax, and keys that stand twice.
    let wrong = format!("[[blocklist]]\nname = 'x'\nprefixes = [\n{}]\n", "'no',\n".repeat(number));
    in_order(&setup.load(wrong).diagnostics.errors, 4);
    in_order(&setup.load("x\n".repeat(number)).diagnostics.errors, 1);
    let twice = format!("[policy]\ndefault = 'pass'\n{}", "default = 'pass'\n".repeat(number));
    in_order(&setup.load(twice).diagnostics.errors, 3);
}

/// Everything that follows is taken for values of the array, which gave more mistakes than are
/// shown.
#[test]
fn an_open_array_before_many_lines_is_one_mistake() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = 'r#'\naction = 'drop'\n";
    let rules = tables(MAX_SHOWN_MISTAKES, rule);
    let text = format!("[[blocklist]]\nname = 'x'\nprefixes = [\n'10.0.0.1'\n{rules}");
    insta::assert_snapshot!(setup.said(text), @r#"error: DIR/x.toml:3:1: not valid TOML: an array that is not closed (it needs a "]" before line 5)"#);
}

#[test]
fn tokens() {
    let setup = Setup::new(&[]);
    // Two tokens a line: a comment and a line end.
    let comments = "#\n".repeat(MAX_TOKENS / 2 + 2);
    insta::assert_snapshot!(setup.said(comments), @"error: DIR/x.toml:8000001:1: more than 16000000 words, values, signs, blanks and line ends (put prefixes into list files, which may be larger)");
}

/// What is said, without the warnings of lists that repeat another.
fn without_repetitions((said, lists): (String, usize)) -> (String, usize) {
    let is_other = |line: &&str| !line.contains(" repeats ") && !line.ends_with(" more warnings");
    (said.lines().filter(is_other).collect(), lists)
}

/// Once, all lists were read before any was counted: a thousand took 2.7 GB.
#[test]
fn entries_of_all_lists_together() {
    let number = 20_000;
    let list = addresses(0, number);
    let table = "[[blocklist]]\nname = 'b#'\nfiles = ['list']\n";
    let most = MAX_LIST_ENTRIES / number;
    let fitting = Same::new(tables(most, table), &list);
    assert_eq!(without_repetitions(fitting.said()), (String::new(), most));
    assert_eq!(fitting.reads.get(), 1);

    let one_more = Same::new(tables(most + 1, table), &list);
    insta::assert_snapshot!(one_more.said().0, @r#"x.toml:602:8: blocklist "b200": with it, all lists together have at least 4020000 entries, 4000000 are the most (a prefix counts once in each list that has it: put what several lists share into one list)"#);

    // Of many more files, only as many are read as it takes until duplicates are removed.
    let table = "[[blocklist]]\nname = 'b#'\nfiles = ['list#']\n";
    let many = Same::new(tables(MAX_LISTS, table), &list);
    insta::assert_snapshot!(many.said().0, @r#"x.toml:752:8: blocklist "b250": with it, all lists together have at least 5020000 entries, 4000000 are the most (a prefix counts once in each list that has it: put what several lists share into one list)"#);
    assert_eq!(many.reads.get(), (MAX_LIST_ENTRIES + MAX_PREFIXES) / number + 1);
}

#[test]
fn duplicates_inside_a_list_are_no_entries_of_their_own() {
    let number = 250_000;
    let list = "192.0.2.1\n".repeat(number);
    let names = tables(7, "'list#-&',");
    let table = format!("[[blocklist]]\nname = 'b#'\nfiles = [{names}]\n");
    // Each list has seven files, and no file is named by two.
    let text: String = ["b0", "b1", "b2"]
        .iter()
        .map(|name| table.replace("b#", name).replace('&', name))
        .collect();
    let files = Same::new(text, &list);
    assert!(3 * 7 * number > MAX_LIST_ENTRIES + MAX_PREFIXES);
    assert_eq!(without_repetitions(files.said()), (String::new(), 3));
    assert_eq!(files.reads.get(), 21);
}

/// Files on disk, and a record of which were read.
struct Counted(RefCell<Vec<PathBuf>>);

impl Files for Counted {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        self.0.borrow_mut().push(path.to_owned());
        Disk.read(path)
    }

    fn identity(&self, path: &Path) -> Option<FileId> {
        Disk.identity(path)
    }
}

#[test]
fn a_file_is_read_once_whatever_it_is_called() {
    let setup = Setup::new(&[
        ("lists/a", b"192.0.2.1\n10.1.2.3/8\nno\n"),
        ("lists/b", b"192.0.2.1\n10.1.2.3/8\nno\n"),
    ]);
    let lists = setup.path().join("lists");
    std::os::unix::fs::symlink("a", lists.join("link")).unwrap();
    std::fs::hard_link(lists.join("a"), lists.join("hard")).unwrap();
    let names = ["lists/a", "lists/./a", "lists/link", "lists/../lists/hard", "lists/b"];
    let tables = names.iter().enumerate().map(|(number, name)| {
        let strict = number == 1;
        format!(
            "[[blocklist]]\nname = 'b{number}'\nfiles = ['{name}', '{name}']\nstrict = {strict}\n"
        )
    });
    let path = setup.path().join("x.toml");
    std::fs::write(&path, tables.collect::<String>()).unwrap();
    let files = Counted(RefCell::default());
    let loaded = load_with(&path, &files);
    let read: Vec<_> =
        files.0.take().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(read, ["x.toml", "a", "b"]);
    // A mistake in it is reported once as an error, since a list is strict, and once as a warning,
    // since another is not.
    let dir = setup.path().display().to_string();
    let found = loaded.diagnostics;
    let said = found.errors.iter().chain(&found.warnings).map(|found| format!("{found}\n"));
    insta::assert_snapshot!(said.collect::<String>().replace(&dir, "DIR"), @r#"
    DIR/lists/a:3:1: "no" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)
    DIR/lists/a:3:1: "no" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)
    DIR/lists/a:2:1: "10.1.2.3/8" has bits set beyond its length (taken as 10.0.0.0/8)
    DIR/lists/b:3:1: "no" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)
    DIR/lists/b:2:1: "10.1.2.3/8" has bits set beyond its length (taken as 10.0.0.0/8)
    "#);

    let tables = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("[[blocklist]]\nname = 'b{number}'\nfiles = ['{name}']\n"));
    let loaded = setup.load(tables.collect::<String>());
    let ruleset = loaded.ruleset.unwrap();
    assert_eq!(ruleset.files, [path, lists.join("a"), lists.join("b")]);
    let origins: Vec<_> = ruleset
        .blocklists
        .iter()
        .map(|list| list.v4.iter().map(|entry| (entry.file, entry.line)).collect::<BTreeSet<_>>())
        .collect();
    let of = |file| BTreeSet::from([(file, 1), (file, 2)]);
    assert_eq!(origins, [of(1), of(1), of(1), of(1), of(2)]);
}
