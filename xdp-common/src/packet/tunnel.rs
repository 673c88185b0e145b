//! A packet put into another one, whole: IP in IP (RFC 2003, RFC 2473), or Generic UDP Encapsulation,
//! variant 1, in which the inner packet follows the UDP header at once (draft-ietf-intarea-gue,
//! section 4).
//!
//! The outer header takes the inner one's traffic class, and a time to live of its own. Its source comes
//! from the flow, so that receivers spread tunnelled packets over their queues as they would the packets
//! themselves.

use super::ethernet::EtherType;
use super::rewrite::{FrameMut, WindowMut, fold};
use super::{NO_MACS, Network, Packet, Window};
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
/// tags. `None` where there is no room, or where something else than tags stands before the packet;
/// then the frame may have been changed.
#[inline(always)]
pub fn put_into<F: Grow>(
    frame: &mut F,
    header: &Header,
    packet: &Packet,
    outer: &Outer,
    is_v6: bool,
) -> Option<()> {
    let l3 = packet.parts.l3;
    let has_macs = packet.macs != NO_MACS;
    let mut tags = [0; 2];
    if l3 == TAGGED || l3 == TWICE_TAGGED {
        tags[0] = frame.window_mut::<4>(ADDRESSES)?.u32(0);
        if l3 == TWICE_TAGGED {
            tags[1] = frame.window_mut::<4>(ADDRESSES + 4)?.u32(0);
        }
    }
    if !frame.grow(Outer::length(is_v6, outer.port)) {
        return None;
    }
    if has_macs {
        {
            let mut addresses = frame.window_mut::<12>(0)?;
            addresses.put_u64(0, packet.macs[0]);
            addresses.put_u32(8, packet.macs[1] as u32);
        }
        if l3 == TAGGED || l3 == TWICE_TAGGED {
            frame.window_mut::<4>(ADDRESSES)?.put_u32(0, tags[0]);
            if l3 == TWICE_TAGGED {
                frame.window_mut::<4>(ADDRESSES + 4)?.put_u32(0, tags[1]);
            }
        }
        let EtherType(ether_type) = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        frame.window_mut::<2>(l3.wrapping_sub(2))?.put_u16(0, ether_type);
    }
    if is_v6 {
        outer.write_v6(header, &mut frame.window_mut::<40>(l3)?);
        if outer.port != 0 {
            let sum = outer.inner_sum(packet);
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

    /// The sum of the inner packet's words, where it has a checksum over all of it.
    #[inline(always)]
    fn inner_sum(&self, packet: &Packet) -> Option<u16> {
        (packet.transport == super::Transport::TCP).then(|| sum_of(packet))
    }

    /// The sum of the words of an outer IPv6 header's addresses.
    #[inline(always)]
    pub fn addresses_v6(&self, header: &Header) -> u64 {
        let [a, b] = self.source_v6(header);
        let [c, d] = self.destination;
        let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
        halves(a) + halves(b) + halves(c) + halves(d)
    }
}

/// The sum of a packet's words whose checksums are right, without looking at its payload: its IPv4 header
/// adds nothing, and its transport header with all behind it adds the complement of the pseudo header.
#[inline(always)]
pub fn sum_of(packet: &Packet) -> u16 {
    let length = u64::from(packet.parts.end.wrapping_sub(packet.parts.l4));
    let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    let mut pseudo = length + u64::from(packet.protocol);
    pseudo += halves(packet.source[0]) + halves(packet.destination[0]);
    if packet.network == Network::IPV6 {
        pseudo += halves(packet.source[1]) + halves(packet.destination[1]);
    }
    !fold(pseudo)
}
