//! The kinds of DNS messages.

use crate::kinds::{Seen, u16_at};

/// Looks at a UDP packet, which may have a message in it.
pub fn message(seen: &mut Seen, packet: &[u8]) {
    let ports = [u16_at(packet, 0), u16_at(packet, 2)];
    if ports.contains(&Some(5353)) {
        seen.is("DNS over Multicast DNS's port");
    } else if !ports.contains(&Some(53)) {
        return;
    }
    let has = |seen: &Seen, kind| seen.kinds.contains(kind);
    seen.is_if(has(seen, "IPv4 with options"), "DNS in an IPv4 packet with options");
    seen.is_if(seen.is_v6 && seen.transport > seen.extensions, "DNS behind extension headers");
    let under_labels = has(seen, "MPLS");
    seen.is_if(under_labels, "DNS under MPLS labels");
    seen.is_if(has(seen, "PPPoE session") && !under_labels, "DNS in PPPoE");
    let beyond = u16_at(packet, 4).is_some_and(|length| usize::from(length) > packet.len());
    seen.is_if(beyond, "DNS, UDP's length beyond the packet");
    let Some((header, rest)) = packet.get(8..).and_then(|message| message.split_at_checked(12))
    else {
        return seen.is("DNS, header cut short");
    };
    seen.is(if header[2] < 0x80 { "DNS query" } else { "DNS answer" });
    seen.is_if(header[2] & 0x78 != 0, "DNS, another opcode");
    match u16_at(header, 4) {
        Some(0) => return seen.is("DNS, no question"),
        Some(1) => {}
        _ => seen.is("DNS, several questions"),
    }
    let Some(end) = name(seen, rest) else { return };
    if rest.len() < end + 4 {
        return seen.is("DNS, question cut short");
    }
    seen.is_if(header[6..10] != [0; 4], "DNS, records before the additional ones");
    if header[10..12] != [0; 2] {
        record(seen, &rest[end + 4..]);
    }
}

/// Where the name ends; `None` where it does not.
fn name(seen: &mut Seen, bytes: &[u8]) -> Option<usize> {
    let (mut at, mut labels) = (0, 0);
    loop {
        let Some(&length) = bytes.get(at) else {
            seen.is("DNS, question cut short");
            return None;
        };
        match length {
            0 => break,
            1..64 => {}
            64..192 => {
                seen.is("DNS, reserved label type in the question");
                return None;
            }
            192.. => {
                seen.is("DNS, pointer in the question");
                return None;
            }
        }
        let label = bytes.get(at + 1..).unwrap_or_default();
        let label = &label[..label.len().min(length.into())];
        seen.is_if(label.iter().any(u8::is_ascii_uppercase), "DNS, capital letters");
        seen.is_if(!label.is_ascii(), "DNS, bytes beyond ASCII");
        let odd = label.iter().any(|byte| matches!(byte, b'.' | 0));
        seen.is_if(odd, "DNS, dot or zero in a label");
        at += 1 + usize::from(length);
        labels += 1;
    }
    at += 1;
    seen.is_if(at == 1, "DNS, the root's name");
    seen.is_if(labels == 127 && at <= 255, "DNS, name of 127 labels");
    seen.is_if(at == 254, "DNS, name of 254 bytes");
    seen.is_if(at == 255, "DNS, name of 255 bytes");
    seen.is_if(at > 255, "DNS, name of more bytes");
    Some(at)
}

/// The record behind the question.
fn record(seen: &mut Seen, bytes: &[u8]) {
    let Some(fixed) = bytes.get(..11) else {
        return seen.is("DNS, record behind the question cut short");
    };
    if fixed[..3] != [0, 0, 41] {
        return seen.is("DNS, another record than OPT");
    }
    if fixed[6] != 0 {
        return seen.is("DNS, OPT of another version");
    }
    seen.is("DNS, OPT of version 0");
    seen.is_if(fixed[7] >= 0x80, "DNS, OPT of version 0 with DO");
}
