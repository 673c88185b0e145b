//! Removing entries that have ended, and making tables what the records say.

use std::collections::BTreeSet;
use std::io;

use rustc_hash::FxHashMap;
use xdp_common::filter::dynamic::{EntryTable, NEVER, Skip, flag};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::dynamic::change::{Change, Tables};
use crate::datapath::maps::dynamic::counters::{self, Counted, Used};
use crate::datapath::maps::dynamic::filter::MappedFilter;
use crate::datapath::maps::dynamic::look::time_for;
use crate::datapath::maps::dynamic::records::{self, ByPrefix, Owned, Record};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::sys::bpf;
use crate::views::entries::Kind;

/// A filter is made anew once more than this many entries were removed (as
/// [`super::filter::weight`] counts them), and more than half as many as are left.
const STALE: u32 = 4096;

/// All records are read to forget notes that none names, once there are more than this many and two
/// for each record. Each record names one at most, so the next such search is as many new notes away.
const SPARE_NOTES: usize = 256;

/// From this epoch on, the next sweep writes all entries anew, without skips, and the epochs begin
/// again with the first. That is early enough that no skip is left when its epoch is used for the
/// second time.
const RENEW_AT: u64 = Skip::LAST_EPOCH as u64 - 55;

impl Tables<'_> {
    /// As `Store::sweep`. There are so many `notes`. `keep` is called where all records were read,
    /// with the owners and the notes that some record names.
    pub(super) fn sweep(
        &self,
        notes: usize,
        keep: impl FnOnce(&Borne) -> io::Result<()>,
    ) -> Result<()> {
        let what = "sweep the run-time entries";
        let raw = self.switches.read();
        let now = time_for(&raw)?;
        let stale = |table: EntryTable| {
            let (stale, entries) = (raw.stale[table as usize], raw.entries[table as usize]);
            stale > STALE && stale > entries / 2
        };
        let empty =
            |table: EntryTable| raw.entries[table as usize] == 0 && raw.flags & table.flag() != 0;
        let ended = now >= raw.next_deadline;
        let renew = raw.last_epoch >= RENEW_AT;
        let records: usize = raw.entries.iter().map(|number| *number as usize).sum();
        let crowded = notes > SPARE_NOTES + 2 * records;
        let all = raw.changing != 0 || ended || renew || crowded;
        let due = |table: EntryTable| all || stale(table) || empty(table);
        if !EntryTable::ALL.into_iter().any(due) {
            return Ok(());
        }
        self.switches.begin();
        if raw.changing != 0 {
            // A killed command may also have left a wrong note of which counters are free.
            self.switches.forget_free_counters();
        }
        let mut next = if ended || renew || raw.changing != 0 { NEVER } else { raw.next_deadline };
        let (mut borne, mut used) = (Borne::default(), Vec::new());
        for table in EntryTable::ALL {
            if due(table) {
                let anew = raw.changing != 0 || stale(table);
                let swept = self.sweep_table(table, now, anew, renew).context(what)?;
                for (_, owner, record) in &swept.records {
                    next = next.min(record.deadline);
                    borne.notes.insert(record.note);
                    borne.owners.insert(*owner);
                }
                used.extend(swept.counters);
            }
        }
        if renew {
            self.switches.renew_epochs();
        }
        self.switches.set_deadline(next);
        let holds_none = |table: EntryTable| raw.entries[table as usize] == 0;
        if EntryTable::ALL.into_iter().all(|table| due(table) || holds_none(table)) {
            keep(&borne)
                .and_then(|()| {
                    let used = Used::of(used);
                    counters::give_back(&self.maps.entry_counters, &self.switches, &used)
                })
                .context(what)?;
        }
        self.switches.end();
        Ok(())
    }

    /// Makes a table what its live records say, and removes the other records.
    fn sweep_table(
        &self,
        table: EntryTable,
        now: u64,
        anew: bool,
        renew: bool,
    ) -> io::Result<Swept> {
        let records = match slots::records(self.maps, table)? {
            Some(map) => records::read(&map, table)?,
            None => Vec::new(),
        };
        let (live, ended): (Vec<Owned>, Vec<Owned>) =
            records.into_iter().partition(|(.., record)| now < record.deadline);
        let mut wanted = ByPrefix::default();
        for (prefix, owner, record) in &live {
            wanted.entry(*prefix).or_default().push((*owner, *record));
        }
        if live.is_empty() {
            // With the flag cleared the program does not look there any more. The kernel frees the
            // maps when the last packet is done with them.
            self.switches.clear_flags(match table {
                EntryTable::PrefixesV6 => table.flag() | flag::V6_FILTER,
                _ => table.flag(),
            });
            bpf::delete(self.maps.table(table), 0)?;
            bpf::delete(&self.maps.ban_filters, table as u32)?;
            bpf::delete(&self.maps.records, table as u32)?;
            self.switches.set_entries(table, 0);
            self.switches.clear_stale(table);
            return Ok(Swept { records: live, counters: Vec::new() });
        }
        if anew {
            // It holds the bits of everything that will be in the table, those for the flags before
            // too.
            self.make_filter(table, wanted.keys())?;
        }
        let (change, counters) = self.sweeping(table, &wanted, &ended, renew)?;
        self.apply(&change)?;
        self.switches.set_entries(table, live.len() as u32);
        self.resize_records(table, live.len())?;
        let stale = self.switches.read().stale[table as usize];
        if stale > STALE && stale as usize > live.len() / 2 {
            self.make_filter(table, wanted.keys())?;
        }
        Ok(Swept { records: live, counters })
    }

    /// The change that makes a table what is wanted, and the counters that its entries have then.
    fn sweeping(
        &self,
        table: EntryTable,
        wanted: &ByPrefix,
        ended: &[Owned],
        renew: bool,
    ) -> io::Result<(Change, Vec<u32>)> {
        let there = self.entries(table)?;
        let mut change = Change::of(table);
        let gone = ended.iter().map(|(prefix, owner, it)| (*prefix, *owner, [Some(*it), None]));
        change.records.extend(gone);
        let not_wanted = there.iter().filter(|(prefix, _)| !wanted.contains_key(prefix));
        change.entries.extend(not_wanted.map(|(prefix, entry)| (*prefix, [Some(*entry), None])));
        // The entry names the counters, and a killed command may have left records without an
        // entry.
        let counter = |prefix: &IpPrefix, kind| {
            there.get(prefix).map_or(0, |entry| records::counter(entry, kind))
        };
        let mut without: Vec<(IpPrefix, Kind)> = Vec::new();
        for (prefix, records) in wanted {
            for kind in [Kind::Allow, Kind::Block] {
                let is_wanted = records.iter().any(|(_, record)| record.kind == kind);
                if is_wanted && counter(prefix, kind) == 0 {
                    without.push((*prefix, kind));
                }
            }
        }
        let fresh = self.take_counters(without.len())?;
        let fresh: FxHashMap<(IpPrefix, Kind), u32> = without.into_iter().zip(fresh).collect();
        let mut counted = Counted::new(&self.maps.entry_counters)?;
        let mut counters = Vec::new();
        for (prefix, records) in wanted {
            for (owner, record) in records {
                if let Some(&fresh) = fresh.get(&(*prefix, record.kind)) {
                    let from_here = Record { base: counted.packets(fresh)?, ..*record };
                    change.records.push((*prefix, *owner, [Some(*record), Some(from_here)]));
                }
            }
            let before = there.get(prefix).copied();
            let after = records::combined(prefix, records.iter().map(|(_, it)| it), |kind| {
                fresh.get(&(*prefix, kind)).copied().unwrap_or_else(|| counter(prefix, kind))
            });
            counters.extend(after.iter().flat_map(|it| [it.allowed_counter, it.blocked_counter]));
            if before != after || renew {
                change.entries.push((*prefix, [before, after]));
            }
        }
        Ok((change, counters))
    }

    /// Replaces a table's filter by a new one with the bits of these prefixes only.
    fn make_filter<'p>(
        &self,
        table: EntryTable,
        prefixes: impl Iterator<Item = &'p IpPrefix>,
    ) -> io::Result<()> {
        let multipliers = self.switches.multipliers();
        let (filter, map) = MappedFilter::create()?;
        let mut flags = table.flag();
        for prefix in prefixes {
            flags |= filter.add(multipliers, prefix);
        }
        // The filter comes before the flags: it also has the bits that the old flags have the
        // program look at.
        slots::put(&self.maps.ban_filters, table as u32, &map)?;
        self.switches.set_flags(flags);
        if table == EntryTable::PrefixesV6 {
            self.switches.clear_flags(flag::V6_FILTER & !flags);
        }
        self.switches.clear_stale(table);
        Ok(())
    }
}

/// The owners and notes that records name.
#[derive(Default)]
pub(super) struct Borne {
    pub(super) notes: BTreeSet<u32>,
    pub(super) owners: BTreeSet<u32>,
}

/// What is left in a table.
struct Swept {
    records: Vec<Owned>,
    counters: Vec<u32>,
}
