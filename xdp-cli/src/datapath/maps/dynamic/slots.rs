//! Slots of the maps of maps that hold tables, records, filters and counters.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use xdp_common::filter::dynamic::EntryTable;
use xdp_common::maps::{self, MapDefinition};

use crate::datapath::maps::handles::Maps;
use crate::datapath::sys::bpf;

/// The map in a slot, if there is one now.
pub fn get(outer: &OwnedFd, slot: u32) -> io::Result<Option<OwnedFd>> {
    let mut id = [0; 4];
    match bpf::lookup(outer, slot, &mut id)? {
        None => Ok(None),
        Some(()) => match bpf::map_by_id(u32::from_ne_bytes(id)) {
            // Another command has just removed it. Only a command without the lock sees this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        },
    }
}

/// As [`get`], for a map whose elements are about to be read: they have to have the sizes that are
/// read.
fn checked(outer: &OwnedFd, slot: u32, definition: MapDefinition) -> io::Result<Option<OwnedFd>> {
    let map = get(outer, slot)?;
    match &map {
        Some(found) if bpf::map_info(found)?.signature != definition.signature => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a map of another version's shape"))
        }
        _ => Ok(map),
    }
}

/// A table, if it has a map now.
pub(super) fn table(maps: &Maps, table: EntryTable) -> io::Result<Option<OwnedFd>> {
    checked(maps.table(table), 0, maps::table(table))
}

/// The records of a table, if they have a map now.
pub(super) fn records(maps: &Maps, table: EntryTable) -> io::Result<Option<OwnedFd>> {
    checked(&maps.records, table as u32, maps::RECORDS)
}

pub fn put(outer: &OwnedFd, slot: u32, map: &OwnedFd) -> io::Result<()> {
    bpf::update(outer, slot, &map.as_raw_fd().to_ne_bytes())
}
