//! Whether a packet answers what this host has open. It is asked last, and only about packets that
//! nothing else has decided and that the default drops. What is open the kernel's own tables of
//! sockets say, so nothing is remembered here that a flood could fill.

use crate::filter::effect::Decision;
use crate::filter::pace::Pace;
use crate::image::{Header, REPLY_PORTS};
use crate::packet::transport::SCTP;
use crate::packet::{Network, Packet, PacketBytes, Transport, echo, quotation};
use crate::stats::verdict::{Reason, Verdict};

/// What becomes of a packet that is a reply.
pub const PASS: Decision = Decision::new(Verdict::Pass, Reason::Reply);

/// Echo replies, and errors about echo requests, that a CPU passes in a second, over time, and at
/// once: the kernel cannot be asked whether a ping is out.
pub const ECHOES: Pace = Pace::of(100, 50);

/// TCP's flags (RFC 9293, section 3.1).
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// The kernel's numbers for states of sockets (include/net/tcp_states.h).
pub mod state {
    /// Also of a UDP socket that is connected.
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECEIVED: u32 = 3;
    pub const FIN_WAIT_1: u32 = 4;
    pub const FIN_WAIT_2: u32 = 5;
    pub const TIME_WAIT: u32 = 6;
    /// Of a UDP socket that is not connected.
    pub const CLOSE: u32 = 7;
    pub const CLOSE_WAIT: u32 = 8;
    pub const LAST_ACK: u32 = 9;
    pub const LISTEN: u32 = 10;
    pub const CLOSING: u32 = 11;
    /// A connection that somebody is opening to a listener: the last ACK of its handshake is missing.
    pub const NEW_SYN_RECEIVED: u32 = 12;
}

/// States of TCP in which the host has a connection open, or is about to close it. TIME-WAIT is one:
/// a peer that missed the last ACK sends its FIN again.
const OPEN: u32 = 1 << state::ESTABLISHED
    | 1 << state::SYN_SENT
    | 1 << state::SYN_RECEIVED
    | 1 << state::FIN_WAIT_1
    | 1 << state::FIN_WAIT_2
    | 1 << state::TIME_WAIT
    | 1 << state::CLOSE_WAIT
    | 1 << state::LAST_ACK
    | 1 << state::CLOSING;

/// The sockets of the network namespace that the interface is in, and when to hold back.
pub trait Sockets {
    /// The state of the TCP socket that would get this packet, which may be a listener; 0 if there is
    /// none. See [`state`].
    fn tcp(&mut self, packet: &Packet) -> u32;
    /// The same of UDP: [`state::ESTABLISHED`] if the socket is connected to where the packet comes
    /// from, [`state::CLOSE`] if it is not connected.
    fn udp(&mut self, packet: &Packet) -> u32;
    /// Whether the packet is for this host, and is not forwarded.
    fn is_here(&mut self, packet: &Packet) -> bool;
    /// Takes one of [`ECHOES`]. Whether there was one.
    fn echo(&mut self) -> bool;
}

/// What was found out about a packet. It lies in the scratch, for whoever asks why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Reply {
    /// A [`Found`].
    pub found: u32,
    /// What it was taken for: an [`About`].
    pub about: u32,
    /// The state of the socket; 0 if there is none.
    pub state: u32,
    /// Whether the packet is an ICMP error, about what the host has sent: 0 or 1.
    pub is_error: u32,
    /// The ports of the host and of the other side, where there are any.
    pub port: u32,
    pub peer_port: u32,
    /// The address of the other side.
    pub peer: [u64; 2],
}

impl Reply {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        found: u32::MAX,
        about: u32::MAX,
        state: u32::MAX,
        is_error: u32::MAX,
        port: u32::MAX,
        peer_port: u32::MAX,
        peer: [u64::MAX; 2],
    };
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The one of that number; `None` where there is none.
            pub const fn of(number: u32) -> Option<Self> {
                $(if number == Self::$variant as u32 {
                    return Some(Self::$variant);
                })*
                None
            }
        }
    };
}

numbered! {
    /// What is asked about.
    About {
        /// Something that is never asked about.
        Other,
        Tcp,
        Udp,
        Echo,
    }
}

numbered! {
    /// Whether it is a reply, and why not.
    Found {
        /// Nobody has asked: something else decided, or the ruleset does not want to know.
        NotAsked,
        /// It is one.
        Reply,
        /// No socket gets it.
        NoSocket,
        /// A socket gets it that waits for others, and has not asked.
        Listener,
        /// A SYN, which opens a connection.
        Opens,
        /// A connection that is being opened from outside.
        Request,
        /// A UDP socket that is not connected, on a port that the kernel does not assign.
        Port,
        /// The same, and the packet is for several hosts, or for another one.
        Elsewhere,
        /// A later fragment, which has no ports.
        Fragment,
        /// A protocol without sockets that could be asked.
        Protocol,
        /// An ICMP message that is neither an echo reply nor an error.
        Message,
        /// An error whose quotation is not of a packet of this host's.
        Quotation,
        /// One echo too many.
        Pace,
    }
}

/// Whether replies are asked about a packet of which that was decided, where the ruleset passes them.
#[inline(always)]
pub fn concerns(packet: &Packet, decision: Decision) -> bool {
    decision == Decision::new(Verdict::Drop, Reason::Default) && packet.network.is_ip()
}

/// Whether a packet that the default drops is a reply. `about` is where the packet is written that an
/// ICMP error quotes.
#[inline(always)]
pub fn judge<P: PacketBytes + ?Sized, S: Sockets>(
    sockets: &mut S,
    header: &Header,
    bytes: &P,
    packet: &Packet,
    about: &mut Packet,
    reply: &mut Reply,
) -> bool {
    reply.state = 0;
    reply.is_error = 0;
    reply.about = About::Other as u32;
    reply.port = 0;
    reply.peer_port = 0;
    reply.peer = [0; 2];
    let found = find(sockets, header, bytes, packet, about, reply);
    reply.found = found as u32;
    matches!(found, Found::Reply)
}

#[inline(always)]
fn find<P: PacketBytes + ?Sized, S: Sockets>(
    sockets: &mut S,
    header: &Header,
    bytes: &P,
    packet: &Packet,
    about: &mut Packet,
    reply: &mut Reply,
) -> Found {
    if packet.transport == Transport::FRAGMENT {
        return Found::Fragment;
    }
    if packet.transport == Transport::ICMP {
        return find_of_icmp(sockets, header, bytes, packet, about, reply);
    }
    if packet.transport == Transport::TCP && packet.l4_octet & (SYN | ACK) == SYN {
        leave(reply, About::Tcp, packet);
        return Found::Opens;
    }
    find_socket(sockets, header, packet, packet, reply)
}

/// Asks about a packet with ports, which is `packet` itself, or was quoted by it and turned round.
#[inline(always)]
fn find_socket<S: Sockets>(
    sockets: &mut S,
    header: &Header,
    packet: &Packet,
    about: &Packet,
    reply: &mut Reply,
) -> Found {
    if about.transport == Transport::TCP {
        leave(reply, About::Tcp, about);
        reply.state = sockets.tcp(about);
        return of_tcp(reply.state);
    }
    if about.transport != Transport::PORTS || about.protocol == SCTP as u32 {
        return Found::Protocol;
    }
    leave(reply, About::Udp, about);
    reply.state = sockets.udp(about);
    match reply.state {
        0 => Found::NoSocket,
        state::ESTABLISHED => Found::Reply,
        _ if !is_assigned(header, about.destination_port) => Found::Port,
        // A socket that is bound to no address gets what is for any address, and so seems to wait
        // for what is only forwarded.
        _ if is_multicast(packet) || !sockets.is_here(packet) => Found::Elsewhere,
        _ => Found::Reply,
    }
}

#[inline(always)]
fn of_tcp(found: u32) -> Found {
    match found {
        0 => Found::NoSocket,
        state::LISTEN => Found::Listener,
        state::NEW_SYN_RECEIVED => Found::Request,
        known if known < 32 && OPEN >> known & 1 != 0 => Found::Reply,
        _ => Found::NoSocket,
    }
}

#[inline(always)]
fn find_of_icmp<P: PacketBytes + ?Sized, S: Sockets>(
    sockets: &mut S,
    header: &Header,
    bytes: &P,
    packet: &Packet,
    about: &mut Packet,
    reply: &mut Reply,
) -> Found {
    if echo::is_reply(packet) {
        leave(reply, About::Echo, packet);
        return of_echo(sockets);
    }
    if !quotation::is_error(packet) {
        return Found::Message;
    }
    reply.is_error = 1;
    if quotation::read_ip(bytes, packet, about).is_none() {
        return Found::Quotation;
    }
    if quotation::is_echo(bytes, about) {
        leave(reply, About::Echo, about);
        return of_echo(sockets);
    }
    if quotation::read_ports(bytes, about).is_none() {
        return Found::Quotation;
    }
    find_socket(sockets, header, packet, about, reply)
}

#[inline(always)]
fn of_echo<S: Sockets>(sockets: &mut S) -> Found {
    if sockets.echo() { Found::Reply } else { Found::Pace }
}

/// Notes between which ends it is.
#[inline(always)]
fn leave(reply: &mut Reply, about: About, packet: &Packet) {
    reply.about = about as u32;
    if !matches!(about, About::Echo) {
        reply.port = packet.destination_port;
        reply.peer_port = packet.source_port;
    }
    reply.peer[0] = packet.source[0];
    if packet.network == Network::IPV6 {
        reply.peer[1] = packet.source[1];
    }
}

/// Whether the kernel assigns a port to sockets that ask for none.
#[inline(always)]
fn is_assigned(header: &Header, port: u32) -> bool {
    let mut nth = 0;
    while nth < REPLY_PORTS {
        let range = header.reply_ports[nth];
        let (first, last) = (range & 0xffff, range >> 16);
        if port.wrapping_sub(first) <= last.wrapping_sub(first) && range != 0 {
            return true;
        }
        nth += 1;
    }
    false
}

/// Whether it is for several hosts.
#[inline(always)]
fn is_multicast(packet: &Packet) -> bool {
    if packet.network == Network::IPV6 {
        return packet.destination[0] >> 56 == 0xff;
    }
    packet.destination[0] >> 28 >= 0xe
}

const _: () = assert!(size_of::<Reply>() == 40);
