//! Changes of records and of the entries that are made of them, all or none.
//!
//! The program looks into the tables while they are changed, and a command may be killed between
//! any two steps. The order of the steps is what keeps them whole:
//!
//! - [`Switches::begin`] marks them as being changed, before anything else. A command that finds
//!   the mark makes the tables what the records say, recounts everything and makes the filters
//!   anew.
//! - A change makes the maps that are not there yet, sets the filter's bits and the flag that has
//!   the program look into the table, writes the records, and then the entries of the table: with
//!   these it is in force. Killed in between, it leaves some of the records, each of them whole,
//!   and the next command puts them in force. Bits without an entry only cost time.
//! - Where no record is left, the flag goes first, then the table, the filter and the records. A
//!   packet that has found a table can use it to its end: the kernel frees the map only then.
//! - During any change the program skips no entry that has ended, and afterwards a new epoch
//!   begins, so that nothing is skipped that was changed ([`Skip`]).
//! - A filter that has many bits without an entry is replaced by a new one, which is filled before.
//! - An entry keeps its counters as long as somebody wants its kind, so that no packet goes
//!   uncounted while it is replaced.

use std::io;

use rustc_hash::FxHashMap;
use xdp_common::filter::dynamic::{Entry, EntryTable, NEVER};

use crate::config::prefix::IpPrefix;
use crate::datapath::maps::dynamic::counters::{self, Used};
use crate::datapath::maps::dynamic::filter::{self, MappedFilter};
use crate::datapath::maps::dynamic::memory::Switches;
use crate::datapath::maps::dynamic::records::{self, Record};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::dynamic::table;
use crate::datapath::maps::handles::Maps;

/// The two sides of a change, as indexes.
pub(super) const BEFORE: usize = 0;
pub(super) const AFTER: usize = 1;

/// What is changed in one table: records with their owners, and the entries made of them.
pub(super) struct Change {
    pub(super) table: EntryTable,
    pub(super) records: Vec<(IpPrefix, u32, [Option<Record>; 2])>,
    pub(super) entries: Vec<(IpPrefix, [Option<Entry>; 2])>,
}

impl Change {
    pub(super) fn of(table: EntryTable) -> Self {
        Self { table, records: Vec::new(), entries: Vec::new() }
    }

    /// The change that undoes this one.
    pub(super) fn turned(&self) -> Self {
        let records =
            self.records.iter().map(|(prefix, owner, [a, b])| (*prefix, *owner, [*b, *a]));
        let entries = self.entries.iter().map(|(prefix, [a, b])| (*prefix, [*b, *a]));
        Self { table: self.table, records: records.collect(), entries: entries.collect() }
    }
}

/// The maps that are changed, with the switches that tell the program which of them to look into.
pub(super) struct Tables<'m> {
    pub(super) maps: &'m Maps,
    pub(super) switches: Switches,
}

impl Tables<'_> {
    /// Makes changes, all or none of them. The mark has to be set before, and stays where this
    /// fails.
    pub(super) fn apply_all(&self, changes: &[Change]) -> io::Result<()> {
        for (nth, change) in changes.iter().enumerate() {
            if let Err(error) = self.apply(change) {
                for change in changes[..=nth].iter().rev() {
                    // Best effort: the mark stays, and the next command makes the tables what the
                    // records say.
                    let _ = self.write(change, BEFORE);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn apply(&self, change: &Change) -> io::Result<()> {
        let table = change.table;
        if change.entries.iter().any(|(_, sides)| sides[AFTER].is_some()) {
            let filter = match slots::get(&self.maps.ban_filters, table as u32)? {
                Some(map) => MappedFilter::open(&map)?,
                None => {
                    let (filter, map) = MappedFilter::create()?;
                    slots::put(&self.maps.ban_filters, table as u32, &map)?;
                    filter
                }
            };
            if slots::table(self.maps, table)?.is_none() {
                slots::put(self.maps.table(table), 0, &table::create(table)?)?;
            }
            let added = change.records.iter().filter(|(.., it)| it[BEFORE].is_none()).count();
            self.resize_records(table, self.switches.entries(table) as usize + added)?;
            let multipliers = self.switches.multipliers();
            let mut flags = table.flag();
            for (prefix, sides) in &change.entries {
                if sides[AFTER].is_some() {
                    flags |= filter.add(multipliers, prefix);
                }
            }
            self.switches.set_flags(flags);
        }
        let deadlines = change.records.iter().filter_map(|(.., sides)| sides[AFTER]);
        self.switches.lower_deadline(deadlines.map(|it| it.deadline).min().unwrap_or(NEVER));
        self.write(change, AFTER)?;
        let count = |side: usize| change.records.iter().filter(|it| it.2[side].is_some()).count();
        let entries = self.switches.entries(table) as usize + count(AFTER);
        self.switches.set_entries(table, entries.saturating_sub(count(BEFORE)) as u32);
        let removed = change.entries.iter().filter(|(_, sides)| sides[AFTER].is_none());
        self.switches.add_stale(table, removed.map(|(prefix, _)| filter::weight(prefix)).sum());
        Ok(())
    }

    /// Makes room for that many records of a table.
    pub(super) fn resize_records(&self, table: EntryTable, records: usize) -> io::Result<()> {
        let before = slots::records(self.maps, table)?;
        if let Some(map) = records::resized(before.as_ref(), records)? {
            slots::put(&self.maps.records, table as u32, &map)?;
        }
        Ok(())
    }

    /// Writes one side of a change: the records, then the entries that are made of them.
    fn write(&self, change: &Change, side: usize) -> io::Result<()> {
        let table = change.table;
        if let Some(map) = slots::records(self.maps, table)? {
            let records = || change.records.iter();
            let written = records()
                .filter_map(|(prefix, owner, it)| Some((prefix, *owner, it[side].as_ref()?)));
            records::write(&map, written)?;
            let removed = records().filter(|(.., it)| it[side].is_none());
            records::remove(&map, removed.map(|(prefix, owner, _)| (prefix, *owner)))?;
        }
        if let Some(map) = slots::table(self.maps, table)? {
            let entries = change.entries.iter();
            let written = entries.clone().filter_map(|(prefix, it)| Some((*prefix, it[side]?)));
            table::write(&map, table, written)?;
            let removed = entries.filter(|(_, it)| it[side].is_none());
            table::remove(&map, table, removed.map(|(prefix, _)| prefix))?;
        }
        Ok(())
    }

    /// Counters that no entry has; fewer than wanted where there are no more.
    pub(super) fn take_counters(&self, wanted: usize) -> io::Result<Vec<u32>> {
        counters::take(&self.maps.entry_counters, &self.switches, wanted, || {
            let mut numbers = Vec::new();
            for table in EntryTable::ALL {
                let Some(map) = slots::table(self.maps, table)? else { continue };
                let entries = table::read(&map, table)?.into_iter();
                numbers
                    .extend(entries.flat_map(|(_, it)| [it.allowed_counter, it.blocked_counter]));
            }
            Ok(Used::of(numbers))
        })
    }

    /// The entries of a table.
    pub(super) fn entries(&self, table: EntryTable) -> io::Result<FxHashMap<IpPrefix, Entry>> {
        match slots::table(self.maps, table)? {
            Some(map) => Ok(table::read(&map, table)?.into_iter().collect()),
            None => Ok(FxHashMap::default()),
        }
    }
}
