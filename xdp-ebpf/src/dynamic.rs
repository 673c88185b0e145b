//! The entries added at run time, in the kernel's maps.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::maps::lpm_trie::Key;
use xdp_common::capacity::CAUGHT_SLOTS;
use xdp_common::filter::caught::{
    self, BUCKET_WORDS, BUCKETS, BUCKETS_PER_SLOT, Bucket, Buckets, MAX_CAUGHT,
};
use xdp_common::filter::dynamic::{
    COUNTERS_PER_BLOCK, CounterPlace, Deciding, DynamicEntries, EntryTable, EntryTables,
    FILTER_WORDS, Place, Switches, Value, deciding_v4, deciding_v6, flag,
};
use xdp_common::packet::Network;
use xdp_common::verifier::{black_box, name};

use crate::maps::{
    BAN_FILTERS, BAN_HOSTS_V4, BAN_HOSTS_V6, BAN_PREFIXES_V4, BAN_PREFIXES_V6, CAUGHT,
    CAUGHT_COUNTERS, ENTRY_COUNTERS, OWNERS, RECORDS, SWITCHES,
};

/// The entries in force, and bypass. A packet pays for a load and a branch to ask for bypass; where
/// there are no entries, an IP packet pays as much again for those.
pub struct InForce;

impl DynamicEntries for InForce {
    #[inline(always)]
    fn bypass(&self) -> bool {
        // SAFETY: a reference is valid to read from, and a word is read in one.
        SWITCHES
            .get(0)
            .is_some_and(|switches| unsafe { core::ptr::read_volatile(&switches.bypass) } != 0)
    }

    #[inline(always)]
    fn deciding(&self, network: Network, source: [u64; 2]) -> Deciding {
        let Some(switches) = SWITCHES.get(0) else { return Deciding::NOTHING };
        let flags = flags(switches);
        if flags & (flag::V4 | flag::V6) == 0 {
            return Deciding::NOTHING;
        }
        Deciding(if network == Network::IPV4 {
            entry_v4(source[0])
        } else {
            entry_v6(source[0], source[1])
        })
    }
}

/// Whether there is nothing to ask: no entry of either kind, and no bypass.
#[inline(always)]
pub fn is_idle() -> bool {
    SWITCHES.get(0).is_some_and(|switches| {
        // SAFETY: a reference is valid to read from, and a word is read in one.
        let bypass = unsafe { core::ptr::read_volatile(&switches.bypass) };
        bypass == 0 && flags(switches) & (flag::V4 | flag::V6) == 0
    })
}

/// The flags of the switches, read anew, because the command line may write them at any time.
#[inline(always)]
fn flags(switches: &Switches) -> u32 {
    // SAFETY: a reference is valid to read from, and a word is read in one.
    unsafe { core::ptr::read_volatile(&switches.flags) }
}

/// Asks the tables of IPv4, and returns a [`Deciding`].
///
/// This and the next one are global functions. The verifier goes through a global function once, on
/// its own: once through the loop over a trie, in place of once for each way that leads here. It
/// knows nothing of the number returned, so the ways through the function do not go on after it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn entry_v4(address: u64) -> u32 {
    // The program does not use these two. It names them, so that the kernel keeps them as long as
    // the program, and the command line finds them by it.
    name(&RECORDS);
    name(&OWNERS);
    let Some(switches) = SWITCHES.get(0) else { return Deciding::NOTHING.0 };
    deciding_v4(&KernelTables { switches }, address as u32).0
}

/// Asks the tables of IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn entry_v6(upper: u64, lower: u64) -> u32 {
    let Some(switches) = SWITCHES.get(0) else { return Deciding::NOTHING.0 };
    deciding_v6(&KernelTables { switches }, [upper, lower]).0
}

/// Asks for a source that rules caught, by its key, and returns a [`Deciding`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn entry_caught(key: u64) -> u32 {
    caught::deciding(&Caught, key).0
}

/// Counts a packet to the entry that decided it, by the entry's counter; 0 counts nothing.
#[inline(always)]
pub fn count(counter: u32) {
    if counter != 0 {
        entry_decided(counter);
    }
}

/// Adds a packet to a counter. Returns 1, or 0 where there is no counter of that number.
///
/// Global too: inlined, the verifier would follow what comes after it once for each way through it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn entry_decided(counter: u32) -> u32 {
    if counter & caught::COUNTER != 0 {
        return count_caught(counter & (MAX_CAUGHT - 1));
    }
    let Some(place) = CounterPlace::of(counter) else { return 0 };
    let Some(block) = ENTRY_COUNTERS.get_value_ptr_mut(place.page, &place.block) else { return 0 };
    // A black box, or LLVM drops the bound that the verifier has to see.
    let word = black_box(place.word as u64) as usize & (COUNTERS_PER_BLOCK - 1);
    // SAFETY: masked to the block's words, which are this CPU's own, and the program does not interrupt
    // itself there.
    unsafe { *block.cast::<u64>().add(word) += 1 };
    1
}

/// Adds a packet to the counter of a place that a caught source has.
#[inline(always)]
fn count_caught(place: u32) -> u32 {
    let Some(bucket) = caught_bucket(place / caught::PLACES as u32) else { return 0 };
    let at = CounterPlace::at(place);
    let Some(block) = CAUGHT_COUNTERS.get_value_ptr_mut(at.page, &at.block) else { return 0 };
    let word = black_box(at.word as u64) as usize & (COUNTERS_PER_BLOCK - 1);
    let taken = bucket[caught::TAKEN + place as usize % caught::PLACES].load();
    // SAFETY: as in `entry_decided`.
    let counter = unsafe { &mut *block.cast::<u64>().add(word) };
    *counter = caught::counted(*counter, taken);
    1
}

/// A bucket of caught sources.
#[inline(always)]
fn caught_bucket(number: u32) -> Option<&'static Bucket> {
    let number = number & (BUCKETS - 1);
    let memory = CAUGHT.get(number / BUCKETS_PER_SLOT % CAUGHT_SLOTS)?.get(0)?;
    let place = black_box(u64::from(number)) as usize & (BUCKETS_PER_SLOT as usize - 1);
    // SAFETY: masked to the map's buckets. Other CPUs write there too, word by word, and any bits are a bucket.
    Some(unsafe { &*memory.as_ptr().add(place * BUCKET_WORDS).cast::<Bucket>() })
}

/// The sources that rules caught.
pub struct Caught;

impl Buckets for Caught {
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        caught_bucket(number)
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        SWITCHES.get(0).map_or(0, |switches| switches.multipliers[0])
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() }
    }
}

struct KernelTables {
    switches: &'static Switches,
}

/// An IPv4 trie's key, in network order.
#[repr(C, align(8))]
struct KeyV4 {
    length: u32,
    address: u32,
}

/// An IPv6 trie's key, behind four bytes of padding, which align the address to 8: the verifier
/// lets the program write only aligned words to the stack.
#[repr(C, align(8))]
struct KeyV6 {
    padding: u32,
    length: u32,
    address: [u64; 2],
}

/// An entry's value, where the kernel keeps it. If the entry is removed meanwhile, the memory still
/// is a value of the same table, at least until the program has ended.
#[derive(Clone, Copy)]
struct InKernel(*mut Value);

impl Place for InKernel {
    #[inline(always)]
    fn read(self) -> Value {
        // SAFETY: the kernel found it. Each word is read in one; the fifth may be written meanwhile
        // by another CPU.
        let word = |at: usize| unsafe { core::ptr::read_volatile(self.0.cast::<u32>().add(at)) };
        [word(0), word(1), word(2), word(3), word(4), word(5), word(6)]
    }

    #[inline(always)]
    fn write_skip(self, half: u16) {
        // SAFETY: as above, and the upper half of the fifth word is nobody else's.
        unsafe { core::ptr::write_volatile(self.0.cast::<u16>().add(9), half) };
    }
}

impl EntryTables for KernelTables {
    type Place<'a> = InKernel;

    #[inline(always)]
    fn flags(&self) -> u32 {
        flags(self.switches)
    }

    #[inline(always)]
    fn epoch(&self) -> u32 {
        // SAFETY: a reference is valid to read from, and a word is read in one.
        unsafe { core::ptr::read_volatile(&self.switches.epoch) }
    }

    #[inline(always)]
    fn multipliers(&self) -> [u64; 2] {
        self.switches.multipliers
    }

    #[inline(always)]
    fn is_set(&self, table: EntryTable, bit: u32) -> bool {
        let Some(filter) = BAN_FILTERS.get(table as u32).and_then(|filter| filter.get(0)) else {
            return true;
        };
        // A black box, or LLVM drops the bound that the verifier has to see.
        let word = black_box(u64::from(bit / 64));
        let word = word as usize & (FILTER_WORDS - 1);
        // SAFETY: masked to the filter's words. It may be written at any time.
        let word = unsafe { core::ptr::read_volatile(filter.as_ptr().add(word)) };
        word >> (bit % 64) & 1 != 0
    }

    #[inline(always)]
    fn host_v4(&self, address: u32) -> Option<InKernel> {
        BAN_HOSTS_V4.get_value_ptr_mut(0, &address).map(InKernel)
    }

    #[inline(always)]
    fn host_v6(&self, address: [u64; 2]) -> Option<InKernel> {
        BAN_HOSTS_V6.get_value_ptr_mut(0, &address).map(InKernel)
    }

    #[inline(always)]
    fn prefix_v4(&self, length: u32, address: u32) -> Option<InKernel> {
        let key = KeyV4 { length, address: address.to_be() };
        // SAFETY: a length and four bytes, which is what the key is made of.
        let key = unsafe { &*(&raw const key).cast::<Key<[u8; 4]>>() };
        BAN_PREFIXES_V4.get_value_ptr_mut(0, key).map(InKernel)
    }

    #[inline(always)]
    fn prefix_v6(&self, length: u32, address: [u64; 2]) -> Option<InKernel> {
        let key = KeyV6 { padding: 0, length, address: [address[0].to_be(), address[1].to_be()] };
        // SAFETY: a length and 16 bytes, which is what the key is made of, lie behind the padding.
        let key = unsafe { &*(&raw const key.length).cast::<Key<[u8; 16]>>() };
        BAN_PREFIXES_V6.get_value_ptr_mut(0, key).map(InKernel)
    }

    #[inline(always)]
    fn caught(&self, network: Network, source: [u64; 2]) -> Deciding {
        Deciding(entry_caught(caught::key(network, source)))
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() }
    }
}
