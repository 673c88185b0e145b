//! Entries added at run time, in the kernel: changed in place, under the namespace's lock.
//!
//! The program asks the tables while they are changed, and a command may be killed between any two
//! steps, so their order is what keeps them whole:
//!
//! - [`Switches::begin`] marks them as being changed, before anything else. A command that finds the
//!   mark recounts everything and makes the filters anew.
//! - Adding: the filter, the table, the filter's bits, the flag that has the table asked, and then
//!   the entries. An entry is in force as soon as it is in its table. Killed in between, some of
//!   the entries are there, each of them whole and in force, and bits without an entry cost time
//!   only.
//! - Removing: the entries; then, where none is left, the flag, the table, the filter. A packet
//!   that has found a table keeps it to its end, by the kernel's word.
//! - Whatever is changed: meanwhile the program skips no entry that has ended, and afterwards a new
//!   epoch begins, so that nothing is skipped of what was changed ([`Skip`]).
//! - A filter that has many bits without an entry is replaced by a new one, which is filled before.

pub mod filter;
mod memory;
pub mod notes;
pub mod table;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use xdp_common::capacity::MAX_ENTRIES;
use xdp_common::filter::dynamic::{Entry, EntryAction, EntryTable, NEVER, Skip, flag};

use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::clock;
use crate::datapath::sys::bpf;
use crate::notation::grouped;
use crate::views::entries::{Kind, Listed};
use filter::MappedFilter;
use memory::Switches;
use notes::Notes;

/// After that many removals, and when they are half of what is left, a filter is made anew.
const STALE: u32 = 4096;

/// From this epoch on, the next command that sweeps writes all entries anew, without skips, and the
/// epochs begin again: early enough that none is left to be used twice in between.
const RENEW_AT: u64 = Skip::LAST_EPOCH as u64 - 55;

/// The maps that are there only while there are entries.
pub fn inner_maps(maps: &Maps) -> io::Result<Vec<OwnedFd>> {
    let filters = EntryTable::ALL.into_iter().map(|table| inner(&maps.ban_filters, table as u32));
    let tables = EntryTable::ALL.into_iter().map(|table| inner(maps.table(table), 0));
    filters.chain(tables).filter_map(io::Result::transpose).collect()
}

/// What is asked for: the same for all prefixes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub kind: Kind,
    /// How long they live; without it, until they are removed.
    pub life: Option<Duration>,
    pub note: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub added: usize,
    /// Had an entry before.
    pub replaced: usize,
}

/// How many entries are in force, for commands that only look and hold no lock.
pub fn count(maps: &Maps) -> Result<u64> {
    let what = "count the run-time entries";
    let switches = memory::read(&maps.switches).context(what)?;
    let now = time_for(&switches)?;
    if switches.changing == 0 && now < switches.next_deadline {
        return Ok(switches.entries.into_iter().map(u64::from).sum());
    }
    let mut live = BTreeSet::new();
    for table in EntryTable::ALL {
        let Some(map) = table_of(maps, table).context(what)? else { continue };
        for (prefix, entry) in table::read(&map, table).context(what)? {
            if now < entry.deadline {
                live.insert(prefix);
            }
        }
    }
    Ok(live.len() as u64)
}

/// The time, where it matters: without an entry that ends, any time is as good.
fn time_for(switches: &xdp_common::filter::dynamic::Switches) -> Result<u64> {
    let matters = switches.changing != 0 || switches.next_deadline != NEVER;
    if matters { clock::now() } else { Ok(0) }
}

/// The live entries that hold an address, the longest first, which decides: for commands that only
/// look and hold no lock. `address` is a prefix of full length.
pub fn holding(maps: &Maps, notes: Option<PathBuf>, address: IpPrefix) -> Result<Vec<Listed>> {
    let what = "look up the run-time entries";
    let notes = notes.map(Notes::read);
    if let Some(error) = notes.as_ref().and_then(Notes::unreadable) {
        return Err(error.clone());
    }
    let mut held = Vec::new();
    let now = clock::now()?;
    for length in (0..=table::length(&address)).rev() {
        let prefix = shortened(address, length);
        let table = table::of(&prefix);
        let Some(map) = inner(maps.table(table), 0).context(what)? else { continue };
        let found = table::find(&map, table, &[prefix]).context(what)?;
        for entry in found.into_iter().flatten().filter(|entry| now < entry.deadline) {
            let note = notes.as_ref().and_then(|notes| notes.text(entry.note));
            held.push(listed(prefix, entry, now, note));
        }
    }
    Ok(held)
}

/// The live entry that decides about a packet from `address`, a prefix of full length, and what it
/// does: as the program asks its tables, in a few calls, however many prefixes could hold the
/// address. For commands that only look and hold no lock.
///
/// # Errors
///
/// Where the kernel refuses to look into the tables, or to say what time it is.
pub fn deciding(maps: &Maps, address: IpPrefix) -> Result<Option<(IpPrefix, Kind)>> {
    let what = "look up the run-time entries";
    let full = table::length(&address);
    let mut time = None;
    // The single address, and then the prefixes that hold it.
    for longest in [full, full - 1] {
        let table = table::of(&shortened(address, longest));
        let Some(map) = inner(maps.table(table), 0).context(what)? else { continue };
        let mut bound = Some(longest);
        while let Some(most) = bound {
            let found = table::longest(&map, &shortened(address, most)).context(what)?;
            let Some(entry) = found else { break };
            // Not above what was asked for: else a damaged entry would be found without end.
            let length = u8::try_from(entry.length).unwrap_or(most).min(most);
            let now = match time {
                _ if entry.deadline == NEVER => 0,
                Some(time) => time,
                None => *time.insert(clock::now()?),
            };
            if entry.is_live(|| now) {
                return Ok(Some((shortened(address, length), kind(&entry))));
            }
            // What has ended hides nothing. A single address has no shorter one in its table.
            bound = length.checked_sub(1).filter(|_| longest < full);
        }
    }
    Ok(None)
}

/// The prefix of that length that holds an address.
fn shortened(address: IpPrefix, length: u8) -> IpPrefix {
    match address {
        IpPrefix::V4(prefix) => IpPrefix::V4(masked_v4(prefix.address, length).0),
        IpPrefix::V6(prefix) => IpPrefix::V6(masked_v6(prefix.address, length).0),
    }
}

fn kind(entry: &Entry) -> Kind {
    if entry.action == EntryAction::ALLOWED { Kind::Allow } else { Kind::Block }
}

/// An entry that lives, as it is shown.
fn listed(prefix: IpPrefix, entry: Entry, now: u64, note: Option<&str>) -> Listed {
    Listed {
        prefix,
        kind: kind(&entry),
        // Up, so that what lives has not 0 seconds left.
        expires_in_seconds: (entry.deadline != NEVER)
            .then(|| entry.deadline.saturating_sub(now).div_ceil(1_000_000_000)),
        note: note.map(str::to_owned),
    }
}

/// The entries of an attached interface, to be changed.
pub struct Store<'m> {
    maps: &'m Maps,
    switches: Switches,
    notes: Notes,
}

impl<'m> Store<'m> {
    /// Opens the entries of an attachment, whose notes lie in `state`, and sweeps: what has ended is removed, and what a
    /// command that was killed left is put right.
    pub fn open(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let mut store = Self::on(maps, state)?;
        store.sweep()?;
        Ok(store)
    }

    /// On maps that nobody else changes meanwhile, with a directory for the notes.
    pub fn on(maps: &'m Maps, state: PathBuf) -> Result<Self> {
        let switches =
            Switches::open(&maps.switches).context("open the switches of the program")?;
        Ok(Self { maps, switches, notes: Notes::read(state) })
    }

    /// Puts entries, all or none of them. The prefixes may come in any order and more than once.
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
        // Before the entries, which name it: a note that no entry names is harmless.
        let note = match &order.note {
            None => 0,
            Some(text) => self.notes.number(text)?,
        };
        let action = match order.kind {
            Kind::Allow => EntryAction::ALLOWED,
            Kind::Block => EntryAction::BLOCKED,
        };
        let mut batches = Vec::new();
        for (table, prefixes) in sorted(prefixes) {
            if prefixes.is_empty() {
                continue;
            }
            let batch = self.batch(table, prefixes)?;
            batches.push(batch);
        }
        let what = "put the run-time entries";
        self.switches.begin();
        for nth in 0..batches.len() {
            let batch = &batches[nth];
            let entry = |prefix: &IpPrefix| Entry {
                deadline,
                action,
                length: table::length(prefix).into(),
                note,
            };
            if let Err(error) = self.write(batch, deadline, entry) {
                for batch in batches[..=nth].iter().rev() {
                    // Best effort: the mark stays, and the next command recounts.
                    let _ = self.undo(batch);
                }
                return Err(error).context(what);
            }
        }
        self.switches.end();
        let all: usize = batches.iter().map(|batch| batch.prefixes.len()).sum();
        let added = batches.iter().map(Batch::added).sum();
        Ok(Put { added, replaced: all - added })
    }

    /// Looks what stands in the places of these prefixes, and whether they fit.
    fn batch(&self, table: EntryTable, prefixes: Vec<IpPrefix>) -> Result<Batch> {
        let what = "look at the run-time entries";
        let map = self.table(table).context(what)?;
        let before = match &map {
            Some(map) => table::find(map, table, &prefixes).context(what)?,
            None => vec![None; prefixes.len()],
        };
        let batch = Batch { table, prefixes, before };
        let (there, added) = (self.switches.entries(table), batch.added());
        if there as usize + added > MAX_ENTRIES as usize {
            return Err(Error::new(format!(
                "{} more {} do not fit: there are {} already, and {} are the most",
                grouped(added as u64),
                table::described(table),
                grouped(there.into()),
                grouped(MAX_ENTRIES.into()),
            ))
            .hint("put what is to stay into a list of the configuration, which holds more"));
        }
        Ok(batch)
    }

    fn write(
        &self,
        batch: &Batch,
        deadline: u64,
        entry: impl Fn(&IpPrefix) -> Entry,
    ) -> io::Result<()> {
        let table = batch.table;
        let multipliers = self.switches.multipliers();
        let filter = match inner(&self.maps.ban_filters, table as u32)? {
            Some(map) => MappedFilter::open(&map)?,
            None => {
                let (filter, map) = MappedFilter::create()?;
                put_inner(&self.maps.ban_filters, table as u32, &map)?;
                filter
            }
        };
        let map = match self.table(table)? {
            Some(map) => map,
            None => {
                let map = table::create(table)?;
                put_inner(self.maps.table(table), 0, &map)?;
                map
            }
        };
        let mut flags = table.flag();
        for prefix in &batch.prefixes {
            flags |= filter.add(multipliers, prefix);
        }
        self.switches.set_flags(flags);
        self.switches.lower_deadline(deadline);
        table::write(&map, table, batch.prefixes.iter().map(|prefix| (*prefix, entry(prefix))))?;
        self.switches.set_entries(table, self.switches.entries(table) + batch.added() as u32);
        Ok(())
    }

    /// Puts back what a batch replaced, and removes what it added.
    fn undo(&self, batch: &Batch) -> io::Result<()> {
        let Some(map) = self.table(batch.table)? else { return Ok(()) };
        let there = || batch.prefixes.iter().copied().zip(batch.before.iter().copied());
        let added: Vec<IpPrefix> =
            there().filter(|(_, before)| before.is_none()).map(|(prefix, _)| prefix).collect();
        table::remove(&map, batch.table, &added)?;
        let replaced = there().filter_map(|(prefix, before)| Some((prefix, before?)));
        table::write(&map, batch.table, replaced)
    }

    /// Removes entries, and returns the prefixes that had none. All others are removed, or none
    /// where it fails.
    pub fn remove(&mut self, prefixes: &[IpPrefix]) -> Result<Vec<IpPrefix>> {
        let what = "remove the run-time entries";
        let (mut batches, mut missing) = (Vec::new(), Vec::new());
        for (table, prefixes) in sorted(prefixes) {
            let Some(map) = self.table(table).context(what)? else {
                missing.extend(prefixes);
                continue;
            };
            let before = table::find(&map, table, &prefixes).context(what)?;
            let absent =
                |(prefix, before): (&IpPrefix, &Option<Entry>)| before.is_none().then_some(*prefix);
            missing.extend(prefixes.iter().zip(&before).filter_map(absent));
            batches.push(Batch { table, prefixes, before });
        }
        self.switches.begin();
        for nth in 0..batches.len() {
            if let Err(error) = self.take(&batches[nth]) {
                for batch in &batches[..=nth] {
                    // Best effort, as where putting fails.
                    let _ = self.undo(batch);
                }
                return Err(error).context(what);
            }
        }
        self.switches.end();
        // They are gone. That memory was not given back with them, is for the next command.
        if let Err(error) = self.sweep() {
            log::warn!("{error}");
        }
        missing.sort_unstable();
        Ok(missing)
    }

    /// Removes what was in the places of a batch.
    fn take(&self, batch: &Batch) -> io::Result<()> {
        let table = batch.table;
        let Some(map) = self.table(table)? else { return Ok(()) };
        let there = || batch.prefixes.iter().zip(&batch.before).filter(|(_, b)| b.is_some());
        let prefixes: Vec<IpPrefix> = there().map(|(prefix, _)| *prefix).collect();
        table::remove(&map, table, &prefixes)?;
        let entries = self.switches.entries(table).saturating_sub(prefixes.len() as u32);
        self.switches.set_entries(table, entries);
        self.switches.add_stale(table, prefixes.iter().map(filter::weight).sum());
        Ok(())
    }

    /// Why notes cannot be read, if so: entries are listed without them.
    pub fn without_notes(&self) -> Option<&Error> {
        self.notes.unreadable()
    }

    /// All entries, sorted by prefix. Those that have ended since the sweep are left out.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let what = "read the run-time entries";
        let now = clock::now()?;
        let mut all = Vec::new();
        for table in EntryTable::ALL {
            let Some(map) = self.table(table).context(what)? else { continue };
            for (prefix, entry) in table::read(&map, table).context(what)? {
                if now >= entry.deadline {
                    continue;
                }
                let note = self.notes.text(entry.note);
                all.push(listed(prefix, entry, now, note));
            }
        }
        all.sort_unstable_by_key(|listed| listed.prefix);
        Ok(all)
    }

    /// Removes what has ended, gives back maps that hold nothing, and puts right what a command
    /// that was killed left; where there is nothing of that kind, it is one look.
    pub fn sweep(&mut self) -> Result<()> {
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
        let mut next = if ended || renew || raw.changing != 0 { NEVER } else { raw.next_deadline };
        let mut notes = BTreeSet::new();
        for table in EntryTable::ALL {
            if due(table) {
                let anew = raw.changing != 0 || stale(table);
                let swept = self.sweep_table(table, now, anew, renew);
                let swept = swept.context("sweep the run-time entries")?;
                next = next.min(swept.next_deadline);
                notes.extend(swept.notes);
            }
        }
        if renew {
            self.switches.renew_epochs();
        }
        self.switches.set_deadline(next);
        let holds_none = |table: EntryTable| raw.entries[table as usize] == 0;
        if EntryTable::ALL.into_iter().all(|table| due(table) || holds_none(table)) {
            // Everything was read, so what no entry names is known. A note too many is harmless; not
            // to look at entries and remove them where the disk is full, would not be.
            if let Err(error) = self.notes.keep(&notes) {
                log::warn!("{error}");
            }
        }
        self.switches.end();
        Ok(())
    }

    fn sweep_table(
        &self,
        table: EntryTable,
        now: u64,
        anew: bool,
        renew: bool,
    ) -> io::Result<Swept> {
        let mut swept = Swept { next_deadline: NEVER, notes: BTreeSet::new() };
        let (mut live, mut ended) = (Vec::new(), Vec::new());
        let map = self.table(table)?;
        if let Some(map) = &map {
            for (prefix, entry) in table::read(map, table)? {
                if now < entry.deadline {
                    swept.next_deadline = swept.next_deadline.min(entry.deadline);
                    swept.notes.insert(entry.note);
                    live.push((prefix, entry));
                } else {
                    ended.push(prefix);
                }
            }
            table::remove(map, table, &ended)?;
            if renew {
                table::write(map, table, live.iter().copied())?;
            }
        }
        self.switches.set_entries(table, live.len() as u32);
        if live.is_empty() {
            // Nobody asks from here on. The memory goes when the last packet is done with it.
            self.switches.clear_flags(match table {
                EntryTable::PrefixesV6 => table.flag() | flag::V6_FILTER,
                _ => table.flag(),
            });
            bpf::delete(self.maps.table(table), 0)?;
            bpf::delete(&self.maps.ban_filters, table as u32)?;
            self.switches.clear_stale(table);
            return Ok(swept);
        }
        self.switches.add_stale(table, ended.iter().map(filter::weight).sum());
        let stale = self.switches.read().stale[table as usize];
        if anew || (stale > STALE && stale as usize > live.len() / 2) {
            let multipliers = self.switches.multipliers();
            let (filter, map) = MappedFilter::create()?;
            let mut flags = table.flag();
            for (prefix, _) in &live {
                flags |= filter.add(multipliers, prefix);
            }
            // The filter first: it has all that the flags before could ask for of what lives.
            put_inner(&self.maps.ban_filters, table as u32, &map)?;
            self.switches.set_flags(flags);
            if table == EntryTable::PrefixesV6 {
                self.switches.clear_flags(flag::V6_FILTER & !flags);
            }
            self.switches.clear_stale(table);
        }
        Ok(swept)
    }

    fn table(&self, table: EntryTable) -> io::Result<Option<OwnedFd>> {
        table_of(self.maps, table)
    }
}

/// Prefixes of one table, and the entries that were in their places.
struct Batch {
    table: EntryTable,
    prefixes: Vec<IpPrefix>,
    before: Vec<Option<Entry>>,
}

impl Batch {
    fn added(&self) -> usize {
        self.before.iter().filter(|before| before.is_none()).count()
    }
}

struct Swept {
    next_deadline: u64,
    notes: BTreeSet<u32>,
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

/// A table, if it has a map now.
fn table_of(maps: &Maps, table: EntryTable) -> io::Result<Option<OwnedFd>> {
    let map = inner(maps.table(table), 0)?;
    match &map {
        Some(found)
            if bpf::map_info(found)?.signature != xdp_common::maps::table(table).signature =>
        {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a map of another version's shape"))
        }
        _ => Ok(map),
    }
}

/// The map in a slot.
fn inner(outer: &OwnedFd, slot: u32) -> io::Result<Option<OwnedFd>> {
    let mut id = [0; 4];
    match bpf::lookup(outer, slot, &mut id)? {
        None => Ok(None),
        Some(()) => match bpf::map_by_id(u32::from_ne_bytes(id)) {
            // Taken away in this moment, which only those see that hold no lock.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        },
    }
}

fn put_inner(outer: &OwnedFd, slot: u32, map: &OwnedFd) -> io::Result<()> {
    bpf::update(outer, slot, &map.as_raw_fd().to_ne_bytes())
}
