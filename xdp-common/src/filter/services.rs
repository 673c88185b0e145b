//! Which service takes a packet, and which of its backends.
//!
//! Services come behind everything that drops, redirects or sends back: they are asked about packets
//! that would pass, and about those that only the default drops. What they do not take goes the way
//! that was decided before.

use crate::filter::effect::Decision;
use crate::filter::tracking;
use crate::image::{Header, Lines, flag};
use crate::lookup::lpm;
use crate::lookup::services::{self, Bits, Front, Key, LINE_BITS, Origin};
use crate::packet::icmp_error::Answer;
use crate::packet::{Network, Packet, Transport};
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
    /// Whether it is an ICMP error about a connection, and what became of that: a [`Report`].
    pub report: u32,
    pub unused: u32,
    /// The packet that it quotes, turned round; of a request for an echo, the request without ports.
    pub about: Packet,
    /// Where it goes next.
    pub hop: NextHop,
    /// The error that it is answered with.
    pub answer: Answer,
    /// The interface that it leaves by; 0 where it does not, or where the kernel's stack finds it.
    pub to: u32,
    pub padding: u32,
    /// What it is counted to beside the matrix: its service, and its backend if it has one.
    pub service: CounterId,
    pub backend_counter: CounterId,
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
        report: u32::MAX,
        unused: 0,
        about: Packet::LEFT_BEHIND,
        hop: NextHop::LEFT_BEHIND,
        answer: Answer::LEFT_BEHIND,
        to: u32::MAX,
        padding: u32::MAX,
        service: CounterId(u32::MAX),
        backend_counter: CounterId(u32::MAX),
        choice: tracking::Choice::LEFT_BEHIND,
    };
}

/// Whether a message is an ICMP error about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Report {
    /// It is none.
    None = 0,
    /// It is one, and is translated if the connection is.
    Error = 1,
    /// Its time is over.
    Expired = 2,
    /// It could not be translated where it lies.
    Broken = 3,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NextHop {
    /// A [`Found`].
    pub found: u32,
    /// The interface that it leaves by.
    pub interface: u32,
    /// The frame's addresses, as in [`Packet::macs`].
    pub macs: [u64; 2],
    /// Bytes of the longest packet that goes there, where this one is too big.
    pub mtu: u32,
    pub unused: u32,
    /// What the kernel is asked, its `struct bpf_fib_lookup`.
    pub query: [u64; 8],
}

impl NextHop {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        found: u32::MAX,
        interface: u32::MAX,
        macs: [u64::MAX; 2],
        mtu: u32::MAX,
        unused: 0,
        query: [u64::MAX; 8],
    };
}

/// How a packet gets to its next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Found {
    /// Out of the interface that it came in by.
    Back = 0,
    /// Out of another one.
    On = 1,
    /// By the kernel's stack.
    Stack = 2,
    /// It does not, for it is too big.
    TooBig = 3,
    /// It does not, for there is no way.
    Nothing = 4,
    /// It does not, for it is to this host.
    Here = 5,
}

/// What became of a packet that a service took, as it is told to whoever asks. It means nothing of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Told {
    /// As in [`Serving`].
    pub work: u32,
    pub by: u32,
    pub lost: u32,
    pub to: u32,
    pub service: CounterId,
    pub backend: CounterId,
}

impl Told {
    #[inline(always)]
    pub const fn of(serving: &Serving) -> Self {
        let Serving { work, by, lost, to, service, backend_counter: backend, .. } = *serving;
        Self { work, by, lost, to, service, backend }
    }
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
    /// It is a request for an echo, which the service answers itself.
    Echo = 5,
}

/// What services are asked about a packet: bits. With bypass, they are asked too.
pub mod asked {
    /// Its destination may be an address of a service.
    pub const DESTINATION: u32 = 1;
    /// Its source may be a nat backend.
    pub const SOURCE: u32 = 2;
    /// It may be an error about a connection, or a request for an echo.
    pub const ICMP: u32 = 4;
}

/// What services are asked about a packet of which that was decided: bits of [`asked`]. Of a packet that no
/// service takes it is nearly always nothing, and then no other program is asked.
#[inline(always)]
pub fn concerns<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    malformed: u32,
    decision: Decision,
) -> u32 {
    let verdict = decision.verdict();
    let is_default = decision.reason() == Reason::Default as u32;
    let may_serve = malformed == 0
        && packet.network.is_ip()
        && (verdict == Verdict::Pass as u32 || verdict == Verdict::Drop as u32 && is_default);
    if !may_serve || packet.transport == Transport::PLAIN {
        return 0;
    }
    if packet.transport == Transport::ICMP {
        return asked::ICMP;
    }
    // What cannot be read is left to those who say so.
    addresses(lines, header, packet).unwrap_or(asked::DESTINATION | asked::SOURCE)
}

#[inline(always)]
fn addresses<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<u32> {
    let is_v6 = packet.network == Network::IPV6;
    let keys = header.service_bits_keys;
    let bits = Bits { at: header.service_bits, log: header.service_bits_log, keys };
    let mut asked = 0;
    // Addresses in prefixes have no bits of their own.
    if bits.may_have(lines, is_v6, packet.destination)? {
        // It is hardly ever a reply as well: if no service takes it, the table is asked.
        return Some(asked::DESTINATION | asked::SOURCE);
    }
    if header.has(flag::SERVICE_PREFIXES) {
        asked |= asked::DESTINATION;
    }
    if header.has(flag::SERVICE_REPLIES) {
        let bits = Bits { at: header.reply_bits, log: header.reply_bits_log, keys };
        if bits.may_have(lines, is_v6, packet.source)? {
            asked |= asked::SOURCE;
        }
    }
    Some(asked)
}

/// Finds the service that takes a packet, or the one that it is a reply of, and leaves it in `serving`;
/// `asked` is what [`concerns`] says. `None` is a corrupt image.
#[inline(always)]
pub fn find<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    asked: u32,
    serving: &mut Serving,
) -> Option<()> {
    serving.work = Work::None as u32;
    serving.front = 0;
    if asked & asked::DESTINATION == 0 {
        // It may be a reply.
    } else if packet.transport == Transport::FRAGMENT {
        let key = Key::destination(packet).for_fragments();
        serving.front = services::find(lines, header, key)?;
        if serving.front == 0 && header.has(flag::SERVICE_PREFIXES) {
            let class = class(lines, header, packet)?;
            serving.front = services::find(lines, header, key.for_prefix(class))?;
        }
    } else if packet.transport == Transport::TCP || packet.transport == Transport::PORTS {
        find_front(lines, header, packet, Key::destination(packet), serving)?;
    } else {
        return Some(());
    }
    if serving.front != 0 {
        for_client(lines, header, packet, launder(serving))?;
    }
    if packet.transport == Transport::FRAGMENT {
        if serving.front != 0 {
            serving.work = Work::Fragment as u32;
        }
        return Some(());
    }
    forward_or_return(lines, header, packet, asked, serving)
}

/// Leaves the first of the fronts that are asked about packets to an address with that key; 0 where there
/// are none.
#[inline(always)]
fn find_front<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    key: Key,
    serving: &mut Serving,
) -> Option<()> {
    // A service for the port comes before one for all ports: those that share the address stand behind it.
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
    Some(())
}

/// What is to be done with a packet by the front that takes it, or as the reply of a backend.
#[inline(always)]
fn forward_or_return<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    asked: u32,
    serving: &mut Serving,
) -> Option<()> {
    if serving.front != 0 {
        serving.work = Work::Forward as u32;
        return Some(());
    }
    if asked & asked::SOURCE != 0 && header.has(flag::SERVICE_REPLIES) {
        let key = Key::source(packet);
        serving.origin = services::find_reply(lines, header, key)?;
        if serving.origin == 0 {
            serving.origin = services::find_reply(lines, header, key.for_any_port())?;
        }
        if serving.origin != 0 {
            serving.work = Work::Return as u32;
            // Where the kernel is asked for the way, it says that a packet is to this host.
            let origin = Origin::of(lines.line(serving.origin)?);
            if origin.has_mac != 0 && services::is_own(lines, header, packet)? {
                serving.work = Work::None as u32;
            }
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

/// Finds the service that an ICMP message concerns: of a request for an echo, the one that answers it; of
/// an error, that of the packet that it is about. `None` is a corrupt image.
#[inline(always)]
pub fn find_of_icmp<L: Lines>(
    lines: &L,
    header: &Header,
    about: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    let is_echo = serving.report == Report::None as u32;
    // No reply of a backend has the protocol of an echo.
    let key = if is_echo { Key::echo(about) } else { Key::destination(about) };
    find_front(lines, header, about, key, serving)?;
    if serving.front != 0 {
        for_client(lines, header, about, launder(serving))?;
    }
    forward_or_return(lines, header, about, asked::SOURCE, serving)
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
