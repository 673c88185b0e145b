//! What is usual takes the fast path, and where services are alone, ordinary packets take one that is shorter still: the
//! programs of the longer way are taken out, and it still arrives.

use std::net::UdpSocket;

use xdp_common::stages;
use xdpctl::datapath::sys::bpf;

use super::dsr::is_around;
use super::{MARK, counted, dsr, expect, next_marked, send, service};
use crate::lab::balancer::*;
use crate::lab::frame::*;
use crate::lab::{Port, stay_on_this_cpu};

const B1: &str = "10.2.0.11";
const B1_V6: &str = "2001:db8:2::11";
/// A client whose address is a service's, too.
const OTHER_CLIENT: &str = "10.1.0.3";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Short {
    Fast,
    Ordinary,
}

impl Short {
    /// What makes a ruleset one for this way.
    fn rule(self) -> &'static str {
        match self {
            Self::Fast => {
                "[[rule]]\nname = \"other\"\nsource = \"192.0.2.99\"\naction = \"drop\"\n"
            }
            Self::Ordinary => "",
        }
    }

    fn takes(self, frame: &Frame) -> bool {
        self == Self::Fast || frame.build()[12..14] == [8, 0]
    }

    /// Takes the programs of the longer ways out.
    fn cut_off(self, lab: &Balancer, interface: &'static str, neighbour: &Port) {
        let directory = lab.lab().pins("dut", lab.lab().ifindex("dut", interface));
        let programs = bpf::open_pin(&directory.join("STAGES")).expect("a pin");
        for place in [stages::SERVICES, stages::SERVE] {
            bpf::delete(&programs, place).expect("the program was there");
        }
        if self == Self::Ordinary {
            // Frames are judged on the processor that sends them, and each has to see once that services are alone.
            stay_on_this_cpu();
            neighbour.send(&udp4(OTHER_CLIENT, CLIENT, 1, 1).build());
            bpf::delete(&programs, stages::FAST).expect("the program was there");
        }
    }
}

/// Sockets that answer nothing to what arrives there.
fn sockets<const N: usize>(lab: &Balancer, at: [(&str, u16); N]) -> [UdpSocket; N] {
    at.map(|at| {
        let bind = || UdpSocket::bind(at).expect("a socket");
        lab.lab().namespace("b1").enter(bind)
    })
}

#[test]
fn the_longer_way_is_not_needed_for_what_is_usual() {
    arrives_without_it(Short::Fast);
}

#[test]
fn ordinary_packets_need_the_filter_alone() {
    arrives_without_it(Short::Ordinary);
}

fn arrives_without_it(short: Short) {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let to_b1 = format!("next_hop = \"{B1_MAC}\"");
    let nat = |port: u16| {
        format!("mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = {port}\nhash = \"source\"")
    };
    let l2dsr = "mode = \"l2dsr\"\nprotocol = \"udp\"\nport = 53";
    lab.attach(&format!(
        "[services]\nnext_hop = \"{CLIENT_MAC}\"\n{}{}{}{}{}{}{}{}",
        service("v4", NAT, &nat(80), &[(B1, &to_b1)]),
        service("v6", NAT6, &nat(80), &[(B1_V6, &to_b1)]),
        service("ports4", NAT, &nat(88), &[(B1, &format!("port = 8080\n{to_b1}"))]),
        service("dsr", NAT, l2dsr, &[(B1, &to_b1)]),
        service("client", OTHER_CLIENT, l2dsr, &[(B1, &to_b1)]),
        service("routed4", NAT, &nat(89), &[(B1, "next_hop = \"route\"")]),
        service("routed6", NAT6, &nat(89), &[(B1_V6, "next_hop = \"route\"")]),
        short.rule(),
    ));
    let (client, backend) = (lab.port("client"), lab.port("b1"));
    short.cut_off(&lab, IN, &client);
    let ports = [(B1, 80), (B1_V6, 80), (B1, 8080), (B1, 89), (B1_V6, 89)];
    let _sockets = sockets(&lab, ports);
    type Change = fn(Frame) -> Frame;
    let changes: [Change; 3] = [|frame| frame, |frame| frame.vlan(100), |frame| frame.dscp(46)];
    for (before, after) in [
        (udp4(CLIENT, NAT, 999, 80), udp4(CLIENT, B1, 999, 80)),
        (tcp4(CLIENT, NAT, 999, 80).flags(RST), tcp4(CLIENT, B1, 999, 80).flags(RST)),
        (udp4(CLIENT, NAT, 999, 88), udp4(CLIENT, B1, 999, 8080)),
        (udp6(CLIENT6, NAT6, 999, 80), udp6(CLIENT6, B1_V6, 999, 80)),
        (tcp6(CLIENT6, NAT6, 999, 80).flags(RST), tcp6(CLIENT6, B1_V6, 999, 80).flags(RST)),
    ] {
        for change in changes {
            let change = |frame: &Frame| change(frame.clone().payload(MARK));
            let sent = from_client(change(&before)).ttl(9);
            if !short.takes(&sent) {
                continue;
            }
            client.send(&sent.build());
            let after = change(&after).source_mac(IN_MAC).destination_mac(B1_MAC);
            expect(&backend, &after.ttl(8));
        }
    }
    // By the kernel's routes, out of the same interface.
    for (before, after) in [
        (udp4(CLIENT, NAT, 999, 89), udp4(CLIENT, B1, 999, 89)),
        (tcp6(CLIENT6, NAT6, 999, 89).flags(RST), tcp6(CLIENT6, B1_V6, 999, 89).flags(RST)),
    ] {
        if !short.takes(&before) {
            continue;
        }
        client.send(&from_client(before).payload(MARK).ttl(9).build());
        let after = after.payload(MARK).source_mac(IN_MAC).destination_mac(B1_MAC);
        expect(&backend, &after.ttl(8));
    }
    let bridged = from_client(udp4(CLIENT, NAT, 999, 53)).payload(MARK);
    client.send(&bridged.clone().ttl(9).build());
    expect(&backend, &bridged.ttl(9).source_mac(IN_MAC).destination_mac(B1_MAC));
    for (before, after) in [
        (udp4(B1, CLIENT, 80, 999), udp4(NAT, CLIENT, 80, 999)),
        (tcp4(B1, CLIENT, 8080, 999).flags(RST), tcp4(NAT, CLIENT, 88, 999).flags(RST)),
        (udp6(B1_V6, CLIENT6, 80, 999), udp6(NAT6, CLIENT6, 80, 999)),
        (udp4(B1, OTHER_CLIENT, 80, 999), udp4(NAT, OTHER_CLIENT, 80, 999)),
    ] {
        if !short.takes(&before) {
            continue;
        }
        let before = before.payload(MARK).source_mac(B1_MAC).destination_mac(IN_MAC);
        backend.send(&before.ttl(64).build());
        let after = after.payload(MARK).source_mac(IN_MAC).destination_mac(CLIENT_MAC);
        expect(&client, &after.ttl(63));
    }
    // The longer way is taken by what is not, and leads nowhere now: two tags, a fragment, the end of its time.
    let broken = counted("aborted", "default", &[]);
    let udp = || from_client(udp4(CLIENT, NAT, 999, 80)).payload(MARK);
    for unusual in [udp().qinq(10, 20), udp().fragment(0, true), udp().ttl(1)] {
        send(&lab, &client, &unusual, &broken);
    }
}

/// From one interface to the other, and back.
#[test]
fn by_routes_both_ways() {
    for short in [Short::Fast, Short::Ordinary] {
        go_both_ways(short);
    }
}

fn go_both_ways(short: Short) {
    let mut lab = Balancer::new(Shape::Arms);
    lab.meet();
    let rest = "mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = 80";
    lab.attach(&format!(
        "{}{}{}",
        service("v4", NAT, rest, &[(B1, "port = 8080")]),
        service("v6", NAT6, rest, &[(B1_V6, "port = 8080")]),
        short.rule(),
    ));
    let (client, backend) = (lab.port("client"), lab.port("b1"));
    short.cut_off(&lab, IN, &client);
    short.cut_off(&lab, OUT, &backend);
    let _sockets = sockets(&lab, [(B1, 8080), (B1_V6, 8080)]);
    for (before, after) in [
        (udp4(CLIENT, NAT, 999, 80), udp4(CLIENT, B1, 999, 8080)),
        (tcp4(CLIENT, NAT, 999, 80).flags(RST), tcp4(CLIENT, B1, 999, 8080).flags(RST)),
        (udp6(CLIENT6, NAT6, 999, 80), udp6(CLIENT6, B1_V6, 999, 8080)),
        (tcp6(CLIENT6, NAT6, 999, 80).flags(RST), tcp6(CLIENT6, B1_V6, 999, 8080).flags(RST)),
    ] {
        if !short.takes(&before) {
            continue;
        }
        client.send(&from_client(before).payload(MARK).ttl(9).build());
        let after = after.payload(MARK).source_mac(OUT_MAC).destination_mac(B1_MAC);
        expect(&backend, &after.ttl(8));
    }
    for (before, after) in [
        (udp4(B1, CLIENT, 8080, 999), udp4(NAT, CLIENT, 80, 999)),
        (tcp4(B1, CLIENT, 8080, 999).flags(RST), tcp4(NAT, CLIENT, 80, 999).flags(RST)),
        (udp6(B1_V6, CLIENT6, 8080, 999), udp6(NAT6, CLIENT6, 80, 999)),
        (tcp6(B1_V6, CLIENT6, 8080, 999).flags(RST), tcp6(NAT6, CLIENT6, 80, 999).flags(RST)),
    ] {
        if !short.takes(&before) {
            continue;
        }
        let before = before.payload(MARK).source_mac(B1_MAC).destination_mac(OUT_MAC);
        backend.send(&before.ttl(64).build());
        let after = after.payload(MARK).source_mac(IN_MAC).destination_mac(CLIENT_MAC);
        expect(&client, &after.ttl(63));
    }
}

/// Inside other packets and with the client's own, by routes. Nobody takes them out again: the kernel writes into what
/// it has of GUE, also where others read it.
#[test]
fn to_backends_that_answer_themselves() {
    for short in [Short::Fast, Short::Ordinary] {
        go_to_those_who_answer(short);
    }
}

fn go_to_those_who_answer(short: Short) {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    lab.attach(&format!("{}{}", dsr::services(1), short.rule()));
    let (client, backend) = (lab.port("client"), lab.port("b1"));
    short.cut_off(&lab, IN, &client);
    let v4 = [80, 81, 82, 83, 84].map(|port| (DSR, port));
    let v6 = [81, 83, 85].map(|port| (DSR6, port));
    let _sockets = (sockets(&lab, v4), sockets(&lab, v6));
    for (address, port) in v4.into_iter().chain(v6) {
        let outer = match port {
            80 | 82 => 4,
            81 | 83 => 6,
            _ => 0,
        };
        let [udp, tcp] = match address {
            DSR => [udp4(CLIENT, DSR, 999, port), tcp4(CLIENT, DSR, 999, port).flags(RST)],
            _ => [udp6(CLIENT6, DSR6, 999, port), tcp6(CLIENT6, DSR6, 999, port).flags(RST)],
        };
        for frame in [udp, tcp] {
            if !short.takes(&frame) {
                continue;
            }
            println!("{address} {port}");
            let sent = from_client(frame).payload(MARK).ttl(9);
            client.send(&sent.build());
            let arrived = next_marked(&backend);
            let expected = sent.source_mac(IN_MAC).destination_mac(B1_MAC).build();
            if outer == 0 {
                assert_eq!(arrived, expected);
            } else {
                is_around(&arrived, &expected, outer, matches!(port, 82 | 83));
            }
        }
    }
}
