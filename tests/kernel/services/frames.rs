//! Single frames through `mode = "nat"`, to the byte: tags, options, time to live, checksums, fragments.

use super::{MARK, counted, expect, expect_none, send, service};
use crate::lab::balancer::*;
use crate::lab::frame::*;

fn to_b1(frame: Frame) -> Frame {
    frame.source_mac(IN_MAC).destination_mac(B1_MAC)
}

fn from_b1(frame: Frame) -> Frame {
    frame.source_mac(B1_MAC).destination_mac(IN_MAC)
}

fn to_client(frame: Frame) -> Frame {
    frame.source_mac(IN_MAC).destination_mac(CLIENT_MAC)
}

#[test]
fn rewritten_to_the_byte() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let rest = "mode = \"nat\"\nprotocol = [\"tcp\", \"udp\", \"sctp\"]\nport = 80";
    let to_port = "mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = 88";
    lab.attach(
        &[
            service("v4", NAT, rest, &[("10.2.0.11", "")]),
            service("v6", NAT6, rest, &[("2001:db8:2::11", "")]),
            service("ports4", NAT, to_port, &[("10.2.0.11", "port = 8080")]),
            service("ports6", NAT6, to_port, &[("2001:db8:2::11", "port = 8080")]),
        ]
        .concat(),
    );
    let (client, backend, other) = (lab.port("client"), lab.port("b1"), lab.port("b2"));
    // What listens there answers nothing to the frames of this test, and nobody answers a reset.
    let sockets = ["{4}", "{6}"].map(|at| {
        [80, 88, 8080].map(|port| {
            let address = at.replace("{4}", "10.2.0.11").replace("{6}", "[2001:db8:2::11]");
            let address = format!("{address}:{port}");
            let bind = || std::net::UdpSocket::bind(&address).expect("a socket");
            lab.lab().namespace("b1").enter(bind)
        })
    });
    let (b1, b1_v6) = ("10.2.0.11", "2001:db8:2::11");
    type Change = fn(Frame) -> Frame;
    let changes: [(&str, Change); 6] = [
        ("plain", |frame| frame),
        ("tagged", |frame| frame.vlan(100)),
        ("under two tags", |frame| frame.qinq(10, 20)),
        ("an odd length", |frame| frame.payload(&[MARK, &[1]].concat())),
        ("a class of traffic", |frame| frame.dscp(46)),
        ("padded", |frame| frame.pad(7)),
    ];
    // Of each, the frame that is sent, and where it comes from and goes to.
    let v4 = [
        ("v4", udp4(CLIENT, NAT, 999, 80), udp4(CLIENT, b1, 999, 80)),
        ("v4", tcp4(CLIENT, NAT, 999, 80).flags(RST), tcp4(CLIENT, b1, 999, 80).flags(RST)),
        ("ports4", udp4(CLIENT, NAT, 999, 88), udp4(CLIENT, b1, 999, 8080)),
    ];
    let v6 = [
        ("v6", udp6(CLIENT6, NAT6, 999, 80), udp6(CLIENT6, b1_v6, 999, 80)),
        ("v6", tcp6(CLIENT6, NAT6, 999, 80).flags(RST), tcp6(CLIENT6, b1_v6, 999, 80).flags(RST)),
        ("ports6", udp6(CLIENT6, NAT6, 999, 88), udp6(CLIENT6, b1_v6, 999, 8080)),
    ];
    let mut sent = 0;
    for (name, before, after) in v4.iter().chain(&v6) {
        for (what, change) in changes {
            let change = |frame: &Frame| change(frame.clone().payload(MARK));
            client.send(&from_client(change(before)).ttl(9).build());
            println!("{name}, {what}");
            expect(&backend, &to_b1(change(after)).ttl(8));
            sent += 1;
        }
    }
    // SCTP's checksum covers neither addresses nor anything else that is rewritten.
    client.send(&from_client(sctp4(CLIENT, NAT, 999, 80)).payload(MARK).ttl(9).build());
    expect(&backend, &to_b1(sctp4(CLIENT, b1, 999, 80)).payload(MARK).ttl(8));
    // Options, extension headers, and datagrams without a checksum.
    let options: Change = |frame| frame.payload(MARK).options(&[1, 1, 1, 0]);
    let extended: Change =
        |frame| frame.payload(MARK).extension(Extension::HopByHop).extension(Extension::Routing);
    let unsummed: Change = |frame| frame.payload(MARK).patch(14 + 20 + 6, &[0, 0]);
    for (before, after, change) in [
        (&v4[0].1, &v4[0].2, options),
        (&v4[1].1, &v4[1].2, options),
        (&v6[0].1, &v6[0].2, extended),
        (&v6[1].1, &v6[1].2, extended),
        (&v4[0].1, &v4[0].2, unsummed),
    ] {
        client.send(&from_client(change(before.clone())).ttl(9).build());
        expect(&backend, &to_b1(change(after.clone())).ttl(8));
    }
    // Back again, for both families, with ports and without, tagged and not.
    for (before, after) in [
        (udp4(b1, CLIENT, 80, 999), udp4(NAT, CLIENT, 80, 999)),
        (tcp4(b1, CLIENT, 8080, 999).flags(RST), tcp4(NAT, CLIENT, 88, 999).flags(RST)),
        (tcp6(b1_v6, CLIENT6, 80, 999).flags(RST), tcp6(NAT6, CLIENT6, 80, 999).flags(RST)),
        (udp6(b1_v6, CLIENT6, 8080, 999), udp6(NAT6, CLIENT6, 88, 999)),
        (udp4(b1, CLIENT, 80, 999).vlan(7), udp4(NAT, CLIENT, 80, 999).vlan(7)),
    ] {
        backend.send(&from_b1(before.payload(MARK)).ttl(64).build());
        expect(&client, &to_client(after.payload(MARK)).ttl(63));
    }
    // So were the errors with which hosts answer some of these.
    let sample = lab.sample(IN);
    let [back, served, dropped] = [
        sample.verdicts["tx"].packets,
        sample.reasons["service"].packets,
        sample.verdicts["drop"].packets,
    ];
    assert_eq!([back - served, dropped], [0, 0], "{sample:#?}");
    assert!((sent + 11..sent + 20).contains(&served), "{sample:#?}");

    // What goes nowhere.
    let dropped = |name| counted("drop", "service", name);
    let from = |frame: Frame| from_client(frame.payload(MARK));
    let frames: [(&[&str], Frame); 8] = [
        (&["v4"], from(udp4(CLIENT, NAT, 999, 80).ttl(1))),
        (&["v4"], from(udp4(CLIENT, NAT, 999, 80).ttl(0))),
        (&["v6"], from(udp6(CLIENT6, NAT6, 999, 80).ttl(1))),
        (&["v4"], from(udp4(CLIENT, NAT, 999, 80).fragment(0, true))),
        (&["v4"], from(udp4(CLIENT, NAT, 999, 80).fragment(100, false))),
        (&["v4"], from(tcp4(CLIENT, NAT, 999, 80).fragment(185, true))),
        (&["v6"], from(udp6(CLIENT6, NAT6, 999, 80).extension(fragment(0, true)))),
        (&["v6"], from(udp6(CLIENT6, NAT6, 999, 80).extension(fragment(100, false)))),
    ];
    for (names, frame) in &frames {
        send(&lab, &client, frame, &dropped(names));
    }
    let late = from_b1(udp4(b1, CLIENT, 80, 999)).payload(MARK).ttl(1);
    send(&lab, &backend, &late, &dropped(&["v4"]));
    // A whole packet in a fragment header is none of several.
    let atomic = |frame: Frame| frame.payload(MARK).extension(fragment(0, false));
    client.send(&from_client(atomic(udp6(CLIENT6, NAT6, 999, 80))).ttl(9).build());
    expect(&backend, &to_b1(atomic(udp6(CLIENT6, b1_v6, 999, 80))).ttl(8));
    for port in [&client, &backend, &other] {
        expect_none(port);
    }
    drop(sockets);
}

fn fragment(offset: u16, more: bool) -> Extension {
    Extension::Fragment { offset, more }
}
