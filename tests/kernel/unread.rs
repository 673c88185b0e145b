//! What the program does not read beneath Ethernet, the host does not read either: IPv4 in it reaches
//! no socket, with the program and without.

use std::net::UdpSocket;
use std::time::Duration;

use crate::lab::frame::*;
use crate::lab::{Lab, Port};

const ARRIVAL: Duration = Duration::from_secs(2);

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).expect("what comes after it arrives");
    buffer[..length].to_vec()
}

/// A packet with that text for the socket.
fn packet(text: &str) -> Frame {
    udp4("10.60.0.2", "10.60.0.1", 1024, 7).payload(text.as_bytes())
}

/// The same packet in what is not read, each with a text of its own.
fn unread() -> Vec<(&'static str, Vec<u8>)> {
    let ip = |text: &str| packet(text).build().split_off(14);
    // IEEE 802.3 with a length, 802.2 LLC of SNAP, and an EtherType again (RFC 1042).
    let snap = |text: &str, organization: [u8; 3]| {
        let payload = [&[0xaa, 0xaa, 3], &organization[..], &[8, 0], &ip(text)].concat();
        ethernet(payload.len() as u16, &payload).build()
    };
    // LLC's own number for IP.
    let llc = |text: &str| {
        let payload = [&[6, 6, 3], &ip(text)[..]].concat();
        ethernet(payload.len() as u16, &payload).build()
    };
    vec![
        ("SNAP", snap("SNAP", [0, 0, 0])),
        ("SNAP of bridge tunnels", snap("SNAP of bridge tunnels", [0, 0, 0xf8])),
        ("LLC", llc("LLC")),
        ("a tag of 0x9100", packet("a tag of 0x9100").tag(0x9100, 5).build()),
        ("a priority tag of 0x9100", packet("a priority tag of 0x9100").tag(0x9100, 0).build()),
        ("a tag of 0x9200", packet("a tag of 0x9200").tag(0x9200, 5).build()),
    ]
}

/// Sends each, with a packet behind it that does arrive: all before it had their chance.
fn nothing_but_the_last_arrives(sender: &Port, socket: &UdpSocket, when: &str) {
    for (name, frame) in unread() {
        sender.send(&frame);
        sender.send(&packet("read").build());
        let arrived = String::from_utf8(receive(socket)).expect("text");
        assert_eq!(arrived, "read", "{name}, {when}");
    }
}

#[test]
fn what_is_not_read_reaches_no_socket() {
    let lab = Lab::new();
    lab.ip("dut", ["address", "add", "10.60.0.1/24", "dev", "in0"]);
    let socket = lab.namespace("dut").enter(|| UdpSocket::bind("10.60.0.1:7")).expect("bind");
    socket.set_read_timeout(Some(ARRIVAL)).expect("a timeout");
    let sender = lab.port("src", "src0");
    nothing_but_the_last_arrives(&sender, &socket, "without the program");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("empty.toml");
    std::fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("UTF-8");
    for mode in ["native", "generic"] {
        lab.xdpctl("dut", ["attach", "in0", "-c", file, "--mode", mode]).success();
        nothing_but_the_last_arrives(&sender, &socket, mode);
        lab.xdpctl("dut", ["detach", "in0"]).success();
    }
}
