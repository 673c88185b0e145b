//! What a reload costs: bytes of memory that the maps take before it, during it and after it,
//! reckoned before anything is changed.

use std::io;

use xdp_common::capacity::{COUNTER_PAGES, COUNTERS_PER_PAGE, SENT_SLOTS};
use xdp_common::image::{Block, EXTENT_BLOCKS};
use xdp_common::maps::COUNTER_PAGE;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::change::egress;
use crate::datapath::change::kernel::{PreparedKernel, used_pages};
use crate::datapath::change::reload::Prepared;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::counters::inner_id;
use crate::datapath::maps::handles::{Maps, memory};
use crate::datapath::maps::{image, sent};
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
        // There is no page yet: it takes what it holds, and a pointer for each counter
        // (`array_map_mem_usage`, kernel/bpf/arraymap.c).
        None => {
            let shares =
                bpf::possible_cpus()? as u64 * u64::from(COUNTER_PAGE.signature.value_size);
            u64::from(COUNTERS_PER_PAGE) * (shares + size_of::<u64>() as u64)
        }
    };
    let fresh = (used.len() as u64 - kept) * page;
    let blocks = prepared.image.blocks();
    // What both images have is there once.
    let same = image::kept(&maps.ruleset, blocks) as u64;
    let image = (blocks.len().div_ceil(EXTENT_BLOCKS) as u64 - same) * extent;
    // What is sent is noted in maps of the same shape.
    let noted = u64::from(SENT_SLOTS) * extent;
    let (is_noted, is_to_be) = (sent::is_there(maps)?, egress::is_needed(prepared.needs()));
    let more = if is_to_be && !is_noted { noted } else { 0 };
    let less = if is_noted && !is_to_be { noted } else { 0 };
    let meanwhile = before + fresh + image + more;
    let given_back =
        (extents.len() as u64).saturating_sub(same) * extent + (pages - kept) * page + less;
    Ok(MapBytes { before, meanwhile, after: meanwhile.saturating_sub(given_back) })
}

fn bytes_of(id: u32) -> io::Result<u64> {
    match bpf::map_by_id(id) {
        // Another command has just released it: then this ruleset will be prepared anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        map => memory(&map?),
    }
}
