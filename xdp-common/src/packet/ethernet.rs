//! Ethernet II with up to two VLAN tags (IEEE 802.3, clause 3; IEEE 802.1Q, clause 9).
//!
//! ```text
//! 0..6    destination address
//! 6..12   source address
//! 12..14  EtherType; a tag stands here as TPID (2 bytes) and TCI (2 bytes), the VLAN id in the
//!         TCI's lower 12 bits, and the EtherType follows it
//! ```

use super::{Cursor, Malformed, Network, Packet, PacketBytes, UNTAGGED, Window};

/// An EtherType, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    pub const VLAN: Self = Self(0x8100);
    pub const IPV6: Self = Self(0x86dd);
    pub const MPLS_UNICAST: Self = Self(0x8847);
    pub const MPLS_MULTICAST: Self = Self(0x8848);
    pub const PPPOE_SESSION: Self = Self(0x8864);
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN)
    }

    /// The EtherType of an IP packet that begins with that byte; `None` if none does.
    #[inline(always)]
    pub(super) const fn of_version(first: u8) -> Option<Self> {
        match first >> 4 {
            4 => Some(Self::IPV4),
            6 => Some(Self::IPV6),
            _ => None,
        }
    }

    /// The network layer that a frame of this type is read as.
    #[inline(always)]
    pub(super) const fn network(self) -> Network {
        match self {
            Self::IPV4 => Network::IPV4,
            Self::IPV6 => Network::IPV6,
            Self::ARP => Network::ARP,
            _ => Network::OTHER,
        }
    }

    #[inline(always)]
    pub(super) const fn is_mpls(self) -> bool {
        matches!(self, Self::MPLS_UNICAST | Self::MPLS_MULTICAST)
    }
}

const ADDRESSES: u32 = 12;
const TAG: u32 = 4;

/// Reads the link layer; `cursor` then stands behind it. A third tag is too deep to judge.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: &mut Cursor,
    packet: &mut Packet,
) -> Result<EtherType, Malformed> {
    let header = cursor.peek::<14, P>(bytes)?;
    packet.macs = [header.u64(0), u64::from(header.u32(8))];
    packet.vlan = UNTAGGED;
    let mut ether_type = EtherType(header.u16(12));
    cursor.offset += ADDRESSES;
    let mut tags = 0;
    while tags < 2 && ether_type.is_tag() {
        let tag = cursor.peek::<6, P>(bytes)?;
        if tags == 0 {
            packet.vlan = u32::from(tag.u16(2) & 0x0fff);
        }
        ether_type = EtherType(tag.u16(4));
        cursor.offset += TAG;
        tags += 1;
    }
    if ether_type.is_tag() {
        return Err(Malformed::ThirdTag);
    }
    cursor.offset += 2;
    Ok(ether_type)
}
