//! What is in force: the ruleset, by what its image says of itself, and the counters beside it.

use std::io;
use std::time::Duration;

use xdp_common::capacity::{
    MAX_COUNTERS, MAX_LISTS, MAX_REDIRECTS, MAX_RULES, MAX_SERVICES, REDIRECT_SLOTS,
};
use xdp_common::image::{Block, Header, LAYOUT, Lines, MAGIC};
use xdp_common::packet::dns::Unreadable;
use xdp_common::stages::Needs;
use xdp_common::stats::counter::{Counter, Matrix};

use crate::datapath::error::{Context, Result};
use crate::datapath::maps::counters::RuleCounters;
use crate::datapath::maps::handles::Maps;
use crate::datapath::maps::image::{Current, Mapped, Standing};
use crate::image::metadata::Metadata;

/// The ruleset in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Id of the image's map, to see later whether it is still the same.
    pub map_id: u32,
    pub generation: u64,
    pub rules: u32,
    /// What the filter has to go on with for it.
    pub needs: Needs,
    pub metadata: Metadata,
}

impl InForce {
    /// What an image says of itself; `None` where this version cannot have made it. Nothing in it is
    /// taken on trust: another version may have written it, or anybody who may write to the maps.
    pub fn of(map_id: u32, image: &impl Lines) -> Option<Self> {
        let header = Header::of(image.block(0)?);
        // Generation `u64::MAX` is refused: a reload could not count on from it.
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
        let (generation, rules, needs) = (header.generation, header.rules, Needs::of(header.flags));
        Some(Self { map_id, generation, rules, needs, metadata })
    }
}

/// Whether a ruleset can have such metadata. Counters and redirect slots are found by its numbers,
/// so these have to stay within the maps.
fn is_possible(metadata: &Metadata) -> bool {
    let mut numbers = metadata.counters();
    let mut slots = metadata.redirects.iter().map(|redirect| redirect.slot);
    metadata.counted.len() <= MAX_LISTS + MAX_RULES + MAX_SERVICES
        && numbers.all(|number| number < MAX_COUNTERS)
        && metadata.redirects.len() <= MAX_REDIRECTS as usize
        && slots.all(|slot| slot < REDIRECT_SLOTS)
}

/// One reading of an attachment's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub in_force: InForce,
    pub matrix: Matrix,
    /// For each of the metadata's `counted`.
    pub counted: Vec<RuleCounters>,
    /// DNS messages whose question could not be read, by [`Unreadable`], less 1.
    pub unreadable: [Counter; Unreadable::COUNT],
}

/// A ruleset that is in force for a while, to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// How long it still is, unless it is confirmed; `None` where the time is over.
    pub left: Option<Duration>,
    /// What comes back then; `None` where this version cannot read it. Where the time is over, it is
    /// in force.
    pub before: Option<InForce>,
}

/// Whether the ruleset that was put in force last has to be confirmed; `None` where it stays.
pub fn read_trial(maps: &Maps) -> Result<Option<Trial>> {
    let look = || -> io::Result<Option<Trial>> {
        let left = match Current::of(&maps.ruleset).look()? {
            None | Some((_, Standing::Settled)) => return Ok(None),
            Some((_, Standing::Tried(left))) => Some(left),
            Some((_, Standing::Over)) => None,
        };
        let before = Mapped::before(&maps.ruleset)?;
        Ok(Some(Trial { left, before: before.and_then(|image| InForce::of(image.id, &image)) }))
    };
    match look() {
        // Another version's maps; or another command has just settled it, and nothing stands there.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) =>
        {
            Ok(None)
        }
        other => other.context("see whether the ruleset in force is confirmed"),
    }
}

/// The ruleset in force; `None` where it is of a layout that this version does not know.
pub fn read_in_force(maps: &Maps) -> Result<Option<InForce>> {
    let what = "read the ruleset in force";
    let image = match Mapped::in_force(&maps.ruleset) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        other => other.context(what)?,
    };
    Ok(image.and_then(|image| InForce::of(image.id, &image)))
}
