//! Services whose clients and backends are on a VLAN, with its interfaces on both sides.

use super::{once_quiet, packets, service, to_each};
use crate::lab::balancer::*;
use crate::lab::server::Server;
use crate::lab::tagged::Tagged;

const VLAN_NAT: &str = "192.0.2.65";
const VLAN_L2DSR: &str = "192.0.2.66";
const BULK: usize = 512 << 10;

/// Gives each host an interface on VLAN 100 of the only wire, for as long as what is returned lives:
/// clients in 10.11.0.0/24, backends in 10.12.0.0/24.
fn on_vlan(lab: &Balancer) -> Vec<Tagged> {
    let ip = |role: &'static str, arguments: &str| {
        lab.lab().ip(role, arguments.split_whitespace());
    };
    let mut tagged = Vec::new();
    for (role, wire, addresses) in [
        ("client", ("wire", CLIENT_MAC), &["10.11.0.2/24"][..]),
        ("dut", (IN, IN_MAC), &["10.11.0.1/24", "10.12.0.1/24"]),
        ("b1", ("wire", B1_MAC), &["10.12.0.11/24"]),
        ("b2", ("wire", B2_MAC), &["10.12.0.12/24"]),
    ] {
        tagged.push(Tagged::open(lab.lab(), role, wire, 100, "tagged0"));
        for address in addresses {
            ip(role, &format!("address add {address} dev tagged0"));
        }
    }
    ip("client", "route add 192.0.2.64/26 via 10.11.0.1");
    for role in BACKENDS {
        ip(role, "route add 10.11.0.0/24 via 10.12.0.1");
        ip(role, &format!("address add {VLAN_L2DSR}/32 dev lo"));
        lab.lab().namespace(role).set("ipv4/conf/tagged0/rp_filter", "0");
        lab.lab().namespace(role).set("ipv4/conf/tagged0/arp_ignore", "1");
    }
    lab.lab().namespace("dut").set("ipv4/conf/tagged0/send_redirects", "0");
    tagged
}

fn servers(lab: &Balancer) -> Vec<Server> {
    [("b1", "10.12.0.11:80"), ("b2", "10.12.0.12:80")]
        .map(|(role, at)| Server::tcp(lab.lab().namespace(role), at))
        .into()
}

/// With fixed next hops, tagged frames are served by the program alone, and keep their tags.
#[test]
fn with_fixed_next_hops() {
    let mut lab = Balancer::new(Shape::Stick);
    let _tagged = on_vlan(&lab);
    let macs = [B1_MAC, B2_MAC].map(|mac| format!("next_hop = \"{mac}\""));
    let backends = [("10.12.0.11", &*macs[0]), ("10.12.0.12", &*macs[1])];
    let of = |mode: &str| format!("mode = \"{mode}\"\nprotocol = \"tcp\"\nport = 80");
    lab.attach(&format!(
        "[services]\nnext_hop = \"{CLIENT_MAC}\"\n{}{}",
        service("nat", VLAN_NAT, &of("nat"), &backends),
        service("l2dsr", VLAN_L2DSR, &of("l2dsr"), &backends),
    ));
    let _servers = servers(&lab);
    let _of_l2dsr =
        BACKENDS.map(|role| Server::tcp(lab.lab().namespace(role), &format!("{VLAN_L2DSR}:80")));
    for (name, address) in [("nat", VLAN_NAT), ("l2dsr", VLAN_L2DSR)] {
        for connection in to_each(&lab, &format!("{address}:80")) {
            assert_eq!(connection.greeting.client.ip().to_string(), "10.11.0.2");
            connection.exchange(BULK, 5);
        }
        let sample = once_quiet(&lab, IN);
        let served = sample.rule(name).count.packets;
        assert!(served > 2 * BULK as u64 / 1460, "{name}: {sample:#?}");
        assert_eq!(packets(&sample, "tx"), sample.reasons["service"].packets, "{name}");
    }
}

/// By routes, which lead to the interface of the VLAN, the kernel's stack sends them on.
#[test]
fn by_routes() {
    let mut lab = Balancer::new(Shape::Stick);
    let _tagged = on_vlan(&lab);
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    lab.attach(&service("nat", VLAN_NAT, rest, &[("10.12.0.11", ""), ("10.12.0.12", "")]));
    let _servers = servers(&lab);
    for connection in to_each(&lab, &format!("{VLAN_NAT}:80")) {
        assert_eq!(connection.greeting.client.ip().to_string(), "10.11.0.2");
        connection.exchange(BULK, 5);
    }
    let sample = lab.sample(IN);
    assert!(sample.rule("nat").count.packets > 2 * BULK as u64 / 1460, "{sample:#?}");
    assert_eq!(["tx", "drop"].map(|verdict| packets(&sample, verdict)), [0; 2]);
    let shown = lab.xdpctl(["services", IN, "--json"]).json();
    assert!(shown[0]["slow"].as_u64() > Some(0), "{shown}");
}
