//! Configurations with mistakes: each case with its text and its diagnostics.

use super::Setup;

/// Every case with its diagnostics. Each must be refused.
fn refused(setup: &Setup, cases: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for (title, text) in cases {
        let said = setup.said(text);
        assert!(said.contains("error: "), "accepted: {title}\n{text}");
        let text = text.replace('\u{1}', "<0x01>");
        all.push_str(&format!("## {title}\n{}\n{said}\n", text.trim_end()));
    }
    all
}

/// Rules with one mistake each.
fn refused_rules(cases: &[(&str, &str)]) -> String {
    let setup = Setup::new(&[]);
    let texts: Vec<String> = cases
        .iter()
        .map(|(_, keys)| {
            let action = if keys.contains("action") { "" } else { "action = \"drop\"\n" };
            format!("[[rule]]\nname = \"r\"\n{action}{keys}\n")
        })
        .collect();
    let cases: Vec<_> =
        cases.iter().zip(&texts).map(|((title, _), text)| (*title, text.as_str())).collect();
    refused(&setup, &cases)
}

#[test]
fn syntax() {
    let setup = Setup::new(&[]);
    let said = refused(
        &setup,
        &[
            ("no equals sign", "[policy]\ndefault \"pass\"\n"),
            ("no value", "[policy]\ndefault =\n"),
            ("bare word", "[policy]\ndefault = pass\n"),
            ("open string", "[policy]\ndefault = \"pass\nmalformed = \"drop\"\n"),
            ("open array", "[[blocklist]]\nname = \"x\"\nprefixes = [\"10.0.0.1\"\n"),
            ("no comma", "[[blocklist]]\nname = \"x\"\nprefixes = [\"10.0.0.1\" \"10.0.0.2\"]\n"),
            ("open header", "[policy\ndefault = \"pass\"\n"),
            (
                "open header under another table",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\"::1\"]\n[[blocklist\nname = \"y\"\nprefixes = [\"::1\"]\n[arp]\naction = \"dorp\"\n",
            ),
            (
                "open array over lines, and a key twice after it",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\n  \"10.0.0.1\",\n  \"10.0.0.2\"\n[arp]\naction = \"drop\"\naction = \"dorp\"\n[policy]\ndefault = 1\n",
            ),
            (
                "what hangs on a broken line",
                "[[rule]]\nname = \"x\"\nprotocol = icmp\nicmp_type = 8\n",
            ),
            ("bad escape", "[[blocklist]]\nname = \"a\\q\"\nprefixes = [\"::1\"]\n"),
            ("key twice", "[policy]\ndefault = \"pass\"\ndefault = \"drop\"\n"),
            ("table twice", "[policy]\ndefault = \"pass\"\n[policy]\nmalformed = \"drop\"\n"),
            ("control character", "[policy]\ndefault = \"pa\u{1}ss\"\n"),
            (
                "several at once",
                "[policy]\ndefault = \nmalformed pass\nfragments = \"dorp\"\n[arp]\naction = \"drop\" x\n[[blocklist]]\nname = \"a b\"\n",
            ),
        ],
    );
    insta::assert_snapshot!(said);
}

#[test]
fn structure() {
    let setup = Setup::new(&[]);
    let said = refused(
        &setup,
        &[
            ("unknown table", "[polcy]\ndefault = \"pass\"\n"),
            ("unknown tables", "[[blocklists]]\nname = \"a\"\n[[blocklists]]\nname = \"b\"\n"),
            ("unknown key at the top", "interface = \"eth0\"\n"),
            (
                "tables of a service",
                "[check]\ntype = \"tcp\"\n[[backend]]\naddress = \"10.0.0.1\"\n",
            ),
            ("unknown key", "[policy]\ndefualt = \"pass\"\n"),
            ("a string for a table", "policy = \"pass\"\n"),
            ("a table twice over", "[[policy]]\ndefault = \"pass\"\n"),
            ("one table for many", "[blocklist]\nname = \"x\"\n"),
            ("an array of no tables", "rule = [1]\n"),
            ("an action that is none", "[policy]\ndefault = \"dorp\"\nmalformed = \"reject\"\n"),
            ("a float", "[policy]\ndefault = 1.5\n"),
            ("a date", "[policy]\nfragments = 2026-01-31\n"),
            ("a boolean", "[arp]\naction = true\n"),
            (
                "not an ARP address",
                "[arp]\naction = \"drop\"\nallow = [\"::1\", \"10.0.0.0/8\", \"x\", 7]\n",
            ),
            ("ARP addresses as a string", "[arp]\naction = \"drop\"\nallow = \"192.0.2.1\"\n"),
        ],
    );
    insta::assert_snapshot!(said);
}

#[test]
fn names() {
    let setup = Setup::new(&[]);
    let long = format!("[[rule]]\nname = \"{}\"\naction = \"drop\"\n", "x".repeat(65));
    let said = refused(
        &setup,
        &[
            ("none", "[[rule]]\naction = \"drop\"\n"),
            ("empty", "[[rule]]\nname = \"\"\naction = \"drop\"\n"),
            ("a blank", "[[rule]]\nname = \"a b\"\naction = \"drop\"\n"),
            ("a letter that is not ASCII", "[[rule]]\nname = \"büro\"\naction = \"drop\"\n"),
            ("too long", &long),
            ("a number", "[[rule]]\nname = 5\naction = \"drop\"\n"),
            (
                "taken by another kind",
                "[[rule]]\nname = \"x\"\naction = \"drop\"\n[[allowlist]]\nname = \"x\"\nprefixes = [\"::1\"]\n",
            ),
        ],
    );
    insta::assert_snapshot!(said);
}

#[test]
fn lists() {
    let many_bad = (0..13).map(|number| format!("bad{number}\n")).collect::<String>();
    let setup = Setup::new(&[
        ("lists/comments", b"# nothing\n"),
        ("lists/bad", b"10.0.0.1\n  10.0.0.9-10.0.0.1\n::1-10.0.0.1 # x\n{\"cidr\":\"x\"}\n10.0.0.0/255.0.0.0\n1.2.3.4 \x1b[2J\n"),
        ("lists/many", format!("10.0.0.1/8\n{many_bad}").as_bytes()),
    ]);
    nix::unistd::mkfifo(&setup.path().join("lists/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let huge = std::fs::File::create(setup.path().join("lists/huge")).unwrap();
    huge.set_len((1 << 30) + 1).unwrap();
    let said = refused(
        &setup,
        &[
            (
                "not prefixes",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\n  \"203.0.113.0/33\",\n  \"::/129\",\n  \"010.0.0.1\", \"example.org\",\n  \"10.0.0.0/255.0.0.0\",\n  \"fe80::1%eth0\",\n  \"10.0.0.9-10.0.0.1\", \"10.0.0.1-\", 5,\n  \"\",\n]\n",
            ),
            ("prefixes as a string", "[[blocklist]]\nname = \"x\"\nprefixes = \"10.0.0.1\"\n"),
            ("nothing in it", "[[blocklist]]\nname = \"x\"\n"),
            ("empty arrays", "[[allowlist]]\nname = \"x\"\nprefixes = []\nfiles = []\n"),
            (
                "keys of a blocklist",
                "[[allowlist]]\nname = \"x\"\nprefixes = [\"::1\"]\nmatch = \"source\"\naction = \"drop\"\n",
            ),
            (
                "a side that is none",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\"::1\"]\nmatch = \"src\"\n",
            ),
            (
                "an action of rules",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\"::1\"]\naction = \"pass\"\n",
            ),
            (
                "strict as a string",
                "[[blocklist]]\nname = \"x\"\nprefixes = [\"::1\"]\nstrict = \"yes\"\n",
            ),
            ("no such file", "[[blocklist]]\nname = \"x\"\nfiles = [\"lists/none\"]\n"),
            (
                "not a regular file",
                "[[blocklist]]\nname = \"x\"\nfiles = [\n\"lists\", \"lists/fifo\",\n\"/dev/null\", \"\"]\n",
            ),
            ("too large a file", "[[blocklist]]\nname = \"x\"\nfiles = [\"lists/huge\"]\n"),
            (
                "a file without entries",
                "[[blocklist]]\nname = \"x\"\nfiles = [\"lists/comments\"]\n",
            ),
            (
                "bad lines, strict",
                "[[blocklist]]\nname = \"x\"\nstrict = true\nfiles = [\"lists/bad\"]\n",
            ),
            (
                "more bad lines than are shown",
                "[[blocklist]]\nname = \"x\"\nstrict = true\nfiles = [\"lists/many\"]\n",
            ),
        ],
    );
    insta::assert_snapshot!(said);
}

#[test]
fn conditions() {
    let said = refused_rules(&[
        ("unknown key", "dst_port = 53\ndestination-port = 53"),
        ("protocol, misspelt", "protocol = \"tpc\""),
        ("protocol that is none", "protocol = \"ip\""),
        ("protocol number in quotes", "protocol = \"47\""),
        ("protocol out of range", "protocol = 256"),
        ("ICMP as a number, which has no types", "protocol = 1\nicmp_type = 8"),
        ("ICMPv6 as a number, which has no types", "protocol = 58\nicmp_type = 128"),
        ("protocol of a wrong type", "protocol = [\"tcp\"]"),
        ("empty source", "source = []"),
        ("bad source", "source = [\"10.0.0.0/8\", \"10.0.0.256\"]\ndestination = 10"),
        ("port out of range", "source_port = 65536\ndestination_port = [-1, \"70000\"]"),
        ("ports reversed", "destination_port = \"90-80\""),
        ("port by a misspelt name", "destination_port = [\"htpps\", \"80:90\"]"),
        ("port of a wrong type", "destination_port = 80.0"),
        ("no ports", "destination_port = []"),
        ("an integer beyond all", "source_port = 99999999999999999999999999999999999999999"),
        ("ICMP type out of range", "protocol = \"icmp\"\nicmp_type = [8, 256]"),
        (
            "ICMP type of the other family",
            "protocol = \"icmp\"\nicmp_type = [\"nd-redirect\", \"8\", true]",
        ),
        ("ICMP type with a code", "protocol = \"icmpv6\"\nicmp_type = \"port-unreachable\""),
        (
            "range of addresses, reversed",
            "source = [\"10.0.0.9-10.0.0.1\", \"10.0.0.1-::1\", \"10.0.0.1-9\"]",
        ),
        ("unknown flag", "tcp_flags = \"syn,akc\""),
        ("no flags", "tcp_flags = \"\""),
        ("unknown code point", "dscp = \"af14\""),
        ("code point out of range", "dscp = [46, 64]"),
        ("code point in quotes", "dscp = \"46\""),
        ("no code point", "dscp = []"),
        ("flags as an array", "tcp_flags = [\"syn\"]"),
        ("VLAN out of range", "vlan = [1, 4096]"),
        ("VLAN in quotes", "vlan = \"100\""),
        ("VLAN that is a word", "vlan = \"any\""),
        ("no VLANs", "vlan = []"),
        ("bad MAC addresses", "source_mac = \"02:00:00:00:00\"\ndestination_mac = [\"x\", 2]"),
        (
            "other tools' words",
            "hoplimit = 1\npktlen = 2\nfrag_off = 3\nnot_saddr = \"::1\"\nnot_dport = 4",
        ),
        ("lengths", "length = [65536, \"200-100\", \"<5\", -1, 1.5]"),
        ("no length", "length = []"),
        ("TTLs", "ttl = [256, \"1-256\", \"64-\", true]"),
        ("fragments", "fragment = \"true\"\nnot_fragment = 1"),
        ("a kind of fragment", "fragment = \"frist\""),
        ("ranges of code points", "dscp = [\"8-64\", \"14-8\"]\nnot_dscp = \"8-\""),
        (
            "negations are read alike",
            "not_protocol = [\"tpc\", 256, 1.0]\nnot_vlan = 5000\nnot_tcp_flags = \"sny\"",
        ),
        (
            "more of them",
            "not_source = \"10\"\nnot_destination_port = \"htpps\"\nnot_source_mac = \"x\"",
        ),
        ("negations of nothing", "not_protocol = []\nnot_source = []\nnot_dscp = []"),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn contradictions() {
    let said = refused_rules(&[
        ("ports of ICMP", "protocol = \"icmp\"\nsource_port = 1\ndestination_port = 2"),
        ("ports of GRE", "protocol = 47\ndestination_port = 2"),
        ("flags of UDP", "protocol = \"udp\"\ntcp_flags = \"syn\""),
        ("ICMP type of anything", "icmp_type = 8"),
        ("ICMP type of TCP", "protocol = \"tcp\"\nicmp_type = 8"),
        ("a flag set and not set", "tcp_flags = \"syn,!syn\""),
        ("ICMP over IPv6", "protocol = \"icmp\"\nsource = \"2001:db8::/32\""),
        (
            "ICMPv6 over IPv4",
            "protocol = \"icmpv6\"\ndestination = [\"2001:db8::/32\", \"10.0.0.1\"]",
        ),
        ("an extension header as a protocol", "protocol = 44\nsource = \"2001:db8::/32\""),
        ("a port and its negation", "source_port = [80, \"90-95\"]\nnot_source_port = \"80-100\""),
        ("no port is left", "not_destination_port = [\"0-999\", \"1000-65535\"]"),
        (
            "an address and its negation",
            "source = [\"10.1.0.0/16\", \"::1\"]\nnot_source = [\"10.0.0.0/8\", \"::/64\"]",
        ),
        ("no address is left", "not_destination = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"::/0\"]"),
        ("no family is left", "source = \"10.0.0.0/8\"\nnot_destination = \"0.0.0.0/0\""),
        ("no family is left of ICMP", "protocol = \"icmp\"\nnot_source = \"0.0.0.0/0\""),
        ("a protocol and its negation", "protocol = \"icmp\"\nnot_protocol = [\"tcp\", 1]"),
        (
            "no protocol with ports",
            "destination_port = 53\nnot_protocol = [\"udp\", \"tcp\", \"sctp\"]",
        ),
        ("no protocol with flags", "not_tcp_flags = \"syn\"\nnot_protocol = \"tcp\""),
        ("flags and their negation", "tcp_flags = \"syn,!ack\"\nnot_tcp_flags = \"syn\""),
        ("negated flags of UDP", "protocol = \"udp\"\nnot_tcp_flags = \"syn\""),
        ("negated flags that contradict each other", "not_tcp_flags = \"syn,!syn\""),
        ("negated ports of ICMP", "protocol = \"icmp\"\nnot_source_port = 1"),
        ("negated ICMP type of anything", "not_icmp_type = 8"),
        (
            "a type and its negation",
            "protocol = \"icmp\"\nicmp_type = 8\nnot_icmp_type = [0, \"ping\"]",
        ),
        ("a code point and its negation", "dscp = \"ef\"\nnot_dscp = \"40-50\""),
        ("no code point is left", "not_dscp = \"0-63\""),
        ("a tag and its negation", "vlan = [1, 2]\nnot_vlan = [2, 1]"),
        ("no tag, and another", "vlan = \"none\"\nnot_vlan = 7"),
        (
            "an address of a link and its negation",
            "source_mac = \"02:00:00:00:00:01\"\nnot_source_mac = \"02-00-00-00-00-01\"",
        ),
        ("a length under a header's", "length = [\"0-10\", 19]"),
        ("a length under IPv6's header", "length = \"20-39\"\ndestination = \"2001:db8::1\""),
        ("a length and its negation", "length = \"0-30\"\nnot_length = \"20-30\""),
        ("a TTL and its negation", "ttl = 64\nnot_ttl = \"1-64\""),
        ("no TTL is left", "not_ttl = \"0-255\""),
        ("a fragment and none", "fragment = true\nnot_fragment = true"),
        ("ports of later fragments", "fragment = \"later\"\nsource_port = 1"),
        (
            "types of later fragments",
            "fragment = true\nnot_fragment = \"first\"\nprotocol = \"icmp\"\nicmp_type = 8",
        ),
        ("from IPv4 to IPv6", "source = \"10.0.0.0/8\"\ndestination = \"2001:db8::/32\""),
        (
            "no word on families where a prefix is wrong",
            "source = \"10.0.0.0/8\"\ndestination = [\"10.0.0.256\", \"::1\"]",
        ),
        (
            "a family on one side",
            "source = [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndestination = \"10.0.0.1\"",
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn actions() {
    let said = refused_rules(&[
        ("none", "# action"),
        ("of a list", "action = \"count\""),
        ("redirect to nowhere", "action = \"redirect\""),
        ("to without redirect", "action = \"bounce\"\nto = \"eth1\""),
        ("not an interface", "action = \"redirect\"\nto = \"an interface/1\""),
        ("too long for an interface", "action = \"redirect\"\nto = \"enp0s31f6-and-more\""),
        ("ifindex 0", "action = \"redirect\"\nto = 0"),
        ("to as a list", "action = \"redirect\"\nto = [\"eth0\"]"),
        (
            "rewriting what goes nowhere",
            "action = \"pass\"\nset_source_mac = \"02:00:00:00:00:01\"\nset_destination_mac = \"02:00:00:00:00:02\"",
        ),
        (
            "bad address to write",
            "action = \"bounce\"\nset_source_mac = \"2:0:0:0:0:1\"\nset_destination_mac = 5",
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn ten_mistakes_are_told_at_once() {
    let setup = Setup::new(&[]);
    let text = r#"[policy]
default = "allow"
[arp]
actoin = "drop"
[[allowlist]]
prefixes = ["10.0.0.0/33"]
[[blocklist]]
name = "x"
files = ["lists/none"]
strict = 1
[[rule]]
name = "x"
protocol = "icmp"
source_port = 53
vlan = 5000
action = "redirect"
"#;
    let said = setup.said(text);
    assert_eq!(said.lines().count(), 10, "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_configuration_that_is_no_text() {
    let setup = Setup::new(&[]);
    let said = setup.said(b"[policy]\n# caf\xe9\n");
    insta::assert_snapshot!(said, @"error: DIR/x.toml:2:6: the byte 0xe9 is not UTF-8 text (TOML is UTF-8; save the file in that encoding)");
    assert_eq!(setup.load(b"\xff").text, "");
}

#[test]
fn allowing_what_passes_anyway_is_a_warning() {
    let setup = Setup::new(&[]);
    insta::assert_snapshot!(setup.said("[arp]\nallow = [\"192.0.2.1\"]\n"), @r#"warning: DIR/x.toml:2:10: [arp]: allow has no effect, since all ARP passes (it counts with action = "drop")"#);
}
