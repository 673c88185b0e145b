//! Links without a link layer header: a frame is an IP packet, and its first four bits are the
//! version.

use super::ethernet::EtherType;
use super::{Cursor, Malformed, NO_MACS, Packet, PacketBytes, UNTAGGED, Window};

/// Tells which IP the packet is. The cursor stays: the IP header is where the frame begins.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: Cursor,
    packet: &mut Packet,
) -> Result<EtherType, Malformed> {
    packet.macs = NO_MACS;
    packet.vlan = UNTAGGED;
    EtherType::of_version(cursor.peek::<1, P>(bytes)?.u8(0)).ok_or(Malformed::Version)
}
