//! Who gets a connection while backends are drained, taken out and put back, and rulesets are exchanged.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{service, to_each};
use crate::lab::balancer::{Balancer, DSR, IN, NAT, OUT, Shape};
use crate::lab::patience::{EVENT, patient};

const WEB: &str = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
const TO_WEB: &str = "192.0.2.1:80";

/// A service with both backends, of which each has a name and what else is said of it.
fn web(first: &str, second: &str) -> String {
    let named = |name: &str, rest: &str| format!("name = \"{name}\"\n{rest}");
    let backends = [("10.2.0.11", named("b1", first)), ("10.2.0.12", named("b2", second))];
    let backends = backends.each_ref().map(|(address, rest)| (*address, rest.as_str()));
    service("web", NAT, WEB, &backends)
}

/// Which backends answer that many connections.
fn who(lab: &Balancer, to: &str, connections: usize) -> BTreeSet<String> {
    (0..connections).map(|_| lab.connect(to).greeting.server).collect()
}

fn only(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

#[track_caller]
fn say(lab: &Balancer, arguments: &[&str]) {
    lab.xdpctl([&["backend", IN, "web"], arguments].concat()).success();
}

#[track_caller]
fn services(lab: &Balancer) -> Value {
    lab.xdpctl(["services", IN, "--json"]).json()[0].clone()
}

#[test]
fn commands_come_before_the_file_and_end_by_themselves() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.attach(&web("", ""));
    let _servers = lab.serve_tcp("{4}:80");
    let mut before = to_each(&lab, TO_WEB);

    say(&lab, &["b1", "drain", "--note", "new kernel"]);
    assert_eq!(who(&lab, TO_WEB, 24), only("b2"));
    for connection in &mut before {
        assert!(connection.answers(), "a connection of before");
    }
    let shown = services(&lab);
    let b1 = &shown["backends"][0];
    assert_eq!(
        [&b1["name"], &b1["state"], &b1["by"], &b1["note"]],
        ["b1", "drain", "command", "new kernel"]
    );
    assert_eq!(b1["share"], 0.0);
    assert_eq!(shown["backends"][1]["share"], 1.0);
    assert_eq!(shown["new"].as_u64(), Some(shown["new"].as_u64().unwrap_or(0)));

    // Over a reload, and over another program.
    lab.attach(&web("", "weight = 2"));
    assert_eq!(who(&lab, TO_WEB, 24), only("b2"));
    lab.xdpctl(["attach", IN, "--replace", "-c", &path(&lab)]).success();
    assert_eq!(who(&lab, TO_WEB, 24), only("b2"));
    for connection in &mut before {
        assert!(connection.answers(), "a connection of before, with another program");
    }

    // With none up, packets are lost and counted.
    say(&lab, &["b2", "down"]);
    let lost = || services(&lab)["lost"]["no_backend"].as_u64().expect("a number");
    lab.xdpctl(["services", IN, "--up", "web"]).expect_status(1);
    let up = |lab: &Balancer| {
        let output = lab.xdpctl(["services", IN, "--up", "web", "--json"]);
        let states: Vec<String> = output.json()[0]["backends"]
            .as_array()
            .expect("backends")
            .iter()
            .map(|it| it["state"].as_str().expect("a word").to_owned())
            .collect();
        (output.status, states)
    };
    assert_eq!(up(&lab), (1, vec!["drain".to_owned(), "down".to_owned()]));
    let none = lost();
    assert!(!lab.can_connect(TO_WEB));
    assert!(lost() > none);

    say(&lab, &["b2", "auto"]);
    lab.xdpctl(["services", IN, "--up", "web"]).success();
    assert_eq!(up(&lab), (0, vec!["drain".to_owned(), "up".to_owned()]));
    assert_eq!(who(&lab, TO_WEB, 16), only("b2"));
    // What the file says comes after a command.
    lab.attach(&web("state = \"down\"", "state = \"down\""));
    say(&lab, &["b2", "auto"]);
    say(&lab, &["b1", "up"]);
    assert_eq!(who(&lab, TO_WEB, 16), only("b1"));

    // No process is there when it ends.
    lab.attach(&web("", ""));
    say(&lab, &["b1", "down", "--for", "1s"]);
    assert_eq!(who(&lab, TO_WEB, 4), only("b2"));
    let deadline = Instant::now() + patient(EVENT);
    while who(&lab, TO_WEB, 8) == only("b2") {
        assert!(Instant::now() < deadline, "b1 stays down");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn path(lab: &Balancer) -> String {
    lab.directory().join("services.toml").to_str().expect("a path in UTF-8").to_owned()
}

/// Mistakes change nothing, and say what there is.
#[test]
fn what_is_not_there_is_told() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.attach(&web("", ""));
    for (arguments, status, told) in [
        (&["backend", IN, "wob", "b1", "up"][..], 1, "there are: web"),
        (&["backend", IN, "web", "b3", "up"], 1, "it has: b1, b2"),
        (&["backend", IN, "web", "b1", "off"], 2, "possible values: up, drain, down, auto"),
        (&["backend", IN, "web", "b1", "auto", "--for", "5s"], 2, "'--for <TIME>' cannot be used"),
        (&["services", IN, "wob"], 1, "there are: web"),
        (&["services", IN, "--up", "wob"], 1, "there are: web"),
        (&["services", "lo"], 1, "not attached"),
    ] {
        let output = lab.xdpctl(arguments.iter());
        output.expect_status(status);
        assert!(output.stderr.contains(told), "{arguments:?}: {}", output.stderr);
    }
    assert_eq!(services(&lab)["backends"][0]["by"], "file");
}

/// Many connections, and everything that may move them: none is lost.
#[test]
fn connections_stay_over_reloads() {
    let mut lab = Balancer::new(Shape::Arms);
    let third = |weight: u32| {
        let mut text = web("", &format!("weight = {weight}"));
        // Nobody is there, and nobody is sent there.
        let _ = write!(
            text,
            "[[service.backend]]\nname = \"b3\"\naddress = \"10.2.0.13\"\nstate = \"down\"\n"
        );
        text
    };
    lab.attach(&web("", ""));
    let _servers = lab.serve_tcp("{4}:80");
    let mut all: Vec<_> = (0..60).map(|_| lab.connect(TO_WEB)).collect();
    for weight in [1, 7, 1, 3] {
        lab.attach(&third(weight));
        assert!(services(&lab)["changed_places"].as_u64() > Some(0));
        for connection in &mut all {
            assert!(connection.answers(), "weight {weight}");
        }
        all.extend((0..10).map(|_| lab.connect(TO_WEB)));
        say(&lab, &["b1", "drain"]);
        lab.attach(&web("", ""));
        say(&lab, &["b1", "auto"]);
        for connection in &mut all {
            assert!(connection.answers(), "after weight {weight}");
        }
    }
    for interface in [IN, OUT] {
        lab.xdpctl(["attach", interface, "--replace", "-c", &path(&lab)]).success();
    }
    for connection in all {
        connection.exchange(2_000, 1);
    }
}

/// A port that is used again does not follow the connection before to a backend that is gone.
#[test]
fn a_reused_port_is_a_new_connection() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.attach(&web("", ""));
    let _servers = lab.serve_tcp("{4}:80");
    let mut ports = Vec::new();
    for port in 41_000..41_016 {
        let connection = lab.connect_from(&format!("10.1.0.2:{port}"), TO_WEB);
        if connection.greeting.server == "b1" {
            ports.push(port);
        }
        connection.reset();
    }
    assert!(!ports.is_empty());
    say(&lab, &["b1", "drain"]);
    for port in ports {
        let connection = lab.connect_from(&format!("10.1.0.2:{port}"), TO_WEB);
        assert_eq!(connection.greeting.server, "b2", "port {port}");
        connection.reset();
    }
}

/// A client keeps its backend over a change of the table, and leaves one that drains.
#[test]
fn affinity() {
    let mut lab = Balancer::new(Shape::Stick);
    let with = |rest: &str, first: &str| {
        let rest =
            format!("mode = \"nat\"\nprotocol = \"tcp\"\nport = 80\nhash = \"source\"\n{rest}");
        let first = format!("name = \"b1\"\n{first}");
        service("web", NAT, &rest, &[("10.2.0.11", &first), ("10.2.0.12", "name = \"b2\"")])
    };
    let affine = "affinity = \"1h\"";
    lab.attach(&with(affine, ""));
    let _servers = lab.serve_tcp("{4}:80");
    let first = who(&lab, TO_WEB, 8);
    assert_eq!(first.len(), 1, "one client, one backend");
    for weight in ["weight = 40", "weight = 1", "weight = 200"] {
        lab.attach(&with(affine, weight));
        assert_eq!(who(&lab, TO_WEB, 8), first, "{weight}");
    }
    let name = first.first().expect("one").clone();
    say(&lab, &[&name, "drain"]);
    assert_ne!(who(&lab, TO_WEB, 8), first);
}

/// UDP has no beginning: a flow stays for a while, and is sent elsewhere at once when its backend is down.
#[test]
fn udp_flows() {
    let mut lab = Balancer::new(Shape::Stick);
    let rest = "mode = \"dsr\"\nprotocol = \"udp\"\nport = 53";
    let mode = rest.replace("dsr", "l2dsr");
    let backends = [("10.2.0.11", "name = \"b1\""), ("10.2.0.12", "name = \"b2\"")];
    lab.attach(&service("web", DSR, &mode, &backends));
    let _servers = lab.serve_udp(&format!("{DSR}:53"));
    let to = format!("{DSR}:53");
    let clients: Vec<_> = (0..12).map(|_| lab.client("0.0.0.0:0")).collect();
    let before: Vec<String> = clients.iter().map(|client| client.ask(&to).server).collect();
    assert!(before.contains(&"b1".to_owned()) && before.contains(&"b2".to_owned()));
    say(&lab, &["b1", "drain"]);
    for (client, before) in clients.iter().zip(&before) {
        assert_eq!(client.ask(&to).server, *before, "it has just been there");
    }
    say(&lab, &["b1", "down"]);
    for client in &clients {
        assert_eq!(client.ask(&to).server, "b2");
    }
    say(&lab, &["b1", "auto"]);
    // They have an entry now.
    for client in &clients {
        assert_eq!(client.ask(&to).server, "b2");
    }
}

/// Under the same name, another address is another backend: it gets neither the connections nor the
/// state of the one before.
#[test]
fn another_address_under_the_same_name_is_another_backend() {
    let mut lab = Balancer::new(Shape::Stick);
    let at = |first: &str, second: &str| {
        service("web", NAT, WEB, &[(first, "name = \"a\""), (second, "name = \"b\"")])
    };
    lab.attach(&at("10.2.0.11", "10.2.0.13"));
    say(&lab, &["b", "down"]);
    let _servers = lab.serve_tcp("{4}:80");
    let mut before: Vec<_> = (0..12).map(|_| lab.connect(TO_WEB)).collect();
    assert!(before.iter().all(|it| it.greeting.server == "b1"));

    // Both names, with the addresses exchanged for another each.
    lab.attach(&at("10.2.0.13", "10.2.0.12"));
    let shown = services(&lab);
    for backend in [0, 1] {
        assert_eq!(shown["backends"][backend]["by"], "file", "{shown}");
        assert_eq!(shown["backends"][backend]["entries"], 0, "{shown}");
    }
    say(&lab, &["a", "down"]);
    assert_eq!(who(&lab, TO_WEB, 8), only("b2"));
    // Those of the backend that is gone end at once, and do not wait for an address where nobody is.
    for connection in &mut before {
        assert!(!connection.answers());
    }
}
