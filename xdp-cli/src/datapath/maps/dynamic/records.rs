//! What owners asked for: a record for each prefix and owner, in a map in the kernel, beside the
//! table that is made of them. The program does not look there.
//!
//! They lie in the kernel and not in a file, so that they live exactly as long as the entries made
//! of them: no reboot, namespace or full disk separates the two, and a record is written or removed
//! in one step, whatever kills the command.

use std::io;
use std::os::fd::OwnedFd;

use rustc_hash::FxHashMap;
use xdp_common::filter::dynamic::{Entry, EntryTable};
use xdp_common::maps::{MapDefinition, RECORDS, RecordKey, RecordValue};

use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::datapath::maps::dynamic::table;
use crate::datapath::maps::handles::create as create_map;
use crate::datapath::sys::bpf::{self, Elements};
use crate::views::entries::Kind;

const KEY: usize = size_of::<RecordKey>();
const VALUE: usize = size_of::<RecordValue>();

const IPV4: u8 = 4;
const IPV6: u8 = 6;
const ALLOWS: u8 = 1;
const BLOCKS: u8 = 2;

/// What an owner asked for, for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    /// Nanoseconds of the kernel's clock, as in [`Entry`].
    pub deadline: u64,
    /// Milliseconds since 1970.
    pub created: u64,
    /// What the counter of its prefix and kind stood at when the record was put, in packets.
    pub base: u64,
    /// The number of its note; 0 where there is none.
    pub note: u32,
}

/// A record, with the prefix and the owner's number.
pub type Owned = (IpPrefix, u32, Record);

/// The records of each prefix, with their owners.
pub(super) type ByPrefix = FxHashMap<IpPrefix, Vec<(u32, Record)>>;

/// The entry for what all owners together want for a prefix: of each kind, the record that ends
/// last counts. `None` where nobody wants anything. `counter` gives the number of a kind's counter.
pub fn combined<'r>(
    prefix: &IpPrefix,
    records: impl IntoIterator<Item = &'r Record>,
    mut counter: impl FnMut(Kind) -> u32,
) -> Option<Entry> {
    let (mut allowed, mut blocked) = (None, None);
    for record in records {
        let until = match record.kind {
            Kind::Allow => &mut allowed,
            Kind::Block => &mut blocked,
        };
        *until = Some(until.unwrap_or(0).max(record.deadline));
    }
    if allowed.is_none() && blocked.is_none() {
        return None;
    }
    let mut counter = |until: Option<u64>, kind| until.map_or(0, |_| counter(kind));
    Some(Entry {
        allowed_until: allowed.unwrap_or(0),
        blocked_until: blocked.unwrap_or(0),
        length: table::length(prefix).into(),
        allowed_counter: counter(allowed, Kind::Allow),
        blocked_counter: counter(blocked, Kind::Block),
    })
}

/// The number of the counter of a kind in an entry; 0 where it has none.
pub(super) fn counter(entry: &Entry, kind: Kind) -> u32 {
    match kind {
        Kind::Allow => entry.allowed_counter,
        Kind::Block => entry.blocked_counter,
    }
}

/// How many records a new map holds. One for the most that there can be would take 8 MiB for its
/// buckets alone.
const PLACES: usize = 4_096;

/// A new map for that many records with the contents of `before`; `None` where `before` has room
/// for them, and not far too much. The program does not look there, so one map can replace another
/// at any time.
pub(super) fn resized(before: Option<&OwnedFd>, records: usize) -> io::Result<Option<OwnedFd>> {
    let room = match before {
        Some(map) => bpf::map_info(map)?.max_entries as usize,
        None => 0,
    };
    if records <= room && (room <= PLACES || records > room / 8) {
        return Ok(None);
    }
    let (keys, values) = match before {
        Some(map) => bpf::all_elements(map, KEY, VALUE)?,
        None => (Elements::new(KEY), Elements::new(VALUE)),
    };
    let wanted = 2 * records.max(keys.len());
    let most = RECORDS.max_entries;
    let max_entries = wanted.next_power_of_two().clamp(PLACES, most as usize) as u32;
    let map = create_map(MapDefinition { max_entries, ..RECORDS }, "xdpctl_records")?;
    bpf::update_elements(&map, &keys, &values)?;
    Ok(Some(map))
}

fn key(prefix: &IpPrefix, owner: u32) -> [u8; KEY] {
    let (address, family) = match *prefix {
        IpPrefix::V4(prefix) => (u128::from(prefix.address), IPV4),
        IpPrefix::V6(prefix) => (prefix.address, IPV6),
    };
    let mut bytes = [0; KEY];
    bytes[..16].copy_from_slice(&address.to_be_bytes());
    bytes[16] = family;
    bytes[17] = table::length(prefix);
    bytes[20..].copy_from_slice(&owner.to_ne_bytes());
    bytes
}

fn value(record: &Record) -> [u8; VALUE] {
    let mut bytes = [0; VALUE];
    bytes[..8].copy_from_slice(&record.deadline.to_ne_bytes());
    bytes[8..16].copy_from_slice(&record.created.to_ne_bytes());
    bytes[16..24].copy_from_slice(&record.base.to_ne_bytes());
    bytes[24] = match record.kind {
        Kind::Allow => ALLOWS,
        Kind::Block => BLOCKS,
    };
    bytes[28..].copy_from_slice(&record.note.to_ne_bytes());
    bytes
}

/// Reads a record from its key and value in the map; `None` where these are not those of a record.
pub fn element(key: &[u8], value: &[u8]) -> Option<Owned> {
    let (key, value): (&[u8; KEY], &[u8; VALUE]) = (key.try_into().ok()?, value.try_into().ok()?);
    let long = |at: usize| value[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let address = u128::from_be_bytes(*key.first_chunk()?);
    let length = key[17];
    let prefix = match key[16] {
        IPV4 if length <= 32 => IpPrefix::V4(masked_v4(u32::try_from(address).ok()?, length).0),
        IPV6 if length <= 128 => IpPrefix::V6(masked_v6(address, length).0),
        _ => return None,
    };
    let kind = match value[24] {
        ALLOWS => Kind::Allow,
        BLOCKS => Kind::Block,
        _ => return None,
    };
    let (deadline, created, base) = (long(0), long(8), long(16));
    let record = Record { kind, deadline, created, base, note: word(&value[28..]) };
    Some((prefix, word(&key[20..]), record))
}

/// All records of a table, including those that have ended. Elements that are not records are left
/// out.
pub(super) fn read(map: &OwnedFd, table: EntryTable) -> io::Result<Vec<Owned>> {
    let (keys, values) = bpf::all_elements(map, KEY, VALUE)?;
    let elements = keys.iter().zip(values.iter()).filter_map(|(key, value)| element(key, value));
    Ok(elements.filter(|(prefix, ..)| table::of(prefix) == table).collect())
}

/// The record of one owner for exactly this prefix.
pub(super) fn find(map: &OwnedFd, prefix: &IpPrefix, owner: u32) -> io::Result<Option<Record>> {
    let (key, mut value) = (key(prefix, owner), [0; VALUE]);
    let found = bpf::lookup_keyed(map, &key, &mut value)?;
    Ok(found.and_then(|()| element(&key, &value)).map(|(.., record)| record))
}

/// The records of exactly these prefixes, of all owners.
pub(super) fn of(
    map: &OwnedFd,
    table: EntryTable,
    prefixes: &[IpPrefix],
    owners: &[u32],
    there: usize,
) -> io::Result<ByPrefix> {
    let mut found = ByPrefix::default();
    if table::is_few(prefixes.len() * owners.len(), there) {
        for prefix in prefixes {
            for &owner in owners {
                if let Some(record) = find(map, prefix, owner)? {
                    found.entry(*prefix).or_default().push((owner, record));
                }
            }
        }
        return Ok(found);
    }
    debug_assert!(prefixes.is_sorted());
    for (prefix, owner, record) in read(map, table)? {
        if prefixes.binary_search(&prefix).is_ok() {
            found.entry(prefix).or_default().push((owner, record));
        }
    }
    Ok(found)
}

/// Writes records. Each replaces the one that its owner has for its prefix.
pub(super) fn write<'r>(
    map: &OwnedFd,
    records: impl Iterator<Item = (&'r IpPrefix, u32, &'r Record)>,
) -> io::Result<()> {
    let (mut keys, mut values) = (Elements::new(KEY), Elements::new(VALUE));
    for (prefix, owner, record) in records {
        keys.push(&key(prefix, owner));
        values.push(&value(record));
    }
    bpf::update_elements(map, &keys, &values)
}

/// Removes records. One that is not there is no error.
pub(super) fn remove<'r>(
    map: &OwnedFd,
    records: impl Iterator<Item = (&'r IpPrefix, u32)>,
) -> io::Result<()> {
    let mut keys = Elements::new(KEY);
    for (prefix, owner) in records {
        keys.push(&key(prefix, owner));
    }
    bpf::delete_elements(map, &keys).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xdp_common::filter::dynamic::NEVER;

    use super::*;
    use crate::config::prefix::parse;

    proptest! {
        #[test]
        fn records_come_back(
            address: u32, length in 0u8..=32, v6: u128, length_v6 in 0u8..=128, owner: u32,
            deadline: u64, created: u64, base: u64, note: u32, allow: bool,
        ) {
            let kind = if allow { Kind::Allow } else { Kind::Block };
            let record = Record { kind, deadline, created, base, note };
            for prefix in [
                IpPrefix::V4(masked_v4(address, length).0),
                IpPrefix::V6(masked_v6(v6, length_v6).0),
            ] {
                let found = element(&key(&prefix, owner), &value(&record));
                prop_assert_eq!(found, Some((prefix, owner, record)));
            }
        }

        #[test]
        fn anything_that_is_read_is_a_record_or_none(key: [u8; KEY], value: [u8; VALUE]) {
            if let Some((prefix, ..)) = element(&key, &value) {
                prop_assert!(matches!(key[16], IPV4 | IPV6));
                prop_assert_eq!(table::length(&prefix), key[17]);
            }
        }
    }

    #[test]
    fn of_each_kind_the_one_that_ends_last_counts() {
        let prefix = parse("10.0.0.0/8").unwrap().prefix;
        let record = |kind, deadline| Record { kind, deadline, created: 0, base: 0, note: 0 };
        let of = |records: &[Record]| {
            let counters = |kind| if kind == Kind::Allow { 1 } else { 2 };
            let entry = combined(&prefix, records, counters)?;
            assert_eq!(entry.length, 8);
            Some((
                entry.allowed_until,
                entry.blocked_until,
                entry.allowed_counter,
                entry.blocked_counter,
            ))
        };
        let (allow, block) =
            (|until| record(Kind::Allow, until), |until| record(Kind::Block, until));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[block(5)]), Some((0, 5, 0, 2)));
        assert_eq!(of(&[block(5), block(9), block(7)]), Some((0, 9, 0, 2)));
        assert_eq!(of(&[allow(3), block(NEVER), allow(4)]), Some((4, NEVER, 1, 2)));
    }
}
