//! What the program for a NIC and the command line agree on.
//!
//! A NIC can do less than the kernel: it has hashes and arrays, whose values the program may read,
//! or add to atomically, but not write. So a NIC's ruleset has single addresses only, in a hash for
//! each family, and all counters lie in one value. There are two banks of hashes: one in force, the
//! other free for the next ruleset. [`Selector`] says which is which.
//!
//! The value of an address has what the lists say of it, a byte for each question:
//!
//! ```text
//! 0  as a source:      the allowlist that it is in
//! 1                    the dropping blocklist
//! 2                    the counting blocklist
//! 3  as a destination: the dropping blocklist
//! 4                    the counting blocklist
//! 5  whether ARP from it is let through (0 or 1)
//! ```
//!
//! Bytes 0 to 4 are 0 or the byte that [`list`] gives.

use crate::capacity::MAX_NIC_LISTS;
use crate::stats::verdict::{Reason, Verdict};

/// Counters of lists. Twice the lists of one ruleset, so that a new list gets a counter that no
/// list of the ruleset before uses.
pub const LIST_COUNTERS: usize = 2 * MAX_NIC_LISTS;

/// The value of the map `SELECTOR`: the ruleset in force. Its first word is all that the program
/// reads of it, once a packet, and writing that word is the whole of a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Selector {
    /// See [`flag`].
    pub flags: u32,
    /// Always 0, which the verifier cannot know; see `filter::order::Scratch::zero`.
    pub zero: u32,
    /// Goes up by one with each ruleset. Only the command line reads it.
    pub generation: u64,
}

const _: () = assert!(size_of::<Selector>() == 16);

/// Bits of [`Selector::flags`].
pub mod flag {
    pub const DEFAULT_DROP: u32 = 1 << 0;
    pub const MALFORMED_DROP: u32 = 1 << 1;
    pub const FRAGMENTS_DROP: u32 = 1 << 2;
    pub const ARP_DROP: u32 = 1 << 3;
    /// Some list looks at the source.
    pub const SOURCE_LISTS: u32 = 1 << 4;
    /// Some list looks at the destination.
    pub const DESTINATION_LISTS: u32 = 1 << 5;
    /// The second bank is in force.
    pub const SECOND_BANK: u32 = 1 << 6;
}

/// The byte for a list, of which the higher one decides. `order` is the list's place among those of
/// its kind, from 0, and `counter` the number of its counter.
///
/// # Panics
///
/// Where `order` is not below [`MAX_NIC_LISTS`] or `counter` not below [`LIST_COUNTERS`].
pub const fn list(order: usize, counter: u32) -> u8 {
    assert!(order < MAX_NIC_LISTS && (counter as usize) < LIST_COUNTERS);
    0x80 | ((MAX_NIC_LISTS - 1 - order) << 4) as u8 | counter as u8
}

/// The number of a list's counter.
#[inline(always)]
pub const fn counter_of(list: u8) -> u8 {
    list & 0xf
}

/// What can become of a packet on a NIC, in the order of the counters.
pub const OUTCOMES: [(Verdict, Reason); 9] = [
    (Verdict::Pass, Reason::Malformed),
    (Verdict::Drop, Reason::Malformed),
    (Verdict::Pass, Reason::Arp),
    (Verdict::Drop, Reason::Arp),
    (Verdict::Pass, Reason::Allowlist),
    (Verdict::Drop, Reason::Blocklist),
    (Verdict::Drop, Reason::Fragment),
    (Verdict::Pass, Reason::Default),
    (Verdict::Drop, Reason::Default),
];

/// The place of an outcome in [`OUTCOMES`].
///
/// # Panics
///
/// Where it is not among them.
pub const fn outcome(verdict: Verdict, reason: Reason) -> usize {
    let mut at = 0;
    while OUTCOMES[at].0 as u8 != verdict as u8 || OUTCOMES[at].1 as u8 != reason as u8 {
        at += 1;
    }
    at
}

/// Counters in the value of the map `COUNTERS`: of [`OUTCOMES`], then of lists.
pub const COUNTERS: usize = OUTCOMES.len() + LIST_COUNTERS;
