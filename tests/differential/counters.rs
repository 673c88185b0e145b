//! Everything that the program counts, read plainly from its maps: any counter that moves is seen,
//! whether or not anything is known of it.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::OwnedFd;

use xdp_common::capacity::{COUNTER_PAGES, COUNTERS_PER_PAGE};
use xdp_common::packet::dns::Unreadable;
use xdp_common::stats::counter::{CELLS, Counter, Matrix};
use xdp_common::stats::names::Names;
use xdp_common::stats::per_cpu::PerCpu;
use xdpctl::datapath::maps::handles::Maps;
use xdpctl::datapath::sys::bpf::{self, PerCpuValues};

/// Packets and bytes.
pub type Count = (u64, u64);

const COUNTER: usize = size_of::<Counter>();

pub struct Counters {
    /// The pages that are there, with their numbers.
    pages: Vec<(u32, OwnedFd)>,
    before: Values,
    now: Values,
}

/// As they lie in the maps, for all CPUs.
#[derive(Clone)]
struct Values {
    matrix: PerCpuValues,
    names: PerCpuValues,
    /// As many as there are pages.
    pages: Vec<PerCpuValues>,
}

impl Values {
    fn zeroed(pages: usize) -> Self {
        let zeroed = |size, elements| PerCpuValues::zeroed(size, elements).expect("the processors");
        let page = zeroed(COUNTER, COUNTERS_PER_PAGE);
        Self {
            matrix: zeroed(size_of::<PerCpu>(), 1),
            names: zeroed(size_of::<Names>(), 1),
            pages: vec![page; pages],
        }
    }
}

/// What moved since the reading before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Verdict and reason of the cells.
    pub cells: Vec<(&'static str, &'static str, Count)>,
    /// DNS messages whose question could not be read, by why.
    pub unreadable: Vec<(&'static str, Count)>,
    /// By their numbers.
    pub numbers: Vec<(u32, Count)>,
}

impl Counters {
    pub fn new() -> Self {
        Self { pages: Vec::new(), before: Values::zeroed(0), now: Values::zeroed(0) }
    }

    /// Opens the pages that are there now, and reads everything.
    pub fn open(&mut self, maps: &Maps) {
        self.pages.clear();
        for page in 0..COUNTER_PAGES {
            let mut id = [0; 4];
            if bpf::lookup(&maps.rule_counters, page, &mut id).unwrap().is_some() {
                self.pages.push((page, bpf::map_by_id(u32::from_ne_bytes(id)).unwrap()));
            }
        }
        self.now = Values::zeroed(self.pages.len());
        self.read(maps);
        self.before.clone_from(&self.now);
    }

    /// What moved since it was last asked.
    pub fn moved(&mut self, maps: &Maps) -> Moved {
        self.read(maps);
        let mut moved = Moved::default();
        let (before, now) = (matrix(&self.before), matrix(&self.now));
        for (cell, (before, now)) in before.into_iter().zip(now).enumerate() {
            if before != now {
                let (verdict, reason) = Matrix::of_cell(cell).expect("a cell");
                moved.cells.push((verdict.as_str(), reason.as_str(), less(now, before)));
            }
        }
        for (nth, why) in Unreadable::ALL.into_iter().enumerate() {
            let (before, now) = (unreadable(&self.before, nth), unreadable(&self.now, nth));
            if before != now {
                moved.unreadable.push((why.as_str(), less(now, before)));
            }
        }
        let pages = self.before.pages.iter().zip(&self.now.pages);
        for ((page, _), (before, now)) in self.pages.iter().zip(pages) {
            let counters = before.elements().map(sum).zip(now.elements().map(sum));
            for (number, (before, now)) in (page * COUNTERS_PER_PAGE..).zip(counters) {
                if before != now {
                    moved.numbers.push((number, less(now, before)));
                }
            }
        }
        std::mem::swap(&mut self.before, &mut self.now);
        moved
    }

    /// The counters of the pages as they were when read last, by their numbers.
    pub fn by_number(&self) -> BTreeMap<u32, Count> {
        let mut counts = BTreeMap::new();
        for ((page, _), values) in self.pages.iter().zip(&self.before.pages) {
            let numbers = page * COUNTERS_PER_PAGE..;
            counts.extend(numbers.zip(values.elements().map(sum)));
        }
        counts
    }

    fn read(&mut self, maps: &Maps) {
        self.now.matrix.lookup(&maps.counters, 0).unwrap().expect("the counters");
        self.now.names.lookup(&maps.names, 0).unwrap().expect("what is counted of messages");
        for ((_, page), values) in self.pages.iter().zip(&mut self.now.pages) {
            values.lookup_all(page).unwrap();
        }
    }
}

fn matrix(values: &Values) -> [Count; CELLS] {
    let mut counts = [(0, 0); CELLS];
    for cpu in values.matrix.shares() {
        let cells = &cpu[offset_of!(PerCpu, matrix)..][..size_of::<Matrix>()];
        for (count, cell) in counts.iter_mut().zip(cells.chunks_exact(COUNTER)) {
            let cell = counter(cell);
            *count = (count.0 + cell.0, count.1 + cell.1);
        }
    }
    counts
}

fn unreadable(values: &Values, nth: usize) -> Count {
    // The first counts nothing.
    let from = offset_of!(Names, unreadable) + (nth + 1) * COUNTER;
    sum(values.names.shares().map(|cpu| &cpu[from..][..COUNTER]))
}

fn less(now: Count, before: Count) -> Count {
    (now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1))
}

/// The sum of a counter's shares.
fn sum<'a>(shares: impl Iterator<Item = &'a [u8]>) -> Count {
    shares.map(counter).fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1))
}

fn counter(bytes: &[u8]) -> Count {
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    (number(&bytes[..8]), number(&bytes[8..COUNTER]))
}
