//! `[[domains]]`: lists of names.

use super::{Setup, ruleset};
use crate::ruleset::Guards;
use crate::ruleset::domains::DomainAction;
use xdp_common::capacity::{MAX_LISTS, MAX_NAMES};

/// A list of these keys, beside its name.
fn list(keys: &str) -> String {
    format!("[[domains]]\nname = \"x\"\n{keys}\n")
}

/// The names of a ruleset's lists, each with file and line.
fn names(configuration: &str, setup: &Setup) -> Vec<String> {
    let loaded = setup.load(configuration);
    let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let all = ruleset.domains.iter().flat_map(|list| list.names.iter());
    all.map(|it| format!("{it} {}:{}", it.file, it.line)).collect()
}

#[test]
fn every_key() {
    let setup =
        Setup::new(&[("lists/hosts.txt", b"# x\n0.0.0.0 a.example\n0.0.0.0 EXAMPLE.org\n")]);
    let text = "[[domains]]\nname = \"malware\"\n\
                names = [\"example.org\", \"*.ads.example.\",\n\"b\\u00fccher.example\"]\n\
                files = [\"lists/hosts.txt\"]\naction = \"nxdomain\"\nstrict = true\n\
                qtype = [\"any\", 28, \"TYPE65\", \"A\", 255]\nmin_entries = 4\nmax_shrink = \"50%\"\n\
                catch_all = true\nallow_empty = true\n\
                [[domains]]\nname = \"other\"\nnames = [\"org\"]\n";
    assert_eq!(setup.said(text), "");
    let ruleset = setup.load(text).ruleset.unwrap();
    let [malware, other] = &ruleset.domains[..] else { panic!("two lists") };
    assert_eq!(
        (malware.name.as_str(), malware.file, malware.line, malware.column),
        ("malware", 0, 2, 8)
    );
    assert_eq!(malware.action, DomainAction::Nxdomain);
    assert_eq!(malware.qtypes, Some(vec![1, 28, 65, 255]));
    assert!(malware.strict);
    let guards =
        Guards { allow_empty: true, catch_all: true, min_entries: Some(4), max_shrink: Some(50) };
    assert_eq!(malware.guards, guards);
    assert_eq!((other.action, &other.qtypes), (DomainAction::Drop, &None));
    // A name that stands there twice is there once, with its first place.
    assert_eq!(
        names(text, &setup),
        [
            "example.org 0:3",
            "*.ads.example 0:3",
            "xn--bcher-kva.example 0:4",
            "a.example 1:2",
            "org 0:15"
        ]
    );
    for action in DomainAction::ALL {
        let text = list(&format!("names = [\"a.example\"]\naction = \"{}\"", action.as_str()));
        assert_eq!(self::ruleset(&text).domains[0].action, action);
    }
}

#[test]
fn mistakes() {
    let setup = Setup::new(&[]);
    let said = |keys: &str| setup.said(list(keys));
    let all = [
        "",
        "names = []",
        "names = \"example.org\"",
        "names = [1]",
        "names = [\"a..b\", \"\", \"192.0.2.1\", \"10.0.0.0/8\", \"https://a.example/\", \"a b\", \"*\", \"a.*.b\"]",
        "names = [\"a.example\"]\naction = \"nxdomian\"",
        "names = [\"a.example\"]\naction = \"reject\"",
        "names = [\"a.example\"]\nqtype = []",
        "names = [\"a.example\"]\nqtype = [\"ANNY\", 65536, -1, true, \"AAAAA\", \"TYPE99999\"]",
        "names = [\"a.example\"]\nmatch = \"source\"",
        "prefixes = [\"10.0.0.0/8\"]",
        "domains = [\"a.example\"]",
        "names = [\"a.example\"]\nfiles = [\"lists/none\"]",
        "names = [\"a.example\"]\nmin_entries = 2",
    ];
    let all: Vec<String> = all.iter().map(|keys| format!("# {keys}\n{}", said(keys))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_stands_for_every_name_has_to_be_meant() {
    let setup = Setup::new(&[("lists/all", b"a.example\n  .\n*. # x\n")]);
    for every in [".", "*."] {
        let names = format!("names = [\"{every}\"]\n");
        let said = setup.said(list(&names));
        assert!(said.contains("stands for every name"), "{said}");
        assert_eq!(said.lines().count(), 1);
        for meant in ["catch_all = true", "qtype = \"ANY\"", "action = \"pass\""] {
            assert_eq!(setup.said(list(&format!("{names}{meant}"))), "", "{every} {meant}");
        }
        // As what is below a list of exceptions.
        let exceptions = "[[domains]]\nname = \"ok\"\nnames = [\"a.example\"]\naction = \"pass\"\n";
        assert_eq!(setup.said(list(&names) + exceptions), "");
    }
    let file = "files = [\"lists/all\"]\n";
    insta::assert_snapshot!(setup.said(list(file)), @r#"
    error: DIR/lists/all:2:3: domains "x": "." stands for every name (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/all:3:1: domains "x": "*." stands for every name (leave it out; where it is meant, the list says catch_all = true)
    "#);
    for meant in ["catch_all = true", "qtype = [\"ANY\"]", "action = \"pass\""] {
        assert_eq!(setup.said(list(&format!("{file}{meant}"))), "", "{meant}");
    }
}

#[test]
fn files_with_mistakes() {
    let million_of = |bad: usize| {
        let mut text = "0.0.0.0 a.example\n".repeat(1000);
        text.push_str(&"bad name\n".repeat(bad));
        text
    };
    let setup = Setup::new(&[
        ("lists/five", million_of(5).as_bytes()),
        ("lists/many", million_of(12).as_bytes()),
        ("lists/bad", b"bad name\nother bad\n"),
        ("lists/empty", b""),
        ("lists/comments", b"# none\n127.0.0.1 localhost\n"),
        ("lists/exceptions", b"! x\n@@||b.example^\n@@||c.example^\nd.example##x\n"),
        ("lists/ends", b"com\n0.0.0.0 *.org b.example\nnet\n"),
        ("lists/addresses", b"192.0.2.1\n10.0.0.0/8\n::1\n"),
        ("lists/html", b"<!DOCTYPE html>\n<p>no</p>\n"),
        ("lists/adblock", b"||a.example^\n@@||b.example^\n||c.example^$script\nd.example##x\n"),
        ("lists/rpz", b"a.example CNAME .\nb.example A 192.0.2.1\n"),
    ]);
    let said = |file: &str, keys: &str| {
        let text = setup.said(list(&format!("files = [\"lists/{file}\"]\n{keys}")));
        format!("# {file} {keys}\n{text}")
    };
    let all = [
        said("five", ""),
        said("five", "strict = true"),
        said("many", ""),
        said("bad", ""),
        said("bad", "allow_empty = true"),
        said("empty", ""),
        said("empty", "allow_empty = true"),
        said("comments", ""),
        said("exceptions", ""),
        said("exceptions", "allow_empty = true"),
        said("ends", ""),
        said("ends", "names = [\"COM.\", \"*.net\"]"),
        said("ends", "catch_all = true"),
        said("ends", "action = \"pass\""),
        said("addresses", ""),
        said("html", ""),
        said("adblock", ""),
        said("rpz", ""),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

/// A file may be named by lists of both kinds: each takes what it can read.
#[test]
fn a_file_of_names_and_addresses() {
    let setup = Setup::new(&[("lists/both", b"192.0.2.1\na.example\n"), ("lists/gz", &gzipped())]);
    let text = "[[blocklist]]\nname = \"b\"\nfiles = [\"lists/both\"]\n\
                [[domains]]\nname = \"d\"\nfiles = [\"lists/both\", \"lists/gz\"]\n";
    insta::assert_snapshot!(setup.said(text), @r#"
    warning: DIR/lists/both:2:1: "a.example" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)
    warning: DIR/lists/both:1:1: "192.0.2.1" is an address, not a name (addresses belong into the prefixes of an allowlist or blocklist)
    "#);
    let ruleset = setup.load(text).ruleset.unwrap();
    assert_eq!(ruleset.blocklists[0].v4.len(), 1);
    assert_eq!(names(text, &setup), ["a.example 1:2", "z.example 2:1"]);
}

fn gzipped() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"z.example\n").unwrap();
    encoder.finish().unwrap()
}

#[test]
fn there_are_not_too_many() {
    use std::fmt::Write;

    let mut text = String::new();
    for number in 0..MAX_NAMES {
        writeln!(text, "{number}.example").unwrap();
    }
    let setup = Setup::new(&[("lists/most", text.as_bytes())]);
    let most = list("files = [\"lists/most\"]");
    // A name that a list names twice counts once.
    assert_eq!(setup.said(list("files = [\"lists/most\"]\nnames = [\"7.example\"]")), "");
    let one = "[[domains]]\nname = \"y\"\nnames = [\"one.example\"]\n";
    insta::assert_snapshot!(setup.said(most.clone() + one), @r#"error: DIR/x.toml:5:8: domains "y": with it, all domains together have at least 1,000,001 names, 1,000,000 are the most (leave out names whose parents are listed: a name stands for all below it)"#);
    insta::assert_snapshot!(setup.said(list("files = [\"lists/most\"]\nnames = [\"one.example\"]")), @r#"error: DIR/x.toml:2:8: domains "x": with it, all domains together have at least 1,000,001 names, 1,000,000 are the most (leave out names whose parents are listed: a name stands for all below it)"#);
    let tables: String = (0..MAX_LISTS)
        .map(|number| {
            format!("[[domains]]\nname = \"d{number}\"\nnames = [\"d{number}.example\"]\n")
        })
        .collect();
    assert_eq!(setup.said(&tables), "");
    let blocklist = "[[blocklist]]\nname = \"b\"\nprefixes = [\"10.0.0.1\"]\n";
    insta::assert_snapshot!(setup.said(tables + blocklist), @r#"error: DIR/x.toml:3073:1: 1025 allowlists, blocklists and domains, 1024 are the most (put entries that share an action into one list)"#);
}
