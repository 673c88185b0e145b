//! Lists with guards, and list files that are something else.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Setup;

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A blocklist of one file, with these other keys.
fn list(file: &str, keys: &str) -> String {
    format!("[[blocklist]]\nname = \"x\"\nfiles = [\"lists/{file}\"]\n{keys}\n")
}

#[test]
fn an_empty_file_is_an_error_as_one_that_yields_nothing_is() {
    let setup =
        Setup::new(&[("lists/empty", b""), ("lists/comments", b"# none today\n\n; none\n")]);
    let said = |file| setup.said(list(file, "prefixes = [\"10.0.0.1\"]"));
    insta::assert_snapshot!(said("empty"), @r#"error: DIR/x.toml:3:10: blocklist "x": the list file "DIR/lists/empty" holds no entry (see whether it was fetched whole; where it is meant to be empty, its list says allow_empty = true)"#);
    assert_eq!(said("comments"), said("empty").replace("/empty", "/comments"));
    for file in ["empty", "comments"] {
        assert_eq!(setup.said(list(file, "allow_empty = true")), "");
    }
    assert_eq!(setup.said("[[allowlist]]\nname = \"x\"\nallow_empty = true\n"), "");
}

/// Even a list that may be empty refuses a file with nothing but mistakes.
#[test]
fn a_file_of_nothing_but_mistakes_is_one_error() {
    let setup = Setup::new(&[("lists/a", "example.org\n".repeat(20).as_bytes())]);
    for keys in ["", "allow_empty = true", "strict = true"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(setup.said(list("a", keys)), @r#"error: DIR/x.toml:3:10: blocklist "x": the list file "DIR/lists/a" holds no entry: in line 1, "example.org" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)"#);
        }
    }
}

#[test]
fn what_holds_every_address_has_to_be_meant() {
    let setup = Setup::new(&[
        ("lists/a", b"10.0.0.1\n0.0.0.0/0 # x\n  1.2.3.4/0\n0.0.0.0 - 255.255.255.255\n::/0\n"),
        ("lists/json", b"{\"cidr\":\"::/0\"}\n::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"),
        ("lists/halves", b"0.0.0.0/1\n128.0.0.0/1\n::/1\n"),
        ("lists/other-half", b"8000::/1\n"),
    ]);
    let all = "[[allowlist]]\nname = \"x\"\nprefixes = [\"10.0.0.1\", \"0.0.0.0/0\", \"::/0\"]\n\
               files = [\"lists/a\", \"lists/json\"]\n";
    insta::assert_snapshot!(setup.said(all), @r#"
    error: DIR/x.toml:3:25: allowlist "x": "0.0.0.0/0" holds every IPv4 address (leave it out; where it is meant, say catch_all = true)
    error: DIR/x.toml:3:38: allowlist "x": "::/0" holds every IPv6 address (leave it out; where it is meant, say catch_all = true)
    error: DIR/lists/a:2:1: allowlist "x": "0.0.0.0/0" holds every IPv4 address (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/a:3:3: allowlist "x": "1.2.3.4/0" holds every IPv4 address (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/a:4:1: allowlist "x": "0.0.0.0 - 255.255.255.255" holds every IPv4 address (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/a:5:1: allowlist "x": "::/0" holds every IPv6 address (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/json:1:10: allowlist "x": "::/0" holds every IPv6 address (leave it out; where it is meant, the list says catch_all = true)
    error: DIR/lists/json:2:1: allowlist "x": "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" holds every IPv6 address (leave it out; where it is meant, the list says catch_all = true)
    warning: DIR/lists/a:3:3: "1.2.3.4/0" has bits set beyond its length (taken as 0.0.0.0/0)
    "#);
    let meant = setup.said(format!("{all}catch_all = true\n"));
    assert!(!meant.contains("error"), "{meant}");

    let halves = "[[blocklist]]\nname = \"x\"\nfiles = [\"lists/halves\", \"lists/other-half\"]\n";
    insta::assert_snapshot!(setup.said(halves), @r#"
    error: DIR/x.toml:2:8: blocklist "x": its entries together hold every IPv4 address (where that is meant, say catch_all = true)
    error: DIR/x.toml:2:8: blocklist "x": its entries together hold every IPv6 address (where that is meant, say catch_all = true)
    "#);
    assert_eq!(setup.said(format!("{halves}catch_all = true\n")), "");
    // A list may hold half of all addresses.
    assert_eq!(setup.said(list("other-half", "")), "");
}

/// Two lists name the same file; one allows what is in it, and the other does not.
#[test]
fn a_shared_file_is_held_against_each_list() {
    let setup = Setup::new(&[("lists/a", b"0.0.0.0/0\n")]);
    let other = "[[allowlist]]\nname = \"y\"\nfiles = [\"lists/a\"]\n";
    let text = format!("{}{other}", list("a", "catch_all = true"));
    insta::assert_snapshot!(setup.said(&text), @r#"error: DIR/lists/a:1:1: allowlist "y": "0.0.0.0/0" holds every IPv4 address (leave it out; where it is meant, the list says catch_all = true)"#);
    assert_eq!(setup.said(format!("{text}catch_all = true\n")), "");
}

#[test]
fn a_list_says_how_few_entries_it_may_have() {
    // Three prefixes: one that stands twice, and a range that is two.
    let setup = Setup::new(&[("lists/a", b"10.0.0.1\n10.0.0.1\n10.0.0.4-10.0.0.6\n")]);
    let with = |least: &str| setup.said(list("a", &format!("min_entries = {least}")));
    assert_eq!(with("0"), "");
    assert_eq!(with("3"), "");
    insta::assert_snapshot!(with("4"), @r#"error: DIR/x.toml:2:8: blocklist "x": 3 entries, and min_entries is 4 (see whether its files are whole, or lower min_entries)"#);
    insta::assert_snapshot!(setup.said("[[blocklist]]\nname = \"x\"\nallow_empty = true\nmin_entries = 1000\n"), @r#"error: DIR/x.toml:2:8: blocklist "x": 0 entries, and min_entries is 1,000 (see whether its files are whole, or lower min_entries)"#);
    let wrong: String = ["-1", "2000001", "\"4\""].map(with).concat();
    insta::assert_snapshot!(wrong, @r#"
    error: DIR/x.toml:4:15: blocklist "x": min_entries -1 is out of range (write a number of entries, 0 to 2000000)
    error: DIR/x.toml:4:15: blocklist "x": min_entries 2000001 is out of range (write a number of entries, 0 to 2000000)
    error: DIR/x.toml:4:15: blocklist "x": min_entries must be an integer, found the string "4" (write a number of entries, 0 to 2000000)
    "#);
    // A missing file is reported, and not also that there are too few entries.
    let missing = setup.said(list("none", "min_entries = 4"));
    assert_eq!(missing.lines().count(), 1, "{missing}");
}

#[test]
fn a_share_is_in_percent() {
    let setup = Setup::new(&[("lists/a", b"10.0.0.1\n")]);
    let with = |share: &str| setup.said(list("a", &format!("max_shrink = {share}")));
    assert_eq!(["\"0%\"", "\"100%\""].map(with), ["", ""]);
    let wrong: String = ["50", "\"50\"", "\"101%\"", "\"+5%\"", "\"%\""].map(with).concat();
    insta::assert_snapshot!(wrong);
}

#[test]
fn gzip_is_read_with_the_lines_of_what_it_holds() {
    let text = b"# x\n10.0.0.1\nnonsense\n2001:db8::/32\n";
    let setup = Setup::new(&[
        ("lists/whole.gz", &gzipped(text)),
        ("lists/members", &[gzipped(b"10.0.0.1\n"), gzipped(b"10.0.0.2")].concat()),
        ("lists/followed", &[&gzipped(b"10.0.0.1\n")[..], b"more"].concat()),
        ("lists/empty.gz", &gzipped(b"")),
    ]);
    insta::assert_snapshot!(setup.said(list("whole.gz", "")), @r#"warning: DIR/lists/whole.gz:3:1: "nonsense" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)"#);
    let entries = &setup.load(list("whole.gz", "")).ruleset.unwrap().blocklists[0];
    assert_eq!((entries.v4[0].line, entries.v6[0].line), (2, 4));
    assert_eq!(setup.said(list("members", "min_entries = 2")), "");
    insta::assert_snapshot!(setup.said(list("followed", "")), @"warning: DIR/lists/followed: what follows its gzip data is not gzip's, and was left aside (`gzip -t` says so too; fetch the file again)");
    insta::assert_snapshot!(setup.said(list("empty.gz", "")), @r#"error: DIR/x.toml:3:10: blocklist "x": the list file "DIR/lists/empty.gz" holds no entry (see whether it was fetched whole; where it is meant to be empty, its list says allow_empty = true)"#);
}

#[test]
fn gzip_that_cannot_be_unpacked_has_a_place() {
    let lines: String = (0..200).map(|number| format!("10.0.0.{number}\n")).collect();
    let whole = gzipped(lines.as_bytes());
    let mut changed = whole.clone();
    let checksum = changed.len() - 8;
    changed[checksum] ^= 1;
    let setup =
        Setup::new(&[("lists/cut", &whole[..whole.len() - 9]), ("lists/changed", &changed)]);
    let said = ["cut", "changed"].map(|file| setup.said(list(file, "min_entries = 9"))).concat();
    let length = whole.len();
    let said = said.replace(&format!("byte {}", length - 9), "byte END");
    insta::assert_snapshot!(said.replace(&format!("byte {length}"), "byte END"));
}

#[test]
fn what_is_no_list_is_named_in_one_error() {
    let hosts = "# StevenBlack\n127.0.0.1 localhost\n::1 localhost\nfe80::1%lo0 localhost\n\
                 0.0.0.0 0.0.0.0\n"
        .to_owned()
        + &"0.0.0.0 ads.example # x\n".repeat(50);
    let page = "<!doctype html>\n".to_owned() + &"<p>Not found\n".repeat(50);
    let setup = Setup::new(&[
        ("lists/hosts", hosts.as_bytes()),
        ("lists/page", page.as_bytes()),
        ("lists/page.gz", &gzipped(page.as_bytes())),
        ("lists/zip", b"PK\x03\x04\x14\0\n10.0.0.1\n"),
        ("lists/xz", b"\xfd7zXZ\0\x04"),
        ("lists/some-hosts", b"10.0.0.1\n10.0.0.2\n10.0.0.3 router\n"),
    ]);
    let files = ["hosts", "page", "page.gz", "zip", "xz"];
    let said: String = files.map(|file| setup.said(list(file, ""))).concat();
    insta::assert_snapshot!(said);
    for file in files {
        assert_eq!(setup.said(list(file, "strict = true")), setup.said(list(file, "")));
    }
    // One line with a name after its address does not make a list a hosts file.
    let warned = setup.said(list("some-hosts", ""));
    assert!(warned.starts_with("warning: DIR/lists/some-hosts:3:1: "), "{warned}");
}
