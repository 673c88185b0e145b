//! What a link's frames begin with.

use super::ethernet::{self, EtherType};
use super::{Cursor, Malformed, NO_MACS, Packet, PacketBytes, UNTAGGED, Window, ip_of};

/// What a link's frames begin with. The names are those that captures have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET).
    Ethernet,
    /// The IP header, without any of a link layer (LINKTYPE_RAW): tun, ppp, wireguard, ipip.
    Raw,
}

impl LinkType {
    pub const ALL: [Self; 2] = [Self::Ethernet, Self::Raw];

    /// Reads what stands before the network layer; `cursor` then stands behind it.
    #[inline(always)]
    pub fn parse<P: PacketBytes + ?Sized>(
        self,
        bytes: &P,
        cursor: &mut Cursor,
        packet: &mut Packet,
    ) -> Result<EtherType, Malformed> {
        match self {
            Self::Ethernet => ethernet::parse(bytes, cursor, packet),
            Self::Raw => {
                packet.macs = NO_MACS;
                packet.vlan = UNTAGGED;
                ip_of(cursor.peek::<1, P>(bytes)?.u8(0)).ok_or(Malformed)
            }
        }
    }
}
