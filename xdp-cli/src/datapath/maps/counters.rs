//! The counters, summed over the CPUs.

use std::collections::BTreeMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;

use rustc_hash::FxHashMap;
use xdp_common::capacity::{COUNTER_PAGES, COUNTERS_PER_PAGE};
use xdp_common::maps::COUNTER_PAGE;
use xdp_common::packet::dns::Unreadable;
use xdp_common::stats::counter::{CELLS, Counter, Matrix};
use xdp_common::stats::names::Names;
use xdp_common::stats::per_cpu::PerCpu;

use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::sys::bpf::{self, PerCpuValues};
use crate::image::metadata::{Counted, Metadata};

/// The id of an inner map.
pub fn inner_id(outer: &OwnedFd, key: u32) -> io::Result<Option<u32>> {
    let mut id = [0; 4];
    Ok(bpf::lookup(outer, key, &mut id)?.map(|()| u32::from_ne_bytes(id)))
}

/// Adds the counters of one CPU's share.
fn add(share: &[u8], into: &mut [Counter]) {
    const WORD: usize = 8;
    for (total, counter) in into.iter_mut().zip(share.chunks_exact(2 * WORD)) {
        let (packets, bytes) = counter.split_at(WORD);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        total.packets += number(packets);
        total.bytes += number(bytes);
    }
}

pub fn read_matrix(maps: &Maps) -> io::Result<Matrix> {
    let mut matrix = Matrix { cells: [Counter::default(); CELLS] };
    let mut values = PerCpuValues::zeroed(size_of::<PerCpu>(), 1)?;
    values.lookup(&maps.counters, 0)?;
    for cpu in values.shares() {
        let at = offset_of!(PerCpu, matrix);
        add(&cpu[at..at + size_of::<Matrix>()], &mut matrix.cells);
    }
    Ok(matrix)
}

/// DNS messages whose question could not be read.
pub fn read_unreadable(maps: &Maps) -> io::Result<[Counter; Unreadable::COUNT]> {
    let mut counters = [Counter::default(); Unreadable::COUNT];
    let mut values = PerCpuValues::zeroed(size_of::<Names>(), 1)?;
    // The first of the counters counts nothing.
    let at = offset_of!(Names, unreadable) + size_of::<Counter>();
    values.lookup(&maps.names, 0)?;
    for cpu in values.shares() {
        add(&cpu[at..at + size_of_val(&counters)], &mut counters);
    }
    Ok(counters)
}

/// How many slots without a page are passed over in search of one behind those in use.
const EMPTY_IN_A_ROW: u32 = 8;

/// The pages of counters that there are, those behind the last one in use only as far as few are missing
/// before them: `last` is that page.
pub fn pages(outer: &OwnedFd, last: u32) -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    let mut end = last.saturating_add(EMPTY_IN_A_ROW);
    let mut page = 0;
    while page <= end && page < COUNTER_PAGES {
        if let Some(id) = inner_id(outer, page)? {
            found.push((page, id));
            end = end.max(page + EMPTY_IN_A_ROW);
        }
        page += 1;
    }
    Ok(found)
}

/// The counters of those numbers, by number.
pub fn read_counters(
    maps: &Maps,
    numbers: impl Iterator<Item = u32>,
) -> io::Result<FxHashMap<u32, Counter>> {
    let mut by_page: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for number in numbers {
        by_page.entry(number / COUNTERS_PER_PAGE).or_default().push(number);
    }
    let mut counters = FxHashMap::default();
    let mut values = PerCpuValues::zeroed(size_of::<Counter>(), COUNTERS_PER_PAGE)?;
    for (page, numbers) in by_page {
        let Some(id) = inner_id(&maps.rule_counters, page)? else { continue };
        let map = handles::open(id, COUNTER_PAGE)?;
        values.lookup_all(map)?;
        let totals: Vec<Counter> = values
            .elements()
            .map(|shares| {
                let mut total = Counter::default();
                shares.for_each(|share| add(share, std::slice::from_mut(&mut total)));
                total
            })
            .collect();
        for number in numbers {
            let total = totals.get((number % COUNTERS_PER_PAGE) as usize);
            counters.insert(number, total.copied().unwrap_or_default());
        }
    }
    Ok(counters)
}

/// What a list or a rule counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    pub own: Counter,
    /// Packets that could not be redirected; `None` unless it redirects.
    pub lost: Option<Counter>,
    /// Packets that were under its limit; `None` if it has none.
    pub under: Option<Counter>,
}

pub fn read_rule_counters(maps: &Maps, metadata: &Metadata) -> io::Result<Vec<RuleCounters>> {
    let numbers = metadata.counted.iter().flat_map(|counted| {
        let under = counted.limit.map(|limit| limit.under);
        [Some(counted.number), counted.lost, under].into_iter().flatten()
    });
    let counters = read_counters(maps, numbers)?;
    let counter = |number: u32| counters.get(&number).copied().unwrap_or_default();
    let of = |counted: &Counted| RuleCounters {
        own: counter(counted.number),
        lost: counted.lost.map(counter),
        under: counted.limit.map(|limit| counter(limit.under)),
    };
    Ok(metadata.counted.iter().map(of).collect())
}
