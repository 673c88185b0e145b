//! Services on NICs with several queues, each of which has a processor of its own.

use std::collections::BTreeSet;

use crate::counters::by_processor;
use crate::lab::balancer::{Balancer, DSR, IN, NAT, OUT, Shape, service, to_each};
use crate::lab::tunnel::Tunnels;

const BULK: usize = 256 << 10;
/// Where tunnels by Generic UDP Encapsulation end.
const GUE: u16 = 6080;
/// So many that several queues get some, whatever the card hashes.
const CONNECTIONS: usize = 24;

/// More than one processor has counted packets, and all that they counted adds up.
#[track_caller]
fn assert_spread(lab: &Balancer, interface: &str) {
    let counted = by_processor(lab.lab(), interface);
    println!("{interface}: counted by each processor: {counted:?}");
    let at_work = counted.iter().filter(|&&packets| packets > 0).count();
    assert!(at_work > 1, "{interface}: one processor counted them all: {counted:?}");
}

/// Many connections at once, which stay with their backends.
#[track_caller]
fn hold_connections(lab: &Balancer, to: &str) {
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| lab.connect(to)).collect();
    for _ in 0..2 {
        for connection in &mut connections {
            assert!(connection.answers());
        }
    }
    let of = |connection: &crate::lab::server::Connection| connection.greeting.server.clone();
    let servers: BTreeSet<String> = connections.iter().map(of).collect();
    assert_eq!(servers, BTreeSet::from(["b1".into(), "b2".into()]));
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_nat_from_every_queue() {
    let mut lab = Balancer::on_nics(Shape::Arms);
    lab.meet();
    let rest = "mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = 80";
    let backends = [("10.2.0.11", "port = 8080"), ("10.2.0.12", "port = 8080")];
    lab.attach(&service("web", NAT, rest, &backends));
    let _servers = (lab.serve_tcp("{4}:8080"), lab.serve_udp("{4}:8080"));
    let to = format!("{NAT}:80");
    for connection in to_each(&lab, &to) {
        assert_eq!(connection.greeting.local.port(), 8080);
        connection.exchange(BULK, 7);
    }
    hold_connections(&lab, &to);
    assert_eq!(lab.client("0.0.0.0:0").ask(&to).local.port(), 8080);
    for interface in [IN, OUT] {
        let sample = lab.sample(interface);
        let served = sample.rule("web").count.packets;
        assert_eq!(sample.reasons["service"].packets, served, "{interface}");
        // Requests by the one interface, replies by the other, both redirected.
        assert!(served > 2 * BULK as u64 / 1448, "{interface}: {sample:#?}");
        assert!(sample.verdicts["redirect"].packets > served - 64, "{interface}: {sample:#?}");
        assert_spread(&lab, interface);
    }
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_dsr_from_every_queue() {
    let mut lab = Balancer::on_nics(Shape::Stick);
    lab.meet();
    let way = |name: &str, port: u16, mode: &str| {
        let rest = format!("{mode}\nprotocol = \"tcp\"\nport = {port}");
        service(name, DSR, &rest, &[("10.2.0.11", ""), ("10.2.0.12", "")])
    };
    let gue = format!("mode = \"dsr\"\nencapsulation = \"gue\"\ngue_port = {GUE}");
    lab.attach(
        &[
            way("ipip", 80, "mode = \"dsr\""),
            way("gue", 81, &gue),
            way("l2dsr", 82, "mode = \"l2dsr\""),
        ]
        .concat(),
    );
    let _tunnels = ["b1", "b2"].map(|role| Tunnels::open(lab.lab(), role, GUE));
    for (port, name) in [(80, "ipip"), (81, "gue"), (82, "l2dsr")] {
        let to = format!("{DSR}:{port}");
        let _servers = lab.serve_tcp(&to);
        for connection in to_each(&lab, &to) {
            assert_eq!(connection.greeting.local.to_string(), to);
            connection.exchange(BULK, 9);
        }
        hold_connections(&lab, &to);
        // Sent back by the interface that they came in by; answers go past it.
        let sample = lab.sample(IN);
        let served = sample.rule(name).count.packets;
        assert!(served > 2 * BULK as u64 / 1448, "{name}: {sample:#?}");
    }
    let sample = lab.sample(IN);
    assert_eq!(sample.verdicts["tx"].packets, sample.reasons["service"].packets, "{sample:#?}");
    assert_spread(&lab, IN);
}
