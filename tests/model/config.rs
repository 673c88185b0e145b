//! A configuration as plain values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::service_config::Services;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
}

/// `None` is left out of the text.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub default: Option<Verdict>,
    pub malformed: Option<Verdict>,
    pub fragments: Option<Verdict>,
    pub arp: Option<Verdict>,
    pub arp_allow: Vec<Ipv4Addr>,
    pub allowlists: Vec<List>,
    pub blocklists: Vec<List>,
    pub domains: Vec<Domains>,
    pub rules: Vec<Rule>,
    /// Run-time entries, which are not in the text, in the order in which they were put.
    pub entries: Vec<RuntimeEntry>,
    pub services: Services,
    /// What answers the host.
    pub replies: Option<Verdict>,
    /// Which UDP sockets have asked.
    pub replies_udp: Option<ReplyUdp>,
    /// The host's sockets, which are not in the text.
    pub sockets: Vec<Socket>,
    /// What the interface has sent, which is not in the text either; `None` if nobody notes that.
    pub sent: Option<Vec<Sent>>,
}

/// Which UDP sockets have asked: those that are connected, and some others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyUdp {
    Sent,
    Ephemeral,
    Connected,
}

/// A flow that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub protocol: u8,
    /// An echo has its identifier for a port, and 0 at the other end; without ports, both are 0.
    pub own: SocketAddr,
    pub peer: SocketAddr,
}

/// A socket of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP, or else UDP.
    pub tcp: bool,
    /// Of an unspecified address: any.
    pub own: SocketAddr,
    /// `None` if it listens (TCP), or is not connected (UDP).
    pub peer: Option<SocketAddr>,
}

/// What `xdpctl allow` or `xdpctl block` left.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeEntry {
    /// An owner's last entry for a prefix replaces those before.
    pub owner: u8,
    pub prefix: Prefix,
    pub allow: bool,
    /// Whether it has not ended yet.
    pub live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAction {
    Drop,
    Count,
}

#[derive(Clone, Debug, Default)]
pub struct List {
    pub name: String,
    pub prefixes: Vec<Prefix>,
    /// First and last, of one family; they stand in a list file.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// For blocklists.
    pub side: Option<Side>,
    /// For blocklists.
    pub action: Option<ListAction>,
}

/// A list of domain names.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    pub name: String,
    pub names: Vec<ListedName>,
    /// They stand in a list file, one a line.
    pub filed: Vec<ListedName>,
    /// Empty is left out of the text, and means all.
    pub qtypes: Vec<u16>,
    pub action: Option<DomainAction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainAction {
    Drop,
    Nxdomain,
    Refuse,
    Truncate,
    Pass,
}

/// A domain name's labels, the leftmost first, without the root's.
pub type Labels = Vec<Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedName {
    pub labels: Labels,
    /// Stands for the names below it alone: `*.example.org`.
    pub below_only: bool,
}

/// Bits beyond the length may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    Number(u8),
}

#[derive(Clone, Debug)]
pub enum Vlan {
    Untagged,
    Ids(Vec<u16>),
}

#[derive(Clone, Debug)]
pub enum Action {
    Pass,
    Drop,
    Bounce,
    Redirect(Target),
    /// For so many seconds.
    Block(u32),
    SynCookie,
}

/// Where to redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Name(String),
    Index(u32),
}

pub type Mac = [u8; 6];

/// Empty and `None` are left out of the text, and match everything.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub protocol: Option<Protocol>,
    pub source: Vec<Prefix>,
    pub destination: Vec<Prefix>,
    pub source_port: Vec<(u16, u16)>,
    pub destination_port: Vec<(u16, u16)>,
    pub icmp_type: Vec<u8>,
    /// Names of flags, and whether each has to be set.
    pub tcp_flags: Vec<(&'static str, bool)>,
    pub dscp: Vec<u8>,
    pub vlan: Option<Vlan>,
    pub source_mac: Vec<Mac>,
    pub destination_mac: Vec<Mac>,
    /// Bytes of the IP packet.
    pub length: Vec<(u16, u16)>,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: Vec<(u8, u8)>,
    pub fragment: Option<Fragment>,
    pub not: Not,
    pub limit: Option<Limit>,
    pub action: Action,
    pub set_source_mac: Option<Mac>,
    pub set_destination_mac: Option<Mac>,
}

/// The keys that begin with `not_`: values that a packet has others of.
#[derive(Clone, Debug, Default)]
pub struct Not {
    pub protocol: Vec<Protocol>,
    pub source: Vec<Prefix>,
    pub destination: Vec<Prefix>,
    pub source_port: Vec<(u16, u16)>,
    pub destination_port: Vec<(u16, u16)>,
    pub icmp_type: Vec<u8>,
    pub tcp_flags: Vec<(&'static str, bool)>,
    pub dscp: Vec<u8>,
    pub vlan: Option<Vlan>,
    pub source_mac: Vec<Mac>,
    pub destination_mac: Vec<Mac>,
    pub length: Vec<(u16, u16)>,
    pub ttl: Vec<(u8, u8)>,
    pub fragment: Option<Fragment>,
}

/// Values of `fragment`: `false`, `true`, `"first"` and `"later"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    No,
    Yes,
    First,
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub over: Over,
    pub per: Per,
    /// Bits of an address of IPv4 and of IPv6.
    pub lengths: Option<(u8, u8)>,
}

/// A limit that every packet is over, or none: so that no clock is needed. Or a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Always,
    Never,
    Rate(Rate),
}

/// So many packets, or bits, in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub amount: u64,
    pub of_bits: bool,
    pub seconds: u64,
    /// Packets, or bytes.
    pub burst: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    Rule,
    Source,
    Destination,
}

impl Rule {
    /// A rule without conditions.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            protocol: None,
            source: Vec::new(),
            destination: Vec::new(),
            source_port: Vec::new(),
            destination_port: Vec::new(),
            icmp_type: Vec::new(),
            tcp_flags: Vec::new(),
            dscp: Vec::new(),
            vlan: None,
            source_mac: Vec::new(),
            destination_mac: Vec::new(),
            length: Vec::new(),
            ttl: Vec::new(),
            fragment: None,
            not: Not::default(),
            limit: None,
            action,
            set_source_mac: None,
            set_destination_mac: None,
        }
    }
}

/// The bits of an address, and how many there are.
pub fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The address of the same family with these bits.
pub fn with_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

impl Prefix {
    pub fn new(address: IpAddr, length: u8) -> Self {
        Self { address, length }
    }

    /// First and last address.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let (own, width) = bits(self.address);
        let hosts = width - self.length;
        let below = if hosts == 128 { u128::MAX } else { (1 << hosts) - 1 };
        (with_bits(self.address, own & !below), with_bits(self.address, own | below))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let (first, last) = self.ends();
        first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
    }
}
