//! A frame's fields, read one by one as the RFCs describe them.
//!
//! The fixed headers of Ethernet, 802.1Q, IPv4, IPv6 and its fragments are read through pnet's
//! views, so pnet alone says where a field lies. All lengths are reckoned here. A view's payload is
//! as long as the header says, but cut to the bytes that are there, which would hide just the wrong
//! lengths that matter. Headers without a fitting view are read by their bytes: PPPoE and MPLS, ARP
//! with addresses of other lengths, extension headers, and the first bytes of a transport header
//! whose rest may be missing (pnet wants 20 bytes of TCP and 8 of UDP). In a fragment's offset,
//! pnet leaves one of the reserved bits.

use std::net::{IpAddr, Ipv4Addr};

use pnet_packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::{FragmentPacket, Ipv6Packet};
use pnet_packet::vlan::VlanPacket;

use super::config::Mac;

/// A frame that is not malformed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `None` on a link without a link layer header.
    pub destination_mac: Option<Mac>,
    pub source_mac: Option<Mac>,
    /// The outer tag's id.
    pub vlan: Option<u16>,
    pub payload: Payload,
}

#[derive(Clone, Debug)]
pub enum Payload {
    /// The sender's protocol address, if that is IPv4.
    Arp(Option<Ipv4Addr>),
    Ip(Packet),
    Other,
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// `None` where a fragment names an extension header.
    pub protocol: Option<u8>,
    pub later_fragment: bool,
    /// Whether it is the first of several fragments.
    pub first_fragment: bool,
    /// Whether it may be the first fragment of a longer packet. Any IPv6 packet with extension headers
    /// is taken for one.
    pub goes_on: bool,
    /// Source and destination.
    pub ports: Option<(u16, u16)>,
    pub tcp_flags: Option<u8>,
    pub icmp_type: Option<u8>,
    /// RFC 2474, section 3.
    pub dscp: u8,
    pub ttl: u8,
    pub parts: Parts,
}

/// Where the parts of a packet begin or end, in bytes from the start of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub l3: usize,
    /// What follows the IP header and its extensions.
    pub l4: usize,
    /// What follows the header of TCP, UDP or SCTP.
    pub payload: Option<usize>,
    /// The end of the packet, as IP states it.
    pub end: usize,
    /// Where the length of the PPPoE session's header lies, if there is one.
    pub session_length: Option<usize>,
    pub under_labels: bool,
}

/// Tells where in the frame a slice of it begins.
#[derive(Clone, Copy)]
struct Places<'a>(&'a [u8]);

impl Places<'_> {
    fn start(self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.0.as_ptr().addr()
    }

    fn end(self, part: &[u8]) -> usize {
        self.start(part) + part.len()
    }
}

/// The length that a field states, where `bytes` are there. Receive offload merges segments to
/// packets whose length the field cannot hold, and leaves it 0; the contract is silent on these.
fn stated(length: usize, bytes: usize) -> usize {
    if length == 0 && bytes > 65_535 { bytes } else { length }
}

/// The result of a step of reading a frame; `None` where it is malformed.
type Read<T> = Option<T>;

fn u16_at(bytes: &[u8], at: usize) -> Read<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub fn read(frame: &[u8]) -> Read<Frame> {
    let places = Places(frame);
    let ethernet = EthernetPacket::new(frame)?;
    let mut ether_type = ethernet.get_ethertype();
    let mut rest = &frame[14..];
    let mut tags = Vec::new();
    // 802.1Q and 802.1ad.
    while ether_type == EtherTypes::Vlan || ether_type == EtherTypes::PBridge {
        if tags.len() == 2 {
            return None;
        }
        let tag = VlanPacket::new(rest)?;
        tags.push(tag.get_vlan_identifier());
        ether_type = tag.get_ethertype();
        rest = &rest[4..];
    }
    Some(Frame {
        destination_mac: Some(ethernet.get_destination().octets()),
        source_mac: Some(ethernet.get_source().octets()),
        vlan: tags.first().copied(),
        payload: match ether_type {
            EtherTypes::Ipv4 => Payload::Ip(ipv4(places, rest)?),
            EtherTypes::Ipv6 => Payload::Ip(ipv6(places, rest)?),
            EtherTypes::Arp => Payload::Arp(arp(rest)?),
            EtherType(0x8864) => pppoe(places, rest)?,
            EtherType(0x8847 | 0x8848) => mpls(places, rest)?,
            _ => Payload::Other,
        },
    })
}

/// Reads a packet of a link without a link layer header.
pub fn read_raw(packet: &[u8]) -> Read<Frame> {
    let payload = match by_version(Places(packet), packet)? {
        Payload::Other => return None,
        payload => payload,
    };
    Some(Frame { destination_mac: None, source_mac: None, vlan: None, payload })
}

/// Reads a packet whose IP version only its own first four bits tell.
fn by_version(places: Places<'_>, bytes: &[u8]) -> Read<Payload> {
    Some(match bytes.first()? >> 4 {
        4 => Payload::Ip(ipv4(places, bytes)?),
        6 => Payload::Ip(ipv6(places, bytes)?),
        _ => Payload::Other,
    })
}

/// RFC 2516, section 4, of a session. The protocol is RFC 1661's, which ends with its first odd byte.
fn pppoe(places: Places<'_>, bytes: &[u8]) -> Read<Payload> {
    let length = usize::from(u16_at(bytes, 4)?);
    if bytes[..2] != [0x11, 0] {
        return None;
    }
    let (protocol, rest) = match bytes[6..].get(..length)? {
        [only, rest @ ..] if only % 2 == 1 => (u16::from(*only), rest),
        [first, second, rest @ ..] => (u16::from_be_bytes([*first, *second]), rest),
        _ => return None,
    };
    let mut payload = match protocol {
        0x0021 => Payload::Ip(ipv4(places, rest)?),
        0x0057 => Payload::Ip(ipv6(places, rest)?),
        // RFC 3032, section 4.3.
        0x0281 | 0x0283 => mpls(places, rest)?,
        _ => Payload::Other,
    };
    if let Payload::Ip(packet) = &mut payload {
        packet.parts.session_length = Some(places.start(bytes) + 4);
    }
    Some(payload)
}

/// RFC 3032, section 2.1.
fn mpls(places: Places<'_>, bytes: &[u8]) -> Read<Payload> {
    for label in 0..8 {
        let entry = bytes.get(label * 4..label * 4 + 4)?;
        if entry[2] % 2 == 1 {
            let mut payload = by_version(places, &bytes[label * 4 + 4..])?;
            if let Payload::Ip(packet) = &mut payload {
                packet.parts.under_labels = true;
            }
            return Some(payload);
        }
    }
    None
}

/// RFC 826.
fn arp(bytes: &[u8]) -> Read<Option<Ipv4Addr>> {
    let protocol = u16_at(bytes, 2)?;
    let hardware_length = usize::from(*bytes.get(4)?);
    let protocol_length = usize::from(*bytes.get(5)?);
    if bytes.len() < 8 + 2 * hardware_length + 2 * protocol_length {
        return None;
    }
    let sender: Option<[u8; 4]> = bytes[8 + hardware_length..][..protocol_length].try_into().ok();
    Some(sender.filter(|_| protocol == 0x0800).map(Ipv4Addr::from))
}

/// RFC 791, section 3.1.
fn ipv4(places: Places<'_>, bytes: &[u8]) -> Read<Packet> {
    let header = Ipv4Packet::new(bytes)?;
    let header_length = usize::from(header.get_header_length()) * 4;
    let total_length = stated(header.get_total_length().into(), bytes.len());
    if header.get_version() != 4 || header_length < 20 || total_length < header_length {
        return None;
    }
    let bytes = bytes.get(..total_length)?;
    let protocol = header.get_next_level_protocol().0;
    let mut packet = Packet {
        source: header.get_source().into(),
        destination: header.get_destination().into(),
        protocol: Some(protocol),
        later_fragment: header.get_fragment_offset() != 0,
        first_fragment: header.get_fragment_offset() == 0 && header.get_flags() & 1 == 1,
        goes_on: bytes[6] >> 5 & 1 == 1,
        ports: None,
        tcp_flags: None,
        icmp_type: None,
        dscp: bytes[1] >> 2,
        ttl: header.get_ttl(),
        parts: Parts {
            l3: places.start(bytes),
            l4: places.start(&bytes[header_length..]),
            payload: None,
            end: places.end(bytes),
            session_length: None,
            under_labels: false,
        },
    };
    if !packet.later_fragment {
        transport(&mut packet, &bytes[header_length..], protocol == 1)?;
    }
    Some(packet)
}

/// Hop-by-hop, routing, fragment, AH, destination options, mobility, HIP and shim6.
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// RFC 8200, sections 3 and 4.
fn ipv6(places: Places<'_>, bytes: &[u8]) -> Read<Packet> {
    let header = Ipv6Packet::new(bytes)?;
    let rest = &bytes[40..];
    let payload_length = stated(header.get_payload_length().into(), rest.len());
    if header.get_version() != 6 {
        return None;
    }
    let mut rest = rest.get(..payload_length)?;
    let mut packet = Packet {
        source: header.get_source().into(),
        destination: header.get_destination().into(),
        protocol: None,
        later_fragment: false,
        first_fragment: false,
        goes_on: is_extension(header.get_next_header().0),
        ports: None,
        tcp_flags: None,
        icmp_type: None,
        dscp: header.get_traffic_class() >> 2,
        ttl: header.get_hop_limit(),
        parts: Parts {
            l3: places.start(bytes),
            l4: places.start(rest),
            payload: None,
            end: places.end(rest),
            session_length: None,
            under_labels: false,
        },
    };
    let mut next = header.get_next_header().0;
    let mut headers = 0;
    while is_extension(next) {
        headers += 1;
        if headers > 8 {
            return None;
        }
        let named = *rest.first()?;
        let length = usize::from(*rest.get(1)?);
        let length = match next {
            44 => 8,
            // RFC 4302, section 2.2: words of four bytes, less two.
            51 => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        let header = rest.get(..length)?;
        rest = &rest[length..];
        packet.parts.l4 = places.start(rest);
        let position = match next {
            44 => FragmentPacket::new(header)?.get_fragment_offset_with_flags(),
            _ => 0,
        };
        packet.first_fragment |= position & 1 == 1;
        if position >> 3 != 0 {
            packet.first_fragment = false;
            packet.later_fragment = true;
            packet.protocol = Some(named).filter(|named| !is_extension(*named));
            return Some(packet);
        }
        next = named;
    }
    packet.protocol = Some(next);
    transport(&mut packet, rest, next == 58)?;
    Some(packet)
}

/// Reads the fields of the transport header that rules can name.
fn transport(packet: &mut Packet, bytes: &[u8], is_icmp: bool) -> Read<()> {
    // TCP, UDP and SCTP.
    if matches!(packet.protocol, Some(6 | 17 | 132)) {
        packet.ports = Some((u16_at(bytes, 0)?, u16_at(bytes, 2)?));
    }
    let header_length = match packet.protocol {
        Some(6) => Some(usize::from(*bytes.get(12)? >> 4) * 4),
        Some(17) => Some(8),
        Some(132) => Some(12),
        _ => None,
    };
    packet.parts.payload = header_length.map(|length| packet.parts.l4 + length);
    if packet.protocol == Some(6) {
        packet.tcp_flags = Some(*bytes.get(13)?);
        // The data offset.
        if bytes[12] >> 4 < 5 {
            return None;
        }
    }
    if is_icmp {
        packet.icmp_type = Some(*bytes.first()?);
    }
    Some(())
}
