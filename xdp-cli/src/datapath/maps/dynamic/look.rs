//! Looking at entries, for commands that hold no lock.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;

use rustc_hash::FxHashMap;
use xdp_common::filter::dynamic::{Entry, EntryAction, EntryTable, NEVER, Switches};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::dynamic::caught::{self, Packets};
use crate::datapath::maps::dynamic::counters::Counted;
use crate::datapath::maps::dynamic::memory;
use crate::datapath::maps::dynamic::notes::Notes;
use crate::datapath::maps::dynamic::owners::Owners;
use crate::datapath::maps::dynamic::records;
use crate::datapath::maps::dynamic::shown::{listed, name};
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::dynamic::table;
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::clock;
use crate::views::entries::{Kind, Listed};

/// How many entries are in force. Those of two owners for the same prefix are two.
///
/// # Errors
///
/// Where the kernel refuses to look into the records, or to say what time it is.
pub fn count(maps: &Maps) -> Result<u64> {
    let what = "count the run-time entries";
    let switches = memory::read(&maps.switches).context(what)?;
    let caught = caught::live(maps).context(what)?.len() as u64;
    let now = time_for(&switches)?;
    if switches.changing == 0 && now < switches.next_deadline {
        return Ok(caught + switches.entries.into_iter().map(u64::from).sum::<u64>());
    }
    let mut live = BTreeSet::new();
    for table in EntryTable::ALL {
        let Some(map) = slots::records(maps, table).context(what)? else { continue };
        for (prefix, owner, record) in records::read(&map, table).context(what)? {
            if now < record.deadline {
                live.insert((prefix, owner));
            }
        }
    }
    Ok(caught + live.len() as u64)
}

/// What [`list`] found.
pub struct Seen {
    /// The live entries, sorted by prefix and then by owner.
    pub listed: Vec<Listed>,
    /// Why they are without their notes, if so.
    pub without_notes: Option<Error>,
    /// Whether a command is changing entries, or was killed while it did: then some that are listed
    /// may not act, and some that act may not be listed.
    pub changing: bool,
}

/// The live entries of one owner or of all. `notes` is where the notes lie, if anywhere.
///
/// # Errors
///
/// Where the kernel refuses to read them, or to say what time it is.
pub fn list(maps: &Maps, notes: Option<PathBuf>, owner: Option<&str>) -> Result<Seen> {
    let what = "read the run-time entries";
    let is_changing =
        || -> Result<bool> { Ok(memory::read(&maps.switches).context(what)?.changing != 0) };
    let before = is_changing()?;
    let owners = Owners::read(&maps.owners).context(what)?;
    let notes = notes.map(Notes::read);
    let listed = list_with(maps, &owners, notes.as_ref(), owner)?;
    let without_notes = notes.as_ref().and_then(Notes::unreadable).cloned();
    Ok(Seen { listed, without_notes, changing: before || is_changing()? })
}

/// As [`list`], with owners and notes that were read before.
pub(super) fn list_with(
    maps: &Maps,
    owners: &Owners,
    notes: Option<&Notes>,
    owner: Option<&str>,
) -> Result<Vec<Listed>> {
    let what = "read the run-time entries";
    let now = clock::now()?;
    let number = owner.map(|name| owners.number(name));
    let mut counted = Counted::new(&maps.entry_counters).context(what)?;
    let mut all = Vec::new();
    for table in EntryTable::ALL {
        let Some(map) = slots::records(maps, table).context(what)? else { continue };
        let records = records::read(&map, table).context(what)?;
        let entries: FxHashMap<IpPrefix, Entry> = match slots::table(maps, table).context(what)? {
            Some(map) => table::read(&map, table).context(what)?.into_iter().collect(),
            None => FxHashMap::default(),
        };
        for (prefix, owner, record) in records {
            if now >= record.deadline || number.is_some_and(|number| number != Some(owner)) {
                continue;
            }
            let counter = entries.get(&prefix).map_or(0, |it| records::counter(it, record.kind));
            let packets = counted.packets(counter).context(what)?;
            let packets = packets.saturating_sub(record.base);
            let note = notes.and_then(|notes| notes.text(record.note));
            all.push(listed(prefix, &name(owners, owner), &record, now, packets, note));
        }
    }
    let mut counted = Packets::new(maps).context(what)?;
    for caught in caught::live(maps).context(what)? {
        if owner.is_none_or(|owner| owner == caught.owner) {
            all.push(caught.listed(now, counted.of(&caught).context(what)?));
        }
    }
    all.sort_unstable_by(|one, other| (one.prefix, &one.owner).cmp(&(other.prefix, &other.owner)));
    Ok(all)
}

/// The time, in nanoseconds of the kernel's clock, where an entry may have ended or a change was
/// cut off. Otherwise the clock is not asked: any time gives the same answer.
pub(super) fn time_for(switches: &Switches) -> Result<u64> {
    let matters = switches.changing != 0 || switches.next_deadline != NEVER;
    if matters { clock::now() } else { Ok(0) }
}

/// The live entries that hold an address, in the order in which they decide: the longest prefix
/// first and, for the same prefix, those that allow before those that block. `address` is a prefix
/// of full length.
///
/// # Errors
///
/// Where the kernel refuses to look into the records or to say what time it is, or the notes cannot be
/// read.
pub fn holding(maps: &Maps, notes: Option<PathBuf>, address: IpPrefix) -> Result<Vec<Listed>> {
    let what = "look up the run-time entries";
    let notes = notes.map(Notes::read);
    if let Some(error) = notes.as_ref().and_then(Notes::unreadable) {
        return Err(error.clone());
    }
    let owners = Owners::read(&maps.owners).context(what)?;
    let mut counted = Counted::new(&maps.entry_counters).context(what)?;
    let mut held = Vec::new();
    let now = clock::now()?;
    for length in (0..=table::length(&address)).rev() {
        let prefix = address.shortened(length);
        let table = table::of(&prefix);
        let Some(map) = slots::table(maps, table).context(what)? else { continue };
        let Some(entry) = table::exactly(&map, &prefix).context(what)? else { continue };
        let Some(map) = slots::records(maps, table).context(what)? else { continue };
        let mut all = Vec::new();
        for owner in owners.numbers() {
            let found = records::find(&map, &prefix, owner).context(what)?;
            let Some(record) = found.filter(|record| now < record.deadline) else { continue };
            let counter = records::counter(&entry, record.kind);
            let packets = counted.packets(counter).context(what)?.saturating_sub(record.base);
            let note = notes.as_ref().and_then(|notes| notes.text(record.note));
            all.push(listed(prefix, &name(&owners, owner), &record, now, packets, note));
        }
        all.sort_by_key(|listed| listed.kind == Kind::Block);
        held.extend(all);
    }
    let mut counted = Packets::new(maps).context(what)?;
    for caught in caught::of(maps, &caught::prefix_of(&address)).context(what)? {
        held.push(caught.listed(now, counted.of(&caught).context(what)?));
    }
    held.sort_by_key(|it| (Reverse(it.prefix.length()), it.kind == Kind::Block));
    Ok(held)
}

/// The live entry that decides about a packet from `address`, a prefix of full length, and what it
/// does. It is looked up as the program does it, in a few calls, however many prefixes could hold
/// the address.
///
/// # Errors
///
/// Where the kernel refuses to look into the tables, or to say what time it is.
pub fn deciding(maps: &Maps, address: IpPrefix) -> Result<Option<(IpPrefix, Kind)>> {
    let what = "look up the run-time entries";
    let full = table::length(&address);
    let mut time = None;
    let caught_by = caught::prefix_of(&address);
    let is_caught = !caught::of(maps, &caught_by).context(what)?.is_empty();
    let caught = is_caught.then_some((caught_by, Kind::Block));
    // Of one prefix, an allow decides before a source that a rule caught.
    let is_before = |length: u8, kind: Kind| {
        length > caught_by.length() || length == caught_by.length() && kind == Kind::Allow
    };
    // First the table of single addresses, then that of prefixes.
    for longest in [full, full - 1] {
        let table = table::of(&address.shortened(longest));
        let Some(map) = slots::table(maps, table).context(what)? else { continue };
        let mut bound = Some(longest);
        while let Some(most) = bound {
            let found = table::longest(&map, &address.shortened(most)).context(what)?;
            let Some(entry) = found else { break };
            // At most the length that was asked for, or a damaged entry would be found over and
            // over.
            let length = u8::try_from(entry.length).unwrap_or(most).min(most);
            let now = match time {
                Some(time) => time,
                None => *time.insert(clock::now()?),
            };
            match entry.decides_at(now).action() {
                // An entry that has ended does not hide shorter prefixes. The table of single
                // addresses has none.
                EntryAction::NONE => bound = length.checked_sub(1).filter(|_| longest < full),
                action => {
                    let is_allow = action == EntryAction::ALLOWED;
                    let kind = if is_allow { Kind::Allow } else { Kind::Block };
                    let own = (address.shortened(length), kind);
                    return Ok(Some(caught.filter(|_| !is_before(length, kind)).unwrap_or(own)));
                }
            }
        }
    }
    Ok(caught)
}
