//! Everything that the program counts, read plainly from its maps: any counter that moves is seen,
//! whether or not anything is known of it.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::OwnedFd;

use xdp_common::capacity::{COUNTER_PAGES, COUNTERS_PER_PAGE};
use xdp_common::stats::counter::{CELLS, Counter, Matrix};
use xdp_common::stats::per_cpu::PerCpu;
use xdpctl::datapath::maps::handles::Maps;
use xdpctl::datapath::sys::bpf;

/// Packets and bytes.
pub type Count = (u64, u64);

const COUNTER: usize = size_of::<Counter>();
/// What a CPU has of a page.
const SHARE: usize = COUNTER * COUNTERS_PER_PAGE as usize;

pub struct Counters {
    cpus: usize,
    /// The pages that are there, with their numbers.
    pages: Vec<(u32, OwnedFd)>,
    /// As they lie in the maps, for all CPUs: the value with the matrix, then the pages.
    before: Vec<u8>,
    now: Vec<u8>,
}

/// What moved since the reading before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Verdict and reason of the cells.
    pub cells: Vec<(&'static str, &'static str, Count)>,
    /// By their numbers.
    pub numbers: Vec<(u32, Count)>,
}

impl Counters {
    pub fn new() -> Self {
        let cpus = aya::util::nr_cpus().unwrap_or_else(|(path, error)| panic!("{path}: {error}"));
        Self { cpus, pages: Vec::new(), before: Vec::new(), now: Vec::new() }
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
        let bytes = self.cpus * (size_of::<PerCpu>() + self.pages.len() * SHARE);
        self.now.resize(bytes, 0);
        self.read(maps);
        self.before.clone_from(&self.now);
    }

    /// What moved since it was last asked.
    pub fn moved(&mut self, maps: &Maps) -> Moved {
        self.read(maps);
        let mut moved = Moved::default();
        let value = self.cpus * size_of::<PerCpu>();
        let (before, now) = (self.matrix(&self.before), self.matrix(&self.now));
        for (cell, (before, now)) in before.into_iter().zip(now).enumerate() {
            if before != now {
                let (verdict, reason) = Matrix::of_cell(cell).expect("a cell");
                moved.cells.push((verdict.as_str(), reason.as_str(), less(now, before)));
            }
        }
        let pages = self.before[value..].chunks(self.cpus * SHARE);
        let pages = pages.zip(self.now[value..].chunks(self.cpus * SHARE));
        for ((page, _), (before, now)) in self.pages.iter().zip(pages) {
            if before == now {
                continue;
            }
            let counters = before.chunks(self.cpus * COUNTER).zip(now.chunks(self.cpus * COUNTER));
            for (number, (before, now)) in (page * COUNTERS_PER_PAGE..).zip(counters) {
                if before != now {
                    moved.numbers.push((number, less(sum(now), sum(before))));
                }
            }
        }
        std::mem::swap(&mut self.before, &mut self.now);
        moved
    }

    /// The counters of the pages as they were when read last, by their numbers.
    pub fn by_number(&self) -> BTreeMap<u32, Count> {
        let mut counts = BTreeMap::new();
        let pages = self.before.get(self.cpus * size_of::<PerCpu>()..).unwrap_or_default();
        for ((page, _), values) in self.pages.iter().zip(pages.chunks(self.cpus * SHARE)) {
            let numbers = page * COUNTERS_PER_PAGE..;
            counts.extend(numbers.zip(values.chunks(self.cpus * COUNTER).map(sum)));
        }
        counts
    }

    fn matrix(&self, bytes: &[u8]) -> [Count; CELLS] {
        let mut counts = [(0, 0); CELLS];
        for cpu in bytes.chunks_exact(size_of::<PerCpu>()).take(self.cpus) {
            let cells = &cpu[offset_of!(PerCpu, matrix)..][..size_of::<Matrix>()];
            for (count, cell) in counts.iter_mut().zip(cells.chunks_exact(COUNTER)) {
                let cell = sum(cell);
                *count = (count.0 + cell.0, count.1 + cell.1);
            }
        }
        counts
    }

    fn read(&mut self, maps: &Maps) {
        let (value, pages) = self.now.split_at_mut(self.cpus * size_of::<PerCpu>());
        bpf::lookup(&maps.counters, 0, value).unwrap().expect("the counters");
        for ((_, page), values) in self.pages.iter().zip(pages.chunks_mut(self.cpus * SHARE)) {
            bpf::lookup_batch(page, COUNTERS_PER_PAGE, values).unwrap();
        }
    }
}

fn less(now: Count, before: Count) -> Count {
    (now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1))
}

/// The sum of counters that lie one behind the other.
fn sum(bytes: &[u8]) -> Count {
    let mut sum = (0, 0);
    for counter in bytes.chunks_exact(COUNTER) {
        sum.0 += u64::from_ne_bytes(counter[..8].try_into().unwrap());
        sum.1 += u64::from_ne_bytes(counter[8..].try_into().unwrap());
    }
    sum
}
