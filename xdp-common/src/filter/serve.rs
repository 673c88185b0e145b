//! From a packet to its service and its backend, as far as nobody but the packet, the ruleset and what lies
//! beside it is asked. The way there is the kernel's to say.

use crate::filter::services::{self, Report, Serving, Work};
use crate::filter::tracking::{self, Beside, Flow};
use crate::image::{Header, Lines};
use crate::lookup::services::{Backend, Front, Mode, Origin, fields, flow};
use crate::packet::rewrite::{FrameMut, Side, translate};
use crate::packet::tunnel::{Grow, Outer, is_plain, put_into};
use crate::packet::{
    Fragment, Network, Packet, PacketBytes, Transport, Window, echo, quotation, transport,
};
use crate::stats::counter::CounterId;
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
    asked: u32,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    if !is_plain(packet, before(frame, packet)) {
        return Some(());
    }
    services::find(lines, header, packet, asked, serving)
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
    if packet.fragment == Fragment::FIRST {
        serving.work = Work::Fragment as u32;
        return Some(());
    }
    let front = Front::of(lines.line(serving.front)?);
    serving.is_new = u32::from(begins(frame, packet));
    let flow = flow_of(lines, header, front, packet, serving.is_new, false)?;
    choose_for(lines, beside, header, front, &flow, serving)
}

/// Chooses the backend of an ICMP message as [`choose`] would for the packet that it is about. A request for an echo
/// asks whether there is somebody for new connections: a backend that drains is none. It is not counted as one.
#[inline(always)]
pub fn choose_for_icmp<L: Lines, B: Beside>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    serving: &mut Serving,
) -> Option<()> {
    let front = Front::of(lines.line(serving.front)?);
    let asks = u32::from(serving.report == Report::None as u32);
    let flow = flow_of(lines, header, front, &serving.about, asks, true)?;
    serving.is_new = 0;
    choose_for(lines, beside, header, front, &flow, serving)
}

#[inline(always)]
fn choose_for<L: Lines, B: Beside>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    front: &Front,
    flow: &Flow,
    serving: &mut Serving,
) -> Option<()> {
    serving.flow = flow.number;
    let choice = launder(&mut serving.choice);
    let (backend, by) = tracking::choose(lines, beside, header, front, flow, choice)?;
    serving.backend = backend;
    serving.by = by as u32;
    if backend == 0 {
        serving.work = Work::Unserved as u32;
    }
    Some(())
}

/// The flow of a packet. `None` is a corrupt image.
#[inline(always)]
fn flow_of<L: Lines>(
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

/// Rewrites a packet for its backend (nat), or puts it into one for the backend (dsr); l2dsr leaves it as it is.
/// Whether it may go on: it stays as it is where its time to live is over. `None` where it cannot be reached; then
/// it may have been changed.
#[inline(always)]
pub fn rewrite<F: Grow>(
    frame: &mut F,
    header: &Header,
    packet: &Packet,
    front: &Front,
    backend: &Backend,
    flow: u64,
) -> Option<bool> {
    if front.mode == Mode::Nat as u8 {
        return translate(frame, packet, &backend.rewritten(Side::Destination));
    }
    if front.mode != Mode::L2dsr as u8 {
        let outer = Outer {
            inner: packet.parts.end.wrapping_sub(packet.parts.l3),
            inner_is_v6: packet.network == Network::IPV6,
            class: class_of(frame, packet)?,
            destination: backend.address,
            flow: (flow >> 32) as u32,
            port: front.gue_port,
        };
        put_into(frame, header, packet, &outer, backend.is_v6 != 0)?;
    }
    Some(true)
}

/// Bytes that are put before a packet for its backend.
#[inline(always)]
pub fn overhead(front: &Front, backend: &Backend) -> u32 {
    if front.mode == Mode::Nat as u8 || front.mode == Mode::L2dsr as u8 {
        return 0;
    }
    Outer::length(backend.is_v6 != 0, front.gue_port)
}

/// The type of service, or traffic class, of a packet.
#[inline(always)]
fn class_of<F: FrameMut>(frame: &mut F, packet: &Packet) -> Option<u8> {
    let first = frame.window_mut::<4>(packet.parts.l3)?.u32(0);
    let shift = if packet.network == Network::IPV6 { 20 } else { 16 };
    Some((first >> shift) as u8)
}

/// Finds the service that an ICMP message is about, and leaves in `serving` what is to be done. `None` is a
/// corrupt image.
#[inline(always)]
pub fn find_of_icmp<L: Lines, P: PacketBytes + ?Sized>(
    lines: &L,
    header: &Header,
    frame: &P,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    if packet.fragment == Fragment::FIRST {
        return Some(());
    }
    if echo::is_request(packet) {
        serving.report = Report::None as u32;
        echo::read(packet, &mut serving.about);
    } else {
        serving.report = Report::Error as u32;
        if quotation::read(frame, packet, &mut serving.about).is_none() {
            return Some(());
        }
    }
    let serving = launder(serving);
    let about = serving.about;
    services::find_of_icmp(lines, header, &about, serving)
}

/// Leaves in `serving` that the service answers a request for an echo itself.
#[inline(always)]
pub fn leave_echo(service: CounterId, serving: &mut Serving) {
    serving.work = Work::Echo as u32;
    serving.service = service;
    serving.backend_counter = CounterId::NONE;
    serving.lost = u32::MAX;
    serving.to = 0;
}

/// Rewrites an error about a packet of a nat service. `None` where it cannot be reached.
#[inline(always)]
pub fn translate_error<L: Lines, F: FrameMut>(
    lines: &L,
    frame: &mut F,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    let (to, outer);
    if serving.work == Work::Return as u32 {
        let origin = Origin::of(lines.line(serving.origin)?);
        to = origin.rewritten(Side::Destination);
        // What a router says is said by the router.
        let [upper, lower] = serving.about.source;
        let is_of_backend = packet.source[0] == upper
            && (packet.network != Network::IPV6 || packet.source[1] == lower);
        outer = is_of_backend.then_some(Side::Source);
    } else if serving.work == Work::Forward as u32 {
        if Front::of(lines.line(serving.front)?).mode != Mode::Nat as u8 {
            return Some(());
        }
        let backend = Backend::of(lines.line(serving.backend)?);
        to = backend.rewritten(Side::Source);
        outer = Some(Side::Destination);
    } else {
        return Some(());
    }
    if !quotation::translate(frame, packet, &serving.about, &to, outer)? {
        serving.report = Report::Expired as u32;
    }
    Some(())
}

/// The two bytes before a packet; 0 where there are none.
#[inline(always)]
pub fn before<P: PacketBytes + ?Sized>(frame: &P, packet: &Packet) -> u16 {
    if packet.parts.l3 < 2 {
        return 0;
    }
    frame.window::<2>(packet.parts.l3 - 2).map_or(0, |bytes| bytes.u16(0))
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
