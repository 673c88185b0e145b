//! The registry of the program's maps: each is declared here, once.
//!
//! The registry gives the declarations in the eBPF program (`xdp-ebpf/src/maps.rs`), the names of
//! the pins, the handles of the command line, what a map that was found must look like, which maps
//! `attach --replace` keeps, and which maps `explain` shares with the program in force. Adding a
//! map is one entry here.
//!
//! A new map, or one with another name or signature, needs a new [`crate::image::LAYOUT`].
//!
//! Two more maps of the program stand in [`crate::capture::slot`], which says why.

use crate::capacity::{
    CAUGHT_SLOTS, CONNECTION_SLOTS, COUNTER_PAGES, COUNTERS_PER_PAGE, EXTENT_SLOTS, LIMIT_SLOTS,
    MAX_OWNER_NAME, MAX_OWNERS, REDIRECT_SLOTS, SENT_SLOTS, STATE_SLOTS,
};
use crate::filter::caught;
use crate::filter::dynamic::{self, EntryFilter, EntryTable, Switches, TABLE_SIZE, Value};
use crate::filter::tracking::Memory;
use crate::image::Extent;
use crate::stages;
use crate::stats::counter::Counter;
use crate::stats::names::Names;
use crate::stats::per_cpu::PerCpu;

/// Kinds of maps, by the kernel's numbers (`enum bpf_map_type` in include/uapi/linux/bpf.h).
pub mod kind {
    pub const HASH: u32 = 1;
    pub const ARRAY: u32 = 2;
    pub const PROG_ARRAY: u32 = 3;
    pub const PERCPU_ARRAY: u32 = 6;
    pub const LPM_TRIE: u32 = 11;
    pub const ARRAY_OF_MAPS: u32 = 12;
    pub const DEVMAP: u32 = 14;
    pub const RINGBUF: u32 = 27;
}

/// Flags of maps (include/uapi/linux/bpf.h).
pub mod map_flag {
    /// BPF_F_NO_PREALLOC: takes memory only for the entries that it has.
    pub const NO_PREALLOC: u32 = 1 << 0;
    /// BPF_F_MMAPABLE: can be mapped into memory, and is read and written there.
    pub const MMAPABLE: u32 = 1 << 10;
}

/// What a map must look like to be used. In a call on a map, the kernel reads and writes as many
/// bytes as that map's keys and values have, however long the caller's buffers are: a map of
/// another shape would have it write beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSignature {
    /// See [`kind`].
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes; in a per-CPU map, bytes for each CPU.
    pub value_size: u32,
}

impl MapSignature {
    pub const fn new(kind: u32, key_size: usize, value_size: usize) -> Self {
        Self { kind, key_size: key_size as u32, value_size: value_size as u32 }
    }

    /// Whether a map of the signature `found` can be used as one of this signature.
    ///
    /// A DEVMAP may have values of four bytes, an interface index, in place of eight, an index and
    /// a program: aya makes it so where the kernel refuses the call by which aya finds out whether
    /// it takes a program there. Only the index is written, and nothing is read.
    pub fn takes(self, found: Self) -> bool {
        let short = Self { value_size: 4, ..self };
        found == self || self.kind == kind::DEVMAP && found == short
    }
}

/// A map as it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapDefinition {
    pub signature: MapSignature,
    pub max_entries: u32,
    /// See [`map_flag`].
    pub flags: u32,
}

impl MapDefinition {
    const fn new(
        kind: u32,
        key_size: usize,
        value_size: usize,
        max_entries: usize,
        flags: u32,
    ) -> Self {
        let signature = MapSignature::new(kind, key_size, value_size);
        Self { signature, max_entries: max_entries as u32, flags }
    }

    /// A map with `u32` keys and one fixed place for each.
    const fn array(kind: u32, value_size: usize, max_entries: usize, flags: u32) -> Self {
        Self::new(kind, size_of::<u32>(), value_size, max_entries, flags)
    }

    /// A map of maps, which has inner maps' ids for values.
    const fn of_maps(slots: usize) -> Self {
        Self::array(kind::ARRAY_OF_MAPS, size_of::<u32>(), slots, 0)
    }
}

/// A part of an image. The command line writes it before the image is activated, and never
/// afterwards.
pub const EXTENT: MapDefinition =
    MapDefinition::array(kind::ARRAY, size_of::<Extent>(), 1, map_flag::MMAPABLE);

/// States of backends, or connections, or limits, or what was sent.
pub const MEMORY: MapDefinition =
    MapDefinition::array(kind::ARRAY, size_of::<Memory>(), 1, map_flag::MMAPABLE);

/// Counters of lists and rules.
pub const COUNTER_PAGE: MapDefinition =
    MapDefinition::array(kind::PERCPU_ARRAY, size_of::<Counter>(), COUNTERS_PER_PAGE as usize, 0);

/// A filter in front of a table of run-time entries.
pub const FILTER: MapDefinition =
    MapDefinition::array(kind::ARRAY, size_of::<EntryFilter>(), 1, map_flag::MMAPABLE);

/// A table of run-time entries. The keys of a hash are addresses, those of a trie a length and an
/// address.
pub const fn table(table: EntryTable) -> MapDefinition {
    let (kind, key_size) = match table {
        EntryTable::HostsV4 => (kind::HASH, 4),
        EntryTable::PrefixesV4 => (kind::LPM_TRIE, 4 + 4),
        EntryTable::HostsV6 => (kind::HASH, 16),
        EntryTable::PrefixesV6 => (kind::LPM_TRIE, 4 + 16),
    };
    let (value, places) = (size_of::<Value>(), TABLE_SIZE as usize);
    MapDefinition::new(kind, key_size, value, places, map_flag::NO_PREALLOC)
}

/// What owners asked for: a map beside each table of run-time entries, with an element for each
/// prefix and owner. The program does not look there.
pub const RECORDS: MapDefinition = MapDefinition::new(
    kind::HASH,
    size_of::<RecordKey>(),
    size_of::<RecordValue>(),
    TABLE_SIZE as usize,
    map_flag::NO_PREALLOC,
);
/// In this order: 16 bytes of address in network order (an IPv4 address in the last four), the
/// family (one byte, 4 or 6), the prefix's length (one byte), two zeros, the owner's number (u32).
pub type RecordKey = [u64; 3];
/// In this order: the deadline, in nanoseconds of the kernel's monotonic clock (u64); when it was
/// put, in milliseconds since 1970 (u64); what the counter had then (u64); the kind, 1 allows and 2
/// blocks (one byte); whether it is kept over a restart (one byte); two zeros; the note's number
/// (u32).
pub type RecordValue = [u64; 4];

/// An owner's name, padded with zeros. An owner's number is the place of its name in the map
/// `OWNERS`, from 0.
pub type OwnerName = [u8; MAX_OWNER_NAME];

/// Counters of run-time entries.
pub const ENTRY_COUNTER_PAGE: MapDefinition = MapDefinition::array(
    kind::PERCPU_ARRAY,
    size_of::<dynamic::CounterBlock>(),
    dynamic::COUNTER_BLOCKS,
    0,
);

/// What becomes of a map when `attach --replace` exchanges the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReplace {
    /// The new program goes on with the map, if both programs have the same
    /// [`crate::image::LAYOUT`].
    Kept,
    /// The new program goes on with the map whatever the layout, as long as every map of this kind
    /// has the signature that it expects. So a change to what lies in one of them needs another
    /// signature or another name for that map.
    KeptAlways,
    /// The new program has a map of its own, filled before it runs.
    Anew,
}

/// The map that the program has when `explain` asks it. Asking must not change what is in force: a
/// map that the program writes, and on which a verdict or a count depends, is the question's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InExplain {
    /// The map in force. The program only reads it, or writes there only what saves later packets
    /// a search ([`crate::filter::dynamic::Skip`]).
    Shared,
    /// An empty map of the same kind, made for the question, because the program writes there.
    Own,
}

/// Hands every map to a macro: name of the map, name of its handle, its type in the eBPF program, how
/// it is created, what its inner maps are, and what becomes of it in `attach --replace` and in
/// `explain`.
#[macro_export]
macro_rules! for_each_map {
    ($each:ident) => {
        $each! {
            /// The ruleset in force: its first extent in slot 0, the others in the slots that the
            /// first one's header names. The command line writes those slots first, and then slot
            /// 0, which the program reads once a packet. The last slot has the first extent of the
            /// ruleset that comes back if the one in force is not confirmed in time.
            RULESET ruleset {
                declared: ArrayOfMaps<ExtentMap, EXTENT_SLOTS>,
                created: MapDefinition::of_maps(EXTENT_SLOTS),
                inner: Some(EXTENT),
                replace: Anew,
                explain: Shared,
            }
            /// Interfaces to redirect to, by the slots in rule actions. Read by the program,
            /// written by the command line in the half that the ruleset in force does not use.
            REDIRECTS redirects {
                declared: DevMap<{ REDIRECT_SLOTS as usize }>,
                created: MapDefinition::array(kind::DEVMAP, 8, REDIRECT_SLOTS as usize, 0),
                inner: None,
                replace: Anew,
                explain: Shared,
            }
            /// Every packet, by verdict and reason: added to by the program, read by the command
            /// line. Behind that lies the scratch, where a CPU works on a packet: only `explain`
            /// reads it, in a map of its own.
            COUNTERS counters {
                declared: PerCpuArray<PerCpu, 1>,
                created: MapDefinition::array(kind::PERCPU_ARRAY, size_of::<PerCpu>(), 1, 0),
                inner: None,
                replace: Kept,
                explain: Own,
            }
            /// The programs that the filter goes on with (`stages`), those that some ruleset has needed
            /// since attach. Written before the first ruleset that needs them is put in force. The
            /// kernel empties it when it is neither pinned nor open any more, even if the filter still
            /// runs.
            STAGES stages {
                declared: ProgramArray<{ stages::COUNT }>,
                created: MapDefinition::array(kind::PROG_ARRAY, 4, stages::COUNT, 0),
                inner: None,
                replace: Anew,
                explain: Own,
            }
            /// Where a CPU works on a DNS message, and what it counts of those.
            NAMES names {
                declared: PerCpuArray<Names, 1>,
                created: MapDefinition::array(kind::PERCPU_ARRAY, size_of::<Names>(), 1, 0),
                inner: None,
                replace: Kept,
                explain: Own,
            }
            /// Counters of lists and rules, in pages that the command line adds as rulesets need
            /// them. Added to by the program, read and, before a counter's first use, zeroed by the
            /// command line.
            RULE_COUNTERS rule_counters {
                declared: ArrayOfMaps<CounterPage, { COUNTER_PAGES as usize }>,
                created: MapDefinition::of_maps(COUNTER_PAGES as usize),
                inner: Some(COUNTER_PAGE),
                replace: Kept,
                explain: Own,
            }
            /// What commands said of services' backends, and what checks found, by the numbers of
            /// their counters (`filter::tracking`). Written by the command line through memory, which
            /// makes it with the first services; read by the program.
            BACKEND_STATES backend_states {
                declared: ArrayOfMaps<MemoryMap, { STATE_SLOTS as usize }>,
                created: MapDefinition::of_maps(STATE_SLOTS as usize),
                inner: Some(MEMORY),
                replace: Kept,
                explain: Shared,
            }
            /// Which connections are with which backends, where that is not what the tables say
            /// (`filter::tracking`). Made by the command line, written by the program. A question
            /// does not write there.
            CONNECTIONS connections {
                declared: ArrayOfMaps<MemoryMap, { CONNECTION_SLOTS as usize }>,
                created: MapDefinition::of_maps(CONNECTION_SLOTS as usize),
                inner: Some(MEMORY),
                replace: Kept,
                explain: Shared,
            }
            /// How far keys have used up their limits, and which keys are over them (`filter::limits`). Made by
            /// the command line with the first rule that has a limit, written by the program. A question does
            /// not write there.
            LIMITS limits {
                declared: ArrayOfMaps<MemoryMap, { LIMIT_SLOTS as usize }>,
                created: MapDefinition::of_maps(LIMIT_SLOTS as usize),
                inner: Some(MEMORY),
                replace: Kept,
                explain: Shared,
            }
            /// What the interface has sent out (`filter::sent`). Made by the command line once the program at
            /// the interface's egress is there, which writes it; the filter only looks there.
            SENT sent {
                declared: ArrayOfMaps<MemoryMap, { SENT_SLOTS as usize }>,
                created: MapDefinition::of_maps(SENT_SLOTS as usize),
                inner: Some(MEMORY),
                replace: Kept,
                explain: Shared,
            }
            /// Sources that rules with `action = "block"` caught (`filter::caught`). Made by the command line
            /// with the first such rule, written by the program, and by the command line where it removes
            /// entries. A question does not write there.
            CAUGHT caught {
                declared: ArrayOfMaps<MemoryMap, { CAUGHT_SLOTS as usize }>,
                created: MapDefinition::of_maps(CAUGHT_SLOTS as usize),
                inner: Some(MEMORY),
                replace: Kept,
                explain: Shared,
            }
            /// Packets that caught sources sent, in pages: a counter for each place. Made with the map
            /// above, added to by the program, read by the command line.
            CAUGHT_COUNTERS caught_counters {
                declared: ArrayOfMaps<EntryCounterPage, { caught::COUNTER_PAGES }>,
                created: MapDefinition::of_maps(caught::COUNTER_PAGES),
                inner: Some(ENTRY_COUNTER_PAGE),
                replace: Kept,
                explain: Own,
            }
            /// Whether bypass is on, whether there are run-time entries, and how their filters are
            /// asked. Written by the command line through memory. The program reads bypass once a
            /// packet, and the rest with IP packets.
            SWITCHES switches {
                declared: Array<Switches, 1, MEMORY_FLAGS>,
                created: MapDefinition::array(
                    kind::ARRAY,
                    size_of::<Switches>(),
                    1,
                    map_flag::MMAPABLE
                ),
                inner: None,
                replace: KeptAlways,
                explain: Shared,
            }
            /// The filters in front of the tables of run-time entries, by the tables' numbers. The
            /// command line makes each of them, and each table below, with the first entry, and
            /// takes it away with the last. Written by the command line through memory, read by the
            /// program.
            BAN_FILTERS ban_filters {
                declared: ArrayOfMaps<FilterMap, 4>,
                created: MapDefinition::of_maps(EntryTable::ALL.len()),
                inner: Some(FILTER),
                replace: KeptAlways,
                explain: Shared,
            }
            /// Run-time entries for single IPv4 addresses: for each address, what all owners
            /// together want. Written by the command line, read by the program.
            BAN_HOSTS_V4 ban_hosts_v4 {
                declared: ArrayOfMaps<HostsV4, 1>,
                created: MapDefinition::of_maps(1),
                inner: Some(table(EntryTable::HostsV4)),
                replace: KeptAlways,
                explain: Shared,
            }
            /// For shorter IPv4 prefixes, in network order. As above; but in the value of an entry
            /// that has ended, the program notes which shorter prefix decides in its place
            /// (`Skip` in `filter::dynamic`).
            BAN_PREFIXES_V4 ban_prefixes_v4 {
                declared: ArrayOfMaps<PrefixesV4, 1>,
                created: MapDefinition::of_maps(1),
                inner: Some(table(EntryTable::PrefixesV4)),
                replace: KeptAlways,
                explain: Shared,
            }
            /// For single IPv6 addresses. As above.
            BAN_HOSTS_V6 ban_hosts_v6 {
                declared: ArrayOfMaps<HostsV6, 1>,
                created: MapDefinition::of_maps(1),
                inner: Some(table(EntryTable::HostsV6)),
                replace: KeptAlways,
                explain: Shared,
            }
            /// For shorter IPv6 prefixes, in network order. As above.
            BAN_PREFIXES_V6 ban_prefixes_v6 {
                declared: ArrayOfMaps<PrefixesV6, 1>,
                created: MapDefinition::of_maps(1),
                inner: Some(table(EntryTable::PrefixesV6)),
                replace: KeptAlways,
                explain: Shared,
            }
            /// Packets that run-time entries decided, in pages that the command line adds as entries
            /// need them, and takes away when no entry uses them. Added to by the program, read by
            /// the command line. Never zeroed: a record says what its counter had when it was put.
            ENTRY_COUNTERS entry_counters {
                declared: ArrayOfMaps<EntryCounterPage, { dynamic::COUNTER_PAGES }>,
                created: MapDefinition::of_maps(dynamic::COUNTER_PAGES),
                inner: Some(ENTRY_COUNTER_PAGE),
                replace: KeptAlways,
                explain: Own,
            }
            /// What owners asked for, by the tables' numbers: the tables are made from it. Written
            /// and read by the command line; the program only keeps it alive
            /// (`verifier::name`).
            RECORDS records {
                declared: ArrayOfMaps<RecordsMap, 4>,
                created: MapDefinition::of_maps(EntryTable::ALL.len()),
                inner: Some(RECORDS),
                replace: KeptAlways,
                explain: Shared,
            }
            /// The owners' names. As above.
            OWNERS owners {
                declared: Array<OwnerName, { MAX_OWNERS as usize }>,
                created: MapDefinition::array(
                    kind::ARRAY,
                    size_of::<OwnerName>(),
                    MAX_OWNERS as usize,
                    0
                ),
                inner: None,
                replace: KeptAlways,
                explain: Shared,
            }
        }
    };
}

macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident $handle:ident {
        declared: $declared:ty,
        created: $created:expr,
        inner: $inner:expr,
        replace: $replace:ident,
        explain: $explain:ident,
    })*) => {
        /// A map of the program.
        #[allow(
            non_camel_case_types,
            reason = "the maps' names are those in the program's object, in capitals"
        )]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Map {
            $($(#[$doc])* $name,)*
        }

        impl Map {
            /// All of them, in the order of their declaration.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// The name in the program's object, and of the pin.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// How the kernel is to create it.
            pub const fn definition(self) -> MapDefinition {
                match self {
                    $(Self::$name => $created,)*
                }
            }

            /// How the inner maps of a map of maps are created; `None` of any other map.
            pub const fn inner(self) -> Option<MapDefinition> {
                match self {
                    $(Self::$name => $inner,)*
                }
            }

            /// What `attach --replace` does with it.
            pub const fn on_replace(self) -> OnReplace {
                match self {
                    $(Self::$name => OnReplace::$replace,)*
                }
            }

            /// What `explain` does with it.
            pub const fn in_explain(self) -> InExplain {
                match self {
                    $(Self::$name => InExplain::$explain,)*
                }
            }
        }
    };
}

for_each_map!(registry);

/// Bytes of a name that the kernel keeps (BPF_OBJ_NAME_LEN less the terminating zero).
pub const KERNEL_NAME: usize = 15;

impl Map {
    /// The name as the kernel gives it in bpf_map_info: cut to [`KERNEL_NAME`].
    pub fn kernel_name(self) -> &'static str {
        let name = self.name();
        &name[..name.len().min(KERNEL_NAME)]
    }
}
