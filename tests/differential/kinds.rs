//! What kinds of headers a frame has, told from its bytes alone, so that a run can say what it met.
//! It decides nothing, and reads on where a judgement would have stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

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
    network: usize,
    is_arp: bool,
    is_v6: bool,
    is_ip: bool,
    extensions: usize,
    transport: usize,
}

impl Seen {
    fn is(&mut self, kind: Kind) {
        debug_assert!(ALL.contains(&kind), "{kind} is not in the table");
        self.kinds.insert(kind);
    }

    fn is_if(&mut self, holds: bool, kind: Kind) {
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

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
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

fn ipv4(seen: &mut Seen, body: &[u8]) {
    seen.is_ip = true;
    seen.extensions = seen.network + 20;
    seen.transport = seen.extensions;
    seen.is("IPv4");
    let Some(header) = body.get(..20) else { return seen.is("IPv4, header cut short") };
    let (version, words) = (header[0] >> 4, usize::from(header[0] & 0xf));
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if version != 4 {
        seen.is("IPv4, another version");
        return seen.is_if(version == 6, "IPv4 type, an IPv6 packet");
    }
    if words < 5 {
        return seen.is("IPv4, IHL under 5");
    }
    seen.is_if(words > 5, "IPv4 with options");
    seen.is_if(words == 15, "IPv4 with 40 bytes of options");
    let merged = total == 0 && body.len() > 65_535;
    seen.is_if(total == 0 && !merged, "IPv4, no total length");
    seen.is_if(merged, "IPv4, no total length and more than 64 KiB");
    let total = if merged { body.len() } else { total };
    if total < words * 4 {
        return seen.is("IPv4, total length under the header's");
    }
    if body.len() < words * 4 {
        return seen.is("IPv4, options cut short");
    }
    seen.extensions = seen.network + words * 4;
    seen.transport = seen.extensions;
    if total > body.len() {
        return seen.is("IPv4, total length beyond the frame");
    }
    seen.is_if(total < body.len(), "IPv4, padding");
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    seen.is_if(fragment & 0x4000 != 0, "IPv4, may not be fragmented");
    seen.is_if(fragment & 0x8000 != 0, "IPv4, reserved bit");
    let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
    let payload = &body[words * 4..total];
    let protocol = header[9];
    let looks_like_ports = matches!(protocol, 6 | 17 | 132) && payload.len() >= 4;
    if offset != 0 {
        seen.is(if more { "IPv4, later fragment" } else { "IPv4, last fragment" });
        return seen.is_if(looks_like_ports, "IPv4, later fragment that looks like ports");
    }
    if more {
        seen.is("IPv4, first fragment");
        let cut = cuts(protocol, payload);
        seen.is_if(cut == Some(true), "IPv4, tiny first fragment that cuts the ports");
        seen.is_if(cut == Some(false), "IPv4, tiny first fragment that cuts the flags");
    }
    match protocol {
        1 => {
            seen.is(if payload.is_empty() { "ICMP, empty" } else { "ICMP over IPv4" });
            seen.is_if(payload.len() > 27, "ICMP with a packet in it");
        }
        58 => seen.is("ICMPv6 over IPv4"),
        51 => seen.is("AH over IPv4"),
        _ => transport(seen, protocol, payload, body.len() - total),
    }
}

/// Whether what a first fragment has of the transport header lacks its ports, or only its flags.
fn cuts(protocol: u8, payload: &[u8]) -> Option<bool> {
    match payload.len() {
        ..4 if matches!(protocol, 6 | 17 | 132) => Some(true),
        4..14 if protocol == 6 => Some(false),
        _ => None,
    }
}

fn ipv6(seen: &mut Seen, body: &[u8]) {
    seen.is_ip = true;
    seen.is_v6 = true;
    seen.extensions = seen.network + 40;
    seen.transport = seen.extensions;
    seen.is("IPv6");
    let Some(header) = body.get(..40) else { return seen.is("IPv6, header cut short") };
    let version = header[0] >> 4;
    if version != 6 {
        seen.is("IPv6, another version");
        return seen.is_if(version == 4, "IPv6 type, an IPv4 packet");
    }
    let stated = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let merged = stated == 0 && body.len() - 40 > 65_535;
    seen.is_if(stated == 0 && !merged, "IPv6, no payload length");
    seen.is_if(merged, "IPv6, no payload length and more than 64 KiB");
    let stated = if merged { body.len() - 40 } else { stated };
    if stated > body.len() - 40 {
        return seen.is("IPv6, payload length beyond the frame");
    }
    let padding = body.len() - 40 - stated;
    seen.is_if(padding > 0, "IPv6, padding");
    let mut next = header[6];
    let mut rest = &body[40..40 + stated];
    let mut fragmented = false;
    let mut number = 0;
    while let Some(kind) = extension(next) {
        number += 1;
        let Some((fields, units)) = rest.get(..4).zip(rest.get(1)) else {
            return seen.is("IPv6, extension header cut short");
        };
        let length = match next {
            44 => 8,
            51 => 4 * (usize::from(*units) + 2),
            _ => 8 * (usize::from(*units) + 1),
        };
        if next != 44 {
            seen.is(kind);
        }
        seen.is_if(next == 0 && number > 1, "IPv6, hop-by-hop that is not first");
        if rest.len() < length {
            return seen.is("IPv6, extension header cut short");
        }
        seen.is_if(length >= 500, "IPv6, extension header of 500 bytes and more");
        let (named, place) = (fields[0], u16::from_be_bytes([fields[2], fields[3]]));
        rest = &rest[length..];
        seen.transport += length;
        if next == 44 {
            let more = place & 1 != 0;
            if place >> 3 != 0 {
                seen.is(if more { "IPv6, later fragment" } else { "IPv6, last fragment" });
                let names_extension = extension(named).is_some();
                seen.is_if(names_extension, "IPv6, later fragment that names an extension header");
                let ports = matches!(named, 6 | 17 | 132) && rest.len() >= 4;
                return seen.is_if(ports, "IPv6, later fragment that looks like ports");
            }
            fragmented |= more;
            seen.is(if more {
                "IPv6, first fragment"
            } else {
                "fragment header, offset 0, the whole packet"
            });
        }
        next = named;
    }
    match number {
        0 => {}
        1 => seen.is("IPv6, 1 extension header"),
        2 => seen.is("IPv6, 2 extension headers"),
        3 => seen.is("IPv6, 3 extension headers"),
        4 => seen.is("IPv6, 4 extension headers"),
        5 => seen.is("IPv6, 5 extension headers"),
        6 => seen.is("IPv6, 6 extension headers"),
        7 => seen.is("IPv6, 7 extension headers"),
        8 => seen.is("IPv6, 8 extension headers"),
        _ => return seen.is("IPv6, 9 extension headers and more"),
    }
    seen.is_if(seen.transport > 3520, "IPv6, transport beyond 3,520 bytes");
    if fragmented {
        let cut = cuts(next, rest);
        seen.is_if(cut == Some(true), "IPv6, tiny first fragment that cuts the ports");
        seen.is_if(cut == Some(false), "IPv6, tiny first fragment that cuts the flags");
    }
    match next {
        58 => seen.is(if rest.is_empty() { "ICMPv6, empty" } else { "ICMPv6 over IPv6" }),
        1 => seen.is("ICMP over IPv6"),
        59 => seen.is("no next header"),
        _ => transport(seen, next, rest, padding),
    }
}

fn extension(next: u8) -> Option<Kind> {
    Some(match next {
        0 => "hop-by-hop",
        43 => "routing",
        44 => "fragment header, offset 0, the whole packet",
        51 => "AH over IPv6",
        60 => "destination options",
        135 => "mobility",
        139 => "HIP",
        140 => "shim6",
        _ => return None,
    })
}

fn transport(seen: &mut Seen, protocol: u8, payload: &[u8], padding: usize) {
    let cut = payload.len() < 4;
    match protocol {
        6 => {
            seen.is("TCP");
            seen.is_if(cut, "TCP, ports cut short");
            seen.is_if((4..14).contains(&payload.len()), "TCP, flags cut short");
            if payload.len() >= 14 {
                let words = usize::from(payload[12] >> 4);
                seen.is_if(words < 5, "TCP, data offset under 5");
                seen.is_if(words * 4 > payload.len(), "TCP, data offset beyond the end");
            }
        }
        17 => {
            seen.is("UDP");
            seen.is_if(cut, "UDP, ports cut short");
            let length = u16_at(payload, 4);
            let wrong = length.is_some_and(|length| usize::from(length) != payload.len());
            seen.is_if(wrong, "UDP, length that is wrong");
        }
        132 => {
            seen.is("SCTP");
            seen.is_if(cut, "SCTP, ports cut short");
        }
        4 | 41 => seen.is("IP in IP"),
        47 => seen.is("GRE"),
        50 => seen.is("ESP"),
        _ => seen.is("another protocol"),
    }
    if cut && matches!(protocol, 6 | 17 | 132) {
        seen.is_if(payload.len() + padding >= 4, "ports in the padding alone");
    }
}

/// How often each kind was met, and with what verdict and reason.
#[derive(Default)]
pub struct Table {
    pub pairs: usize,
    kinds: BTreeMap<Kind, BTreeMap<Kind, usize>>,
    cells: BTreeMap<(Kind, Kind), usize>,
}

const VERDICTS: [Kind; 4] = ["pass", "drop", "tx", "redirect"];
const REASONS: [Kind; 9] = [
    "malformed",
    "arp",
    "allowed",
    "allowlist",
    "banned",
    "blocklist",
    "fragment",
    "rule",
    "default",
];
/// Each verdict with each reason that it can have.
const CELLS: [(Kind, Kind); 15] = [
    ("pass", "malformed"),
    ("drop", "malformed"),
    ("pass", "arp"),
    ("drop", "arp"),
    ("pass", "allowed"),
    ("pass", "allowlist"),
    ("drop", "banned"),
    ("drop", "blocklist"),
    ("drop", "fragment"),
    ("pass", "rule"),
    ("drop", "rule"),
    ("tx", "rule"),
    ("redirect", "rule"),
    ("pass", "default"),
    ("drop", "default"),
];

impl Table {
    pub fn add(&mut self, kinds: impl IntoIterator<Item = Kind>, verdict: Kind, reason: Kind) {
        self.pairs += 1;
        *self.cells.entry((verdict, reason)).or_default() += 1;
        for kind in kinds {
            let row = self.kinds.entry(kind).or_default();
            *row.entry(verdict).or_default() += 1;
            *row.entry(reason).or_default() += 1;
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.pairs += other.pairs;
        for (cell, times) in other.cells {
            *self.cells.entry(cell).or_default() += times;
        }
        for (kind, row) in other.kinds {
            let own = self.kinds.entry(kind).or_default();
            for (column, times) in row {
                *own.entry(column).or_default() += times;
            }
        }
    }

    /// What of all that can be met was not.
    pub fn missing(&self, kinds: &[Kind]) -> Vec<String> {
        let kinds = kinds.iter().filter(|kind| !self.kinds.contains_key(*kind));
        let cells = CELLS.iter().filter(|cell| !self.cells.contains_key(*cell));
        let cells = cells.map(|(verdict, reason)| format!("{verdict} by {reason}"));
        kinds.map(|kind| (*kind).to_owned()).chain(cells).collect()
    }
}

/// As a table of Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = || VERDICTS.iter().chain(&REASONS);
        let mut head = String::from("| frames with | pairs |");
        let mut line = String::from("|---|---:|");
        for column in columns() {
            write!(head, " {column} |")?;
            line.push_str("---:|");
        }
        writeln!(f, "{head}\n{line}")?;
        for kind in ALL.iter().chain(ENDS) {
            let Some(row) = self.kinds.get(kind) else { continue };
            let of = |column: &Kind| row.get(column).copied().unwrap_or(0);
            let all: usize = VERDICTS.iter().map(of).sum();
            write!(f, "| {kind} | {all} |")?;
            for column in columns() {
                write!(f, " {} |", of(column))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
