//! Routes that lead to interfaces which take no redirected frames, that are not there, or whose next hops the kernel has
//! forgotten.

use std::thread;
use std::time::{Duration, Instant};

use super::{packets, service, to_each};
use crate::lab::balancer::*;
use crate::lab::patience::{EVENT, patient};

const TO: &str = "192.0.2.1:80";
const BULK: usize = 200_000;

/// A bridge takes none. The kernel's stack knows the way: at once where a route turns there later, and
/// with a note where an attach finds it so.
#[test]
fn by_a_bridge() {
    let mut lab = Balancer::new(Shape::Arms);
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    let text = service("web", NAT, rest, &[("10.2.0.11", ""), ("10.2.0.12", "")]);
    lab.attach(&text);
    let _servers = lab.serve_tcp("{4}:80");
    let mut before = to_each(&lab, TO);
    let redirected = packets(&lab.sample(IN), "redirect");
    assert!(redirected > 0, "the usual way");

    let ip = |arguments: &str| lab.lab().ip("dut", arguments.split_whitespace());
    ip("link add br0 type bridge mcast_snooping 0");
    ip(&format!("link set {OUT} master br0"));
    ip("link set br0 up");
    ip(&format!("address delete 10.2.0.1/24 dev {OUT}"));
    ip("address add 10.2.0.1/24 dev br0");
    let slow = |lab: &Balancer| {
        let shown = lab.xdpctl(["services", IN, "--json"]).json();
        shown[0]["slow"].as_u64().expect("a number")
    };
    let slow_before = slow(&lab);
    for connection in &mut before {
        assert!(connection.answers(), "{:?}", connection.greeting);
    }
    assert!(slow(&lab) > slow_before);
    for connection in to_each(&lab, TO) {
        connection.exchange(BULK, 7);
    }
    let (after, lost) = (lab.sample(IN), slow(&lab));
    assert!(lost - slow_before > BULK as u64 / 1460, "{after:#?}");
    assert_eq!(packets(&after, "drop"), 0);

    let path = lab.write(&text);
    let path = path.to_str().expect("a path in UTF-8");
    let said = lab.xdpctl(["attach", IN, "--replace", "-c", path, "--mode", "native"]);
    said.success();
    assert!(
        said.stderr.contains("leads to br0, which takes no redirected frames"),
        "{}",
        said.stderr
    );
    for connection in &mut before {
        assert!(connection.answers(), "{:?}", connection.greeting);
    }
}

/// Connects, once the next hops have said their MAC addresses.
#[track_caller]
fn reaches(lab: &Balancer, to: &str) {
    let deadline = Instant::now() + patient(EVENT);
    while !lab.can_connect(to) {
        assert!(Instant::now() < deadline, "nobody answers at {to}");
    }
}

/// What is wrong with next hops, as `status` tells it.
fn forgotten(lab: &Balancer) -> Option<String> {
    let status = lab.xdpctl(["status", IN, "--json"]).json();
    let problems = status[0]["problems"].as_array().expect("problems");
    let mut all = problems.iter().map(|it| it.as_str().expect("words").to_owned());
    all.find(|it| it.contains("next hop"))
}

/// The kernel forgets neighbours that it was to keep fresh, as when a cable is out; and what l2dsr sends there has nobody
/// who asks for them.
#[test]
fn forgotten_next_hops_come_back() {
    let mut lab = Balancer::new(Shape::Stick);
    let rest = "mode = \"l2dsr\"\nprotocol = \"tcp\"\nport = 84";
    lab.attach(&service("near", DSR, rest, &[("10.2.0.11", ""), ("10.2.0.12", "")]));
    let to = format!("{DSR}:84");
    let _servers = lab.serve_tcp(&to);
    reaches(&lab, &to);
    assert_eq!(forgotten(&lab), None);

    let flush = || lab.lab().ip("dut", ["neigh", "flush", "all"]);
    flush();
    let said = forgotten(&lab).expect("a problem");
    assert!(
        said.contains("the next hop 10.2.0.1") && said.contains(" on in0 and 1 more fresh"),
        "{said}"
    );
    lab.xdpctl(["reload", IN]).success();
    assert_eq!(forgotten(&lab), None);
    reaches(&lab, &to);

    let health = lab.lab().spawn_xdpctl("dut", ["health"]);
    flush();
    let deadline = Instant::now() + patient(EVENT);
    while forgotten(&lab).is_some() {
        assert!(Instant::now() < deadline, "{}", health.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    reaches(&lab, &to);
}

/// Where the interface to the backends is down, there is no route, and none is asked for later.
#[test]
fn without_a_route() {
    let lab = Balancer::new(Shape::Arms);
    lab.lab().ip("dut", ["link", "set", OUT, "down"]);
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    let path = lab.write(&service("web", NAT, rest, &[("10.2.0.11", ""), ("10.2.0.12", "")]));
    let path = path.to_str().expect("a path in UTF-8");
    let said = lab.xdpctl(["attach", IN, "-c", path, "--mode", "native"]);
    said.success();
    let note = "note: service \"web\", backend \"10.2.0.11\": there is no route to 10.2.0.11 now, so its packets are lost";
    assert_eq!(said.stderr.matches("there is no route").count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains(note), "{}", said.stderr);
    assert_eq!(forgotten(&lab), None);
    // Now there is one.
    lab.lab().ip("dut", ["link", "set", OUT, "up"]);
    let said = forgotten(&lab).expect("a problem");
    assert!(said.contains("another route to it, with next hop 10.2.0.11"), "{said}");
    lab.xdpctl(["reload", IN]).success();
    assert_eq!(forgotten(&lab), None);
}

/// A link to one neighbour alone has no MAC addresses, so that there are none to be forgotten.
#[test]
fn a_link_to_one_neighbour() {
    let mut lab = Balancer::new(Shape::Stick);
    let ip = |arguments: &str| lab.lab().ip("dut", arguments.split_whitespace());
    ip("tuntap add tun0 mode tun");
    ip("link set tun0 up");
    ip("address add 10.7.0.1 peer 10.7.0.2 dev tun0");
    ip("route add 10.8.0.0/24 dev tun0");
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    lab.attach(&service("web", NAT, rest, &[("10.7.0.2", ""), ("10.8.0.5", "")]));
    assert_eq!(forgotten(&lab), None);
}
