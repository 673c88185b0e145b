//! ICMP errors about a packet that cannot go on (RFC 792, RFC 1191; RFC 4443): the frame goes back with
//! as much of the packet as such an error may quote.
//!
//! ```text
//! 0      type: 3, destination unreachable; ICMPv6: 1, destination unreachable, or 2, packet too big
//! 1      code: 4, does not fit; 3, no such port; ICMPv6: 0, and 4, no such port
//! 2..4   checksum; ICMPv6's has a pseudo header
//! 4..8   0; where the packet does not fit, the size that would: in IPv4 in the last two bytes
//! 8..    the packet, from its IP header on
//! ```

use super::answer::is_between_hosts;
use super::ethernet::EtherType;
use super::rewrite::{FrameMut, WindowMut, fold, halves};
use super::tunnel::{Grow, make_room};
use super::{Network, Packet, Window, transport};
use crate::verifier::black_box;

/// Bytes of the headers of IP and ICMP.
const IPV4: u32 = 20;
const IPV6: u32 = 40;
const ICMP: u32 = 8;
/// The longest error (RFC 1812, section 4.3.2.3; RFC 4443, section 3.1, and RFC 8200, section 5).
const LONGEST_V4: u32 = 576;
const LONGEST_V6: u32 = 1280;

const TIME_TO_LIVE: u8 = 64;
/// Internetwork control (RFC 1812, section 4.3.2.5).
const TYPE_OF_SERVICE: u8 = 0xc0;
const DONT_FRAGMENT: u16 = 1 << 14;

/// What is said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Problem {
    None = 0,
    TooBig = 1,
    NoSuchPort = 2,
}

/// An error to be sent. It lies in the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// A [`Problem`].
    pub problem: u32,
    /// Bytes of a packet that fits.
    pub mtu: u32,
    /// Whose address it comes from, as in [`Packet::source`].
    pub from: [u64; 2],
}

impl Answer {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self { problem: u32::MAX, mtu: u32::MAX, from: [u64::MAX; 2] };
}

/// A frame that can be made shorter at its end, too.
pub trait Reshape: Grow {
    /// Takes bytes away from its end. Whether that could be done.
    fn cut(&mut self, bytes: u32) -> bool;
}

/// Whether there may be an error about a packet (RFC 1122, section 3.2.2; RFC 4443, section 2.4). That it
/// is no error itself is known.
#[inline(always)]
pub fn may_answer<F: FrameMut>(frame: &mut F, packet: &Packet, answer: &Answer) -> bool {
    if !is_between_hosts(packet) {
        return false;
    }
    let [upper, lower] = packet.source;
    if packet.network == Network::IPV6 {
        return upper != 0 || lower > 1;
    }
    let network = upper >> 24;
    if network == 0 || network == 127 {
        return false;
    }
    // Who lets routers take packets apart does not want to know.
    let flags = frame.window_mut::<8>(packet.parts.l3).map_or(0, |ip| ip.u16(6));
    answer.problem != Problem::TooBig as u32 || flags & DONT_FRAGMENT != 0
}

/// Makes of a frame the error about its packet, which goes back to where it came from. `frame_length` is
/// the frame's. `None` where there is no room; then the frame may have been changed.
#[inline(always)]
pub fn write<F: Reshape>(
    frame: &mut F,
    packet: &Packet,
    answer: &Answer,
    frame_length: u32,
) -> Option<()> {
    let l3 = packet.parts.l3;
    let is_v6 = packet.network == Network::IPV6;
    let headers = ICMP + if is_v6 { IPV6 } else { IPV4 };
    let most = if is_v6 { LONGEST_V6 } else { LONGEST_V4 } - headers;
    let length = packet.parts.end.wrapping_sub(l3);
    let quoted = if length < most { length } else { most };
    let surplus = frame_length.wrapping_sub(l3 + quoted);
    if surplus != 0 && !frame.cut(surplus) {
        return None;
    }
    let [source, destination] = [packet.source_mac(), packet.destination_mac()];
    let macs = [source << 16 | destination >> 32, destination & 0xffff_ffff];
    let ether_type = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    make_room(frame, packet, headers, macs, ether_type)?;
    let sum = sum_of(frame, l3 + headers, quoted)?;
    if is_v6 {
        write_v6(packet, answer, quoted, &mut frame.window_mut::<40>(l3)?);
    } else {
        write_v4(packet, answer, quoted, &mut frame.window_mut::<20>(l3)?);
    }
    let mut icmp = frame.window_mut::<8>(l3.wrapping_add(headers - ICMP))?;
    let is_too_big = answer.problem == Problem::TooBig as u32;
    let kind: u16 = match (is_v6, is_too_big) {
        (false, true) => 0x0304,
        (false, false) => 0x0303,
        (true, true) => 0x0200,
        (true, false) => 0x0104,
    };
    let rest = if is_too_big { answer.mtu } else { 0 };
    let mut sum = u64::from(sum) + u64::from(kind) + u64::from(rest);
    if is_v6 {
        let [a, b] = answer.from;
        let [c, d] = packet.source;
        sum += halves(a) + halves(b) + halves(c) + halves(d);
        sum += u64::from(ICMP + quoted) + u64::from(transport::ICMPV6);
    }
    icmp.put_u16(0, kind);
    icmp.put_u16(2, !fold(sum));
    icmp.put_u32(4, rest);
    Some(())
}

#[inline(always)]
fn write_v4<W: WindowMut>(packet: &Packet, answer: &Answer, quoted: u32, ip: &mut W) {
    let words = [
        0x4500_0000 | u32::from(TYPE_OF_SERVICE) << 16 | (IPV4 + ICMP + quoted),
        // No identification: it is in one piece (RFC 6864, section 4).
        DONT_FRAGMENT.into(),
        u32::from(TIME_TO_LIVE) << 24 | u32::from(transport::ICMP) << 16,
        answer.from[0] as u32,
        packet.source[0] as u32,
    ];
    let mut sum = 0;
    let mut at = 0;
    while at < words.len() {
        ip.put_u32(at * 4, words[at]);
        sum += u64::from(words[at]);
        at += 1;
    }
    ip.put_u16(10, !fold(sum));
}

#[inline(always)]
fn write_v6<W: WindowMut>(packet: &Packet, answer: &Answer, quoted: u32, ip: &mut W) {
    ip.put_u32(0, 6 << 28);
    ip.put_u16(4, (ICMP + quoted) as u16);
    ip.put_u8(6, transport::ICMPV6);
    ip.put_u8(7, TIME_TO_LIVE);
    ip.put_u64(8, answer.from[0]);
    ip.put_u64(16, answer.from[1]);
    ip.put_u64(24, packet.source[0]);
    ip.put_u64(32, packet.source[1]);
}

/// The sum of so many bytes' words, at most [`LONGEST_V6`].
#[inline(always)]
fn sum_of<F: FrameMut>(frame: &mut F, from: u32, length: u32) -> Option<u16> {
    let mut sum = 0;
    let mut done = 0;
    while done + 64 <= LONGEST_V6 {
        if done + 64 > length {
            break;
        }
        let bytes = frame.window_mut::<64>(from.wrapping_add(done))?;
        let mut at = 0;
        while at < 64 {
            sum += halves(bytes.u64(at));
            at += 8;
        }
        done += 64;
    }
    // The verifier would follow the rest from each number of steps.
    let mut from = black_box(u64::from(from.wrapping_add(done))) as u32;
    let rest = black_box(u64::from(length.wrapping_sub(done))) as u32;
    let mut sum = u64::from(fold(sum));
    let mut done = 0;
    while done + 2 < 64 + 2 {
        if done + 2 > rest {
            break;
        }
        sum += u64::from(frame.window_mut::<2>(from)?.u16(0));
        from = from.wrapping_add(2);
        done += 2;
    }
    if rest & 1 != 0 {
        sum += u64::from(frame.window_mut::<1>(from)?.u8(0)) << 8;
    }
    Some(fold(sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::plain::{self, Frame, assert_sums, ipv4, ipv6};
    use crate::packet::{LinkType, NO_MACS};

    const CLIENT: [u8; 4] = [198, 51, 100, 7];
    const SERVICE: [u8; 4] = [192, 0, 2, 10];
    const CLIENT6: [u16; 8] = [0x2001, 0xdb8, 0xffff, 9, 8, 7, 6, 0xfffe];
    const SERVICE6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10];

    impl Reshape for Frame {
        fn cut(&mut self, bytes: u32) -> bool {
            let length = self.0.len() - bytes as usize;
            self.0.truncate(length);
            true
        }
    }

    /// An error about each packet: of every length that is special, with and without tags.
    #[test]
    fn errors_quote_what_fits_and_go_back() {
        for length in (0..200).chain(480..580).chain(1180..1260).chain([1472, 8000]) {
            let payload: Vec<u8> = (0..length).map(|at| (at * 31 + 7) as u8).collect();
            let udp = plain::udp(40_000, 53, &payload);
            for ip in [
                ipv4(CLIENT, SERVICE, plain::UDP, &[], &udp),
                ipv4(CLIENT, SERVICE, plain::UDP, &[1; 40], &udp),
                ipv6(CLIENT6, SERVICE6, plain::UDP, &udp),
            ] {
                for tags in [&[][..], &[5], &[5, 6]] {
                    for problem in [Problem::TooBig, Problem::NoSuchPort] {
                        check(&ip, tags, problem);
                    }
                }
            }
        }
    }

    fn check(ip: &[u8], tags: &[u16], problem: Problem) {
        let mut frame = Frame::ethernet(tags, ip);
        let before = frame.clone();
        let packet = frame.parse(LinkType::Ethernet);
        let answer = Answer { problem: problem as u32, mtu: 1452, from: packet.destination };
        assert!(may_answer(&mut frame, &packet, &answer));
        let length = frame.0.len() as u32;
        write(&mut frame, &packet, &answer, length).expect("there is room");
        let is_v6 = packet.network == Network::IPV6;
        let (l4, longest) = if is_v6 { (40, 1280) } else { (20, 576) };
        let l3 = 14 + 4 * tags.len();
        let error = &frame.0[l3..];
        assert_eq!(error.len(), longest.min(l4 + 8 + ip.len()));
        assert_sums(error);
        assert!(ip.starts_with(&error[l4 + 8..]));
        let now = frame.parse(LinkType::Ethernet);
        assert_eq!((now.source, now.destination), (packet.destination, packet.source));
        assert_eq!(now.source_mac(), packet.destination_mac());
        assert_eq!(now.destination_mac(), packet.source_mac());
        assert_eq!(&frame.0[12..l3], &before.0[12..l3], "tags and EtherType stay");
        assert_eq!(error[if is_v6 { 7 } else { 8 }], 64);
        let head: [u8; 2] = [error[l4], error[l4 + 1]];
        let rest: [u8; 4] = error[l4 + 4..l4 + 8].try_into().expect("four");
        let expected = match (is_v6, problem) {
            (false, Problem::TooBig) => [3, 4],
            (false, _) => [3, 3],
            (true, Problem::TooBig) => [2, 0],
            (true, _) => [1, 4],
        };
        assert_eq!(head, expected);
        let mtu = if problem == Problem::TooBig { 1452 } else { 0 };
        assert_eq!(u32::from_be_bytes(rest), mtu);
    }

    /// Nobody is told who would not want to know, or whose address it cannot be.
    #[test]
    fn errors_go_to_hosts_that_want_them() {
        let udp = plain::udp(40_000, 53, &[1; 8]);
        let answers = |ip: &[u8], change: fn(&mut Frame), problem: Problem| {
            let mut frame = Frame::ethernet(&[], ip);
            change(&mut frame);
            let packet = frame.parse(LinkType::Ethernet);
            let answer = Answer { problem: problem as u32, mtu: 1452, from: packet.destination };
            may_answer(&mut frame, &packet, &answer)
        };
        let from = |source| ipv4(source, SERVICE, plain::UDP, &[], &udp);
        let from6 = |source| ipv6(source, SERVICE6, plain::UDP, &udp);
        let as_is: fn(&mut Frame) = |_| {};
        let may_be_split: fn(&mut Frame) = |frame| frame.0[20] = 0;
        assert!(answers(&from(CLIENT), as_is, Problem::TooBig));
        assert!(!answers(&from(CLIENT), may_be_split, Problem::TooBig));
        assert!(answers(&from(CLIENT), may_be_split, Problem::NoSuchPort));
        assert!(!answers(&from(CLIENT), |frame| frame.0[0] = 1, Problem::NoSuchPort));
        for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert!(!answers(&from(source), as_is, Problem::NoSuchPort), "{source:?}");
        }
        assert!(answers(&from6(CLIENT6), as_is, Problem::TooBig));
        for source in [[0; 8], [0, 0, 0, 0, 0, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1]] {
            assert!(!answers(&from6(source), as_is, Problem::NoSuchPort), "{source:x?}");
        }
    }

    #[test]
    fn errors_of_links_without_addresses_begin_with_ip() {
        let udp = plain::udp(40_000, 53, &[1; 900]);
        let ip = ipv4(CLIENT, SERVICE, plain::UDP, &[], &udp);
        let mut frame = Frame(ip.clone());
        let packet = frame.parse(LinkType::Raw);
        assert_eq!(packet.macs, NO_MACS);
        let problem = Problem::TooBig as u32;
        let answer = Answer { problem, mtu: 800, from: packet.destination };
        write(&mut frame, &packet, &answer, ip.len() as u32).expect("there is room");
        assert_eq!(frame.0.len(), 576);
        assert_sums(&frame.0);
    }
}
