//! The lab itself, through plain veth pairs: what it sends is what it receives, and it cleans up.

use std::path::Path;
use std::time::Duration;

use crate::lab::frame::*;
use crate::lab::patience::EVENT;
use crate::lab::{Difference, Lab, Sample, Topology};

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let udp = || udp4("10.0.0.1", "192.0.2.1", 1024, 53);
    let udp_v6 = || udp6("2001:db8::1", "2001:db8::2", 1024, 53);
    vec![
        ("udp4", udp().build()),
        ("padded", udp().payload(b"").pad(18).build()),
        ("vlan", udp().vlan(100).build()),
        ("vlan with priority", udp().tag(DOT1Q, 0xb064).build()),
        ("802.1ad", udp().tag(DOT1AD, 7).build()),
        ("qinq", udp().qinq(10, 20).build()),
        ("two 802.1Q", udp().vlan(10).vlan(0).build()),
        ("three tags", udp().qinq(10, 20).vlan(30).build()),
        ("options and fragment", udp().options(&[1; 8]).fragment(3, true).build()),
        ("tcp4", tcp4("10.0.0.1", "192.0.2.1", 1024, 80).flags(SYN | ACK).build()),
        ("sctp4", sctp4("10.0.0.1", "192.0.2.1", 1024, 80).build()),
        ("icmp4", icmp4("10.0.0.1", "192.0.2.1", 8).build()),
        ("gre", other4("10.0.0.1", "192.0.2.1", 47).build()),
        ("wrong version", udp().version(5).ihl(4).total_length(3).build()),
        ("truncated in IP", udp().truncate(20).build()),
        ("truncated in ARP", arp_request("10.0.0.1", "10.0.0.2").truncate(20).build()),
        ("udp6", udp_v6().build()),
        ("udp6 qinq", udp_v6().qinq(10, 20).build()),
        ("extensions", udp_v6().extensions(vec![Extension::HopByHop; 8]).build()),
        (
            "AH and fragment",
            udp_v6().extension(Extension::Authentication).fragment(9, false).build(),
        ),
        ("icmp6", icmp6("2001:db8::1", "2001:db8::2", 128).build()),
        ("arp", arp_reply("10.0.0.1", "10.0.0.2").build()),
        ("non-IP", ethernet(0x88cc, &[1, 2, 3]).build()),
        ("headers only", ethernet(0x88cc, &[]).build()),
        ("to another station", udp().destination_mac("02:0:0:0:0:99".parse().unwrap()).build()),
    ]
}

#[test]
fn frames_arrive_as_they_were_sent() {
    let lab = Lab::new();
    for (role, from, to_role, to) in [("src", "src0", "dut", "in0"), ("dut", "out0", "dst", "dst0")]
    {
        let (sender, receiver) = (lab.port(role, from), lab.port(to_role, to));
        for (description, frame) in samples() {
            sender.send(&frame);
            let arrived = receiver.recv(EVENT);
            assert_eq!(arrived.as_ref(), Some(&frame), "{description} from {from}");
        }
        receiver.expect_silence();
        sender.expect_silence();
    }
}

#[test]
fn jumbo_frames_fit_where_asked_for() {
    let lab = Topology::standard().mtu(9000).build();
    let (sender, receiver) = (lab.port("src", "src0"), lab.port("dut", "in0"));
    for frame in [
        udp4("10.0.0.1", "192.0.2.1", 1, 2).length(9014).build(),
        udp6("2001:db8::1", "2001:db8::2", 1, 2).vlan(5).length(9018).build(),
    ] {
        sender.send(&frame);
        receiver.expect(&frame);
    }
}

#[test]
fn many_frames_wait_for_their_reader() {
    let lab = Lab::new();
    let (sender, receiver) = (lab.port("src", "src0"), lab.port("dut", "in0"));
    let frame = udp4("10.0.0.1", "192.0.2.1", 1, 2).build();
    sender.send_many(std::iter::repeat_n(&frame, 5000));
    for _ in 0..5000 {
        receiver.expect(&frame);
    }
    receiver.expect_silence();
    assert_eq!(receiver.overflows(), 0);
}

#[test]
fn links_are_silent_by_themselves() {
    let lab = Topology::two_outputs().build();
    let ports = [lab.port("dut", "in0"), lab.port("src", "src0"), lab.port("dst", "dst1")];
    for port in &ports {
        assert_eq!(port.recv(Duration::from_millis(300)), None, "{}", port.interface());
    }
}

#[test]
fn a_lab_leaves_nothing_behind() {
    let lab = Lab::new();
    let names: Vec<String> =
        ["src", "dut", "dst"].map(|role| lab.namespace(role).name.clone()).into();
    let cookies = ["src", "dut", "dst"].map(|role| lab.namespace(role).cookie);
    assert!(cookies[0] != cookies[1] && cookies[1] != cookies[2]);
    let left_over = lab.namespace("dut").xdpctl_directories()[1].join("nested");
    std::fs::create_dir_all(&left_over).expect("a directory");

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _moved_here = lab;
        std::panic::resume_unwind(Box::new("as a failed test does"));
    }));
    assert!(panicked.is_err());
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is still there");
    }
    assert!(!left_over.exists());
    assert!(!left_over.parent().expect("the namespace's directory").exists());
}

#[test]
fn commands_run_inside_and_end_in_time() {
    let lab = Lab::new();
    let links = lab.ip("src", ["-o", "link"]).stdout;
    assert!(links.contains("src0") && !links.contains("in0"), "{links}");
    assert!(links.contains("02:00:00:00:01:01"), "{links}");

    // The mounts are the machine's own, unlike those under `ip netns exec`.
    let mounts = |path: &str| std::fs::read_link(path).expect("a namespace link");
    let inside = lab.command("dut", "readlink").arg("/proc/self/ns/mnt").output().expect("runs");
    let inside = String::from_utf8(inside.stdout).expect("text");
    assert_eq!(inside.trim(), mounts("/proc/self/ns/mnt").to_str().expect("text"));

    let mut sleeping = crate::lab::Background::start({
        let mut command = lab.command("dut", "sleep");
        command.arg("infinity");
        command
    });
    assert!(sleeping.wait(Duration::from_millis(20)).is_none());
    sleeping.signal(nix::sys::signal::Signal::SIGINT);
    let output = sleeping.wait(EVENT).expect("ends by the signal");
    assert_eq!(output.status, 128 + 2);
}

#[test]
fn samples_tell_what_moved() {
    let line = |pass: u64, bytes: u64| {
        format!(
            r#"{{"interface":"in0","ifindex":2,"mode":"native","generation":1,
            "time":"2026-01-31T12:00:00.000Z","verdicts":{{"pass":{{"packets":{pass},"bytes":{bytes}}},
            "drop":{{"packets":1,"bytes":60}},"tx":{{"packets":0,"bytes":0}},
            "redirect":{{"packets":0,"bytes":0}},"aborted":{{"packets":0,"bytes":0}}}},
            "reasons":{{"malformed":{{"packets":0,"bytes":0}},"allowed":{{"packets":0,"bytes":0}},
            "banned":{{"packets":0,"bytes":0}},"arp":{{"packets":0,"bytes":0}},
            "allowlist":{{"packets":0,"bytes":0}},"blocklist":{{"packets":1,"bytes":60}},
            "domain":{{"packets":0,"bytes":0}},"rule":{{"packets":{pass},"bytes":{bytes}}},
            "fragment":{{"packets":0,"bytes":0}},"default":{{"packets":0,"bytes":0}},
            "bypass":{{"packets":0,"bytes":0}},
            "service":{{"packets":0,"bytes":0}},"reply":{{"packets":0,"bytes":0}}}},
            "rules":[{{"name":"web","kind":"rule","action":"pass","packets":{pass},"bytes":{bytes}}},
            {{"name":"bad","kind":"blocklist","action":"drop","packets":1,"bytes":60}}]}}"#
        )
    };
    let (before, after) = (Sample::parse(&line(9, 900)), Sample::parse(&line(10, 960)));
    assert_eq!(after.total().packets, 11);
    assert_eq!(after.rule("bad").count.bytes, 60);
    assert_eq!(
        Difference::between(&before, &after),
        Difference::of_one(60, "pass", "rule", &["web"])
    );
    assert_eq!(Difference::between(&before, &before).to_string(), "nothing");
    assert!(std::panic::catch_unwind(|| Difference::between(&after, &before)).is_err());
}

#[test]
fn frames_are_what_they_say() {
    use pnet_packet::Packet;
    use pnet_packet::ethernet::EthernetPacket;
    use pnet_packet::ipv4::{self, Ipv4Packet};
    use pnet_packet::udp::{self, UdpPacket};

    let bytes = udp4("10.0.0.1", "192.0.2.1", 1024, 53).options(&[1; 4]).payload(b"abc").build();
    let ethernet = EthernetPacket::new(&bytes).expect("whole");
    let ip = Ipv4Packet::new(ethernet.payload()).expect("whole");
    assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
    assert_eq!((ip.get_header_length(), usize::from(ip.get_total_length())), (6, bytes.len() - 14));
    let datagram = UdpPacket::new(ip.payload()).expect("whole");
    assert_eq!(
        datagram.get_checksum(),
        udp::ipv4_checksum(&datagram, &ip.get_source(), &ip.get_destination())
    );
    assert_eq!(datagram.payload(), b"abc");

    let tagged = udp4("10.0.0.1", "192.0.2.1", 1024, 53).qinq(10, 0xfff).build();
    assert_eq!(tagged[12..22], [0x88, 0xa8, 0, 10, 0x81, 0, 0x0f, 0xff, 0x08, 0]);

    let chain = tcp6("2001:db8::1", "2001:db8::2", 1, 2)
        .extension(Extension::HopByHop)
        .extension(Extension::Authentication)
        .fragment(2, true)
        .build();
    // Next headers: hop-by-hop, AH (24 bytes), fragment (8 bytes), TCP.
    assert_eq!([chain[20], chain[54], chain[62], chain[86]], [0, 51, 44, 6]);
    assert_eq!(chain[88..90], [0, 0x11]);
    assert_eq!(usize::from(chain[18]) << 8 | usize::from(chain[19]), chain.len() - 54);
}
