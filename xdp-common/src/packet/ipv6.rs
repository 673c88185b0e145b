//! IPv6 (RFC 8200, section 3) and its extension headers (section 4).
//!
//! ```text
//! 0      version (upper 4 bits)
//! 4..6   payload length: everything after these 40 bytes
//! 6      next header
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
//! fragment 44 (RFC 8200):             8 bytes, the fragment offset in the upper 13 bits of 2..4
//! ```

use super::transport;
use super::{Cursor, Malformed, Network, Packet, PacketBytes, Transport, UNKNOWN_PROTOCOL};

const FIXED: u32 = 40;
/// A longer chain is too deep to judge.
const MAX_EXTENSIONS: u32 = 8;

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// Whether a next header is an extension header.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | FRAGMENT | AUTHENTICATION | 60 | 135 | 139 | 140)
}

/// Reads an IPv6 packet, its extension headers included.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    mut cursor: Cursor,
    packet: &mut Packet,
) -> Result<(), Malformed> {
    packet.network = Network::IPV6;
    let header = cursor.peek::<40, P>(bytes)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed);
    }
    cursor.offset += FIXED;
    let mut payload = u32::from(u16::from_be_bytes([header[4], header[5]]));
    if payload == 0 && cursor.remaining() > u32::from(u16::MAX) {
        // A jumbogram (RFC 2675, section 3), as receive offload makes them.
        payload = cursor.remaining();
    }
    if payload > cursor.remaining() {
        return Err(Malformed);
    }
    cursor.end = cursor.offset + payload;
    packet.source = [half(&header, 8), half(&header, 16)];
    packet.destination = [half(&header, 24), half(&header, 32)];

    let mut next = header[6];
    let mut extensions = 0;
    while is_extension(next) {
        if extensions == MAX_EXTENSIONS {
            return Err(Malformed);
        }
        extensions += 1;
        let [following, units, offset_high, offset_low] = cursor.peek::<4, P>(bytes)?;
        let length = match next {
            FRAGMENT => {
                if cursor.remaining() < 8 {
                    return Err(Malformed);
                }
                if u16::from_be_bytes([offset_high, offset_low]) >> 3 != 0 {
                    packet.transport = Transport::FRAGMENT;
                    packet.protocol = if is_extension(following) {
                        UNKNOWN_PROTOCOL
                    } else {
                        u32::from(following)
                    };
                    return Ok(());
                }
                8
            }
            AUTHENTICATION => 4 * (u32::from(units) + 2),
            _ => 8 * (u32::from(units) + 1),
        };
        cursor.advance(length)?;
        // Else the verifier would follow each sequence of kinds of headers.
        cursor.offset = bytes.forget(cursor.offset);
        next = following;
    }
    packet.protocol = u32::from(next);
    transport::parse(bytes, cursor, transport::ICMPV6, packet)
}

#[inline(always)]
const fn half(header: &[u8; 40], at: usize) -> u64 {
    u64::from_be_bytes([
        header[at],
        header[at + 1],
        header[at + 2],
        header[at + 3],
        header[at + 4],
        header[at + 5],
        header[at + 6],
        header[at + 7],
    ])
}
