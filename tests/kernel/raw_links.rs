//! Links without a link layer header: their packets are judged from the IP header on, and rules
//! that such a link cannot carry out are refused.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::lab::capture::{ETHERNET, Order, pcap_with};
use crate::lab::dns::{A, Edns, NXDOMAIN, query};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Difference, Lab, Output, Sample, Tun};

/// LINKTYPE_RAW.
const RAW: u32 = 101;
const MAGIC: u32 = 0xa1b2_c3d4;
const SILENCE: Duration = Duration::from_millis(50);

/// A description and the packet; its verdict, reason, and the lists and rules that count it.
type Row<'r> = (&'r str, Vec<u8>, &'r str, &'r str, &'r [&'r str]);

/// A lab with a tun device in the middle, and a configuration to attach there.
struct Bench {
    tun: Tun,
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::new();
        let tun = lab.tun("dut", "tun0");
        lab.ip("dut", ["address", "add", "10.50.0.1/24", "dev", "tun0"]);
        Self { tun, lab, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn attach(&self, interface: &str, configuration: &str, more: &[&str]) -> Output {
        let file = self.file("ruleset.toml", configuration);
        let mut args = vec!["attach", interface, "-c", &file];
        args.extend(more);
        self.lab.xdpctl("dut", args)
    }

    fn sample(&self) -> Sample {
        Sample::read(&self.lab, "dut", "tun0")
    }

    /// Sends one packet, and compares what is counted with what was expected.
    fn send(&self, row: &Row<'_>) {
        let (what, packet, verdict, reason, rules) = row;
        let before = self.sample();
        self.tun.send(packet);
        let deadline = Instant::now() + patient(EVENT);
        let mut after = self.sample();
        while after.total() == before.total() && Instant::now() < deadline {
            after = self.sample();
        }
        let expected = Difference::of_one(packet.len(), verdict, reason, rules);
        let counted = Difference::between(&before, &after);
        assert_eq!(counted, expected, "{what}");
    }

    /// A socket of the device's host, bound to that port.
    fn socket(&self, port: u16) -> UdpSocket {
        let socket = self.lab.namespace("dut").enter(|| UdpSocket::bind(("10.50.0.1", port)));
        let socket = socket.expect("bind");
        socket.set_nonblocking(true).expect("a socket that does not block");
        socket
    }
}

/// Whether something came to a socket within a time.
fn arrives(socket: &UdpSocket, within: Duration) -> bool {
    let deadline = Instant::now() + patient(within);
    loop {
        if socket.recv(&mut [0; 2048]).is_ok() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A frame without its Ethernet header.
fn packet(frame: Frame) -> Vec<u8> {
    frame.build().split_off(14)
}

fn udp(source: &str, port: u16) -> Vec<u8> {
    packet(udp4(source, "10.50.0.1", 1024, port))
}

fn udp_v6(source: &str) -> Vec<u8> {
    packet(udp6(source, "fd00::1", 1024, 7))
}

const CONFIGURATION: &str = r#"
    [policy]
    fragments = "drop"
    [[allowlist]]
    name = "good"
    prefixes = ["203.0.113.9"]
    [[blocklist]]
    name = "bad"
    prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
    [[rule]]
    name = "dns"
    destination_port = 53
    action = "drop"
    [[rule]]
    name = "untagged-web"
    vlan = "none"
    destination_port = 80
    action = "drop"
    [[rule]]
    name = "everybody"
    destination_mac = "ff:ff:ff:ff:ff:ff"
    action = "drop"
"#;

#[test]
fn packets_are_judged_from_the_ip_header_on() {
    let bench = Bench::new();
    let socket = bench.socket(7);
    // Without a program, both arrive.
    for source in ["203.0.113.7", "198.51.100.7"] {
        bench.tun.send(&udp(source, 7));
        assert!(arrives(&socket, EVENT), "{source}");
    }
    let attached = bench.attach("tun0", CONFIGURATION, &[]);
    attached.success();
    assert!(attached.stdout.contains("attached to tun0 in generic mode"), "{attached:?}");
    assert!(attached.stderr.contains("not in native mode"), "{attached:?}");
    assert!(
        attached.stderr.contains(
            "packets of tun0 have neither MAC addresses nor VLAN tags: what names one never \
             matches: \"everybody\""
        ),
        "{attached:?}"
    );
    let malformed = packet(udp4("198.51.100.7", "10.50.0.1", 1, 7).ihl(4));
    let fragment = packet(udp4("198.51.100.7", "10.50.0.1", 1, 7).fragment(4, false));
    let padded = [udp("203.0.113.7", 7), vec![0; 30]].concat();
    let rows: Vec<Row<'_>> = vec![
        ("blocked", udp("203.0.113.7", 7), "drop", "blocklist", &["bad"]),
        ("blocked, padded", padded, "drop", "blocklist", &["bad"]),
        ("blocked, IPv6", udp_v6("2001:db8:bad::7"), "drop", "blocklist", &["bad"]),
        ("allowed", udp("203.0.113.9", 7), "pass", "allowlist", &["good"]),
        ("by a port", udp("198.51.100.7", 53), "drop", "rule", &["dns"]),
        ("without a tag", udp("198.51.100.7", 80), "drop", "rule", &["untagged-web"]),
        ("malformed", malformed, "drop", "malformed", &[]),
        ("a later fragment", fragment, "drop", "fragment", &[]),
        ("cut short", udp("198.51.100.7", 7)[..20].to_vec(), "drop", "malformed", &[]),
        ("the rest, IPv6", udp_v6("2001:db8:1::7"), "pass", "default", &[]),
    ];
    for row in &rows {
        bench.send(row);
    }
    // Of all these, the socket saw the one of the allowlist.
    assert!(arrives(&socket, EVENT) && !arrives(&socket, SILENCE));
    bench.send(&("the rest", udp("198.51.100.7", 7), "pass", "default", &[]));
    assert!(arrives(&socket, EVENT));
    // What is blocked at run time, and by the next ruleset and the next program.
    bench.lab.xdpctl("dut", ["block", "tun0", "198.51.100.7"]).success();
    bench.send(&("blocked now", udp("198.51.100.7", 7), "drop", "banned", &[]));
    bench.file("ruleset.toml", "[policy]\ndefault = \"drop\"\n");
    bench.lab.xdpctl("dut", ["reload", "tun0"]).success();
    bench.send(&("reloaded", udp("198.51.100.8", 7), "drop", "default", &[]));
    let replaced = bench.attach("tun0", CONFIGURATION, &["--replace"]);
    replaced.success();
    bench.send(&("replaced", udp("203.0.113.7", 7), "drop", "blocklist", &["bad"]));
    bench.send(&("replaced", udp("198.51.100.7", 7), "drop", "banned", &[]));
    assert!(!arrives(&socket, SILENCE));
    bench.lab.xdpctl("dut", ["detach", "tun0"]).success();
    bench.tun.send(&udp("203.0.113.7", 7));
    assert!(arrives(&socket, EVENT));
}

/// Between links of the same kind there is nothing to add or to take away.
#[test]
fn packets_are_sent_back_and_on_as_they_are() {
    let bench = Bench::new();
    let other = bench.lab.tun("dut", "tun1");
    let configuration = r#"
        [[rule]]
        name = "back"
        destination_port = 9
        action = "bounce"
        [[rule]]
        name = "on"
        destination_port = 7
        action = "redirect"
        to = "tun1"
    "#;
    bench.attach("tun0", configuration, &[]).success();
    bench.send(&("back", udp("198.51.100.7", 9), "tx", "rule", &["back"]));
    assert_eq!(bench.tun.recv(EVENT), Some(udp("198.51.100.7", 9)));
    bench.send(&("on", udp("198.51.100.7", 7), "redirect", "rule", &["on"]));
    assert_eq!(other.recv(EVENT), Some(udp("198.51.100.7", 7)));
    assert_eq!((bench.tun.recv(SILENCE), other.recv(SILENCE)), (None, None));
}

#[test]
fn what_such_a_link_cannot_do_is_refused() {
    let bench = Bench::new();
    let redirect = |to: &str| {
        format!(
            "[[rule]]\nname = \"on\"\nprotocol = \"udp\"\naction = \"redirect\"\nto = \"{to}\"\n"
        )
    };
    let rewrite = "[[rule]]\nname = \"back\"\naction = \"bounce\"\n\
                   set_destination_mac = \"02:00:00:00:00:01\"\n";
    let cases: [(&str, String, &[&str], &str); 5] = [
        (
            "tun0",
            String::new(),
            &["--mode", "native"],
            "cannot attach to tun0 in native mode: its packets have no link layer header",
        ),
        (
            "tun0",
            String::new(),
            &["--mode", "offload"],
            "cannot attach to tun0 in offload mode: its frames have no Ethernet headers",
        ),
        (
            "tun0",
            redirect("out0"),
            &[],
            "rule \"on\" redirects to out0: packets of tun0 have no Ethernet header, which out0 \
             needs to send them",
        ),
        (
            "in0",
            redirect("tun0"),
            &[],
            "rule \"on\" redirects to tun0: frames of in0 have Ethernet headers, and tun0 takes none",
        ),
        (
            "tun0",
            rewrite.to_owned(),
            &[],
            ".toml:2: rule \"back\" rewrites MAC addresses, and packets of tun0 have none",
        ),
    ];
    for (interface, configuration, more, told) in &cases {
        let refused = bench.attach(interface, configuration, more);
        refused.expect_status(1);
        assert!(refused.stderr.contains(told), "{told}\n{refused:?}");
    }
    // The same in a reload, and what was in force still is.
    bench.attach("tun0", "[policy]\ndefault = \"drop\"\n", &[]).success();
    for (_, configuration, more, told) in &cases {
        if more.is_empty() && told.contains("tun0 have") {
            bench.file("ruleset.toml", configuration);
            let refused = bench.lab.xdpctl("dut", ["reload", "tun0"]);
            refused.expect_status(1);
            assert!(refused.stderr.contains(told), "{told}\n{refused:?}");
        }
    }
    bench.send(&("as before", udp("198.51.100.7", 7), "drop", "default", &[]));
}

/// A link is refused if it is not known what its frames begin with: here CAN, by its hardware type.
#[test]
fn other_kinds_of_link_are_refused() {
    let bench = Bench::new();
    let _tap = Tun::create_tap(bench.lab.namespace("dut"), "other0", 280);
    let refused = bench.attach("other0", "", &[]);
    refused.expect_status(1);
    assert!(
        refused.stderr.contains(
            "other0 has no Ethernet headers (hardware type 280, CAN of kind tun), and what its \
             packets begin with is not known: they would be misjudged"
        ),
        "{refused:?}"
    );
    // A tap with Ethernet's own type is an Ethernet link like any other.
    let _tap = Tun::create_tap(bench.lab.namespace("dut"), "tap0", 1);
    bench.attach("tap0", "", &[]).success();
}

#[test]
fn explain_takes_packets_that_begin_with_ip() {
    let bench = Bench::new();
    bench.attach("tun0", CONFIGURATION, &[]).success();
    let explain = |args: &[&str]| {
        let mut all = vec!["explain", "tun0", "--json"];
        all.extend(args);
        bench.lab.xdpctl("dut", all)
    };
    let told = |output: &Output| -> Vec<(String, String)> {
        output.success();
        let answer = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| value[key].as_str().unwrap_or("none").to_owned();
            (text("reason"), text("rule"))
        };
        output.stdout.lines().map(answer).collect()
    };
    let hex = |packet: &[u8]| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let by = |reason: &str, rule: &str| vec![(reason.to_owned(), rule.to_owned())];
    let frame = udp4("203.0.113.7", "10.50.0.1", 1, 7).build();
    assert_eq!(told(&explain(&["--packet", &hex(&frame[14..])])), by("blocklist", "bad"));
    // Bytes of an Ethernet header are no IP version, and packets that are too short are malformed
    // too.
    for packet in [&frame[..], &frame[14..27], &frame[14..15], &[0x55; 40]] {
        assert_eq!(told(&explain(&["--packet", &hex(packet)])), by("malformed", "none"));
    }
    // What was to print one has failed.
    explain(&["--packet", ""]).expect_status(2);
    let described =
        ["--source", "198.51.100.7", "--destination", "10.50.0.1", "--destination-port", "53"];
    assert_eq!(told(&explain(&described)), by("rule", "dns"));
    for more in [["--vlan", "5"], ["--source-mac", "02:00:00:00:00:01"]] {
        let refused = explain(&[&described[..], &more].concat());
        refused.expect_status(2);
        assert!(
            refused.stderr.contains("packets of that interface have no Ethernet header"),
            "{refused:?}"
        );
    }
    let packets = [udp("203.0.113.7", 7), udp("198.51.100.7", 7)];
    let path = bench.file("raw.pcap", pcap_with(Order::Little, MAGIC, RAW, &packets));
    let expected = [by("blocklist", "bad"), by("default", "none")].concat();
    assert_eq!(told(&explain(&["--pcap", &path])), expected);
    let path = bench.file("ethernet.pcap", pcap_with(Order::Little, MAGIC, ETHERNET, &packets));
    let refused = explain(&["--pcap", &path]);
    refused.expect_status(2);
    assert!(
        refused
            .stderr
            .contains("its link type is ETHERNET, not RAW (IP without a link layer header)"),
        "{refused:?}"
    );
}

#[test]
fn queries_for_listed_names_are_answered() {
    let bench = Bench::new();
    let configuration = r#"
        [[domains]]
        name = "denied"
        names = ["nx.example"]
        action = "nxdomain"
        [[domains]]
        name = "dropped"
        names = ["drop.example"]
    "#;
    bench.attach("tun0", configuration, &[]).success();
    let listed = query("www.nx.example", A).edns(Edns::default().option(10, &[7; 8]));
    let told = listed.refused_with(NXDOMAIN).build();
    for (asked, answered) in [
        (udp4("10.50.0.2", "10.50.0.1", 40000, 53), {
            udp4("10.50.0.1", "10.50.0.2", 53, 40000).dont_fragment()
        }),
        (udp6("fd00::2", "fd00::1", 40000, 53), udp6("fd00::1", "fd00::2", 53, 40000).ecn(0)),
    ] {
        let asked = packet(asked.payload(&listed.build()));
        bench.send(&("a listed name", asked, "tx", "domain", &["denied"]));
        assert_eq!(bench.tun.recv(EVENT), Some(packet(answered.payload(&told))));
    }
    let dropped = udp4("10.50.0.2", "10.50.0.1", 40000, 53);
    let dropped = packet(dropped.payload(&query("drop.example", A).build()));
    bench.send(&("dropped", dropped, "drop", "domain", &["dropped"]));
}
