//! Entries added at run time: how they lie in their maps, and which of them decides a packet.
//!
//! There are four tables: single addresses in hashes, shorter prefixes in LPM tries, each for IPv4
//! and for IPv6. The command line changes them in place; nothing is compiled. For each prefix there is
//! one entry, which says until when the prefix is allowed and until when it is blocked: what all
//! owners of the prefix asked for, put together. Only the command line knows the owners
//! ([`crate::maps::RECORDS`]).
//!
//! An entry carries its deadlines, so it ends without anybody removing it. An entry that has ended
//! hides nothing: a trie answers with the longest match alone, so it is asked again for a shorter
//! prefix. Example: 10.1.0.0/16 has ended and 10.0.0.0/8 is live; a packet from 10.1.2.3 finds the
//! /16 first, and then the /8, which decides. Where many entries around each other have ended, the
//! program asks for each of them once and notes in the longest one where it got to ([`Skip`]), so
//! that the next packet goes there at once.
//!
//! In front of each table stands a filter, a bitmap that says of most addresses that the table need
//! not be asked. It must never say so of an address that an entry holds; the other mistake only
//! costs time. So a bit is set before its entry is put, and cleared after the entry is gone, if at
//! all.
//!
//! What an entry decides is counted for each CPU on its own, in a counter whose number the entry
//! carries ([`CounterPlace`]). A counter in the entry itself would have every CPU write to the same
//! cache line: a flood from one blocked source, which the NIC spreads over all CPUs, would make
//! dropping it slower the more CPUs there are. And the count would be lost whenever a command
//! replaces the entry.

use crate::capacity::MAX_ENTRIES;
use crate::filter::effect::{Effect, Stage, decide};
use crate::packet::Network;
use crate::stats::verdict::{Reason, Verdict};
use crate::verifier::black_box;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct EntryAction(pub u32);

impl EntryAction {
    /// There is no live entry for the source.
    pub const NONE: Self = Self(0);
    /// The packet passes, whatever the ruleset says.
    pub const ALLOWED: Self = Self(1);
    /// The packet is dropped, unless an allowlist holds its source.
    pub const BLOCKED: Self = Self(2);
}

/// What the deciding entry does, and the number of the counter for that. It is one number, because
/// a global function of the program returns a number and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Deciding(pub u32);

impl Deciding {
    /// No live entry holds the source.
    pub const NOTHING: Self = Self::new(EntryAction::NONE, 0);

    #[inline(always)]
    pub const fn new(action: EntryAction, counter: u32) -> Self {
        Self(action.0 | counter << 2)
    }

    #[inline(always)]
    pub const fn action(self) -> EntryAction {
        EntryAction(self.0 & 3)
    }

    /// 0 where nothing is counted.
    #[inline(always)]
    pub const fn counter(self) -> u32 {
        self.0 >> 2
    }
}

/// What commands set at run time, as far as the judgement asks for it.
pub trait DynamicEntries {
    /// Whether everything is to pass, whatever the ruleset and the entries say.
    fn bypass(&self) -> bool {
        false
    }
    /// What the longest live entry does that holds the source. `network` is IPv4 or IPv6.
    fn deciding(&self, network: Network, source: [u64; 2]) -> Deciding;
}

/// No entries, and no bypass.
#[derive(Clone, Copy, Debug)]
pub struct NoEntries;

impl DynamicEntries for NoEntries {
    fn deciding(&self, _: Network, _: [u64; 2]) -> Deciding {
        Deciding::NOTHING
    }
}

/// An entry as it lies in a map: an array of numbers, because Linux 6.1 refuses structures in inner
/// maps; of four bytes each, because behind a key of IPv4's trie nothing larger is aligned.
///
/// To replace a value, the kernel puts a new one in its place, and does not write into the old one.
/// But the memory of a removed value can become another entry's of the same table at once: a packet
/// that reads an entry while it is removed may be judged by the entry that comes there next.
pub type Value = [u32; 7];

/// What lies in a [`Value`]: what all owners of a prefix together ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Until when the prefix is allowed, in nanoseconds of the kernel's monotonic clock: [`NEVER`]
    /// if that does not end, 0 if nobody allows it.
    pub allowed_until: u64,
    /// Until when it is blocked, likewise. It has no effect while the prefix is allowed.
    pub blocked_until: u64,
    /// The prefix's length in bits: a trie does not say which prefix it found.
    pub length: u32,
    /// The numbers of the counters for packets that the entry allowed and blocked; 0 where nothing
    /// is counted.
    pub allowed_counter: u32,
    pub blocked_counter: u32,
}

/// The deadline of an entry that does not end.
pub const NEVER: u64 = u64::MAX;

impl Entry {
    /// The entry as it lies in its table, without a [`Skip`].
    pub const fn to_value(self) -> Value {
        [
            self.allowed_until as u32,
            (self.allowed_until >> 32) as u32,
            self.blocked_until as u32,
            (self.blocked_until >> 32) as u32,
            self.length & 0xff,
            self.allowed_counter,
            self.blocked_counter,
        ]
    }

    #[inline(always)]
    pub const fn of(value: &Value) -> Self {
        Self {
            allowed_until: value[0] as u64 | (value[1] as u64) << 32,
            blocked_until: value[2] as u64 | (value[3] as u64) << 32,
            length: value[4] & 0xff,
            allowed_counter: value[5],
            blocked_counter: value[6],
        }
    }

    /// What it does now. The clock is asked only where the answer depends on it.
    #[inline(always)]
    pub fn decides(&self, now: impl FnOnce() -> u64) -> Deciding {
        let timeless = self.allowed_until == NEVER
            || (self.allowed_until == 0 && matches!(self.blocked_until, 0 | NEVER));
        self.decides_at(if timeless { 0 } else { now() })
    }

    /// What it does at the time `now`, in nanoseconds of the kernel's monotonic clock.
    #[inline(always)]
    pub const fn decides_at(&self, now: u64) -> Deciding {
        if now < self.allowed_until {
            Deciding::new(EntryAction::ALLOWED, self.allowed_counter)
        } else if now < self.blocked_until {
            Deciding::new(EntryAction::BLOCKED, self.blocked_counter)
        } else {
            Deciding::NOTHING
        }
    }
}

/// Where a counter lies: in pages, each a per-CPU array of blocks of counters. A command that lists
/// entries reads a block in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterPlace {
    pub page: u32,
    pub block: u32,
    pub word: usize,
}

/// A block of counters, each a number of packets.
pub type CounterBlock = [u64; COUNTERS_PER_BLOCK];
pub const COUNTERS_PER_BLOCK: usize = 256;
/// Blocks of a page.
pub const COUNTER_BLOCKS: usize = 8;
/// Counters of a page, and number of pages: enough for two counters, allowed and blocked, for every
/// place of every table, and number 0, which counts nothing.
pub const COUNTERS_PER_PAGE: usize = COUNTERS_PER_BLOCK * COUNTER_BLOCKS;
pub const COUNTER_PAGES: usize =
    (2 * EntryTable::ALL.len() * TABLE_SIZE as usize + 1).div_ceil(COUNTERS_PER_PAGE);

const _: () = assert!(COUNTER_PAGES * COUNTERS_PER_PAGE < 1 << 30, "it fits beside an action");

impl CounterPlace {
    /// The place of a counter; `None` where nothing is counted.
    #[inline(always)]
    pub const fn of(counter: u32) -> Option<Self> {
        if counter == 0 {
            return None;
        }
        Some(Self::at(counter))
    }

    /// The place of a number in pages, from 0.
    #[inline(always)]
    pub const fn at(counter: u32) -> Self {
        Self {
            page: counter / COUNTERS_PER_PAGE as u32,
            block: counter / COUNTERS_PER_BLOCK as u32 % COUNTER_BLOCKS as u32,
            word: counter as usize % COUNTERS_PER_BLOCK,
        }
    }
}

/// What the program found behind an entry that has ended: the length of the live entry that decides
/// in its place, or that there is none. It lies in the upper half of the fifth word of the entry's
/// value, where the command line leaves 0: the length below, the epoch above.
///
/// A skip is good in the epoch that it names, [`Switches::epoch`]. An entry that has ended stays
/// ended, so what was skipped once can be skipped until a command changes the tables, and each such
/// command begins a new epoch. There are 255 epochs. When they are used up, nothing is skipped
/// until the command line has written all entries anew, without skips; then the first epoch comes
/// again.
///
/// The program writes nothing else into a value. A value that was removed while the program read it
/// may be another entry's by now; there the skip does no harm, because its epoch is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip(pub u8);

impl Skip {
    /// No entry that holds this one is live.
    pub const NOTHING: Self = Self(0xff);
    /// Epochs are 1 to this.
    pub const LAST_EPOCH: u32 = 0xff;

    /// The skip as it lies in a value.
    #[inline(always)]
    pub const fn to_half(self, epoch: u32) -> u16 {
        self.0 as u16 | ((epoch & 0xff) as u16) << 8
    }

    /// The skip of a value, if there is one of this epoch.
    #[inline(always)]
    pub const fn of(value: &Value, epoch: u32) -> Option<Self> {
        if epoch != 0 && value[4] >> 24 == epoch {
            Some(Self((value[4] >> 16) as u8))
        } else {
            None
        }
    }
}

/// Passes the packet if an entry allows its source, before any list is asked.
#[inline(always)]
pub fn allow(entry: Deciding, effect: &mut Effect) -> Stage {
    if entry.action() == EntryAction::ALLOWED {
        effect.entry = entry.counter();
        return decide(Verdict::Pass, Reason::Allowed);
    }
    Stage::Continue(())
}

/// Drops the packet if an entry blocks its source. Asked after the allowlists, which may have let
/// it in.
#[inline(always)]
pub fn block(entry: Deciding, effect: &mut Effect) -> Stage {
    if entry.action() == EntryAction::BLOCKED {
        effect.entry = entry.counter();
        return decide(Verdict::Drop, Reason::Banned);
    }
    Stage::Continue(())
}

/// The tables, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryTable {
    HostsV4 = 0,
    PrefixesV4 = 1,
    HostsV6 = 2,
    PrefixesV6 = 3,
}

impl EntryTable {
    pub const ALL: [Self; 4] = [Self::HostsV4, Self::PrefixesV4, Self::HostsV6, Self::PrefixesV6];

    /// The table that holds prefixes of that length, in bits.
    pub const fn of(v6: bool, length: u8) -> Self {
        match (v6, length) {
            (false, 32) => Self::HostsV4,
            (false, _) => Self::PrefixesV4,
            (true, 128) => Self::HostsV6,
            (true, _) => Self::PrefixesV6,
        }
    }

    /// The bit of [`Switches::flags`] that says whether it has entries.
    pub const fn flag(self) -> u32 {
        1 << self as u32
    }
}

/// Places in each table. One more than entries, because on some kernels a trie needs a free place
/// even to replace an entry.
pub const TABLE_SIZE: u32 = MAX_ENTRIES + 1;

/// Bits of [`Switches::flags`]; the bits below them are those of [`EntryTable::flag`].
pub mod flag {
    use super::EntryTable;

    /// IPv6 prefixes have bits in the filter at these lengths. See [`super::probe`].
    pub const V6_AT_32: u32 = 1 << 8;
    pub const V6_AT_48: u32 = 1 << 9;
    pub const V6_AT_64: u32 = 1 << 10;
    /// There are IPv6 prefixes too short for the filter: the trie is asked for every packet.
    pub const V6_ALWAYS: u32 = 1 << 11;
    /// All bits that say how the filter of IPv6 prefixes is asked.
    pub const V6_FILTER: u32 = V6_AT_32 | V6_AT_48 | V6_AT_64 | V6_ALWAYS;
    /// Rules caught sources: see [`crate::filter::caught`]. Set by the program.
    pub const CAUGHT: u32 = 1 << 12;
    /// IPv4, and IPv6, has a table with entries if one of these bits is set.
    pub const V4: u32 = EntryTable::HostsV4.flag() | EntryTable::PrefixesV4.flag() | CAUGHT;
    pub const V6: u32 = EntryTable::HostsV6.flag() | EntryTable::PrefixesV6.flag() | CAUGHT;
}

/// The value of the map `SWITCHES`: written by the command line through memory, word by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Switches {
    /// See [`flag`]. With no table's flag set, the program reads nothing else here but `bypass`.
    pub flags: u32,
    /// The epoch whose skips are good, see [`Skip`]. 0 while a command changes the tables: then no
    /// skip is used, and none is written.
    pub epoch: u32,
    /// Everything passes if it is not 0. It belongs to no ruleset and to no entry, and stays as it
    /// is when they change.
    pub bypass: u64,
    /// Odd numbers drawn at random, which spread addresses over the filters: nobody outside can
    /// choose addresses that share a bit.
    pub multipliers: [u64; 2],
    /// From here on, only the command line reads. If this is not 0, a command is changing the
    /// tables, or was killed while it did, and the fields below are not to be trusted.
    pub changing: u64,
    /// No entry ends before this, in nanoseconds of the kernel's monotonic clock.
    pub next_deadline: u64,
    /// How many entries each table has, with those that have ended and are still there.
    pub entries: [u32; 4],
    /// How many bits of each filter a removed entry may have left stale.
    pub stale: [u32; 4],
    /// The last epoch that was not 0; 0 if there was none since all entries were written anew.
    pub last_epoch: u64,
    /// The page from which entries get their counters; `free_counters` has a bit for each of its
    /// counters that is free. To find free counters on other pages, all entries are read.
    pub counter_page: u64,
    pub free_counters: [u64; COUNTERS_PER_PAGE / 64],
    /// How many sources rules caught, and how many they could not, for want of a place; and when that was last so,
    /// in nanoseconds of the kernel's monotonic clock. Written by the program.
    pub caught: u64,
    pub not_caught: u64,
    pub last_not_caught: u64,
    pub unused: [u64; 17],
}

const _: () = assert!(size_of::<Switches>() == 512);

/// Bits of a filter, as a power of two: 512 KiB. 100,000 addresses set about one bit in 42.
pub const FILTER_BITS: u32 = 22;
pub const FILTER_WORDS: usize = 1 << (FILTER_BITS - 6);
/// A filter: bit `n % 64` of word `n / 64`.
pub type EntryFilter = [u64; FILTER_WORDS];

/// The upper bits of a product with a random odd number: any two addresses get the same place with
/// a probability of at most about two in the number of places (Dietzfelbinger et al., "A reliable
/// randomized algorithm for the closest-pair problem", 1997).
#[inline(always)]
const fn place(sum: u64) -> u32 {
    (sum >> (64 - FILTER_BITS)) as u32
}

/// The bit of a single address. An IPv4 address stands in the first word, as in
/// [`Packet::source`](crate::packet::Packet::source).
#[inline(always)]
pub const fn host_bit(multipliers: [u64; 2], address: [u64; 2]) -> u32 {
    let first = address[0].wrapping_mul(multipliers[0]);
    place(first.wrapping_add(address[1].wrapping_mul(multipliers[1])))
}

/// The bit of an IPv4 address in the filter of prefixes: its upper 22 bits as they are.
#[inline(always)]
pub const fn prefix_bit_v4(address: u32) -> u32 {
    address >> (32 - FILTER_BITS)
}

/// Lengths in bits at which IPv6 prefixes stand in their filter, with their flags. A prefix stands
/// at the longest of them that is not longer than itself: a /56 is one bit, at 48. A prefix that is
/// shorter than all of them sets the bits of all its parts at the first: a /30 sets those of its
/// four /32s.
pub const LENGTHS_V6: [(u32, u32); 3] =
    [(32, flag::V6_AT_32), (48, flag::V6_AT_48), (64, flag::V6_AT_64)];
/// The shortest prefix that sets bits: shorter ones have too many parts ([`flag::V6_ALWAYS`]).
pub const SHORTEST_V6: u32 = 16;

/// The bit of an IPv6 address, by its upper 64 bits, at one of [`LENGTHS_V6`].
#[inline(always)]
pub const fn prefix_bit_v6(multipliers: [u64; 2], upper: u64, length: u32) -> u32 {
    let first = (upper >> (64 - length)).wrapping_mul(multipliers[0]);
    place(first.wrapping_add((length as u64).wrapping_mul(multipliers[1])))
}

/// An entry's value where it lies in its table.
pub trait Place: Copy {
    fn read(self) -> Value;
    /// Writes a [`Skip`], and nothing else.
    fn write_skip(self, half: u16);
}

/// Where the tables are: the kernel's maps, or a test's.
pub trait EntryTables {
    type Place<'a>: Place
    where
        Self: 'a;

    fn flags(&self) -> u32;
    /// [`Switches::epoch`].
    fn epoch(&self) -> u32;
    fn multipliers(&self) -> [u64; 2];
    /// Whether a bit of a table's filter is set; true if there is no filter.
    fn is_set(&self, table: EntryTable, bit: u32) -> bool;
    fn host_v4(&self, address: u32) -> Option<Self::Place<'_>>;
    fn host_v6(&self, address: [u64; 2]) -> Option<Self::Place<'_>>;
    /// The longest prefix that holds the address, of at most `length` bits.
    fn prefix_v4(&self, length: u32, address: u32) -> Option<Self::Place<'_>>;
    fn prefix_v6(&self, length: u32, address: [u64; 2]) -> Option<Self::Place<'_>>;
    /// The time, by the clock of [`Entry::allowed_until`].
    fn now(&self) -> u64;
    /// What the entry of a source that rules caught does (`crate::filter::caught`).
    fn caught(&self, _: Network, _source: [u64; 2]) -> Deciding {
        Deciding::NOTHING
    }
}

/// What the longest live entry does that holds an IPv4 address.
#[inline(always)]
pub fn deciding_v4<T: EntryTables>(tables: &T, address: u32) -> Deciding {
    let flags = tables.flags();
    if flags & EntryTable::HostsV4.flag() != 0
        && tables
            .is_set(EntryTable::HostsV4, host_bit(tables.multipliers(), [u64::from(address), 0]))
        && let Some(place) = tables.host_v4(address)
    {
        let deciding = Entry::of(&place.read()).decides(|| tables.now());
        if deciding.action() != EntryAction::NONE {
            return deciding;
        }
    }
    if flags & flag::CAUGHT != 0 {
        let deciding = tables.caught(Network::IPV4, [address.into(), 0]);
        if deciding.action() != EntryAction::NONE {
            return deciding;
        }
    }
    if flags & EntryTable::PrefixesV4.flag() == 0
        || !tables.is_set(EntryTable::PrefixesV4, prefix_bit_v4(address))
    {
        return Deciding::NOTHING;
    }
    let find = |length| tables.prefix_v4(length, address);
    longest_live(31, tables.epoch(), find, || tables.now()).0
}

/// What the longest live entry does that holds an IPv6 address.
#[inline(always)]
pub fn deciding_v6<T: EntryTables>(tables: &T, address: [u64; 2]) -> Deciding {
    let flags = tables.flags();
    let multipliers = tables.multipliers();
    if flags & EntryTable::HostsV6.flag() != 0
        && tables.is_set(EntryTable::HostsV6, host_bit(multipliers, address))
        && let Some(place) = tables.host_v6(address)
    {
        let deciding = Entry::of(&place.read()).decides(|| tables.now());
        if deciding.action() != EntryAction::NONE {
            return deciding;
        }
    }
    let mut caught = Deciding::NOTHING;
    if flags & flag::CAUGHT != 0 {
        caught = tables.caught(Network::IPV6, address);
    }
    // The verifier would follow each answer through the loop over the trie.
    let caught = Deciding(black_box(caught.0.into()) as u32);
    if flags & EntryTable::PrefixesV6.flag() == 0 || !probe(tables, flags, address[0]) {
        return caught;
    }
    let find = |length| tables.prefix_v6(length, address);
    let (found, length) = longest_live(127, tables.epoch(), find, || tables.now());
    // A source that a rule caught is a /64. Of the same prefix an allow decides.
    let is_longer = length > 64 || length == 64 && found.action() == EntryAction::ALLOWED;
    if caught.action() != EntryAction::NONE && !is_longer {
        return caught;
    }
    found
}

/// Whether the trie has to be asked for an IPv6 address. The filter is asked only at lengths at
/// which some prefix stands, mostly one.
#[inline(always)]
fn probe<T: EntryTables>(tables: &T, flags: u32, upper: u64) -> bool {
    if flags & flag::V6_ALWAYS != 0 {
        return true;
    }
    let at = |(length, flag): (u32, u32)| {
        flags & flag != 0
            && tables
                .is_set(EntryTable::PrefixesV6, prefix_bit_v6(tables.multipliers(), upper, length))
    };
    at(LENGTHS_V6[0]) || at(LENGTHS_V6[1]) || at(LENGTHS_V6[2])
}

/// What the longest live prefix of a trie does, and its length; 0 where none is live. `epoch` was read before the trie is: what the trie
/// says is then no older than the epoch that a skip names.
#[inline(always)]
fn longest_live<P: Place>(
    longest: u32,
    epoch: u32,
    find: impl Fn(u32) -> Option<P>,
    now: impl Fn() -> u64,
) -> (Deciding, u32) {
    const NOTHING: (Deciding, u32) = (Deciding::NOTHING, 0);
    let Some(place) = find(longest) else { return NOTHING };
    let value = place.read();
    let first = Entry::of(&value);
    let deciding = first.decides(&now);
    if deciding.action() != EntryAction::NONE {
        return (deciding, first.length);
    }
    let known = Skip::of(&value, epoch);
    if known == Some(Skip::NOTHING) || first.length == 0 {
        return NOTHING;
    }
    let below = known.map_or(first.length - 1, |skip| u32::from(skip.0));
    let (deciding, skip) = live_up_to(below, longest, find, now());
    if epoch != 0 && known != Some(skip) {
        place.write_skip(skip.to_half(epoch));
    }
    let length = if deciding.action() == EntryAction::NONE { 0 } else { u32::from(skip.0) };
    (deciding, length)
}

/// Asks a trie for shorter and shorter prefixes, until one is live: what it does, and its length.
/// Each answer is shorter than the one before, so there are at most as many as there are lengths.
#[inline(always)]
fn live_up_to<P: Place>(
    below: u32,
    longest: u32,
    find: impl Fn(u32) -> Option<P>,
    now: u64,
) -> (Deciding, Skip) {
    let mut length = below;
    for _ in 0..longest {
        let Some(place) = find(length) else { break };
        let entry = Entry::of(&place.read());
        let deciding = entry.decides_at(now);
        if deciding.action() != EntryAction::NONE {
            return (deciding, Skip(entry.length as u8));
        }
        if entry.length == 0 || entry.length > length {
            break;
        }
        length = entry.length - 1;
    }
    (Deciding::NOTHING, Skip::NOTHING)
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A trie whose prefixes all hold one address: places by their lengths.
    struct Nested {
        places: [Option<Cell<Value>>; 32],
        asked: Cell<usize>,
        now: Cell<u64>,
    }

    impl Place for &Cell<Value> {
        fn read(self) -> Value {
            self.get()
        }

        fn write_skip(self, half: u16) {
            let mut value = self.get();
            value[4] = value[4] & 0xffff | u32::from(half) << 16;
            self.set(value);
        }
    }

    /// Of one owner.
    fn entry(length: u32, deadline: u64, action: EntryAction) -> Entry {
        let until = |wanted| if action == wanted { deadline } else { 0 };
        let (allowed_until, blocked_until) = (until(ALLOWED), until(BLOCKED));
        Entry { allowed_until, blocked_until, length, allowed_counter: 7, blocked_counter: 8 }
    }

    impl Nested {
        /// Deadlines by length.
        fn of(entries: &[(u32, u64, EntryAction)]) -> Self {
            let mut places = [const { None }; 32];
            for &(length, deadline, action) in entries {
                let value = entry(length, deadline, action).to_value();
                places[length as usize] = Some(Cell::new(value));
            }
            Self { places, asked: Cell::new(0), now: Cell::new(0) }
        }

        /// The action, and how often the trie was asked.
        fn ask(&self, epoch: u32, now: u64) -> (EntryAction, usize) {
            self.asked.set(0);
            self.now.set(now);
            let find = |length: u32| {
                self.asked.set(self.asked.get() + 1);
                self.places[..=length as usize].iter().rev().find_map(Option::as_ref)
            };
            let (deciding, _) = longest_live(31, epoch, find, || self.now.get());
            let counters = [(NONE, 0), (ALLOWED, 7), (BLOCKED, 8)];
            assert!(counters.contains(&(deciding.action(), deciding.counter())), "{deciding:?}");
            (deciding.action(), self.asked.get())
        }
    }

    const BLOCKED: EntryAction = EntryAction::BLOCKED;
    const ALLOWED: EntryAction = EntryAction::ALLOWED;
    const NONE: EntryAction = EntryAction::NONE;

    #[test]
    fn an_allow_decides_before_a_block_while_it_lives() {
        let both = |allowed_until, blocked_until| Entry {
            allowed_until,
            blocked_until,
            length: 8,
            allowed_counter: 1,
            blocked_counter: 2,
        };
        let at = |entry: Entry, now| {
            let deciding = entry.decides(|| now);
            (deciding.action(), deciding.counter())
        };
        assert_eq!(at(both(10, 20), 9), (ALLOWED, 1));
        assert_eq!(at(both(10, 20), 10), (BLOCKED, 2));
        assert_eq!(at(both(10, 20), 20), (NONE, 0));
        assert_eq!(at(both(20, 10), 10), (ALLOWED, 1));
        assert_eq!(at(both(10, NEVER), 10), (BLOCKED, 2));
        // Without asking for the time.
        let timeless = |entry: Entry| entry.decides(|| panic!("the clock is asked")).action();
        assert_eq!(timeless(both(NEVER, 10)), ALLOWED);
        assert_eq!(timeless(both(0, NEVER)), BLOCKED);
        assert_eq!(timeless(both(0, 0)), NONE);
    }

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        assert_eq!(CounterPlace::of(0), None);
        let last = (COUNTER_PAGES * COUNTERS_PER_PAGE) as u32 - 1;
        let mut before = 0;
        for counter in (1..=last).step_by(255).chain([last]) {
            let CounterPlace { page, block, word } = CounterPlace::of(counter).unwrap();
            assert!((page as usize) < COUNTER_PAGES && (block as usize) < COUNTER_BLOCKS);
            let back =
                (page as usize * COUNTER_BLOCKS + block as usize) * COUNTERS_PER_BLOCK + word;
            assert_eq!(back, counter as usize);
            assert_eq!(Deciding::new(BLOCKED, counter).counter(), counter);
            before = counter;
        }
        assert_eq!(before, last);
    }

    #[test]
    fn what_has_ended_is_walked_over_once() {
        let mut entries: [_; 31] = core::array::from_fn(|at| (at as u32 + 1, 10, BLOCKED));
        let all_ended = Nested::of(&entries);
        assert_eq!(all_ended.ask(1, 9), (BLOCKED, 1));
        assert_eq!(all_ended.ask(1, 10), (NONE, 32));
        assert_eq!(all_ended.ask(1, 11), (NONE, 1));

        entries[0] = (1, 20, ALLOWED);
        let one_lives = Nested::of(&entries);
        assert_eq!(one_lives.ask(1, 10), (ALLOWED, 31));
        assert_eq!(one_lives.ask(1, 19), (ALLOWED, 2));
        assert_eq!(one_lives.ask(1, 20), (NONE, 3), "it has ended since");
        assert_eq!(one_lives.ask(1, 21), (NONE, 1));
    }

    #[test]
    fn a_skip_ends_with_its_epoch() {
        let nested = Nested::of(&[(8, NEVER, BLOCKED), (16, 10, ALLOWED), (24, 10, BLOCKED)]);
        assert_eq!(nested.ask(0, 10), (BLOCKED, 3));
        assert_eq!(
            nested.ask(0, 10),
            (BLOCKED, 3),
            "while a command changes the tables, none is left"
        );
        assert_eq!(nested.ask(1, 10), (BLOCKED, 3));
        assert_eq!(nested.ask(1, 10), (BLOCKED, 2));
        assert_eq!(nested.ask(0, 10), (BLOCKED, 3), "nor used");
        assert_eq!(nested.ask(2, 10), (BLOCKED, 3));
        assert_eq!(nested.ask(2, 10), (BLOCKED, 2));
        let first = nested.places[24].as_ref().map(|place| Entry::of(&place.get()));
        assert_eq!(first, Some(entry(24, 10, BLOCKED)), "a skip changes nothing else");
    }
}
