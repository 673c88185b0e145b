//! Links and labels that this machine's kernel may not have and Debian's kernels do: packets reach a
//! socket through them, and from a blocked source they do not.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::lab::frame::udp4;
use crate::lab::{Lab, Sample};

const ARRIVAL: Duration = Duration::from_secs(20);
const BLOCKED: &str = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.70.0.0/24\"]\n";

/// Whether something comes to a socket before `until` says that it will not.
fn arrives(socket: &UdpSocket, until: impl Fn() -> bool) -> bool {
    socket.set_nonblocking(true).expect("a socket that does not block");
    let deadline = Instant::now() + ARRIVAL;
    while Instant::now() < deadline {
        let over = until();
        if socket.recv(&mut [0; 2048]).is_ok() {
            return true;
        }
        if over {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("neither arrived nor counted within {ARRIVAL:?}");
}

/// Sends by `send` without the program, with one that blocks the source, and with one that blocks
/// nobody.
fn is_judged(lab: &Lab, interface: &str, socket: &UdpSocket, send: impl Fn()) {
    send();
    assert!(arrives(socket, || false), "{interface}, without the program");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ruleset.toml");
    std::fs::write(&file, BLOCKED).expect("a file");
    let path = file.to_str().expect("UTF-8");
    lab.xdpctl("dut", ["attach", interface, "-c", path]).success();
    let blocked = || Sample::read(lab, "dut", interface).reasons["blocklist"].packets > 0;
    send();
    assert!(!arrives(socket, blocked), "{interface}, blocked");
    std::fs::write(&file, "").expect("a file");
    lab.xdpctl("dut", ["reload", interface]).success();
    send();
    assert!(arrives(socket, || false), "{interface}, not blocked any more");
}

fn with_addresses() -> Lab {
    let lab = Lab::new();
    for (role, interface, host) in [("src", "src0", 1), ("dut", "in0", 2)] {
        let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        lab.namespace(role).enter(|| std::fs::write(&switch, "0")).expect("IPv6");
        lab.ip(role, ["link", "set", interface, "arp", "on"]);
        lab.ip(role, ["address", "add", &format!("192.0.2.{host}/24"), "dev", interface]);
        let address = format!("2001:db8::{host}/64");
        lab.ip(role, ["address", "add", &address, "dev", interface, "nodad"]);
    }
    lab
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn links_of_tunnels_are_judged_from_the_inner_ip_header_on() {
    for kind in ["ipip", "sit", "ip6tnl", "ip6gre"] {
        let lab = with_addresses();
        let outer = |host| {
            if kind.starts_with("ip6") {
                format!("2001:db8::{host}")
            } else {
                format!("192.0.2.{host}")
            }
        };
        for (role, host, remote) in [("src", 1, 2), ("dut", 2, 1)] {
            let (local, remote) = (outer(host), outer(remote));
            let mut add = vec!["link", "add", "tunnel", "type", kind];
            if kind != "ip6gre" {
                add.extend(["mode", "any"]);
            }
            add.extend(["local", &local, "remote", &remote]);
            lab.ip(role, add);
            lab.ip(role, ["address", "add", &format!("10.70.0.{host}/24"), "dev", "tunnel"]);
            lab.ip(role, ["link", "set", "tunnel", "up"]);
        }
        let bound = |role, address: &str| {
            lab.namespace(role).enter(|| UdpSocket::bind(address)).expect("bind")
        };
        let socket = bound("dut", "10.70.0.2:7");
        let sender = bound("src", "10.70.0.1:7");
        is_judged(&lab, "tunnel", &socket, || {
            sender.send_to(kind.as_bytes(), "10.70.0.2:7").expect("sent");
        });
    }
}

/// Where what is inside is not known, there is nothing to be had but a refusal.
#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn links_that_begin_with_something_else_are_refused() {
    let lab = with_addresses();
    for (kind, more) in [
        ("gre", &["remote", "192.0.2.1"][..]),
        ("vti", &["remote", "192.0.2.1", "key", "7"]),
        ("xfrm", &["dev", "in0", "if_id", "7"]),
    ] {
        let add = [&["link", "add", "other", "type", kind], more].concat();
        lab.ip("dut", add);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("empty.toml");
        std::fs::write(&file, "").expect("a file");
        let path = file.to_str().expect("UTF-8");
        let refused = lab.xdpctl("dut", ["attach", "other", "-c", path]);
        refused.expect_status(1);
        let told = format!("of kind {kind}), and what its packets begin with is not known");
        assert!(refused.stderr.contains(&told), "{refused:?}");
        lab.ip("dut", ["link", "delete", "other"]);
    }
}

/// IPv4's explicit null label is taken off by every kernel that takes labels at all.
#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn links_under_labels_are_judged_by_what_the_labels_carry() {
    let lab = with_addresses();
    // Fails where the module is built in.
    let _ = std::process::Command::new("modprobe").arg("mpls_router").status();
    lab.namespace("dut").enter(|| {
        std::fs::write("/proc/sys/net/mpls/platform_labels", "100").expect("a kernel with MPLS");
        std::fs::write("/proc/sys/net/mpls/conf/in0/input", "1").expect("labels from in0");
    });
    lab.ip("dut", ["link", "set", "lo", "up"]);
    lab.ip("dut", ["route", "add", "10.70.0.0/24", "dev", "in0"]);
    let socket = lab.namespace("dut").enter(|| UdpSocket::bind("192.0.2.2:7")).expect("bind");
    let sender = lab.port("src", "src0");
    is_judged(&lab, "in0", &socket, || {
        sender.send(&udp4("10.70.0.1", "192.0.2.2", 7, 7).mpls(&[0]).build());
    });
}
