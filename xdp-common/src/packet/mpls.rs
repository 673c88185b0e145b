//! MPLS label stacks (RFC 3032, section 2.1).
//!
//! ```text
//! 0..4   label (20 bits), traffic class (3), bottom of stack (1), time to live (8)
//! ```
//!
//! No label says what the stack carries. If it is IP, the first four bits behind the stack are its
//! version, and nothing else should begin so (RFC 4928, section 3). Linux tells it in the same way
//! (net/mpls/af_mpls.c, `mpls_egress`), also for the explicit null labels, 0 and 2.

use super::ethernet::EtherType;
use super::{Cursor, Malformed, PacketBytes, Window};

const LABEL: u32 = 4;

/// Reads a label stack; `cursor` then stands behind it. Returns the EtherType of what is carried, or
/// MPLS's own where that is not IP. A ninth label is too deep to judge.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    bytes: &P,
    cursor: &mut Cursor,
) -> Result<EtherType, Malformed> {
    let mut is_bottom = false;
    // Written out for the verifier, as IPv6's extension headers are.
    macro_rules! pop_label {
        () => {
            if !is_bottom {
                is_bottom = cursor.peek::<4, P>(bytes)?.u8(2) & 1 != 0;
                cursor.offset += LABEL;
            }
        };
    }
    pop_label!();
    pop_label!();
    pop_label!();
    pop_label!();
    pop_label!();
    pop_label!();
    pop_label!();
    pop_label!();
    if !is_bottom {
        return Err(Malformed::NinthLabel);
    }
    let first = cursor.peek::<1, P>(bytes)?.u8(0);
    Ok(EtherType::of_version(first).unwrap_or(EtherType::MPLS_UNICAST))
}
