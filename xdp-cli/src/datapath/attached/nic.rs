//! What belongs to an interface that is attached in offload mode: its maps on the NIC, and one more
//! map in the kernel, which says what the NIC's counters belong to.
//!
//! That is the map `STATE`, pinned beside the others. It has two places, one for generations with
//! an even number and one for those with an odd. A reload writes the place of its generation before
//! it writes the NIC's selector, so the place of the ruleset in force stays untouched until then.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xdp_common::maps::kind;
use xdp_common::nic::{COUNTERS, OUTCOMES, Selector, flag};
use xdp_common::stages::Needs;
use xdp_common::stats::counter::{CELLS, Counter, Matrix};

use crate::datapath::attached::in_force::{InForce, Reading};
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::counters::RuleCounters;
use crate::datapath::maps::handles::memory;
use crate::datapath::maps::nic as elements;
use crate::datapath::program::nic::{MAPS, NicMaps};
use crate::datapath::sys::bpf;
use crate::image::metadata::Metadata;
use crate::image::nic::NicTables;

/// The pin of the map that says what the NIC has.
pub const STATE: &str = "STATE";
const STATE_PLACES: u32 = 2;
/// Bytes of a place, and of the header at its beginning: the version of the layout, then the length
/// of the rest.
const STATE_BYTES: usize = 1 << 14;
const STATE_HEADER: usize = 8;
/// Version of the layout. It goes up with any change of this file or of `xdp_common::nic` that an
/// older program or command line would misread.
const LAYOUT: u32 = 2;

/// The maps of an attachment in offload mode, whatever state the NIC is in.
pub struct Nic {
    state: OwnedFd,
    /// `None` where the NIC is gone, or another version made the maps.
    maps: Option<NicMaps>,
    kept: Option<Kept>,
}

/// What `STATE` keeps of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub generation: u64,
    pub metadata: Metadata,
    /// For each of the metadata's `counted`: what its counter stood at when it was assigned.
    pub begun: Vec<Count>,
}

/// Packets and bytes.
pub type Count = (u64, u64);

/// Makes the map that says what a NIC has.
pub fn create_state() -> io::Result<OwnedFd> {
    bpf::create_map(kind::ARRAY, STATE_BYTES, STATE_PLACES, 0, STATE)
}

/// Writes down what is about to be put in force.
pub fn keep(state: &OwnedFd, kept: &Kept) -> io::Result<()> {
    let body = postcard::to_stdvec(kept).map_err(io::Error::other)?;
    let mut place = Vec::with_capacity(STATE_BYTES);
    place.extend(LAYOUT.to_ne_bytes());
    place.extend((body.len() as u32).to_ne_bytes());
    place.extend(body);
    if place.len() > STATE_BYTES {
        return Err(io::Error::other("the names are too long"));
    }
    place.resize(STATE_BYTES, 0);
    bpf::update(state, place_of(kept.generation), &place)
}

fn place_of(generation: u64) -> u32 {
    (generation % u64::from(STATE_PLACES)) as u32
}

fn kept_in(state: &OwnedFd, place: u32) -> io::Result<Option<Kept>> {
    let mut bytes = vec![0; STATE_BYTES];
    bpf::lookup(state, place, &mut bytes)?;
    let (header, body) = bytes.split_at(STATE_HEADER);
    if header[..4] != LAYOUT.to_ne_bytes() {
        return Ok(None);
    }
    let length = header[4..].try_into().map_or(0, u32::from_ne_bytes) as usize;
    Ok(body.get(..length).and_then(|body| postcard::from_bytes(body).ok()))
}

impl Nic {
    /// Opens what belongs to the attached program; `None` where it does not run on a NIC.
    pub fn open(directory: &Path, program_id: u32) -> Result<Option<Self>> {
        let state = match bpf::open_pin(&directory.join(STATE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context("open what is known of the NIC")?,
        };
        // Something else may be pinned under that name, by hand.
        let info = bpf::map_info(&state).context("look at what is known of the NIC")?;
        if (info.signature.kind, info.signature.value_size as usize) != (kind::ARRAY, STATE_BYTES)
            || info.max_entries != STATE_PLACES
        {
            return Ok(None);
        }
        // With the NIC, its program and its maps are gone: they have no ids any more.
        let maps = match maps_of(program_id) {
            Err(error) if is_gone(&error) => None,
            other => other.context("open the NIC's maps")?,
        };
        let mut nic = Self { state, maps, kept: None };
        nic.kept = nic.read_kept()?;
        Ok(Some(nic))
    }

    /// What is kept of the ruleset in force or, where the NIC is gone, of the last one.
    fn read_kept(&self) -> Result<Option<Kept>> {
        let what = "read what is known of the NIC";
        let generation = match &self.maps {
            Some(maps) => match selector(maps) {
                Err(error) if is_gone(&error) => None,
                other => Some(other.context(what)?.generation),
            },
            None => None,
        };
        let Some(generation) = generation else {
            let mut last: Option<Kept> = None;
            for place in 0..STATE_PLACES {
                let kept = kept_in(&self.state, place).context(what)?;
                if kept.as_ref().map(|k| k.generation) > last.as_ref().map(|k| k.generation) {
                    last = kept;
                }
            }
            return Ok(last);
        };
        let kept = kept_in(&self.state, place_of(generation)).context(what)?;
        Ok(kept.filter(|kept| kept.generation == generation))
    }

    /// The ruleset in force, if this version can read it.
    pub fn in_force(&self) -> Option<InForce> {
        self.kept.as_ref().map(Kept::in_force)
    }

    /// The same, read again.
    pub fn in_force_now(&self) -> Result<Option<InForce>> {
        Ok(self.read_kept()?.as_ref().map(Kept::in_force))
    }

    /// The maps and what is kept of the ruleset in force, if this version can read them.
    pub fn readable(&self) -> Option<(&NicMaps, &Kept)> {
        Some((self.maps.as_ref()?, self.kept.as_ref()?))
    }

    pub fn state(&self) -> &OwnedFd {
        &self.state
    }

    /// All counters, at one ruleset; `None` where this version cannot read them.
    pub fn read(&self) -> Result<Option<Reading>> {
        let Some(maps) = &self.maps else { return Ok(None) };
        for _ in 0..100 {
            // Its place may just be written anew, by the second reload since the selector was read.
            let Some(kept) = self.read_kept()? else { continue };
            let counters = counters(maps).context("read the NIC's counters")?;
            let after = selector(maps).context("look at the ruleset in force")?;
            if after.generation == kept.generation {
                return Ok(Some(reading(&kept, &counters)));
            }
        }
        Ok(None)
    }

    /// Bytes that the maps take. A NIC does not say, so its maps are reckoned by the size and
    /// number of their elements.
    pub fn map_bytes(&self) -> u64 {
        let on_nic = self.maps.iter().flat_map(NicMaps::all).filter_map(|map| {
            let info = bpf::map_info(map).ok()?;
            let element = info.signature.key_size.next_multiple_of(8)
                + info.signature.value_size.next_multiple_of(8);
            Some(u64::from(element) * u64::from(info.max_entries))
        });
        on_nic.sum::<u64>() + memory(&self.state).unwrap_or_default()
    }
}

impl Kept {
    fn in_force(&self) -> InForce {
        let (generation, metadata) = (self.generation, self.metadata.clone());
        InForce { map_id: 0, generation, rules: 0, needs: Needs::NONE, metadata }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// A program's maps, by their names.
fn maps_of(program_id: u32) -> io::Result<Option<NicMaps>> {
    let info = bpf::program_info(bpf::program_by_id(program_id)?)?;
    let mut found = [const { None }; MAPS.len()];
    for id in info.map_ids {
        let map = bpf::map_by_id(id)?;
        let name = bpf::map_info(&map)?.name;
        if let Some(place) = MAPS.into_iter().position(|wanted| wanted == name) {
            found[place] = Some(map);
        }
    }
    let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] = found else { return Ok(None) };
    let maps = NicMaps::of([a, b, c, d, e, f]);
    let sized = |map: &OwnedFd, size| {
        io::Result::Ok(bpf::map_info(map)?.signature.value_size as usize == size)
    };
    let same = sized(&maps.selector, size_of::<Selector>())?
        && sized(&maps.counters, size_of::<[Counter; COUNTERS]>())?;
    Ok(same.then_some(maps))
}

fn selector(maps: &NicMaps) -> io::Result<Selector> {
    let mut bytes = [0; size_of::<Selector>()];
    bpf::lookup(&maps.selector, 0, &mut bytes)?;
    let [flags, zero, low, high] = words(&bytes);
    let generation = u64::from(low) | u64::from(high) << 32;
    Ok(Selector { flags, zero, generation })
}

fn words(bytes: &[u8; 16]) -> [u32; 4] {
    std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| bytes[4 * at + byte])))
}

/// Every counter on the NIC.
pub fn counters(maps: &NicMaps) -> io::Result<[Count; COUNTERS]> {
    let mut bytes = [0; size_of::<[Counter; COUNTERS]>()];
    bpf::lookup(&maps.counters, 0, &mut bytes)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
    Ok(std::array::from_fn(|at| (word(2 * at), word(2 * at + 1))))
}

/// Sets every counter to 0, before the program runs: one that runs would write in between.
pub fn clear(maps: &NicMaps) -> io::Result<()> {
    bpf::update(&maps.counters, 0, &[0; size_of::<[Counter; COUNTERS]>()])
}

/// The counter of a list, by its number.
pub fn of_list(counters: &[Count; COUNTERS], number: u32) -> Count {
    counters.get(OUTCOMES.len() + number as usize).copied().unwrap_or_default()
}

fn reading(kept: &Kept, counters: &[Count; COUNTERS]) -> Reading {
    let mut matrix = Matrix { cells: [Counter::default(); CELLS] };
    for ((verdict, reason), (packets, bytes)) in OUTCOMES.into_iter().zip(counters) {
        matrix.cells[Matrix::cell(verdict, reason)] = Counter { packets: *packets, bytes: *bytes };
    }
    let counted = kept.metadata.counted.iter().zip(&kept.begun).map(|(counted, begun)| {
        let (packets, bytes) = of_list(counters, counted.number);
        let own =
            Counter { packets: packets.wrapping_sub(begun.0), bytes: bytes.wrapping_sub(begun.1) };
        RuleCounters { own, ..RuleCounters::default() }
    });
    Reading {
        in_force: kept.in_force(),
        matrix,
        counted: counted.collect(),
        unreadable: Default::default(),
    }
}

/// The bank of a generation, 0 or 1.
fn bank(generation: u64) -> usize {
    (generation % 2) as usize
}

/// Fills the bank of a generation that is not in force.
pub fn fill(maps: &NicMaps, generation: u64, tables: &NicTables) -> io::Result<()> {
    let v4 = tables.v4.iter().map(|(address, value)| (address.to_le_bytes(), *value)).collect();
    elements::fill::<4>(&maps.v4[bank(generation)], &v4)?;
    let v6 = tables.v6.iter().map(|([high, low], value)| {
        let address = u128::from(*high) | u128::from(*low) << 64;
        (address.to_le_bytes(), *value)
    });
    elements::fill::<16>(&maps.v6[bank(generation)], &v6.collect())
}

/// Puts in force a generation whose bank was filled.
pub fn select(maps: &NicMaps, generation: u64, tables: &NicTables) -> io::Result<()> {
    let bank = if bank(generation) == 1 { flag::SECOND_BANK } else { 0 };
    let words = u128::from(tables.flags | bank) | u128::from(generation) << 64;
    bpf::update(&maps.selector, 0, &words.to_le_bytes())
}

/// How many addresses of a family a NIC takes.
pub fn capacity(maps: &NicMaps) -> io::Result<usize> {
    let hashes = maps.v4.iter().chain(&maps.v6);
    let entries = hashes.map(|map| Ok(bpf::map_info(map.as_fd())?.max_entries as usize));
    entries.collect::<io::Result<Vec<_>>>().map(|entries| entries.into_iter().min().unwrap_or(0))
}
