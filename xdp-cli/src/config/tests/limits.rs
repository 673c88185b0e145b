use std::fmt::Write;

use super::Setup;
use xdp_common::capacity::{MAX_LISTS, MAX_PREFIXES, MAX_REDIRECTS, MAX_RULES};

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
    let setup = Setup::new(&[]);
    let names = |number: usize| tables(number, "'none#',\n");
    let text = |number| format!("[[blocklist]]\nname = 'x'\nfiles = [\n{}]\n", names(number));
    let said = |number| setup.said(text(number));
    assert!(!said(most).contains("list files"));
    let too_many = said(most + 2);
    let told: Vec<_> = too_many.lines().filter(|line| line.contains("list files")).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"error: DIR/x.toml:65539:1: blocklist "x": more than 65535 list files (65535 different files are the most)"#);
}
