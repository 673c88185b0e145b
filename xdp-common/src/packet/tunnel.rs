//! A packet put into another one, whole: IP in IP (RFC 2003, RFC 2473), or Generic UDP Encapsulation,
//! variant 1, in which the inner packet follows the UDP header at once (draft-ietf-intarea-gue,
//! section 4).
//!
//! The outer header takes the inner one's traffic class, and a time to live of its own. Its source comes
//! from the flow, so that receivers spread tunnelled packets over their queues as they would the packets
//! themselves.

use super::ethernet::EtherType;
use super::rewrite::{FrameMut, WindowMut, fold, halves};
use super::{NO_MACS, Network, Packet, Transport, Window, transport};
use crate::image::Header;

/// Bytes of the headers that are put before a packet.
pub const IPV4: u32 = 20;
pub const IPV6: u32 = 40;
pub const UDP: u32 = 8;
/// The most of them.
pub const LONGEST: u32 = IPV6 + UDP;

const TIME_TO_LIVE: u8 = 64;
/// Protocol numbers of what an outer header carries.
const IS_IPV4: u8 = 4;
const IS_IPV6: u8 = 41;
const IS_UDP: u8 = 17;

/// A frame that can be made longer at its beginning.
pub trait Grow: FrameMut {
    /// Puts `bytes` before its first byte. Whether there was room; what stands there is unknown. Every place
    /// in the frame is farther from its beginning then.
    fn grow(&mut self, bytes: u32) -> bool;
}

/// Where the IP header begins behind an Ethernet header without, with one and with two tags.
const UNTAGGED: u32 = 14;
const TAGGED: u32 = 18;
const TWICE_TAGGED: u32 = 22;
const ADDRESSES: u32 = 12;

/// Puts a packet into another one; `is_v6` is the outer one's family. The frame keeps its addresses and its
/// tags. `None` where there is no room; then the frame may have been changed.
#[inline(always)]
pub fn put_into<F: Grow>(
    frame: &mut F,
    header: &Header,
    packet: &Packet,
    outer: &Outer,
    is_v6: bool,
) -> Option<()> {
    let l3 = packet.parts.l3;
    let sum = if is_v6 && outer.port != 0 { sum_of(frame, packet) } else { None };
    let ether_type = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    make_room(frame, packet, Outer::length(is_v6, outer.port), packet.macs, ether_type)?;
    if is_v6 {
        outer.write_v6(header, &mut frame.window_mut::<40>(l3)?);
        if outer.port != 0 {
            let addresses = outer.addresses_v6(header);
            outer.write_udp(addresses, sum, &mut frame.window_mut::<8>(l3 + IPV6)?);
        }
    } else {
        outer.write_v4(header, &mut frame.window_mut::<20>(l3)?);
        if outer.port != 0 {
            outer.write_udp(0, None, &mut frame.window_mut::<8>(l3 + IPV4)?);
        }
    }
    Some(())
}

/// Makes room for headers before a plain packet ([`is_plain`]), behind the frame's addresses and tags;
/// `macs` are the addresses that it gets, as in [`Packet::macs`], if it has any. `None` where there is
/// no room; then the frame may have been changed.
#[inline(always)]
pub fn make_room<F: Grow>(
    frame: &mut F,
    packet: &Packet,
    bytes: u32,
    macs: [u64; 2],
    ether_type: EtherType,
) -> Option<()> {
    let l3 = packet.parts.l3;
    let mut tags = [0; 2];
    if l3 == TAGGED || l3 == TWICE_TAGGED {
        tags[0] = frame.window_mut::<4>(ADDRESSES)?.u32(0);
        if l3 == TWICE_TAGGED {
            tags[1] = frame.window_mut::<4>(ADDRESSES + 4)?.u32(0);
        }
    }
    if !frame.grow(bytes) {
        return None;
    }
    if packet.macs != NO_MACS {
        {
            let mut addresses = frame.window_mut::<12>(0)?;
            addresses.put_u64(0, macs[0]);
            addresses.put_u32(8, macs[1] as u32);
        }
        if l3 == TAGGED || l3 == TWICE_TAGGED {
            frame.window_mut::<4>(ADDRESSES)?.put_u32(0, tags[0]);
            if l3 == TWICE_TAGGED {
                frame.window_mut::<4>(ADDRESSES + 4)?.put_u32(0, tags[1]);
            }
        }
        frame.window_mut::<2>(l3.wrapping_sub(2))?.put_u16(0, ether_type.0);
    }
    Some(())
}

/// Whether a packet stands behind an Ethernet header with no more than two tags, or at the beginning of a
/// frame without one. `before` are the two bytes before it.
#[inline(always)]
pub fn is_plain(packet: &Packet, before: u16) -> bool {
    let l3 = packet.parts.l3;
    if packet.macs == NO_MACS {
        return l3 == 0;
    }
    let is_ip = before == EtherType::IPV4.0 || before == EtherType::IPV6.0;
    is_ip && (l3 == UNTAGGED || l3 == TAGGED || l3 == TWICE_TAGGED)
}

/// An outer header to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Bytes of the inner packet.
    pub inner: u32,
    /// Whether the inner packet is IPv6.
    pub inner_is_v6: bool,
    /// Type of service, or traffic class, of the inner packet.
    pub class: u8,
    /// Where it goes, as in [`Packet::destination`].
    pub destination: [u64; 2],
    /// The flow's number, and the UDP port of GUE, 0 for IP in IP.
    pub flow: u32,
    pub port: u16,
}

impl Outer {
    /// How many bytes are put before a packet.
    #[inline(always)]
    pub const fn length(is_v6: bool, port: u16) -> u32 {
        (if is_v6 { IPV6 } else { IPV4 }) + if port != 0 { UDP } else { 0 }
    }

    #[inline(always)]
    fn carries(&self) -> u8 {
        match (self.port, self.inner_is_v6) {
            (0, false) => IS_IPV4,
            (0, true) => IS_IPV6,
            _ => IS_UDP,
        }
    }

    /// Writes an IPv4 header.
    #[inline(always)]
    pub fn write_v4<W: WindowMut>(&self, header: &Header, ip: &mut W) {
        let udp = if self.port != 0 { UDP } else { 0 };
        let total = (IPV4 + udp + self.inner) as u16;
        let source = header.tunnel_v4 | self.flow & header.tunnel_v4_flow;
        let destination = self.destination[0] as u32;
        let first = 0x4500 | u16::from(self.class);
        let seventh = u16::from(TIME_TO_LIVE) << 8 | u16::from(self.carries());
        ip.put_u16(0, first);
        ip.put_u16(2, total);
        // Neither an identification nor flags: a tunnel's packets are not to be put together again.
        ip.put_u32(4, 0);
        ip.put_u16(8, seventh);
        ip.put_u32(12, source);
        ip.put_u32(16, destination);
        let sum = u64::from(first)
            + u64::from(total)
            + u64::from(seventh)
            + u64::from(source)
            + u64::from(destination);
        ip.put_u16(10, !fold(sum));
    }

    /// Writes an IPv6 header.
    #[inline(always)]
    pub fn write_v6<W: WindowMut>(&self, header: &Header, ip: &mut W) {
        let udp = if self.port != 0 { UDP } else { 0 };
        // The flow label is the flow's too (RFC 6438).
        let label = self.flow >> 12;
        ip.put_u32(0, 6 << 28 | u32::from(self.class) << 20 | label);
        ip.put_u16(4, (udp + self.inner) as u16);
        ip.put_u16(6, u16::from(self.carries()) << 8 | u16::from(TIME_TO_LIVE));
        let [high, low] = self.source_v6(header);
        ip.put_u64(8, high);
        ip.put_u64(16, low);
        ip.put_u64(24, self.destination[0]);
        ip.put_u64(32, self.destination[1]);
    }

    #[inline(always)]
    fn source_v6(&self, header: &Header) -> [u64; 2] {
        // Both halves of the lower word, whichever bits the prefix leaves to the flow.
        let flow = u64::from(self.flow) << 32 | u64::from(self.flow);
        [header.tunnel_v6[0], header.tunnel_v6[1] | flow & header.tunnel_v6_flow]
    }

    /// Writes the UDP header of GUE. `inner_sum` is the sum of the inner packet's words; `None` where it is
    /// not known, and the datagram has no checksum.
    #[inline(always)]
    pub fn write_udp<W: WindowMut>(&self, pseudo: u64, inner_sum: Option<u16>, udp: &mut W) {
        // Ports from 49152 on are nobody's (RFC 6335, section 6).
        let source = 0xc000 | (self.flow >> 16) as u16;
        let length = (UDP + self.inner) as u16;
        udp.put_u16(0, source);
        udp.put_u16(2, self.port);
        udp.put_u16(4, length);
        let mut checksum = 0;
        if let Some(inner) = inner_sum {
            let sum = pseudo
                + u64::from(inner)
                + u64::from(source)
                + u64::from(self.port)
                + 2 * u64::from(length)
                + u64::from(IS_UDP);
            checksum = !fold(sum);
            if checksum == 0 {
                checksum = 0xffff;
            }
        }
        udp.put_u16(6, checksum);
    }

    /// The sum of the words of an outer IPv6 header's addresses.
    #[inline(always)]
    pub fn addresses_v6(&self, header: &Header) -> u64 {
        let [a, b] = self.source_v6(header);
        let [c, d] = self.destination;
        halves(a) + halves(b) + halves(c) + halves(d)
    }
}

/// The sum of a packet's words, without looking at its payload: a checksum that is right and covers all
/// of its transport says what that adds, and an IPv4 header adds nothing. `None` where no checksum does:
/// with SCTP, with UDP that has none, with fragments, and with extension headers. Then the datagram around
/// it goes without a checksum over IPv6 too, as tunnels may (RFC 6935, section 5).
#[inline(always)]
fn sum_of<F: FrameMut>(frame: &mut F, packet: &Packet) -> Option<u16> {
    const MORE_FRAGMENTS: u16 = 1 << 13;
    let Packet { protocol, source, destination, parts, .. } = packet;
    let is_v6 = packet.network == Network::IPV6;
    let length = parts.end.wrapping_sub(parts.l4);
    if *protocol == u32::from(transport::UDP) {
        let udp = frame.window_mut::<8>(parts.l4)?;
        if udp.u16(6) == 0 || u32::from(udp.u16(4)) != length {
            return None;
        }
    } else if packet.transport != Transport::TCP && packet.transport != Transport::ICMP {
        return None;
    }
    let mut addresses = halves(source[0]) + halves(destination[0]);
    if is_v6 {
        addresses += halves(source[1]) + halves(destination[1]);
        if parts.l4.wrapping_sub(parts.l3) != IPV6 {
            return None;
        }
        let first = halves(frame.window_mut::<8>(parts.l3)?.u64(0));
        let pseudo = addresses + u64::from(length) + u64::from(*protocol);
        return Some(fold(first + addresses + u64::from(!fold(pseudo))));
    }
    if frame.window_mut::<8>(parts.l3)?.u16(6) & MORE_FRAGMENTS != 0 {
        return None;
    }
    if packet.transport == Transport::ICMP {
        return Some(0);
    }
    Some(!fold(addresses + u64::from(length) + u64::from(*protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::packet::plain::{self, Frame, assert_sums, ipv4, ipv6};

    const A: [u8; 4] = [198, 51, 100, 7];
    const B: [u8; 4] = [192, 0, 2, 10];
    const A6: [u16; 8] = [0x2001, 0xdb8, 0xffff, 9, 8, 7, 6, 0xfffe];
    const B6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10];

    fn inner() -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for length in (0..40).chain([1399, 1400]) {
            let payload: Vec<u8> = (0..length).map(|at| (at * 37 + 11) as u8).collect();
            let transports = [
                (plain::TCP, plain::tcp(40_000, 443, &payload)),
                (plain::UDP, plain::udp(40_000, 53, &payload)),
                (plain::UDP, plain::udp(1, 53, &payload)),
                (132, plain::tcp(40_000, 53, &payload)),
            ];
            for (protocol, transport) in &transports {
                packets.push(ipv4(A, B, *protocol, &[], transport));
                packets.push(ipv4(A, B, *protocol, &[1; 8], transport));
                packets.push(ipv6(A6, B6, *protocol, transport));
            }
            let quoted = ipv4(B, A, plain::UDP, &[], &transports[1].1);
            let error = plain::icmp(3, 4, [0, 0, 5, 0], &quoted);
            packets.push(ipv4(A, B, plain::ICMP, &[], &error));
            let quoted = ipv6(B6, A6, plain::UDP, &transports[1].1);
            let error = plain::icmp(2, 0, [0, 0, 5, 0], &quoted);
            packets.push(ipv6(A6, B6, plain::ICMPV6, &error));
        }
        packets
    }

    fn outer(packet: &Packet, is_v6: bool, port: u16) -> Outer {
        Outer {
            inner: packet.parts.end - packet.parts.l3,
            inner_is_v6: packet.network == Network::IPV6,
            class: 0x28,
            destination: if is_v6 { [0x2001_0db8_0001_0000, 0xb1] } else { [0x0a00_0001, 0] },
            flow: 0x8765_4321,
            port,
        }
    }

    /// A header whose tunnels come from 172.16.0.0/16 and from 100::/64.
    fn header() -> Header {
        // SAFETY: a header is numbers.
        let mut header: Header = unsafe { core::mem::zeroed() };
        (header.tunnel_v4, header.tunnel_v4_flow) = (0xac10_0000, 0xffff);
        (header.tunnel_v6, header.tunnel_v6_flow) = ([0x0100_0000_0000_0000, 0], u64::MAX);
        header
    }

    /// The checksum of GUE over IPv6 is that of all bytes behind it, or there is none.
    #[test]
    fn tunnels_have_the_checksums_of_what_they_carry() {
        let (mut with, mut without) = (0, 0);
        for ip in inner() {
            for (is_v6, port) in [(false, 0), (true, 0), (false, 6080), (true, 6080)] {
                for tags in [&[][..], &[5], &[5, 6]] {
                    let mut frame = Frame::ethernet(tags, &ip);
                    let packet = frame.parse(LinkType::Ethernet);
                    let outer = outer(&packet, is_v6, port);
                    put_into(&mut frame, &header(), &packet, &outer, is_v6).expect("there is room");
                    let l3 = packet.parts.l3 as usize;
                    let end = l3 + (Outer::length(is_v6, port) + outer.inner) as usize;
                    let whole = &frame.0[l3..end];
                    assert!(whole.ends_with(&ip));
                    if is_v6 && port != 0 && whole[46..48] == [0, 0] {
                        without += 1;
                        let l4 = if ip[0] >> 4 == 4 { usize::from(ip[0] & 15) * 4 } else { 40 };
                        let protocol = if l4 == 40 { ip[6] } else { ip[9] };
                        let is_bare = protocol == plain::UDP && ip[l4 + 6..l4 + 8] == [0, 0];
                        assert!(protocol == 132 || is_bare, "could be known: {ip:02x?}");
                    } else {
                        with += 1;
                        assert_sums(whole);
                    }
                }
            }
        }
        assert!(with > 1_000 && without > 100, "{with} {without}");
    }

    /// The checksum of a datagram covers all of it, not what its first fragment has.
    #[test]
    fn first_fragments_are_carried_without_a_checksum() {
        let mut ip = ipv4(A, B, plain::UDP, &[], &plain::udp(7, 53, &[1; 40]));
        ip[6] = 0x20;
        let mut frame = Frame::ethernet(&[], &ip);
        let packet = frame.parse(LinkType::Ethernet);
        assert_eq!(sum_of(&mut frame, &packet), None);
    }
}
