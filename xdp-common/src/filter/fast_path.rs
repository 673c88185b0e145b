//! The way of most packets of services, which is shorter than that of all of them
//! ([`serve`](crate::filter::serve), [`services`](crate::filter::services)).
//!
//! It is for a packet whose service has an entry for just that address, protocol and port, and takes every
//! client, and whose place in the table says the backend at once. What is otherwise goes
//! the longer way, and so far nothing was done with it. A packet that may take both is treated alike by both.

use crate::filter::services::asked;
#[cfg(doc)]
use crate::filter::services::concerns;
use crate::filter::tracking::{self, Beside, Choice};
use crate::image::{Header, Lines, flag};
use crate::lookup::services::{self, Backend, Front, Key, Origin, flow};
use crate::packet::{Fragment, Packet, Transport, UNTAGGED, transport};

/// A packet that goes to a backend.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    pub front: &'a Front,
    pub backend: &'a Backend,
    /// The flow's number.
    pub flow: u64,
    /// Whether it begins a connection: 0 or 1.
    pub is_new: u32,
}

/// Whether a packet is of the usual shape: whole, TCP or UDP, directly in an Ethernet frame that has one tag at
/// most.
#[inline(always)]
pub fn is_usual(packet: &Packet) -> bool {
    const ETHERNET: u32 = 14;
    const TAG: u32 = 4;
    let l3 = packet.parts.l3;
    // With a tag there is no room for anything else.
    let is_plain = l3 == ETHERNET || l3 == ETHERNET + TAG && packet.vlan != UNTAGGED;
    let is_usual =
        packet.transport == Transport::TCP || packet.protocol == u32::from(transport::UDP);
    is_plain && is_usual && packet.fragment == Fragment::NONE
}

/// The line of the service that a packet of the usual shape goes to; 0 where it may be a reply alone, and `None` where
/// it has to go the longer way. `asked` is what [`concerns`] says.
#[inline(always)]
pub fn service<L: Lines>(lines: &L, header: &Header, packet: &Packet, asked: u32) -> Option<u32> {
    if asked & asked::DESTINATION == 0 {
        return Some(0);
    }
    let key = Key::destination(packet);
    let line = services::find(lines, header, key)?;
    if line != 0 {
        return Some(line);
    }
    // The client's address shares the bit of a service's.
    let may_be_reply = asked & asked::SOURCE != 0
        && header.has(flag::SERVICE_REPLIES)
        && !header.has(flag::SERVICE_PREFIXES)
        && services::find(lines, header, key.for_any_port())? == 0;
    may_be_reply.then_some(0)
}

/// Finds the backend of a packet of the usual shape to the service of that line; `None` where it has to go the longer
/// way.
#[inline(always)]
pub fn forward<'a, L: Lines, B: Beside>(
    lines: &'a L,
    beside: &B,
    header: &Header,
    packet: &Packet,
    line: u32,
    choice: &mut Choice,
) -> Option<Forwarded<'a>> {
    let front = Front::of(lines.line(line)?);
    if front.limited != 0 {
        return None;
    }
    let flow = flow(lines, header, packet, front.hash)?;
    let line = tracking::at_once(lines, beside, front, flow, choice)?;
    if line == 0 {
        return None;
    }
    let backend = Backend::of(lines.line(line)?);
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let is_new = packet.transport == Transport::TCP && packet.l4_octet & SYN_ACK == SYN;
    Some(Forwarded { front, backend, flow, is_new: is_new.into() })
}

/// Finds what a packet of the usual shape is a reply of; `None` where it has to go the longer way.
#[inline(always)]
pub fn give_back<'a, L: Lines>(
    lines: &'a L,
    header: &Header,
    packet: &Packet,
) -> Option<&'a Origin> {
    let line = services::find_reply(lines, header, Key::source(packet))?;
    if line == 0 {
        return None;
    }
    let origin = Origin::of(lines.line(line)?);
    // Where the kernel is asked for the way, it says that a packet is to this host.
    if origin.has_mac != 0 && services::is_own(lines, header, packet)? {
        return None;
    }
    Some(origin)
}
