//! All maps of the program, each with who writes and who reads it. `xdpctl` finds them by these
//! names, so a name that changes needs a new `xdp_common::image::LAYOUT`.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use xdp_common::counter::{COUNTER_PAGES, COUNTERS_PER_PAGE};
use xdp_common::cpu::PerCpu;
use xdp_common::image::{EXTENT_SLOTS, Extent, REDIRECT_SLOTS};

/// BPF_F_MMAPABLE: written through memory.
pub const EXTENT_FLAGS: usize = 0x400;

/// A part of an image: made and written by the command line before the image is put in force, never
/// afterwards.
pub type ExtentMap = Array<Extent, 1, EXTENT_FLAGS>;

/// The ruleset in force: its first extent in slot 0, the others where that one says. The command
/// line writes the others first and then slot 0, which the program reads once a packet.
#[btf_map]
pub static RULESET: ArrayOfMaps<ExtentMap, EXTENT_SLOTS> = ArrayOfMaps::new();

/// Interfaces to redirect to, by the slots in rule actions. Written by the command line, in the
/// half that the ruleset in force does not use.
#[btf_map]
pub static REDIRECTS: DevMap<{ REDIRECT_SLOTS as usize }> = DevMap::new();

/// Every packet, by verdict and reason: added to by the program, read by the command line. Behind
/// that, where a CPU works on a packet: nobody else looks at it.
#[btf_map]
pub static COUNTERS: PerCpuArray<PerCpu, 1> = PerCpuArray::new();

/// A page of counters; as an array, for inner maps' values must not be structures on Linux 6.1.
pub type CounterPage = PerCpuArray<[u64; 2], { COUNTERS_PER_PAGE as usize }>;

/// Counters of lists and rules, in pages that the command line adds as rulesets need them. Added
/// to by the program, read and, before a counter's first use, zeroed by the command line.
#[btf_map]
pub static RULE_COUNTERS: ArrayOfMaps<CounterPage, { COUNTER_PAGES as usize }> = ArrayOfMaps::new();
