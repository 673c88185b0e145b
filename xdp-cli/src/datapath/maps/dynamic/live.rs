//! Following entries, for a command that runs on and holds no lock.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use xdp_common::filter::dynamic::{EntryTable, NEVER};

use crate::config::prefix::IpPrefix;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::dynamic::caught;
use crate::datapath::maps::dynamic::memory;
use crate::datapath::maps::dynamic::notes::Notes;
use crate::datapath::maps::dynamic::owners::Owners;
use crate::datapath::maps::dynamic::records;
use crate::datapath::maps::dynamic::shown::name;
use crate::datapath::maps::dynamic::slots;
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::clock;
use crate::views::entries::Kind;

/// Stays the same as long as no command and no rule changes the entries, but for one in 255 changes of
/// commands: so many epochs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    epoch: u64,
    entries: [u32; 4],
    next_deadline: u64,
    /// How many sources rules have caught.
    caught: u64,
}

/// The mark of the entries as they are; `None` while a command changes them.
///
/// # Errors
///
/// Where the kernel refuses to read the switches.
pub fn mark(maps: &Maps) -> Result<Option<Mark>> {
    let switches = memory::read(&maps.switches).context("look at the run-time entries")?;
    Ok((switches.changing == 0).then_some(Mark {
        epoch: switches.last_epoch,
        entries: switches.entries,
        next_deadline: switches.next_deadline,
        caught: switches.caught,
    }))
}

/// An entry that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub prefix: IpPrefix,
    pub owner: String,
    pub kind: Kind,
    /// When it ends, by this process's clock; `None` where it does not.
    pub ends: Option<Instant>,
    /// When it was put, in milliseconds since 1970.
    pub created: u64,
    pub note: Option<String>,
}

/// All entries that have not ended, in no order. Without their notes, where these cannot be read.
///
/// # Errors
///
/// Where the kernel refuses to read them, or to say what time it is.
pub fn live(maps: &Maps, notes: Option<PathBuf>) -> Result<Vec<Live>> {
    let what = "read the run-time entries";
    let notes = notes.map(Notes::read);
    let owners = Owners::read(&maps.owners).context(what)?;
    let mut all = Vec::new();
    for table in EntryTable::ALL {
        let Some(map) = slots::records(maps, table).context(what)? else { continue };
        let records = records::read(&map, table).context(what)?;
        // The two clocks go alike, but need not have begun at the same time. Only entries that end need
        // the kernel's, which takes a program.
        let ending = records.iter().any(|(.., record)| record.deadline != NEVER);
        let clocks = if ending { Some((clock::now()?, Instant::now())) } else { None };
        for (prefix, owner, record) in records {
            let ends = match clocks.filter(|_| record.deadline != NEVER) {
                None => None,
                Some((now, _)) if record.deadline <= now => continue,
                Some((now, here)) => here.checked_add(Duration::from_nanos(record.deadline - now)),
            };
            let note = notes.as_ref().and_then(|notes| notes.text(record.note));
            all.push(Live {
                prefix,
                owner: name(&owners, owner),
                kind: record.kind,
                ends,
                created: record.created,
                note: note.map(str::to_owned),
            });
        }
    }
    let caught = caught::live(maps).context(what)?;
    if !caught.is_empty() {
        let (now, here) = (clock::now()?, Instant::now());
        all.extend(caught.into_iter().map(|it| Live {
            prefix: it.prefix,
            kind: Kind::Block,
            ends: here.checked_add(Duration::from_nanos(it.ends.saturating_sub(now))),
            created: it.created(now),
            note: None,
            owner: it.owner,
        }));
    }
    Ok(all)
}
