//! Entries added at run time, in the kernel: changed in place, under the namespace's lock.
//!
//! What an owner asked for, for a prefix, is a record ([`records`]). The records are the truth. The
//! tables that the program looks into are made of them: for each prefix they hold an entry that
//! says what all owners together want. [`change`] says in which order they are changed, and what is
//! left wherever a change stops.

pub mod bypass;
pub mod caught;
mod change;
mod counters;
pub mod filter;
mod live;
mod look;
pub(in crate::datapath::maps) mod memory;
pub mod notes;
mod owners;
pub mod records;
mod shown;
pub(in crate::datapath) mod slots;
mod store;
mod sweep;
pub mod table;

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::filter::dynamic::EntryTable;

use crate::datapath::maps::handles::Maps;

pub use live::{Live, Mark, live, mark};
pub use look::{Seen, count, deciding, holding, list};
pub use store::{Order, Put, Store};

/// Sees to it that the attachment has numbers of its own that nobody can guess.
pub fn provide_secret(maps: &Maps) -> io::Result<()> {
    memory::Switches::open(&maps.switches).map(drop)
}

/// The maps that exist only while there are entries.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let mut found: Vec<OwnedFd> =
        counters::maps(&maps.entry_counters).collect::<io::Result<_>>()?;
    for table in EntryTable::ALL {
        let slot = table as u32;
        found.extend(slots::get(&maps.ban_filters, slot)?);
        found.extend(slots::get(&maps.records, slot)?);
        found.extend(slots::get(maps.table(table), 0)?);
    }
    found.extend(caught::inner_maps(maps)?);
    Ok(found)
}
