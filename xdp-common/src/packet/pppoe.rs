//! PPPoE sessions (RFC 2516, section 4), and PPP's protocol field (RFC 1661, section 2).
//!
//! ```text
//! 0      version (upper 4 bits), type; both are 1
//! 1      code, 0 in a session
//! 2..4   session
//! 4..6   length of what follows, PPP's protocol field included; the rest of the frame is padding
//! 6..8   PPP's protocol field; compressed (section 6.5 of RFC 1661), one byte
//! ```
//!
//! RFC 2516, section 7, forbids compressing the field, but Linux takes it compressed as well
//! (drivers/net/ppp/ppp_generic.c, `ppp_decompress_proto`; versions from 2026 on drop such packets
//! before, in `pppoe_rcv`): if it were not read here, such a packet would arrive unjudged.

use super::ethernet::EtherType;
use super::{Cursor, Malformed, PacketBytes, Window};

/// Version 1, type 1 and code 0.
const SESSION: u16 = 0x1100;
const FIXED: u32 = 6;

// The numbers of PPP's protocols, https://www.iana.org/assignments/ppp-numbers.
pub(super) const IPV4: u16 = 0x0021;
pub(super) const IPV6: u16 = 0x0057;
const MPLS_UNICAST: u16 = 0x0281;
const MPLS_MULTICAST: u16 = 0x0283;

/// Reads a session's header; `cursor` then stands behind it, and ends where the session's packet
/// does. Returns the EtherType of what is carried, or PPPoE's own where that is neither IP nor
/// MPLS: PPP's own protocols, and what PPP compresses, encrypts or splits.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: &mut Cursor,
) -> Result<EtherType, Malformed> {
    let header = cursor.peek::<6, P>(bytes)?;
    if header.u16(0) != SESSION {
        return Err(Malformed::Session);
    }
    let length = u32::from(header.u16(4));
    cursor.offset += FIXED;
    if length > cursor.remaining() {
        return Err(Malformed::SessionLength);
    }
    cursor.end = cursor.offset + length;
    let mut protocol = u16::from(cursor.peek::<1, P>(bytes)?.u8(0));
    cursor.offset += 1;
    // The last byte of a protocol's number, and no other, is odd.
    if protocol & 1 == 0 {
        protocol = protocol << 8 | u16::from(cursor.peek::<1, P>(bytes)?.u8(0));
        cursor.offset += 1;
    }
    Ok(match protocol {
        IPV4 => EtherType::IPV4,
        IPV6 => EtherType::IPV6,
        MPLS_UNICAST | MPLS_MULTICAST => EtherType::MPLS_UNICAST,
        _ => EtherType::PPPOE_SESSION,
    })
}
