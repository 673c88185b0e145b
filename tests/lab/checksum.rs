//! Checksums of whole frames, added up once more: independent of the code that mends them.

use super::port::hex;

/// IP protocol numbers.
const ICMP: u8 = 1;
const IPV4: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const ICMPV6: u8 = 58;

/// Panics unless every checksum of a frame is right: those of IPv4, TCP, UDP, ICMP and ICMPv6, and those
/// of a packet in the packet. A UDP datagram to `gue` is taken for Generic UDP Encapsulation.
#[track_caller]
pub fn assert_right(frame: &[u8], gue: Option<u16>) {
    if let Err(why) = of_frame(frame, gue) {
        panic!("{why}\n{}", hex(frame));
    }
}

/// What is wrong with a frame, see [`assert_right`]. What is no IP has nothing.
pub fn of_frame(frame: &[u8], gue: Option<u16>) -> Result<(), String> {
    packet(frame).map_or(Ok(()), |packet| of_packet(packet, gue))
}

/// What the IP packet in a frame carries: IPv4's protocol, or IPv6's next header.
pub fn protocol(frame: &[u8]) -> Option<u8> {
    let packet = packet(frame)?;
    packet.get(if packet.first()? >> 4 == 4 { 9 } else { 6 }).copied()
}

/// The IP packet in a frame, behind its tags.
fn packet(frame: &[u8]) -> Option<&[u8]> {
    let mut at = 12;
    loop {
        match u16_at(frame, at).ok()? {
            0x8100 | 0x88a8 => at += 4,
            0x0800 | 0x86dd => return Some(&frame[at + 2..]),
            _ => return None,
        }
    }
}

fn of_packet(packet: &[u8], gue: Option<u16>) -> Result<(), String> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => of_ipv4(packet, gue),
        Some(6) => of_ipv6(packet, gue),
        _ => Err("neither IPv4 nor IPv6".into()),
    }
}

fn of_ipv4(packet: &[u8], gue: Option<u16>) -> Result<(), String> {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16_at(packet, 2)?);
    let packet = packet.get(..total).ok_or("shorter than its total length")?;
    if sum(&[packet.get(..header).ok_or("shorter than its header")?]) != 0xffff {
        return Err("IPv4 checksum".into());
    }
    // Of a fragment, the transport's checksum cannot be told.
    if u16_at(packet, 6)? & 0x3fff != 0 {
        return Ok(());
    }
    let (protocol, carried) = (packet[9], &packet[header..]);
    let pseudo = pseudo(&packet[12..20], protocol, carried);
    of_transport(protocol, carried, &pseudo, gue)
}

fn of_ipv6(packet: &[u8], gue: Option<u16>) -> Result<(), String> {
    let length = usize::from(u16_at(packet, 4)?);
    let carried = packet.get(40..40 + length).ok_or("shorter than its payload length")?;
    let pseudo = pseudo(&packet[8..40], packet[6], carried);
    of_transport(packet[6], carried, &pseudo, gue)
}

fn of_transport(
    protocol: u8,
    carried: &[u8],
    pseudo: &[u8],
    gue: Option<u16>,
) -> Result<(), String> {
    let right = |with: &[u8]| sum(&[with, carried]) == 0xffff;
    match protocol {
        IPV4 | IPV6 => of_packet(carried, gue).map_err(|why| format!("inner packet: {why}")),
        TCP if !right(pseudo) => Err("TCP checksum".into()),
        UDP => {
            // Without a checksum (RFC 768, RFC 6935).
            if u16_at(carried, 6)? != 0 && !right(pseudo) {
                return Err("UDP checksum".into());
            }
            if usize::from(u16_at(carried, 4)?) != carried.len() {
                return Err("UDP length".into());
            }
            match gue == Some(u16_at(carried, 2)?) {
                true => of_packet(&carried[8..], gue).map_err(|why| format!("in GUE: {why}")),
                false => Ok(()),
            }
        }
        ICMP if !right(&[]) => Err("ICMP checksum".into()),
        ICMPV6 if !right(pseudo) => Err("ICMPv6 checksum".into()),
        _ => Ok(()),
    }
}

/// Both addresses, the length and the protocol (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo(addresses: &[u8], protocol: u8, carried: &[u8]) -> Vec<u8> {
    let length = u32::try_from(carried.len()).expect("a packet's length").to_be_bytes();
    [addresses, &length, &[0, 0, 0, protocol]].concat()
}

/// The sum of all words (RFC 1071), 0xffff where a checksum among them is right.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for word in part.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    u16::try_from(sum).expect("folded")
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    let word = bytes.get(at..at + 2).ok_or_else(|| format!("ends before byte {}", at + 2))?;
    Ok(u16::from_be_bytes([word[0], word[1]]))
}
