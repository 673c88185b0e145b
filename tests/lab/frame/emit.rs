//! From a [`Frame`]'s parts to its bytes, layer by layer from the inside out.

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet_base::MacAddr;
use pnet_packet::MutablePacket;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperation, MutableArpPacket};
use pnet_packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet_packet::icmp::{self, IcmpCode, IcmpPacket, IcmpType, MutableIcmpPacket};
use pnet_packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Type, MutableIcmpv6Packet};
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols as Protocols};
use pnet_packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet_packet::ipv6::{MutableExtensionPacket, MutableFragmentPacket, MutableIpv6Packet};
use pnet_packet::tcp::{self, MutableTcpPacket, TcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket, UdpPacket};
use pnet_packet::vlan::{ClassOfService, MutableVlanPacket};

use super::{Carried, Carrier, Extension, Frame, Ipv4, Ipv6, Network, Transport};

const IPV4_CHECKSUM_WORD: usize = 5;

/// Both addresses, for checksums over a pseudo header.
#[derive(Clone, Copy)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

pub fn frame(frame: &Frame) -> Vec<u8> {
    let (mut ethertype, mut bytes) = match &frame.network {
        Network::Other { ethertype, payload } => (EtherType::new(*ethertype), payload.clone()),
        Network::Arp { operation, sender, target } => {
            (EtherTypes::Arp, arp(frame.source_mac, *operation, *sender, *target))
        }
        Network::Ipv4(ip) => (EtherTypes::Ipv4, ipv4(ip)),
        Network::Ipv6(ip) => (EtherTypes::Ipv6, ipv6(ip)),
    };
    for carrier in frame.carriers.iter().rev() {
        (ethertype, bytes) = carry(carrier, ethertype, &bytes);
    }
    for &(tpid, tci) in frame.tags.iter().rev() {
        let mut buffer = header(MutableVlanPacket::minimum_packet_size(), &bytes);
        let mut tag = MutableVlanPacket::new(&mut buffer).expect("a whole header");
        tag.set_priority_code_point(ClassOfService::new((tci >> 13) as u8));
        tag.set_drop_eligible_indicator((tci >> 12) as u8 & 1);
        tag.set_vlan_identifier(tci & 0x0fff);
        tag.set_ethertype(ethertype);
        (ethertype, bytes) = (EtherType::new(tpid), buffer);
    }
    let mut buffer = header(MutableEthernetPacket::minimum_packet_size(), &bytes);
    let mut ethernet = MutableEthernetPacket::new(&mut buffer).expect("a whole header");
    ethernet.set_source(frame.source_mac);
    ethernet.set_destination(frame.destination_mac);
    ethernet.set_ethertype(ethertype);

    for (offset, bytes) in &frame.patches {
        buffer[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    if let Some(length) = frame.truncate {
        assert!(length <= buffer.len(), "only {} bytes to truncate to {length}", buffer.len());
        buffer.truncate(length);
    }
    buffer.resize(buffer.len() + frame.pad, 0);
    buffer
}

/// Puts a packet of that type into its carrier. pnet cannot write these headers.
fn carry(carrier: &Carrier, carried: EtherType, packet: &[u8]) -> (EtherType, Vec<u8>) {
    match carrier {
        Carrier::Pppoe { protocol } => {
            let usual = match carried {
                EtherTypes::Ipv4 => [0x00, 0x21],
                EtherTypes::Ipv6 => [0x00, 0x57],
                EtherTypes::Mpls => [0x02, 0x81],
                _ => [0xc0, 0x21],
            };
            let protocol = protocol.as_deref().unwrap_or(&usual);
            let length = u16::try_from(protocol.len() + packet.len()).expect("fits in a frame");
            let [upper, lower] = length.to_be_bytes();
            let header = [0x11, 0x00, 0x00, 0x2a, upper, lower];
            (EtherTypes::PppoeSession, [&header, protocol, packet].concat())
        }
        Carrier::Mpls { labels } => {
            let mut bytes = Vec::new();
            for (at, label) in labels.iter().enumerate() {
                let bottom = u32::from(at + 1 == labels.len());
                bytes.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
            }
            bytes.extend(packet);
            (EtherTypes::Mpls, bytes)
        }
    }
}

/// Room for a header, and the bytes behind it.
fn header(length: usize, behind: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; length];
    buffer.extend_from_slice(behind);
    buffer
}

fn arp(mac: MacAddr, operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut buffer = vec![0; MutableArpPacket::minimum_packet_size()];
    let mut arp = MutableArpPacket::new(&mut buffer).expect("a whole header");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperation::new(operation));
    arp.set_sender_hw_addr(mac);
    arp.set_sender_proto_addr(sender);
    arp.set_target_proto_addr(target);
    buffer
}

fn ipv4(ip: &Ipv4) -> Vec<u8> {
    let carried = carried(&ip.carried, Addresses::V4(ip.source, ip.destination));
    let header_length = MutableIpv4Packet::minimum_packet_size() + ip.options.len();
    let mut buffer = header(header_length, &carried);
    let total_length = u16::try_from(buffer.len()).expect("fits in one packet");

    let mut packet = MutableIpv4Packet::new(&mut buffer).expect("a whole header");
    packet.set_version(ip.version);
    packet.set_header_length(ip.ihl.unwrap_or((header_length / 4) as u8));
    packet.set_dscp(ip.dscp);
    packet.set_total_length(ip.total_length.unwrap_or(total_length));
    let more = if ip.more_fragments { Ipv4Flags::MoreFragments } else { 0 };
    let whole = if ip.dont_fragment { Ipv4Flags::DontFragment } else { 0 };
    packet.set_flags(more | whole);
    packet.set_fragment_offset(ip.fragment_offset);
    packet.set_ttl(ip.ttl);
    packet.set_next_level_protocol(protocol(&ip.carried));
    packet.set_source(ip.source);
    packet.set_destination(ip.destination);
    packet.packet_mut()[20..header_length].copy_from_slice(&ip.options);
    // Over the real header, also where its length field is made wrong.
    let checksum =
        pnet_packet::util::checksum(&packet.packet_mut()[..header_length], IPV4_CHECKSUM_WORD);
    packet.set_checksum(checksum);
    buffer
}

fn ipv6(ip: &Ipv6) -> Vec<u8> {
    let mut bytes = carried(&ip.carried, Addresses::V6(ip.source, ip.destination));
    let mut next = protocol(&ip.carried);
    for kind in ip.extensions.iter().rev() {
        bytes = extension(kind, next, &bytes);
        next = number(kind);
    }
    let payload_length = u16::try_from(bytes.len()).expect("fits in one packet");

    let mut buffer = header(MutableIpv6Packet::minimum_packet_size(), &bytes);
    let mut packet = MutableIpv6Packet::new(&mut buffer).expect("a whole header");
    packet.set_version(ip.version);
    packet.set_traffic_class(ip.dscp << 2 | ip.ecn);
    packet.set_payload_length(ip.payload_length.unwrap_or(payload_length));
    packet.set_next_header(next);
    packet.set_hop_limit(ip.hop_limit);
    packet.set_source(ip.source);
    packet.set_destination(ip.destination);
    buffer
}

/// The number by which the header before names an extension header.
fn number(extension: &Extension) -> IpNextHeaderProtocol {
    IpNextHeaderProtocol::new(match extension {
        Extension::HopByHop => 0,
        Extension::Routing => 43,
        Extension::Fragment { .. } => 44,
        Extension::Authentication => 51,
        Extension::DestinationOptions => 60,
        Extension::Mobility => 135,
        Extension::Hip => 139,
        Extension::Shim6 => 140,
        Extension::Long { number, .. } => *number,
    })
}

fn extension(kind: &Extension, next: IpNextHeaderProtocol, behind: &[u8]) -> Vec<u8> {
    if let Extension::Fragment { offset, more } = kind {
        let mut buffer = header(MutableFragmentPacket::minimum_packet_size(), behind);
        let mut packet = MutableFragmentPacket::new(&mut buffer).expect("a whole header");
        packet.set_next_header(next);
        packet.set_fragment_offset_with_flags(offset << 3 | u16::from(*more));
        packet.set_id(0x1ab);
        return buffer;
    }
    // (Whole length, the length field.) AH alone counts in units of 4 bytes, less two of them (RFC
    // 4302 2.2); the others in units of 8, not counting the first (RFC 8200 4.3).
    let (length, field) = match kind {
        Extension::Authentication => (24, 4),
        Extension::Long { units, .. } => (8 + 8 * usize::from(*units), *units),
        _ => (8, 0),
    };
    let mut buffer = header(length, behind);
    let mut packet = MutableExtensionPacket::new(&mut buffer).expect("a whole header");
    packet.set_next_header(next);
    packet.set_hdr_ext_len(field);
    if matches!(kind, Extension::HopByHop | Extension::DestinationOptions) {
        // PadN over the remaining six bytes (RFC 8200 4.2).
        packet.packet_mut()[2] = 1;
        packet.packet_mut()[3] = 4;
    }
    buffer
}

fn protocol(carried: &Carried) -> IpNextHeaderProtocol {
    match (carried.protocol, &carried.transport) {
        (Some(number), _) => IpNextHeaderProtocol::new(number),
        (None, Transport::Udp { .. }) => Protocols::Udp,
        (None, Transport::Tcp { .. }) => Protocols::Tcp,
        (None, Transport::Sctp { .. }) => Protocols::Sctp,
        (None, Transport::Icmp { .. }) => Protocols::Icmp,
        (None, Transport::Icmpv6 { .. }) => Protocols::Icmpv6,
        (None, Transport::None { protocol }) => IpNextHeaderProtocol::new(*protocol),
    }
}

fn carried(carried: &Carried, addresses: Addresses) -> Vec<u8> {
    let payload = &carried.payload;
    match carried.transport {
        Transport::Udp { source, destination } => udp(source, destination, payload, addresses),
        Transport::Tcp { source, destination, flags, data_offset } => {
            let mut buffer = header(MutableTcpPacket::minimum_packet_size(), payload);
            let mut packet = MutableTcpPacket::new(&mut buffer).expect("a whole header");
            packet.set_source(source);
            packet.set_destination(destination);
            packet.set_sequence(1);
            packet.set_data_offset(data_offset);
            packet.set_flags(flags);
            packet.set_window(0xffff);
            let read = TcpPacket::new(packet.packet_mut()).expect("a whole header");
            let checksum = match addresses {
                Addresses::V4(from, to) => tcp::ipv4_checksum(&read, &from, &to),
                Addresses::V6(from, to) => tcp::ipv6_checksum(&read, &from, &to),
            };
            packet.set_checksum(checksum);
            buffer
        }
        Transport::Sctp { source, destination } => {
            // pnet has no SCTP: ports, verification tag, checksum (RFC 9260 3.1). The checksum
            // stays zero: nothing here looks at it.
            let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            let mut buffer = header(12, payload);
            buffer[..4].copy_from_slice(&ports);
            buffer[4..8].copy_from_slice(&[0, 0, 0, 1]);
            buffer
        }
        Transport::Icmp { kind, code } => {
            // Type, code, checksum, and four bytes that depend on the type.
            let mut buffer = header(8, payload);
            let mut packet = MutableIcmpPacket::new(&mut buffer).expect("a whole header");
            packet.set_icmp_type(IcmpType::new(kind));
            packet.set_icmp_code(IcmpCode::new(code));
            let read = IcmpPacket::new(packet.packet_mut()).expect("a whole header");
            let checksum = icmp::checksum(&read);
            packet.set_checksum(checksum);
            buffer
        }
        Transport::Icmpv6 { kind, code } => {
            let mut buffer = header(8, payload);
            let mut packet = MutableIcmpv6Packet::new(&mut buffer).expect("a whole header");
            packet.set_icmpv6_type(Icmpv6Type::new(kind));
            packet.set_icmpv6_code(Icmpv6Code::new(code));
            if let Addresses::V6(from, to) = addresses {
                let read = Icmpv6Packet::new(packet.packet_mut()).expect("a whole header");
                let checksum = icmpv6::checksum(&read, &from, &to);
                packet.set_checksum(checksum);
            }
            buffer
        }
        Transport::None { .. } => payload.clone(),
    }
}

fn udp(source: u16, destination: u16, payload: &[u8], addresses: Addresses) -> Vec<u8> {
    let mut buffer = header(MutableUdpPacket::minimum_packet_size(), payload);
    let length = u16::try_from(buffer.len()).expect("fits in one packet");
    let mut packet = MutableUdpPacket::new(&mut buffer).expect("a whole header");
    packet.set_source(source);
    packet.set_destination(destination);
    packet.set_length(length);
    let read = UdpPacket::new(packet.packet_mut()).expect("a whole header");
    let checksum = match addresses {
        Addresses::V4(from, to) => udp::ipv4_checksum(&read, &from, &to),
        Addresses::V6(from, to) => udp::ipv6_checksum(&read, &from, &to),
    };
    packet.set_checksum(checksum);
    buffer
}
