//! The SYN-ACK that answers a SYN in its place (RFC 9293, section 3.10.7.2), with a sequence number that the kernel
//! knows again: its SYN cookie (RFC 4987, section 3.6).
//!
//! ```text
//! 0..4    ports                       12..14  header length (six words) and flags
//! 4..8    sequence number: the cookie 14..16  window
//! 8..12   what is acknowledged        16..20  checksum, urgent pointer
//! 20..24  option: maximum segment size (2, 4, and the size)
//! ```
//!
//! It offers no timestamps, and so neither window scaling nor selective acknowledgements: the kernel takes them from
//! the lowest bits of a timestamp that comes back, less an offset of the connection that only the kernel knows.

use super::answer::is_between_hosts;
use super::rewrite::{FrameMut, WindowMut, fold, halves};
use super::tunnel::is_plain;
use super::{Fragment, NO_MACS, Network, Packet, Window, transport};

/// Bytes of the headers.
pub const IPV4: u32 = 20;
pub const IPV6: u32 = 40;
const TCP: u32 = 24;
/// The shortest and the longest header of TCP.
pub const SHORTEST_TCP: u32 = 20;
pub const LONGEST_TCP: u32 = 60;

const TIME_TO_LIVE: u8 = 64;
const DONT_FRAGMENT: u32 = 1 << 14;
/// A header of six words, SYN and ACK.
const LENGTH_AND_FLAGS: u32 = 6 << 12 | 0x12;
const SYN: u32 = 0x02;
/// FIN, SYN, RST and ACK.
const KINDS: u32 = 0x17;
/// As many segments may come before the kernel says more: what a sender begins with (RFC 6928).
const SEGMENTS: u32 = 10;

/// A frame that can be made shorter or longer at its end.
pub trait Resize: FrameMut {
    /// Adds bytes at its end, or takes some away. Whether that could be done.
    fn resize(&mut self, by: i32) -> bool;
}

/// Whether a packet is a SYN that can be answered in its place: of one host to another, whole, without options of IP,
/// behind no more than two VLAN tags, and from where an answer can go. `before` are the two bytes before it.
#[inline(always)]
pub fn is_answerable(packet: &Packet, before: u16) -> bool {
    let headers = if packet.network == Network::IPV6 { IPV6 } else { IPV4 };
    packet.l4_octet & KINDS == SYN
        && packet.fragment == Fragment::NONE
        && packet.parts.l4.wrapping_sub(packet.parts.l3) == headers
        && is_plain(packet, before)
        && is_between_hosts(packet)
        && is_from_another_host(packet)
}

/// Whether a packet says that it comes from another host than the one that it is for. "This host on this network" and
/// loopback addresses name no other (RFC 6890, section 2.2), nor does the packet's own destination.
#[inline(always)]
fn is_from_another_host(packet: &Packet) -> bool {
    let [high, low] = packet.source;
    if packet.network == Network::IPV6 {
        let is_reserved = high == 0 && low <= 1;
        return !is_reserved && packet.source != packet.destination;
    }
    let first = high >> 24 & 0xff;
    first != 0 && first != 127 && high != packet.destination[0]
}

/// Bytes of TCP's header, in bounds that are its own.
#[inline(always)]
pub const fn tcp_length(packet: &Packet) -> u32 {
    packet.parts.payload.wrapping_sub(packet.parts.l4)
}

/// Makes of a frame with a SYN the one with the SYN-ACK. `size` is the largest segment that this host takes.
/// `None` where that cannot be done; then the frame may have been changed.
#[inline(always)]
pub fn turn_around<F: Resize>(
    frame: &mut F,
    packet: &Packet,
    frame_length: u32,
    cookie: u32,
    size: u32,
) -> Option<()> {
    let Packet { source, destination, parts, .. } = packet;
    let is_v6 = packet.network == Network::IPV6;
    let number = frame.window_mut::<20>(parts.l4)?.u32(4);
    let length = parts.l3 + TCP + if is_v6 { IPV6 } else { IPV4 };
    // A frame of Ethernet is no shorter than this.
    let shortest = if frame_length < 60 { frame_length } else { 60 };
    let length = if length < shortest { shortest } else { length };
    let by = length.wrapping_sub(frame_length) as i32;
    if by != 0 && !frame.resize(by) {
        return None;
    }
    let mut sum = u64::from(TCP) + u64::from(transport::TCP);
    if is_v6 {
        let mut ip = frame.window_mut::<40>(parts.l3)?;
        ip.put_u32(0, 6 << 28);
        ip.put_u16(4, TCP as u16);
        ip.put_u8(6, transport::TCP);
        ip.put_u8(7, TIME_TO_LIVE);
        ip.put_u64(8, destination[0]);
        ip.put_u64(16, destination[1]);
        ip.put_u64(24, source[0]);
        ip.put_u64(32, source[1]);
        sum += halves(source[0]) + halves(source[1]);
        sum += halves(destination[0]) + halves(destination[1]);
    } else {
        let words = [
            0x4500_0000 | (IPV4 + TCP),
            // No identification: it is in one piece (RFC 6864, section 4).
            DONT_FRAGMENT,
            u32::from(TIME_TO_LIVE) << 24 | u32::from(transport::TCP) << 16,
            destination[0] as u32,
            source[0] as u32,
        ];
        let mut ip = frame.window_mut::<20>(parts.l3)?;
        let mut of_ip = 0;
        let mut at = 0;
        while at < words.len() {
            ip.put_u32(at * 4, words[at]);
            of_ip += u64::from(words[at]);
            at += 1;
        }
        ip.put_u16(10, !fold(of_ip));
        sum += halves(source[0]) + halves(destination[0]);
    }
    let window = SEGMENTS.wrapping_mul(size);
    let window = if window < 0xffff { window } else { 0xffff };
    let words = [
        packet.destination_port << 16 | packet.source_port & 0xffff,
        cookie,
        number.wrapping_add(1),
        LENGTH_AND_FLAGS << 16 | window,
        0,
        2 << 24 | 4 << 16 | size & 0xffff,
    ];
    write_words(&mut frame.window_mut::<24>(parts.l4)?, &words, sum);
    if packet.macs != NO_MACS {
        let [to, from] = [packet.source_mac(), packet.destination_mac()];
        let mut macs = frame.window_mut::<12>(0)?;
        macs.put_u64(0, to << 16 | from >> 32);
        macs.put_u32(8, from as u32);
    }
    Some(())
}

/// Writes TCP's header, with the checksum over it and over what was summed up before.
#[inline(always)]
fn write_words<W: WindowMut>(tcp: &mut W, words: &[u32; 6], mut sum: u64) {
    let mut at = 0;
    while at < words.len() {
        tcp.put_u32(at * 4, words[at]);
        sum += u64::from(words[at]);
        at += 1;
    }
    tcp.put_u16(16, !fold(sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::packet::plain::{self, Frame, assert_sums, ipv4, ipv6};

    const CLIENT6: [u16; 8] = [0x2001, 0xdb8, 0xffff, 9, 8, 7, 6, 0xfffe];
    const SERVER6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10];

    impl Resize for Frame {
        fn resize(&mut self, by: i32) -> bool {
            self.0.resize((self.0.len() as i32 + by) as usize, 0xaa);
            true
        }
    }

    /// A SYN with these options and data.
    fn syn(flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut tcp = plain::tcp(40_000, 443, &[options, data].concat());
        tcp[12] = ((20 + options.len()) as u8 / 4) << 4;
        tcp[13] = flags;
        tcp
    }

    #[test]
    fn a_syn_becomes_its_syn_ack() {
        let options: [&[u8]; 3] = [
            &[],
            &[2, 4, 5, 180],
            &[2, 4, 5, 180, 4, 2, 8, 10, 1, 1, 1, 1, 0, 0, 0, 0, 1, 3, 3, 7],
        ];
        for (options, data) in options.iter().flat_map(|it| [(it, &[][..]), (it, &[7; 99][..])]) {
            let tcp = syn(2, options, data);
            for ip in [
                ipv4([198, 51, 100, 7], [192, 0, 2, 10], plain::TCP, &[], &tcp),
                ipv6(CLIENT6, SERVER6, plain::TCP, &tcp),
            ] {
                for (tags, size) in [(&[][..], 1_460), (&[5], 536), (&[5, 6], 8_960)] {
                    let mut frame = Frame::ethernet(tags, &ip);
                    let tagged = frame.0[12..14 + 4 * tags.len()].to_vec();
                    let packet = frame.parse(LinkType::Ethernet);
                    assert!(is_answerable(&packet, if ip[0] >> 4 == 4 { 0x800 } else { 0x86dd }));
                    let length = frame.0.len() as u32;
                    turn_around(&mut frame, &packet, length, 0xfedc_ba98, size).expect("whole");
                    let now = frame.parse(LinkType::Ethernet);
                    assert_eq!((now.source, now.destination), (packet.destination, packet.source));
                    assert_eq!((now.source_port, now.destination_port), (443, 40_000));
                    assert_eq!(now.source_mac(), packet.destination_mac());
                    assert_eq!(now.destination_mac(), packet.source_mac());
                    assert_eq!((now.ttl, now.l4_octet), (64, 0x12));
                    assert_eq!(frame.0[12..14 + 4 * tags.len()], tagged);
                    let reply = &frame.0[now.parts.l3 as usize..now.parts.end as usize];
                    assert_sums(reply);
                    let tcp = &reply[reply.len() - 24..];
                    assert_eq!(tcp[4..12], [0xfe, 0xdc, 0xba, 0x98, 1, 2, 3, 5]);
                    let window = (10 * size).min(0xffff) as u16;
                    assert_eq!(tcp[14..16], window.to_be_bytes());
                    assert_eq!(tcp[20..22], [2, 4]);
                    assert_eq!(tcp[22..], (size as u16).to_be_bytes());
                    assert!(frame.0.len() == 60.max(now.parts.end as usize), "{}", frame.0.len());
                    assert!(!is_answerable(&now, 0x800), "nor is the answer answered");
                }
            }
        }
    }

    #[test]
    fn what_is_odd_is_not_answered() {
        let of = |flags, options: &[u8]| {
            let ip = ipv4(
                [198, 51, 100, 7],
                [192, 0, 2, 10],
                plain::TCP,
                options,
                &syn(flags, &[], &[]),
            );
            Frame::ethernet(&[], &ip)
        };
        let is = |frame: Frame, before| is_answerable(&frame.parse(LinkType::Ethernet), before);
        assert!(is(of(0x02, &[]), 0x800));
        assert!(is(of(0xc2, &[]), 0x800), "one that asks for ECN");
        for flags in [0x12, 0x03, 0x06, 0x10, 0] {
            assert!(!is(of(flags, &[]), 0x800), "{flags:#x}");
        }
        assert!(!is(of(0x02, &[1; 4]), 0x800), "options of IP");
        assert!(!is(of(0x02, &[]), 0x21), "PPP");
        for source in [[127, 0, 0, 1], [0; 4], [0, 1, 2, 3], [224, 0, 0, 1], [192, 0, 2, 10]] {
            let ip = ipv4(source, [192, 0, 2, 10], plain::TCP, &[], &syn(2, &[], &[]));
            assert!(!is(Frame::ethernet(&[], &ip), 0x800), "from {source:?}");
        }
        for source in [[0; 8], [0, 0, 0, 0, 0, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1], SERVER6] {
            let ip = ipv6(source, SERVER6, plain::TCP, &syn(2, &[], &[]));
            assert!(!is(Frame::ethernet(&[], &ip), 0x86dd), "from {source:x?}");
        }
        let mut group = of(0x02, &[]);
        group.0[0] |= 1;
        assert!(!is(group, 0x800), "to a group");
        let mut fragment = of(0x02, &[]);
        fragment.0[20] = 0x20;
        assert!(!is(fragment, 0x800), "the first fragment");
    }
}
