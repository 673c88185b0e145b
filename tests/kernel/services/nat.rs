//! `mode = "nat"` with live connections: addresses and ports rewritten, there and back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{once_quiet, packets, service, to_each};
use crate::lab::balancer::{Balancer, CLIENT, CLIENT6, IN, NAT, NAT_TOO, NAT6, OUT, Shape};

const BULK: usize = 2 << 20;

#[test]
fn tcp_and_udp_over_two_arms() {
    let mut lab = Balancer::new(Shape::Arms);
    let rest = "mode = \"nat\"\nprotocol = [\"tcp\", \"udp\"]\nport = 80";
    let both = |first, second| [(first, "port = 8080"), (second, "port = 8080")];
    lab.attach(
        &[
            service("web", NAT, rest, &both("10.2.0.11", "10.2.0.12")),
            service("web6", NAT6, rest, &both("2001:db8:2::11", "2001:db8:2::12")),
        ]
        .concat(),
    );
    let _servers = ["{4}:8080", "{6}:8080"].map(|at| (lab.serve_tcp(at), lab.serve_udp(at)));
    for (to, client, own) in
        [(format!("{NAT}:80"), CLIENT, "0.0.0.0:0"), (format!("[{NAT6}]:80"), CLIENT6, "[::]:0")]
    {
        for connection in to_each(&lab, &to) {
            let greeting = &connection.greeting;
            assert_eq!(Ok(greeting.client.ip()), client.parse::<IpAddr>());
            assert_eq!(greeting.local.port(), 8080);
            connection.exchange(BULK, 7);
        }
        let asked: BTreeSet<String> = (0..32).map(|_| lab.client(own).ask(&to).server).collect();
        assert_eq!(asked, BTreeSet::from(["b1".into(), "b2".into()]));
    }
    let (inside, outside) = (once_quiet(&lab, IN), once_quiet(&lab, OUT));
    // Requests by the one interface, replies by the other.
    for (sample, name) in [(&inside, IN), (&outside, OUT)] {
        let of_services = sample.rule("web").count.packets + sample.rule("web6").count.packets;
        assert_eq!(sample.reasons["service"].packets, of_services, "{name}");
        assert!(of_services > 4 * BULK as u64 / 1448, "{name}: {sample:#?}");
        assert!(packets(sample, "redirect") > of_services - 64, "{name}: {sample:#?}");
        assert_eq!(["tx", "drop", "aborted"].map(|verdict| packets(sample, verdict)), [0; 3]);
        let web = sample.rule("web");
        assert_eq!([&*web.kind, &*web.action], ["service", "nat"]);
    }
}

/// Replies come in by the servers' interface: where no program is there, they would reach clients from an address that
/// these did not ask.
#[test]
fn an_arm_without_the_program_is_told() {
    let lab = Balancer::new(Shape::Arms);
    let text =
        service("web", NAT, "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80", &[("10.2.0.11", "")]);
    let path = lab.write(&text);
    let path = path.to_str().expect("a path in UTF-8");
    let attach =
        |interface: &str| lab.xdpctl(["attach", interface, "-c", path]).success().stderr.clone();
    let told = format!("its replies come in by {OUT}, on which no xdpctl is attached");
    let (first, second) = (attach(IN), attach(OUT));
    assert!(first.contains(&told) && first.contains(&format!("xdpctl attach {OUT}")), "{first}");
    assert!(!second.contains("its replies come in by"), "{second}");
    let again = lab.xdpctl(["attach", IN, "--replace", "-c", path]).success().stderr.clone();
    assert!(!again.contains("its replies come in by"), "{again}");

    let lab = Balancer::new(Shape::Stick);
    let path = lab.write(&text);
    let said = lab.xdpctl(["attach", IN, "-c", path.to_str().expect("a path in UTF-8")]);
    assert!(!said.success().stderr.contains("its replies come in by"), "{}", said.stderr);
}

/// All by one interface, with services that differ in ports and clients.
#[test]
fn ports_and_clients_on_a_stick() {
    let mut lab = Balancer::new(Shape::Stick);
    let second = |role: &str| role.replace('b', "10.2.0.2");
    for role in ["b1", "b2"] {
        let address = format!("{}/24", second(role));
        lab.lab().ip(role, ["address", "add", &address, "dev", "wire"]);
    }
    lab.lab().ip("client", ["address", "add", "10.1.0.3/24", "dev", "wire"]);
    let tcp = |rest: &str| format!("mode = \"nat\"\nprotocol = \"tcp\"\n{rest}");
    let both = [("10.2.0.11", ""), ("10.2.0.12", "")];
    let others = [("10.2.0.21", ""), ("10.2.0.22", "")];
    lab.attach(
        &[
            service("one", NAT, &tcp("port = 80"), &both),
            service("several", NAT, &tcp("port = [81, \"8000-8009\"]"), &both),
            service(
                "some",
                NAT,
                &tcp("port = 90\nsource = \"10.1.0.3\""),
                &[("10.2.0.11", "port = 9001")],
            ),
            service("rest", NAT, &tcp("port = 90"), &[("10.2.0.12", "port = 9002")]),
            service("all", NAT_TOO, &tcp(""), &others),
        ]
        .concat(),
    );
    let _servers: Vec<_> =
        [80, 81, 8005, 9001, 9002].map(|port| lab.serve_tcp(&format!("0.0.0.0:{port}"))).into();
    for port in [80, 81, 8005] {
        for (address, others) in [(NAT, false), (NAT_TOO, true)] {
            for connection in to_each(&lab, &format!("{address}:{port}")) {
                let greeting = &connection.greeting;
                let backend = match others {
                    true => second(&greeting.server),
                    false => lab.address(&greeting.server),
                };
                assert_eq!(greeting.local.to_string(), format!("{backend}:{port}"));
                connection.exchange(20_000, 3);
            }
        }
    }
    for (client, local) in [("10.1.0.3", "10.2.0.11:9001"), ("10.1.0.2", "10.2.0.12:9002")] {
        for _ in 0..4 {
            let connection = lab.connect_from(&format!("{client}:0"), &format!("{NAT}:90"));
            assert_eq!(connection.greeting.local.to_string(), local, "from {client}");
            assert_eq!(connection.greeting.client.ip().to_string(), client);
        }
    }
    // Between the services' ports, nobody listens, and nobody has taken the packet.
    let before = once_quiet(&lab, IN).reasons["service"].packets;
    lab.port("client").send(&crate::lab::balancer::client_tcp4(NAT, 999, 8010).build());
    let sample = once_quiet(&lab, IN);
    assert_eq!(sample.reasons["service"].packets, before);
    assert_eq!(packets(&sample, "drop"), 0);
    assert!(packets(&sample, "tx") > 200, "{sample:#?}");
}

/// The stack finds neighbours that are lost, with what a service has sent on.
#[test]
fn connections_outlive_lost_neighbours() {
    let mut lab = Balancer::new(Shape::Stick);
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    lab.attach(&service("web", NAT, rest, &[("10.2.0.11", ""), ("10.2.0.12", "")]));
    let _servers = lab.serve_tcp("{4}:80");
    let mut connections = to_each(&lab, &format!("{NAT}:80"));
    for _ in 0..3 {
        lab.lab().ip("dut", ["neigh", "flush", "all"]);
        let slow = packets(&lab.sample(IN), "pass");
        for connection in &mut connections {
            assert!(connection.answers());
        }
        assert!(packets(&lab.sample(IN), "pass") > slow, "what asks goes by the stack");
    }
    for connection in connections {
        connection.exchange(100_000, 5);
    }
}
