use xdp_common::capacity::MAX_NAMES;

use super::*;
use crate::config::listfile::Faults;

/// The names that a text lists, each with its line, and what else was found.
fn scanned(text: impl AsRef<[u8]>) -> (Vec<String>, NameFindings) {
    let mut entries = NameEntries::default();
    let findings = scan(text.as_ref(), 7, &mut entries, &|_| false);
    let shown = entries.names.iter().map(|it| {
        assert_eq!(it.file, 7);
        format!("{}: {it}", it.line)
    });
    (shown.collect(), findings)
}

/// The names that a text lists, with no lines, where nothing is wrong with it.
fn names(text: &str) -> String {
    let (names, findings) = scanned(text);
    assert_eq!(findings.unreadable, Faults::default(), "{text}");
    let names = names.iter().map(|name| name.split_once(": ").unwrap().1.to_owned());
    names.collect::<Vec<_>>().join(" ")
}

/// Why a text cannot be read.
fn faults(text: &str) -> Vec<String> {
    let (_, findings) = scanned(text);
    let shown = findings.unreadable.shown.iter();
    shown.map(|it| format!("{}:{}: {}", it.line, it.column, it.message)).collect()
}

fn skipped(text: &str) -> (usize, usize, usize) {
    let Skipped { exceptions, rules, records, .. } = scanned(text).1.skipped;
    (exceptions, rules, records)
}

#[test]
fn lines_of_all_kinds_keep_their_numbers() {
    let text = "\u{feff}example.org\r\n# comment\r\na b\n*.ads.example ; x\n\
                0.0.0.0 a.example b.example# c.example\n||d.example^\n! e\n\
                address=/f.example/g.example/0.0.0.0\nlocal-zone: \"h.example\" refuse\n\
                \n\tBÜCHER.example \ni.example CNAME .\nend";
    let (names, findings) = scanned(text);
    assert_eq!(
        names,
        [
            "1: example.org",
            "4: *.ads.example",
            "5: a.example",
            "5: b.example",
            "6: d.example",
            "8: f.example",
            "8: g.example",
            "9: h.example",
            "11: xn--bcher-kva.example",
            "12: i.example",
            "13: end",
        ]
    );
    assert!(findings.yields);
    assert_eq!(findings.unreadable.total, 1);
    assert_eq!(faults(text), [r#"3:1: "a b" is no name: there is a blank in it"#]);
}

#[test]
fn hosts_files() {
    let text = "127.0.0.1 localhost localhost.localdomain\n::1\tip6-localhost LOCALHOST\n\
                fe80::1%lo0 localhost\n255.255.255.255 broadcasthost\n0.0.0.0 0.0.0.0\n\
                0.0.0.0\tads.example  # x\n:: six.example\n192.0.2.7 sinkhole.example alias\n\
                127.0.0.1 local.example localhost.example\n";
    assert_eq!(
        names(text),
        "ads.example six.example sinkhole.example alias local.example localhost.example"
    );
    // Of a line, only what is no name is left out.
    let text = "0.0.0.0 a.example bad/name b.example\n";
    assert_eq!(faults(text), [r#"1:19: "bad/name" is no name: there is a "/" in it"#]);
    assert_eq!(scanned(text).0, ["1: a.example", "1: b.example"]);
}

#[test]
fn ad_blockers() {
    let text = "[Adblock Plus 2.0]\n! Title: x\n||a.example^\n||*.b.example^\n||c.example^|\n\
                @@||d.example^\n||e.example^$third-party\n||f.example/path\n|https://g.example\n\
                h.example##.banner\ni.example#@#.ad\n###top\n&advert=\n||ad*.j.example^\n\
                ||192.0.2.1^\n/regex/\nk.example\n";
    assert_eq!(names(text), "a.example *.b.example c.example k.example");
    // `###top` begins like a comment.
    assert_eq!(skipped(text), (1, 9, 0));
    // Outside such a list, the same line is a mistake.
    assert_eq!(faults("&advert=\n"), [r#"1:1: "&advert=" is no name: there is a "&" in it"#]);
    let long = format!("||{}.example^\n", "a".repeat(64));
    assert_eq!(faults(&long).len(), 1);
}

#[test]
fn dnsmasq_lines() {
    let text = "# x\naddress=/a.example/\naddress=/b.example/c.example/0.0.0.0 # x/y\n\
                address=/.d.example/#\nlocal=/e.example/\nserver=/f.example/\n\
                server=/g.example/192.0.2.53\nserver=/h.example/#\naddress=/i.example/::\n";
    assert_eq!(
        names(text),
        "a.example b.example c.example d.example e.example f.example i.example"
    );
    assert_eq!(skipped(text), (2, 0, 0));
    assert_eq!(scanned("address=/#/0.0.0.0\n").1.catch_all.total, 1);
    assert_eq!(
        faults("address=/a.example\naddress=//0.0.0.0\nport=53\n"),
        [
            r#"1:1: "address=/a.example" has no slash behind its names"#,
            r#"2:10: "" is no name: it is empty"#,
            r#"3:1: "port=53" is no name: there is a "=" in it"#,
        ]
    );
}

#[test]
fn unbound_zones() {
    let text = "server:\n  local-zone: \"a.example\" always_nxdomain\nlocal-zone: b.example. static\n\
                local-zone:\"c.example\" refuse # x\nlocal-zone: \"d.example\" transparent\n\
                local-zone: \"e.example\" redirect\nlocal-data: \"e.example A 0.0.0.0\"\n\
                local-zone: \"f.example\" block_a\n";
    assert_eq!(names(text), "a.example b.example c.example e.example");
    assert_eq!(skipped(text), (1, 0, 2));
    assert_eq!(
        faults("local-zone: \"a.example\" nothing\n"),
        [r#"1:25: "nothing" is no type of a local-zone"#]
    );
}

#[test]
fn response_policy_zones() {
    let text = "$TTL 300 ; x\n@ SOA localhost. root.localhost. (\n  1 ; serial\n  43200 3600\n  86400 300 )\n\
                \tNS localhost.\n; comment\na.example CNAME .\n*.a.example 300 IN CNAME .\n\
                b.example IN CNAME *.\nc.example CNAME rpz-drop.\nd.example CNAME rpz-tcp-only.\n\
                e.example CNAME rpz-passthru.\nf.example CNAME walled.garden.example.\n\
                g.example A 192.0.2.1\n32.1.2.0.192.rpz-ip CNAME .\nns.example.rpz-nsdname CNAME .\n\
                h.example. CNAME .\n";
    assert_eq!(names(text), "a.example *.a.example b.example c.example d.example h.example");
    assert_eq!(skipped(text), (1, 0, 4));
    assert_eq!(faults("$INCLUDE other\n"), [r#"1:1: "$INCLUDE" is not read in a zone file"#]);
    assert_eq!(scanned("$TTL 60\n* CNAME .\n").1.catch_all.total, 1);
}

/// A parenthesis in a string once swallowed the rest of the file, and one that nobody closed too.
#[test]
fn parentheses_of_zones() {
    let text = "a.example TXT \"hello :(\"\nb.example CNAME .\nc.example TXT \"\\\"(\"\n\
                d.example TXT \\(\ne.example CNAME .\n";
    assert_eq!(names(text), "b.example e.example");
    let open = format!("@ SOA ns. root. (\n1 2 3\n{}", "f.example\n".repeat(120));
    let (names, _) = scanned(&open);
    assert_eq!(names.first().map(String::as_str), Some("101: f.example"));
    assert_eq!(faults(&open), ["1:1: the record has a parenthesis that is not closed"]);
    assert_eq!(faults("x TXT (\n"), ["1:1: the record has a parenthesis that is not closed"]);
}

#[test]
fn names_are_relative_to_their_zone() {
    let text = "$ORIGIN rpz.test.\n@ SOA ns. root. 1 2 3 4 5\na.example CNAME .\n\
                b.example.rpz.test. CNAME .\n*.b.example.RPZ.test. CNAME .\n\
                elsewhere.example. CNAME .\nrpz.test. CNAME .\n192.0.2.1.rpz.test. CNAME .\n\
                $ORIGIN example.rpz.test.\nc CNAME .\n* CNAME .\n";
    assert_eq!(names(text), "a.example b.example *.b.example c.example *.example");
    assert_eq!(skipped(text), (0, 0, 3));
    // The zone's name may stand before its SOA record alone.
    let text = "rpz.test. SOA ns. root. 1 2 3 4 5\n\tNS ns.\na.example CNAME .\n\
                b.example.rpz.test. CNAME .\n";
    assert_eq!(names(text), "a.example b.example");
}

/// As `named-compilezone` writes a zone: from the root, each level with an origin of its own.
#[test]
fn origins_of_all_kinds() {
    let text = "$ORIGIN .\n$TTL 300\nrpz.test IN SOA ns. root. (\n\t\t1 ; serial (\n\t\t2 3 4 5 )\n\
                \t\tNS ns.\nfar.example.rpz.test CNAME rpz-drop\nother CNAME .\n$ORIGIN rpz.test.\n\
                a.example CNAME .\nb.example CNAME *\n$ORIGIN example.rpz.test.\nc CNAME .\n@ CNAME .\n\
                $ORIGIN deep ; relative\nd CNAME .\n*.d CNAME .\n$ORIGIN @\n* CNAME .\n@ A 192.0.2.1\n";
    assert_eq!(
        names(text),
        "far.example a.example c.example example d.deep.example *.d.deep.example *.deep.example"
    );
    assert_eq!(skipped(text), (0, 0, 3));
    // Where nothing says what the zone's name is, an origin may still be relative to it.
    let text = "$ORIGIN example\na CNAME .\n$ORIGIN deep\n* CNAME .\n@ SOA ns. root. 1 2 3 4 5\n\
                $ORIGIN x.test.\nb.example CNAME .\n";
    assert_eq!(names(text), "a.example *.deep.example b.example");
    // Names below one that cannot be read are not taken under another.
    let text = "$ORIGIN a..b.\nx CNAME .\ny. CNAME .\n$ORIGIN z\nw CNAME .\n$ORIGIN *.a.\n\
                $ORIGIN ok.\nv CNAME .\n$ORIGIN\n$TTL x\n";
    assert_eq!(scanned(text).0, ["3: y", "8: v"]);
    assert_eq!(
        faults(text),
        [
            r#"1:9: "a..b." is no name: there is nothing between two dots"#,
            r#"2:1: "x" is relative to an $ORIGIN that cannot be read"#,
            r#"5:1: "w" is relative to an $ORIGIN that cannot be read"#,
            r#"6:9: "*.a." is no name: a "*" stands only in front, as in *.example.org"#,
            r#"9:1: "$ORIGIN" is no name: it is empty"#,
            r#"10:1: "$TTL x" has no time to live"#,
        ]
    );
    let label = "a".repeat(63);
    let long = format!("$ORIGIN {label}.{label}.\n$ORIGIN {label}.{label}.b\n");
    assert_eq!(
        faults(&long),
        [format!(
            r#"2:9: "{}"… is no name: it has more than 255 bytes"#,
            &format!("{label}.{label}.b")[..90]
        )]
    );
}

#[test]
fn owners_of_the_record_before() {
    let text = "@ SOA ns. root. 1 2 3 4 5\na.example A 192.0.2.1\n\tCNAME .\n\
                $ORIGIN x.test.\nb A 192.0.2.1\n$ORIGIN y.x.test.\n 60 IN CNAME .\n\tCNAME rpz-passthru.\n";
    let (names, findings) = scanned(text);
    assert_eq!(names, ["3: a.example", "7: b"]);
    assert_eq!(findings.unreadable, Faults::default());
    assert_eq!(skipped(text), (1, 0, 2));
    assert_eq!(faults("  CNAME .\n"), [r#"1:1: "  CNAME ." has no owner"#]);
}

#[test]
fn records_over_several_lines() {
    let text = "a.example CNAME (\n  . )\nb.example (\n300 IN ; c.example CNAME .\n\n CNAME\n rpz-drop.\n)\n\
                c.example IN ( CNAME . )\n ( CNAME\n *. )\nd.example TXT ( \"; (\"\n\"x\" ) ; (\n\
                e.example CNAME . ; (\nf.example CNAME . # (\n";
    let (names, findings) = scanned(text);
    assert_eq!(findings.unreadable, Faults::default());
    assert_eq!(
        names,
        [
            "1: a.example",
            "3: b.example",
            "9: c.example",
            "10: c.example",
            "14: e.example",
            "15: f.example"
        ]
    );
    assert_eq!(skipped(text), (0, 0, 1));
    assert_eq!(
        faults("a.example (see below)\nb! CNAME (\n.)\nc.example (\n300 )\nd.example ( x\n"),
        [
            r#"1:1: "a.example (see below)" is no name: there is a blank in it"#,
            r#"2:1: "b! CNAME (" is no name: there is a "!" in it"#,
            r#"4:1: "c.example (" begins a record that cannot be read"#,
            r#"6:1: "d.example ( x" is no name: there is a blank in it"#,
        ]
    );
}

/// A word that is a type's name once had a line left aside as a record.
#[test]
fn words_are_no_records() {
    for line in [
        "evil.example a tracker",
        "evil.example a 192.0.2.1 tracker",
        "evil.example aaaa 192.0.2.1",
        "evil.example any tracker",
        "evil.example ns one two",
        "evil.example cname . tracker",
        "evil.example mx tracker",
        "evil.example key tracker 1",
        "evil.example loc here",
        "evil.example soa x",
        "evil.example opt x",
        "evil.example txt",
    ] {
        let told = format!(r#"1:1: "{line}" is no name: there is a blank in it"#);
        assert_eq!(faults(line), [told], "{line}");
    }
    let records = "a A 192.0.2.1\na AAAA 2001:db8::1\na MX 10 mail\na TXT tracker\n\
                   a HTTPS 1 . alpn=h2\na A \\# 4 c0000201\na NS ns\na CAA 0 issue \"x\"\n";
    assert_eq!(skipped(records), (0, 0, 8));
    assert_eq!(faults(records), [""; 0]);
}

#[test]
fn the_first_ten_are_shown_and_the_rest_counted() {
    let (names, findings) = scanned("good.example\nbad name\n".repeat(11));
    assert_eq!(names.len(), 11);
    assert_eq!((findings.unreadable.shown.len(), findings.unreadable.total), (10, 11));
}

#[test]
fn a_name_of_one_label_has_to_be_meant() {
    let text = "com\n*.org # x\n0.0.0.0 a.example net\nmeant\n||zip^\n.\n@ SOA x. y.\nb CNAME .\n";
    let mut entries = NameEntries::default();
    let is_meant = |name: DomainName<'_>| name.wire() == b"\x05meant";
    let found = scan(text.as_bytes(), 7, &mut entries, &is_meant).one_label;
    let places: Vec<_> =
        found.shown.iter().map(|it| (it.line, it.column, &it.message[..])).collect();
    let told = |label: &str| format!("{label:?} stands for every name that ends in it");
    let told = ["com", "*.org", "net", "zip", "b"].map(told);
    assert_eq!(
        places,
        [
            (1, 1, &told[0][..]),
            (2, 1, &told[1]),
            (3, 19, &told[2]),
            (5, 3, &told[3]),
            (8, 1, &told[4]),
        ]
    );
    assert_eq!(found.total, 5);
}

#[test]
fn a_list_of_addresses_is_one() {
    let is = |text: &str| {
        let mut entries = NameEntries::default();
        scan(text.as_bytes(), 1, &mut entries, &|_| false).is_of_addresses(&entries)
    };
    assert!(is("192.0.2.1\n10.0.0.0/8\n2001:db8::/32\n"));
    assert!(!is("192.0.2.1\nexample.org\n"));
    assert!(!is("example.org\n"));
    assert!(!is("a b\nc d\ne f\n192.0.2.1\n"));
}

#[test]
fn nothing_but_comments_yields_nothing() {
    for text in ["", "\n\n", "# a\n; b\n! c", "127.0.0.1 localhost\n", "$TTL 1\n@ NS x.\n"] {
        let (names, mut findings) = scanned(text);
        assert_eq!((names.len(), findings.yields), (0, false), "{text:?}");
        let Skipped { comments, local, .. } = std::mem::take(&mut findings.skipped);
        let lines = text.lines().filter(|line| line.starts_with(['#', ';', '!']));
        assert_eq!((comments, local), (lines.count(), usize::from(text.contains("localhost"))));
        assert_eq!(findings, NameFindings::default(), "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let (names, findings) = scanned(b"a.example\n  \xff\xfe.b\nc.example # caf\xe9\n");
    assert_eq!(names, ["1: a.example", "3: c.example"]);
    let fault = &findings.unreadable.shown[0];
    assert_eq!((fault.line, fault.column), (2, 3));
}

#[test]
fn duplicates_do_not_pile_up() {
    let mut entries = NameEntries::default();
    let findings = scan("a.b\n".repeat(2 * MAX_NAMES + 5).as_bytes(), 1, &mut entries, &|_| false);
    assert!(findings.yields && !entries.overfull);
    assert_eq!(entries.len(), 6);
    assert_eq!(entries.names.get(0).unwrap().line, 1);
}

proptest::proptest! {
    #[test]
    fn any_bytes_can_be_scanned(bytes: Vec<u8>) {
        let mut entries = NameEntries::default();
        let findings = scan(&bytes, 0, &mut entries, &|_| false);
        proptest::prop_assert_eq!(findings.yields, !entries.is_empty());
    }

    /// Lines of parts that mean something, in any order.
    #[test]
    fn lines_of_known_parts_can_be_scanned(
        parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..30),
    ) {
        let mut entries = NameEntries::default();
        let findings = scan(parts.concat().as_bytes(), 0, &mut entries, &|_| false);
        proptest::prop_assert_eq!(findings.yields, !entries.is_empty());
        proptest::prop_assert!(entries.names.is_whole());
        // Written down, each is read as the same.
        for listed in entries.names.iter() {
            let text = listed.to_string();
            proptest::prop_assert_eq!(scanned(&text).0, [format!("1: {text}")]);
        }
    }
}

const PARTS: &[&str] = &[
    "a",
    "example.org",
    ".",
    "*.",
    "*",
    " ",
    "\t",
    "\n",
    "#",
    ";",
    "||",
    "^",
    "|",
    "@@",
    "$",
    "$ORIGIN ",
    "$TTL ",
    "@",
    " CNAME ",
    " SOA ",
    "rpz-ip",
    "rpz-passthru.",
    " A ",
    "192.0.2.1",
    "(",
    ")",
    "\\",
    "\\046",
    "address=/",
    "/",
    "server=/",
    "local-zone:",
    "\"",
    "transparent",
    "0.0.0.0 ",
    "::1 ",
    "ü",
    "localhost",
    "IN",
    "300",
    "##",
    "[",
    "]",
    "!",
];

/// Prints how long reading took. It does not test speed, since a busy machine would fail that.
#[test]
#[ignore = "a measurement, for a release build"]
fn a_million_lines() {
    use std::fmt::Write;

    let mut text = String::new();
    for number in 0..1_000_000u32 {
        let label = number.wrapping_mul(2_654_435_761);
        writeln!(text, "0.0.0.0 www.{label:08x}.tracker{}.example", number % 1000).unwrap();
    }
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let mut entries = NameEntries::default();
        let findings = scan(text.as_bytes(), 1, &mut entries, &|_| false);
        let read = start.elapsed();
        entries.fold();
        println!("{} names in {read:?}, each once in {:?}", entries.len(), start.elapsed());
        assert!(findings.yields);
    }
}
