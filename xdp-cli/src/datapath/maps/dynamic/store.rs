//! The entries of an attached interface, to be changed.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use xdp_common::capacity::{MAX_ENTRIES, MAX_OWNERS};
use xdp_common::filter::dynamic::{Entry, EntryTable, NEVER};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::dynamic::caught::{self, Caught};
use crate::datapath::maps::dynamic::change::{Change, Tables};
use crate::datapath::maps::dynamic::counters::Counted;
use crate::datapath::maps::dynamic::look;
use crate::datapath::maps::dynamic::memory::Switches;
use crate::datapath::maps::dynamic::notes::Notes;
use crate::datapath::maps::dynamic::owners::Owners;
use crate::datapath::maps::dynamic::records::{self, ByPrefix, Record};
use crate::datapath::maps::dynamic::shown::{listed, name};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::dynamic::table;
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::clock;
use crate::event::RULES;
use crate::notation::{counted, grouped, millis, plain, took};
use crate::views::entries::{Kind, Listed};

/// What an owner asks for, the same for all prefixes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub owner: String,
    pub kind: Kind,
    /// How long they live; `None`: until they are removed.
    pub life: Option<Duration>,
    pub note: Option<String>,
    /// When it was asked for.
    pub created: SystemTime,
}

/// What [`Store::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub added: usize,
    /// Prefixes for which the owner had an entry before.
    pub replaced: usize,
}

/// The entries of an attached interface, to be changed.
pub struct Store<'m> {
    tables: Tables<'m>,
    notes: Notes,
    owners: Owners,
    /// What the last command changed, and which sources that rules caught it let go.
    changed: Vec<Change>,
    let_go: Vec<Caught>,
}

impl<'m> Store<'m> {
    /// Opens the entries of an attachment, whose notes lie in `state`, and sweeps: it removes
    /// entries that have ended, and repairs what a killed command left.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses one of the calls for it.
    pub fn open(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let mut store = Self::on(maps, state)?;
        store.sweep()?;
        Ok(store)
    }

    /// Opens the entries in maps that nobody else changes meanwhile, with a directory for the
    /// notes. Does not sweep.
    ///
    /// # Errors
    ///
    /// Where the maps are not those of entries, or the kernel refuses to read them.
    pub fn on(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let switches =
            Switches::open(&maps.switches).context("open the switches of the program")?;
        let owners = Owners::read(&maps.owners).context("read the owners of run-time entries")?;
        let (tables, notes) = (Tables { maps, switches }, Notes::read(state));
        Ok(Self { tables, notes, owners, changed: Vec::new(), let_go: Vec::new() })
    }

    /// Puts an owner's entries, all or none of them. The prefixes may come in any order and more than
    /// once.
    ///
    /// # Errors
    ///
    /// Where they do not fit, the clock does not reach that far, or the kernel refuses: then
    /// everything is as it was.
    pub fn put(&mut self, prefixes: &[IpPrefix], order: &Order) -> Result<Put> {
        let begun = Instant::now();
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
        // Note and owner come before the records that name them: a note or an owner that no record
        // names does no harm.
        let note = match &order.note {
            None => 0,
            Some(text) => self.notes.number(text)?,
        };
        let owner = self.owner(&order.owner)?;
        let record =
            Record { kind: order.kind, deadline, created: millis(order.created), base: 0, note };
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
        // Where the owner is a rule, what it caught is replaced too.
        let caught = match order.owner.starts_with(RULES) {
            true => self.caught(prefixes, Some(&order.owner)).context(what)?,
            false => Vec::new(),
        };
        self.tables.switches.begin();
        // Counters are taken for all batches at once: a second search would find those free again
        // that were taken and are in no table yet.
        let without = batches.iter().flat_map(|batch| &batch.entries);
        let without = without.filter(|entry| counter_of(entry, order.kind).is_none()).count();
        let mut free = self.tables.take_counters(without).context(what)?.into_iter();
        let mut changes = Vec::new();
        for batch in &batches {
            changes.push(self.putting(batch, owner, record, &mut free).context(what)?);
        }
        self.tables.apply_all(&changes).context(what)?;
        if let Err(error) = caught::remove(self.tables.maps, &caught) {
            self.changed = changes;
            self.take_back()?;
            return Err(error).context(what);
        }
        self.tables.switches.end();
        (self.changed, self.let_go) = (changes, caught);
        log::info!(
            "put {} into the kernel's tables in {}",
            counted(all as u64, "run-time record"),
            took(begun.elapsed())
        );
        Ok(Put { added: all - replaced, replaced })
    }

    /// The number of an owner. A new owner gets one.
    fn owner(&mut self, name: &str) -> Result<u32> {
        let what = "note the owner of the run-time entries";
        if let Some(number) = self.owners.number(name) {
            return Ok(number);
        }
        if let Some(number) = self.owners.add(&self.tables.maps.owners, name).context(what)? {
            return Ok(number);
        }
        // Some owners may have no entry any more: their numbers are free.
        let mut used = BTreeSet::new();
        for table in EntryTable::ALL {
            if let Some(map) = slots::records(self.tables.maps, table).context(what)? {
                let records = records::read(&map, table).context(what)?;
                used.extend(records.into_iter().map(|(_, owner, _)| owner));
            }
        }
        self.owners.keep(&self.tables.maps.owners, &used).context(what)?;
        let number = self.owners.add(&self.tables.maps.owners, name).context(what)?;
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
        let there = self.tables.switches.entries(table);
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

    /// Reads the records and entries of these prefixes, which are sorted.
    fn batch(&self, table: EntryTable, prefixes: Vec<IpPrefix>) -> Result<Batch> {
        let look = || -> io::Result<(ByPrefix, Vec<Option<Entry>>)> {
            let there = self.tables.switches.entries(table) as usize;
            let records = match slots::records(self.tables.maps, table)? {
                Some(map) => records::of(&map, table, &prefixes, &self.owners.numbers(), there)?,
                None => ByPrefix::default(),
            };
            let entries = match slots::table(self.tables.maps, table)? {
                Some(map) => table::find(&map, table, &prefixes, there)?,
                None => vec![None; prefixes.len()],
            };
            Ok((records, entries))
        };
        let (records, entries) = look().context("look at the run-time entries")?;
        Ok(Batch { table, prefixes, records, entries })
    }

    /// The change that puts an owner's record for each prefix of a batch. Prefixes without a
    /// counter get one from `free`.
    fn putting(
        &self,
        batch: &Batch,
        owner: u32,
        record: Record,
        free: &mut impl Iterator<Item = u32>,
    ) -> io::Result<Change> {
        let mut counted = Counted::new(&self.tables.maps.entry_counters)?;
        let mut change = Change::of(batch.table);
        for (prefix, before) in batch.prefixes.iter().zip(&batch.entries) {
            let counter = counter_of(before, record.kind);
            let counter = counter.or_else(|| free.next()).unwrap_or(0);
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

    /// Removes entries, those of one owner or of all, and releases their memory. Returns the
    /// prefixes that had no entry. Where it fails, none is removed.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: then everything is as it was.
    pub fn remove(&mut self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let missing = self.take(prefixes, owner)?;
        self.sweep_removed();
        Ok(missing)
    }

    /// Removes entries that have ended, releases maps that hold nothing, and repairs what a killed
    /// command left. Where there is nothing to do, it only reads the switches.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses one of the calls for it: the next command does the rest.
    pub fn sweep(&mut self) -> Result<()> {
        let Self { tables, notes, owners, .. } = self;
        let names = &tables.maps.owners;
        tables.sweep(notes.len(), |used| {
            owners.keep(names, &used.owners)?;
            // A note too many does no harm. An error would: on a full disk nobody could look at
            // entries or remove them.
            if let Err(error) = notes.keep(&used.notes) {
                log::warn!("{error}");
            }
            Ok(())
        })?;
        caught::sweep(self.tables.maps).context("sweep the sources that rules caught").map(drop)
    }

    /// Releases what removed entries took.
    pub fn sweep_removed(&mut self) {
        // The entries are removed all the same: the next command releases their memory.
        if let Err(error) = self.sweep() {
            log::warn!("{error}");
        }
    }

    /// As [`Self::remove`], but [`Self::take_back`] can undo it until [`Self::sweep_removed`].
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: then everything is as it was.
    pub fn take(&mut self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let (what, begun) = ("remove the run-time entries", Instant::now());
        // An owner without a number has no entry.
        let number = owner.map(|name| self.owners.number(name));
        let is_meant = |owner: u32| number.is_none_or(|number| number == Some(owner));
        let (mut changes, mut missing) = (Vec::new(), Vec::new());
        let caught = self.caught(prefixes, owner).context(what)?;
        let let_go: BTreeSet<IpPrefix> = caught.iter().map(|caught| caught.prefix).collect();
        for (table, prefixes) in sorted(prefixes) {
            let batch = self.batch(table, prefixes)?;
            let mut change = Change::of(table);
            for (prefix, before) in batch.prefixes.iter().zip(&batch.entries) {
                let all = batch.records.get(prefix).into_iter().flatten();
                let mut meant = all.filter(|(owner, _)| is_meant(*owner)).peekable();
                if meant.peek().is_none() {
                    if !let_go.contains(prefix) {
                        missing.push(*prefix);
                    }
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
        self.tables.switches.begin();
        self.tables.apply_all(&changes).context(what)?;
        // Last, because it is undone by nobody else.
        if let Err(error) = caught::remove(self.tables.maps, &caught) {
            self.changed = changes;
            self.take_back()?;
            return Err(error).context(what);
        }
        self.tables.switches.end();
        let records: usize = changes.iter().map(|change| change.records.len()).sum();
        log::info!(
            "took {} out of the kernel's tables in {}",
            counted(records as u64, "run-time record"),
            took(begun.elapsed())
        );
        (self.changed, self.let_go) = (changes, caught);
        missing.sort_unstable();
        Ok(missing)
    }

    /// Undoes what the last command on this store changed, because the same failed on another
    /// interface.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses: then the next command repairs what is left.
    pub fn take_back(&mut self) -> Result<()> {
        let what = "take back what was done to the run-time entries";
        let changes = std::mem::take(&mut self.changed);
        caught::put_back(self.tables.maps, &std::mem::take(&mut self.let_go)).context(what)?;
        self.tables.switches.begin();
        for change in changes.iter().rev() {
            // `apply` makes the maps anew where a removal left a table without records.
            let back = change.turned();
            self.tables.apply(&back).context(what)?;
        }
        // The mark is still set, so that the sweep counts everything anew.
        self.sweep()
    }

    /// Which of these prefixes have an entry, of one owner or of any, sorted.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to look.
    pub fn having(&self, prefixes: &[IpPrefix], owner: Option<&str>) -> Result<Vec<IpPrefix>> {
        let number = owner.map(|name| self.owners.number(name));
        let caught = self.caught(prefixes, owner).context("look at the run-time entries")?;
        let mut having: Vec<IpPrefix> = caught.into_iter().map(|caught| caught.prefix).collect();
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
        having.dedup();
        Ok(having)
    }

    /// The sources of exactly these prefixes that rules caught, one rule's or any's.
    fn caught(&self, prefixes: &[IpPrefix], owner: Option<&str>) -> io::Result<Vec<Caught>> {
        let maps = self.tables.maps;
        let mut found = match prefixes {
            [prefix] => caught::of(maps, prefix)?,
            _ => {
                let wanted: BTreeSet<&IpPrefix> = prefixes.iter().collect();
                let mut all = caught::live(maps)?;
                all.retain(|caught| wanted.contains(&caught.prefix));
                all
            }
        };
        found.retain(|caught| owner.is_none_or(|owner| owner == caught.owner));
        Ok(found)
    }

    /// The live entries that keep an entry of this kind for one of these prefixes from acting, or
    /// from acting on all of its addresses: a block is overruled by an allow for the same prefix,
    /// and either kind by the opposite kind for a part of the prefix. The prefixes are sorted.
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
            // No prefix is longer than a single address, and of two entries for the same one an
            // allow decides.
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

    /// The live entries of exactly these prefixes, without counters and without notes.
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

    /// Why notes cannot be read, if so: then entries are listed without them.
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
        look::list_with(self.tables.maps, &self.owners, Some(&self.notes), owner)
    }
}

/// Some prefixes of one table, sorted, with the records and entries that they had.
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

    /// The records of a prefix, without those of some owners.
    fn others<'b>(
        &'b self,
        prefix: &IpPrefix,
        is_left_out: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = &'b Record> {
        let all = self.records.get(prefix).into_iter().flatten();
        all.filter(move |(owner, _)| !is_left_out(*owner)).map(|(_, record)| record)
    }
}

/// The counter that an entry has for a kind.
fn counter_of(entry: &Option<Entry>, kind: Kind) -> Option<u32> {
    entry.map(|entry| records::counter(&entry, kind)).filter(|&counter| counter != 0)
}

/// The prefixes by table, sorted and each once: a trie takes them faster in order.
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
