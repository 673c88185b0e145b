//! Connections of TCP through tunnels, over a path that is narrower than their ends know, both ways.

use super::{Hosts, SERVICE, SERVICE6, service};
use crate::lab::server::{Connection, Server};
use crate::lab::tunnel::Tunnels;

const BULK: usize = 1 << 20;
/// Bytes of the longest packet that the router lets through to the client.
const TO_CLIENT: u32 = 1300;

/// Segments of the client do not fit with the outer header, and segments of the backend not through the
/// router behind. Both are told, by their own kernels' account, and all bytes arrive.
#[test]
fn both_ends_of_a_connection_learn_what_fits() {
    let rest = "mode = \"dsr\"\nprotocol = \"tcp\"\nport = 80";
    let hosts = Hosts::new(&format!(
        "{}{}",
        service("v4", SERVICE, rest, &[("10.2.0.2", ""), ("10.3.0.2", "")]),
        service("v6", SERVICE6, rest, &[("2001:db8:2::2", ""), ("2001:db8:3::2", "")]),
    ));
    let roles = ["b1", "b2"];
    let _tunnels = roles.map(|role| Tunnels::open(&hosts.lab, role, 6080));
    // With programs at the receiving ends, GRO can be off: what it has joined, sockets would hand on in
    // one piece.
    let _programs = roles.map(|role| hosts.lab.pass_program(role, "wire"));
    for role in roles {
        let mut gro = hosts.lab.command(role, "ethtool");
        gro.args(["-K", "wire", "gro", "off"]);
        assert!(gro.status().expect("ethtool").success());
        // Replies come from an address that is not the interface's, and packets to it by another.
        for interface in ["all", "default", "wire"] {
            hosts.set(role, &format!("ipv4/conf/{interface}/rp_filter"), "0");
        }
        hosts.ip(role, &format!("address add {SERVICE}/32 dev lo"));
        hosts.ip(role, &format!("address add {SERVICE6}/128 dev lo nodad"));
    }
    for (family, own) in [("-4", "10.1.0.2/32"), ("-6", "2001:db8:1::2/128")] {
        let route = format!("{family} route add {own} dev path0 mtu lock {TO_CLIENT}");
        hosts.ip("hop", &route);
    }
    let client = hosts.lab.namespace("client");
    for (service, own, fits) in
        [(SERVICE, "10.1.0.2", 1480), (SERVICE6, "2001:db8:1::2", 1500 - 40)]
    {
        let to =
            if own.contains(':') { format!("[{service}]:80") } else { format!("{service}:80") };
        let _servers = roles.map(|role| Server::tcp(hosts.lab.namespace(role), &to));
        let connection = Connection::open(client, None, &to);
        let role = connection.greeting.server.clone();
        connection.exchange(BULK, 3);
        assert_eq!(hosts.mtu("client", service), Some(fits), "{to}: the way to the backend");
        assert_eq!(hosts.mtu(&role, own), Some(TO_CLIENT), "{to}: the way to the client");
        // The other one has sent nothing, and was told nothing.
        let other = if role == "b1" { "b2" } else { "b1" };
        assert_eq!(hosts.mtu(other, own), None, "{to}");
    }
}
