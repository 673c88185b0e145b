//! Replies, where no kernel is asked: the sockets are those that one is told of, and so is what was sent.

use std::net::SocketAddr;

use xdp_common::filter::replies::{self, state};
use xdp_common::filter::sent::{NO_MEMORY, NOT_SENT};
use xdp_common::packet::{Network, Packet};

use crate::views::explain::flow::Flow;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP, or else UDP.
    pub is_tcp: bool,
    /// The host's end; of an unspecified address, any.
    pub own: SocketAddr,
    /// The other end; `None` if it is not connected.
    pub peer: Option<SocketAddr>,
    /// The kernel's number for its state, see [`state`].
    pub state: u32,
}

/// A flow that an interface has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub protocol: u8,
    /// This side, with an echo's identifier as its port, or 0 where there is none.
    pub own: SocketAddr,
    /// The other side, with 0 as its port where there is none.
    pub peer: SocketAddr,
}

/// The sockets of a network namespace, as far as they are known, and what the interface has sent.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Whether anything is known of them; if not, none are.
    pub are_known: bool,
    pub sockets: Vec<Socket>,
    /// `None` if nobody knows.
    pub sent: Option<Vec<Sent>>,
}

impl Sockets {
    /// The one connection between these ends.
    pub fn of_connection(peer: SocketAddr, own: SocketAddr) -> Self {
        let state = state::ESTABLISHED;
        let socket = Socket { is_tcp: true, own, peer: Some(peer), state };
        Self { are_known: true, sockets: vec![socket], sent: None }
    }

    /// The one socket that asks this end by UDP.
    pub fn asking_by_udp(peer: SocketAddr, own: SocketAddr) -> Self {
        let socket = Socket { is_tcp: false, own, peer: Some(peer), state: state::ESTABLISHED };
        Self { are_known: true, sockets: vec![socket], sent: None }
    }

    /// The state of the socket that gets a packet: of a connected one, before those that are not.
    fn state(&self, is_tcp: bool, packet: &Packet) -> u32 {
        let Flow { source: Some(peer), destination: Some(own), .. } = Flow::of(packet) else {
            return 0;
        };
        let peer = SocketAddr::new(peer, packet.source_port as u16);
        let own = SocketAddr::new(own, packet.destination_port as u16);
        let gets = |socket: &&Socket| {
            let any = socket.own.ip().is_unspecified() && socket.own.is_ipv4() == own.is_ipv4();
            socket.is_tcp == is_tcp
                && socket.own.port() == own.port()
                && (any || socket.own.ip() == own.ip())
                && socket.peer.is_none_or(|its| its == peer)
        };
        let found = self.sockets.iter().filter(gets).max_by_key(|socket| socket.peer.is_some());
        found.map_or(0, |socket| socket.state)
    }
}

impl replies::Sockets for &Sockets {
    fn tcp(&mut self, packet: &Packet) -> u32 {
        self.state(true, packet)
    }

    fn udp(&mut self, packet: &Packet) -> u32 {
        self.state(false, packet)
    }

    fn is_here(&mut self, packet: &Packet) -> bool {
        packet.network != Network::OTHER
    }

    fn echo(&mut self) -> bool {
        self.are_known
    }

    fn sent(&mut self, answer: &Packet, ports: u32) -> u32 {
        let Some(sent) = &self.sent else { return NO_MEMORY };
        let Flow { source: Some(peer), destination: Some(own), .. } = Flow::of(answer) else {
            return NOT_SENT;
        };
        let is_it = |sent: &Sent| {
            u32::from(sent.protocol) == answer.protocol
                && sent.own == SocketAddr::new(own, (ports >> 16) as u16)
                && sent.peer == SocketAddr::new(peer, ports as u16)
        };
        if sent.iter().any(is_it) { 0 } else { NOT_SENT }
    }
}
