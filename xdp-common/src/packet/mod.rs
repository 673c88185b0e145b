//! Packet headers, as far as a verdict depends on them.
//!
//! A packet flows through once: [`ethernet`] (with its tags), or [`raw`] where its link has no such
//! headers; [`pppoe`] and [`mpls`], if it is carried so; then [`arp`] or [`ipv4`] or
//! [`ipv6`] (with its extension headers), then [`transport`]. Each takes a [`Cursor`], checks what
//! the header says against what is there, and moves on. A packet whose lengths are wrong, that is
//! cut short or that is too deep to judge is [`Malformed`]; that depends on the packet alone, never
//! on a ruleset.

pub mod answer;
pub mod arp;
pub mod dns;
pub mod echo;
pub mod ethernet;
pub mod icmp_error;
pub mod ipv4;
pub mod ipv6;
pub mod mpls;
pub mod ordinary;
#[cfg(test)]
pub(crate) mod plain;
pub mod pppoe;
pub mod quotation;
pub mod raw;
pub mod rewrite;
pub mod syn_ack;
pub mod transport;
pub mod tunnel;

/// What a link's frames begin with. The names in parentheses are those of captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET).
    Ethernet,
    /// The IP header, without any of a link layer (LINKTYPE_RAW): tun, ppp, wireguard, ipip.
    Raw,
}

impl LinkType {
    pub const ALL: [Self; 2] = [Self::Ethernet, Self::Raw];
}

/// Where a frame's bytes come from: a slice in tests, the driver's buffers in the kernel.
pub trait PacketBytes {
    /// `N` bytes that were found to be there.
    type Window<const N: usize>: Window;
    /// The whole frame's length in bytes, whether or not [`PacketBytes::window`] can reach all of
    /// it.
    fn length(&self) -> u32;
    /// `N` bytes at `offset`; `None` where they are not there or cannot be reached.
    fn window<const N: usize>(&self, offset: u32) -> Option<Self::Window<N>>;
    /// The same number, but the verifier forgets its range: see
    /// [`Scratch::zero`](crate::filter::order::Scratch::zero).
    #[inline(always)]
    fn widen(&self, number: u32) -> u32 {
        number
    }
}

/// Bytes whose length was checked once, so that reading them cannot fail. Numbers come out of
/// network order; `at` is a place inside the window, and a multiple of the number's size.
pub trait Window {
    fn u8(&self, at: usize) -> u8;
    fn u16(&self, at: usize) -> u16;
    fn u32(&self, at: usize) -> u32;
    fn u64(&self, at: usize) -> u64;
}

impl PacketBytes for [u8] {
    type Window<const N: usize> = [u8; N];

    fn length(&self) -> u32 {
        self.len() as u32
    }

    fn window<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.get(offset as usize..)?.first_chunk().copied()
    }
}

impl<const N: usize> Window for [u8; N] {
    fn u8(&self, at: usize) -> u8 {
        self[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self[at], self[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }
}

/// Why a frame cannot be judged. The program asks only whether it is malformed; `explain` says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends inside a header.
    CutShort,
    ThirdTag,
    NinthLabel,
    NinthExtension,
    /// An IP version that is not that of the EtherType, or none at all.
    Version,
    /// IPv4's header length is under 20 bytes, or its total length is under the header's.
    HeaderLength,
    /// IP's length is more bytes than there are.
    TotalLength,
    /// ARP's addresses end behind the frame.
    ArpLength,
    /// A version, type or code that no PPPoE session has.
    Session,
    /// PPPoE's length is more bytes than there are.
    SessionLength,
    /// TCP's data offset is under 5.
    DataOffset,
}

impl Malformed {
    /// What is wrong, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CutShort => "ends inside a header",
            Self::ThirdTag => "has a third VLAN tag",
            Self::NinthLabel => "has a ninth MPLS label",
            Self::NinthExtension => "has a ninth IPv6 extension header",
            Self::Version => "has a wrong IP version",
            Self::HeaderLength => "has an IPv4 header length or total length that is too short",
            Self::TotalLength => "has an IP length beyond its end",
            Self::ArpLength => "has ARP address lengths beyond its end",
            Self::Session => "has a PPPoE header that no session has",
            Self::SessionLength => "has a PPPoE length beyond its end",
            Self::DataOffset => "has a TCP data offset under 5",
        }
    }
}

/// A place in a frame, and where the data around it ends.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Bytes from the start of the frame.
    pub offset: u32,
    /// Where the data end by the lengths in the headers so far: never beyond the frame.
    pub end: u32,
}

impl Cursor {
    /// Bytes between here and the end.
    #[inline(always)]
    pub const fn remaining(&self) -> u32 {
        self.end.wrapping_sub(self.offset)
    }

    /// The next `N` bytes, without moving.
    #[inline(always)]
    pub fn peek<const N: usize, P: PacketBytes + ?Sized>(
        &self,
        packet: &P,
    ) -> Result<P::Window<N>, Malformed> {
        if self.offset + N as u32 > self.end {
            return Err(Malformed::CutShort);
        }
        packet.window(self.offset).ok_or(Malformed::CutShort)
    }

    /// Moves on by some bytes; beyond the end, the frame is [`Malformed::CutShort`].
    #[inline(always)]
    pub const fn advance(&mut self, bytes: u32) -> Result<(), Malformed> {
        if bytes > self.remaining() {
            return Err(Malformed::CutShort);
        }
        self.offset += bytes;
        Ok(())
    }
}

/// What a frame carries, as far as a verdict can depend on it.
///
/// In the kernel it lies in a map's value, for the reason that [`crate::verifier::launder`] gives.
/// Fields that a packet lacks keep the previous packet's values: whoever reads one asks first
/// whether this packet has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    pub network: Network,
    pub transport: Transport,
    /// The first 12 bytes of an Ethernet frame, 8 and 4, or [`NO_MACS`]: see [`Packet::source_mac`]
    /// and [`Packet::destination_mac`].
    pub macs: [u64; 2],
    /// The outer tag's VLAN id, or [`UNTAGGED`].
    pub vlan: u32,
    /// The protocol number, or [`UNKNOWN_PROTOCOL`]; with IP.
    pub protocol: u32,
    /// IPv4 addresses and ARP's sender in the first word, IPv6 addresses in two halves; in host
    /// order.
    pub source: [u64; 2],
    pub destination: [u64; 2],
    /// With [`Transport::PORTS`] and [`Transport::TCP`].
    pub source_port: u32,
    pub destination_port: u32,
    /// TCP's flags, ICMP's or ICMPv6's type.
    pub l4_octet: u32,
    /// IP: the differentiated services field without its two lowest bits (RFC 2474, section 3).
    pub dscp: u32,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: u32,
    /// With IP.
    pub fragment: Fragment,
    /// Where its parts lie.
    pub parts: Parts,
}

/// Where the parts of a packet begin, in bytes from the start of the frame. A part may lie in
/// another buffer of the driver than the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Parts {
    /// The network layer's header.
    pub l3: u32,
    /// What follows the headers of IP: with IP. In a later fragment, it is no transport header.
    pub l4: u32,
    /// What follows the header of TCP, UDP or SCTP; with [`Transport::PORTS`] and [`Transport::TCP`].
    /// It lies behind `end` where that header is cut short behind its ports, or where TCP's data
    /// offset is too large.
    pub payload: u32,
    /// Where the packet ends, by IP's length; with IP. What follows is padding.
    pub end: u32,
}

impl Parts {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self =
        Self { l3: u32::MAX, l4: u32::MAX, payload: u32::MAX, end: u32::MAX };
}

/// The addresses of a frame without an Ethernet header: more than the 48 bits of an address.
pub const NO_MACS: [u64; 2] = [u64::MAX; 2];
/// No VLAN tag.
pub const UNTAGGED: u32 = u32::MAX;
/// The protocol of a fragment whose header names an IPv6 extension header.
pub const UNKNOWN_PROTOCOL: u32 = u32::MAX;
/// The most bytes that a rule knows a packet to have: the most that IPv4's length can say.
pub const LONGEST: u32 = 0xffff;
/// The sender of an ARP packet that is not about IPv4.
pub const NO_SENDER: u64 = u64::MAX;

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Network(u32);

impl Network {
    /// Neither ARP nor IP.
    pub const OTHER: Self = Self(0);
    pub const ARP: Self = Self(1);
    pub const IPV4: Self = Self(2);
    pub const IPV6: Self = Self(3);

    /// 1 for IPv6, 0 for IPv4: there is no jump in it.
    #[inline(always)]
    pub const fn is_ipv6(self) -> u32 {
        self.0 & 1
    }

    /// Whether it is IPv4 or IPv6.
    #[inline(always)]
    pub const fn is_ip(self) -> bool {
        self.0 >= Self::IPV4.0
    }
}

/// Which part of a packet that was cut up an IP packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Fragment(u32);

impl Fragment {
    /// A whole packet, as is one with a fragment header that says that it is all there is (RFC 6946).
    pub const NONE: Self = Self(0);
    /// The first, which has the transport layer's header.
    pub const FIRST: Self = Self(1);
    /// One of the others; then it is [`Transport::FRAGMENT`] too.
    pub const LATER: Self = Self(2);

    /// One at the start of a packet, which is whole unless more fragments follow: 0 or 1.
    #[inline(always)]
    pub const fn at_start(more: u32) -> Self {
        Self(more & 1)
    }

    /// The same after another header of the same packet: there is no jump in it.
    #[inline(always)]
    pub const fn or_at_start(self, more: u32) -> Self {
        Self(self.0 | more & 1)
    }

    /// 0 to 2, or 3 where another packet left anything behind.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 & 3
    }
}

/// What the network layer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Transport(u32);

impl Transport {
    /// Nothing more is read than the protocol.
    pub const PLAIN: Self = Self(0);
    /// A non-first fragment: it carries no ports.
    pub const FRAGMENT: Self = Self(1);
    /// TCP: ports, and flags in [`Packet::l4_octet`].
    pub const TCP: Self = Self(2);
    /// UDP or SCTP.
    pub const PORTS: Self = Self(3);
    /// ICMP over IPv4 or ICMPv6 over IPv6: the type in [`Packet::l4_octet`].
    pub const ICMP: Self = Self(4);
}

impl Packet {
    /// What another packet left behind: values that no packet has, so that a test notices where one
    /// is used.
    pub const LEFT_BEHIND: Self = Self {
        network: Network(u32::MAX),
        transport: Transport(u32::MAX),
        macs: [0x5555_5555_5555_5555; 2],
        vlan: 0x5555_5555,
        protocol: 0x5555_5555,
        source: [0x5555_5555_5555_5555; 2],
        destination: [0x5555_5555_5555_5555; 2],
        source_port: 0x5555_5555,
        destination_port: 0x5555_5555,
        l4_octet: 0x5555_5555,
        dscp: 0x5555_5555,
        ttl: 0x5555_5555,
        fragment: Fragment(u32::MAX),
        parts: Parts::LEFT_BEHIND,
    };

    /// Bytes of an IP packet, its header included. What receive offload merged beyond
    /// [`LONGEST`] counts as that.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        let length = self.parts.end.wrapping_sub(self.parts.l3);
        if length > LONGEST { LONGEST } else { length }
    }

    /// The MAC address that the frame comes from, in the lower 48 bits; a number of more bits if it
    /// has none.
    #[inline(always)]
    pub const fn source_mac(&self) -> u64 {
        (self.macs[0] & 0xffff) << 32 | self.macs[1]
    }

    /// The MAC address that the frame goes to, likewise.
    #[inline(always)]
    pub const fn destination_mac(&self) -> u64 {
        // The upper half of the second word is 0, unless there are no addresses.
        self.macs[0] >> 16 | self.macs[1] >> 32 << 48
    }
}

/// Reads a frame of a link of that type.
///
/// # Errors
///
/// What is wrong with a malformed frame; `packet` then holds nothing that can be relied on.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    link_type: LinkType,
    bytes: &P,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    let mut cursor = Cursor { offset: 0, end: bytes.length() };
    let ether_type = match link_type {
        LinkType::Ethernet => ethernet::parse(bytes, &mut cursor, packet)?,
        LinkType::Raw => raw::parse(bytes, cursor, packet)?,
    };
    cursor.offset = bytes.widen(cursor.offset);
    cursor.end = bytes.widen(cursor.end);
    // `network` gives constants, so that the compiler sees that ARP and IP need no second look.
    let network = match ether_type.network() {
        Network::OTHER => encapsulated(bytes, &mut cursor, ether_type)?,
        usual => usual,
    };
    packet.network = network;
    packet.parts.l3 = cursor.offset;
    match network {
        Network::IPV4 => ipv4::parse(bytes, cursor, packet),
        Network::IPV6 => ipv6::parse(bytes, cursor, packet),
        Network::ARP => arp::parse(bytes, cursor, packet),
        _ => {
            packet.transport = Transport::PLAIN;
            Ok(())
        }
    }
}

/// Reads what may stand between the link layer and IP; `cursor` then stands behind it.
#[inline(always)]
fn encapsulated<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: &mut Cursor,
    mut ether_type: ethernet::EtherType,
) -> Result<Network, Malformed> {
    if ether_type == ethernet::EtherType::PPPOE_SESSION {
        ether_type = pppoe::parse(bytes, cursor)?;
    }
    if ether_type.is_mpls() {
        ether_type = mpls::parse(bytes, cursor)?;
    }
    cursor.offset = bytes.widen(cursor.offset);
    cursor.end = bytes.widen(cursor.end);
    Ok(ether_type.network())
}
