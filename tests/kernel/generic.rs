//! Generic mode: the same verdicts on the packets that the network stack hands over, merged ones
//! included.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::lab::bench::*;
use crate::lab::frame::*;
use crate::lab::patience::EVENT;
use crate::lab::{Lab, Sample, Topology, end};

#[test]
fn verdicts_and_counters() {
    let mut bench = Bench::new();
    bench.attach_in_mode(
        r#"
        [[allowlist]]
        name = "good"
        prefixes = ["10.1.0.9"]
        [[blocklist]]
        name = "bad"
        prefixes = ["10.1.0.0/16", "2001:db8:1::/48"]
        [[rule]]
        name = "on"
        destination_port = 7
        action = "redirect"
        to = "out0"
        [[rule]]
        name = "marked"
        destination_port = 8
        action = "redirect"
        to = "out0"
        set_destination_mac = "02:aa:00:00:00:01"
        [[rule]]
        name = "back"
        destination_port = 9
        action = "bounce"
        [[rule]]
        name = "tagged"
        vlan = 5
        action = "drop"
        "#,
        "generic",
    );
    assert_eq!(bench.sample().mode, "generic");
    let to_port = |port| udp4("10.0.0.1", "192.0.2.1", 1024, port);
    let marked = to_port(8).destination_mac("02:aa:00:00:00:01".parse().expect("a MAC"));
    bench.run(&[
        pass("by default", to_port(1), "default"),
        pass("allowed", udp4("10.1.0.9", "192.0.2.1", 1, 1), "allowlist").by("good"),
        drop("blocked", udp4("10.1.0.1", "192.0.2.1", 1, 1), "blocklist").by("bad"),
        drop("blocked, IPv6", udp6("2001:db8:1::1", "::1", 1, 1), "blocklist").by("bad"),
        // The stack sends: no program is needed at the other end.
        redirect("sent on", to_port(7), "on"),
        redirect("sent on, large", to_port(7).length(1500), "on"),
        redirect("marked", to_port(8), "marked").arrives("dst0", marked),
        bounce("sent back", to_port(9), "back"),
        drop("tagged", to_port(1).vlan(5), "rule").by("tagged"),
        pass("another tag", to_port(1).vlan(6), "default"),
        drop("malformed", to_port(1).version(5), "malformed"),
    ]);
    // The next ruleset is exchanged in the same way.
    bench.attach("[policy]\ndefault = \"drop\"");
    bench.run(&[drop("by default", to_port(1), "default")]);
    assert_eq!(bench.sample().generation, 2);
}

/// A TCP connection with segmentation and merging left on, as on a real host.
fn transfer(lab: &Lab, bytes: usize) {
    let address = "10.77.0.2:5001";
    let listener = lab.namespace("dut").enter(|| TcpListener::bind(address).expect("bind"));
    let receiver = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("accept");
        connection.set_read_timeout(Some(EVENT)).expect("a timeout");
        let mut received = Vec::new();
        connection.read_to_end(&mut received).expect("read");
        received
    });
    let mut connection = lab.namespace("src").enter(|| {
        let address = address.parse().expect("an address");
        TcpStream::connect_timeout(&address, EVENT).expect("connect")
    });
    connection.set_write_timeout(Some(EVENT)).expect("a timeout");
    let sent: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
    connection.write_all(&sent).expect("write");
    std::mem::drop(connection);
    let received = receiver.join().expect("the receiver");
    assert!(received == sent, "{} bytes arrived of {}", received.len(), sent.len());
}

fn with_offloads() -> Lab {
    let lab = Topology::empty()
        .link(end("src", "src0", crate::lab::SRC0), end("dut", "in0", crate::lab::IN0))
        .build();
    for (role, interface, address) in
        [("src", "src0", "10.77.0.1/24"), ("dut", "in0", "10.77.0.2/24")]
    {
        let mut offloads = lab.command(role, "ethtool");
        offloads.args(["-K", interface, "tx", "on", "gso", "on", "tso", "on", "gro", "on"]);
        assert!(offloads.status().expect("ethtool").success());
        lab.ip(role, ["link", "set", interface, "arp", "on"]);
        lab.ip(role, ["address", "add", address, "dev", interface]);
    }
    lab
}

#[test]
fn merged_segments_are_judged() {
    const BYTES: usize = 8 << 20;
    let lab = with_offloads();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("in0.toml");
    let configuration = "[[rule]]\nname = \"transfer\"\nprotocol = \"tcp\"\n\
        source = \"10.77.0.1\"\ndestination_port = 5001\naction = \"pass\"\n";
    std::fs::write(&file, configuration).expect("a file");
    let file = file.to_str().expect("UTF-8");
    lab.xdpctl("dut", ["attach", JUDGED, "-c", file, "--mode", "generic"]).success();
    transfer(&lab, BYTES);

    let sample = Sample::read(&lab, "dut", JUDGED);
    let counted = sample.rule("transfer").count;
    println!("{} packets of {} bytes", counted.packets, counted.bytes);
    assert_eq!(sample.reasons["malformed"].packets, 0, "{sample:#?}");
    assert_eq!(sample.verdicts["drop"].packets, 0, "{sample:#?}");
    assert!(counted.bytes >= BYTES as u64, "{sample:#?}");
    // The average packet is larger than the link's MTU allows, so packets were merged. Without that
    // this test shows nothing.
    assert!(counted.bytes / counted.packets > 1514, "{sample:#?}");
}
