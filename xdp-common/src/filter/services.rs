//! Which service takes a packet, and which of its backends.
//!
//! Services come behind everything that drops, redirects or sends back: they are asked about packets
//! that would pass, and about those that only the default drops. What they do not take goes the way
//! that was decided before.

use crate::filter::effect::Decision;
use crate::filter::tracking;
use crate::image::{Header, Lines, flag};
use crate::lookup::lpm;
use crate::lookup::services::{self, Front, Key, LINE_BITS, Origin};
use crate::packet::{Packet, Transport};
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};
use crate::verifier::launder;

/// Services that may share an address, a protocol and a port, each for other clients.
pub const MAX_SHARED: u32 = 8;

/// What is done with a packet that a service takes. It lies in the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Serving {
    /// A [`Work`].
    pub work: u32,
    /// The line of the service's front, of the backend, or of the reply's origin.
    pub front: u32,
    pub backend: u32,
    pub origin: u32,
    /// The number of the flow, from which a backend was chosen.
    pub flow: u64,
    /// The set of services that take the client.
    pub clients: u32,
    /// How the backend was chosen: a [`tracking::By`].
    pub by: u32,
    /// Whether the packet begins a connection: 0 or 1.
    pub is_new: u32,
    /// Why it did not get there: a [`services::Lost`]; `u32::MAX` where it did.
    pub lost: u32,
    /// What is remembered of the flow, and what is known of its service, while its backend is chosen.
    pub choice: tracking::Choice,
}

impl Serving {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        work: u32::MAX,
        front: u32::MAX,
        backend: u32::MAX,
        origin: u32::MAX,
        flow: u64::MAX,
        clients: u32::MAX,
        by: u32::MAX,
        is_new: u32::MAX,
        lost: u32::MAX,
        choice: tracking::Choice::LEFT_BEHIND,
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

/// Finds the service that takes a packet, or the one that it is a reply of, and leaves it in `serving`.
/// `None` is a corrupt image.
#[inline(always)]
pub fn find<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    if packet.transport == Transport::FRAGMENT {
        let key = Key::destination(packet).for_fragments();
        serving.front = services::find(lines, header, key)?;
        if serving.front == 0 && header.has(flag::SERVICE_PREFIXES) {
            let class = class(lines, header, packet)?;
            serving.front = services::find(lines, header, key.for_prefix(class))?;
        }
        if serving.front != 0 {
            serving.work = Work::Fragment as u32;
        }
        return Some(());
    }
    if packet.transport != Transport::TCP && packet.transport != Transport::PORTS {
        return Some(());
    }
    // A service for the port comes before one for all ports: those that share the address stand behind it.
    let key = Key::destination(packet);
    serving.front = services::find(lines, header, key)?;
    if serving.front == 0 {
        serving.front = services::find(lines, header, key.for_any_port())?;
    }
    // Behind those of a single address, those of the prefixes around it stand too.
    if serving.front == 0 && header.has(flag::SERVICE_PREFIXES) {
        let key = key.for_prefix(class(lines, header, packet)?);
        serving.front = services::find(lines, header, key)?;
        if serving.front == 0 {
            serving.front = services::find(lines, header, key.for_any_port())?;
        }
    }
    if serving.front != 0 {
        for_client(lines, header, packet, launder(serving))?;
    }
    if serving.front != 0 {
        serving.work = Work::Forward as u32;
        return Some(());
    }
    if header.has(flag::SERVICE_REPLIES) {
        let key = Key::source(packet);
        serving.origin = services::find(lines, header, key)?;
        if serving.origin == 0 {
            serving.origin = services::find(lines, header, key.for_any_port())?;
        }
        if serving.origin != 0 {
            serving.work = Work::Return as u32;
        }
    }
    Some(())
}

/// The class of the prefixes around a packet's destination that are services' addresses; 0 where there are
/// none, which no key has. `None` is a corrupt image.
#[inline(always)]
fn class<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<u32> {
    let roots = [header.service_prefixes_v4_root, header.service_prefixes_v6_root];
    lpm::find_of(lines, roots, packet.network, packet.destination)
}

/// Of the fronts that share an address, leaves the first that takes this client; 0 where none does. `None`
/// is a corrupt image.
#[inline(always)]
fn for_client<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    if Front::of(lines.line(serving.front)?).limited == 0 {
        return Some(());
    }
    let roots = [header.service_clients_v4_root, header.service_clients_v6_root];
    serving.clients = lpm::find_of(lines, roots, packet.network, packet.source)?;
    let mut tried = 0;
    while tried < MAX_SHARED {
        // The verifier is to follow one way through a step, whatever the one before found.
        let serving = launder(&mut *serving);
        if serving.front == 0 {
            return Some(());
        }
        let front = Front::of(lines.line(serving.front)?);
        let line = header
            .service_client_sets
            .wrapping_add(serving.clients.wrapping_mul(header.service_set_lines))
            .wrapping_add(front.clients / LINE_BITS);
        let bit = front.clients % LINE_BITS;
        let word = lines.line(line)?[(bit / 64) as usize & 7];
        if front.limited == 0 || serving.clients != 0 && word >> (bit % 64) & 1 != 0 {
            return Some(());
        }
        serving.front = front.next;
        tried += 1;
    }
    serving.front = 0;
    Some(())
}

/// The counters of a service and of its backend that a packet goes to, and the first of the service's
/// losses.
#[inline(always)]
pub fn counters<L: Lines>(lines: &L, serving: &Serving) -> Option<[CounterId; 3]> {
    if serving.work == Work::Return as u32 {
        let Origin { service_counter, backend_counter, losses, .. } =
            *Origin::of(lines.line(serving.origin)?);
        return Some([service_counter, backend_counter, losses].map(CounterId));
    }
    let front = Front::of(lines.line(serving.front)?);
    let mut backend = CounterId::NONE;
    if serving.work == Work::Forward as u32 {
        backend = CounterId(services::Backend::of(lines.line(serving.backend)?).counter);
    }
    Some([CounterId(front.counter), backend, CounterId(front.losses)])
}
