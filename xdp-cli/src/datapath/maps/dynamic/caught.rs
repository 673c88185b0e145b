//! Sources that rules caught: run-time entries that the program makes (`xdp_common::filter::caught`).
//!
//! Each is changed by itself, in one step, while the program changes them too: so none of this needs the mark
//! that a command sets before it changes the tables.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use xdp_common::capacity::CAUGHT_SLOTS;
use xdp_common::filter::caught::{
    self, BUCKET_WORDS, BUCKETS_PER_SLOT, CLAIMED, COUNTER_PAGES, ENDS, MADE, MAX_CAUGHT, NAMES,
    PLACES, Source, TAKEN, bucket, key_v4, key_v6,
};
use xdp_common::filter::dynamic::{COUNTERS_PER_BLOCK, CounterBlock, CounterPlace, flag};
use xdp_common::filter::tracking::Memory;
use xdp_common::image::LINE_WORDS;
use xdp_common::maps::{ENTRY_COUNTER_PAGE, MEMORY};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::dynamic::memory::{self, MappedValue};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::program::clock;
use crate::datapath::sys::bpf::{self, PerCpuValues};
use crate::event::RULES;
use crate::image::caught::{V6_LENGTH, name, prefix};
use crate::notation::{counted, duration, grouped, millis};
use crate::views::entries::{Kind, Listed};

/// Provides room for sources, for a ruleset that is to be put in force. What is there already stays.
pub fn provide(maps: &Maps) -> io::Result<()> {
    // Buckets are chosen by numbers of the attachment's own.
    memory::Switches::open(&maps.switches)?;
    let pages = (0..COUNTER_PAGES as u32).map(|page| (&maps.caught_counters, page));
    let pages = pages.map(|it| (it, ENTRY_COUNTER_PAGE, "xdpctl_counted"));
    let memory = (0..CAUGHT_SLOTS).map(|slot| (&maps.caught, slot));
    let memory = memory.map(|it| (it, MEMORY, "xdpctl_caught"));
    for ((outer, slot), definition, name) in pages.chain(memory) {
        if slots::get(outer, slot)?.is_none() {
            slots::put(outer, slot, &handles::create(definition, name)?)?;
        }
    }
    Ok(())
}

/// The maps that exist only while there is room for sources.
pub(super) fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for slot in 0..CAUGHT_SLOTS {
        let Some(map) = slots::get(&maps.caught, slot)? else { return Ok(found) };
        found.push(map);
    }
    for page in 0..COUNTER_PAGES as u32 {
        found.extend(slots::get(&maps.caught_counters, page)?);
    }
    Ok(found)
}

/// Whether the room stays whatever the ruleset does: somebody is caught.
pub fn is_held(maps: &Maps) -> io::Result<bool> {
    Ok(!live(maps)?.is_empty())
}

/// Gives the room back, where the ruleset in force catches nobody and nobody is caught any more.
pub fn release(maps: &Maps) -> io::Result<()> {
    // Slot 0 last: as long as it has a map, others may have one.
    if slots::get(&maps.caught, 0)?.is_none() || !sweep(maps)? {
        return Ok(());
    }
    for page in 0..COUNTER_PAGES as u32 {
        bpf::delete(&maps.caught_counters, page)?;
    }
    (0..CAUGHT_SLOTS).rev().try_for_each(|slot| bpf::delete(&maps.caught, slot))
}

/// For so long it is told that there was no place for a source.
const LATELY: Duration = Duration::from_secs(600);

/// The sentence that rules could not catch sources for want of a place, if that was so a short while ago.
///
/// # Errors
///
/// Where the kernel refuses to read the switches, or to say what time it is.
pub fn lately_lost(maps: &Maps) -> Result<Option<String>> {
    let switches = memory::read(&maps.switches).context("look at the sources that rules block")?;
    if switches.not_caught == 0 {
        return Ok(None);
    }
    let ago = Duration::from_nanos(clock::now()?.saturating_sub(switches.last_not_caught));
    Ok((ago < LATELY).then(|| {
        format!(
            "rules that block sources had no place for more: {} since attach, the last {} ago, dropped \
             their packet alone; there are {} places, and `xdpctl bans IFACE --owner rule:NAME --flush` \
             frees those of a rule",
            counted(switches.not_caught, "packet"),
            duration(ago.as_secs()),
            grouped(MAX_CAUGHT.into()),
        )
    }))
}

/// A caught source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) prefix: IpPrefix,
    /// `rule:` and the rule's name.
    pub(super) owner: String,
    /// Nanoseconds of the kernel's clock.
    pub(super) ends: u64,
    made: u64,
    /// The places that it has, with how often each was taken: two, if two CPUs caught it at one time.
    places: Vec<(u32, u64)>,
}

impl Caught {
    /// When it was made, in milliseconds since 1970.
    pub(super) fn created(&self, now: u64) -> u64 {
        // The same in all answers of this process, whatever becomes of the clock: `monitor` knows entries by it.
        static BEGINNING: OnceLock<SystemTime> = OnceLock::new();
        let beginning = BEGINNING.get_or_init(|| {
            SystemTime::now()
                .checked_sub(Duration::from_nanos(now))
                .unwrap_or(SystemTime::UNIX_EPOCH)
        });
        millis(*beginning + Duration::from_nanos(self.made))
    }

    /// As it is shown.
    pub(super) fn listed(&self, now: u64, packets: u64) -> Listed {
        Listed {
            prefix: self.prefix,
            kind: Kind::Block,
            expires_in_seconds: Some(self.ends.saturating_sub(now).div_ceil(1_000_000_000)),
            note: None,
            owner: self.owner.clone(),
            created: SystemTime::UNIX_EPOCH + Duration::from_millis(self.created(now)),
            packets,
        }
    }
}

/// The places of all sources, as memory.
struct Places {
    slots: Vec<MappedValue<Memory>>,
}

impl Places {
    /// Opens them; none where there is no room for any, or where there is none that the program asks for.
    fn open(maps: &Maps) -> io::Result<Option<Self>> {
        let mut slots = Vec::new();
        for slot in 0..CAUGHT_SLOTS {
            let Some(map) = slots::get(&maps.caught, slot)? else { return Ok(None) };
            slots.push(MappedValue::open(&map)?);
        }
        Ok(Some(Self { slots }))
    }

    fn word(&self, bucket: u32, at: usize) -> &AtomicU64 {
        let slot = &self.slots[(bucket / BUCKETS_PER_SLOT) as usize];
        let place = (bucket % BUCKETS_PER_SLOT) as usize * BUCKET_WORDS + at;
        // SAFETY: the word lies in the mapping, which lives as long as `self`; it is aligned, and all that access
        // it do so in one step.
        unsafe { AtomicU64::from_ptr(slot.as_ptr().cast::<u64>().add(place)) }
    }

    /// Reads a place; `None` where nothing is or where that changes just now.
    fn read(&self, bucket: u32, place: usize) -> Option<Caught> {
        let word = |at: usize| self.word(bucket, at).load(Ordering::Acquire);
        let key = word(place);
        let source = Source::of(key)?;
        let (ends, made, taken) = (word(ENDS + place), word(MADE + place), word(TAKEN + place));
        let rule: [u64; LINE_WORDS] =
            std::array::from_fn(|at| word(NAMES + place * LINE_WORDS + at));
        if word(place) != key || word(TAKEN + place) != taken {
            return None;
        }
        let prefix = prefix(source);
        let places = vec![(bucket * PLACES as u32 + place as u32, taken)];
        Some(Caught { prefix, owner: format!("{RULES}{}", name(&rule)), ends, made, places })
    }

    /// Empties the places of an entry, unless they were taken anew since it was read.
    fn remove(&self, caught: &Caught) {
        for (bucket, at, taken) in caught.at() {
            let key = key_of(&caught.prefix);
            if self.word(bucket, TAKEN + at).load(Ordering::Acquire) == taken {
                self.exchange(bucket, at, key, 0);
            }
        }
    }

    /// Undoes a removal. What lies beside a key stays until its place is taken anew.
    fn put_back(&self, caught: &Caught) {
        for (bucket, at, taken) in caught.at() {
            // Claimed first, so that nobody takes the place between the question and the answer.
            if self.exchange(bucket, at, 0, CLAIMED) {
                let is_same = self.word(bucket, TAKEN + at).load(Ordering::Acquire) == taken;
                let key = if is_same { key_of(&caught.prefix) } else { 0 };
                self.exchange(bucket, at, CLAIMED, key);
            }
        }
    }

    fn exchange(&self, bucket: u32, at: usize, old: u64, new: u64) -> bool {
        let word = self.word(bucket, at);
        word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Caught {
    /// Its places: bucket, place in it, and how often that was taken.
    fn at(&self) -> impl Iterator<Item = (u32, usize, u64)> {
        self.places
            .iter()
            .map(|(place, taken)| (place / PLACES as u32, *place as usize % PLACES, *taken))
    }
}

/// The key of a source's prefix; 0 where no source has that prefix.
fn key_of(prefix: &IpPrefix) -> u64 {
    match prefix {
        IpPrefix::V4(prefix) if prefix.length == 32 => key_v4(prefix.address),
        IpPrefix::V6(prefix) if prefix.length == V6_LENGTH => key_v6((prefix.address >> 64) as u64),
        _ => 0,
    }
}

/// The prefix that an address, a prefix of full length, would be caught by.
pub(super) fn prefix_of(address: &IpPrefix) -> IpPrefix {
    match address {
        IpPrefix::V4(_) => *address,
        IpPrefix::V6(_) => address.shortened(V6_LENGTH),
    }
}

/// Whether there may be sources that were caught.
fn may_be(maps: &Maps) -> io::Result<bool> {
    Ok(memory::read(&maps.switches)?.flags & flag::CAUGHT != 0)
}

fn now() -> io::Result<u64> {
    clock::now().map_err(|error| io::Error::other(error.message))
}

/// The caught sources whose time is not over, each with its rule once.
pub(super) fn live(maps: &Maps) -> io::Result<Vec<Caught>> {
    if !may_be(maps)? {
        return Ok(Vec::new());
    }
    let now = now()?;
    let Some(places) = Places::open(maps)? else { return Ok(Vec::new()) };
    let all = 0..CAUGHT_SLOTS * BUCKETS_PER_SLOT;
    let all = all.flat_map(|bucket| (0..PLACES).map(move |place| (bucket, place)));
    Ok(merged(all.filter_map(|(bucket, place)| places.read(bucket, place)), now))
}

/// Those of exactly this prefix.
pub(super) fn of(maps: &Maps, prefix: &IpPrefix) -> io::Result<Vec<Caught>> {
    let key = key_of(prefix);
    if key == 0 || !may_be(maps)? {
        return Ok(Vec::new());
    }
    let now = now()?;
    let Some(places) = Places::open(maps)? else { return Ok(Vec::new()) };
    let bucket = bucket(key, memory::read(&maps.switches)?.multipliers[0]);
    let found = (0..PLACES).filter_map(|place| places.read(bucket, place));
    Ok(merged(found.filter(|caught| caught.prefix == *prefix), now))
}

fn merged(all: impl Iterator<Item = Caught>, now: u64) -> Vec<Caught> {
    let mut merged: BTreeMap<(IpPrefix, String), Caught> = BTreeMap::new();
    for caught in all.filter(|caught| now < caught.ends) {
        let key = (caught.prefix, caught.owner.clone());
        match merged.get_mut(&key) {
            Some(other) => {
                other.ends = other.ends.max(caught.ends);
                other.made = other.made.min(caught.made);
                other.places.extend(caught.places);
            }
            None => {
                merged.insert(key, caught);
            }
        }
    }
    merged.into_values().collect()
}

/// Removes entries of sources. One that is not there any more is no error.
pub(super) fn remove(maps: &Maps, all: &[Caught]) -> io::Result<()> {
    if !all.is_empty()
        && let Some(places) = Places::open(maps)?
    {
        all.iter().for_each(|caught| places.remove(caught));
    }
    Ok(())
}

/// Undoes [`remove`].
pub(super) fn put_back(maps: &Maps, all: &[Caught]) -> io::Result<()> {
    if !all.is_empty()
        && let Some(places) = Places::open(maps)?
    {
        all.iter().for_each(|caught| places.put_back(caught));
    }
    Ok(())
}

/// Has the program ask for no sources any more, where none is left. Returns whether that is so.
pub(super) fn sweep(maps: &Maps) -> io::Result<bool> {
    if !may_be(maps)? {
        return Ok(true);
    }
    let switches = memory::Switches::open_as_they_are(&maps.switches)?;
    let now = now()?;
    if !live(maps)?.is_empty() {
        return Ok(false);
    }
    switches.clear_flags(flag::CAUGHT);
    // The program sets the flag behind the entry: one that it made meanwhile is found now.
    let Some(places) = Places::open(maps)? else { return Ok(true) };
    for bucket in 0..CAUGHT_SLOTS * BUCKETS_PER_SLOT {
        for place in 0..PLACES {
            if places.read(bucket, place).is_some_and(|caught| now < caught.ends) {
                switches.set_flags(flag::CAUGHT);
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What caught sources sent since. Each block of counters is read once.
pub(super) struct Packets<'m> {
    pages: &'m OwnedFd,
    blocks: FxHashMap<(u32, u32), Vec<CounterBlock>>,
    values: PerCpuValues,
}

impl<'m> Packets<'m> {
    pub(super) fn new(maps: &'m Maps) -> io::Result<Self> {
        let values = PerCpuValues::zeroed(size_of::<CounterBlock>(), 1)?;
        Ok(Self { pages: &maps.caught_counters, blocks: FxHashMap::default(), values })
    }

    /// The packets that an entry dropped, summed over all CPUs.
    pub(super) fn of(&mut self, caught: &Caught) -> io::Result<u64> {
        let mut sum = 0;
        for (place, taken) in &caught.places {
            let CounterPlace { page, block, word } = CounterPlace::at(*place);
            if !self.blocks.contains_key(&(page, block)) {
                let read = self.read(page, block)?;
                self.blocks.insert((page, block), read);
            }
            let shares = self.blocks.get(&(page, block)).into_iter().flatten();
            sum += shares.map(|share| caught::packets(share[word], *taken)).sum::<u64>();
        }
        Ok(sum)
    }

    fn read(&mut self, page: u32, block: u32) -> io::Result<Vec<CounterBlock>> {
        let Some(map) = slots::get(self.pages, page)? else { return Ok(Vec::new()) };
        self.values.lookup(&map, block)?;
        let share = |bytes: &[u8]| {
            let mut words = [0; COUNTERS_PER_BLOCK];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            words
        };
        Ok(self.values.shares().map(share).collect())
    }
}
