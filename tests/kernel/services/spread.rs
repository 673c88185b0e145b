//! Flows are spread over backends by their weights, alike on every interface with the same seed.

use std::collections::BTreeMap;

use super::{MARK, service};
use crate::lab::balancer::*;
use crate::lab::frame::udp4;

const FLOWS: u16 = 4000;
/// Of chi-square with one degree of freedom, a hundred thousandth lies above.
const UNLIKELY: f64 = 19.5;

/// Sends a datagram of each flow, and says which backend it comes to.
fn backends_of(
    lab: &Balancer,
    from: &crate::lab::Port,
    mac: pnet_base::MacAddr,
    port: u16,
) -> BTreeMap<u16, &'static str> {
    let ports = BACKENDS.map(|role| (role, lab.port(role)));
    for flow in 0..FLOWS {
        let frame = udp4(&format!("10.1.{}.9", flow % 250), NAT, 1000 + flow, port);
        from.send(&frame.payload(MARK).source_mac(CLIENT_MAC).destination_mac(mac).build());
    }
    let mut found = BTreeMap::new();
    while found.len() < FLOWS.into() {
        let before = found.len();
        for (role, port) in &ports {
            for frame in port.recv_all(std::time::Duration::from_millis(20)) {
                if frame.ends_with(MARK) {
                    let flow = u16::from_be_bytes([frame[34], frame[35]]) - 1000;
                    assert_eq!(found.insert(flow, *role), None, "flow {flow} comes twice");
                }
            }
        }
        assert!(found.len() > before, "{before} of {FLOWS} flows come");
    }
    found
}

/// How far the shares are from the weights (chi-square).
fn distance(found: &BTreeMap<u16, &str>, weights: [f64; 2]) -> f64 {
    let all: f64 = weights.iter().sum();
    let of = |role| found.values().filter(|&&it| it == role).count() as f64;
    let both = BACKENDS.iter().zip(weights).map(|(role, weight)| {
        let expected = f64::from(FLOWS) * weight / all;
        (of(*role) - expected).powi(2) / expected
    });
    both.sum()
}

#[test]
fn by_weight_and_by_seed() {
    let mut lab = Balancer::new(Shape::Arms);
    lab.meet();
    let weights = [[1, 1], [3, 1], [5, 95]];
    let with_seed = |seed: &str| {
        let mut text = format!("[services]\nseed = \"{seed}\"\n");
        for (number, [one, other]) in weights.iter().enumerate() {
            let rest = format!(
                "mode = \"nat\"\nprotocol = \"udp\"\nport = {}\ntable = 65537",
                80 + number
            );
            let [one, other] = [one, other].map(|weight| format!("weight = {weight}"));
            let backends = [("10.2.0.11", &*one), ("10.2.0.12", &*other)];
            text += &service(&format!("by{number}"), NAT, &rest, &backends);
        }
        text
    };
    // Other hosts answer nothing to what they get.
    let bind = |port| std::net::UdpSocket::bind(("0.0.0.0", port)).expect("a socket");
    let _sockets: Vec<_> = BACKENDS
        .iter()
        .flat_map(|role| [80, 81, 82].map(|port| lab.lab().namespace(role).enter(|| bind(port))))
        .collect();
    let (client, inside) = (lab.port("client"), lab.port("b2"));
    let seed = "DFTTgNYuodmggDl6";
    lab.attach(&with_seed(seed));
    let mut even = BTreeMap::new();
    for (number, weight) in weights.iter().enumerate() {
        let port = 80 + number as u16;
        let found = backends_of(&lab, &client, IN_MAC, port);
        let distance = distance(&found, weight.map(f64::from));
        assert!(distance < UNLIKELY, "{weight:?}: {distance}");
        if number == 0 {
            even = found;
        }
    }
    assert_eq!(backends_of(&lab, &inside, OUT_MAC, 80), even, "by the other interface");
    lab.attach(&with_seed("AFTTgNYuodmggDl6"));
    let other = backends_of(&lab, &client, IN_MAC, 80);
    let moved = even.iter().filter(|&(flow, role)| other[flow] != *role).count();
    assert!(
        (1500..2500).contains(&moved),
        "with another seed, {moved} of {FLOWS} flows go elsewhere"
    );
}
