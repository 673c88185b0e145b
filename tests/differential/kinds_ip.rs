//! The kinds of headers from IP on.

use crate::kinds::{Kind, Seen, u16_at};
use crate::kinds_dns::message;

pub fn ipv4(seen: &mut Seen, body: &[u8]) {
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

pub fn ipv6(seen: &mut Seen, body: &[u8]) {
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
            message(seen, payload);
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
