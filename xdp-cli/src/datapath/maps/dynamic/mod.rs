//! Entries added at run time, in the kernel: changed in place, under the namespace's lock.
//!
//! What each owner asked for, for each prefix, is a record ([`records`]). The records are the truth, and
//! the tables that the program asks are made of them: of each prefix, an entry that says what all owners
//! together want. Records and tables are changed in the same order, in [`store`], which says what that
//! leaves wherever it stops.

mod counters;
pub mod filter;
mod look;
mod memory;
pub mod notes;
mod owners;
pub mod records;
mod slots;
mod store;
pub mod table;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, UNIX_EPOCH};

use xdp_common::filter::dynamic::{EntryTable, NEVER};

use crate::config::prefix::IpPrefix;
use crate::datapath::maps::handles::Maps;
use crate::views::entries::Listed;
use owners::Owners;
use records::Record;

pub use look::{count, deciding, holding};
pub use store::{Order, Put, Store};

/// The maps that are there only while there are entries.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let mut found: Vec<OwnedFd> =
        counters::maps(&maps.entry_counters).collect::<io::Result<_>>()?;
    for table in EntryTable::ALL {
        let slot = table as u32;
        found.extend(slots::get(&maps.ban_filters, slot)?);
        found.extend(slots::get(&maps.records, slot)?);
        found.extend(slots::get(maps.table(table), 0)?);
    }
    Ok(found)
}

/// A record that lives, as it is shown.
fn listed(
    prefix: IpPrefix,
    owner: &str,
    record: &Record,
    now: u64,
    packets: u64,
    note: Option<&str>,
) -> Listed {
    Listed {
        prefix,
        kind: record.kind,
        // Up, so that what lives has not 0 seconds left.
        expires_in_seconds: (record.deadline != NEVER)
            .then(|| record.deadline.saturating_sub(now).div_ceil(1_000_000_000)),
        note: note.map(str::to_owned),
        owner: owner.to_owned(),
        created: UNIX_EPOCH + Duration::from_millis(record.created),
        packets,
    }
}

/// The name of an owner; its number, where a hand took the name away.
fn name(owners: &Owners, number: u32) -> String {
    owners.name(number).map_or_else(|| format!("#{number}"), str::to_owned)
}
