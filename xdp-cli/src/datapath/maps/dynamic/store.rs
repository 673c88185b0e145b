//! The entries of an attached interface, to be changed.
//!
//! The program asks the tables while they are changed, and a command may be killed between any two
//! steps, so their order is what keeps them whole:
//!
//! - [`Switches::begin`] marks them as being changed, before anything else. A command that finds the
//!   mark makes the tables what the records say, recounts everything and makes the filters anew.
//! - Changing: the maps that are not there yet, the filter's bits, the flag that has the table asked;
//!   the records; then the entries of the table, which is when it is in force. Killed in between, some
//!   of the records are there, each of them whole, and the next command puts them in force; bits without
//!   an entry cost time only.
//! - Where no record is left: the flag, the table, the filter, the records. A packet that has found a
//!   table keeps it to its end, by the kernel's word.
//! - Whatever is changed: meanwhile the program skips no entry that has ended, and afterwards a new
//!   epoch begins, so that nothing is skipped of what was changed ([`Skip`]).
//! - A filter that has many bits without an entry is replaced by a new one, which is filled before.
//! - An entry keeps its counters as long as somebody wants its kind, so that no packet is lost to the
//!   count while it is replaced.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use xdp_common::capacity::{MAX_ENTRIES, MAX_OWNERS};
use xdp_common::filter::dynamic::{Entry, EntryTable, NEVER, Skip, flag};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::dynamic::counters::{self, Counted, Used};
use crate::datapath::maps::dynamic::filter::{self, MappedFilter};
use crate::datapath::maps::dynamic::look::time_for;
use crate::datapath::maps::dynamic::memory::Switches;
use crate::datapath::maps::dynamic::notes::Notes;
use crate::datapath::maps::dynamic::owners::Owners;
use crate::datapath::maps::dynamic::records::{self, ByPrefix, Owned, Record};
use crate::datapath::maps::dynamic::{listed, name, slots, table};
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::clock;
use crate::datapath::sys::bpf;
use crate::notation::{grouped, plain};
use crate::views::entries::{Kind, Listed};

/// After that many removals, and when they are half of what is left, a filter is made anew.
const STALE: u32 = 4096;

/// From this epoch on, the next command that sweeps writes all entries anew, without skips, and the
/// epochs begin again: early enough that none is left to be used twice in between.
const RENEW_AT: u64 = Skip::LAST_EPOCH as u64 - 55;

/// What is asked for: the same for all prefixes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub owner: String,
    pub kind: Kind,
    /// How long they live; without it, until they are removed.
    pub life: Option<Duration>,
    pub note: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub added: usize,
    /// The owner had an entry before.
    pub replaced: usize,
}

/// The entries of an attached interface, to be changed.
pub struct Store<'m> {
    maps: &'m Maps,
    switches: Switches,
    notes: Notes,
    owners: Owners,
    /// What the last command changed.
    changed: Vec<Change>,
}

impl<'m> Store<'m> {
    /// Opens the entries of an attachment, whose notes lie in `state`, and sweeps: what has ended is removed, and what a
    /// command that was killed left is put right.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses one of the calls that takes.
    pub fn open(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let mut store = Self::on(maps, state)?;
        store.sweep()?;
        Ok(store)
    }

    /// On maps that nobody else changes meanwhile, with a directory for the notes.
    ///
    /// # Errors
    ///
    /// Where the maps are not those of entries, or the kernel refuses to read them.
    pub fn on(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let switches =
            Switches::open(&maps.switches).context("open the switches of the program")?;
        let owners = Owners::read(&maps.owners).context("read the owners of run-time entries")?;
        Ok(Self { maps, switches, notes: Notes::read(state), owners, changed: Vec::new() })
    }

    /// Puts an owner's entries, all or none of them. The prefixes may come in any order and more than
    /// once.
    ///
    /// # Errors
    ///
    /// Where they do not fit, the clock does not reach that far, or the kernel refuses: then all is as it
    /// was.
    pub fn put(&mut self, prefixes: &[IpPrefix], order: &Order) -> Result<Put> {
        let now = if order.life.is_some() { clock::now()? } else { 0 };
        let deadline = match order.life {
            None => NEVER,
            Some(life) => u64::try_from(life.as_nanos())
                .ok()
                .and_then(|life| now.checked_add(life))
                .filter(|&deadline| deadline != NEVER)
                .ok_or_else(|| {
                    Error::new("the kernel's clock does not reach that far")
                        .hint("omit `--for` for an entry that does not end")
                })?,
        };
        // Before the records, which name it: a note or an owner that no record names is harmless.
        let note = match &order.note {
            None => 0,
            Some(text) => self.notes.number(text)?,
        };
        let owner = self.owner(&order.owner)?;
        let record = Record { kind: order.kind, deadline, created: millis(), base: 0, note };
        let mut batches = Vec::new();
        for (table, prefixes) in sorted(prefixes) {
            if !prefixes.is_empty() {
                batches.push(self.batch(table, prefixes)?);
            }
        }
        let before = |batch: &Batch| {
            batch.prefixes.iter().filter(|it| batch.of(it, owner).is_some()).count()
        };
        let replaced: usize = batches.iter().map(before).sum();
        let all: usize = batches.iter().map(|batch| batch.prefixes.len()).sum();
        for batch in &batches {
            self.require_room(batch.table, batch.prefixes.len() - before(batch))?;
        }
        let what = "put the run-time entries";
        self.switches.begin();
        let mut changes = Vec::new();
        for batch in &batches {
            changes.push(self.putting(batch, owner, record).context(what)?);
        }
        self.apply_all(&changes).context(what)?;
        self.switches.end();
        self.changed = changes;
        Ok(Put { added: all - replaced, replaced })
    }

    /// The number of an owner, who gets one if it has none yet.
    fn owner(&mut self, name: &str) -> Result<u32> {
        let what = "note the owner of the run-time entries";
        if let Some(number) = self.owners.number(name) {
            return Ok(number);
        }
        if let Some(number) = self.owners.add(&self.maps.owners, name).context(what)? {
            return Ok(number);
        }
        // Some may have no entry any more.
        let mut used = BTreeSet::new();
        for table in EntryTable::ALL {
            if let Some(map) = slots::records(self.maps, table).context(what)? {
                let records = records::read(&map, table).context(what)?;
                used.extend(records.into_iter().map(|(_, owner, _)| owner));
            }
        }
        self.owners.keep(&self.maps.owners, &used).context(what)?;
        let number = self.owners.add(&self.maps.owners, name).context(what)?;
        number.ok_or_else(|| {
            Error::new(format!(
                "\"{}\" does not fit: {} others own run-time entries already, which are the most",
                plain(name),
                grouped(MAX_OWNERS.into())
            ))
            .hint("use one owner for all entries that come from the same place")
        })
    }

    fn require_room(&self, table: EntryTable, added: usize) -> Result<()> {
        let there = self.switches.entries(table);
        if there as usize + added <= MAX_ENTRIES as usize {
            return Ok(());
        }
        Err(Error::new(format!(
            "{} more {} do not fit: there are {} already, and {} are the most",
            grouped(added as u64),
            table::described(table),
            grouped(there.into()),
            grouped(MAX_ENTRIES.into()),
        ))
        .hint("put what is to stay into a list of the configuration, which holds more"))
    }

    /// Looks what stands in the places of these prefixes, which are sorted.
    fn batch(&self, table: EntryTable, prefixes: Vec<IpPrefix>) -> Result<Batch> {
        let look = || -> io::Result<(ByPrefix, Vec<Option<Entry>>)> {
            let there = self.switches.entries(table) as usize;
            let records = match slots::records(self.maps, table)? {
                Some(map) => records::of(&map, table, &prefixes, &self.owners.numbers(), there)?,
                None => ByPrefix::default(),
            };
            let entries = match slots::table(self.maps, table)? {
                Some(map) => table::find(&map, table, &prefixes, there)?,
                None => vec![None; prefixes.len()],
            };
            Ok((records, entries))
        };
        let (records, entries) = look().context("look at the run-time entries")?;
        Ok(Batch { table, prefixes, records, entries })
    }

    /// What it changes to put an owner's record for each prefix of a batch.
    fn putting(&self, batch: &Batch, owner: u32, record: Record) -> io::Result<Change> {
        let has_counter = |entry: &Option<Entry>| {
            entry.is_some_and(|entry| records::counter(&entry, record.kind) != 0)
        };
        let without = batch.entries.iter().filter(|entry| !has_counter(entry)).count();
        let mut free = self.take_counters(without)?.into_iter();
        let mut counted = Counted::new(&self.maps.entry_counters)?;
        let mut change = Change::of(batch.table);
        for (prefix, before) in batch.prefixes.iter().zip(&batch.entries) {
            let counter = match before {
                Some(entry) if has_counter(before) => records::counter(entry, record.kind),
                _ => free.next().unwrap_or(0),
            };
            let record = Record { base: counted.packets(counter)?, ..record };
            change.records.push((*prefix, owner, [batch.of(prefix, owner), Some(record)]));
            let others = batch.others(prefix, |other| other == owner);
            let after = records::combined(prefix, others.chain([&record]), |kind| {
                let kept = before.map_or(0, |entry| records::counter(&entry, kind));
                if kind == record.kind { counter } else { kept }
            });
            change.entries.push((*prefix, [*before, after]));
        }
        Ok(change)
    }

    /// Counters that no entry has; fewer than wanted where there are no more.
    fn take_counters(&self, wanted: usize) -> io::Result<Vec<u32>> {
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

    /// Makes changes, all or none of them. The mark has to be set, and stays where it fails.
    fn apply_all(&self, changes: &[Change]) -> io::Result<()> {
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

    fn apply(&self, change: &Change) -> io::Result<()> {
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

    /// Makes room for so many records.
    fn resize_records(&self, table: EntryTable, records: usize) -> io::Result<()> {
        let before = slots::records(self.maps, table)?;
        if let Some(map) = records::resized(before.as_ref(), records)? {
            slots::put(&self.maps.records, table as u32, &map)?;
        }
        Ok(())
    }

    /// Writes one side of a change: the records, and then what is made of them.
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

    /// Removes entries, those of one owner or of all, and returns the prefixes that had none. All others
    /// are removed, or none where it fails. Their memory is given back too.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: then all is as it was.
    pub fn remove(&mut self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let missing = self.take(prefixes, owner)?;
        self.sweep_removed();
        Ok(missing)
    }

    /// Gives back what entries took that are gone.
    pub fn sweep_removed(&mut self) {
        // They are gone. That memory was not given back with them, is for the next command.
        if let Err(error) = self.sweep() {
            log::warn!("{error}");
        }
    }

    /// As [`Self::remove`], but all that it takes to take it back is kept, until [`Self::sweep_removed`].
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: then all is as it was.
    pub fn take(&mut self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let what = "remove the run-time entries";
        // An owner without a number has no entry.
        let number = owner.map(|name| self.owners.number(name));
        let is_meant = |owner: u32| number.is_none_or(|number| number == Some(owner));
        let (mut changes, mut missing) = (Vec::new(), Vec::new());
        for (table, prefixes) in sorted(prefixes) {
            let batch = self.batch(table, prefixes)?;
            let mut change = Change::of(table);
            for (prefix, before) in batch.prefixes.iter().zip(&batch.entries) {
                let all = batch.records.get(prefix).into_iter().flatten();
                let mut meant = all.filter(|(owner, _)| is_meant(*owner)).peekable();
                if meant.peek().is_none() {
                    missing.push(*prefix);
                    continue;
                }
                let removed = meant.map(|(owner, record)| (*prefix, *owner, [Some(*record), None]));
                change.records.extend(removed);
                let kept = |kind| before.map_or(0, |entry| records::counter(&entry, kind));
                let after = records::combined(prefix, batch.others(prefix, is_meant), kept);
                change.entries.push((*prefix, [*before, after]));
            }
            changes.push(change);
        }
        self.switches.begin();
        self.apply_all(&changes).context(what)?;
        self.switches.end();
        self.changed = changes;
        missing.sort_unstable();
        Ok(missing)
    }

    /// Takes back what the last command on this store changed, where the same cannot be done elsewhere.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: what is there then is made whole by the next command.
    pub fn take_back(&mut self) -> Result<()> {
        let what = "take back what was done to the run-time entries";
        let changes = std::mem::take(&mut self.changed);
        self.switches.begin();
        for change in changes.iter().rev() {
            // What was removed has no maps any more where nothing was left.
            let back = change.turned();
            self.apply(&back).context(what)?;
        }
        // The mark is still there, so that everything is counted anew.
        self.sweep()
    }

    /// Which of these prefixes have an entry, of one owner or of any, sorted.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to look.
    pub fn having(&self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let number = owner.map(|name| self.owners.number(name));
        let mut having = Vec::new();
        for (table, prefixes) in sorted(prefixes) {
            let batch = self.batch(table, prefixes)?;
            let is_meant = |owner: u32| number.is_none_or(|number| number == Some(owner));
            let has = |prefix: &&IpPrefix| {
                let all = batch.records.get(*prefix).into_iter().flatten();
                all.into_iter().any(|(owner, _)| is_meant(*owner))
            };
            having.extend(batch.prefixes.iter().filter(has).copied());
        }
        having.sort_unstable();
        Ok(having)
    }

    /// The live entries that keep one of these prefixes' own from acting, or from acting on all of it:
    /// what allows the same prefix, where they block, and what does the opposite to a part of it. The
    /// prefixes are sorted.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to read them, or to say what time it is.
    pub fn against(&self, prefixes: &[IpPrefix], kind: Kind) -> Result<Vec<Listed>> {
        let mut all = if prefixes.iter().any(|prefix| !prefix.is_host()) {
            self.list(None)?
        } else if kind == Kind::Block {
            self.list_exactly(prefixes)?
        } else {
            // Nothing is inside an address, and of the same an allow decides.
            Vec::new()
        };
        // Where somebody allows the same prefix, a block does nothing.
        let allowed: BTreeSet<IpPrefix> =
            all.iter().filter(|it| it.kind == Kind::Allow).map(|it| it.prefix).collect();
        all.retain(|listed| listed.kind == Kind::Allow || !allowed.contains(&listed.prefix));
        all.retain(|listed| {
            let shortest = if kind == Kind::Block { 0 } else { 1 };
            let longer = (0..=listed.prefix.length()).rev().skip(shortest);
            let mut around = longer.map(|length| listed.prefix.shortened(length));
            listed.kind != kind && around.any(|it| prefixes.binary_search(&it).is_ok())
        });
        Ok(all)
    }

    /// The live entries of exactly these prefixes, without what they decided and without notes.
    fn list_exactly(&self, prefixes: &[IpPrefix]) -> Result<Vec<Listed>> {
        let now = clock::now()?;
        let mut all = Vec::new();
        for (table, prefixes) in sorted(prefixes) {
            let batch = self.batch(table, prefixes)?;
            for (prefix, records) in batch.records {
                for (owner, record) in records.iter().filter(|(_, it)| now < it.deadline) {
                    let owner = name(&self.owners, *owner);
                    all.push(listed(prefix, &owner, record, now, 0, None));
                }
            }
        }
        all.sort_unstable_by(|one, other| {
            (one.prefix, &one.owner).cmp(&(other.prefix, &other.owner))
        });
        Ok(all)
    }

    /// Why notes cannot be read, if so: entries are listed without them.
    pub fn without_notes(&self) -> Option<&Error> {
        self.notes.unreadable()
    }

    /// The entries of one owner or of all, sorted by prefix and then by owner. Those that have ended since
    /// the sweep are left out.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to read them, or to say what time it is.
    pub fn list(&self, owner: Option<&str>) -> Result<Vec<Listed>> {
        let what = "read the run-time entries";
        let now = clock::now()?;
        let number = owner.map(|name| self.owners.number(name));
        let mut counted = Counted::new(&self.maps.entry_counters).context(what)?;
        let mut all = Vec::new();
        for table in EntryTable::ALL {
            let Some(map) = slots::records(self.maps, table).context(what)? else { continue };
            let records = records::read(&map, table).context(what)?;
            let entries = self.entries(table).context(what)?;
            for (prefix, owner, record) in records {
                if now >= record.deadline || number.is_some_and(|number| number != Some(owner)) {
                    continue;
                }
                let counter =
                    entries.get(&prefix).map_or(0, |it| records::counter(it, record.kind));
                let packets = counted.packets(counter).context(what)?;
                let note = self.notes.text(record.note);
                let packets = packets.saturating_sub(record.base);
                let owner = name(&self.owners, owner);
                all.push(listed(prefix, &owner, &record, now, packets, note));
            }
        }
        all.sort_unstable_by(|one, other| {
            (one.prefix, &one.owner).cmp(&(other.prefix, &other.owner))
        });
        Ok(all)
    }

    /// What a table has.
    fn entries(&self, table: EntryTable) -> io::Result<FxHashMap<IpPrefix, Entry>> {
        match slots::table(self.maps, table)? {
            Some(map) => Ok(table::read(&map, table)?.into_iter().collect()),
            None => Ok(FxHashMap::default()),
        }
    }

    /// Removes what has ended, gives back maps that hold nothing, and puts right what a command
    /// that was killed left; where there is nothing of that kind, it is one look.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses one of the calls that takes: the next command does the rest.
    pub fn sweep(&mut self) -> Result<()> {
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
        let due =
            |table: EntryTable| raw.changing != 0 || ended || renew || stale(table) || empty(table);
        if !EntryTable::ALL.into_iter().any(due) {
            return Ok(());
        }
        self.switches.begin();
        if raw.changing != 0 {
            // Which of them are free is not to be trusted either.
            self.switches.forget_free_counters();
        }
        let mut next = if ended || renew || raw.changing != 0 { NEVER } else { raw.next_deadline };
        let (mut notes, mut owners, mut used) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for table in EntryTable::ALL {
            if due(table) {
                let anew = raw.changing != 0 || stale(table);
                let swept = self.sweep_table(table, now, anew, renew).context(what)?;
                for (_, owner, record) in &swept.records {
                    next = next.min(record.deadline);
                    notes.insert(record.note);
                    owners.insert(*owner);
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
            // Everything was read, so what no record names is known.
            let give_back = || -> io::Result<()> {
                self.owners.keep(&self.maps.owners, &owners)?;
                counters::give_back(&self.maps.entry_counters, &self.switches, &Used::of(used))
            };
            give_back().context(what)?;
            // A note too many is harmless; not to look at entries and remove them where the disk is
            // full, would not be.
            if let Err(error) = self.notes.keep(&notes) {
                log::warn!("{error}");
            }
        }
        self.switches.end();
        Ok(())
    }

    /// Makes a table what those of its records say that live, and removes the others.
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
            // Nobody asks from here on. The memory goes when the last packet is done with it.
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
            // All that is about to be there is in it, and what the flags before could ask for of that.
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

    /// What it changes to make a table what is wanted, and the counters that its entries have then.
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
        // A command that was killed may have left records without an entry, which has the counters.
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

    /// Puts a new filter, of these prefixes alone, in the place of a table's.
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
        // The filter first: it has all that the flags before could ask for of what lives.
        slots::put(&self.maps.ban_filters, table as u32, &map)?;
        self.switches.set_flags(flags);
        if table == EntryTable::PrefixesV6 {
            self.switches.clear_flags(flag::V6_FILTER & !flags);
        }
        self.switches.clear_stale(table);
        Ok(())
    }
}

/// What stood in the places of some prefixes of one table, which are sorted.
struct Batch {
    table: EntryTable,
    prefixes: Vec<IpPrefix>,
    records: ByPrefix,
    entries: Vec<Option<Entry>>,
}

impl Batch {
    /// An owner's record of a prefix.
    fn of(&self, prefix: &IpPrefix, owner: u32) -> Option<Record> {
        let all = self.records.get(prefix)?;
        all.iter().find(|(of, _)| *of == owner).map(|(_, record)| *record)
    }

    /// The records of a prefix but for those of some owners.
    fn others<'b>(
        &'b self,
        prefix: &IpPrefix,
        is_left_out: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = &'b Record> {
        let all = self.records.get(prefix).into_iter().flatten();
        all.filter(move |(owner, _)| !is_left_out(*owner)).map(|(_, record)| record)
    }
}

/// The sides of a change.
const BEFORE: usize = 0;
const AFTER: usize = 1;

/// What is changed in one table: records with their owners, and what becomes of the entries.
struct Change {
    table: EntryTable,
    records: Vec<(IpPrefix, u32, [Option<Record>; 2])>,
    entries: Vec<(IpPrefix, [Option<Entry>; 2])>,
}

impl Change {
    fn of(table: EntryTable) -> Self {
        Self { table, records: Vec::new(), entries: Vec::new() }
    }

    /// The way back.
    fn turned(&self) -> Self {
        let records =
            self.records.iter().map(|(prefix, owner, [a, b])| (*prefix, *owner, [*b, *a]));
        let entries = self.entries.iter().map(|(prefix, [a, b])| (*prefix, [*b, *a]));
        Self { table: self.table, records: records.collect(), entries: entries.collect() }
    }
}

/// What is left in a table.
struct Swept {
    records: Vec<Owned>,
    counters: Vec<u32>,
}

/// Milliseconds since 1970.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// By table, sorted, each once: a trie takes them faster in order.
fn sorted(prefixes: &[IpPrefix]) -> [(EntryTable, Vec<IpPrefix>); 4] {
    let mut sorted = EntryTable::ALL.map(|table| (table, Vec::new()));
    for prefix in prefixes {
        sorted[table::of(prefix) as usize].1.push(*prefix);
    }
    for (_, prefixes) in &mut sorted {
        prefixes.sort_unstable();
        prefixes.dedup();
    }
    sorted
}
