//! Rulesets of configurations, shown and loaded again.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::config::file::FileError;
use crate::config::load_with;
use crate::difference::Difference;

const LIST: &str = "10.0.0.1\n10.0.0.0/24\n10.0.0.1\n2001:db8::/32\n";

fn ruleset(text: &str) -> Ruleset {
    let files = |path: &Path| -> Result<Vec<u8>, FileError> {
        Ok(if path.ends_with("list") { LIST } else { text }.as_bytes().to_vec())
    };
    let loaded = load_with(Path::new("/etc/xdpctl/x.toml"), &files);
    loaded.ruleset.unwrap_or_else(|| panic!("{:?}\n{text}", loaded.diagnostics))
}

fn shown(text: &str, terse: bool) -> Shown {
    Shown {
        interface: "eth0".into(),
        mode: Mode::Native,
        generation: 3,
        loaded_at: UNIX_EPOCH + Duration::from_millis(1_769_860_800_250),
        loaded_from: "/etc/xdpctl/x.toml".into(),
        ruleset: ruleset(text),
        terse,
    }
}

fn text(shown: &Shown) -> String {
    let mut out = Vec::new();
    text::write(&mut out, std::slice::from_ref(shown)).unwrap();
    String::from_utf8(out).unwrap()
}

const ALL: &str = r#"
    [policy]
    fragments = "drop"
    [arp]
    action = "drop"
    allow = ["192.0.2.2", "192.0.2.1"]
    [[blocklist]]
    name = "drop"
    prefixes = ["2001:db8::1", "203.0.113.7/32", "10.0.0.1"]
    files = ["list"]
    match = "either"
    min_entries = 2
    max_shrink = "50%"
    [[allowlist]]
    name = "everyone"
    prefixes = ["0.0.0.0/0"]
    catch_all = true
    [[blocklist]]
    name = "none"
    prefixes = []
    action = "count"
    allow_empty = true
    [[rule]]
    name = "all"
    protocol = "tcp"
    source = ["10.0.0.0/8", "2001:db8::/32"]
    destination = ["192.0.2.1", "2001:db8::1"]
    source_port = "1024-65535"
    destination_port = [443, "1-3", 80]
    tcp_flags = "!ack,syn"
    dscp = ["ef", 0]
    vlan = [7, 5]
    source_mac = "02:00:00:00:00:09"
    destination_mac = ["02:00:00:00:00:0b", "02:00:00:00:00:0a"]
    length = ["576-1500", 40]
    ttl = "2-255"
    fragment = false
    not_protocol = ["udp", 47]
    not_source = "10.1.0.0/16"
    not_destination = ["192.0.2.2", "2001:db8::2"]
    not_source_port = [5060, "2000-3000"]
    not_destination_port = 22
    not_tcp_flags = "rst"
    not_dscp = "8-10"
    not_vlan = [7, 6]
    not_source_mac = "02:00:00:00:00:08"
    not_destination_mac = "02:00:00:00:00:0a"
    not_length = 1000
    not_ttl = [64, "128-130"]
    not_fragment = "first"
    action = "redirect"
    to = "eth\"1"
    set_source_mac = "02:00:00:00:00:01"
    set_destination_mac = "02:00:00:00:00:02"
    [[rule]]
    name = "icmp"
    protocol = "icmp"
    icmp_type = [8, 0]
    not_icmp_type = 0
    fragment = "first"
    vlan = "none"
    action = "bounce"
    [[rule]]
    name = "rest"
    protocol = 47
    action = "redirect"
    to = 4
"#;

#[test]
fn every_key_is_shown() {
    insta::assert_snapshot!(text(&shown(ALL, false)), @r#"
    # eth0: generation 3, native mode, loaded 2026-01-31T12:00:00.250Z from /etc/xdpctl/x.toml

    [policy]
    default = "pass"
    malformed = "drop"
    fragments = "drop"

    [arp]
    action = "drop"
    allow = ["192.0.2.1", "192.0.2.2"]

    [[allowlist]]
    name = "everyone"
    catch_all = true
    # 1 IPv4 and 0 IPv6 prefixes: 1 from /etc/xdpctl/x.toml
    prefixes = [
        "0.0.0.0/0",
    ]

    [[blocklist]]
    name = "drop"
    match = "either"
    action = "drop"
    min_entries = 2
    max_shrink = "50%"
    # 3 IPv4 and 2 IPv6 prefixes: 3 from /etc/xdpctl/x.toml, 2 from /etc/xdpctl/list
    prefixes = [
        "10.0.0.0/24",
        "10.0.0.1",
        "203.0.113.7",
        "2001:db8::/32",
        "2001:db8::1",
    ]

    [[blocklist]]
    name = "none"
    match = "source"
    action = "count"
    allow_empty = true
    # 0 IPv4 and 0 IPv6 prefixes
    prefixes = [
    ]

    [[rule]]
    name = "all"
    protocol = "tcp"
    source = ["10.0.0.0/8", "2001:db8::/32"]
    destination = ["192.0.2.1", "2001:db8::1"]
    source_port = "1024-65535"
    destination_port = ["1-3", 80, 443]
    tcp_flags = "syn,!ack"
    dscp = [0, 46]
    vlan = [5, 7]
    source_mac = "02:00:00:00:00:09"
    destination_mac = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"]
    length = [40, "576-1500"]
    ttl = "2-255"
    fragment = false
    not_protocol = ["udp", 47]
    not_source = "10.1.0.0/16"
    not_destination = ["192.0.2.2", "2001:db8::2"]
    not_source_port = ["2000-3000", 5060]
    not_destination_port = 22
    not_tcp_flags = "rst"
    not_dscp = [8, 9, 10]
    not_vlan = [6, 7]
    not_source_mac = "02:00:00:00:00:08"
    not_destination_mac = "02:00:00:00:00:0a"
    not_length = 1000
    not_ttl = [64, "128-130"]
    not_fragment = "first"
    action = "redirect"
    to = "eth\"1"
    set_source_mac = "02:00:00:00:00:01"
    set_destination_mac = "02:00:00:00:00:02"

    [[rule]]
    name = "icmp"
    protocol = "icmp"
    icmp_type = [0, 8]
    vlan = "none"
    fragment = "first"
    not_icmp_type = 0
    action = "bounce"

    [[rule]]
    name = "rest"
    protocol = 47
    action = "redirect"
    to = 4
    "#);
}

#[test]
fn terse_names_files() {
    let lists = ALL.split("[[rule]]").next().unwrap();
    insta::assert_snapshot!(text(&shown(lists, true)), @r#"
    # eth0: generation 3, native mode, loaded 2026-01-31T12:00:00.250Z from /etc/xdpctl/x.toml

    [policy]
    default = "pass"
    malformed = "drop"
    fragments = "drop"

    [arp]
    action = "drop"
    allow = ["192.0.2.1", "192.0.2.2"]

    [[allowlist]]
    name = "everyone"
    catch_all = true
    # 1 IPv4 and 0 IPv6 prefixes: 1 from /etc/xdpctl/x.toml
    prefixes = [
        "0.0.0.0/0",
    ]

    [[blocklist]]
    name = "drop"
    match = "either"
    action = "drop"
    min_entries = 2
    max_shrink = "50%"
    # 3 IPv4 and 2 IPv6 prefixes: 3 from /etc/xdpctl/x.toml, 2 from /etc/xdpctl/list
    prefixes = [
        "10.0.0.1",
        "203.0.113.7",
        "2001:db8::1",
    ]
    files = ["/etc/xdpctl/list"]

    [[blocklist]]
    name = "none"
    match = "source"
    action = "count"
    allow_empty = true
    # 0 IPv4 and 0 IPv6 prefixes
    prefixes = [
    ]
    "#);
}

/// Once a file that defines a name was taken for a list file, and `strict` was lost.
#[test]
fn terse_writes_out_what_names_stand_for() {
    let files = |path: &Path| -> Result<Vec<u8>, FileError> {
        let text = match path.file_name().and_then(|name| name.to_str()) {
            Some("list") => LIST,
            Some("names.toml") => "[define]\nbad = [\"203.0.113.7\", \"10.0.0.1\"]\n",
            _ => {
                "include = [\"names.toml\"]\n[[blocklist]]\nname = \"drop\"\n\
                 prefixes = [\"$bad\", \"2001:db8::1\"]\nfiles = [\"list\"]\nstrict = true\n"
            }
        };
        Ok(text.as_bytes().to_vec())
    };
    let loaded = load_with(Path::new("/etc/xdpctl/x.toml"), &files);
    let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let text = text(&Shown { ruleset, ..shown("", true) });
    insta::assert_snapshot!(text.split_once("[[blocklist]]\n").unwrap().1, @r#"
    name = "drop"
    match = "source"
    action = "drop"
    strict = true
    # 3 IPv4 and 2 IPv6 prefixes: 1 from /etc/xdpctl/x.toml, 2 from /etc/xdpctl/names.toml, 2 from /etc/xdpctl/list
    prefixes = [
        "10.0.0.1",
        "203.0.113.7",
        "2001:db8::1",
    ]
    files = ["/etc/xdpctl/list"]
    "#);
}

#[test]
fn as_json() {
    let mut out = Vec::new();
    json::write(&mut out, &[shown(ALL, false)]).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"[{"interface":"eth0","mode":"native","generation":3,"loaded_at":"2026-01-31T12:00:00.250Z","config":"/etc/xdpctl/x.toml","policy":{"default":"pass","malformed":"drop","fragments":"drop"},"arp":{"action":"drop","allow":["192.0.2.1","192.0.2.2"]},"allowlists":[{"name":"everyone","catch_all":true,"entries":{"ipv4":1,"ipv6":0},"files":[{"file":"/etc/xdpctl/x.toml","entries":1}],"prefixes":["0.0.0.0/0"]}],"blocklists":[{"name":"drop","match":"either","action":"drop","min_entries":2,"max_shrink":"50%","entries":{"ipv4":3,"ipv6":2},"files":[{"file":"/etc/xdpctl/x.toml","entries":3},{"file":"/etc/xdpctl/list","entries":2}],"prefixes":["10.0.0.0/24","10.0.0.1","203.0.113.7","2001:db8::/32","2001:db8::1"]},{"name":"none","match":"source","action":"count","allow_empty":true,"entries":{"ipv4":0,"ipv6":0},"files":[],"prefixes":[]}],"domains":[],"rules":[{"name":"all","protocol":"tcp","source":["10.0.0.0/8","2001:db8::/32"],"destination":["192.0.2.1","2001:db8::1"],"source_port":"1024-65535","destination_port":["1-3",80,443],"tcp_flags":"syn,!ack","dscp":[0,46],"vlan":[5,7],"source_mac":"02:00:00:00:00:09","destination_mac":["02:00:00:00:00:0a","02:00:00:00:00:0b"],"length":[40,"576-1500"],"ttl":"2-255","fragment":false,"not_protocol":["udp",47],"not_source":"10.1.0.0/16","not_destination":["192.0.2.2","2001:db8::2"],"not_source_port":["2000-3000",5060],"not_destination_port":22,"not_tcp_flags":"rst","not_dscp":[8,9,10],"not_vlan":[6,7],"not_source_mac":"02:00:00:00:00:08","not_destination_mac":"02:00:00:00:00:0a","not_length":1000,"not_ttl":[64,"128-130"],"not_fragment":"first","action":"redirect","to":"eth\"1","set_source_mac":"02:00:00:00:00:01","set_destination_mac":"02:00:00:00:00:02"},{"name":"icmp","protocol":"icmp","icmp_type":[0,8],"vlan":"none","fragment":"first","not_icmp_type":0,"action":"bounce"},{"name":"rest","protocol":47,"action":"redirect","to":4}],"service_settings":{},"services":[]}]"#);
}

/// What is shown loads again to the same ruleset, which is then shown the same, except for
/// comments.
#[test]
fn what_is_shown_loads_again() {
    let uncommented = |text: &str| -> String {
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    };
    for configuration in [ALL, ""] {
        for terse in [false, true] {
            let first = shown(configuration, terse);
            let again = shown(&text(&first), terse);
            assert_eq!(Difference::between(&first.ruleset, &again.ruleset), Difference::default());
            assert_eq!(uncommented(&text(&first)), uncommented(&text(&again)));
        }
    }
}

/// Backends keep their names, given or not, and the files that they come from.
#[test]
fn services_are_shown_and_load_again() {
    let files = |path: &Path| -> Result<Vec<u8>, FileError> {
        let text = match path.ends_with("web.backends") {
            true => "10.0.0.5 weight=2 state=drain name=five\n10.0.0.6\n",
            false => {
                "[services]\nseed = \"DFTTgNYuodmggDl6\"\ntracking = \"all\"\nconnections = 65536\n\
                 history = \"90m\"\ntunnel_source = [\"172.17.0.0/16\", \"100::/80\"]\n\
                 next_hop = \"02:00:00:00:00:01\"\n\
                 [[service]]\nname = \"web\"\naddress = [\"192.0.2.10\", \"198.51.100.0/24\"]\n\
                 protocol = [\"tcp\", \"udp\"]\nport = [80, \"8000-8099\"]\nsource = \"203.0.113.0/24\"\n\
                 mode = \"dsr\"\nencapsulation = \"gue\"\ngue_port = 9000\nhash = \"source\"\n\
                 affinity = \"3h\"\ntable = 8191\ntracking = \"changed\"\nudp_timeout = \"2m\"\n\
                 too_big = \"drop\"\nmtu = 1500\nno_backend = \"reject\"\necho = \"reply\"\n\
                 panic = 30\nfiles = [\"web.backends\"]\n\
                 [[service.backend]]\naddress = \"2001:db8::1\"\nnext_hop = \"route\"\n\
                 [[service]]\nname = \"nat\"\naddress = \"2001:db8::10\"\nprotocol = \"tcp\"\nport = 80\n\
                 mode = \"nat\"\ntracking = \"none\"\n\
                 [service.check]\ntype = \"http\"\npath = \"/health\"\nfall = 4\n\
                 [[service.backend]]\naddress = \"2001:db8::2\"\nport = 8080\nweight = 5\n"
            }
        };
        Ok(text.as_bytes().to_vec())
    };
    let loaded = load_with(Path::new("/etc/xdpctl/x.toml"), &files);
    let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let whole = Shown { ruleset, ..shown("", false) };
    let again = self::ruleset(&text(&whole));
    assert_eq!(Difference::between(&whole.ruleset, &again), Difference::default());
    assert_eq!(again.service_settings, whole.ruleset.service_settings);
    let of_services = text(&whole);
    insta::assert_snapshot!(of_services.split_once("[services]\n").unwrap().1);
    let mut out = Vec::new();
    json::write(&mut out, std::slice::from_ref(&whole)).unwrap();
    let json = String::from_utf8(out).unwrap();
    insta::assert_snapshot!(json.split_once("\"service_settings\":").unwrap().1);
    let terse = text(&Shown { terse: true, ..whole });
    assert!(terse.contains("files = [\"/etc/xdpctl/web.backends\"]"), "{terse}");
    assert!(!terse.contains("10.0.0.5") && terse.contains("2001:db8::1"), "{terse}");
}

/// Names with bytes that TOML or a name would read as something else, from files too.
#[test]
fn names_are_shown_and_load_again() {
    let files = |path: &Path| -> Result<Vec<u8>, FileError> {
        let text = match path.file_name().and_then(|name| name.to_str()) {
            Some("list") => "0.0.0.0 tracker.example\n*.ads.example\n",
            _ => {
                "[[domains]]\nname = \"malware\"\nnames = ['a\\.b\\200.EXAMPLE', \".\", \"*.x.example.\"]\n\
                 files = [\"list\"]\naction = \"nxdomain\"\nqtype = [\"ANY\", 65]\nstrict = true\n\
                 min_entries = 2\nmax_shrink = \"50%\"\n\
                 [[domains]]\nname = \"none\"\nallow_empty = true\nqtype = 54\naction = \"pass\"\n"
            }
        };
        Ok(text.as_bytes().to_vec())
    };
    let loaded = load_with(Path::new("/etc/xdpctl/x.toml"), &files);
    let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let whole = Shown { ruleset, ..shown("", false) };
    let again = self::ruleset(&text(&whole));
    assert_eq!(Difference::between(&whole.ruleset, &again), Difference::default());
    assert_eq!(again.domains[0].names.len(), 5);
    insta::assert_snapshot!(text(&whole).split_once("[[domains]]\n").unwrap().1, @r#"
    name = "malware"
    action = "nxdomain"
    qtype = ["HTTPS", "ANY"]
    strict = true
    min_entries = 2
    max_shrink = "50%"
    # 5 names: 3 from /etc/xdpctl/x.toml, 2 from /etc/xdpctl/list
    names = [
        "a\\.b\\200.example",
        ".",
        "*.x.example",
        "tracker.example",
        "*.ads.example",
    ]
    
    [[domains]]
    name = "none"
    action = "pass"
    qtype = "TYPE54"
    allow_empty = true
    # 0 names
    names = [
    ]
    "#);
    let mut out = Vec::new();
    json::write(&mut out, std::slice::from_ref(&whole)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        json[0]["domains"][0],
        serde_json::json!({
            "name": "malware", "action": "nxdomain", "qtype": ["HTTPS", "ANY"], "strict": true,
            "min_entries": 2, "max_shrink": "50%", "entries": {"domains": 5},
            "files": [
                {"file": "/etc/xdpctl/x.toml", "entries": 3},
                {"file": "/etc/xdpctl/list", "entries": 2},
            ],
            "names": [r"a\.b\200.example", ".", "*.x.example", "tracker.example", "*.ads.example"],
        })
    );
    let terse = text(&Shown { terse: true, ..whole });
    assert!(terse.contains("\"/etc/xdpctl/list\""), "{terse}");
    assert!(!terse.contains("tracker.example"), "{terse}");
}
