//! Compares what the product reads of a frame with what the model reads, field by field. The fuzz
//! target `packet` includes this file.

use std::net::IpAddr;

use xdp_common::filter::order::Scratch;
use xdp_common::packet::{
    Fragment, LinkType, NO_SENDER, Network, Packet, Transport, UNKNOWN_PROTOCOL, UNTAGGED,
};

use super::packet::{self, Frame, Payload};

/// Panics where the two readings differ, of Ethernet and of what has no link layer header.
pub fn compare(frame: &[u8]) {
    compare_read(LinkType::Ethernet, frame, packet::read(frame));
    compare_read(LinkType::Raw, frame, packet::read_raw(frame));
}

fn compare_read(link_type: LinkType, frame: &[u8], expected: Option<Frame>) {
    let mut scratch = Scratch::LEFT_BEHIND;
    scratch.read(link_type, frame);
    assert_eq!(scratch.length as usize, frame.len());
    assert_eq!(
        scratch.malformed != 0,
        expected.is_none(),
        "malformed, and the model: {expected:?}"
    );
    let Some(expected) = expected else { return };
    let found = scratch.packet;
    let mac = |number: u64| -> Option<[u8; 6]> {
        // A number of more than 48 bits stands for no address.
        (number >> 48 == 0).then(|| number.to_be_bytes()[2..].try_into().unwrap())
    };
    assert_eq!(mac(found.destination_mac()), expected.destination_mac);
    assert_eq!(mac(found.source_mac()), expected.source_mac);
    assert_eq!(found.vlan, expected.vlan.map_or(UNTAGGED, u32::from));
    match expected.payload {
        Payload::Other => assert_eq!(found.network, Network::OTHER),
        Payload::Arp(sender) => {
            assert_eq!(found.network, Network::ARP);
            let sender = sender.map_or(NO_SENDER, |sender| sender.to_bits().into());
            assert_eq!(found.source[0], sender, "ARP's sender");
        }
        Payload::Ip(expected) => compare_packets(&found, &expected),
    }
}

fn compare_packets(found: &Packet, expected: &packet::Packet) {
    let over_ipv4 = expected.source.is_ipv4();
    assert_eq!(found.network, if over_ipv4 { Network::IPV4 } else { Network::IPV6 });
    let same = |found: [u64; 2], expected: IpAddr| match expected {
        IpAddr::V4(address) => assert_eq!(found[0], u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            assert_eq!(u128::from(found[0]) << 64 | u128::from(found[1]), address.to_bits());
        }
    };
    same(found.source, expected.source);
    same(found.destination, expected.destination);
    let number = |place: usize| u32::try_from(place).unwrap();
    assert_eq!(found.parts.l3, number(expected.parts.l3));
    assert_eq!(found.parts.l4, number(expected.parts.l4));
    assert_eq!(found.parts.end, number(expected.parts.end));
    assert_eq!(found.dscp, u32::from(expected.dscp));
    assert_eq!(found.ttl, u32::from(expected.ttl));
    let fragment = match (expected.first_fragment, expected.later_fragment) {
        (false, false) => Fragment::NONE,
        (true, false) => Fragment::FIRST,
        (_, true) => Fragment::LATER,
    };
    assert_eq!(found.fragment, fragment);
    assert_eq!(found.protocol, expected.protocol.map_or(UNKNOWN_PROTOCOL, u32::from));
    assert_eq!(found.transport == Transport::FRAGMENT, expected.later_fragment);
    let has_ports = matches!(found.transport, Transport::PORTS | Transport::TCP);
    let ports = has_ports.then_some((found.source_port, found.destination_port));
    let wide = |(source, destination): (u16, u16)| (source.into(), destination.into());
    assert_eq!(ports, expected.ports.map(wide));
    let payload = has_ports.then_some(found.parts.payload);
    assert_eq!(payload, expected.parts.payload.map(number));
    let l4_octet = |transport| (found.transport == transport).then_some(found.l4_octet);
    assert_eq!(l4_octet(Transport::TCP), expected.tcp_flags.map(u32::from));
    assert_eq!(l4_octet(Transport::ICMP), expected.icmp_type.map(u32::from));
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::model::config::Config;
    use crate::model::dice::Dice;
    use crate::model::dice::seed;
    use crate::model::frames::{Edges, frame, raw_packet, to_cut};

    #[test]
    fn frames_are_read_alike() {
        let mut dice = Dice::new(seed());
        let edges = Edges::of(&Config::default());
        for _ in 0..100_000 {
            compare(&frame(&mut dice, &edges));
            compare(&raw_packet(&mut dice, &edges));
        }
    }

    #[test]
    fn frames_cut_at_each_byte_are_read_alike() {
        let mut dice = Dice::new(seed());
        let edges = Edges::of(&Config::default());
        for _ in 0..500 {
            let frame = to_cut(&mut dice, &edges);
            for end in 0..=frame.len() {
                compare(&frame[..end]);
                // Most frames without their Ethernet header are packets of a link that has none.
                compare(frame[..end].get(14..).unwrap_or_default());
            }
        }
    }
}
