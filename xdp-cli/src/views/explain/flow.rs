//! The addresses, ports and protocol of a frame, as far as a verdict can depend on them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use xdp_common::packet::{NO_SENDER, Network, Packet, Transport, UNKNOWN_PROTOCOL};

/// Addresses, ports and protocol of a frame; `None` for what it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// The name that rules have for the protocol, or else its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

impl Flow {
    /// The flow of a frame that was read.
    pub fn of(packet: &Packet) -> Self {
        let address = |[first, second]: [u64; 2]| -> IpAddr {
            if packet.network == Network::IPV6 {
                Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(second)).into()
            } else {
                Ipv4Addr::from_bits(first as u32).into()
            }
        };
        if packet.network == Network::ARP {
            let sender = (packet.source[0] != NO_SENDER).then(|| address(packet.source));
            return Self { source: sender, protocol: Some("arp".to_owned()), ..Self::default() };
        }
        if !packet.network.is_ip() {
            return Self::default();
        }
        let has_ports = matches!(packet.transport, Transport::TCP | Transport::PORTS);
        let port = |port: u32| has_ports.then_some(port as u16);
        Self {
            source: Some(address(packet.source)),
            source_port: port(packet.source_port),
            destination: Some(address(packet.destination)),
            destination_port: port(packet.destination_port),
            protocol: protocol(packet),
        }
    }
}

fn protocol(packet: &Packet) -> Option<String> {
    let v4 = packet.network == Network::IPV4;
    Some(match packet.protocol {
        UNKNOWN_PROTOCOL => return None,
        1 if v4 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 if !v4 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        number => number.to_string(),
    })
}

/// Such as `192.0.2.1:40000 > 198.51.100.1:53 udp`; empty if the frame has none of it.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let mut parts = Vec::new();
        parts.extend(self.source.map(|source| end(source, self.source_port)));
        if let Some(destination) = self.destination {
            parts.push(format!("> {}", end(destination, self.destination_port)));
        }
        match &self.protocol {
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                parts.push(format!("protocol {number}"));
            }
            protocol => parts.extend(protocol.clone()),
        }
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use xdp_common::packet::{LinkType, parse};

    use super::*;
    use crate::frames::build::{Addresses, Description, Payload, build};

    fn flow(addresses: [&str; 2], payload: Payload) -> Flow {
        let [source, destination] = addresses.map(|text| text.parse().unwrap());
        let addresses = Addresses::new(source, destination).unwrap();
        let bytes = build(&Description { ethernet: None, addresses, payload }).unwrap();
        let mut packet = Packet::LEFT_BEHIND;
        parse(LinkType::Raw, &bytes[..], &mut packet).unwrap();
        Flow::of(&packet)
    }

    #[test]
    fn what_a_packet_says_of_itself() {
        let v4 = ["192.0.2.1", "198.51.100.2"];
        let v6 = ["2001:db8::1", "2001:db8::2"];
        for (addresses, payload, text) in [
            (
                v4,
                Payload::Tcp { ports: [1, 65_535], flags: 2 },
                "192.0.2.1:1 > 198.51.100.2:65535 tcp",
            ),
            (v6, Payload::Udp { ports: [7, 53] }, "[2001:db8::1]:7 > [2001:db8::2]:53 udp"),
            (v4, Payload::Sctp { ports: [7, 8] }, "192.0.2.1:7 > 198.51.100.2:8 sctp"),
            (v4, Payload::Icmp { kind: 8 }, "192.0.2.1 > 198.51.100.2 icmp"),
            (v6, Payload::Icmp { kind: 128 }, "2001:db8::1 > 2001:db8::2 icmpv6"),
            (v4, Payload::Other { protocol: 47 }, "192.0.2.1 > 198.51.100.2 protocol 47"),
            // In IPv4, protocol 58 is not ICMPv6.
            (v4, Payload::Other { protocol: 58 }, "192.0.2.1 > 198.51.100.2 protocol 58"),
        ] {
            assert_eq!(flow(addresses, payload).to_string(), text);
        }
        assert_eq!(Flow::default().to_string(), "");
        let json = serde_json::to_string(&flow(v4, Payload::Udp { ports: [7, 53] })).unwrap();
        assert_eq!(
            json,
            r#"{"source":"192.0.2.1","source_port":7,"destination":"198.51.100.2","destination_port":53,"protocol":"udp"}"#
        );
    }

    #[test]
    fn arp_has_a_sender() {
        let mut frame = vec![2; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([2, 2, 2, 2, 2, 2, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
        let mut packet = Packet::LEFT_BEHIND;
        parse(LinkType::Ethernet, &frame[..], &mut packet).unwrap();
        assert_eq!(Flow::of(&packet).to_string(), "192.0.2.9 arp");
        frame[12] = 0x88;
        parse(LinkType::Ethernet, &frame[..], &mut packet).unwrap();
        assert_eq!(Flow::of(&packet).to_string(), "");
    }
}
