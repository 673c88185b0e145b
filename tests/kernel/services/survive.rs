//! Connections live on while files have backends come and drain, and are told where their backend went.

use super::service;
use crate::lab::balancer::{Balancer, NAT, Shape};
use crate::lab::server::Connection;

const TO: &str = "192.0.2.1:80";
const CONNECTIONS: usize = 24;

/// The service with these backends: of each, its number and the rest of its table.
fn with(backends: &[(u8, &str)]) -> String {
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    let addresses: Vec<String> =
        backends.iter().map(|(number, _)| format!("10.2.0.1{number}")).collect();
    let backends: Vec<(&str, &str)> =
        addresses.iter().zip(backends).map(|(address, (_, rest))| (&**address, *rest)).collect();
    service("web", NAT, rest, &backends)
}

#[track_caller]
fn open(lab: &Balancer) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| lab.connect(TO)).collect()
}

/// How many of them are with that backend.
fn of(connections: &[Connection], role: &str) -> usize {
    connections.iter().filter(|it| it.greeting.server == role).count()
}

#[track_caller]
fn assert_all_live(connections: &mut [Connection], after: &str) {
    for connection in connections {
        assert!(connection.answers(), "after {after}, lost: {:?}", connection.greeting);
    }
}

#[test]
fn connections_keep_the_backends_that_they_have() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let _servers = lab.serve_tcp("{4}:80");
    lab.attach(&with(&[(1, "")]));
    let mut live = open(&lab);
    assert_eq!(of(&live, "b1"), CONNECTIONS);

    lab.attach(&with(&[(1, ""), (2, "")]));
    assert_all_live(&mut live, "a second backend came");
    let new = open(&lab);
    assert!(of(&new, "b1") > 0 && of(&new, "b2") > 0, "new ones go to both");
    live.extend(new);
    lab.attach(&with(&[(1, "weight = 9"), (2, "")]));
    assert_all_live(&mut live, "another weight");

    lab.attach(&with(&[(1, "state = \"drain\""), (2, "")]));
    assert_all_live(&mut live, "b1 began to drain");
    let new = open(&lab);
    assert_eq!(of(&new, "b2"), CONNECTIONS, "none is new at a backend that drains");
    live.extend(new);

    // Those of a backend that is gone are told so, by the one that their packets come to.
    lab.attach(&with(&[(2, "")]));
    let (mut lost, mut kept): (Vec<_>, Vec<_>) =
        live.into_iter().partition(|it| it.greeting.server == "b1");
    assert!(lost.len() >= CONNECTIONS, "{}", lost.len());
    assert!(!lost.iter_mut().any(Connection::answers));
    assert_all_live(&mut kept, "b1 was gone");
}
