//! Whether a packet answers what this host has open, or a host behind it. It is asked last, and only about
//! packets that nothing else has decided and that the default drops. What is open the kernel's own tables of
//! sockets say, so nothing is remembered here that a flood could fill. Where no socket has asked, it is looked up
//! what the interface has sent ([`super::sent`]).

use crate::filter::effect::Decision;
use crate::filter::pace::Pace;
use crate::filter::sent::{self, NO_MEMORY, NOT_SENT};
use crate::image::{Header, REPLY_PORTS, flag};
use crate::packet::transport::SCTP;
use crate::packet::{Network, Packet, PacketBytes, Transport, echo, quotation};
use crate::stats::verdict::{Reason, Verdict};

/// What becomes of a packet that is a reply.
pub const PASS: Decision = Decision::new(Verdict::Pass, Reason::Reply);

/// Echo replies, and errors about echo requests, that a CPU passes in a second, over time, and at once, where
/// it is not known what was sent: the kernel cannot be asked whether a ping is out.
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
    /// What [`sent::ask`] says: whether the interface has sent what this packet answers, and when. `ports` are those
    /// of this side, in the upper half, and of the other.
    fn sent(&mut self, answer: &Packet, ports: u32) -> u32;
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
    /// How many moments ago the interface has sent what this answers (see [`sent::seconds`]), [`NOT_SENT`],
    /// or [`NO_MEMORY`] where nobody knows or has asked.
    pub sent: u32,
    pub padding: u32,
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
        sent: NO_MEMORY,
        padding: 0,
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
        /// A protocol without sockets that could be asked.
        Plain,
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
        /// Something that no socket could be asked about, and that the interface has not sent.
        NotSent,
        /// Nobody could be asked: only in user space.
        Unknown,
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
    reply.sent = NO_MEMORY;
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
    let mut is_echo = false;
    if packet.transport == Transport::ICMP {
        is_echo = echo::is_reply(packet);
        if !is_echo {
            if !quotation::is_error(packet) {
                return Found::Message;
            }
            reply.is_error = 1;
            if quotation::read_ip(bytes, packet, about).is_none() {
                return Found::Quotation;
            }
            is_echo = quotation::is_echo(bytes, about);
            if !is_echo && quotation::read_ports(bytes, about).is_none() {
                return Found::Quotation;
            }
        }
    }
    let asked = if reply.is_error != 0 { &*about } else { packet };
    if is_echo {
        leave(reply, About::Echo, asked);
        // One that is cut short before it has the identifier 0.
        let ports = sent::identifier(bytes, asked).unwrap_or(0);
        reply.sent = sockets.sent(asked, ports);
        return match reply.sent {
            NO_MEMORY if sockets.echo() => Found::Reply,
            NO_MEMORY => Found::Pace,
            NOT_SENT if header.has(flag::ECHOES_OF_CHECKS) && sockets.echo() => Found::Reply,
            NOT_SENT => Found::NotSent,
            _ => Found::Reply,
        };
    }
    if reply.is_error == 0
        && packet.transport == Transport::TCP
        && packet.l4_octet & (SYN | ACK) == SYN
    {
        leave(reply, About::Tcp, packet);
        return Found::Opens;
    }
    let found = find_socket(sockets, asked, reply);
    if matches!(found, Found::Reply) {
        return found;
    }
    let has_ports = asked.transport == Transport::TCP || asked.transport == Transport::PORTS;
    let ports = if has_ports { asked.destination_port << 16 | asked.source_port } else { 0 };
    reply.sent = sockets.sent(asked, ports);
    match reply.sent {
        NO_MEMORY => by_port(sockets, header, packet, asked, found),
        NOT_SENT => match found {
            Found::Port if header.has(flag::REPLIES_BY_PORT) => {
                by_port(sockets, header, packet, asked, found)
            }
            Found::Port | Found::Protocol => Found::NotSent,
            found => found,
        },
        _ => Found::Reply,
    }
}

/// Asks about a packet with ports, or one that was quoted and turned round. [`Found::Port`] of a UDP socket
/// that is not connected.
#[inline(always)]
fn find_socket<S: Sockets>(sockets: &mut S, about: &Packet, reply: &mut Reply) -> Found {
    if about.transport == Transport::TCP {
        leave(reply, About::Tcp, about);
        reply.state = sockets.tcp(about);
        return of_tcp(reply.state);
    }
    if about.transport != Transport::PORTS || about.protocol == SCTP as u32 {
        leave(reply, About::Plain, about);
        return Found::Protocol;
    }
    leave(reply, About::Udp, about);
    reply.state = sockets.udp(about);
    match reply.state {
        0 => Found::NoSocket,
        state::ESTABLISHED => Found::Reply,
        _ => Found::Port,
    }
}

/// What becomes of what was found where a port alone says that a UDP socket has asked.
#[inline(always)]
fn by_port<S: Sockets>(
    sockets: &mut S,
    header: &Header,
    packet: &Packet,
    about: &Packet,
    found: Found,
) -> Found {
    if !matches!(found, Found::Port) || !is_assigned(header, about.destination_port) {
        return found;
    }
    // A socket that is bound to no address gets what is for any address, and so seems to wait for what is
    // only forwarded.
    if is_multicast(packet) || !sockets.is_here(packet) {
        return Found::Elsewhere;
    }
    Found::Reply
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

/// Notes between which ends it is.
#[inline(always)]
fn leave(reply: &mut Reply, about: About, packet: &Packet) {
    reply.about = about as u32;
    if matches!(about, About::Tcp | About::Udp) {
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

const _: () = assert!(size_of::<Reply>() == 48);
