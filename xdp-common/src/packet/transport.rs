//! What rules ask of TCP (RFC 9293, section 3.1), UDP (RFC 768), SCTP (RFC 9260, section 3.1),
//! ICMP (RFC 792) and ICMPv6 (RFC 4443, section 2.1).
//!
//! ```text
//! TCP, UDP, SCTP  0..2 source port, 2..4 destination port
//! TCP             12 data offset in words of four bytes (upper 4 bits), 13 flags
//! ICMP, ICMPv6    0 type
//! ```
//!
//! Only what is asked must be there; UDP's own length is not looked at.

use super::{Cursor, Malformed, Packet, PacketBytes, Transport};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

const TCP_DATA_OFFSET: u32 = 12;

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
        let [s0, s1, d0, d1] = cursor.peek::<4, P>(bytes)?;
        packet.transport = Transport::PORTS;
        packet.source_port = u32::from(u16::from_be_bytes([s0, s1]));
        packet.destination_port = u32::from(u16::from_be_bytes([d0, d1]));
        if protocol == TCP {
            let mut rest = cursor;
            rest.advance(TCP_DATA_OFFSET)?;
            let [data_offset, flags] = rest.peek::<2, P>(bytes)?;
            if data_offset >> 4 < 5 {
                return Err(Malformed);
            }
            packet.transport = Transport::TCP;
            packet.octet = u32::from(flags);
        }
    } else if protocol == icmp {
        let [icmp_type] = cursor.peek::<1, P>(bytes)?;
        packet.transport = Transport::ICMP;
        packet.octet = u32::from(icmp_type);
    }
    Ok(())
}
