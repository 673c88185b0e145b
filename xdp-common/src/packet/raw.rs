//! Links without a link layer header: a frame is an IP packet, whose first four bits are its version.

use super::ethernet::EtherType;
use super::{Cursor, Malformed, NO_MACS, Packet, PacketBytes, UNTAGGED, Window};

/// Tells what the packet is; there is nothing to move behind.
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
