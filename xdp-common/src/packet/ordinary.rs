//! Ordinary packets: TCP or UDP in IPv4 without options, whole, in an Ethernet frame without tags. Their
//! headers lie at known places, so that all is read in a few steps and with one question about the length.
//!
//! What is read is what [`parse`](super::parse) reads. A frame that is not of this shape, or in which anything is
//! wrong, is left to that.

use super::ethernet::EtherType;
use super::{Fragment, Network, Packet, Parts, Transport, UNTAGGED, Window, transport};

/// Bytes that have to be there: up to the end of a TCP header without options. A packet by UDP with less than 12
/// bytes of data is not read here either, unless it is padded.
pub const BYTES: usize = 54;

const L3: u32 = 14;
const L4: u32 = 34;
/// IPv4's and TCP's header without options, and UDP's.
const IPV4: u32 = 20;
const TCP: u32 = 20;
const UDP: u32 = 8;

/// IPv4, header length of five words.
const VERSION_AND_LENGTH: u8 = 0x45;
/// More fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;

/// Whether a frame may have an ordinary packet, by its EtherType alone.
#[inline(always)]
pub fn may_be<W: Window>(frame: &W) -> bool {
    frame.u16(12) == EtherType::IPV4.0
}

/// Reads the frame that begins with these [`BYTES`]; `length` is that of the whole frame. `None` where it is not an
/// ordinary packet.
#[inline(always)]
pub fn read<W: Window>(frame: &W, length: u32) -> Option<Packet> {
    if !may_be(frame) || frame.u8(14) != VERSION_AND_LENGTH || frame.u16(20) & FRAGMENT != 0 {
        return None;
    }
    let total = u32::from(frame.u16(16));
    let protocol = frame.u8(23);
    let (transport, l4_octet, header) = if protocol == transport::TCP {
        let header = u32::from(frame.u8(46) >> 4) * 4;
        if header < TCP {
            return None;
        }
        (Transport::TCP, u32::from(frame.u8(47)), header)
    } else if protocol == transport::UDP {
        (Transport::PORTS, 0, UDP)
    } else {
        return None;
    };
    // Longer than the frame, or too short for what was read. A length of 0 has a meaning of its own.
    if total < IPV4 + TCP || total > length.wrapping_sub(L3) {
        return None;
    }
    Some(Packet {
        network: Network::IPV4,
        transport,
        macs: [frame.u64(0), frame.u32(8).into()],
        vlan: UNTAGGED,
        protocol: protocol.into(),
        source: [frame.u32(26).into(), 0],
        destination: [frame.u32(30).into(), 0],
        source_port: frame.u16(34).into(),
        destination_port: frame.u16(36).into(),
        l4_octet,
        dscp: (frame.u8(15) >> 2).into(),
        ttl: frame.u8(22).into(),
        fragment: Fragment::NONE,
        parts: Parts { l3: L3, l4: L4, payload: L4 + header, end: L3 + total },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::plain::{self, Frame};
    use crate::packet::{LinkType, parse};

    fn read_frame(frame: &[u8]) -> Option<Packet> {
        read(frame.first_chunk::<BYTES>()?, frame.len() as u32)
    }

    /// What the longer way reads. What it leaves as it was is 0, as here.
    fn parsed(frame: &[u8]) -> Option<Packet> {
        let mut packet =
            Packet { source: [0; 2], destination: [0; 2], l4_octet: 0, ..Packet::LEFT_BEHIND };
        parse(LinkType::Ethernet, frame, &mut packet).ok().map(|()| packet)
    }

    fn frames() -> Vec<Vec<u8>> {
        let tcp = [&[0x30, 0x39, 0, 80][..], &[0; 8], &[0x50, 0x12], &[0; 6], b"data"].concat();
        let udp = [&[0x30, 0x39, 0, 53, 0, 30, 0, 0][..], &[7; 22]].concat();
        let (from, to) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        [(plain::TCP, &tcp), (plain::UDP, &udp), (plain::ICMP, &udp), (132, &tcp)]
            .into_iter()
            .flat_map(|(protocol, of)| {
                let bare = Frame::ethernet(&[], &plain::ipv4(from, to, protocol, &[], of));
                let options = plain::ipv4(from, to, protocol, &[1; 4], of);
                [bare, Frame::ethernet(&[], &options), Frame::ethernet(&[5], &options)]
            })
            .map(|Frame(bytes)| bytes)
            .collect()
    }

    #[test]
    fn tcp_and_udp_without_options_are_ordinary() {
        let frames = frames();
        let is_ordinary: Vec<bool> = frames.iter().map(|it| read_frame(it).is_some()).collect();
        let [tcp, udp] = [0, 3];
        let expected: Vec<bool> = (0..frames.len()).map(|it| it == tcp || it == udp).collect();
        assert_eq!(is_ordinary, expected);
        let packet = read_frame(&frames[tcp]).expect("ordinary");
        assert_eq!((packet.source_port, packet.destination_port), (12345, 80));
        assert_eq!((packet.l4_octet, packet.dscp, packet.ttl), (0x12, 0x28 >> 2, 64));
    }

    /// Whatever is written over a frame, and wherever it is cut: what is read here is what the longer way reads.
    #[test]
    fn what_is_read_is_what_the_longer_way_reads() {
        let mut state = 11_u64;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) as usize % limit
        };
        let (mut ordinary, mut malformed) = (0, 0);
        for frame in frames() {
            for _ in 0..20_000 {
                let mut frame = frame.clone();
                for _ in 0..below(4) {
                    let at = 12 + below(BYTES - 12);
                    // Anything, or a few bits of what is there, or a number around those that mean something.
                    frame[at] = match below(3) {
                        0 => below(256) as u8,
                        1 => frame[at] ^ 1 << below(8),
                        _ => frame[at].wrapping_add(below(5) as u8).wrapping_sub(2),
                    };
                }
                frame.truncate(frame.len() - below(2) * below(30));
                let (read, parsed) = (read_frame(&frame), parsed(&frame));
                malformed += usize::from(parsed.is_none());
                if read.is_some() {
                    ordinary += 1;
                    assert_eq!(read, parsed, "{frame:02x?}");
                }
            }
        }
        assert!(ordinary > 10_000 && malformed > 10_000, "{ordinary}, {malformed}");
    }

    /// What lies in more buffers than the first counts too, and a length of 0 is never an ordinary packet's.
    #[test]
    fn the_length_is_that_of_the_whole_frame() {
        let mut frame = frames().swap_remove(0);
        let headers = |frame: &[u8]| *frame.first_chunk::<BYTES>().expect("long enough");
        frame[16..18].copy_from_slice(&9000_u16.to_be_bytes());
        assert_eq!(read(&headers(&frame), 9013), None);
        assert_eq!(read(&headers(&frame), 9014).map(|it| it.parts.end), Some(9014));
        frame[16..18].copy_from_slice(&[0, 0]);
        assert_eq!(read(&headers(&frame), 100_000), None);
    }
}
