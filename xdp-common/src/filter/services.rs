//! Which service takes a packet, and which of its backends.
//!
//! Services come behind everything that drops, redirects or sends back: they are asked about packets
//! that would pass, and about those that only the default drops. What they do not take goes the way
//! that was decided before.

use crate::filter::effect::Decision;
use crate::image::{Header, Lines, flag};
use crate::lookup::lpm;
use crate::lookup::services::{self, Front, Key, LINE_BITS, Origin};
use crate::packet::{Packet, Transport};
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};

/// Services that may share an address, a protocol and a port, each for other clients.
pub const MAX_SHARED: u32 = 8;

/// What is done with a packet that a service takes. It lies in the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Serving {
    /// A [`Work`].
    pub work: u32,
    /// The number of the flow, from which a backend was chosen.
    pub flow: u32,
    /// The line of the service's front, of the backend, or of the reply's origin.
    pub front: u32,
    pub backend: u32,
    pub origin: u32,
    pub padding: u32,
}

impl Serving {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        work: u32::MAX,
        flow: u32::MAX,
        front: u32::MAX,
        backend: u32::MAX,
        origin: u32::MAX,
        padding: u32::MAX,
    };
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Work {
    /// No service takes it.
    None = 0,
    /// It goes to a backend.
    Forward = 1,
    /// It comes from a backend, and goes back to a client.
    Return = 2,
    /// A service takes it, and no backend is up.
    Unserved = 3,
    /// It is a fragment, which a service does not take.
    Fragment = 4,
}

/// Whether services are asked about a packet of which that was decided. With bypass, they are asked
/// too.
#[inline(always)]
pub fn concerns(packet: &Packet, malformed: u32, decision: Decision) -> bool {
    malformed == 0
        && packet.network.is_ip()
        && (decision.verdict() == Verdict::Pass as u32
            || decision.reason() == Reason::Default as u32)
}

/// Finds the service and the backend, and leaves them in `serving`. `None` is a corrupt image.
#[inline(always)]
pub fn judge<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    let has_ports = packet.transport == Transport::TCP || packet.transport == Transport::PORTS;
    if packet.transport == Transport::FRAGMENT {
        let key = Key::destination(packet).for_fragments();
        serving.front = services::find(lines, header, key)?;
        if serving.front != 0 {
            serving.work = Work::Fragment as u32;
        }
        return Some(());
    }
    if !has_ports {
        return Some(());
    }
    let mut key = Key::destination(packet);
    let mut found = 0;
    let mut which = 0;
    // A service for the port comes before one for all ports.
    while found == 0 && which < 2 {
        found = services::find(lines, header, key)?;
        if found != 0 {
            found = for_client(lines, header, packet, found)?;
        }
        key = key.for_any_port();
        which += 1;
    }
    if found != 0 {
        let front = Front::of(lines.line(found)?);
        serving.front = found;
        if front.places == 0 {
            serving.work = Work::Unserved as u32;
            return Some(());
        }
        serving.flow = services::flow(lines, header, packet, front.hash)?;
        serving.backend = services::backend_of(lines, front, serving.flow)?;
        serving.work = Work::Forward as u32;
        return Some(());
    }
    if header.has(flag::SERVICE_REPLIES) {
        let key = Key::source(packet);
        let mut found = services::find(lines, header, key)?;
        if found == 0 {
            found = services::find(lines, header, key.for_any_port())?;
        }
        if found != 0 {
            serving.origin = found;
            serving.work = Work::Return as u32;
        }
    }
    Some(())
}

/// Of the fronts that share an address, the first that takes this client; 0 where none does. The
/// outer `None` is a corrupt image.
#[inline(always)]
fn for_client<L: Lines>(lines: &L, header: &Header, packet: &Packet, first: u32) -> Option<u32> {
    let mut at = first;
    let mut set = u32::MAX;
    let mut tried = 0;
    while tried < MAX_SHARED {
        let front = Front::of(lines.line(at)?);
        if front.limited == 0 {
            return Some(at);
        }
        if set == u32::MAX {
            let roots = [header.service_clients_v4_root, header.service_clients_v6_root];
            set = lpm::find_of(lines, roots, packet.network, packet.source)?;
        }
        if set != 0 {
            let line = header
                .service_client_sets
                .wrapping_add(set.wrapping_mul(header.service_set_lines))
                .wrapping_add(front.clients / LINE_BITS);
            let bit = front.clients % LINE_BITS;
            if lines.line(line)?[(bit / 64) as usize & 7] >> (bit % 64) & 1 != 0 {
                return Some(at);
            }
        }
        at = front.next;
        if at == 0 {
            return Some(0);
        }
        tried += 1;
    }
    Some(0)
}

/// The counters of a service and of its backend that a packet goes to.
#[inline(always)]
pub fn counters<L: Lines>(lines: &L, serving: &Serving) -> Option<[CounterId; 2]> {
    if serving.work == Work::Return as u32 {
        let origin = Origin::of(lines.line(serving.origin)?);
        return Some([CounterId(origin.service_counter), CounterId(origin.backend_counter)]);
    }
    let front = Front::of(lines.line(serving.front)?);
    let mut backend = CounterId::NONE;
    if serving.work == Work::Forward as u32 {
        backend = CounterId(services::Backend::of(lines.line(serving.backend)?).counter);
    }
    Some([CounterId(front.counter), backend])
}
