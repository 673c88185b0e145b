//! An interface with the program on it: opened from its pins, read, given another ruleset, and
//! taken off.
//!
//! The pinned link is the truth. It holds the program, and the program holds its maps, so they are
//! found through it; that they are pinned too is for people and for other tools. A directory of
//! pins without a link is what an interrupted command left.

use std::fs;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use xdp_common::capacity::{COUNTER_PAGES, COUNTERS_PER_PAGE, MAX_COUNTERS};
use xdp_common::capacity::{MAX_REDIRECTS, REDIRECT_SLOTS};
use xdp_common::counter::{CELLS, Counter, Matrix};
use xdp_common::cpu::PerCpu;
use xdp_common::image::{Block, Header, LAYOUT, Lines, MAGIC};
use xdp_common::maps::COUNTER_PAGE;

use super::bans;
use super::error::{Error, Result, Trying};
use super::image_map::{self, Mapped};
use super::interface::Interface;
use super::maps::{self, Maps};
use super::offload::Card;
use super::{bpf, private_dir};
use crate::image::metadata::Metadata;
use xdp_common::capacity::{MAX_LISTS, MAX_RULES};

/// The link's pin: while it is there, the interface is attached.
pub const LINK: &str = "link";
/// The program's pin.
pub const PROGRAM: &str = "program";

/// What stands in a directory of pins.
pub enum Found {
    Attached(Box<Attachment>),
    /// No link: nothing is attached.
    Leftover,
}

/// An attached interface.
pub struct Attachment {
    directory: PathBuf,
    link: OwnedFd,
    info: bpf::XdpLink,
    maps: Option<Maps>,
    /// In offload mode, with maps of its own.
    card: Option<Card>,
    /// `None` where another version's layout keeps it from being read.
    in_force: Option<InForce>,
}

/// The ruleset in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The image's map, to see whether it is still the same later.
    pub map_id: u32,
    pub generation: u64,
    pub rules: u32,
    pub metadata: Metadata,
}

impl InForce {
    /// What an image says of itself; `None` where this version cannot have made it. Nothing in it is
    /// taken on trust: it may be another version's, or anybody's who may write to the kernel's maps.
    pub fn of(map_id: u32, image: &impl Lines) -> Option<Self> {
        let header = Header::of(image.block(0)?);
        // The last generation could have none after it.
        let counts = (1..u64::MAX).contains(&header.generation);
        if header.magic != MAGIC || header.layout != LAYOUT || !counts {
            return None;
        }
        let length = header.metadata_bytes as usize;
        let blocks = length.div_ceil(size_of::<Block>()) as u32;
        let end = header.metadata.checked_add(blocks)?;
        if end > header.blocks {
            return None;
        }
        let mut bytes = Vec::new();
        for number in header.metadata..end {
            let block = image.block(number)?;
            bytes.extend(block.iter().flat_map(|word| word.to_ne_bytes()));
        }
        bytes.truncate(length);
        let metadata = postcard::from_bytes(&bytes).ok().filter(is_possible)?;
        Some(Self { map_id, generation: header.generation, rules: header.rules, metadata })
    }
}

/// Whether a ruleset can have such metadata: what is read and given by its numbers is as much as
/// they say.
fn is_possible(metadata: &Metadata) -> bool {
    let mut numbers = metadata.counted.iter().flat_map(|c| [Some(c.number), c.lost]).flatten();
    let mut slots = metadata.redirects.iter().map(|redirect| redirect.slot);
    metadata.counted.len() <= MAX_LISTS + MAX_RULES
        && numbers.all(|number| number < MAX_COUNTERS)
        && metadata.redirects.len() <= MAX_REDIRECTS as usize
        && slots.all(|slot| slot < REDIRECT_SLOTS)
}

/// One reading of an attachment's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub in_force: InForce,
    pub matrix: Matrix,
    /// For each of the metadata's `counted`: its counter, and that of what was lost.
    pub counted: Vec<(Counter, Option<Counter>)>,
}

impl Attachment {
    /// Opens what is pinned in `directory`.
    pub fn open(directory: &Path) -> Result<Found> {
        let pin = directory.join(LINK);
        match fs::symlink_metadata(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Leftover),
            Err(error) => return Err(error).trying("look at the pinned link"),
            Ok(metadata) => private_dir::judge_file(&pin, &metadata)?,
        }
        let link = match bpf::open_pin(&pin) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Leftover),
            Err(error) => return Err(error).trying("open the pinned link"),
        };
        let what = format!("use {}", pin.display());
        // Something else may be pinned under that name, by hand: nothing to be trusted.
        let mut info = match bpf::link_info(&link) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::new(format!("cannot {what}: {error}")).hint(format!(
                    "xdpctl did not put it there: see who did, and remove it (`rm {}`)",
                    pin.display()
                )));
            }
            other => other.trying(&what)?,
        };
        if let Some(card) = Card::open(directory, info.program_id)? {
            let (directory, in_force) = (directory.to_owned(), card.in_force());
            let attached = Self { directory, link, info, maps: None, card: Some(card), in_force };
            return Ok(Found::Attached(Box::new(attached)));
        }
        // The program may be exchanged, and gone, between asking for its id and opening it.
        let maps = loop {
            match Maps::of_program(info.program_id) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let now = bpf::link_info(&link).trying(&what)?;
                    if now == info {
                        return Err(error).trying("open the attached program's maps");
                    }
                    info = now;
                }
                other => break other.trying("open the attached program's maps")?,
            }
        };
        let in_force = match &maps {
            Some(maps) => read_in_force(maps)?,
            None => None,
        };
        let directory = directory.to_owned();
        Ok(Found::Attached(Box::new(Self { directory, link, info, maps, card: None, in_force })))
    }

    /// The number that the directory of its pins is named by: the interface's index when it was
    /// attached.
    pub fn key(&self) -> u32 {
        self.directory.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
    }

    /// The interface's index now; `None` where it is gone.
    pub fn ifindex(&self) -> Option<u32> {
        (self.info.ifindex != 0).then_some(self.info.ifindex)
    }

    /// The interface as it is now; `None` where it is gone.
    pub fn interface(&self) -> Option<Interface> {
        Interface::by_index(self.ifindex()?).ok()
    }

    /// Why it judges nothing: its link is on no interface any more.
    pub fn stranded(&self) -> Option<Error> {
        if self.info.ifindex != 0 {
            return None;
        }
        let name = self.name();
        Some(if self.left().is_some() {
            Error::new(format!("xdpctl's program is not on {name} any more"))
                .hint(format!("`xdpctl detach {name}`, then attach"))
        } else {
            Error::new(format!("{name} is gone"))
                .hint(format!("`xdpctl detach {name}` removes what is left of it"))
        })
    }

    /// The interface that the program was on, if that is still there but the link is on none: then
    /// somebody took it off by other means.
    pub fn left(&self) -> Option<Interface> {
        if self.info.ifindex != 0 {
            return None;
        }
        let there = Interface::by_index(self.key()).ok()?;
        (self.attached_as() == Some(there.name.as_str())).then_some(there)
    }

    /// The interface's name when it was attached.
    pub fn attached_as(&self) -> Option<&str> {
        self.in_force.as_ref().map(|in_force| in_force.metadata.interface.as_str())
    }

    /// The interface's name now, or the last that is known.
    pub fn name(&self) -> String {
        match (self.interface(), self.attached_as()) {
            (Some(interface), _) => interface.name,
            (None, Some(name)) => name.to_owned(),
            (None, None) => format!("interface index {}", self.key()),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn program_id(&self) -> u32 {
        self.info.program_id
    }

    pub fn link(&self) -> &OwnedFd {
        &self.link
    }

    /// The ruleset in force, if this version can read it.
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The ruleset that is in force now, which may be another than when this was opened.
    pub fn in_force_now(&self) -> Result<InForce> {
        let in_force = match &self.card {
            Some(card) => card.in_force_now()?,
            None => read_in_force(self.readable()?.0)?,
        };
        in_force.ok_or_else(|| self.unreadable())
    }

    /// The maps and the ruleset in force, or an error that says why this version cannot read them,
    /// or why what they are wanted for cannot be done.
    pub fn readable(&self) -> Result<(&Maps, &InForce)> {
        match (&self.maps, &self.in_force) {
            (Some(maps), Some(in_force)) => Ok((maps, in_force)),
            (_, Some(_)) if self.card.is_some() => Err(self.on_card()),
            _ => Err(self.unreadable()),
        }
    }

    /// What is on the card, in offload mode.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Why something cannot be done in offload mode.
    fn on_card(&self) -> Error {
        let name = self.name();
        Error::new(format!(
            "{name} is attached in offload mode, and its card cannot do that: it has a ruleset and \
             counters, and nothing more"
        ))
        .hint(format!(
            "native mode can: `xdpctl detach {name}`, then `xdpctl attach {name} --mode native`"
        ))
    }

    /// Why this version cannot read it.
    pub fn unreadable(&self) -> Error {
        let name = self.name();
        let told = Error::new(format!(
            "the program on {name} was attached by another version of xdpctl, whose maps this one \
             does not know"
        ));
        if self.card.is_some() {
            return told.hint(format!("`xdpctl detach {name}` takes it off"));
        }
        told.hint(format!(
            "`xdpctl attach --replace {name}` puts this version's program in its place without a \
             gap; `xdpctl detach {name}` takes it off"
        ))
    }

    /// Whether there is anything to read: a card's counters go with its interface.
    pub fn has_counters(&self) -> bool {
        self.card.is_none() || self.ifindex().is_some() || self.left().is_some()
    }

    /// All counters, at one ruleset: read again if the ruleset changed meanwhile.
    pub fn read(&self) -> Result<Reading> {
        if let Some(card) = &self.card {
            return match self.stranded() {
                Some(error) if !self.has_counters() => Err(error),
                _ => card.read()?.ok_or_else(|| self.unreadable()),
            };
        }
        let (maps, _) = self.readable()?;
        for _ in 0..100 {
            let Some(in_force) = read_in_force(maps)? else { break };
            let matrix = read_matrix(maps).trying("read the counters")?;
            let counters = read_rule_counters(maps, &in_force.metadata)
                .trying("read the counters of lists and rules")?;
            let after =
                image_map::slot_id(&maps.ruleset, 0).trying("look at the ruleset in force")?;
            if after == Some(in_force.map_id) {
                return Ok(Reading { in_force, matrix, counted: counters });
            }
        }
        Err(self.unreadable())
    }

    /// Bytes of kernel memory that the maps take.
    pub fn map_bytes(&self) -> Result<u64> {
        let Some(maps) = &self.maps else {
            return Ok(self.card.as_ref().map_or(0, Card::map_bytes));
        };
        let sum = || -> io::Result<u64> {
            let mut ids = image_map::ids(&maps.ruleset)?;
            for page in 0..COUNTER_PAGES {
                ids.extend(inner_id(&maps.rule_counters, page)?);
            }
            let mut sum = 0;
            for (_, map) in maps.iter() {
                sum += memory(map)?;
            }
            for map in bans::lent(maps)? {
                sum += memory(&map)?;
            }
            for id in ids {
                sum += match bpf::map_by_id(id) {
                    // Given back in this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    map => memory(&map?)?,
                };
            }
            Ok(sum)
        };
        sum().trying("tell how much memory the maps take")
    }
}

/// The id of an inner map.
fn inner_id(outer: &OwnedFd, key: u32) -> io::Result<Option<u32>> {
    let mut id = [0; 4];
    Ok(bpf::lookup(outer, key, &mut id)?.map(|()| u32::from_ne_bytes(id)))
}

/// What a map takes, by its own account: `memlock` in proc_pid_fdinfo(5).
pub(super) fn memory(map: &OwnedFd) -> io::Result<u64> {
    use std::os::fd::AsRawFd;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.and_then(|line| line.trim().parse().ok()).unwrap_or(0))
}

/// The ruleset in force; `None` where it is of a layout that this version does not know.
fn read_in_force(maps: &Maps) -> Result<Option<InForce>> {
    let what = "read the ruleset in force";
    let image = match Mapped::in_force(&maps.ruleset) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        other => other.trying(what)?,
    };
    Ok(image.and_then(|image| InForce::of(image.id, &image)))
}

/// Adds up what the CPUs counted: `count` counters from each CPU's share.
fn sum(values: &[u8], count: usize, into: &mut [Counter]) {
    const WORD: usize = 8;
    for share in values.chunks_exact(count * size_of::<Counter>()) {
        for (total, counter) in into.iter_mut().zip(share.chunks_exact(2 * WORD)) {
            let (packets, bytes) = counter.split_at(WORD);
            let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
            total.packets += number(packets);
            total.bytes += number(bytes);
        }
    }
}

fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

fn read_matrix(maps: &Maps) -> io::Result<Matrix> {
    let mut matrix = Matrix { cells: [Counter::default(); CELLS] };
    let mut values = vec![0; possible_cpus()? * size_of::<PerCpu>()];
    bpf::lookup(&maps.counters, 0, &mut values)?;
    for cpu in values.chunks_exact(size_of::<PerCpu>()) {
        let at = offset_of!(PerCpu, matrix);
        sum(&cpu[at..at + size_of::<Matrix>()], CELLS, &mut matrix.cells);
    }
    Ok(matrix)
}

fn read_rule_counters(
    maps: &Maps,
    metadata: &Metadata,
) -> io::Result<Vec<(Counter, Option<Counter>)>> {
    let numbers = metadata.counted.iter().flat_map(|c| [Some(c.number), c.lost]).flatten();
    let Some(last) = numbers.max() else { return Ok(Vec::new()) };
    let pages = last / COUNTERS_PER_PAGE + 1;
    let mut counters = vec![Counter::default(); (pages * COUNTERS_PER_PAGE) as usize];
    let one = possible_cpus()? * size_of::<Counter>();
    let mut values = vec![0; one * COUNTERS_PER_PAGE as usize];
    for (page, totals) in (0..pages).zip(counters.chunks_exact_mut(COUNTERS_PER_PAGE as usize)) {
        let Some(id) = inner_id(&maps.rule_counters, page)? else { continue };
        let map = maps::open(id, COUNTER_PAGE)?;
        bpf::lookup_batch(map, COUNTERS_PER_PAGE, &mut values)?;
        for (total, shares) in totals.iter_mut().zip(values.chunks_exact(one)) {
            sum(shares, 1, std::slice::from_mut(total));
        }
    }
    let counter = |number: u32| counters.get(number as usize).copied().unwrap_or_default();
    Ok(metadata
        .counted
        .iter()
        .map(|counted| (counter(counted.number), counted.lost.map(counter)))
        .collect())
}
