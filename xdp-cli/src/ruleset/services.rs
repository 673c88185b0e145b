//! Services: packets to an address that are sent on to one of several backends.

pub mod check;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::check::Check;
use super::{Prefix, Prefixes};

/// What holds for all services of a ruleset: `[services]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The secret that flows are spread by, 12 to 32 bytes: boxes with the same one choose the same
    /// backend. `None` where the configuration has none: then it is xdpctl's own, which all know.
    pub seed: Option<Vec<u8>>,
    /// What services track that say nothing of it.
    pub tracking: Tracking,
    /// Entries of the connection table: a power of two, 65,536 to 67,108,864.
    pub connections: u32,
    /// How long a place of a table remembers the backend that it had before a change: a minute to a
    /// day.
    pub history: Duration,
    /// What the outer source of a tunnelled packet is taken from, one prefix of each family: the
    /// bits behind it come from the flow.
    pub tunnel_source_v4: Prefix<u32>,
    pub tunnel_source_v6: Prefix<u128>,
    /// Where packets go on to, unless a backend says otherwise.
    pub next_hop: NextHop,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: None,
            tracking: Tracking::default(),
            connections: 1 << 20,
            history: Duration::from_secs(3_600),
            // 172.16.0.0/16 and 100::/64, the discard prefix (RFC 6666).
            tunnel_source_v4: Prefix { address: 0xac10_0000, length: 16 },
            tunnel_source_v6: Prefix { address: 0x0100 << 112, length: 64 },
            next_hop: NextHop::Route,
        }
    }
}

/// Whether services send frames out of the interface that these came in by: to a fixed MAC address, or as answers
/// to clients.
pub fn send_back(settings: &Settings, services: &[Service]) -> bool {
    services.iter().any(|service| {
        let is_tunnel = matches!(service.mode, Mode::Ipip | Mode::Gue { .. });
        let has_fixed_hop = service.backends.iter().any(|backend| {
            matches!(backend.next_hop.unwrap_or(settings.next_hop), NextHop::Mac(_))
        });
        has_fixed_hop
            || is_tunnel && service.too_big == TooBig::Icmp
            || service.no_backend == NoBackend::Reject
            || service.echo == Echo::Reply
    })
}

/// Which connections get an entry in the connection table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// Those at places of the table that changed: only these could come to another backend.
    #[default]
    Changed,
    All,
    None,
}

impl Tracking {
    pub const ALL: [Self; 3] = [Self::Changed, Self::All, Self::None];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// Where a packet is handed on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHop {
    /// As the kernel's routes and neighbours say.
    Route,
    /// To this address, out of the interface that the packet came in by.
    Mac([u8; 6]),
}

/// A `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    /// Index into [`Ruleset::files`](super::Ruleset::files) of the configuration that it stands in.
    pub file: u16,
    /// Where its name stands in that, both from 1.
    pub line: u32,
    pub column: u32,
    /// At least one.
    pub addresses: Prefixes,
    /// At least one, each once, sorted.
    pub protocols: Vec<Transport>,
    /// Inclusive ranges, sorted, none of which touch; `None` takes every port.
    pub ports: Option<Vec<(u16, u16)>>,
    /// Only these clients; `None` takes all.
    pub source: Option<Prefixes>,
    pub mode: Mode,
    pub hash: Hash,
    /// Places of its table, one of [`TABLES`].
    pub table: u32,
    pub tracking: Tracking,
    /// How long after its last packet a client keeps its backend, over changes; at most a day. Only
    /// with [`Hash::Source`].
    pub affinity: Option<Duration>,
    /// How long after its last packet a flow without connections (UDP, SCTP) keeps its backend.
    pub udp_timeout: Duration,
    pub too_big: TooBig,
    pub no_backend: NoBackend,
    pub echo: Echo,
    /// Percent of the weight: with less of it up, health is disregarded. 0 to 100; 0 is never.
    pub panic: u8,
    /// Bytes of the longest IP packet that is sent to a backend; `None` takes those of the interface.
    pub mtu: Option<u16>,
    /// How its backends are checked; `None` where nobody does.
    pub check: Option<Check>,
    /// At least one, in file order.
    pub backends: Vec<Backend>,
}

/// [`Service::udp_timeout`] where the configuration has none.
pub const UDP_TIMEOUT: Duration = Duration::from_secs(30);

impl Service {
    /// Where a backend is asked by a check; the port is 0 where there is none.
    pub fn checked_at(&self, check: &Check, backend: &Backend) -> (IpAddr, u16) {
        let first = self.ports.as_ref().and_then(|ports| ports.first());
        let port = check.port.or(backend.port).or(first.map(|(first, _)| *first));
        (backend.address, port.unwrap_or(0))
    }

    /// The address of it by which a backend is asked, of the backend's own family if there is one: the
    /// first, and of a prefix, the first that a host may have.
    pub fn address_for(&self, backend: &Backend) -> Option<IpAddr> {
        let v4 = self.addresses.v4.first().map(|prefix| {
            IpAddr::from(Ipv4Addr::from_bits(prefix.address | u32::from(prefix.length < 31)))
        });
        let v6 = self.addresses.v6.first().map(|prefix| {
            IpAddr::from(Ipv6Addr::from_bits(prefix.address | u128::from(prefix.length < 127)))
        });
        if backend.address.is_ipv6() { v6.or(v4) } else { v4.or(v6) }
    }
}

/// The sizes that a table may have: primes, as Maglev wants them.
pub const TABLES: [u32; 11] =
    [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131_071];

/// Protocols that services take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// How a packet gets to its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Its destination is rewritten, and back again in what comes back.
    Nat,
    /// It is put into another packet, whole: IP in IP (RFC 2003, RFC 2473).
    Ipip,
    /// The same, in UDP to this port: Generic UDP Encapsulation, variant 1.
    Gue { port: u16 },
    /// Only its MAC addresses are rewritten.
    L2dsr,
}

impl Mode {
    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Ipip | Self::Gue { .. } => "dsr",
            Self::L2dsr => "l2dsr",
        }
    }

    /// Bytes by which a packet grows on its way to a backend of that family.
    pub const fn overhead(self, backend_is_v6: bool) -> u16 {
        let ip = if backend_is_v6 { 40 } else { 20 };
        match self {
            Self::Nat | Self::L2dsr => 0,
            Self::Ipip => ip,
            // A UDP header; variant 1 of GUE has none of its own.
            Self::Gue { .. } => ip + 8,
        }
    }
}

/// What of a packet chooses its backend, beside its source address and the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hash {
    /// Both ports.
    #[default]
    Connection,
    /// Nothing.
    Source,
    /// The source port.
    SourceAndPort,
    /// The destination port.
    DestinationPort,
}

impl Hash {
    pub const ALL: [Self; 4] =
        [Self::Connection, Self::Source, Self::SourceAndPort, Self::DestinationPort];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Source => "source",
            Self::SourceAndPort => "source-and-port",
            Self::DestinationPort => "destination-port",
        }
    }
}

/// What becomes of packets while no backend is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoBackend {
    #[default]
    Drop,
    /// The client is told by ICMP that the destination is unreachable.
    Reject,
    /// They go to this host's own stack.
    Pass,
}

impl NoBackend {
    pub const ALL: [Self; 3] = [Self::Drop, Self::Reject, Self::Pass];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Pass => "pass",
        }
    }
}

/// What becomes of packets that do not fit on the way to their backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TooBig {
    /// The client is told by ICMP what fits, and the packet is dropped.
    #[default]
    Icmp,
    Drop,
}

impl TooBig {
    pub const ALL: [Self; 2] = [Self::Icmp, Self::Drop];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Drop => "drop",
        }
    }
}

/// What becomes of echo requests to an address of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Echo {
    /// The service leaves them alone.
    #[default]
    Pass,
    /// They are answered while a backend is up.
    Reply,
}

impl Echo {
    pub const ALL: [Self; 2] = [Self::Pass, Self::Reply];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reply => "reply",
        }
    }
}

/// A `[[service.backend]]`, or a line of a service's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub name: String,
    pub address: IpAddr,
    /// The port that packets are rewritten to; `None` leaves it.
    pub port: Option<u16>,
    /// 1 to 65,535.
    pub weight: u16,
    pub state: State,
    /// `None` as the settings say.
    pub next_hop: Option<NextHop>,
    /// Index into [`Ruleset::files`](super::Ruleset::files), and the line in that, from 1.
    pub file: u16,
    pub line: u32,
}

impl Backend {
    /// What one is called that is given no name: its address, with the port where it has one.
    pub fn default_name(address: IpAddr, port: Option<u16>) -> String {
        match port {
            None => address.to_string(),
            Some(port) => SocketAddr::new(address, port).to_string(),
        }
    }
}

/// What the configuration says of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    #[default]
    Up,
    /// It keeps the connections that it has, and gets no new ones.
    Drain,
    /// It gets no packets.
    Down,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Up, Self::Drain, Self::Down];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}
