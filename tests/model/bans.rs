//! Run-time entries as the product keeps them, in tables of the test instead of the kernel's.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use xdp_common::filter::dynamic::{
    Deciding, DynamicEntries, Entry, EntryTable, EntryTables, NEVER, Place, Value, deciding_v4,
    deciding_v6,
};
use xdp_common::packet::Network;
use xdpctl::config::prefix::{IpPrefix, masked_v4, masked_v6};
use xdpctl::datapath::maps::dynamic::filter;
use xdpctl::datapath::maps::dynamic::records::{Record, combined};
use xdpctl::ruleset::Prefix;
use xdpctl::views::entries::Kind;

use super::config::Config;

/// The time at which the tables are asked, in nanoseconds.
const NOW: u64 = 1_000_000_000;
/// The counters of all entries.
pub const ALLOWED: u32 = 7;
pub const BLOCKED: u32 = 8;
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

/// Keyed by length and by the address in host order.
type Prefixes = BTreeMap<(u8, u128), Cell<Value>>;

#[derive(Default)]
pub struct InMemory {
    flags: u32,
    filters: Vec<(EntryTable, Range<u32>)>,
    hosts_v4: HashMap<u32, Cell<Value>>,
    hosts_v6: HashMap<[u64; 2], Cell<Value>>,
    prefixes_v4: Prefixes,
    prefixes_v6: Prefixes,
}

impl InMemory {
    /// Entries that have ended stay in the tables, as they do in the kernel until a command sweeps.
    pub fn of(config: &Config) -> Self {
        let mut records: BTreeMap<(IpPrefix, u8), Record> = BTreeMap::new();
        for given in &config.entries {
            let length = given.prefix.length;
            let prefix = match given.prefix.address {
                IpAddr::V4(address) => IpPrefix::V4(masked_v4(address.to_bits(), length).0),
                IpAddr::V6(address) => IpPrefix::V6(masked_v6(address.to_bits(), length).0),
            };
            let deadline = match (given.live, length % 2) {
                (false, odd) => NOW - u64::from(odd),
                (true, 0) => NEVER,
                (true, _) => NOW + 1,
            };
            let kind = if given.allow { Kind::Allow } else { Kind::Block };
            let record = Record { kind, deadline, created: 0, base: 0, note: 7 };
            records.insert((prefix, given.owner), record);
        }
        let mut by_prefix: BTreeMap<IpPrefix, Vec<Record>> = BTreeMap::new();
        for ((prefix, _), record) in records {
            by_prefix.entry(prefix).or_default().push(record);
        }
        let mut tables = Self::default();
        for (prefix, records) in &by_prefix {
            let counter = |kind| if kind == Kind::Allow { ALLOWED } else { BLOCKED };
            let entry = combined(prefix, records, counter).expect("somebody wants it");
            tables.put(*prefix, entry);
        }
        tables
    }

    fn put(&mut self, prefix: IpPrefix, entry: Entry) {
        let value = Cell::new(entry.to_value());
        let (v6, length) = match prefix {
            IpPrefix::V4(Prefix { address, length }) => {
                match length {
                    32 => drop(self.hosts_v4.insert(address, value)),
                    _ => drop(self.prefixes_v4.insert((length, address.into()), value)),
                }
                (false, length)
            }
            IpPrefix::V6(Prefix { address, length }) => {
                let halves = [(address >> 64) as u64, address as u64];
                match length {
                    128 => drop(self.hosts_v6.insert(halves, value)),
                    _ => drop(self.prefixes_v6.insert((length, address), value)),
                }
                (true, length)
            }
        };
        let table = EntryTable::of(v6, length);
        let filters = &mut self.filters;
        self.flags |= filter::bits(MULTIPLIERS, &prefix, |bits| filters.push((table, bits)));
        self.flags |= table.flag();
    }
}

#[derive(Clone, Copy)]
pub struct InTest<'t>(&'t Cell<Value>);

impl Place for InTest<'_> {
    fn read(self) -> Value {
        self.0.get()
    }

    fn write_skip(self, half: u16) {
        let mut value = self.0.get();
        value[4] = value[4] & 0xffff | u32::from(half) << 16;
        self.0.set(value);
    }
}

/// The longest prefix that holds the address and is not longer than `length`.
fn longest(prefixes: &Prefixes, length: u32, address: u128, width: u32) -> Option<InTest<'_>> {
    (0..=length).rev().find_map(|length| {
        let below = u128::MAX.checked_shr(128 - (width - length)).unwrap_or(0);
        prefixes.get(&(length as u8, address & !below)).map(InTest)
    })
}

impl DynamicEntries for InMemory {
    /// Asks twice: what the first question leaves in the tables must not change the second answer.
    fn deciding(&self, network: Network, source: [u64; 2]) -> Deciding {
        let ask = || match network {
            Network::IPV4 => deciding_v4(self, source[0] as u32),
            _ => deciding_v6(self, source),
        };
        let first = ask();
        assert_eq!(ask(), first, "another answer to the same question");
        first
    }
}

impl EntryTables for InMemory {
    type Place<'a> = InTest<'a>;

    fn epoch(&self) -> u32 {
        1
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn multipliers(&self) -> [u64; 2] {
        MULTIPLIERS
    }

    fn is_set(&self, table: EntryTable, bit: u32) -> bool {
        self.filters.iter().any(|(of, bits)| *of == table && bits.contains(&bit))
    }

    fn host_v4(&self, address: u32) -> Option<InTest<'_>> {
        self.hosts_v4.get(&address).map(InTest)
    }

    fn host_v6(&self, address: [u64; 2]) -> Option<InTest<'_>> {
        self.hosts_v6.get(&address).map(InTest)
    }

    fn prefix_v4(&self, length: u32, address: u32) -> Option<InTest<'_>> {
        longest(&self.prefixes_v4, length, address.into(), 32)
    }

    fn prefix_v6(&self, length: u32, address: [u64; 2]) -> Option<InTest<'_>> {
        let address = u128::from(address[0]) << 64 | u128::from(address[1]);
        longest(&self.prefixes_v6, length, address, 128)
    }

    fn now(&self) -> u64 {
        NOW
    }
}
