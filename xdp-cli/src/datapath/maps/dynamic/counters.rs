//! The counters of run-time entries: which are free, and what they stand at.

use std::io;
use std::os::fd::OwnedFd;

use rustc_hash::FxHashMap;
use xdp_common::filter::dynamic::{
    COUNTER_BLOCKS, COUNTER_PAGES, COUNTERS_PER_BLOCK, COUNTERS_PER_PAGE, CounterBlock,
    CounterPlace,
};
use xdp_common::maps::ENTRY_COUNTER_PAGE;

use crate::datapath::maps::dynamic::memory::{PageBits, Switches};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles;
use crate::datapath::sys::bpf::{self, PerCpuValues};

/// A page with fewer free counters than this is not used for new entries: it would give them few,
/// and to know which counters are free costs a look at all entries each time.
const WORTHWHILE: u32 = COUNTERS_PER_PAGE as u32 / 4;
const NONE: PageBits = [0; COUNTERS_PER_PAGE / 64];

/// Which counters are used.
pub(super) struct Used {
    pages: Vec<PageBits>,
}

impl Used {
    pub(super) fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut used = Self { pages: vec![NONE; COUNTER_PAGES] };
        // Counter 0 stands for no counter.
        used.add(0);
        numbers.into_iter().for_each(|number| used.add(number));
        used
    }

    fn add(&mut self, number: u32) {
        let (page, at) = (number as usize / COUNTERS_PER_PAGE, number as usize % COUNTERS_PER_PAGE);
        if let Some(page) = self.pages.get_mut(page) {
            page[at / 64] |= 1 << (at % 64);
        }
    }

    fn free(&self, page: usize) -> PageBits {
        self.pages[page].map(|word| !word)
    }

    /// Whether nothing on a page is used.
    fn is_empty(&self, page: usize) -> bool {
        let none = if page == 0 { 1 } else { 0 };
        self.pages[page].iter().map(|word| word.count_ones()).sum::<u32>() == none
    }
}

/// Takes up to `wanted` counters that no entry has: fewer where there are no more. `used` says
/// which ones entries have; it is called only where the page that was used last has too few.
pub(super) fn take(
    pages: &OwnedFd,
    switches: &Switches,
    wanted: usize,
    used: impl FnOnce() -> io::Result<Used>,
) -> io::Result<Vec<u32>> {
    let mut taken = Vec::with_capacity(wanted);
    let (mut page, mut free) = switches.free_counters();
    pop(page, &mut free, wanted, &mut taken);
    if taken.len() < wanted {
        let mut used = used()?;
        taken.iter().for_each(|number| used.add(*number));
        for (number, bits) in (0..COUNTER_PAGES).map(|page| (page as u32, used.free(page))) {
            if taken.len() == wanted {
                break;
            }
            let there = slots::get(pages, number)?.is_some();
            let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
            if there && count < WORTHWHILE {
                continue;
            }
            if !there {
                let map = handles::create(ENTRY_COUNTER_PAGE, "xdpctl_counted")?;
                slots::put(pages, number, &map)?;
            }
            (page, free) = (number, bits);
            pop(page, &mut free, wanted, &mut taken);
        }
    }
    switches.set_free_counters(page, &free);
    Ok(taken)
}

/// Moves counters from `free`, those of a page, to `taken`, until that holds as many as are wanted.
fn pop(page: u32, free: &mut PageBits, wanted: usize, taken: &mut Vec<u32>) {
    for (at, word) in free.iter_mut().enumerate() {
        while *word != 0 && taken.len() < wanted {
            let bit = word.trailing_zeros();
            *word &= *word - 1;
            taken.push(page * COUNTERS_PER_PAGE as u32 + at as u32 * 64 + bit);
        }
    }
}

/// Releases pages on which no counter is used, but for the one from which the next counters are
/// taken.
pub(super) fn give_back(pages: &OwnedFd, switches: &Switches, used: &Used) -> io::Result<()> {
    let none_is_used = (0..COUNTER_PAGES).all(|page| used.is_empty(page));
    if none_is_used {
        switches.forget_free_counters();
    }
    let (current, _) = switches.free_counters();
    for page in 0..COUNTER_PAGES {
        let spared = !none_is_used && page == current as usize;
        if used.is_empty(page) && !spared && slots::get(pages, page as u32)?.is_some() {
            bpf::delete(pages, page as u32)?;
        }
    }
    Ok(())
}

/// The maps of all pages.
pub(super) fn maps(pages: &OwnedFd) -> impl Iterator<Item = io::Result<OwnedFd>> {
    (0..COUNTER_PAGES as u32).filter_map(|page| slots::get(pages, page).transpose())
}

/// What counters stand at. Each block of them is read once.
pub(super) struct Counted<'m> {
    pages: &'m OwnedFd,
    blocks: FxHashMap<(u32, u32), CounterBlock>,
    values: PerCpuValues,
}

impl<'m> Counted<'m> {
    pub(super) fn new(pages: &'m OwnedFd) -> io::Result<Self> {
        let values = PerCpuValues::zeroed(size_of::<CounterBlock>(), 1)?;
        Ok(Self { pages, blocks: FxHashMap::default(), values })
    }

    /// The packets of a counter, summed over all CPUs; 0 for a number that is no counter's, as 0
    /// is.
    pub(super) fn packets(&mut self, counter: u32) -> io::Result<u64> {
        let Some(CounterPlace { page, block, word }) = CounterPlace::of(counter) else {
            return Ok(0);
        };
        if page as usize >= COUNTER_PAGES {
            return Ok(0);
        }
        if let Some(known) = self.blocks.get(&(page, block)) {
            return Ok(known[word]);
        }
        let read = self.read(page, block)?;
        self.blocks.insert((page, block), read);
        Ok(read[word])
    }

    fn read(&mut self, page: u32, block: u32) -> io::Result<CounterBlock> {
        let mut sums = [0; COUNTERS_PER_BLOCK];
        let Some(map) = slots::get(self.pages, page)? else { return Ok(sums) };
        debug_assert!((block as usize) < COUNTER_BLOCKS);
        self.values.lookup(&map, block)?;
        for share in self.values.shares() {
            for (sum, bytes) in sums.iter_mut().zip(share.as_chunks().0) {
                *sum += u64::from_ne_bytes(*bytes);
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_not_free() {
        let last = (COUNTER_PAGES * COUNTERS_PER_PAGE - 1) as u32;
        let used = Used::of([1, 64, last, u32::MAX]);
        let mut taken = Vec::new();
        pop(0, &mut used.free(0), 64, &mut taken);
        assert_eq!(taken[..3], [2, 3, 4]);
        assert_eq!(taken[61..], [63, 65, 66]);
        let mut taken = Vec::new();
        pop(COUNTER_PAGES as u32 - 1, &mut used.free(COUNTER_PAGES - 1), 5000, &mut taken);
        assert_eq!((taken.len(), taken.contains(&last)), (COUNTERS_PER_PAGE - 1, false));
        assert!(used.is_empty(1) && !used.is_empty(0) && !used.is_empty(COUNTER_PAGES - 1));
        assert!(Used::of([]).is_empty(0));
    }
}
