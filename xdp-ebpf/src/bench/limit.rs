//! The least that a limit for each source could do: hash the source, read one of as many words as limits have, in the
//! same kind of map, and write it in one step. No rule is looked for, no clock is asked, and no source is told from
//! another in its line.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use xdp_common::capacity::{LIMIT_LINES, LIMIT_SLOTS, LINES_PER_LIMIT_SLOT};
use xdp_common::filter::limits::Cells;
use xdp_common::filter::tracking::Memory;
use xdp_common::image::LINE_WORDS;
use xdp_common::lookup::services::mix;
use xdp_common::maps::map_flag;
use xdp_common::verifier::black_box;

use crate::prototype::{count, source};

/// Mebibytes, as limits have them without their last slot. Made by the benchmark.
#[btf_map]
static LIMIT_MEMORY: ArrayOfMaps<
    Array<Memory, 1, { map_flag::MMAPABLE as usize }>,
    { LIMIT_SLOTS as usize - 1 },
> = ArrayOfMaps::new();

#[xdp(frags)]
pub fn bench_limit(ctx: XdpContext) -> u32 {
    let Some(()) = source(&ctx).and_then(take).and_then(|()| count(false)) else {
        return xdp_action::XDP_ABORTED;
    };
    xdp_action::XDP_DROP
}

#[inline(always)]
fn take(source: u32) -> Option<()> {
    let hash = mix(mix(0, source.into(), SECRET), 0, !SECRET);
    let number = (hash >> 32) as u32 & (LIMIT_LINES - 1);
    let memory = LIMIT_MEMORY.get(number / LINES_PER_LIMIT_SLOT)?.get(0)?;
    let line = black_box(number.into()) as usize & (LINES_PER_LIMIT_SLOT as usize - 1);
    // SAFETY: masked to the map's lines. Words are written whole, and any bits are a line.
    let cells = unsafe { &*memory.as_ptr().add(line * LINE_WORDS).cast::<Cells>() };
    let cell = &cells[black_box(hash) as usize % LINE_WORDS];
    if cell.load() != u64::MAX {
        cell.add(1);
    }
    Some(())
}

const SECRET: u64 = 0x243f_6a88_85a3_08d3;
