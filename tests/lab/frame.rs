//! Frames for tests, built by pnet: independent of the packet code that they test.
//!
//! A frame is one expression, complete with lengths and checksums:
//!
//! ```ignore
//! udp4("10.0.0.1", "192.0.2.1", 1024, 53).qinq(10, 20).payload(b"hello").build()
//! tcp6("2001:db8::1", "2001:db8::2", 1024, 80).flags(SYN).extension(Extension::HopByHop)
//! ```
//!
//! It can also be made wrong: `.ihl(4)`, `.total_length(21)`, `.truncate(30)`, `.patch(14,
//! &[0x55])`.

mod emit;

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet_base::MacAddr;

use super::{IN0, SRC0};

/// TCP flags, as in the header.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// Tag protocol identifiers.
pub const DOT1Q: u16 = 0x8100;
pub const DOT1AD: u16 = 0x88a8;

/// An Ethernet frame in the making. Sent from [`SRC0`] to [`IN0`] unless said otherwise.
#[derive(Clone, Debug)]
pub struct Frame {
    source_mac: MacAddr,
    destination_mac: MacAddr,
    tags: Vec<(u16, u16)>,
    /// Between the tags and the network layer, from the outside in.
    carriers: Vec<Carrier>,
    network: Network,
    truncate: Option<usize>,
    pad: usize,
    patches: Vec<(usize, Vec<u8>)>,
}

/// A header that carries a packet between the link layer and the network layer.
#[derive(Clone, Debug)]
enum Carrier {
    /// A PPPoE session; `protocol` replaces PPP's protocol field.
    Pppoe { protocol: Option<Vec<u8>> },
    /// Labels from the top of the stack to its bottom.
    Mpls { labels: Vec<u32> },
}

#[derive(Clone, Debug)]
enum Network {
    Other { ethertype: u16, payload: Vec<u8> },
    Arp { operation: u16, sender: Ipv4Addr, target: Ipv4Addr },
    Ipv4(Ipv4),
    Ipv6(Ipv6),
}

#[derive(Clone, Debug)]
struct Ipv4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    version: u8,
    ihl: Option<u8>,
    total_length: Option<u16>,
    dscp: u8,
    ttl: u8,
    options: Vec<u8>,
    /// In units of 8 bytes, as in the header.
    fragment_offset: u16,
    more_fragments: bool,
    dont_fragment: bool,
    carried: Carried,
}

#[derive(Clone, Debug)]
struct Ipv6 {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    version: u8,
    payload_length: Option<u16>,
    dscp: u8,
    ecn: u8,
    hop_limit: u8,
    extensions: Vec<Extension>,
    carried: Carried,
}

/// What IP carries: a header and a payload behind it.
#[derive(Clone, Debug)]
struct Carried {
    transport: Transport,
    /// The protocol number to claim, if not the transport's own.
    protocol: Option<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Transport {
    Udp { source: u16, destination: u16 },
    Tcp { source: u16, destination: u16, flags: u8, data_offset: u8 },
    Sctp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8 },
    Icmpv6 { kind: u8, code: u8 },
    None { protocol: u8 },
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    HopByHop,
    Routing,
    DestinationOptions,
    /// The offset in units of 8 bytes.
    Fragment {
        offset: u16,
        more: bool,
    },
    Authentication,
    Mobility,
    Hip,
    Shim6,
    /// A header of that number, `units` of 8 bytes longer than the shortest.
    Long {
        number: u8,
        units: u8,
    },
}

#[track_caller]
fn v4(address: &str) -> Ipv4Addr {
    address.parse().unwrap_or_else(|_| panic!("{address:?} is not an IPv4 address"))
}

#[track_caller]
fn v6(address: &str) -> Ipv6Addr {
    address.parse().unwrap_or_else(|_| panic!("{address:?} is not an IPv6 address"))
}

#[track_caller]
fn ip4(source: &str, destination: &str, transport: Transport) -> Frame {
    Frame::new(Network::Ipv4(Ipv4 {
        source: v4(source),
        destination: v4(destination),
        version: 4,
        ihl: None,
        total_length: None,
        dscp: 0,
        ttl: 64,
        options: Vec::new(),
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: false,
        carried: Carried { transport, protocol: None, payload: b"xdpctl lab".to_vec() },
    }))
}

#[track_caller]
fn ip6(source: &str, destination: &str, transport: Transport) -> Frame {
    Frame::new(Network::Ipv6(Ipv6 {
        source: v6(source),
        destination: v6(destination),
        version: 6,
        payload_length: None,
        dscp: 0,
        // It does not belong to the code point, which whoever reads that has to know.
        ecn: 1,
        hop_limit: 64,
        extensions: Vec::new(),
        carried: Carried { transport, protocol: None, payload: b"xdpctl lab".to_vec() },
    }))
}

#[track_caller]
pub fn udp4(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    ip4(source, destination, Transport::Udp { source: from, destination: to })
}

#[track_caller]
pub fn udp6(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    ip6(source, destination, Transport::Udp { source: from, destination: to })
}

/// A SYN, unless [`Frame::flags`] says otherwise.
#[track_caller]
pub fn tcp4(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    let (flags, data_offset) = (SYN, 5);
    ip4(source, destination, Transport::Tcp { source: from, destination: to, flags, data_offset })
}

/// A SYN, unless [`Frame::flags`] says otherwise.
#[track_caller]
pub fn tcp6(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    let (flags, data_offset) = (SYN, 5);
    ip6(source, destination, Transport::Tcp { source: from, destination: to, flags, data_offset })
}

#[track_caller]
pub fn sctp4(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    ip4(source, destination, Transport::Sctp { source: from, destination: to })
}

#[track_caller]
pub fn sctp6(source: &str, destination: &str, from: u16, to: u16) -> Frame {
    ip6(source, destination, Transport::Sctp { source: from, destination: to })
}

/// ICMP of that type, code 0.
#[track_caller]
pub fn icmp4(source: &str, destination: &str, kind: u8) -> Frame {
    ip4(source, destination, Transport::Icmp { kind, code: 0 })
}

/// ICMPv6 of that type, code 0.
#[track_caller]
pub fn icmp6(source: &str, destination: &str, kind: u8) -> Frame {
    ip6(source, destination, Transport::Icmpv6 { kind, code: 0 })
}

/// Any protocol over IPv4, with whatever [`Frame::payload`] says.
#[track_caller]
pub fn other4(source: &str, destination: &str, protocol: u8) -> Frame {
    ip4(source, destination, Transport::None { protocol })
}

/// Any protocol over IPv6, with whatever [`Frame::payload`] says.
#[track_caller]
pub fn other6(source: &str, destination: &str, protocol: u8) -> Frame {
    ip6(source, destination, Transport::None { protocol })
}

/// "Who has `target`? Tell `sender`."
#[track_caller]
pub fn arp_request(sender: &str, target: &str) -> Frame {
    Frame::new(Network::Arp { operation: 1, sender: v4(sender), target: v4(target) })
}

/// "`sender` is at my address."
#[track_caller]
pub fn arp_reply(sender: &str, target: &str) -> Frame {
    Frame::new(Network::Arp { operation: 2, sender: v4(sender), target: v4(target) })
}

/// Any EtherType and any payload, the empty one included.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Frame {
    Frame::new(Network::Other { ethertype, payload: payload.to_vec() })
}

impl Frame {
    fn new(network: Network) -> Self {
        Self {
            source_mac: SRC0,
            destination_mac: IN0,
            tags: Vec::new(),
            carriers: Vec::new(),
            network,
            truncate: None,
            pad: 0,
            patches: Vec::new(),
        }
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        emit::frame(self)
    }

    pub fn source_mac(mut self, mac: MacAddr) -> Self {
        self.source_mac = mac;
        self
    }

    pub fn destination_mac(mut self, mac: MacAddr) -> Self {
        self.destination_mac = mac;
        self
    }

    /// One more VLAN tag, inside of those before: TPID, and the whole TCI.
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    /// One more 802.1Q tag.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(DOT1Q, id)
    }

    /// An 802.1ad tag, and an 802.1Q tag inside it.
    pub fn qinq(self, outer: u16, inner: u16) -> Self {
        self.tag(DOT1AD, outer).tag(DOT1Q, inner)
    }

    /// Carried in a PPPoE session, inside the carriers that were added before.
    pub fn pppoe(mut self) -> Self {
        self.carriers.push(Carrier::Pppoe { protocol: None });
        self
    }

    /// As [`Self::pppoe`], with this as PPP's protocol field.
    pub fn pppoe_protocol(mut self, protocol: &[u8]) -> Self {
        self.carriers.push(Carrier::Pppoe { protocol: Some(protocol.to_vec()) });
        self
    }

    /// Carried under MPLS labels, from the top of the stack to its bottom.
    pub fn mpls(mut self, labels: &[u32]) -> Self {
        self.carriers.push(Carrier::Mpls { labels: labels.to_vec() });
        self
    }

    /// What follows the innermost header that the builder knows.
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.network {
            Network::Other { payload, .. } => *payload = bytes.to_vec(),
            _ => self.carried().payload = bytes.to_vec(),
        }
        self
    }

    /// A payload that makes the whole frame `bytes` long.
    #[track_caller]
    pub fn length(self, bytes: usize) -> Self {
        let empty = self.clone().payload(&[]).build().len();
        let wanted = bytes.checked_sub(empty).expect("room for the headers");
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(wanted).collect();
        self.payload(&payload)
    }

    /// The protocol number to claim, whatever is carried.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.carried().protocol = Some(protocol);
        self
    }

    /// TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.network {
            Network::Ipv4(ip) => ip.ttl = ttl,
            Network::Ipv6(ip) => ip.hop_limit = ttl,
            _ => panic!("only IP has a TTL"),
        }
        self
    }

    /// IPv4 options, to a multiple of 4 bytes, 40 at most.
    #[track_caller]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert!(
            options.len().is_multiple_of(4) && options.len() <= 40,
            "IPv4 options of such a length"
        );
        self.ipv4().options = options.to_vec();
        self
    }

    /// Makes it a fragment, in IPv6 by one more extension header. The offset counts in units of 8
    /// bytes. The carried header stays where it is: at an offset other than 0 it is payload that
    /// looks like a header.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        match &mut self.network {
            Network::Ipv4(ip) => (ip.fragment_offset, ip.more_fragments) = (offset, more),
            Network::Ipv6(ip) => ip.extensions.push(Extension::Fragment { offset, more }),
            _ => panic!("only IP has fragments"),
        }
        self
    }

    /// Sets IPv4's flag DF.
    #[track_caller]
    pub fn dont_fragment(mut self) -> Self {
        self.ipv4().dont_fragment = true;
        self
    }

    /// One more IPv6 extension header, behind those before.
    #[track_caller]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.ipv6().extensions.push(extension);
        self
    }

    #[track_caller]
    pub fn extensions(mut self, extensions: impl IntoIterator<Item = Extension>) -> Self {
        self.ipv6().extensions.extend(extensions);
        self
    }

    /// TCP flags, these and no others.
    #[track_caller]
    pub fn flags(mut self, wanted: u8) -> Self {
        match &mut self.carried().transport {
            Transport::Tcp { flags, .. } => *flags = wanted,
            _ => panic!("only TCP has flags"),
        }
        self
    }

    /// TCP's data offset, true or not. Above 5 the payload serves as options.
    #[track_caller]
    pub fn data_offset(mut self, words: u8) -> Self {
        match &mut self.carried().transport {
            Transport::Tcp { data_offset, .. } => *data_offset = words,
            _ => panic!("only TCP has a data offset"),
        }
        self
    }

    #[track_caller]
    pub fn code(mut self, wanted: u8) -> Self {
        match &mut self.carried().transport {
            Transport::Icmp { code, .. } | Transport::Icmpv6 { code, .. } => *code = wanted,
            _ => panic!("only ICMP has a code"),
        }
        self
    }

    /// The differentiated services code point, 0 to 63.
    pub fn dscp(mut self, point: u8) -> Self {
        match &mut self.network {
            Network::Ipv4(ip) => ip.dscp = point,
            Network::Ipv6(ip) => ip.dscp = point,
            _ => panic!("only IP has a code point"),
        }
        self
    }

    /// IPv6's bits for explicit congestion notification, 1 unless said otherwise.
    #[track_caller]
    pub fn ecn(mut self, bits: u8) -> Self {
        self.ipv6().ecn = bits;
        self
    }

    /// The IP version to claim.
    pub fn version(mut self, version: u8) -> Self {
        match &mut self.network {
            Network::Ipv4(ip) => ip.version = version,
            Network::Ipv6(ip) => ip.version = version,
            _ => panic!("only IP has a version"),
        }
        self
    }

    /// The IPv4 header length to claim, in units of 4 bytes.
    #[track_caller]
    pub fn ihl(mut self, words: u8) -> Self {
        self.ipv4().ihl = Some(words);
        self
    }

    /// The length to claim: IPv4's total length, IPv6's payload length.
    pub fn total_length(mut self, bytes: u16) -> Self {
        match &mut self.network {
            Network::Ipv4(ip) => ip.total_length = Some(bytes),
            Network::Ipv6(ip) => ip.payload_length = Some(bytes),
            _ => panic!("only IP has a length"),
        }
        self
    }

    /// Keeps the first bytes of the frame only; what it claims stays as it was.
    pub fn truncate(mut self, bytes: usize) -> Self {
        self.truncate = Some(bytes);
        self
    }

    /// Zeroes after the packet, as Ethernet pads short ones.
    pub fn pad(mut self, bytes: usize) -> Self {
        self.pad = bytes;
        self
    }

    /// Overwrites bytes of the finished frame; no checksum follows.
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.patches.push((offset, bytes.to_vec()));
        self
    }

    #[track_caller]
    fn ipv4(&mut self) -> &mut Ipv4 {
        match &mut self.network {
            Network::Ipv4(ip) => ip,
            _ => panic!("not an IPv4 frame"),
        }
    }

    #[track_caller]
    fn ipv6(&mut self) -> &mut Ipv6 {
        match &mut self.network {
            Network::Ipv6(ip) => ip,
            _ => panic!("not an IPv6 frame"),
        }
    }

    #[track_caller]
    fn carried(&mut self) -> &mut Carried {
        match &mut self.network {
            Network::Ipv4(ip) => &mut ip.carried,
            Network::Ipv6(ip) => &mut ip.carried,
            _ => panic!("not an IP frame"),
        }
    }
}

impl From<Frame> for Vec<u8> {
    fn from(frame: Frame) -> Self {
        frame.build()
    }
}
