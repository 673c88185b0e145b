//! Routes that lead to interfaces which take no redirected frames.

use super::{packets, service, to_each};
use crate::lab::balancer::*;

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
