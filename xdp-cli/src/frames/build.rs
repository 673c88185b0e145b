//! Builds a frame from a description of its headers: the smallest packet that a host would send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet_packet::icmp::{IcmpType, MutableIcmpPacket};
use pnet_packet::icmpv6::{Icmpv6Type, MutableIcmpv6Packet};
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::ipv4::{self, Ipv4Flags, MutableIpv4Packet};
use pnet_packet::ipv6::MutableIpv6Packet;
use pnet_packet::tcp::{self, MutableTcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket};
use pnet_packet::vlan::MutableVlanPacket;
use pnet_packet::{icmp, icmpv6};

/// ETH_ZLEN, in bytes, without the checksum: senders pad shorter frames.
const SHORTEST: usize = 60;
const ETHERNET: usize = 14;
const TAG: usize = 4;
const TTL: u8 = 64;
/// The fragment header of IPv6 (RFC 8200, section 4.5).
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv6Frag;
/// Where a later fragment begins, in units of eight bytes: behind what an Ethernet link takes of IPv4.
const LATER: u16 = 185;

/// The headers of a frame, as a user describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `None` for a link without a link layer header.
    pub ethernet: Option<Ethernet>,
    pub addresses: Addresses,
    pub payload: Payload,
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    /// The id of an 802.1Q tag; `None` for no tag.
    pub vlan: Option<u16>,
}

/// Source and destination address, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    /// `None` if the addresses are of different families.
    pub const fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            _ => None,
        }
    }
}

/// What the packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Tcp {
        ports: [u16; 2],
        flags: u8,
    },
    Udp {
        ports: [u16; 2],
    },
    Sctp {
        ports: [u16; 2],
    },
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp {
        kind: u8,
    },
    /// Eight zero bytes of another protocol.
    Other {
        protocol: u8,
    },
}

/// What else an IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: u8,
    /// The upper six bits of IPv4's type of service and of IPv6's traffic class (RFC 2474).
    pub dscp: u8,
    /// `None` for a whole packet.
    pub fragment: Option<Fragment>,
    /// Bytes of the packet with its IP header, at least: what the headers leave is filled with zeros.
    pub length: u16,
}

impl Default for Network {
    fn default() -> Self {
        Self { ttl: TTL, dscp: 0, fragment: None, length: 0 }
    }
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    First,
    /// It begins in the middle of what the packet carries.
    Later,
}

impl Fragment {
    /// The offset in units of eight bytes, and whether more follow.
    const fn place(self) -> (u16, bool) {
        match self {
            Self::First => (0, true),
            Self::Later => (LATER, false),
        }
    }
}

impl Payload {
    const fn length(self) -> usize {
        match self {
            Self::Tcp { .. } => MutableTcpPacket::minimum_packet_size(),
            // The common header (RFC 9260, section 3.1), for which pnet has no type.
            Self::Sctp { .. } => 12,
            Self::Udp { .. } | Self::Icmp { .. } | Self::Other { .. } => 8,
        }
    }

    /// The number of it that an IP header has.
    pub const fn protocol(self, addresses: Addresses) -> IpNextHeaderProtocol {
        match (self, addresses) {
            (Self::Tcp { .. }, _) => IpNextHeaderProtocols::Tcp,
            (Self::Udp { .. }, _) => IpNextHeaderProtocols::Udp,
            (Self::Sctp { .. }, _) => IpNextHeaderProtocols::Sctp,
            (Self::Icmp { .. }, Addresses::V4(..)) => IpNextHeaderProtocols::Icmp,
            (Self::Icmp { .. }, Addresses::V6(..)) => IpNextHeaderProtocols::Icmpv6,
            (Self::Other { protocol }, _) => IpNextHeaderProtocol(protocol),
        }
    }
}

/// Bytes of the packet that a description makes, with its IP header, if its length is not said.
pub fn shortest(description: &Description, network: Network, data: &[u8]) -> usize {
    let Description { addresses, payload, .. } = description;
    let carried = if matches!(payload, Payload::Udp { .. }) { data.len() } else { 0 };
    header_length(*addresses, network) + payload.length() + carried
}

/// Builds the frame. Never returns `None`: each header is given a buffer that holds it.
pub fn build(description: &Description) -> Option<Vec<u8>> {
    build_with(description, Network::default(), &[])
}

/// As [`build`], with what else the IP header says, and with what the packet carries over UDP. Other payloads
/// carry nothing.
pub fn build_with(description: &Description, network: Network, data: &[u8]) -> Option<Vec<u8>> {
    let Description { ethernet, addresses, payload } = *description;
    let length = usize::from(network.length).saturating_sub(header_length(addresses, network));
    let transport = transport(addresses, payload, data, length)?;
    let network = ip_packet(addresses, payload, network, &transport)?;
    let Some(ethernet) = ethernet else { return Some(network) };
    let ether_type = match addresses {
        Addresses::V4(..) => EtherTypes::Ipv4,
        Addresses::V6(..) => EtherTypes::Ipv6,
    };
    let mut frame = link(ethernet, ether_type)?;
    debug_assert_eq!(frame.len(), ETHERNET + if ethernet.vlan.is_some() { TAG } else { 0 });
    frame.extend(network);
    frame.resize(frame.len().max(SHORTEST), 0);
    Some(frame)
}

fn link(description: Ethernet, ether_type: EtherType) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ETHERNET];
    let mut ethernet = MutableEthernetPacket::new(&mut bytes)?;
    ethernet.set_source(MacAddr::from(description.source_mac));
    ethernet.set_destination(MacAddr::from(description.destination_mac));
    ethernet.set_ethertype(if description.vlan.is_some() { EtherTypes::Vlan } else { ether_type });
    if let Some(id) = description.vlan {
        let mut bytes_of_tag = [0; TAG];
        let mut tag = MutableVlanPacket::new(&mut bytes_of_tag)?;
        tag.set_vlan_identifier(id);
        tag.set_ethertype(ether_type);
        bytes.extend(bytes_of_tag);
    }
    Some(bytes)
}

/// Bytes in front of the transport layer's header.
const fn header_length(addresses: Addresses, network: Network) -> usize {
    match (addresses, network.fragment) {
        (Addresses::V4(..), _) => MutableIpv4Packet::minimum_packet_size(),
        (Addresses::V6(..), None) => MutableIpv6Packet::minimum_packet_size(),
        (Addresses::V6(..), Some(_)) => MutableIpv6Packet::minimum_packet_size() + FRAGMENT_HEADER,
    }
}

fn ip_packet(
    addresses: Addresses,
    payload: Payload,
    network: Network,
    transport: &[u8],
) -> Option<Vec<u8>> {
    let protocol = payload.protocol(addresses);
    match addresses {
        Addresses::V4(source, destination) => {
            let length = MutableIpv4Packet::minimum_packet_size();
            let mut bytes = vec![0; length];
            let mut packet = MutableIpv4Packet::new(&mut bytes)?;
            packet.set_version(4);
            packet.set_header_length(5);
            packet.set_dscp(network.dscp);
            packet.set_total_length((length + transport.len()) as u16);
            if let Some(fragment) = network.fragment {
                let (offset, more) = fragment.place();
                packet.set_fragment_offset(offset);
                packet.set_flags(if more { Ipv4Flags::MoreFragments } else { 0 });
            }
            packet.set_ttl(network.ttl);
            packet.set_next_level_protocol(protocol);
            packet.set_source(source);
            packet.set_destination(destination);
            packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
            bytes.extend(transport);
            Some(bytes)
        }
        Addresses::V6(source, destination) => {
            let mut bytes = vec![0; MutableIpv6Packet::minimum_packet_size()];
            let mut packet = MutableIpv6Packet::new(&mut bytes)?;
            packet.set_version(6);
            packet.set_traffic_class(network.dscp << 2);
            let extension =
                header_length(addresses, network) - MutableIpv6Packet::minimum_packet_size();
            packet.set_payload_length((extension + transport.len()) as u16);
            packet.set_hop_limit(network.ttl);
            packet.set_next_header(if extension == 0 { protocol } else { FRAGMENT });
            packet.set_source(source);
            packet.set_destination(destination);
            if let Some(fragment) = network.fragment {
                let (offset, more) = fragment.place();
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                bytes.extend([protocol.0, 0, high, low, 0, 0, 0, 1]);
            }
            bytes.extend(transport);
            Some(bytes)
        }
    }
}

/// What an IP packet carries: at least so many bytes.
fn transport(
    addresses: Addresses,
    payload: Payload,
    data: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; payload.length()];
    if matches!(payload, Payload::Udp { .. }) {
        bytes.extend(data);
    }
    bytes.resize(bytes.len().max(length), 0);
    match payload {
        Payload::Tcp { ports: [source, destination], flags } => {
            let mut tcp = MutableTcpPacket::new(&mut bytes)?;
            tcp.set_source(source);
            tcp.set_destination(destination);
            tcp.set_data_offset(5);
            tcp.set_flags(flags);
            tcp.set_window(u16::MAX);
            let sum = match addresses {
                Addresses::V4(from, to) => tcp::ipv4_checksum(&tcp.to_immutable(), &from, &to),
                Addresses::V6(from, to) => tcp::ipv6_checksum(&tcp.to_immutable(), &from, &to),
            };
            tcp.set_checksum(sum);
        }
        Payload::Udp { ports: [source, destination] } => {
            let length = bytes.len() as u16;
            let mut udp = MutableUdpPacket::new(&mut bytes)?;
            udp.set_source(source);
            udp.set_destination(destination);
            udp.set_length(length);
            let sum = match addresses {
                Addresses::V4(from, to) => udp::ipv4_checksum(&udp.to_immutable(), &from, &to),
                Addresses::V6(from, to) => udp::ipv6_checksum(&udp.to_immutable(), &from, &to),
            };
            udp.set_checksum(sum);
        }
        Payload::Sctp { ports: [source, destination] } => {
            bytes[..2].copy_from_slice(&source.to_be_bytes());
            bytes[2..4].copy_from_slice(&destination.to_be_bytes());
        }
        Payload::Icmp { kind } => match addresses {
            Addresses::V4(..) => {
                let mut packet = MutableIcmpPacket::new(&mut bytes)?;
                packet.set_icmp_type(IcmpType(kind));
                packet.set_checksum(icmp::checksum(&packet.to_immutable()));
            }
            Addresses::V6(from, to) => {
                let mut packet = MutableIcmpv6Packet::new(&mut bytes)?;
                packet.set_icmpv6_type(Icmpv6Type(kind));
                packet.set_checksum(icmpv6::checksum(&packet.to_immutable(), &from, &to));
            }
        },
        Payload::Other { .. } => {}
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(addresses: Addresses, payload: Payload, vlan: Option<u16>) -> Vec<u8> {
        let (source_mac, destination_mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ethernet = Some(Ethernet { source_mac, destination_mac, vlan });
        build(&Description { ethernet, addresses, payload }).unwrap()
    }

    const V4: Addresses =
        Addresses::V4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 2));
    const V6: Addresses = Addresses::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);

    #[test]
    fn a_frame_is_what_was_said_of_it() {
        let tcp = built(V4, Payload::Tcp { ports: [49152, 443], flags: 0x02 }, None);
        assert_eq!(
            crate::views::explain::hex(&tcp),
            "0200000000020200000000010800450000280000000040068e99c0000201c6336402\
             c00001bb00000000000000005002ffff01f00000000000000000"
        );
    }

    #[test]
    fn what_udp_carries_is_behind_its_header() {
        for (addresses, sum) in [(V4, 0x4f3b), (V6, 0x3b72)] {
            let payload = Payload::Udp { ports: [1, 2] };
            let packet = Description { ethernet: None, addresses, payload };
            let packet = build_with(&packet, Network::default(), b"abc").unwrap();
            let (_, udp) = packet.split_at(packet.len() - 11);
            assert_eq!(udp[..6], [0, 1, 0, 2, 0, 11]);
            assert_eq!(u16::from_be_bytes([udp[6], udp[7]]), sum);
            assert_eq!(udp[8..], *b"abc");
        }
    }

    #[test]
    fn without_a_link_layer_it_is_the_packet_alone() {
        let payload = Payload::Tcp { ports: [49152, 443], flags: 0x02 };
        let packet = build(&Description { ethernet: None, addresses: V4, payload }).unwrap();
        assert_eq!(packet, built(V4, payload, None)[ETHERNET..ETHERNET + 40]);
    }

    #[test]
    fn every_kind_reads_back_as_itself() {
        use xdp_common::filter::order::Scratch;
        use xdp_common::packet::{LinkType, Network, Transport, UNTAGGED};

        let ports = [1, 65535];
        let kinds = [
            (Payload::Tcp { ports, flags: 0x12 }, 6, Transport::TCP),
            (Payload::Udp { ports }, 17, Transport::PORTS),
            (Payload::Sctp { ports }, 132, Transport::PORTS),
            (Payload::Icmp { kind: 200 }, 0, Transport::ICMP),
            (Payload::Other { protocol: 47 }, 47, Transport::PLAIN),
        ];
        for (payload, protocol, transport) in kinds {
            for (addresses, network, icmp) in [(V4, Network::IPV4, 1), (V6, Network::IPV6, 58)] {
                for vlan in [None, Some(4095)] {
                    let mut scratch = Scratch::LEFT_BEHIND;
                    scratch.read(LinkType::Ethernet, &built(addresses, payload, vlan)[..]);
                    assert_eq!(scratch.malformed, 0, "{payload:?}");
                    let read = scratch.packet;
                    let protocol = if protocol == 0 { icmp } else { protocol };
                    assert_eq!(
                        (read.network, read.transport, read.protocol),
                        (network, transport, protocol)
                    );
                    assert_eq!(read.vlan, vlan.map_or(UNTAGGED, u32::from));
                    assert_eq!(read.source_mac(), 0x0200_0000_0001);
                    if transport == Transport::ICMP {
                        assert_eq!(read.l4_octet, 200);
                    }
                    if matches!(transport, Transport::PORTS | Transport::TCP) {
                        assert_eq!((read.source_port, read.destination_port), (1, 65535));
                    }
                }
            }
        }
    }

    #[test]
    fn what_else_an_ip_header_says_reads_back() {
        use xdp_common::filter::order::Scratch;
        use xdp_common::packet::{LinkType, Transport};

        let tcp = Payload::Tcp { ports: [1, 2], flags: 2 };
        for (addresses, shortest_of_tcp) in [(V4, 40), (V6, 60)] {
            for (fragment, payload, transport) in [
                (None, tcp, Transport::TCP),
                (Some(Fragment::First), tcp, Transport::TCP),
                (Some(Fragment::Later), Payload::Other { protocol: 6 }, Transport::FRAGMENT),
            ] {
                for length in [0, 61, 1500, 9000] {
                    let network = Network { ttl: 3, dscp: 46, fragment, length };
                    let description = Description { ethernet: None, addresses, payload };
                    let packet = build_with(&description, network, &[]).unwrap();
                    let least = shortest(&description, network, &[]);
                    assert_eq!(packet.len(), least.max(length.into()));
                    let mut scratch = Scratch::LEFT_BEHIND;
                    scratch.read(LinkType::Raw, &packet[..]);
                    assert_eq!(scratch.malformed, 0, "{network:?}");
                    let read = scratch.packet;
                    assert_eq!((read.ttl, read.dscp, read.transport), (3, 46, transport));
                    assert_eq!(read.length() as usize, packet.len());
                }
            }
            let description = Description { ethernet: None, addresses, payload: tcp };
            assert_eq!(shortest(&description, Network::default(), &[]), shortest_of_tcp);
        }
    }

    /// The checksum is over what follows the header, too.
    #[test]
    fn a_longer_packet_has_its_checksum() {
        let payload = Payload::Udp { ports: [1, 2] };
        let packet = Description { ethernet: None, addresses: V4, payload };
        let network = Network { length: 1000, ..Network::default() };
        let packet = build_with(&packet, network, b"abc").unwrap();
        let udp = udp::UdpPacket::new(&packet[20..]).unwrap();
        assert_eq!((udp.get_length(), packet.len()), (980, 1000));
        let Addresses::V4(from, to) = V4 else { unreachable!("an IPv4 address") };
        assert_eq!(udp.get_checksum(), udp::ipv4_checksum(&udp, &from, &to));
    }
}
