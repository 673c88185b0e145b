//! `mode = "dsr"` and `"l2dsr"`: the backend gets the client's own packet, and answers the client itself.

use super::{
    GUE, MARK, counted, expect, expect_none, filled, next_error, next_marked, once_quiet, packets,
    send, service, to_each,
};
use crate::lab::balancer::*;
use crate::lab::frame::*;
use crate::lab::tunnel::Tunnels;

const BULK: usize = 512 << 10;
const V4: [(&str, &str); 2] = [("10.2.0.11", ""), ("10.2.0.12", "")];
const V6: [(&str, &str); 2] = [("2001:db8:2::11", ""), ("2001:db8:2::12", "")];

/// A service for each way, by its port: over IPv4 for the address of IPv4, over IPv6 for both.
pub(super) fn services(backends: usize) -> String {
    let mode = |port: u16| match port {
        80 | 81 => "mode = \"dsr\"".to_owned(),
        82 | 83 => format!("mode = \"dsr\"\nencapsulation = \"gue\"\ngue_port = {GUE}"),
        _ => "mode = \"l2dsr\"".to_owned(),
    };
    let mut text = String::new();
    for (address, port, of) in [
        (DSR, 80, &V4),
        (DSR, 81, &V6),
        (DSR6, 81, &V6),
        (DSR, 82, &V4),
        (DSR, 83, &V6),
        (DSR6, 83, &V6),
        (DSR, 84, &V4),
        (DSR6, 85, &V6),
    ] {
        let family = if address == DSR { 4 } else { 6 };
        let rest = format!("{}\nprotocol = [\"tcp\", \"udp\"]\nport = {port}", mode(port));
        text += &service(&format!("to{family}-{port}"), address, &rest, &of[..backends]);
    }
    text
}

#[test]
fn tcp_and_udp_by_each_way() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    lab.attach(&services(2));
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let _servers: Vec<_> = [80, 81, 82, 83, 84]
        .map(|port| format!("{DSR}:{port}"))
        .into_iter()
        .chain([81, 83, 85].map(|port| format!("[{DSR6}]:{port}")))
        .map(|at| (at.clone(), lab.serve_tcp(&at), lab.serve_udp(&at)))
        .collect();
    let mut before = lab.sample(IN);
    for (to, _, _) in &_servers {
        for connection in to_each(&lab, to) {
            assert_eq!(connection.greeting.local.to_string(), *to);
            connection.exchange(BULK, 9);
        }
        let own = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        assert_eq!(lab.client(own).ask(to).local.to_string(), *to);
        // All that came from the client went by the service, and nothing of what came back did:
        // hosts ask each other for their addresses now and then, and no more.
        let after = once_quiet(&lab, IN);
        let served = after.reasons["service"].packets - before.reasons["service"].packets;
        let others = after.total().packets - before.total().packets - served;
        assert!(served > 2 * BULK as u64 / 1448, "{to}: {served}");
        assert!(others < 100, "{to}: {others} others");
        assert_eq!(packets(&after, "tx") - packets(&before, "tx"), served, "{to}");
        before = after;
    }
}

#[test]
fn to_the_byte() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    lab.attach(&services(1));
    let _tunnels = Tunnels::open(lab.lab(), "b1", GUE);
    let (client, backend, other) = (lab.port("client"), lab.port("b1"), lab.port("b2"));
    // What listens there answers nothing.
    let sockets: Vec<_> = [80, 81, 82, 83, 84]
        .map(|port| format!("{DSR}:{port}"))
        .into_iter()
        .chain([81, 83, 85].map(|port| format!("[{DSR6}]:{port}")))
        .map(|address| {
            let bind = || std::net::UdpSocket::bind(&address).expect("a socket");
            lab.lab().namespace("b1").enter(bind)
        })
        .collect();
    type Change = fn(Frame) -> Frame;
    let changes: [(&str, Change); 4] = [
        ("plain", |frame| frame),
        ("tagged", |frame| frame.vlan(100)),
        ("under two tags", |frame| frame.qinq(10, 20)),
        ("an odd length, a class of traffic", |frame| {
            frame.payload(&[MARK, &[1]].concat()).dscp(46)
        }),
    ];
    let outer = |port: u16| match port {
        80 | 82 => 4,
        81 | 83 => 6,
        _ => 0,
    };
    for port in [80, 81, 82, 83, 84, 85] {
        for is_v6 in [false, true] {
            if is_v6 != (port == 85) && !(is_v6 && outer(port) == 6) {
                continue;
            }
            for is_tcp in [false, true] {
                let inner = match (is_v6, is_tcp) {
                    (false, false) => udp4(CLIENT, DSR, 999, port),
                    (false, true) => tcp4(CLIENT, DSR, 999, port).flags(RST),
                    (true, false) => udp6(CLIENT6, DSR6, 999, port),
                    (true, true) => tcp6(CLIENT6, DSR6, 999, port).flags(RST),
                };
                for (what, change) in &changes {
                    println!("{port}, IPv6: {is_v6}, TCP: {is_tcp}, {what}");
                    let sent = change(from_client(inner.clone()).payload(MARK).ttl(1));
                    client.send(&sent.build());
                    let arrived = next_marked(&backend);
                    let with = |frame: Frame| frame.source_mac(IN_MAC).destination_mac(B1_MAC);
                    let expected = with(sent.clone()).build();
                    if outer(port) == 0 {
                        assert_eq!(arrived, expected);
                    } else {
                        is_around(&arrived, &expected, outer(port), matches!(port, 82 | 83));
                    }
                }
            }
        }
    }
    // Frames of one flow come from one address, and those of many from many.
    let mut sources = Vec::new();
    for source_port in [1, 1, 2, 3, 4, 5, 6, 7, 8] {
        client.send(&client_udp4(DSR, source_port, 80).payload(MARK).build());
        sources.push(next_marked(&backend)[26..30].to_vec());
    }
    assert_eq!(sources[0], sources[1]);
    sources.sort_unstable();
    sources.dedup();
    assert!(sources.len() >= 7, "{sources:?}");

    // No room for a longer header: the client is told how long a packet may be, by the service.
    let full = filled(client_udp4(DSR, 999, 80).dont_fragment(), 14 + 1500);
    send(&lab, &client, &full, &counted("tx", "service", &["to4-80"]));
    let error = next_error(&client);
    assert_eq!(error[26..34], [192, 0, 2, 129, 10, 1, 0, 2], "addresses");
    assert_eq!(error[34..36], [3, 4], "fragmentation needed");
    assert_eq!(error[40..42], 1480_u16.to_be_bytes());
    assert_eq!(error[42..62], full.build()[14..34], "the quotation");
    let full = filled(client_udp6(DSR6, 999, 83), 14 + 1500);
    send(&lab, &client, &full, &counted("tx", "service", &["to6-83"]));
    let error = next_error(&client);
    assert_eq!(error[22..54], [&full.build()[38..54], &full.build()[22..38]].concat());
    assert_eq!(error[54..56], [2, 0], "packet too big");
    assert_eq!(error[58..62], 1452_u32.to_be_bytes());
    // One that may be fragmented is dropped, and so are fragments.
    let full = filled(client_udp4(DSR, 999, 80), 14 + 1500);
    send(&lab, &client, &full, &counted("drop", "service", &["to4-80"]));
    let first = client_udp4(DSR, 999, 80).payload(MARK).fragment(0, true);
    send(&lab, &client, &first, &counted("drop", "service", &["to4-80"]));
    for (length, port) in [(1500 - 20, 80), (1500 - 28, 82), (1500 - 40, 81), (1500 - 48, 83)] {
        client.send(&filled(client_udp4(DSR, 999, port), 14 + length).build());
        assert_eq!(next_marked(&backend).len(), 14 + 1500, "{port}");
    }
    // Nothing but addresses is changed: what fills the link goes on.
    let full = filled(client_udp4(DSR, 999, 84), 14 + 1500);
    client.send(&full.build());
    expect(&backend, &full.source_mac(IN_MAC).destination_mac(B1_MAC));
    for port in [&backend, &other] {
        expect_none(port);
    }
    drop(sockets);
}

/// Checks a frame that another one was put into: `expected` is what it would be without the headers
/// between.
#[track_caller]
pub(super) fn is_around(frame: &[u8], expected: &[u8], family: u8, is_gue: bool) {
    let l3 = (12..).step_by(4).find(|&at| !matches!(expected[at], 0x81 | 0x88)).expect("IP") + 2;
    let inner = &expected[l3..];
    let inner_is_v6 = inner[0] >> 4 == 6;
    let header = if family == 6 { 40 } else { 20 };
    let udp = if is_gue { 8 } else { 0 };
    assert_eq!(frame[..l3 - 2], expected[..l3 - 2], "addresses and tags");
    assert_eq!(&frame[l3 + header + udp..], inner, "the packet");
    let outer = &frame[l3..l3 + header];
    let protocol = match (is_gue, inner_is_v6) {
        (true, _) => 17,
        (false, false) => 4,
        (false, true) => 41,
    };
    let class = match inner_is_v6 {
        true => inner[0] << 4 | inner[1] >> 4,
        false => inner[1],
    };
    let length = (inner.len() + udp) as u16;
    if family == 6 {
        assert_eq!([outer[0] >> 4, outer[0] << 4 | outer[1] >> 4], [6, class]);
        assert_eq!(outer[4..6], length.to_be_bytes(), "payload length");
        assert_eq!(outer[6..8], [protocol, 64], "protocol and hop limit");
        assert_eq!(outer[8..16], [1, 0, 0, 0, 0, 0, 0, 0], "100::/64");
        let address: std::net::Ipv6Addr = V6[0].0.parse().expect("an address");
        assert_eq!(outer[24..], address.octets());
    } else {
        assert_eq!(outer[..2], [0x45, class]);
        assert_eq!(outer[2..4], (20 + length).to_be_bytes(), "total length");
        assert_eq!(outer[4..8], [0; 4], "identification and fragment");
        assert_eq!(outer[8..10], [64, protocol], "time to live and protocol");
        assert_eq!(outer[12..14], [172, 16], "172.16.0.0/16");
        assert_eq!(outer[16..], [10, 2, 0, 11]);
    }
    if is_gue {
        let udp = &frame[l3 + header..l3 + header + 8];
        assert!(udp[0] >= 0xc0, "a port from 49152 on");
        assert_eq!(udp[2..4], GUE.to_be_bytes());
        assert_eq!(udp[4..6], length.to_be_bytes());
    }
}
