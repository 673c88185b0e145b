//! Encapsulations that the program does not read, the host does not read either: IP inside them
//! reaches no socket, with the program and without.

use std::net::UdpSocket;
use std::time::Duration;

use crate::lab::frame::*;
use crate::lab::{Lab, Port};

/// How long one try may take. An interface that gets or loses its program can lose frames meanwhile.
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 15;

/// The text of the next packet that comes, unless none does in time.
fn receive(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8(buffer[..length].to_vec()).expect("text"))
}

/// A packet with that text for the socket of a family.
fn packet(v6: bool, text: &str) -> Frame {
    let frame = if v6 {
        udp6("fd60::2", "fd60::1", 1024, 7)
    } else {
        udp4("10.60.0.2", "10.60.0.1", 1024, 7)
    };
    frame.payload(text.as_bytes())
}

/// The same packet in each such encapsulation, each time with another text.
fn unread(v6: bool) -> Vec<(&'static str, Vec<u8>)> {
    let ip = |text: &str| packet(v6, text).build().split_off(12);
    // IEEE 802.3 with a length, 802.2 LLC of SNAP, and the EtherType again (RFC 1042).
    let snap = |text: &str, organization: [u8; 3]| {
        let payload = [&[0xaa, 0xaa, 3], &organization[..], &ip(text)].concat();
        ethernet(payload.len() as u16, &payload).build()
    };
    // LLC's own number for IP.
    let llc = |text: &str| {
        let payload = [&[6, 6, 3], &ip(text)[2..]].concat();
        ethernet(payload.len() as u16, &payload).build()
    };
    let tag = |text: &str, tpid, id| packet(v6, text).tag(tpid, id).build();
    vec![
        ("SNAP", snap("SNAP", [0, 0, 0])),
        ("SNAP of bridge tunnels", snap("SNAP of bridge tunnels", [0, 0, 0xf8])),
        ("LLC", llc("LLC")),
        ("a tag of 0x9100", tag("a tag of 0x9100", 0x9100, 5)),
        ("a priority tag of 0x9100", tag("a priority tag of 0x9100", 0x9100, 0)),
        ("a tag of 0x9200", tag("a tag of 0x9200", 0x9200, 5)),
    ]
}

/// Sends each of them, then a packet that does arrive: by then all before it would have arrived
/// too.
fn nothing_but_the_last_arrives(sender: &Port, sockets: &[UdpSocket; 2], when: &str) {
    for (v6, socket) in [false, true].into_iter().zip(sockets) {
        for (name, frame) in unread(v6) {
            let arrived = (1..=TRIES).any(|attempt| {
                let last = format!("read, {name}, {when}, {attempt}");
                sender.send(&frame);
                sender.send(&packet(v6, &last).build());
                // The last packet of an earlier try may come late.
                while let Some(text) = receive(socket) {
                    assert!(text.starts_with("read, "), "{text} arrived, IPv6: {v6}, {when}");
                    if text == last {
                        return true;
                    }
                }
                false
            });
            assert!(arrived, "nothing arrives, IPv6: {v6}, {when}");
        }
    }
}

#[test]
fn what_is_not_read_reaches_no_socket() {
    let lab = Lab::new();
    let dut = lab.namespace("dut");
    let switch = "/proc/sys/net/ipv6/conf/in0/disable_ipv6";
    dut.enter(|| std::fs::write(switch, "0")).expect("IPv6 on in0");
    lab.ip("dut", ["address", "add", "10.60.0.1/24", "dev", "in0"]);
    lab.ip("dut", ["address", "add", "fd60::1/64", "dev", "in0", "nodad"]);
    let sockets = ["10.60.0.1:7", "[fd60::1]:7"].map(|address| {
        let socket = dut.enter(|| UdpSocket::bind(address)).expect("bind");
        socket.set_read_timeout(Some(TRY)).expect("a timeout");
        socket
    });
    let sender = lab.port("src", "src0");
    nothing_but_the_last_arrives(&sender, &sockets, "without the program");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("empty.toml");
    std::fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("UTF-8");
    for mode in ["native", "generic"] {
        lab.xdpctl("dut", ["attach", "in0", "-c", file, "--mode", mode]).success();
        nothing_but_the_last_arrives(&sender, &sockets, mode);
        lab.xdpctl("dut", ["detach", "in0"]).success();
    }
}
