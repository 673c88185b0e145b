//! Every limit of the product, once. A limit that follows from others is computed from them, and
//! limits that have to fit together are held against each other here.

/// Different prefixes of one family in all lists of a ruleset.
pub const MAX_PREFIXES: usize = 1_000_000;
/// Entries of all lists of a ruleset together: prefixes, each counted once in each list that holds
/// it. Lists may share their prefixes, and each keeps entries of its own.
pub const MAX_LIST_ENTRIES: usize = 4 * MAX_PREFIXES;
/// Rules of a ruleset.
pub const MAX_RULES: usize = 4_096;
/// Names of all domains lists of a ruleset together, each counted once in each list that holds it.
pub const MAX_NAMES: usize = 1_000_000;
/// Allowlists, blocklists and domains lists of a ruleset, together.
pub const MAX_LISTS: usize = 1_024;
/// Characters of a name of a list, a rule or a definition.
pub const MAX_NAME: usize = 64;
/// Files that a ruleset is read from, its configurations among them: an entry names its file in 16
/// bits.
pub const MAX_FILES: usize = 1 << 16;
/// Lists of a ruleset on a NIC, of both kinds together: a rank has three bits in the byte that
/// [`crate::nic::list`] makes.
pub const MAX_NIC_LISTS: usize = 8;
/// Interfaces that a ruleset redirects to.
pub const MAX_REDIRECTS: u32 = 64;
/// Slots of redirect targets. There is room for two rulesets, the one in force and the next one:
/// the slots of a ruleset are never written while packets may still be judged by it.
pub const REDIRECT_SLOTS: u32 = 2 * MAX_REDIRECTS;

/// Run-time entries of an interface in each of four kinds: single addresses and shorter prefixes of
/// IPv4 and of IPv6. What two owners ask for one prefix counts as two.
pub const MAX_ENTRIES: u32 = 1 << 18;
/// Owners of run-time entries on an interface.
pub const MAX_OWNERS: u32 = 1_024;
/// Bytes of an owner's name.
pub const MAX_OWNER_NAME: usize = 80;
/// Characters of a name that `--owner` takes. The rest is for `rule:` and a rule's name.
pub const MAX_OWNER_ARGUMENT: usize = 72;
const _: () = assert!(MAX_OWNER_ARGUMENT <= MAX_OWNER_NAME);
const _: () = assert!("rule:".len() + MAX_NAME <= MAX_OWNER_NAME);
/// Characters of a run-time entry's note.
pub const MAX_NOTE: usize = 200;

/// Extents of an image beside its first, of 1 MiB each.
pub const MORE_EXTENTS: u32 = 511;
/// Slots of extents: one for the first of the image in force, those for the others of two images,
/// and one for the first of the image that comes back if the one in force is not confirmed.
pub const EXTENT_SLOTS: usize = 1 + 2 * MORE_EXTENTS as usize + 1;

/// Counters of lists and rules lie in pages of this many, so that their number can grow without
/// moving one that is in use.
pub const COUNTERS_PER_PAGE: u32 = 128;
/// Pages of counters.
pub const COUNTER_PAGES: u32 = 1_536;
/// Counters of lists and rules that can be in use at one time.
pub const MAX_COUNTERS: u32 = COUNTERS_PER_PAGE * COUNTER_PAGES;

/// A list has a counter; a rule has up to three, one of them for packets that it could not redirect, and one for
/// those that were under its limit. The
/// rulesets before and after a reload may have none of them in common.
const COUNTERS_OF_TWO_RULESETS: usize = 2 * (MAX_LISTS + 3 * MAX_RULES);
const _: () = assert!(COUNTERS_OF_TWO_RULESETS <= MAX_COUNTERS as usize);

/// Services of a ruleset.
pub const MAX_SERVICES: usize = 4_096;
/// Backends of a service: a place of its table names one in 16 bits.
pub const MAX_BACKENDS_OF_ONE: usize = 65_535;
/// Backends of all services.
pub const MAX_BACKENDS: usize = 131_072;
/// Combinations of an address, a protocol and a port of all services.
pub const MAX_SERVICE_ADDRESSES: usize = 16_384;
/// Combinations of an address, a protocol and a port by which replies of nat backends are known.
pub const MAX_REPLIES: usize = 2 * MAX_BACKENDS;
/// Counters of a service beside its backends'.
pub const COUNTERS_OF_SERVICE: usize = 8;
/// Beside the largest ruleset of lists and rules, the next one has room for the largest of services; two
/// such rulesets that have no service in common have not.
const COUNTERS_OF_SERVICES: usize = MAX_BACKENDS + MAX_SERVICES * COUNTERS_OF_SERVICE;
const _: () = assert!(COUNTERS_OF_SERVICES <= MAX_COUNTERS as usize);
/// Words of state that a map has: 1 MiB.
pub const STATES_PER_SLOT: u32 = 1 << 17;
/// Slots of states of backends and services.
pub const STATE_SLOTS: u32 = MAX_COUNTERS.div_ceil(STATES_PER_SLOT);
/// Slots of connections, a mebibyte each.
pub const CONNECTION_SLOTS: u32 = 512;
/// Connections that can be remembered at most, and at least where any are.
pub const MAX_CONNECTIONS: u32 = CONNECTION_SLOTS * STATES_PER_SLOT;
pub const MIN_CONNECTIONS: u32 = 1 << 16;

/// Rules with limits that may match one packet.
pub const MAX_ASKED_LIMITS: usize = 16;
/// Slots of limits: mebibytes, the last of which has the keys that are over their limits.
pub const LIMIT_SLOTS: u32 = 9;
/// Lines of 64 bytes in a slot.
pub const LINES_PER_LIMIT_SLOT: u32 = STATES_PER_SLOT / 8;
/// Lines of limits, and of keys that are over their limits.
pub const LIMIT_LINES: u32 = (LIMIT_SLOTS - 1) * LINES_PER_LIMIT_SLOT;
pub const HEAVY_LINES: u32 = LINES_PER_LIMIT_SLOT;

/// Slots of sources that rules caught: mebibytes, each with 8,192 places.
pub const CAUGHT_SLOTS: u32 = 8;
/// Slots of what an interface has sent, a mebibyte each.
pub const SENT_SLOTS: u32 = 4;
/// Lines of eight flows, in a slot and in all.
pub const LINES_PER_SENT_SLOT: u32 = STATES_PER_SLOT / 8;
pub const SENT_LINES: u32 = SENT_SLOTS * LINES_PER_SENT_SLOT;

/// Instructions that the kernel's verifier may process for one of the programs
/// (bpf_prog_info.verified_insns), on each supported kernel. The verifier gives up at a million;
/// the rest is kept for kernels that need more for the same program.
pub const MAX_VERIFIED_INSTRUCTIONS: u32 = 500_000;

/// Bytes of a list file, or of a configuration.
pub const MAX_FILE_SIZE: u64 = 1 << 30;
/// Warnings of one kind that are shown of a list file, or of a configuration; the rest are counted.
pub const MAX_SHOWN_WARNINGS: usize = 10;
/// Places that `lookup` shows of one entry of a list.
pub const MAX_SHOWN_PLACES: usize = 10;
/// Mistakes that are shown of a configuration; the rest are counted.
pub const MAX_SHOWN_MISTAKES: usize = 1_000;
/// Tokens of a configuration: keys, values, punctuation, runs of blanks, comments and line ends.
/// A token takes up to 300 bytes of the parser's memory, where each is a mistake. The limit leaves
/// room for as many prefixes of both families as a ruleset can hold, a line each with indent, comma
/// and comment, and for its rules.
pub const MAX_TOKENS: usize = 16 * MAX_PREFIXES;
/// A prefix on a line: indent, value, comma, blank, comment and line end.
const TOKENS_OF_A_PREFIX: usize = 6;
const _: () = assert!(TOKENS_OF_A_PREFIX * 2 * MAX_PREFIXES < MAX_TOKENS);

/// Files that a configuration includes, with those that they include in turn.
pub const MAX_INCLUDES: usize = 64;
/// How deep files include each other, not counting the configuration itself.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// How deep the names of `[define]` stand among each other's values.
pub const MAX_DEFINE_DEPTH: usize = 16;
/// Values that take the place of such names, over all uses: a name with many values, used by many
/// rules, would fill the memory.
pub const MAX_DEFINED: usize = MAX_LIST_ENTRIES;

/// Bytes of a frame that `explain` takes: the most that an IPv4 packet's length field can say.
pub const MAX_EXPLAINED_FRAME: usize = 65_535;
/// Bytes of a frame that `capture` takes. A value of a per-CPU map cannot have more than 32 KiB.
pub const MAX_SNAPLEN: u32 = 1 << 14;
