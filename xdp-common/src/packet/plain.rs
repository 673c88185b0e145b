//! Frames and checksums written down once more, plainly, for tests: everything is summed up whole.

use super::rewrite::FrameMut;
use super::tunnel::Grow;
use super::{LinkType, Packet, parse};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

/// A frame with room before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl FrameMut for Frame {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.0.as_mut_slice().window_mut(offset)
    }
}

impl Grow for Frame {
    fn grow(&mut self, bytes: u32) -> bool {
        self.0.splice(0..0, vec![0xaa; bytes as usize]);
        true
    }
}

impl Frame {
    /// An IP packet behind an Ethernet header with some tags, with padding behind.
    pub fn ethernet(tags: &[u16], ip: &[u8]) -> Self {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in tags {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(ip);
        frame.resize(frame.len().max(60), 0);
        Self(frame)
    }

    pub fn parse(&self, link_type: LinkType) -> Packet {
        let mut packet = Packet::LEFT_BEHIND;
        parse(link_type, self.0.as_slice(), &mut packet).expect("well formed");
        packet
    }
}

/// The checksum over some bytes (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet; options in words of four bytes.
pub fn ipv4(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    options: &[u8],
    of: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let total = ((header + of.len()) as u16).to_be_bytes();
    let mut ip = vec![0x40 | (header / 4) as u8, 0x28, total[0], total[1], 0x12, 0x34, 0x40, 0];
    ip.extend([64, protocol, 0, 0]);
    ip.extend(source);
    ip.extend(destination);
    ip.extend(options);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip.extend(of);
    sealed(ip, protocol, header)
}

/// An IPv6 packet.
pub fn ipv6(source: [u16; 8], destination: [u16; 8], protocol: u8, of: &[u8]) -> Vec<u8> {
    let length = (of.len() as u16).to_be_bytes();
    let mut ip = vec![0x62, 0x81, 0x23, 0x45, length[0], length[1], protocol, 64];
    ip.extend(source.into_iter().chain(destination).flat_map(u16::to_be_bytes));
    ip.extend(of);
    sealed(ip, protocol, 40)
}

/// With its transport's checksum, unless UDP has asked for none by having one of 0 and a source port of 1.
fn sealed(mut ip: Vec<u8>, protocol: u8, l4: usize) -> Vec<u8> {
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMPV6 => 2,
        _ => return ip,
    };
    if protocol == UDP && ip[l4..l4 + 2] == [0, 1] {
        return ip;
    }
    let sum = transport_checksum(&ip, protocol, l4);
    let sum = if protocol == UDP && sum == 0 { 0xffff } else { sum };
    ip[l4 + at..l4 + at + 2].copy_from_slice(&sum.to_be_bytes());
    ip
}

fn transport_checksum(ip: &[u8], protocol: u8, l4: usize) -> u16 {
    let mut bytes = Vec::new();
    if protocol != ICMP {
        bytes.extend(if ip[0] >> 4 == 4 { &ip[12..20] } else { &ip[8..40] });
        bytes.extend((ip.len() as u32 - l4 as u32).to_be_bytes());
        bytes.extend([0, protocol]);
    }
    bytes.extend(&ip[l4..]);
    checksum(&bytes)
}

pub fn tcp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut tcp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    tcp.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    tcp
}

/// From port 1, it is one without a checksum.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut udp = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    udp
}

/// A message of ICMP or ICMPv6.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], quotation: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend(rest);
    icmp.extend(quotation);
    icmp
}

/// Asserts that a packet's checksums are right, as far as it is there: those of its IP header, of its
/// transport, of what a tunnel carries, and of what an ICMP error quotes.
#[track_caller]
pub fn assert_sums(ip: &[u8]) {
    assert_sums_of(ip, true);
}

#[track_caller]
fn assert_sums_of(ip: &[u8], is_whole: bool) {
    let is_v4 = ip[0] >> 4 == 4;
    let (l4, protocol, length) = if is_v4 {
        let header = usize::from(ip[0] & 15) * 4;
        assert_eq!(checksum(&ip[..header]), 0, "of the IPv4 header in {ip:02x?}");
        (header, ip[9], usize::from(u16::from_be_bytes([ip[2], ip[3]])))
    } else {
        (40, ip[6], 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])))
    };
    assert!(length == ip.len() || !is_whole, "{length} bytes are {}", ip.len());
    if length != ip.len() {
        return;
    }
    match protocol {
        4 | 41 => assert_sums_of(&ip[l4..], true),
        UDP if ip[l4 + 6..l4 + 8] == [0, 0] => {}
        TCP | UDP => assert_eq!(transport_checksum(ip, protocol, l4), 0, "in {ip:02x?}"),
        ICMP | ICMPV6 => {
            assert_eq!(transport_checksum(ip, protocol, l4), 0, "of ICMP in {ip:02x?}");
            let is_error = if is_v4 { matches!(ip[l4], 3 | 4 | 5 | 11 | 12) } else { ip[l4] < 128 };
            if is_error {
                assert_sums_of(&ip[l4 + 8..], false);
            }
        }
        _ => {}
    }
}
