//! IPv4 (RFC 791, section 3.1).
//!
//! ```text
//! 0      version (4), header length in words of four bytes
//! 2..4   total length, header included
//! 6..8   flags (bit 13: more fragments), fragment offset (lower 13 bits)
//! 8      time to live
//! 9      protocol
//! 12..16 source address
//! 16..20 destination address
//! 20..   options, up to the header length
//! ```

use super::transport;
use super::{Cursor, Fragment, Malformed, Packet, PacketBytes, Transport, Window};

const FIXED: u32 = 20;
const OFFSET: u16 = 0x1fff;
/// The bit that says that more fragments follow.
const MORE: u32 = 13;

/// Reads an IPv4 packet. It ends where its total length says; what follows is padding.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    mut cursor: Cursor,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    let header = cursor.peek::<20, P>(bytes)?;
    if header.u8(0) >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let header_length = u32::from(header.u8(0) & 0xf) * 4;
    let mut total = u32::from(header.u16(2));
    if total == 0 && cursor.remaining() > u32::from(u16::MAX) {
        // Segments that receive offload merged beyond 64 KiB ("BIG TCP") have a length of 0 (Linux,
        // include/net/ip.h, iph_totlen).
        total = cursor.remaining();
    }
    if header_length < FIXED || total < header_length {
        return Err(Malformed::HeaderLength);
    }
    if total > cursor.remaining() {
        return Err(Malformed::TotalLength);
    }
    cursor.end = cursor.offset + total;
    cursor.offset += header_length;
    packet.parts.l4 = cursor.offset;
    packet.parts.end = cursor.end;
    packet.source[0] = u64::from(header.u32(12));
    packet.destination[0] = u64::from(header.u32(16));
    packet.protocol = u32::from(header.u8(9));
    packet.dscp = u32::from(header.u8(1) >> 2);
    packet.ttl = u32::from(header.u8(8));
    let position = header.u16(6);
    packet.fragment = Fragment::at_start(u32::from(position >> MORE));
    if position & OFFSET != 0 {
        packet.fragment = Fragment::LATER;
        packet.transport = Transport::FRAGMENT;
        return Ok(());
    }
    transport::parse(bytes, cursor, transport::ICMP, packet)
}
