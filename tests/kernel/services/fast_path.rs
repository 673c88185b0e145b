//! What is usual takes the fast path: the programs of the longer way are taken out, and it still arrives.

use xdp_common::stages;
use xdpctl::datapath::sys::bpf;

use super::{MARK, counted, expect, send, service};
use crate::lab::balancer::*;
use crate::lab::frame::*;

const B1: &str = "10.2.0.11";
const B1_V6: &str = "2001:db8:2::11";

#[test]
fn the_longer_way_is_not_needed_for_what_is_usual() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let to_b1 = format!("next_hop = \"{B1_MAC}\"");
    let nat = |port: u16| {
        format!("mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = {port}\nhash = \"source\"")
    };
    let l2dsr = "mode = \"l2dsr\"\nprotocol = \"udp\"\nport = 53";
    lab.attach(&format!(
        "[services]\nnext_hop = \"{CLIENT_MAC}\"\n{}{}{}{}{}{}",
        service("v4", NAT, &nat(80), &[(B1, &to_b1)]),
        service("v6", NAT6, &nat(80), &[(B1_V6, &to_b1)]),
        service("ports4", NAT, &nat(88), &[(B1, &format!("port = 8080\n{to_b1}"))]),
        service("dsr", NAT, l2dsr, &[(B1, &to_b1)]),
        service("routed4", NAT, &nat(89), &[(B1, "next_hop = \"route\"")]),
        service("routed6", NAT6, &nat(89), &[(B1_V6, "next_hop = \"route\"")]),
    ));
    let directory = lab.lab().pins("dut", lab.lab().ifindex("dut", IN));
    let programs = bpf::open_pin(&directory.join("STAGES")).expect("a pin");
    for place in [stages::SERVICES, stages::SERVE] {
        bpf::delete(&programs, place).expect("the program was there");
    }
    let (client, backend) = (lab.port("client"), lab.port("b1"));
    // What listens there answers nothing.
    let ports = [(B1, 80), (B1_V6, 80), (B1, 8080), (B1, 89), (B1_V6, 89)];
    let _sockets = ports.map(|at| {
        let bind = || std::net::UdpSocket::bind(at).expect("a socket");
        lab.lab().namespace("b1").enter(bind)
    });
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
            client.send(&from_client(change(&before)).ttl(9).build());
            let after = change(&after).source_mac(IN_MAC).destination_mac(B1_MAC);
            expect(&backend, &after.ttl(8));
        }
    }
    // By the kernel's routes, out of the same interface.
    for (before, after) in [
        (udp4(CLIENT, NAT, 999, 89), udp4(CLIENT, B1, 999, 89)),
        (tcp6(CLIENT6, NAT6, 999, 89).flags(RST), tcp6(CLIENT6, B1_V6, 999, 89).flags(RST)),
    ] {
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
    ] {
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
