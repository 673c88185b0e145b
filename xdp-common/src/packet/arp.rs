//! ARP (RFC 826).
//!
//! ```text
//! 0..2  hardware address space      4     length of hardware addresses (h)
//! 2..4  protocol address space      5     length of protocol addresses (p)
//! 6..8  opcode                      8..   sender hardware (h), sender protocol (p),
//!                                         target hardware (h), target protocol (p)
//! ```

use super::ethernet::EtherType;
use super::{Cursor, Malformed, NO_SENDER, Packet, PacketBytes, Transport, Window};

const FIXED: u32 = 8;

/// Reads an ARP packet. It is malformed if it ends before its own lengths say.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: Cursor,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    packet.transport = Transport::PLAIN;
    packet.source[0] = NO_SENDER;
    let header = cursor.peek::<8, P>(bytes)?;
    let (hardware, protocol) = (u32::from(header.u8(4)), u32::from(header.u8(5)));
    let mut whole = cursor;
    whole.advance(FIXED + 2 * (hardware + protocol)).or(Err(Malformed::ArpLength))?;
    if EtherType(header.u16(2)) == EtherType::IPV4 && protocol == 4 {
        let mut sender = cursor;
        sender.advance(FIXED + hardware)?;
        packet.source[0] = u64::from(sender.peek::<4, P>(bytes)?.u32(0));
    }
    Ok(())
}
