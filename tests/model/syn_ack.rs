//! The SYN-ACK that a SYN becomes, from README.md, "Rules that answer SYNs", with a cookie that the kernel has said.

use std::net::IpAddr;

use super::answer::checksum;
use super::packet::{Frame, Packet};

/// An interface's MTU as a host announces it: the largest segment, without the headers of IP and TCP. A host takes
/// no less than RFC 9293, section 3.7.1, and RFC 8200, section 5, have every host take.
fn segment(mtu: u16, is_v4: bool) -> u16 {
    if is_v4 { mtu.saturating_sub(40).max(536) } else { mtu.saturating_sub(60).max(1_220) }
}

/// The frame, which is as long as it has to be: longer than the SYN's, where that had neither options nor padding.
pub fn syn_ack(bytes: &[u8], frame: &Frame, packet: &Packet, cookie: u32, mtu: u16) -> Vec<u8> {
    let l4 = &bytes[packet.parts.l4..];
    let number = u32::from_be_bytes([l4[4], l4[5], l4[6], l4[7]]);
    let segment = segment(mtu, packet.source.is_ipv4());
    // Ten segments at first (RFC 6928).
    let window = u16::try_from(10 * u32::from(segment)).unwrap_or(u16::MAX);
    let mut tcp = [&l4[2..4], &l4[..2]].concat();
    tcp.extend(cookie.to_be_bytes());
    tcp.extend(number.wrapping_add(1).to_be_bytes());
    // Six words of header, ACK and SYN.
    tcp.extend([0x60, 0x12]);
    tcp.extend(window.to_be_bytes());
    tcp.extend([0, 0, 0, 0, 2, 4]);
    tcp.extend(segment.to_be_bytes());
    let addresses = match (packet.destination, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => unreachable!("a packet has addresses of one family"),
    };
    let pseudo = [0, 0, 0, tcp.len() as u8, 0, 0, 0, 6];
    let sum = checksum(&[&addresses, &pseudo[..], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());

    let mut answer = bytes[..packet.parts.l3].to_vec();
    if let (Some(destination), Some(source)) = (frame.destination_mac, frame.source_mac) {
        answer[..6].copy_from_slice(&source);
        answer[6..12].copy_from_slice(&destination);
    }
    let mut ip = match packet.source {
        IpAddr::V4(_) => vec![0x45, 0, 0, 20 + tcp.len() as u8, 0, 0, 0x40, 0, 64, 6, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, tcp.len() as u8, 6, 64],
    };
    ip.extend(&addresses);
    if packet.source.is_ipv4() {
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
    }
    answer.extend(ip);
    answer.extend(tcp);
    // No shorter than a frame of Ethernet may be, if it was not before; what pads it is what was there.
    let shortest = bytes.len().min(60);
    if answer.len() < shortest {
        answer.extend(&bytes[answer.len()..shortest]);
    }
    answer
}
