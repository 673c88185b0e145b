use std::fmt::Write;

use std::path::Path;

use super::Setup;
use crate::config::load_with;
use crate::ruleset::Ruleset;
use xdp_common::capacity::{
    MAX_LISTS, MAX_PREFIXES, MAX_REDIRECTS, MAX_RULES, MAX_SHOWN_MISTAKES, MAX_SHOWN_WARNINGS,
    MAX_TOKENS,
};

/// As many tables as asked for, each with its number in place of `#`.
fn tables(number: usize, table: &str) -> String {
    (0..number).map(|number| table.replace('#', &number.to_string())).collect()
}

#[test]
fn rules() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = 'r#'\naction = 'drop'\n";
    assert_eq!(setup.said(tables(MAX_RULES, rule)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_RULES + 2, rule)), @"error: DIR/x.toml:12289:1: 4098 rules, 4096 are the most (join rules that differ in a prefix or a port, or use a list)");
}

#[test]
fn lists() {
    let setup = Setup::new(&[]);
    let lists = "[[blocklist]]\nname = 'b#'\nprefixes = ['::1']\n\
                 [[allowlist]]\nname = 'a#'\nprefixes = ['::1']\n";
    assert_eq!(setup.said(tables(MAX_LISTS / 2, lists)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_LISTS / 2 + 1, lists)), @"error: DIR/x.toml:3073:1: 1026 allowlists and blocklists, 1024 are the most (put entries that share an action into one list)");
}

#[test]
fn redirect_targets() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = 'r#'\naction = 'redirect'\nto = 'if#'\n\
                [[rule]]\nname = 's#'\naction = 'redirect'\nto = 'if#'\n";
    assert_eq!(setup.said(tables(MAX_REDIRECTS as usize, rule)), "");
    insta::assert_snapshot!(setup.said(tables(MAX_REDIRECTS as usize + 2, rule)), @"error: DIR/x.toml:516:6: 66 interfaces to redirect to, 64 are the most (redirect to fewer different interfaces)");
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
    insta::assert_snapshot!(setup.said(TWO_LISTS), @"error: DIR/x.toml:5:1: 1000003 IPv4 prefixes in all lists, 1000000 are the most (leave entries out, or merge neighbouring prefixes)");
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
    let text = |number| format!("[[blocklist]]\nname = 'x'\nfiles = [\n{}]\n", names(number));
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
    insta::assert_snapshot!(said(most + 2), @r#"x.toml:65539:1: blocklist "x": more than 65535 list files (65535 different files are the most)"#);
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
    // Of another kind, and so not lost among those.
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
    // Of what is read, of the syntax, and of keys that stand twice.
    let wrong = format!("[[blocklist]]\nname = 'x'\nprefixes = [\n{}]\n", "'no',\n".repeat(number));
    in_order(&setup.load(wrong).diagnostics.errors, 4);
    in_order(&setup.load("x\n".repeat(number)).diagnostics.errors, 1);
    let twice = format!("[policy]\ndefault = 'pass'\n{}", "default = 'pass'\n".repeat(number));
    in_order(&setup.load(twice).diagnostics.errors, 3);
}

/// All that follows is taken for values of the array, and was more than is shown.
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
    // A comment and a line end each.
    let comments = "#\n".repeat(MAX_TOKENS / 2 + 2);
    insta::assert_snapshot!(setup.said(comments), @"error: DIR/x.toml:8000001:1: more than 16000000 words, values, signs, blanks and line ends (put prefixes into list files, which may be larger)");
}
