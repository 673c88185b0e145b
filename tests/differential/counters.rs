//! Everything that the program counts, read plainly from its maps: any counter that moves is seen,
//! whether or not anything is known of it.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::OwnedFd;

use xdp_common::counter::{CELLS, COUNTER_PAGES, COUNTERS_PER_PAGE, Counter, Matrix};
use xdp_common::cpu::PerCpu;
use xdpctl::datapath::attachment::Maps;
use xdpctl::datapath::bpf;

/// Packets and bytes.
pub type Count = (u64, u64);

const COUNTER: usize = size_of::<Counter>();

pub struct Counters {
    cpus: usize,
    /// The pages that are there, with their numbers.
    pages: Vec<(u32, OwnedFd)>,
    values: Vec<u8>,
    /// What was read last: the cells of the matrix, then the pages' counters.
    last: Vec<Count>,
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
        Self { cpus, pages: Vec::new(), values: Vec::new(), last: vec![(0, 0); CELLS] }
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
        self.last = self.read(maps);
    }

    /// What moved since it was last asked.
    pub fn moved(&mut self, maps: &Maps) -> Moved {
        let now = self.read(maps);
        let mut moved = Moved::default();
        for (at, (before, after)) in self.last.iter().zip(&now).enumerate() {
            if before == after {
                continue;
            }
            let by = (after.0.wrapping_sub(before.0), after.1.wrapping_sub(before.1));
            if at < CELLS {
                let (verdict, reason) = Matrix::of_cell(at).expect("a cell");
                moved.cells.push((verdict.as_str(), reason.as_str(), by));
            } else {
                let per_page = COUNTERS_PER_PAGE as usize;
                let (page, _) = self.pages[(at - CELLS) / per_page];
                let place = (at - CELLS) % per_page;
                moved.numbers.push((page * COUNTERS_PER_PAGE + place as u32, by));
            }
        }
        self.last = now;
        moved
    }

    /// The counters of the pages as they were when read last, by their numbers.
    pub fn by_number(&self) -> BTreeMap<u32, Count> {
        let pages = self.pages.iter().zip(self.last[CELLS..].chunks(COUNTERS_PER_PAGE as usize));
        pages
            .flat_map(|((page, _), counts)| {
                (page * COUNTERS_PER_PAGE..).zip(counts.iter().copied())
            })
            .collect()
    }

    fn read(&mut self, maps: &Maps) -> Vec<Count> {
        let mut all = vec![(0, 0); CELLS + self.pages.len() * COUNTERS_PER_PAGE as usize];
        let (cells, mut rest) = all.split_at_mut(CELLS);
        self.values.resize(self.cpus * size_of::<PerCpu>(), 0);
        bpf::lookup(&maps.counters, 0, &mut self.values).unwrap().expect("the counters");
        for cpu in self.values.chunks_exact(size_of::<PerCpu>()) {
            add(cells, &cpu[offset_of!(PerCpu, matrix)..][..size_of::<Matrix>()]);
        }
        self.values.resize(self.cpus * COUNTER * COUNTERS_PER_PAGE as usize, 0);
        for (_, page) in &self.pages {
            let (counts, others) = rest.split_at_mut(COUNTERS_PER_PAGE as usize);
            bpf::lookup_batch(page, COUNTERS_PER_PAGE, &mut self.values).unwrap();
            for (count, shares) in counts.iter_mut().zip(self.values.chunks(self.cpus * COUNTER)) {
                for share in shares.chunks_exact(COUNTER) {
                    add(std::slice::from_mut(count), share);
                }
            }
            rest = others;
        }
        all
    }
}

/// Adds counters as they lie in memory.
fn add(counts: &mut [Count], bytes: &[u8]) {
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    for (count, counter) in counts.iter_mut().zip(bytes.chunks_exact(COUNTER)) {
        count.0 += number(&counter[..8]);
        count.1 += number(&counter[8..]);
    }
}
