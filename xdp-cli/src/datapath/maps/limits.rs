//! What keys have used up of the limits of rules, and which of them are over (`xdp_common::filter::limits`).

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::capacity::{LIMIT_SLOTS, STATES_PER_SLOT};
use xdp_common::filter::limits::{HEAVY_LIFE, SEEN_SHIFT, heavy_limit};
use xdp_common::filter::tracking::Memory;
use xdp_common::maps::MEMORY;

use crate::datapath::maps::dynamic::memory::MappedValue;
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::program::clock;
use crate::datapath::sys::bpf;
use crate::limited::{Heavy, Key};

/// Provides room for limits, for a ruleset that is to be put in force. What is there already stays.
pub fn provide(maps: &Maps) -> io::Result<()> {
    crate::datapath::maps::dynamic::provide_secret(maps)?;
    for slot in 0..LIMIT_SLOTS {
        if slots::get(&maps.limits, slot)?.is_none() {
            let map = handles::create(MEMORY, "xdpctl_limits")?;
            slots::put(&maps.limits, slot, &map)?;
        }
    }
    Ok(())
}

/// The maps that exist only while there are limits.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for slot in 0..LIMIT_SLOTS {
        let Some(map) = slots::get(&maps.limits, slot)? else { break };
        found.push(map);
    }
    Ok(found)
}

/// Gives the room back, where the ruleset in force has no limits.
pub fn release(maps: &Maps) -> io::Result<()> {
    // Slot 0 last: as long as it has a map, others may have one.
    if slots::get(&maps.limits, 0)?.is_some() {
        for slot in (0..LIMIT_SLOTS).rev() {
            bpf::delete(&maps.limits, slot)?;
        }
    }
    Ok(())
}

/// A key, and what stands for its limit.
pub struct OfLimit {
    limit: u32,
    pub heavy: Heavy,
}

impl OfLimit {
    /// Whether it is over the limit with that id.
    pub fn is_of(&self, id: u64) -> bool {
        self.limit == heavy_limit(id, matches!(self.heavy.key, Key::V6(_)))
    }
}

/// The keys that were over limits within the last ten minutes.
pub fn heavy(maps: &Maps) -> io::Result<Vec<OfLimit>> {
    let Some(map) = slots::get(&maps.limits, LIMIT_SLOTS - 1)? else { return Ok(Vec::new()) };
    let now = clock::now().map_err(|error| io::Error::other(error.message))?;
    let now = (now >> SEEN_SHIFT) as u32;
    let memory = MappedValue::<Memory>::open(&map)?;
    let word = |at: usize| {
        // SAFETY: a word of the mapping, which lives as long as this. The program writes it whole.
        unsafe { memory.as_ptr().cast::<u64>().add(at).read_volatile() }
    };
    let mut found = Vec::new();
    for at in (0..STATES_PER_SLOT as usize).step_by(4) {
        let (first, packets) = (word(at), word(at + 3));
        // The clock of a packet may be a little ahead.
        let ago = now.saturating_sub(first as u32);
        // Several CPUs may have taken the last vote of an entry.
        if first == 0 || packets as i64 <= 0 || ago > HEAVY_LIFE {
            continue;
        }
        let limit = (first >> 32) as u32;
        let key = match limit & 1 {
            0 => Key::V4(word(at + 1) as u32),
            _ => Key::V6(u128::from(word(at + 1)) << 64 | u128::from(word(at + 2))),
        };
        let seconds_ago = (u64::from(ago) << SEEN_SHIFT) / 1_000_000_000;
        found.push(OfLimit { limit, heavy: Heavy { key, packets, seconds_ago } });
    }
    Ok(found)
}
