//! One table of entries in the kernel: its keys and values as bytes.

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::filter::dynamic::{Entry, EntryTable, Value};
use xdp_common::maps;

use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::datapath::maps::handles::create as create_map;
use crate::datapath::sys::bpf::{self, Elements};
use crate::ruleset::Prefix;

const VALUE: usize = size_of::<Value>();
/// Bytes of the longest key.
const LONGEST_KEY: usize = 20;

/// The table that a prefix belongs to.
pub(super) fn of(prefix: &IpPrefix) -> EntryTable {
    EntryTable::of(matches!(prefix, IpPrefix::V6(_)), length(prefix))
}

pub(super) fn length(prefix: &IpPrefix) -> u8 {
    match prefix {
        IpPrefix::V4(prefix) => prefix.length,
        IpPrefix::V6(prefix) => prefix.length,
    }
}

/// What a table holds, for messages.
pub(super) fn described(table: EntryTable) -> &'static str {
    match table {
        EntryTable::HostsV4 => "IPv4 addresses",
        EntryTable::PrefixesV4 => "IPv4 prefixes",
        EntryTable::HostsV6 => "IPv6 addresses",
        EntryTable::PrefixesV6 => "IPv6 prefixes",
    }
}

const fn key_size(table: EntryTable) -> usize {
    maps::table(table).signature.key_size as usize
}

pub(super) fn create(table: EntryTable) -> io::Result<OwnedFd> {
    let name = match table {
        EntryTable::HostsV4 | EntryTable::HostsV6 => "xdpctl_hosts",
        EntryTable::PrefixesV4 | EntryTable::PrefixesV6 => "xdpctl_prefixes",
    };
    create_map(maps::table(table), name)
}

/// The key of a prefix in its table: for a single address its words as numbers in this machine's
/// byte order, as the program has them; else a length, and an address in network order.
fn key(prefix: &IpPrefix) -> ([u8; LONGEST_KEY], usize) {
    let mut bytes = [0; LONGEST_KEY];
    let table = of(prefix);
    match *prefix {
        IpPrefix::V4(prefix) if table == EntryTable::HostsV4 => {
            bytes[..4].copy_from_slice(&prefix.address.to_ne_bytes());
        }
        IpPrefix::V4(prefix) => {
            bytes[..4].copy_from_slice(&u32::from(prefix.length).to_ne_bytes());
            bytes[4..8].copy_from_slice(&prefix.address.to_be_bytes());
        }
        IpPrefix::V6(prefix) if table == EntryTable::HostsV6 => {
            let (upper, lower) = ((prefix.address >> 64) as u64, prefix.address as u64);
            bytes[..8].copy_from_slice(&upper.to_ne_bytes());
            bytes[8..16].copy_from_slice(&lower.to_ne_bytes());
        }
        IpPrefix::V6(prefix) => {
            bytes[..4].copy_from_slice(&u32::from(prefix.length).to_ne_bytes());
            bytes[4..20].copy_from_slice(&prefix.address.to_be_bytes());
        }
    }
    (bytes, key_size(table))
}

/// The prefix that a key stands for, without bits beyond its length, which others may have written:
/// the kernel ignores them.
fn prefix(table: EntryTable, key: &[u8]) -> IpPrefix {
    let word = |at: usize| key[at..at + 4].try_into().unwrap_or([0; 4]);
    let long = |at: usize| key[at..at + 8].try_into().unwrap_or([0; 8]);
    let length = |longest: u32| u32::from_ne_bytes(word(0)).min(longest) as u8;
    match table {
        EntryTable::HostsV4 => {
            IpPrefix::V4(Prefix { address: u32::from_ne_bytes(word(0)), length: 32 })
        }
        EntryTable::PrefixesV4 => {
            IpPrefix::V4(masked_v4(u32::from_be_bytes(word(4)), length(32)).0)
        }
        EntryTable::HostsV6 => IpPrefix::V6(Prefix {
            address: u128::from(u64::from_ne_bytes(long(0))) << 64
                | u128::from(u64::from_ne_bytes(long(8))),
            length: 128,
        }),
        EntryTable::PrefixesV6 => {
            let (upper, lower) = (u64::from_be_bytes(long(4)), u64::from_be_bytes(long(12)));
            let address = u128::from(upper) << 64 | u128::from(lower);
            IpPrefix::V6(masked_v6(address, length(128)).0)
        }
    }
}

fn keys<'p>(table: EntryTable, prefixes: impl Iterator<Item = &'p IpPrefix>) -> Elements {
    let mut keys = Elements::new(key_size(table));
    for prefix in prefixes {
        let (bytes, size) = key(prefix);
        keys.push(&bytes[..size]);
    }
    keys
}

fn bytes(entry: Entry) -> [u8; VALUE] {
    let mut bytes = [0; VALUE];
    for (place, word) in bytes.chunks_exact_mut(4).zip(entry.to_value()) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn entry(bytes: &[u8]) -> Entry {
    let mut value: Value = [0; size_of::<Value>() / 4];
    for (word, bytes) in value.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().unwrap_or([0; 4]));
    }
    Entry::of(&value)
}

/// All entries, including those that have ended.
pub(super) fn read(map: &OwnedFd, table: EntryTable) -> io::Result<Vec<(IpPrefix, Entry)>> {
    let (keys, values) = bpf::all_elements(map, key_size(table), VALUE)?;
    let elements = keys.iter().zip(values.iter());
    Ok(elements.filter_map(|(key, value)| element(table, key, value)).collect())
}

/// Reads an entry from its key and value in the table; `None` where these do not have an entry's
/// sizes.
pub fn element(table: EntryTable, key: &[u8], value: &[u8]) -> Option<(IpPrefix, Entry)> {
    let fits = key.len() == key_size(table) && value.len() == VALUE;
    fits.then(|| (prefix(table, key), entry(value)))
}

/// The entries of exactly these prefixes, which are sorted. `there` is the number of all entries.
pub(super) fn find(
    map: &OwnedFd,
    table: EntryTable,
    prefixes: &[IpPrefix],
    there: usize,
) -> io::Result<Vec<Option<Entry>>> {
    debug_assert!(prefixes.iter().all(|prefix| of(prefix) == table) && prefixes.is_sorted());
    if is_few(prefixes.len(), there) {
        return prefixes.iter().map(|prefix| exactly(map, prefix)).collect();
    }
    let mut found = vec![None; prefixes.len()];
    for (prefix, entry) in read(map, table)? {
        if let Ok(place) = prefixes.binary_search(&prefix) {
            found[place] = Some(entry);
        }
    }
    Ok(found)
}

/// Whether looking up `wanted` entries by a call each is faster than reading all that are `there`.
pub(super) const fn is_few(wanted: usize, there: usize) -> bool {
    wanted <= 16 + there / 32
}

/// The entry of exactly this prefix.
pub(super) fn exactly(map: &OwnedFd, prefix: &IpPrefix) -> io::Result<Option<Entry>> {
    // A trie also finds a shorter prefix.
    let found = longest(map, prefix)?;
    Ok(found.filter(|entry| entry.length == u32::from(length(prefix))))
}

/// The entry of the longest prefix in the table that holds all of `prefix`, which may be `prefix`
/// itself; whether that entry has ended or not.
pub(super) fn longest(map: &OwnedFd, prefix: &IpPrefix) -> io::Result<Option<Entry>> {
    let mut value = [0; VALUE];
    let (bytes, size) = key(prefix);
    Ok(bpf::lookup_keyed(map, &bytes[..size], &mut value)?.map(|()| entry(&value)))
}

/// Writes entries. Each replaces the one that its prefix has.
pub(super) fn write(
    map: &OwnedFd,
    table: EntryTable,
    entries: impl Iterator<Item = (IpPrefix, Entry)>,
) -> io::Result<()> {
    let (mut keys, mut values) = (Elements::new(key_size(table)), Elements::new(VALUE));
    for (prefix, entry) in entries {
        let (key, size) = key(&prefix);
        keys.push(&key[..size]);
        values.push(&bytes(entry));
    }
    bpf::update_elements(map, &keys, &values)
}

/// Removes entries. One that is not there is no error.
pub(super) fn remove<'p>(
    map: &OwnedFd,
    table: EntryTable,
    prefixes: impl Iterator<Item = &'p IpPrefix>,
) -> io::Result<()> {
    bpf::delete_elements(map, &keys(table, prefixes)).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_and_values_come_back(
            address: u32, length in 0u8..=32, v6: u128, length_v6 in 0u8..=128,
            allowed_until: u64, blocked_until: u64, allowed_counter: u32, blocked_counter: u32,
        ) {
            let v4 = IpPrefix::V4(masked_v4(address, length).0);
            let v6 = IpPrefix::V6(masked_v6(v6, length_v6).0);
            for it in [v4, v6] {
                let (bytes, size) = key(&it);
                prop_assert_eq!(prefix(of(&it), &bytes[..size]), it);
            }
            let length = length.into();
            let it = Entry { allowed_until, blocked_until, length, allowed_counter, blocked_counter };
            prop_assert_eq!(entry(&bytes(it)), it);
        }
    }
}
