//! Room for what an interface has sent (`xdp_common::filter::sent`).

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::capacity::SENT_SLOTS;
use xdp_common::maps::MEMORY;

use crate::datapath::maps::dynamic::{self, slots};
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::sys::bpf;

/// Provides the room, once somebody writes there. From then on the filter goes by it. What is there already stays.
pub fn provide(maps: &Maps) -> io::Result<()> {
    dynamic::provide_secret(maps)?;
    // Slot 0 last: the filter goes by it as soon as any of them is there.
    for slot in (0..SENT_SLOTS).rev() {
        if slots::get(&maps.sent, slot)?.is_none() {
            let map = handles::create(MEMORY, "xdpctl_sent")?;
            slots::put(&maps.sent, slot, &map)?;
        }
    }
    Ok(())
}

/// Whether the filter goes by what was sent.
pub fn is_there(maps: &Maps) -> io::Result<bool> {
    Ok(slots::get(&maps.sent, 0)?.is_some())
}

/// The maps that exist only while it is noted what was sent.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    (0..SENT_SLOTS).filter_map(|slot| slots::get(&maps.sent, slot).transpose()).collect()
}

/// Gives the room back, where nobody writes there any more.
pub fn release(maps: &Maps) -> io::Result<()> {
    for slot in 0..SENT_SLOTS {
        if slots::get(&maps.sent, slot)?.is_some() {
            bpf::delete(&maps.sent, slot)?;
        }
    }
    Ok(())
}
