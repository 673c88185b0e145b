//! What a reload costs: bytes of memory that the maps take before it, during it and after it,
//! reckoned before anything is changed.

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::capacity::{
    CAUGHT_SLOTS, CONNECTION_SLOTS, COUNTER_PAGES, LIMIT_SLOTS, SENT_SLOTS, STATE_SLOTS,
};
use xdp_common::filter::caught::COUNTER_PAGES as COUNTER_PAGES_OF_CAUGHT;
use xdp_common::image::{Block, EXTENT_BLOCKS, flag};
use xdp_common::maps::{COUNTER_PAGE, ENTRY_COUNTER_PAGE, MEMORY, MapDefinition};

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::change::egress;
use crate::datapath::change::kernel::{PreparedKernel, used_pages};
use crate::datapath::change::reload::Prepared;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::counters::inner_id;
use crate::datapath::maps::dynamic::{caught, slots};
use crate::datapath::maps::handles::{self, Maps, memory};
use crate::datapath::maps::{image, states};
use crate::datapath::sys::bpf;
use crate::views::difference::MapBytes;

/// Bytes that the maps of an attachment take before, during and after it is given a ruleset.
pub fn map_bytes(attachment: &Attachment, prepared: &Prepared) -> Result<MapBytes> {
    let before = attachment.map_bytes()?;
    match prepared {
        // A NIC has room for both banks from the beginning.
        Prepared::Nic(_) => Ok(MapBytes { before, meanwhile: before, after: before }),
        Prepared::Kernel(prepared) => {
            let (maps, _) = attachment.readable()?;
            in_kernel(before, maps, prepared).context("tell how much memory the ruleset takes")
        }
    }
}

fn in_kernel(before: u64, maps: &Maps, prepared: &PreparedKernel) -> io::Result<MapBytes> {
    let extents = image::ids(&maps.ruleset)?;
    // All extents have the same size.
    let extent = match extents.first() {
        Some(id) => bytes_of(*id)?,
        None => (EXTENT_BLOCKS * size_of::<Block>()) as u64,
    };
    let used = used_pages(&prepared.metadata);
    let mut pages: u64 = 0;
    let mut kept: u64 = 0;
    let mut page = None;
    for number in 0..COUNTER_PAGES {
        let Some(id) = inner_id(&maps.rule_counters, number)? else { continue };
        pages += 1;
        kept += u64::from(used.contains(&number));
        if page.is_none() {
            page = Some(bytes_of(id)?);
        }
    }
    let page = match page {
        Some(bytes) => bytes,
        None => measured(COUNTER_PAGE)?,
    };
    let fresh = (used.len() as u64 - kept) * page;
    let blocks = prepared.image.blocks();
    // What both images have is there once.
    let same = image::kept(&maps.ruleset, blocks) as u64;
    let image = (blocks.len().div_ceil(EXTENT_BLOCKS) as u64 - same) * extent;
    let mut meanwhile = before + fresh + image;
    let mut given_back =
        (extents.len() as u64).saturating_sub(same) * extent + (pages - kept) * page;
    for kind in beside(maps, prepared)? {
        let most = kind.there.max(kind.wanted);
        meanwhile += u64::from(most - kind.there) * kind.bytes;
        given_back += u64::from(most - kind.wanted.max(kind.stay)) * kind.bytes;
    }
    Ok(MapBytes { before, meanwhile, after: meanwhile.saturating_sub(given_back) })
}

/// Maps of one kind beside the image, which come with a ruleset and go with one.
struct Kind {
    there: u32,
    /// How many the ruleset needs, and how many of those that are there stay even if it needs none.
    wanted: u32,
    stay: u32,
    /// Bytes of each; 0 where there is none and none is wanted.
    bytes: u64,
}

impl Kind {
    /// Those in slots of `outer`, of which the ruleset needs so many.
    fn new(outer: &OwnedFd, slots: u32, wanted: u32, shape: MapDefinition) -> io::Result<Self> {
        let (mut there, mut bytes) = (0, 0);
        for slot in 0..slots {
            if let Some(map) = slots::get(outer, slot)? {
                there += 1;
                bytes = memory(&map)?;
            }
        }
        if there == 0 && wanted > 0 {
            bytes = measured(shape)?;
        }
        Ok(Self { there, wanted, stay: 0, bytes })
    }

    /// The same where those that are there stay, if that is so.
    fn staying(self, stays: bool) -> Self {
        Self { stay: if stays { self.there } else { 0 }, ..self }
    }
}

fn beside(maps: &Maps, prepared: &PreparedKernel) -> io::Result<[Kind; 6]> {
    let header = prepared.image.header();
    let (states, connections) = match &prepared.services {
        Some(needs) => (states::word_slots(needs), states::slots_of(needs.lines)),
        None => (0, 0),
    };
    // Nobody who is blocked is let go.
    let is_held = caught::is_held(maps)?;
    let pages = COUNTER_PAGES_OF_CAUGHT as u32;
    let all = |slots: u32, is_wanted: bool| if is_wanted { slots } else { 0 };
    let limits = all(LIMIT_SLOTS, header.has(flag::LIMITS));
    let sent = all(SENT_SLOTS, egress::is_needed(prepared.needs()));
    let catches = header.has(flag::CATCHES);
    let (caught, counters) = (all(CAUGHT_SLOTS, catches), all(pages, catches));
    Ok([
        Kind::new(&maps.limits, LIMIT_SLOTS, limits, MEMORY)?,
        Kind::new(&maps.sent, SENT_SLOTS, sent, MEMORY)?,
        Kind::new(&maps.backend_states, STATE_SLOTS, states, MEMORY)?.staying(states > 0),
        Kind::new(&maps.connections, CONNECTION_SLOTS, connections, MEMORY)?,
        Kind::new(&maps.caught, CAUGHT_SLOTS, caught, MEMORY)?.staying(is_held),
        Kind::new(&maps.caught_counters, pages, counters, ENTRY_COUNTER_PAGE)?.staying(is_held),
    ])
}

/// Bytes of a map of which there is none yet: one is made for that, since only the kernel knows what it adds.
fn measured(shape: MapDefinition) -> io::Result<u64> {
    memory(&handles::create(shape, "xdpctl_measured")?)
}

fn bytes_of(id: u32) -> io::Result<u64> {
    match bpf::map_by_id(id) {
        // Another command has just released it: then this ruleset will be prepared anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        map => memory(&map?),
    }
}
