//! From a packet to its service and its backend, as far as nobody but the packet, the ruleset and what lies
//! beside it is asked. The way there is the kernel's to say.

use crate::filter::services::{self, Serving, Work};
use crate::filter::tracking::{self, Beside, Flow};
use crate::image::{Header, Lines};
use crate::lookup::services::{Front, fields, flow};
use crate::packet::tunnel::is_plain;
use crate::packet::{Network, Packet, PacketBytes, Transport, Window, transport};
use crate::verifier::launder;

/// Finds the service that takes a packet, or the one that it is a reply of, and leaves in `serving` what is
/// to be done. A packet behind headers that could not be rewritten is none of theirs. `None` is a
/// corrupt image.
#[inline(always)]
pub fn find<L: Lines, P: PacketBytes + ?Sized>(
    lines: &L,
    header: &Header,
    frame: &P,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    if !is_plain(packet, before(frame, packet)) {
        return Some(());
    }
    services::find(lines, header, packet, serving)
}

/// Chooses the backend of a packet that goes to one, and leaves it in `serving`. `None` is a corrupt image.
#[inline(always)]
pub fn choose<L: Lines, B: Beside, P: PacketBytes + ?Sized>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    frame: &P,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    if is_first_fragment(frame, packet) {
        serving.work = Work::Fragment as u32;
        return Some(());
    }
    let front = Front::of(lines.line(serving.front)?);
    serving.is_new = u32::from(begins(frame, packet));
    let flow = flow_of(lines, header, front, packet, serving.is_new, false)?;
    serving.flow = flow.number;
    let choice = launder(&mut serving.choice);
    let (backend, by) = tracking::choose(lines, beside, header, front, &flow, choice)?;
    serving.backend = backend;
    serving.by = by as u32;
    if backend == 0 {
        serving.work = Work::Unserved as u32;
    }
    Some(())
}

/// The flow of a packet. `None` is a corrupt image.
#[inline(always)]
pub fn flow_of<L: Lines>(
    lines: &L,
    header: &Header,
    front: &Front,
    packet: &Packet,
    is_new: u32,
    is_report: bool,
) -> Option<Flow> {
    const ALL: u8 = fields::SOURCE_PORT | fields::DESTINATION_PORT;
    let number = flow(lines, header, packet, front.hash)?;
    let connection = if front.hash == ALL { number } else { flow(lines, header, packet, ALL)? };
    let is_timed = u32::from(packet.protocol == u32::from(transport::UDP));
    Some(Flow { number, connection, is_new, is_timed, is_report })
}

/// The two bytes before a packet; 0 where there are none.
#[inline(always)]
pub fn before<P: PacketBytes + ?Sized>(frame: &P, packet: &Packet) -> u16 {
    if packet.parts.l3 < 2 {
        return 0;
    }
    frame.window::<2>(packet.parts.l3 - 2).map_or(0, |bytes| bytes.u16(0))
}

/// Whether a packet that is no later fragment is the first of several. IPv6 says so in an extension header,
/// which is looked for in the first two places.
#[inline(always)]
pub fn is_first_fragment<P: PacketBytes + ?Sized>(frame: &P, packet: &Packet) -> bool {
    const MORE_FRAGMENTS: u16 = 1 << 13;
    const FRAGMENT: u8 = 44;
    let Packet { network, parts, .. } = packet;
    if *network == Network::IPV4 {
        let flags = frame.window::<2>(parts.l3 + 6).map_or(0, |bytes| bytes.u16(0));
        return flags & MORE_FRAGMENTS != 0;
    }
    if parts.l4.wrapping_sub(parts.l3) <= 40 {
        return false;
    }
    let next = |at: u32| frame.window::<1>(at).map_or(0, |byte| byte.u8(0));
    if next(parts.l3 + 6) == FRAGMENT {
        // A header that says neither an offset nor more makes no fragment (RFC 6946).
        return next(parts.l3 + 43) & 1 != 0;
    }
    next(parts.l3 + 40) == FRAGMENT
}

/// Whether a packet begins a connection: TCP's SYN without ACK, SCTP's INIT (RFC 9260, section 3.3.2).
#[inline(always)]
fn begins<P: PacketBytes + ?Sized>(frame: &P, packet: &Packet) -> bool {
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    const INIT: u8 = 1;
    if packet.transport == Transport::TCP {
        return packet.l4_octet & SYN_ACK == SYN;
    }
    packet.protocol == u32::from(transport::SCTP)
        && frame.window::<1>(packet.parts.l4 + 12).is_some_and(|byte| byte.u8(0) == INIT)
}
