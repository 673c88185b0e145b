//! What kinds of headers a frame has, told from its bytes alone, so that a run can say what it met.
//! It decides nothing, and reads on where a judgement would have stopped.

use std::collections::BTreeSet;

use crate::kinds_ip::{ipv4, ipv6};

pub type Kind = &'static str;

/// A run that met only some of these has compared little.
pub const ALL: &[Kind] = &[
    "14 bytes",
    "15 to 59 bytes",
    "60 bytes",
    "61 to 1,514 bytes",
    "1,515 to 3,520 bytes",
    "3,521 to 9,018 bytes, in several buffers",
    "9,019 to 65,535 bytes, in several buffers",
    "beyond 65,535 bytes, in several buffers",
    "untagged",
    "802.1Q",
    "802.1ad",
    "priority tag, id 0",
    "tag with id 4095",
    "two tags",
    "three tags",
    "four tags and more",
    "cut inside a tag",
    "802.3 length",
    "SNAP",
    "RARP",
    "LLDP",
    "PPPoE discovery",
    "PPPoE session",
    "PPPoE, header cut short",
    "PPPoE, header that lies",
    "PPPoE, length beyond the frame",
    "PPPoE, protocol cut short",
    "PPPoE, padding",
    "PPPoE, protocol compressed to a byte",
    "PPPoE, not IP",
    "MPLS",
    "MPLS in PPPoE",
    "MPLS, multicast",
    "MPLS, 1 label",
    "MPLS, 2 to 7 labels",
    "MPLS, 8 labels",
    "MPLS, 9 labels and more",
    "MPLS, stack cut short",
    "MPLS, not IP",
    "0x9100",
    "another EtherType",
    "ARP of IPv4",
    "ARP of IPv4, padded",
    "ARP with other lengths or protocols",
    "ARP cut short",
    "IPv4",
    "IPv4 with options",
    "IPv4 with 40 bytes of options",
    "IPv4, header cut short",
    "IPv4, IHL under 5",
    "IPv4, options cut short",
    "IPv4, another version",
    "IPv4 type, an IPv6 packet",
    "IPv4, no total length",
    "IPv4, total length under the header's",
    "IPv4, total length beyond the frame",
    "IPv4, no total length and more than 64 KiB",
    "IPv4, padding",
    "IPv4, may not be fragmented",
    "IPv4, reserved bit",
    "IPv4, first fragment",
    "IPv4, later fragment",
    "IPv4, last fragment",
    "IPv4, later fragment that looks like ports",
    "IPv4, tiny first fragment that cuts the ports",
    "IPv4, tiny first fragment that cuts the flags",
    "IPv6",
    "IPv6, header cut short",
    "IPv6, another version",
    "IPv6 type, an IPv4 packet",
    "IPv6, no payload length",
    "IPv6, payload length beyond the frame",
    "IPv6, no payload length and more than 64 KiB",
    "IPv6, padding",
    "hop-by-hop",
    "routing",
    "AH over IPv6",
    "destination options",
    "mobility",
    "HIP",
    "shim6",
    "no next header",
    "IPv6, 1 extension header",
    "IPv6, 2 extension headers",
    "IPv6, 3 extension headers",
    "IPv6, 4 extension headers",
    "IPv6, 5 extension headers",
    "IPv6, 6 extension headers",
    "IPv6, 7 extension headers",
    "IPv6, 8 extension headers",
    "IPv6, 9 extension headers and more",
    "IPv6, extension header cut short",
    "IPv6, hop-by-hop that is not first",
    "IPv6, extension header of 500 bytes and more",
    "IPv6, transport beyond 3,520 bytes",
    "fragment header, offset 0, the whole packet",
    "IPv6, first fragment",
    "IPv6, later fragment",
    "IPv6, last fragment",
    "IPv6, later fragment that names an extension header",
    "IPv6, later fragment that looks like ports",
    "IPv6, tiny first fragment that cuts the ports",
    "IPv6, tiny first fragment that cuts the flags",
    "TCP",
    "TCP, ports cut short",
    "TCP, flags cut short",
    "TCP, data offset under 5",
    "TCP, data offset beyond the end",
    "UDP",
    "UDP, ports cut short",
    "UDP, length that is wrong",
    "DNS query",
    "DNS answer",
    "DNS over Multicast DNS's port",
    "DNS in an IPv4 packet with options",
    "DNS behind extension headers",
    "DNS in PPPoE",
    "DNS under MPLS labels",
    "DNS, header cut short",
    "DNS, UDP's length beyond the packet",
    "DNS, another opcode",
    "DNS, no question",
    "DNS, several questions",
    "DNS, question cut short",
    "DNS, pointer in the question",
    "DNS, reserved label type in the question",
    "DNS, the root's name",
    "DNS, name of 127 labels",
    "DNS, name of 254 bytes",
    "DNS, name of 255 bytes",
    "DNS, name of more bytes",
    "DNS, capital letters",
    "DNS, bytes beyond ASCII",
    "DNS, dot or zero in a label",
    "DNS, records before the additional ones",
    "DNS, OPT of version 0",
    "DNS, OPT of version 0 with DO",
    "DNS, OPT of another version",
    "DNS, another record than OPT",
    "DNS, record behind the question cut short",
    "SCTP",
    "SCTP, ports cut short",
    "ports in the padding alone",
    "ICMP over IPv4",
    "ICMP, empty",
    "ICMP with a packet in it",
    "ICMP over IPv6",
    "ICMPv6 over IPv6",
    "ICMPv6, empty",
    "ICMPv6 over IPv4",
    "AH over IPv4",
    "ESP",
    "GRE",
    "IP in IP",
    "another protocol",
];

/// Where the first buffer was made to end, on kernels that let it be said.
pub const ENDS: &[Kind] = &[
    "first buffer ends after 14 bytes",
    "first buffer ends in tags, PPPoE or labels",
    "first buffer ends in ARP",
    "first buffer ends in the IPv4 header",
    "first buffer ends in the IPv6 header",
    "first buffer ends in an extension header",
    "first buffer ends in the transport's first 14 bytes",
    "first buffer ends behind the headers",
];

/// What was seen of a frame, and where its layers begin.
#[derive(Default)]
pub struct Seen {
    pub kinds: BTreeSet<Kind>,
    pub network: usize,
    is_arp: bool,
    pub is_v6: bool,
    pub is_ip: bool,
    pub extensions: usize,
    pub transport: usize,
}

impl Seen {
    pub fn is(&mut self, kind: Kind) {
        debug_assert!(ALL.contains(&kind), "{kind} is not in the table");
        self.kinds.insert(kind);
    }

    pub fn is_if(&mut self, holds: bool, kind: Kind) {
        if holds {
            self.is(kind);
        }
    }

    /// Where a first buffer of that length ends.
    pub fn end(&self, first: usize) -> Kind {
        match first {
            14 => ENDS[0],
            _ if first < self.network => ENDS[1],
            _ if self.is_arp && first < self.network + 28 => ENDS[2],
            _ if self.is_ip && first < self.extensions => ENDS[if self.is_v6 { 4 } else { 3 }],
            _ if self.is_ip && first < self.transport => ENDS[5],
            _ if self.is_ip && first < self.transport + 14 => ENDS[6],
            _ => ENDS[7],
        }
    }
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Looks at a frame of 14 bytes or more.
pub fn look(frame: &[u8]) -> Seen {
    let mut seen = Seen::default();
    seen.is(match frame.len() {
        ..=14 => "14 bytes",
        15..=59 => "15 to 59 bytes",
        60 => "60 bytes",
        61..=1514 => "61 to 1,514 bytes",
        1515..=3520 => "1,515 to 3,520 bytes",
        3521..=9018 => "3,521 to 9,018 bytes, in several buffers",
        9019..=65_535 => "9,019 to 65,535 bytes, in several buffers",
        _ => "beyond 65,535 bytes, in several buffers",
    });
    let mut at = 12;
    let mut tags = 0;
    let ether_type = loop {
        let Some(ether_type) = u16_at(frame, at) else {
            seen.is("cut inside a tag");
            break None;
        };
        if ether_type != 0x8100 && ether_type != 0x88a8 {
            break Some(ether_type);
        }
        tags += 1;
        seen.is(if ether_type == 0x8100 { "802.1Q" } else { "802.1ad" });
        let id = u16_at(frame, at + 2).map(|tag| tag & 0xfff);
        seen.is_if(id == Some(0), "priority tag, id 0");
        seen.is_if(id == Some(4095), "tag with id 4095");
        at += 4;
    };
    seen.is_if(tags == 0, "untagged");
    seen.is_if(tags == 2, "two tags");
    seen.is_if(tags == 3, "three tags");
    seen.is_if(tags > 3, "four tags and more");
    seen.network = (at + 2).min(frame.len());
    let Some(ether_type) = ether_type else { return seen };
    let body = &frame[at + 2..];
    match ether_type {
        0x0800 => ipv4(&mut seen, body),
        0x86dd => ipv6(&mut seen, body),
        0x8864 => pppoe(&mut seen, body),
        0x8847 => mpls(&mut seen, body),
        0x8848 => {
            seen.is("MPLS, multicast");
            mpls(&mut seen, body);
        }
        0x0806 => arp(&mut seen, body),
        0x8035 => seen.is("RARP"),
        0x88cc => seen.is("LLDP"),
        0x8863 => seen.is("PPPoE discovery"),
        0x9100 => seen.is("0x9100"),
        ..0x600 => {
            seen.is("802.3 length");
            seen.is_if(body.starts_with(&[0xaa, 0xaa, 3]), "SNAP");
        }
        _ => seen.is("another EtherType"),
    }
    seen
}

fn pppoe(seen: &mut Seen, body: &[u8]) {
    seen.is("PPPoE session");
    let Some((header, rest)) = body.split_first_chunk::<6>() else {
        return seen.is("PPPoE, header cut short");
    };
    if header[..2] != [0x11, 0] {
        return seen.is("PPPoE, header that lies");
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    seen.is_if(length < rest.len(), "PPPoE, padding");
    let Some(packet) = rest.get(..length) else {
        return seen.is("PPPoE, length beyond the frame");
    };
    let (protocol, rest) = match packet {
        [only, rest @ ..] if only % 2 == 1 => {
            seen.is("PPPoE, protocol compressed to a byte");
            (u16::from(*only), rest)
        }
        [upper, lower, rest @ ..] => (u16::from_be_bytes([*upper, *lower]), rest),
        _ => return seen.is("PPPoE, protocol cut short"),
    };
    seen.network += 6 + packet.len() - rest.len();
    match protocol {
        0x0021 => ipv4(seen, rest),
        0x0057 => ipv6(seen, rest),
        0x0281 | 0x0283 => {
            seen.is("MPLS in PPPoE");
            mpls(seen, rest);
        }
        _ => seen.is("PPPoE, not IP"),
    }
}

fn mpls(seen: &mut Seen, body: &[u8]) {
    seen.is("MPLS");
    let bottom = body.chunks_exact(4).position(|label| label[2] & 1 == 1);
    let Some(labels) = bottom.map(|bottom| bottom + 1) else {
        return seen.is("MPLS, stack cut short");
    };
    seen.is(match labels {
        1 => "MPLS, 1 label",
        2..8 => "MPLS, 2 to 7 labels",
        8 => "MPLS, 8 labels",
        _ => return seen.is("MPLS, 9 labels and more"),
    });
    let rest = &body[labels * 4..];
    seen.network += labels * 4;
    match rest.first().map(|first| first >> 4) {
        Some(4) => ipv4(seen, rest),
        Some(6) => ipv6(seen, rest),
        _ => seen.is("MPLS, not IP"),
    }
}

fn arp(seen: &mut Seen, body: &[u8]) {
    seen.is_arp = true;
    let lengths = body.get(4..6).map(|lengths| (usize::from(lengths[0]), usize::from(lengths[1])));
    let whole = lengths.map(|(hardware, protocol)| 8 + 2 * (hardware + protocol));
    if whole.is_none_or(|whole| body.len() < whole) {
        return seen.is("ARP cut short");
    }
    if u16_at(body, 2) == Some(0x0800) && lengths == Some((6, 4)) {
        seen.is("ARP of IPv4");
        seen.is_if(body.len() > 28, "ARP of IPv4, padded");
    } else {
        seen.is("ARP with other lengths or protocols");
    }
}
