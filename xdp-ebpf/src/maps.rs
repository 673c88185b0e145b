//! All maps of the program, as `xdp_common::maps` declares them, and the kinds of their inner maps.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, PerCpuArray, ProgramArray};
use aya_ebpf::macros::btf_map;
use xdp_common::capacity::{
    CAUGHT_SLOTS, CONNECTION_SLOTS, COUNTER_PAGES, COUNTERS_PER_PAGE, EXTENT_SLOTS, LIMIT_SLOTS,
    MAX_OWNERS, REDIRECT_SLOTS, SENT_SLOTS, STATE_SLOTS,
};
use xdp_common::filter::caught;
use xdp_common::filter::dynamic::{self, CounterBlock, EntryFilter, Switches, Value};
use xdp_common::filter::tracking::Memory;
use xdp_common::image::Extent;
use xdp_common::maps::{OwnerName, RecordKey, RecordValue, map_flag};
use xdp_common::stages;
use xdp_common::stats::names::Names;
use xdp_common::stats::per_cpu::PerCpu;

/// Flags of maps that the command line maps into its memory.
const MEMORY_FLAGS: usize = map_flag::MMAPABLE as usize;
/// Flags of tables, which take memory only for the entries that they have.
const TABLE_FLAGS: usize = map_flag::NO_PREALLOC as usize;

/// `xdp_common::maps::EXTENT`.
pub type ExtentMap = Array<Extent, 1, MEMORY_FLAGS>;
/// `xdp_common::maps::MEMORY`.
pub type MemoryMap = Array<Memory, 1, MEMORY_FLAGS>;
/// `xdp_common::maps::COUNTER_PAGE`. Its value is an array, because Linux 6.1 refuses inner maps
/// whose values are structures.
pub type CounterPage = PerCpuArray<[u64; 2], { COUNTERS_PER_PAGE as usize }>;
/// `xdp_common::maps::FILTER`.
pub type FilterMap = Array<EntryFilter, 1, MEMORY_FLAGS>;
/// `xdp_common::maps::table`. The number of entries here, 1, means nothing: the kernel takes inner
/// maps of this kind with any number.
pub type HostsV4 = HashMap<u32, Value, 1, TABLE_FLAGS>;
pub type HostsV6 = HashMap<[u64; 2], Value, 1, TABLE_FLAGS>;
pub type PrefixesV4 = LpmTrie<[u8; 4], Value, 1, TABLE_FLAGS>;
pub type PrefixesV6 = LpmTrie<[u8; 16], Value, 1, TABLE_FLAGS>;

/// `xdp_common::maps::ENTRY_COUNTER_PAGE`.
pub type EntryCounterPage = PerCpuArray<CounterBlock, { dynamic::COUNTER_BLOCKS }>;
/// `xdp_common::maps::RECORDS`.
pub type RecordsMap = HashMap<RecordKey, RecordValue, 1, TABLE_FLAGS>;

macro_rules! declare {
    ($($(#[$doc:meta])* $name:ident $handle:ident {
        declared: $declared:ty,
        created: $created:expr,
        inner: $inner:expr,
        replace: $replace:ident,
        explain: $explain:ident,
    })*) => {
        $(
            $(#[$doc])*
            #[btf_map]
            pub static $name: $declared = <$declared>::new();
        )*
    };
}

xdp_common::for_each_map!(declare);
