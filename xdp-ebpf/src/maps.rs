//! All maps of the program, each with who writes and who reads it. `xdpctl` finds them by these
//! names, so a name that changes needs a new `xdp_common::image::LAYOUT`.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use xdp_common::counter::{COUNTER_PAGES, COUNTERS_PER_PAGE, Matrix};
use xdp_common::image::{Extent, REDIRECT_SLOTS};
use xdp_common::judge::Desk;

/// BPF_F_MMAPABLE | BPF_F_INNER_MAP: written through memory, and of any size in the outer map.
pub const IMAGE_FLAGS: usize = 0x1400;

/// An image: made and written by the command line before it is put in force, never afterwards.
pub type ImageMap = Array<Extent, 1, IMAGE_FLAGS>;

/// The ruleset in force, in its only element. The command line exchanges it; the program reads it
/// once a packet.
#[btf_map]
pub static RULESET: ArrayOfMaps<ImageMap, 1> = ArrayOfMaps::new();

/// Interfaces to redirect to, by the slots in rule actions. Written by the command line, in the
/// half that the ruleset in force does not use.
#[btf_map]
pub static REDIRECTS: DevMap<{ REDIRECT_SLOTS as usize }> = DevMap::new();

/// Every packet, by verdict and reason. Added to by the program, read by the command line.
#[btf_map]
pub static COUNTERS: PerCpuArray<Matrix, 1> = PerCpuArray::new();

/// A page of counters; as an array, for inner maps' values must not be structures on Linux 6.1.
pub type CounterPage = PerCpuArray<[u64; 2], { COUNTERS_PER_PAGE as usize }>;

/// Counters of lists and rules, in pages that the command line adds as rulesets need them. Added
/// to by the program, read and, before a counter's first use, zeroed by the command line.
#[btf_map]
pub static RULE_COUNTERS: ArrayOfMaps<CounterPage, { COUNTER_PAGES as usize }> = ArrayOfMaps::new();

/// Where a CPU works on a packet. Nobody else looks at it.
#[btf_map]
pub static DESK: PerCpuArray<Desk, 1> = PerCpuArray::new();
