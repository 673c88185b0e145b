//! IPv6 (RFC 8200, section 3) and its extension headers (section 4).
//!
//! ```text
//! 0      version (upper 4 bits)
//! 4..6   payload length: everything after these 40 bytes
//! 6      next header
//! 7      hop limit
//! 8..24  source address
//! 24..40 destination address
//! ```
//!
//! Extension headers begin with the next header and their length:
//!
//! ```text
//! hop-by-hop 0, routing 43, destination options 60 (RFC 8200), mobility 135 (RFC 6275), HIP 139
//! (RFC 7401), shim6 140 (RFC 5533):   8 * (length + 1) bytes
//! AH 51 (RFC 4302):                   4 * (length + 2) bytes
//! fragment 44 (RFC 8200):             8 bytes, the fragment offset in the upper 13 bits of 2..4,
//!                                     whether more fragments follow in the lowest
//! ```

use super::transport;
use super::{
    Cursor, Fragment, Malformed, Packet, PacketBytes, Transport, UNKNOWN_PROTOCOL, Window,
};

const FIXED: u32 = 40;

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// Whether a next header is an extension header.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | FRAGMENT | AUTHENTICATION | 60 | 135 | 139 | 140)
}

/// Reads an IPv6 packet, its extension headers included. A ninth is too deep to judge.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    mut cursor: Cursor,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    let header = cursor.peek::<40, P>(bytes)?;
    if header.u8(0) >> 4 != 6 {
        return Err(Malformed::Version);
    }
    cursor.offset += FIXED;
    let mut payload = u32::from(header.u16(4));
    if payload == 0 && cursor.remaining() > u32::from(u16::MAX) {
        // A jumbogram (RFC 2675, section 3), as receive offload makes them.
        payload = cursor.remaining();
    }
    if payload > cursor.remaining() {
        return Err(Malformed::TotalLength);
    }
    cursor.end = cursor.offset + payload;
    packet.parts.end = cursor.end;
    packet.source = [header.u64(8), header.u64(16)];
    packet.destination = [header.u64(24), header.u64(32)];
    packet.dscp = u32::from(header.u16(0) >> 6 & 0x3f);
    packet.ttl = u32::from(header.u8(7));
    packet.fragment = Fragment::NONE;

    let mut next = header.u8(6);
    // Unrolled by hand: LLVM may lay a loop out so that its way back is no jump, which the verifier
    // of Linux 6.1 refuses.
    macro_rules! skip_extension {
        () => {
            if is_extension(next) {
                let header = cursor.peek::<4, P>(bytes)?;
                let following = header.u8(0);
                let units = u32::from(header.u8(1));
                let length = match next {
                    FRAGMENT => {
                        let more = u32::from(header.u8(3));
                        packet.fragment = packet.fragment.or_at_start(more);
                        8
                    }
                    AUTHENTICATION => 4 * (units + 2),
                    _ => 8 * (units + 1),
                };
                let is_later = next == FRAGMENT && header.u16(2) >> 3 != 0;
                cursor.advance(length)?;
                if is_later {
                    packet.parts.l4 = cursor.offset;
                    packet.fragment = Fragment::LATER;
                    packet.transport = Transport::FRAGMENT;
                    packet.protocol = u32::from(following);
                    if is_extension(following) {
                        packet.protocol = UNKNOWN_PROTOCOL;
                    }
                    return Ok(());
                }
                // Without this, the verifier would follow each sequence of kinds of headers.
                cursor.offset = bytes.widen(cursor.offset);
                next = following;
            }
        };
    }
    skip_extension!();
    skip_extension!();
    skip_extension!();
    skip_extension!();
    skip_extension!();
    skip_extension!();
    skip_extension!();
    skip_extension!();
    if is_extension(next) {
        return Err(Malformed::NinthExtension);
    }
    packet.protocol = u32::from(next);
    packet.parts.l4 = cursor.offset;
    transport::parse(bytes, cursor, transport::ICMPV6, packet)
}
