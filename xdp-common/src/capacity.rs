//! What xdpctl holds at most: every limit of the product, once. What follows from another limit is
//! computed from it, and what has to fit together is asserted here.

/// Prefixes of a family in all lists of a ruleset, each counted once.
pub const MAX_PREFIXES: usize = 1_000_000;
/// Entries of all lists of a ruleset together: prefixes, each counted once in each list that holds
/// it. Lists may share their prefixes, and each keeps entries of its own.
pub const MAX_LIST_ENTRIES: usize = 4 * MAX_PREFIXES;
/// Rules of a ruleset.
pub const MAX_RULES: usize = 4_096;
/// Allowlists and blocklists of a ruleset, together.
pub const MAX_LISTS: usize = 1_024;
/// Interfaces that a ruleset redirects to.
pub const MAX_REDIRECTS: u32 = 64;
/// Slots of redirect targets. There is room for two rulesets, the one in force and the one that is
/// about to be: a slot of the one is never written while the other may still run.
pub const REDIRECT_SLOTS: u32 = 2 * MAX_REDIRECTS;

/// Run-time entries of each kind of prefix: single addresses and shorter prefixes, IPv4 and IPv6. Each
/// owner's is one.
pub const MAX_ENTRIES: u32 = 1 << 18;
/// Owners of run-time entries on an interface.
pub const MAX_OWNERS: u32 = 1_024;
/// Bytes of an owner's name.
pub const MAX_OWNER_NAME: usize = 80;

/// Extents, of 1 MiB each, of an image beside its first.
pub const MORE_EXTENTS: u32 = 511;
/// Slots of extents: the first, and the others of two images.
pub const EXTENT_SLOTS: usize = 1 + 2 * MORE_EXTENTS as usize;

/// Counters of lists and rules lie in pages of this many, so that their number can grow without
/// moving one that is in use.
pub const COUNTERS_PER_PAGE: u32 = 128;
/// Pages of counters.
pub const COUNTER_PAGES: u32 = 256;
/// Counters of lists and rules at one time.
pub const MAX_COUNTERS: u32 = COUNTERS_PER_PAGE * COUNTER_PAGES;

/// A rule has a counter, and one more for packets that it could not redirect. The rulesets before
/// and after a reload may share none.
const COUNTERS_OF_TWO_RULESETS: usize = 2 * (MAX_LISTS + 2 * MAX_RULES);
const _: () = assert!(COUNTERS_OF_TWO_RULESETS <= MAX_COUNTERS as usize);

/// Instructions that the kernel's verifier may process for one of the programs
/// (bpf_prog_info.verified_insns), on each supported kernel. It gives up at a million: what is left
/// is for kernels that take longer over the same program.
pub const MAX_VERIFIED_INSTRUCTIONS: u32 = 400_000;

/// Bytes of a list file, or of a configuration.
pub const MAX_FILE_SIZE: u64 = 1 << 30;
/// Warnings of one kind that are shown of a list file, or of a configuration; the rest are counted.
pub const MAX_SHOWN_WARNINGS: usize = 10;
/// Mistakes that are shown of a configuration; the rest are counted.
pub const MAX_SHOWN_MISTAKES: usize = 1_000;
/// Tokens of a configuration: keys, values, punctuation, runs of blanks, comments and line ends.
/// Each takes the parser up to 300 bytes, as a mistake. It is enough for as many prefixes of both
/// families as a ruleset can hold, a line each with indent, comma and comment, and for its rules.
pub const MAX_TOKENS: usize = 16 * MAX_PREFIXES;
/// Indent, value, comma, blank, comment and line end.
const TOKENS_OF_A_PREFIX: usize = 6;
const _: () = assert!(TOKENS_OF_A_PREFIX * 2 * MAX_PREFIXES < MAX_TOKENS);

/// Files that a configuration includes, those that these include with it.
pub const MAX_INCLUDES: usize = 64;
/// Files that include each other, one inside the other, beside the configuration itself.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// Names of `[define]`, one among the values of the other.
pub const MAX_DEFINE_DEPTH: usize = 16;
/// Values that such names are replaced by, over all that use them: a name of many, used by many
/// rules, would fill the memory.
pub const MAX_DEFINED: usize = MAX_LIST_ENTRIES;

/// Bytes of a frame that `explain` takes: what an IP packet's length field can say.
pub const MAX_EXPLAINED_FRAME: usize = 65_535;
