//! All maps of the program, each with who writes and who reads it. `xdpctl` finds them by these
//! names, so a name that changes needs a new `xdp_common::image::LAYOUT`.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::macros::btf_map;
use xdp_common::bans::{Filter, Switches, Value};
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

/// BPF_F_MMAPABLE: written through memory.
pub const MEMORY_FLAGS: usize = 0x400;
/// BPF_F_NO_PREALLOC: a table takes memory for the entries that it has.
pub const TABLE_FLAGS: usize = 0x1;

/// Whether there are entries of run time, and how their filters are asked. Written by the command
/// line, read by the program once an IP packet.
#[btf_map]
pub static SWITCHES: Array<Switches, 1, MEMORY_FLAGS> = Array::new();

/// A filter in front of a table; see `xdp_common::bans`.
pub type FilterMap = Array<Filter, 1, MEMORY_FLAGS>;

/// The filters, by the tables' numbers. Like the tables below, each is made by the command line
/// with the first entry and taken away with the last. Written by the command line through memory,
/// read by the program.
#[btf_map]
pub static BAN_FILTERS: ArrayOfMaps<FilterMap, 4> = ArrayOfMaps::new();

/// Single addresses. Written by the command line, read by the program. Inner maps may have any
/// number of entries, so the number here is of none.
pub type HostsV4 = HashMap<u32, Value, 1, TABLE_FLAGS>;
pub type HostsV6 = HashMap<[u64; 2], Value, 1, TABLE_FLAGS>;

#[btf_map]
pub static BAN_HOSTS_V4: ArrayOfMaps<HostsV4, 1> = ArrayOfMaps::new();
#[btf_map]
pub static BAN_HOSTS_V6: ArrayOfMaps<HostsV6, 1> = ArrayOfMaps::new();

/// Shorter prefixes, in network order. Written by the command line, read by the program.
pub type PrefixesV4 = LpmTrie<[u8; 4], Value, 1, TABLE_FLAGS>;
pub type PrefixesV6 = LpmTrie<[u8; 16], Value, 1, TABLE_FLAGS>;

#[btf_map]
pub static BAN_PREFIXES_V4: ArrayOfMaps<PrefixesV4, 1> = ArrayOfMaps::new();
#[btf_map]
pub static BAN_PREFIXES_V6: ArrayOfMaps<PrefixesV6, 1> = ArrayOfMaps::new();
