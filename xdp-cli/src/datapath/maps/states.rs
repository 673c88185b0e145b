//! States of services' backends, and the connections that they have (`xdp_common::filter::tracking`).
//!
//! Words are written one by one while packets are served, each in one store: by commands under the lock,
//! and by checks of health without it. What a service's word says follows from those of its backends. So
//! whoever has changed one of these computes that one anew, and looks again until nothing has changed
//! meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use xdp_common::capacity::{CONNECTION_SLOTS, STATE_SLOTS};
use xdp_common::filter::tracking::{
    AGE_BITS, ASK_ALL, DISREGARD_CHECKS, FIRST_MOMENT, IDS, LINES_PER_SLOT, MOMENT_SHIFT, MOMENTS,
    Memory, NOT_ALL_UP, SECOND_MOMENT, STATES_PER_SLOT, Said, state,
};
use xdp_common::image::Lines;
use xdp_common::lookup::services::{Backend, Front, State};
use xdp_common::maps::MEMORY;

use crate::datapath::maps::dynamic::memory::MappedValue;
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::program::clock;
use crate::datapath::sys::bpf;
use crate::image::services::{backends, fronts, spare_word};

/// The moment that it is.
pub fn now() -> io::Result<u64> {
    let now = clock::now().map_err(|error| io::Error::other(error.message))?;
    Ok(now >> MOMENT_SHIFT & MOMENTS)
}

/// What of a backend's word somebody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Command,
    Check,
}

impl By {
    const fn shifts(self) -> (u32, u32) {
        match self {
            Self::Command => (0, FIRST_MOMENT),
            Self::Check => (2, SECOND_MOMENT),
        }
    }

    const fn mask(self) -> u64 {
        let (what, until) = self.shifts();
        3 << what | MOMENTS << until
    }
}

/// What somebody said of a backend, and until which moment it holds; 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub said: Said,
    pub until: u64,
}

/// The words of state.
pub struct States {
    slots: Vec<Option<MappedValue<Memory>>>,
}

impl States {
    /// Opens those that are there.
    pub fn open(maps: &Maps) -> io::Result<Self> {
        let open = |slot| {
            let map = slots::get(&maps.backend_states, slot)?;
            map.map(|map| MappedValue::open(&map)).transpose()
        };
        Ok(Self { slots: (0..STATE_SLOTS).map(open).collect::<io::Result<_>>()? })
    }

    fn word(&self, id: u32) -> Option<&AtomicU64> {
        let memory = self.slots.get((id / STATES_PER_SLOT) as usize)?.as_ref()?;
        let word = memory.as_ptr().cast::<u64>().wrapping_add((id % STATES_PER_SLOT) as usize);
        // SAFETY: the word lies in the mapping, which lives as long as `self`; it is aligned, and all that
        // access it do so atomically, in this process and in the program.
        Some(unsafe { AtomicU64::from_ptr(word) })
    }

    /// The word of a backend or a service; 0 where there is none.
    pub fn read(&self, id: u32) -> u64 {
        self.word(id).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    /// What somebody said of a backend.
    pub fn said(&self, id: u32, by: By) -> Word {
        let word = self.read(id);
        let (what, until) = by.shifts();
        let said = match word >> what & 3 {
            1 => Said::Up,
            2 => Said::Drain,
            3 => Said::Down,
            _ => Said::Nothing,
        };
        Word { said, until: word >> until & MOMENTS }
    }

    /// Writes what somebody says of a backend, and then its service's word. Fails where there are no
    /// words: the ruleset in force has no services.
    pub fn say(
        &self,
        image: &impl Lines,
        service: u32,
        backend: u32,
        by: By,
        word: Word,
    ) -> io::Result<()> {
        let (what, until) = by.shifts();
        let bits = (word.said as u64) << what | (word.until & MOMENTS) << until;
        let at = self.word(backend).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // What may fail comes first: once the word is written, it is in force.
        let front = fronts(image).into_iter().find(|front| front.counter == service);
        let of_service = front.map(|front| self.of_service(&front)).transpose()?;
        let now = now()?;
        let differs = |found: u64| differs(found, by, word.said, now);
        if let Some([own, _]) = of_service
            && differs(at.load(Ordering::SeqCst))
        {
            // Before the backend's word: packets that find it up look for connections with substitutes.
            let put = |word: u64| Some(word & !(MOMENTS << SECOND_MOMENT) | now << SECOND_MOMENT);
            let _ = own.fetch_update(Ordering::SeqCst, Ordering::SeqCst, put);
        }
        let put = |word: u64| Some(word & !by.mask() | bits);
        let before = at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, put).unwrap_or_default();
        let has_changed = differs(before);
        if let (Some(front), Some(words)) = (front, of_service) {
            self.settle(image, &front, words, has_changed, now);
        }
        Ok(())
    }

    /// Writes the words of all services of an image that is to be put in force; of those in `changed`, backends
    /// have other states than before.
    fn settle_all(&self, image: &impl Lines, changed: &[u32]) -> io::Result<()> {
        let mut fronts = fronts(image);
        fronts.sort_by_key(|front| front.counter);
        fronts.dedup_by_key(|front| front.counter);
        let now = now()?;
        for front in &fronts {
            let words = self.of_service(front)?;
            self.settle(image, front, words, changed.contains(&front.counter), now);
        }
        Ok(())
    }

    /// The words of a service: its own, and the one with backends in whose place others come.
    fn of_service(&self, front: &Front) -> io::Result<[&AtomicU64; 2]> {
        let words = [front.counter, front.spares].map(|id| self.word(id));
        match words {
            [Some(own), Some(spares)] => Ok([own, spares]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Writes a service's words, as they follow from those of its backends.
    fn settle(
        &self,
        image: &impl Lines,
        front: &Front,
        [at, spares]: [&AtomicU64; 2],
        has_changed: bool,
        now: u64,
    ) {
        let backends = backends(image, front);
        let words = || -> Vec<u64> { backends.iter().map(|it| self.read(it.counter)).collect() };
        loop {
            let found = words();
            let old = at.load(Ordering::SeqCst);
            let (word, up) = summary(front, &backends, &found, (old, has_changed), now);
            spares.store(spare_word(&up), Ordering::SeqCst);
            let stored = at.compare_exchange(old, word, Ordering::SeqCst, Ordering::SeqCst);
            if stored.is_ok() && found == words() {
                return;
            }
        }
    }

    /// Sets words to zero, of backends and services that the ruleset in force does not have.
    fn clear(&self, ids: impl Iterator<Item = u32>) {
        ids.filter_map(|id| self.word(id)).for_each(|word| word.store(0, Ordering::SeqCst));
    }
}

/// Whether a backend may have another state once that is said. What held for a while and is over has no effect
/// any more, though it is still in the word.
pub fn differs(word: u64, by: By, said: Said, now: u64) -> bool {
    let (what, until) = by.shifts();
    let until = word >> until & MOMENTS;
    word >> what & 3 != said as u64 || until != 0 && now >= until
}

/// The service's word, and the ids of the backends that are up.
pub fn summary(
    front: &Front,
    backends: &[Backend],
    words: &[u64],
    (old, has_changed): (u64, bool),
    now: u64,
) -> (u64, Vec<u32>) {
    let state_of =
        |service: u64| move |(backend, word): (&Backend, &u64)| state(backend, *word, service, now);
    let pairs = || backends.iter().zip(words);
    let weight = |it: &Backend| u64::from(it.weight);
    let up: u64 = pairs()
        .filter(|pair| state_of(0)(*pair) == State::Up as u32)
        .map(|(it, _)| weight(it))
        .sum();
    let all: u64 = backends.iter().map(weight).sum();
    let panics = up * 100 < all * u64::from(front.panic);
    let mut word = if panics { DISREGARD_CHECKS } else { 0 };
    let states: Vec<u32> = pairs().map(state_of(word)).collect();
    let is_up = |state: &u32| *state == State::Up as u32;
    // What a command said holds for a while, perhaps, and hides what is not up.
    let may_fall = |(backend, word): (&Backend, &u64)| {
        let hides = word & 3 == Said::Up as u64 && word >> FIRST_MOMENT & MOMENTS != 0;
        hides && (backend.state != State::Up as u8 || word >> 2 & 3 == Said::Down as u64)
    };
    let until = old >> FIRST_MOMENT & MOMENTS;
    let ids = pairs().map(|(backend, _)| backend.counter);
    let up: Vec<u32> =
        ids.zip(&states).filter(|(_, state)| is_up(state)).map(|(id, _)| id).collect();
    if !states.iter().all(is_up) || pairs().any(may_fall) {
        word |= NOT_ALL_UP;
    } else if old & NOT_ALL_UP != 0 {
        // Connections may be with substitutes yet.
        let ends = if until == 0 { now + u64::from(front.history) } else { until };
        if now < ends {
            word |= NOT_ALL_UP | (ends & MOMENTS) << FIRST_MOMENT;
        }
    }
    // A trial that is over, whatever came of it, may have left connections anywhere; and where checks come to be
    // disregarded, or cease to be, other backends than the one that is written about change.
    let has_changed = has_changed || old & ASK_ALL != 0 || (old ^ word) & DISREGARD_CHECKS != 0;
    let changed = if has_changed { now } else { old >> SECOND_MOMENT & MOMENTS };
    (word | changed << SECOND_MOMENT, up)
}

/// What a ruleset needs beside its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The highest id of its services and backends.
    pub last: u32,
    /// Lines of connections.
    pub lines: u32,
    /// The ids that the ruleset before does not use: nothing is known of them yet.
    pub fresh: Vec<u32>,
    /// The ids of the services whose backends have other states in this ruleset.
    pub changed: Vec<u32>,
}

/// Provides words of state and room for connections, for a ruleset that is to be put in force.
/// With `on_trial`, the ruleset before may come back at any time: until a command says otherwise, connections
/// are looked up in all places, so that they stay with the backends that they have then.
pub fn provide(maps: &Maps, image: &impl Lines, needs: &Beside, on_trial: bool) -> io::Result<()> {
    crate::datapath::maps::dynamic::provide_secret(maps)?;
    for slot in 0..word_slots(needs) {
        if slots::get(&maps.backend_states, slot)?.is_none() {
            let map = handles::create(MEMORY, "xdpctl_states")?;
            slots::put(&maps.backend_states, slot, &map)?;
        }
    }
    let states = States::open(maps)?;
    states.clear(needs.fresh.iter().copied());
    provide_connections(&maps.connections, needs.lines, &needs.fresh)?;
    states.settle_all(image, &needs.changed)?;
    if on_trial {
        for front in fronts(image) {
            let Some(word) = states.word(front.counter) else { continue };
            // For ever, as far as the program knows; and whatever checks count in this ruleset.
            let put = |word: u64| {
                Some(word & !(MOMENTS << FIRST_MOMENT) & !DISREGARD_CHECKS | NOT_ALL_UP | ASK_ALL)
            };
            // It cannot fail: the closure always has a word.
            let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, put);
        }
    }
    Ok(())
}

/// Writes the words of all services of the image in force once more, where it may have been exchanged since
/// they were written.
pub fn settle(maps: &Maps, image: &impl Lines) -> io::Result<()> {
    States::open(maps)?.settle_all(image, &[])
}

/// Slots that the words of state take.
pub fn word_slots(needs: &Beside) -> u32 {
    (needs.last / STATES_PER_SLOT + 1).min(STATE_SLOTS)
}

/// Slots that so many lines take.
pub fn slots_of(lines: u32) -> u32 {
    lines.div_ceil(LINES_PER_SLOT).min(CONNECTION_SLOTS)
}

/// Makes room for connections. Where there were fewer lines, each is found in all the places that its
/// connections may have now. Where there were more, those beyond are forgotten.
fn provide_connections(outer: &OwnedFd, lines: u32, fresh: &[u32]) -> io::Result<()> {
    let mut fresh = fresh.to_vec();
    fresh.sort_unstable();
    let mut there = Vec::new();
    for slot in 0..slots_of(lines) {
        let map = match slots::get(outer, slot)? {
            Some(map) => {
                there.push(slot);
                forget(&MappedValue::open(&map)?, &fresh);
                continue;
            }
            None => handles::create(MEMORY, "xdpctl_flows")?,
        };
        let known = there.len().checked_next_power_of_two().unwrap_or(0) as u32;
        if known == there.len() as u32 && known != 0 {
            copy(outer, slot % known, &map)?;
        }
        slots::put(outer, slot, &map)?;
    }
    Ok(())
}

fn copy(outer: &OwnedFd, from: u32, to: &OwnedFd) -> io::Result<()> {
    let Some(from) = slots::get(outer, from)? else { return Ok(()) };
    let (from, to) = (MappedValue::<Memory>::open(&from)?, MappedValue::<Memory>::open(to)?);
    for word in 0..STATES_PER_SLOT as usize {
        let (from, to) = (from.as_ptr().cast::<u64>(), to.as_ptr().cast::<u64>());
        // SAFETY: both words lie in mappings that live as long as this; nobody else knows the second.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
    }
    Ok(())
}

/// Removes the connections of ids that are given to other backends now.
fn forget(memory: &MappedValue<Memory>, fresh: &[u32]) {
    if fresh.is_empty() {
        return;
    }
    for at in 0..STATES_PER_SLOT as usize {
        let word = memory.as_ptr().cast::<u64>().wrapping_add(at);
        // SAFETY: as in `States::word`.
        let word = unsafe { AtomicU64::from_ptr(word) };
        let found = word.load(Ordering::Relaxed);
        if found != 0 && fresh.binary_search(&((found >> AGE_BITS & IDS) as u32)).is_ok() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// How many connections are remembered, by the ids of their backends: those that were used since
/// `oldest`, an age, are not told from older ones.
pub fn count_connections(maps: &Maps) -> io::Result<std::collections::BTreeMap<u32, u64>> {
    let mut counts = std::collections::BTreeMap::new();
    for slot in 0..CONNECTION_SLOTS {
        let Some(map) = slots::get(&maps.connections, slot)? else { break };
        let memory = MappedValue::<Memory>::open(&map)?;
        for at in 0..STATES_PER_SLOT as usize {
            let word = memory.as_ptr().cast::<u64>().wrapping_add(at);
            // SAFETY: as in `States::word`.
            let word = unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed);
            if word != 0 {
                *counts.entry((word >> AGE_BITS & IDS) as u32).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// The maps that exist only while there are services.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for (outer, slots) in
        [(&maps.backend_states, STATE_SLOTS), (&maps.connections, CONNECTION_SLOTS)]
    {
        for slot in 0..slots {
            let Some(map) = slots::get(outer, slot)? else { break };
            found.push(map);
        }
    }
    Ok(found)
}

/// Gives back what a ruleset without services, or with fewer connections, does not use.
pub fn release(maps: &Maps, has_services: bool, lines: u32) -> io::Result<()> {
    let states = if has_services { STATE_SLOTS } else { 0 };
    let flows = if has_services { slots_of(lines) } else { 0 };
    for (outer, kept, all) in
        [(&maps.backend_states, states, STATE_SLOTS), (&maps.connections, flows, CONNECTION_SLOTS)]
    {
        for slot in kept..all {
            if slots::get(outer, slot)?.is_none() {
                break;
            }
            bpf::delete(outer, slot)?;
        }
    }
    Ok(())
}
