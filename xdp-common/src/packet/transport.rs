//! What rules can name of TCP (RFC 9293, section 3.1), UDP (RFC 768), SCTP (RFC 9260, section 3.1),
//! ICMP (RFC 792) and ICMPv6 (RFC 4443, section 2.1).
//!
//! ```text
//! TCP, UDP, SCTP  0..2 source port, 2..4 destination port
//! UDP             8 bytes in all
//! SCTP            12 bytes before its chunks
//! TCP             12 data offset in words of four bytes (upper 4 bits), 13 flags
//! ICMP, ICMPv6    0 type
//! ```
//!
//! A packet must have these fields, and need not have the rest of the header: UDP of which only the
//! ports are there is not malformed. UDP's own length is not looked at.

use super::{Cursor, Malformed, Packet, PacketBytes, Transport, Window};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

const TCP_DATA_OFFSET: u32 = 12;
const UDP_LENGTH: u32 = 8;
const SCTP_LENGTH: u32 = 12;

/// Reads the transport header of a whole packet or a first fragment. `icmp` is the number that
/// ICMP has in the packet's family.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: Cursor,
    icmp: u8,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    let protocol = packet.protocol as u8;
    if matches!(protocol, TCP | UDP | SCTP) {
        let ports = cursor.peek::<4, P>(bytes)?;
        packet.transport = Transport::PORTS;
        packet.source_port = u32::from(ports.u16(0));
        packet.destination_port = u32::from(ports.u16(2));
        if protocol == TCP {
            let mut rest = cursor;
            rest.advance(TCP_DATA_OFFSET)?;
            let rest = rest.peek::<2, P>(bytes)?;
            if rest.u8(0) >> 4 < 5 {
                return Err(Malformed::DataOffset);
            }
            packet.transport = Transport::TCP;
            packet.l4_octet = u32::from(rest.u8(1));
            packet.parts.payload = cursor.offset + u32::from(rest.u8(0) >> 4) * 4;
        } else {
            let length = if protocol == UDP { UDP_LENGTH } else { SCTP_LENGTH };
            packet.parts.payload = cursor.offset + length;
        }
    } else if protocol == icmp {
        let header = cursor.peek::<1, P>(bytes)?;
        packet.transport = Transport::ICMP;
        packet.l4_octet = u32::from(header.u8(0));
    } else {
        packet.transport = Transport::PLAIN;
    }
    Ok(())
}
