//! What keys have used up of the limits of rules, and which of them are over (`xdp_common::filter::limits`).

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::capacity::LIMIT_SLOTS;
use xdp_common::maps::MEMORY;

use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::sys::bpf;

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
