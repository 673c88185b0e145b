//! Services read back from an image: their tables, from which connections are with the backends that they have,
//! and what follows from them when another image takes its place.

use rustc_hash::FxHashMap;
use xdp_common::capacity::MAX_BACKENDS_OF_ONE;
use xdp_common::filter::services::MAX_SHARED;
use xdp_common::filter::tracking::{SPARE_BITS, SPARES};
use xdp_common::image::{Header, Lines, flag};
use xdp_common::lookup::services::{self, Backend, ENTRY_WORDS, Front, GONE, PLACE_BITS};

use crate::ruleset::services::TABLES;

/// The tables of the ruleset before, from which connections are with the backends that they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// By the ids of their services.
    pub tables: FxHashMap<u32, Table>,
    /// What the configuration said of each backend, by its id: an `xdp_common` state.
    pub states: FxHashMap<u32, u8>,
    /// The moment from which the new tables hold.
    pub now: u32,
}

/// A service's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The ids of the backends of now and of before, by places.
    pub places: Vec<[u32; 2]>,
    /// As in [`Front`].
    pub history_ends: u32,
    pub changed_at: u32,
}

impl Before {
    /// The tables of an image. Whatever makes no sense there is left out.
    pub fn of<L: Lines>(lines: &L, now: u32) -> Self {
        let mut before = Self { now, ..Self::default() };
        for front in fronts(lines) {
            if before.tables.contains_key(&front.counter) {
                continue;
            }
            let states = backends(lines, &front).into_iter().map(|it| (it.counter, it.state));
            before.states.extend(states);
            before.tables.insert(front.counter, Table::of(lines, &front));
        }
        before
    }
}

/// The ids of the services of an image whose backends have other states than before, or others than that
/// have come or gone.
pub fn changed<L: Lines>(lines: &L, before: &Before) -> Vec<u32> {
    let is_other = |it: &Backend| before.states.get(&it.counter) != Some(&it.state);
    let mut changed: Vec<u32> = fronts(lines)
        .iter()
        .filter(|front| backends(lines, front).iter().any(is_other))
        .map(|front| front.counter)
        .collect();
    changed.dedup();
    changed
}

/// Places of a service's table, and how many of them have another backend than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub places: usize,
    pub of: usize,
}

/// How many places of a service's table have another backend than before, by the ids of the services that
/// were there before too. Of most of those whose places are the same, nothing is said.
pub fn moved<L: Lines>(lines: &L, before: &Before) -> FxHashMap<u32, Moved> {
    let mut moved = FxHashMap::default();
    for front in fronts(lines) {
        let old = before.tables.get(&front.counter).filter(|_| front.changed_at == before.now);
        let Some(old) = old else { continue };
        moved.entry(front.counter).or_insert_with(|| {
            let places = Table::of(lines, &front).places;
            let of = places.len();
            let is_other = |(at, [now, _]): &(usize, &[u32; 2])| {
                old.at(*at, of).is_some_and(|[former, _]| former != *now)
            };
            Moved { places: places.iter().enumerate().filter(is_other).count(), of }
        });
    }
    moved
}

/// All fronts of an image, some of them more than once. Whatever makes no sense there is left out.
pub fn fronts<L: Lines>(lines: &L) -> Vec<Front> {
    let mut fronts = Vec::new();
    let header = lines.block(0).map(Header::of);
    let Some(header) = header.filter(|header| header.has(flag::SERVICES)) else { return fronts };
    for at in 0..header.service_table_lines {
        let Some(line) = lines.line(header.service_table.wrapping_add(at)) else { break };
        for entry in line.chunks_exact(ENTRY_WORDS) {
            let [.., leads_to] = *entry else { continue };
            let mut at = leads_to as u32;
            for _ in 0..=MAX_SHARED {
                let Some(line) = lines.line(at).filter(|_| at != 0) else { break };
                let front = Front::of(line);
                fronts.push(*front);
                at = front.next;
            }
        }
    }
    fronts
}

/// A service's backends in an image.
pub fn backends<L: Lines>(lines: &L, front: &Front) -> Vec<Backend> {
    let all = 0..front.backend_count.min(MAX_BACKENDS_OF_ONE as u32);
    all.map_while(|at| lines.line(front.backends.wrapping_add(at)).map(|line| *Backend::of(line)))
        .collect()
}

/// The word with up to three backends that are up, spread over all of them
/// (`xdp_common::filter::tracking`).
pub fn spare_word(up: &[u32]) -> u64 {
    let count = up.len().min(SPARES as usize);
    (0..SPARES as usize).fold(0, |word, at| {
        let Some(at_most) = count.checked_sub(1) else { return word };
        let id = up[at.min(at_most) * up.len() / count];
        word | u64::from(id) << (SPARE_BITS * at as u32)
    })
}

impl Table {
    fn of<L: Lines>(lines: &L, front: &Front) -> Self {
        const BACKENDS: u32 = (1 << PLACE_BITS) - 1;
        let id = |index: u32| {
            let line = (index != GONE).then(|| front.backends.wrapping_add(index));
            let line = line.and_then(|line| lines.line(line));
            line.map_or(0, |line| Backend::of(line).counter)
        };
        let places = front.places.min(*TABLES.last().expect("a constant"));
        let places = (0..places)
            .map_while(|place| services::number_at(lines, front.places_at, place))
            .map(|place| [id(place & BACKENDS), id(place >> PLACE_BITS)])
            .collect();
        Self { places, history_ends: front.history_ends, changed_at: front.changed_at }
    }

    /// What stood at the place that stands for the same flows as place `index` of `of`.
    pub(super) fn at(&self, index: usize, of: usize) -> Option<[u32; 2]> {
        if of == self.places.len() {
            return self.places.get(index).copied();
        }
        let index = (2 * index + 1) * self.places.len() / (2 * of);
        self.places.get(index).copied()
    }
}
