use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Setup, ruleset};
use crate::config::load;
use crate::ruleset::services::Settings;
use crate::ruleset::{
    Arp, Entry, Excluded, Fragment, Guards, List, ListAction, Matches, Policy, PolicyAction,
    Prefix, Prefixes, Protocol, RedirectTarget, Rewrite, Rule, RuleAction, Ruleset, Side, TcpFlags,
    Vlan,
};

fn v4(address: [u8; 4], length: u8) -> Prefix<u32> {
    Prefix { address: u32::from_be_bytes(address), length }
}

/// The conditions of a rule that drops, read from text.
fn matches(conditions: &str) -> Matches {
    let mut rules = ruleset(&format!("[[rule]]\nname = 'x'\naction = 'drop'\n{conditions}")).rules;
    rules.remove(0).matches
}

#[test]
fn an_empty_file_has_the_defaults() {
    let setup = Setup::new(&[]);
    let loaded = setup.load("");
    let expected = Ruleset {
        files: vec![setup.path().join("x.toml")],
        configurations: 1,
        ..Ruleset::default()
    };
    assert_eq!(loaded.ruleset, Some(expected));
    let policy = loaded.ruleset.unwrap().policy;
    assert_eq!(
        [policy.default, policy.malformed, policy.fragments],
        [PolicyAction::Pass, PolicyAction::Drop, PolicyAction::Pass]
    );
}

/// No other device is opened, nor this one as a list file.
#[test]
fn the_null_device_is_an_empty_configuration() {
    let loaded = load(Path::new("/dev/null"));
    assert!(loaded.diagnostics.is_ok(), "{:?}", loaded.diagnostics);
    let expected =
        Ruleset { files: vec!["/dev/null".into()], configurations: 1, ..Ruleset::default() };
    assert_eq!(loaded.ruleset, Some(expected));
    assert_eq!(load(Path::new("/dev/zero")).ruleset, None);
    let setup = Setup::new(&[]);
    let said = setup.said("[[blocklist]]\nname = \"a\"\nfiles = [\"/dev/null\"]\n");
    assert!(said.contains("it is a device, not a regular file"), "{said}");
}

#[test]
fn every_table_is_read() {
    let setup = Setup::new(&[
        ("lists/partners.txt", b"# partners\n192.0.2.1\n"),
        ("lists/drop.netset", b"198.18.0.0-198.18.0.2\r\n2001:db8:f::/48 ; x\r\n"),
    ]);
    let text = r#"[policy]
default   = "drop"
malformed = "pass"
fragments = "drop"

[arp]
action = "drop"
allow  = ["192.0.2.1"]

[[allowlist]]
name     = "office"
prefixes = ["198.51.100.0/24", "2001:db8:1::/48"]
files    = ["lists/partners.txt"]

[[blocklist]]
name     = "spamhaus"
prefixes = ["203.0.113.7",
            "203.0.113.0/24"]
files    = ["lists/drop.netset", "lists/drop.netset"]
strict   = true
match    = "either"
action   = "count"
allow_empty = true
catch_all   = true
min_entries = 5
max_shrink = "50%"

[[rule]]
name             = "dns-to-sensor"
protocol         = "udp"
source           = "10.0.0.0/8"
destination      = ["192.0.2.53", "192.0.2.54"]
source_port      = "1024-65535"
destination_port = [53, "5353-5354"]
dscp             = ["ef", 10, 63]
vlan             = 100
source_mac       = "02:00:00:00:00:09"
destination_mac  = ["02-00-00-00-00-0A"]
action           = "redirect"
to               = "eth1"
set_source_mac      = "02:00:00:00:00:01"
set_destination_mac = "02:00:00:00:00:02"
"#;
    assert_eq!(setup.said(text), "");
    let loaded = setup.load(text);
    assert_eq!(loaded.text, text);
    let expected = Ruleset {
        policy: Policy {
            default: PolicyAction::Drop,
            malformed: PolicyAction::Pass,
            fragments: PolicyAction::Drop,
            ..Policy::default()
        },
        arp: Arp { action: PolicyAction::Drop, allow: vec![0xc000_0201] },
        allowlists: vec![List {
            name: "office".into(),
            file: 0,
            line: 11,
            column: 12,
            side: Side::Source,
            action: ListAction::Drop,
            strict: false,
            guards: Guards::default(),
            v4: vec![
                Entry { prefix: v4([198, 51, 100, 0], 24), file: 0, line: 12 },
                Entry { prefix: v4([192, 0, 2, 1], 32), file: 1, line: 2 },
            ],
            v6: vec![Entry {
                prefix: Prefix { address: 0x2001_0db8_0001 << 80, length: 48 },
                file: 0,
                line: 12,
            }],
        }],
        blocklists: vec![List {
            name: "spamhaus".into(),
            file: 0,
            line: 16,
            column: 12,
            side: Side::Either,
            action: ListAction::Count,
            strict: true,
            guards: Guards {
                allow_empty: true,
                catch_all: true,
                min_entries: Some(5),
                max_shrink: Some(50),
            },
            v4: vec![
                Entry { prefix: v4([203, 0, 113, 7], 32), file: 0, line: 17 },
                Entry { prefix: v4([203, 0, 113, 0], 24), file: 0, line: 18 },
                Entry { prefix: v4([198, 18, 0, 0], 31), file: 2, line: 1 },
                Entry { prefix: v4([198, 18, 0, 2], 32), file: 2, line: 1 },
            ],
            v6: vec![Entry {
                prefix: Prefix { address: 0x2001_0db8_000f << 80, length: 48 },
                file: 2,
                line: 2,
            }],
        }],
        domains: vec![],
        rules: vec![Rule {
            name: "dns-to-sensor".into(),
            file: 0,
            line: 29,
            limit: None,
            matches: Matches {
                protocol: Some(Protocol::Number(17)),
                source: Some(Prefixes { v4: vec![v4([10, 0, 0, 0], 8)], v6: vec![] }),
                destination: Some(Prefixes {
                    v4: vec![v4([192, 0, 2, 53], 32), v4([192, 0, 2, 54], 32)],
                    v6: vec![],
                }),
                source_port: Some(vec![(1024, 65535)]),
                destination_port: Some(vec![(53, 53), (5353, 5354)]),
                icmp_type: None,
                tcp_flags: None,
                dscp: Some(vec![46, 10, 63]),
                vlan: Some(Vlan::Ids(vec![100])),
                source_mac: Some(vec![[2, 0, 0, 0, 0, 9]]),
                destination_mac: Some(vec![[2, 0, 0, 0, 0, 10]]),
                ..Matches::default()
            },
            action: RuleAction::Redirect {
                to: RedirectTarget::Name("eth1".into()),
                rewrite: Rewrite {
                    source_mac: Some([2, 0, 0, 0, 0, 1]),
                    destination_mac: Some([2, 0, 0, 0, 0, 2]),
                },
                line: 40,
                column: 20,
            },
        }],
        service_settings: Settings::default(),
        services: Vec::new(),
        files: ["x.toml", "lists/partners.txt", "lists/drop.netset"]
            .map(|name| setup.path().join(name))
            .to_vec(),
        configurations: 1,
    };
    assert_eq!(loaded.ruleset, Some(expected));
}

#[test]
fn lists_have_their_defaults() {
    let ruleset = ruleset("[[blocklist]]\nname = 'x'\nprefixes = ['10.0.0.0/8', '::1']");
    let list = &ruleset.blocklists[0];
    assert_eq!((list.side, list.action), (Side::Source, ListAction::Drop));
    assert_eq!((list.v4.len(), list.v6.len()), (1, 1));
}

#[test]
fn tables_keep_the_order_of_the_text() {
    let ruleset = ruleset(
        "rule = [{ name = 'z', action = 'pass', vlan = 1 }, { name = 'a', action = 'bounce' }]\n\
         [[blocklist]]\nname = 'y'\nprefixes = ['::1']\n\
         [[allowlist]]\nname = 'c'\nprefixes = ['::1']\n\
         [[blocklist]]\nname = 'b'\nprefixes = ['::2']\n",
    );
    let names: Vec<_> = ruleset.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    let names: Vec<_> = ruleset.blocklists.iter().map(|list| list.name.as_str()).collect();
    assert_eq!(names, ["y", "b"]);
}

#[test]
fn conditions_of_rules() {
    assert_eq!(matches(""), Matches::default());
    assert_eq!(matches("protocol = 47").protocol, Some(Protocol::Number(47)));
    assert_eq!(matches("protocol = 'sctp'").protocol, Some(Protocol::Number(132)));
    assert_eq!(matches("protocol = 'icmp'").protocol, Some(Protocol::Icmp));
    assert_eq!(matches("protocol = 'icmpv6'").protocol, Some(Protocol::Icmpv6));
    // Port 0 is a valid port, and a protocol's number is as good as its name.
    assert_eq!(matches("source_port = 0").source_port, Some(vec![(0, 0)]));
    assert_eq!(
        matches("protocol = 6\ndestination_port = ['0-1', 2]").destination_port,
        Some(vec![(0, 1), (2, 2)])
    );
    assert_eq!(matches("protocol = 132\nsource_port = '9'").source_port, Some(vec![(9, 9)]));
    assert_eq!(matches("protocol = 'icmp'\nicmp_type = [0, 255]").icmp_type, Some(vec![0, 255]));
    assert_eq!(matches("protocol = 'icmpv6'\nicmp_type = 128").icmp_type, Some(vec![128]));
    for (flags, mask, value) in [
        ("fin", 0x01, 0x01),
        ("syn,!ack", 0x12, 0x02),
        ("rst, psh, !urg", 0x2c, 0x0c),
        ("!ece,cwr,cwr", 0xc0, 0x80),
    ] {
        assert_eq!(
            matches(&format!("protocol = 6\ntcp_flags = '{flags}'")).tcp_flags,
            Some(TcpFlags { mask, value }),
            "{flags}"
        );
    }
    assert_eq!(matches("vlan = 'none'").vlan, Some(Vlan::Untagged));
    assert_eq!(matches("vlan = [0, 4095]").vlan, Some(Vlan::Ids(vec![0, 4095])));
    // A range is turned into prefixes.
    let ranges = matches("source = ['192.0.2.10-192.0.2.20', '::1 - ::2']").source.unwrap();
    let lengths: Vec<_> =
        ranges.v4.iter().map(|prefix| (prefix.address & 0xff, prefix.length)).collect();
    assert_eq!(lengths, [(10, 31), (12, 30), (16, 30), (20, 32)]);
    assert_eq!(ranges.v6.len(), 2);
    // An IPv4-mapped address is IPv6.
    let source = matches("source = '::ffff:1.2.3.4'").source.unwrap();
    assert_eq!((source.v4.len(), source.v6.len()), (0, 1));
    let both = matches("source = ['::1', '10.0.0.1']\ndestination = ['10.0.0.2', '::2']");
    assert_eq!(both.destination.unwrap().v6.len(), 1);
    // A protocol that is an extension header in IPv6 can still be matched over IPv4.
    assert_eq!(matches("protocol = 51\nsource = '10.0.0.1'").protocol, Some(Protocol::Number(51)));
}

#[test]
fn lengths_ttls_and_fragments() {
    let read = matches("length = [40, '576-1500']\nttl = '0-4'\nfragment = 'first'");
    assert_eq!(read.length, Some(vec![(40, 40), (576, 1500)]));
    assert_eq!(read.ttl, Some(vec![(0, 4)]));
    assert_eq!(read.fragment, Some(Fragment::First));
    assert_eq!(matches("ttl = 255").ttl, Some(vec![(255, 255)]));
    assert_eq!(matches("length = '0-65535'").length, Some(vec![(0, 65535)]));
    for (text, fragment) in [("true", Fragment::Any), ("false", Fragment::None)] {
        assert_eq!(matches(&format!("fragment = {text}")).fragment, Some(fragment));
    }
    let later = matches("fragment = true\nnot_fragment = 'first'\nprotocol = 'udp'");
    assert_eq!((later.fragment, later.not.fragment), (Some(Fragment::Any), Some(Fragment::First)));
    assert_eq!(matches("dscp = ['8-10', 'ef', 0]").dscp, Some(vec![8, 9, 10, 46, 0]));
}

#[test]
fn negations() {
    let not = matches(
        "not_protocol = ['tcp', 'icmp', 47]\nnot_source = ['10.0.0.0/8', '::1']\n\
         not_destination = '192.0.2.1'\nnot_dscp = 'ef'\nnot_vlan = [1, 2]\n\
         not_source_mac = '02:00:00:00:00:01'\nnot_destination_mac = ['02:00:00:00:00:02']\n\
         not_length = '1-100'\nnot_ttl = [1, '64-255']\nnot_fragment = true",
    )
    .not;
    let expected = Excluded {
        protocol: Some(vec![Protocol::Number(6), Protocol::Icmp, Protocol::Number(47)]),
        source: Some(Prefixes {
            v4: vec![v4([10, 0, 0, 0], 8)],
            v6: vec![Prefix { address: 1, length: 128 }],
        }),
        destination: Some(Prefixes { v4: vec![v4([192, 0, 2, 1], 32)], v6: vec![] }),
        dscp: Some(vec![46]),
        vlan: Some(Vlan::Ids(vec![1, 2])),
        source_mac: Some(vec![[2, 0, 0, 0, 0, 1]]),
        destination_mac: Some(vec![[2, 0, 0, 0, 0, 2]]),
        length: Some(vec![(1, 100)]),
        ttl: Some(vec![(1, 1), (64, 255)]),
        fragment: Some(Fragment::Any),
        ..Excluded::default()
    };
    assert_eq!(not, expected);
    let tcp = matches(
        "not_source_port = ['ssh', '80-90']\nnot_destination_port = 0\nnot_tcp_flags = '!ack'",
    );
    assert_eq!(tcp.not.source_port, Some(vec![(22, 22), (80, 90)]));
    assert_eq!(tcp.not.destination_port, Some(vec![(0, 0)]));
    assert_eq!(tcp.not.tcp_flags, Some(TcpFlags { mask: 0x10, value: 0 }));
    let icmp = matches("protocol = 'icmpv6'\nnot_icmp_type = ['echo-request', 1]");
    assert_eq!(icmp.not.icmp_type, Some(vec![128, 1]));
    assert_eq!(matches("not_vlan = 'none'").not.vlan, Some(Vlan::Untagged));
    // The names of what [define] names are known.
    let text = "[define]\nhome = ['10.0.0.0/8']\n[[rule]]\nname = 'r'\nnot_source = '$home'\naction = 'drop'";
    assert_eq!(
        ruleset(text).rules[0].matches.not.source,
        Some(Prefixes { v4: vec![v4([10, 0, 0, 0], 8)], v6: vec![] })
    );
}

/// A negation that takes nothing away was meant otherwise.
#[test]
fn negations_without_effect() {
    for conditions in [
        "source_port = [1, 2]\nnot_source_port = '3-9'",
        "source = '10.0.0.0/8'\nnot_source = ['11.0.0.0/8', '::1']",
        "destination = '::1'\nnot_source = '10.0.0.0/8'",
        "protocol = 'tcp'\nnot_protocol = 'udp'",
        "source = '10.0.0.0/8'\nnot_protocol = 'icmpv6'",
        "destination_port = 1\nnot_protocol = ['icmp', 47]",
        "tcp_flags = 'syn'\nnot_tcp_flags = '!syn'",
        "dscp = 'ef'\nnot_dscp = 'be'",
        "vlan = 7\nnot_vlan = 'none'",
        "vlan = 7\nnot_vlan = 8",
        "source_mac = '02:00:00:00:00:01'\nnot_source_mac = '02:00:00:00:00:02'",
        "not_length = '0-19'",
        "ttl = '1-9'\nnot_ttl = 0",
        "fragment = 'first'\nnot_fragment = 'later'",
    ] {
        let setup = Setup::new(&[]);
        let said = setup.said(format!("[[rule]]\nname = 'r'\naction = 'drop'\n{conditions}\n"));
        assert!(said.starts_with("warning: "), "{conditions}: {said}");
        assert!(said.contains("excludes nothing that the rule would match without it"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn numbers_by_their_names() {
    assert_eq!(matches("protocol = 'gre'").protocol, Some(Protocol::Number(47)));
    assert_eq!(matches("protocol = 'ipv6-icmp'").protocol, Some(Protocol::Icmpv6));
    let ports = matches("destination_port = ['ssh', 'https', 8080]").destination_port;
    assert_eq!(ports, Some(vec![(22, 22), (443, 443), (8080, 8080)]));
    let types = |protocol| {
        matches(&format!("protocol = '{protocol}'\nicmp_type = ['echo-request', 'redirect', 3]"))
            .icmp_type
    };
    assert_eq!(types("icmp"), Some(vec![8, 5, 3]));
    assert_eq!(types("icmpv6"), Some(vec![128, 137, 3]));
}

#[test]
fn a_list_may_have_ranges() {
    let ruleset = ruleset("[[blocklist]]\nname = 'x'\nprefixes = ['10.0.0.1-10.0.0.2', '::']");
    let list = &ruleset.blocklists[0];
    assert_eq!((list.v4.len(), list.v6.len()), (2, 1));
    assert_eq!(list.v4[1].line, 3);
}

#[test]
fn a_redirect_may_name_an_ifindex() {
    let ruleset = ruleset("[[rule]]\nname = 'x'\naction = 'redirect'\nto = 7");
    assert_eq!(
        ruleset.rules[0].action,
        RuleAction::Redirect {
            to: RedirectTarget::Index(7),
            rewrite: Rewrite::default(),
            line: 4,
            column: 6
        }
    );
}

#[test]
fn byte_order_marks_and_carriage_returns_change_nothing() {
    let setup = Setup::new(&[("lists/a", b"\xef\xbb\xbf10.0.0.1\r\n")]);
    let text = "\u{feff}[[blocklist]]\r\nname = \"x\"\r\nfiles = [\"lists/a\"]\r\n";
    let loaded = setup.load(text);
    assert_eq!(setup.said(text), "");
    assert_eq!(loaded.text, text);
    assert_eq!(loaded.ruleset.unwrap().blocklists[0].v4.len(), 1);
}

#[test]
fn host_bits_are_masked_and_told() {
    let setup = Setup::new(&[("lists/a", b"10.1.2.3/8\n")]);
    let text = "[[blocklist]]\nname = 'x'\nprefixes = ['192.0.2.1/24']\nfiles = ['lists/a']";
    insta::assert_snapshot!(setup.said(text), @r#"
    warning: DIR/x.toml:3:13: blocklist "x": "192.0.2.1/24" has bits set beyond its length (taken as 192.0.2.0/24)
    warning: DIR/lists/a:1:1: "10.1.2.3/8" has bits set beyond its length (taken as 10.0.0.0/8)
    "#);
    let list = &setup.load(text).ruleset.unwrap().blocklists[0];
    assert_eq!(list.v4[0].prefix, v4([192, 0, 2, 0], 24));
    assert_eq!(list.v4[1].prefix, v4([10, 0, 0, 0], 8));
}

#[test]
fn unreadable_lines_are_warnings() {
    let setup = Setup::new(&[("lists/a", b"10.0.0.1\nnonsense\n")]);
    let text = "[[allowlist]]\nname = 'x'\nfiles = ['lists/a']\n\
                [[blocklist]]\nname = 'y'\nfiles = ['lists/a']\n";
    // Reported once, though two lists name the file.
    insta::assert_snapshot!(setup.said(text), @r#"warning: DIR/lists/a:2:1: "nonsense" is not an address, a prefix or a range (an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32)"#);
    let ruleset = setup.load(text).ruleset.unwrap();
    assert_eq!(ruleset.files.len(), 2);
    assert_eq!(ruleset.blocklists[0].v4, ruleset.allowlists[0].v4);
}

#[test]
fn links_are_followed_and_absolute_paths_taken() {
    let setup = Setup::new(&[("lists/a", b"10.0.0.1"), ("lists/b", b"10.0.0.1")]);
    symlink("a", setup.path().join("lists/link")).unwrap();
    let absolute = setup.path().join("lists/b");
    let ruleset = setup
        .load(format!("[[blocklist]]\nname = 'x'\nfiles = ['lists/link', {absolute:?}]\n"))
        .ruleset
        .unwrap();
    assert_eq!(ruleset.files[1..], [setup.path().join("lists/link"), absolute]);
    assert_eq!(ruleset.blocklists[0].v4.len(), 2);
}

#[test]
fn a_missing_configuration_is_an_error() {
    let loaded = load(&PathBuf::from("/nonexistent/x.toml"));
    assert!(loaded.ruleset.is_none());
    assert_eq!(loaded.text, "");
    insta::assert_snapshot!(loaded.diagnostics.errors[0], @"/nonexistent/x.toml: the configuration cannot be read: No such file or directory (create the file, or correct the path)");
}

#[test]
fn a_configuration_is_a_regular_file() {
    let setup = Setup::new(&[]);
    let fifo = setup.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, message) in [
        (fifo.as_path(), "the configuration cannot be read: it is a FIFO, not a regular file"),
        (setup.path(), "the configuration cannot be read: it is a directory, not a regular file"),
    ] {
        assert_eq!(load(path).diagnostics.errors[0].message, message);
    }
}

#[test]
fn a_file_named_by_its_own_folder_has_its_lists_there() {
    let setup = Setup::new(&[("lists/a", b"10.0.0.1")]);
    fs::write(
        setup.path().join("lists/x.toml"),
        "[[blocklist]]\nname = 'x'\nfiles = ['../lists/a']",
    )
    .unwrap();
    let loaded = load(&setup.path().join("lists/x.toml"));
    assert_eq!(loaded.ruleset.unwrap().files[1], setup.path().join("lists/../lists/a"));
}
