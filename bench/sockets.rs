//! Sockets in the device's namespace, for what answers them, and frames that do or do not.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use crate::Result;
use crate::lab::ip;
use crate::prefixes::{Family, Prefixes};
use crate::random::Random;
use crate::traffic::{FLOWS_V4_COUNT, Flow, Traffic};

/// The host, whom its connections are with, and how many there are of each protocol.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 443);
const PEERS: &str = "203.0.113.0/24";
const CONNECTIONS: u16 = 1_000;
/// Their ports, from this one on.
const FIRST: u16 = 40_000;
/// Where a listener of TCP is, and a UDP socket that is connected to nobody.
const LISTENER: u16 = 22;
const WAITING: u16 = 50_000;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ACK: u8 = 0x10;

/// Open, until this is dropped.
pub struct Sockets {
    _listener: TcpListener,
    _waiting: UdpSocket,
    udp: Vec<UdpSocket>,
    _tcp: Vec<OwnedFd>,
}

impl Sockets {
    /// Opens them in the namespace that the thread is in, with the host's address on that interface.
    pub fn open(interface: &str) -> Result<Self> {
        // Two for each connection, and what else is open.
        let (limit, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, limit.max(8_192).min(most), most)?;
        ip(&["addr", "replace", &format!("{HOST}/32"), "dev", interface])?;
        ip(&["route", "replace", PEERS, "dev", interface])?;
        let ports = FIRST..FIRST + CONNECTIONS;
        Ok(Self {
            _listener: TcpListener::bind((HOST, LISTENER))?,
            _waiting: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, WAITING))?,
            udp: ports.clone().map(connected).collect::<Result<_>>()?,
            _tcp: ports.map(established).collect::<Result<_>>()?,
        })
    }

    /// Sends a datagram by each UDP socket that is connected.
    pub fn send(&self) -> Result<()> {
        for socket in &self.udp {
            socket.send(b"asked")?;
        }
        Ok(())
    }
}

fn connected(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((HOST, port))?;
    socket.connect(PEER)?;
    Ok(socket)
}

/// A connection that is open without anybody at its other end: in repair mode (tcp(7)), the kernel makes it so and
/// sends nothing, when it is closed neither.
fn established(port: u16) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::TcpRepair, &1)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(HOST, port)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(PEER))?;
    Ok(socket)
}

/// Packets that nobody has asked for, each from another source, to ports among those of connections.
fn forged(protocol: u8) -> Traffic {
    let sources = Prefixes::blocklist_v4(0, 0).misses(FLOWS_V4_COUNT, 40);
    let random = &mut Random::new(41);
    to(protocol, sources, |_| {
        [random.port(1_024, 65_535), random.port(FIRST, FIRST + CONNECTIONS - 1)]
    })
}

fn to(protocol: u8, sources: Vec<u128>, mut ports: impl FnMut(usize) -> [u16; 2]) -> Traffic {
    let flow = |(number, source)| Flow {
        source,
        destination: u128::from(HOST.to_bits()),
        ports: ports(number),
        protocol,
        tcp_flags: ACK,
    };
    let flows: Vec<Flow> = sources.into_iter().enumerate().map(flow).collect();
    Traffic::from_flows(Family::V4, &flows)
}

pub fn forged_tcp() -> Traffic {
    forged(TCP)
}

pub fn forged_udp() -> Traffic {
    forged(UDP)
}

/// ACKs to a listener, of connections that there are not.
pub fn stray() -> Traffic {
    let random = &mut Random::new(42);
    let sources = Prefixes::blocklist_v4(0, 0).misses(FLOWS_V4_COUNT, 43);
    to(TCP, sources, |_| [random.port(1_024, 65_535), LISTENER])
}

/// What the peer sends on each of the connections.
fn replies(protocol: u8) -> Traffic {
    let peer = u128::from(PEER.ip().to_bits());
    let sources = vec![peer; CONNECTIONS.into()];
    to(protocol, sources, |number| [PEER.port(), FIRST + number as u16])
}

pub fn replies_tcp() -> Traffic {
    replies(TCP)
}

pub fn replies_udp() -> Traffic {
    replies(UDP)
}

/// To the socket that is connected to nobody.
pub fn replies_waiting() -> Traffic {
    let sources = Prefixes::blocklist_v4(0, 0).misses(FLOWS_V4_COUNT, 44);
    to(UDP, sources, |_| [53, WAITING])
}
