//! Sources that rules with `action = "block"` caught: run-time entries that the program makes itself.
//!
//! They lie beside the tables that the command line changes ([`crate::filter::dynamic`]), in memory of a
//! fixed size, so that a flood of forged sources can neither use up memory nor drive out anybody's entries.
//! The key of an IPv4 source is its address, that of an IPv6 source the upper half of it: a host has a /64 to
//! choose its addresses from. A key lies in one of the eight places of its bucket. A place is free when it is
//! empty, and when its entry has ended; where no place is free, the source is not caught, and that is counted.
//!
//! ```text
//! a bucket: 16 lines of eight words, a word for each place
//!   line 0     keys, see `key_v4` and `key_v6`: 0 where there is none, `CLAIMED` while an entry is written
//!   line 1     when the entries end, in nanoseconds of the kernel's monotonic clock
//!   line 2     when they were made, likewise
//!   line 3     how often the places were taken
//!   lines 8-15 the names of the rules that caught them, a line each
//! ```
//!
//! Words are read and written whole, by all CPUs and by the command line. Who wants a place claims its key
//! first. Two CPUs that catch one source at one time may take two places for it: both mean the same.

use crate::capacity::{CAUGHT_SLOTS, STATES_PER_SLOT};
use crate::filter::dynamic::{self, Deciding, EntryAction};
use crate::filter::effect::{Decision, Effect};
use crate::image::{ActionKind, LINE_WORDS, Line, Lines};
use crate::lookup::services::mix;
use crate::packet::{Network, Packet};
use crate::stats::verdict::{Reason, Verdict};
use crate::verifier::black_box;
use crate::word::Word;

/// Places of a bucket.
pub const PLACES: usize = LINE_WORDS;
/// Words of a bucket.
pub const BUCKET_WORDS: usize = 16 * LINE_WORDS;
pub type Bucket = [Word; BUCKET_WORDS];
/// Buckets of a slot of the map `CAUGHT`, a mebibyte.
pub const BUCKETS_PER_SLOT: u32 = STATES_PER_SLOT / BUCKET_WORDS as u32;
/// Buckets, and places of all of them.
pub const BUCKETS: u32 = CAUGHT_SLOTS * BUCKETS_PER_SLOT;
pub const MAX_CAUGHT: u32 = BUCKETS * PLACES as u32;

/// Where the words of the first place lie in a bucket; those of the others follow, and a name is a line.
pub const ENDS: usize = PLACES;
pub const MADE: usize = 2 * PLACES;
pub const TAKEN: usize = 3 * PLACES;
pub const NAMES: usize = 8 * LINE_WORDS;

/// The key of a place whose entry is being written. No source has it.
pub const CLAIMED: u64 = u64::MAX;

/// Pages of counters, one counter for each place: see [`dynamic::CounterPlace`].
pub const COUNTER_PAGES: usize = MAX_CAUGHT as usize / dynamic::COUNTERS_PER_PAGE;
const _: () = assert!((MAX_CAUGHT as usize).is_multiple_of(dynamic::COUNTERS_PER_PAGE));

/// Set in the number of a counter that is the place of a caught source, see
/// [`Deciding::counter`].
pub const COUNTER: u32 = 1 << 29;
const _: () = assert!(BUCKETS.is_power_of_two() && MAX_CAUGHT < COUNTER);

/// What a counter of a place has beside packets: the lowest bits of how often the place was taken, so that what was
/// counted to the entry before is known. 2^48 packets are more than a century's.
pub const COUNTED_SHIFT: u32 = 48;

/// A counter of a place with one packet more.
#[inline(always)]
pub const fn counted(counter: u64, taken: u64) -> u64 {
    if counter >> COUNTED_SHIFT == taken & 0xffff {
        counter + 1
    } else {
        taken << COUNTED_SHIFT | 1
    }
}

/// The packets of a counter, for the entry of a place that was taken so often.
pub const fn packets(counter: u64, taken: u64) -> u64 {
    if counter >> COUNTED_SHIFT == taken & 0xffff {
        counter & ((1 << COUNTED_SHIFT) - 1)
    } else {
        0
    }
}

/// Of IPv4: what no IPv6 source has as its upper half, since addresses that begin so are those of groups.
const V4: u64 = 0xffff_ffff << 32;

/// The key of an IPv4 source; 0 of one that is nobody's in particular: 0.0.0.0, groups and what is reserved
/// (RFC 6890).
#[inline(always)]
pub const fn key_v4(address: u32) -> u64 {
    if address == 0 || address >= 0xe000_0000 { 0 } else { V4 | address as u64 }
}

/// The key of an IPv6 source, by its upper half; 0 where a /64 is nobody's in particular: of the unspecified
/// and of embedded IPv4 addresses, those of a translator among them (RFC 6052), on the link, and of groups
/// (RFC 4291).
#[inline(always)]
pub const fn key_v6(upper: u64) -> u64 {
    const TRANSLATED: u64 = 0x0064_ff9b_0000_0000;
    if upper >> 56 == 0xff || upper >> 54 == 0xfe80 >> 6 || upper == TRANSLATED { 0 } else { upper }
}

/// The key of a packet's source.
#[inline(always)]
pub const fn key(network: Network, source: [u64; 2]) -> u64 {
    match network {
        Network::IPV4 => key_v4(source[0] as u32),
        Network::IPV6 => key_v6(source[0]),
        _ => 0,
    }
}

/// What a key stands for: the upper half of an IPv6 /64, or an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    /// `None` where a place has no entry.
    pub const fn of(key: u64) -> Option<Self> {
        match key {
            0 | CLAIMED => None,
            key if key & V4 == V4 => Some(Self::V4(key as u32)),
            key => Some(Self::V6(key)),
        }
    }

    pub const fn key(self) -> u64 {
        match self {
            Self::V4(address) => key_v4(address),
            Self::V6(upper) => key_v6(upper),
        }
    }
}

/// The bucket of a key. `secret` is not known outside, so nobody chooses sources that share one.
#[inline(always)]
pub const fn bucket(key: u64, secret: u64) -> u32 {
    (mix(mix(key, 0, secret), 0, !secret) >> 32) as u32 & (BUCKETS - 1)
}

/// Where caught sources lie.
pub trait Buckets {
    fn bucket(&self, number: u32) -> Option<&Bucket>;
    /// The first of [`Switches::multipliers`](crate::filter::dynamic::Switches::multipliers).
    fn secret(&self) -> u64;
    /// Nanoseconds of the kernel's monotonic clock.
    fn now(&self) -> u64;
}

/// What the entry of a source that rules caught does: it blocks, while it lives.
#[inline(always)]
pub fn deciding<B: Buckets>(buckets: &B, key: u64) -> Deciding {
    if key == 0 {
        return Deciding::NOTHING;
    }
    let number = bucket(key, buckets.secret());
    let Some(bucket) = buckets.bucket(number) else { return Deciding::NOTHING };
    let mut ends = 0;
    let mut found = 0;
    let mut at = 0;
    while at < PLACES {
        if bucket[at].load() == key {
            let end = bucket[ENDS + at].load();
            let is_later = black_box(u64::from(end > ends));
            ends = black_box(if is_later != 0 { end } else { ends });
            found = black_box(if is_later != 0 { at as u64 } else { found });
        }
        at += 1;
    }
    if ends == 0 || buckets.now() >= ends {
        return Deciding::NOTHING;
    }
    let place = number * PLACES as u32 + found as u32 % PLACES as u32;
    Deciding::new(EntryAction::BLOCKED, COUNTER | place)
}

/// Whether a rule that blocks the source of what it matches has decided.
#[inline(always)]
pub fn concerns(effect: &Effect) -> bool {
    effect.decision == Decision::new(Verdict::Drop, Reason::Rule)
        && effect.action.kind == ActionKind::Block as u8
}

/// What such a rule makes, as it stands in the image: two lines, at [`Action::slot`](crate::image::Action::slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sentence {
    /// How long its entries live, in nanoseconds.
    pub life: u64,
    pub unused: [u64; LINE_WORDS - 1],
    /// The rule's name, padded with zeros.
    pub name: [u64; LINE_WORDS],
}

const _: () = assert!(size_of::<Sentence>() == 2 * size_of::<Line>());
const _: () = assert!(size_of::<Line>() == crate::capacity::MAX_NAME);

impl Sentence {
    /// The lines that hold it.
    pub const fn to_lines(self) -> [Line; 2] {
        let mut first = [0; LINE_WORDS];
        first[0] = self.life;
        [first, self.name]
    }
}

/// Where caught sources are put.
pub trait Cells: Buckets {
    /// Notes that a source was caught: from now on it is asked for.
    fn made(&self);
    /// Notes that there was no place for one.
    fn lost(&self, now: u64);
    /// Until when an entry may live at most: one that a ruleset on trial makes ends with the trial.
    fn latest(&self) -> u64 {
        u64::MAX
    }
}

/// How good a place is. Its own comes first, or it would be caught twice.
const EMPTY: u64 = 1;
const ENDED: u64 = 2;
const OWN: u64 = 3;

/// Makes the entry of a packet's source, as the rule whose action lies in the effect says. `None` is a corrupt image.
#[inline(always)]
pub fn catch<L: Lines, C: Cells>(
    lines: &L,
    cells: &C,
    packet: &Packet,
    effect: &Effect,
) -> Option<()> {
    let key = key(packet.network, packet.source);
    if key == 0 {
        return Some(());
    }
    let sentence = lines.span(effect.action.slot)?;
    let Some(bucket) = cells.bucket(bucket(key, cells.secret())) else { return Some(()) };
    let now = cells.now();
    let (mut best, mut place) = (0, 0);
    let mut at = 0;
    while at < PLACES {
        let found = bucket[at].load();
        let is_over = u64::from(bucket[ENDS + at].load() <= now);
        let is_own = u64::from(found == key);
        let is_empty = u64::from(found == 0);
        let is_claimed = u64::from(found == CLAIMED);
        let free = if is_over != 0 { ENDED } else { 0 };
        let free = black_box(if is_empty != 0 { EMPTY } else { free });
        let rank = black_box(if is_own != 0 { OWN } else { free });
        let rank = black_box(if is_claimed != 0 { 0 } else { rank });
        let is_better = black_box(u64::from(rank > best));
        best = black_box(if is_better != 0 { rank } else { best });
        place = black_box(if is_better != 0 { at as u64 } else { place });
        at += 1;
    }
    if best == 0 {
        cells.lost(now);
        return Some(());
    }
    let place = black_box(place) as usize & (PLACES - 1);
    if best == OWN && bucket[ENDS + place].load() > now {
        // Another CPU caught it just now.
        return Some(());
    }
    let before = bucket[place].load();
    // What is there has changed, or changes now: the next packet finds a place.
    if before == CLAIMED || bucket[place].exchange(before, CLAIMED) != before {
        return Some(());
    }
    if before != 0 && bucket[ENDS + place].load() > now {
        // Another CPU has put it there since.
        bucket[place].exchange(CLAIMED, before);
        return Some(());
    }
    let mut word = 0;
    while word < LINE_WORDS {
        bucket[NAMES + place * LINE_WORDS + word].store(sentence[LINE_WORDS + word]);
        word += 1;
    }
    let taken = bucket[TAKEN + place].load();
    bucket[TAKEN + place].store(taken.wrapping_add(1));
    bucket[MADE + place].store(now);
    let (ends, latest) = (now.saturating_add(sentence[0]), cells.latest());
    bucket[ENDS + place].store(if ends < latest { ends } else { latest });
    // In one step with an order: whoever finds the key finds what was written before.
    bucket[place].exchange(CLAIMED, key);
    cells.made();
    Some(())
}

#[cfg(test)]
mod tests;
