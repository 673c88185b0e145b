//! The image of a ruleset: everything that a packet is judged by, as one array of 512-byte blocks.
//!
//! The program looks up an image's first extent once a packet, and finds everything else through
//! that extent. So exchanging the one reference to it exchanges the whole ruleset between two
//! packets: no packet ever sees parts of two rulesets, or none. The image's generation is a number
//! in its header.
//!
//! ```text
//! block 0            Header
//! then, found through the header, with what all or most packets need first:
//!   lines of 64 bytes  if names are listed, keys for them (see `lookup::names`) and what their lists
//!                      do; then rule actions (half a line each), memberships (see `Membership`) and
//!                      search trees (see `lookup::interval_tree`)
//!   pages            one block each: 256 classes (u16), a field's value -> the class of its value
//!   bit vectors      one for each class, one bit a rule, 1 to 8 lines, see `filter::rules`
//!   lines            the tries of the addresses that rules name, see `lookup::lpm`
//!   filters          of large lists, 4,096 blocks for IPv4 and 64 for IPv6
//!   lines            the tries of listed addresses, which can be millions
//!   lines            what lists say of names; behind the first extent, a filter and the table of
//!                    listed names, see `lookup::names`
//!   metadata         names, for the command line alone
//! ```
//!
//! An image is cut into extents of 2,048 blocks, each a BPF map of one element: where the kernel
//! knows a map's size when it compiles the program, a lookup is a few instructions in place, and
//! no call. What lies in the first extent is reached by adding to a pointer, what lies beyond
//! through a slot of the map of maps that holds the extents. Slot 0 has the first extent of the
//! image in force; the other slots are two halves, so that the image in force and the next one
//! have their further extents side by side.
//!
//! An image may be there to be tried (`reload --confirm`): then its header has a deadline, and slot
//! [`BEFORE`] the first extent of the image before it. From the deadline on the program judges by
//! that one, which is whole: nothing that it refers to is written or released until then. No
//! process has to be there for it.

use crate::capacity::{EXTENT_SLOTS, MORE_EXTENTS};
use crate::packet::Fragment;
use crate::verifier::black_box;

/// Words of a block.
pub const BLOCK_WORDS: usize = 64;
/// Words of a line: what a cache line holds.
pub const LINE_WORDS: usize = 8;
/// Lines of a block.
pub const BLOCK_LINES: u32 = (BLOCK_WORDS / LINE_WORDS) as u32;

/// 512 bytes.
pub type Block = [u64; BLOCK_WORDS];
/// 64 bytes, on one cache line.
pub type Line = [u64; LINE_WORDS];

/// Blocks of an extent.
pub const EXTENT_BLOCKS: usize = 2048;
/// Lines of an extent.
pub const EXTENT_LINES: u32 = EXTENT_BLOCKS as u32 * BLOCK_LINES;
/// Words of an extent.
pub const EXTENT_WORDS: usize = EXTENT_BLOCKS * BLOCK_WORDS;
/// The element of an extent's map: 1 MiB and the slack, the least that an image takes. An array,
/// because Linux 6.1 refuses inner maps whose values are structures.
///
/// The slack, its last blocks, is never used: it lets the verifier see that a [`Span`] that begins
/// in any other block ends in the extent.
pub type Extent = [u64; (EXTENT_BLOCKS + SLACK_BLOCKS) * BLOCK_WORDS];

/// The slot of an image's second extent, by the lowest bit of its generation; the image's further
/// extents follow it.
pub const FIRST_MORE: [u32; 2] = [1, 1 + MORE_EXTENTS];

/// The slot of the first extent of the image that comes back after a [`Header::deadline`].
pub const BEFORE: u32 = EXTENT_SLOTS as u32 - 1;

const _: () = assert!(FIRST_MORE[1] + MORE_EXTENTS <= BEFORE);

/// Blocks at the end of an extent in which nothing begins.
pub const SLACK_BLOCKS: usize = 3;

/// What may be read from a line on: as much as the largest node of a trie takes. A structure that
/// is longer than a line lies in one extent.
pub type Span = [u64; SPAN_WORDS];
/// Two lines' worth of bits, then 257 numbers of four bytes.
pub const SPAN_WORDS: usize = 137;

const _: () = assert!(
    SPAN_WORDS + BLOCK_WORDS - LINE_WORDS <= (1 + SLACK_BLOCKS) * BLOCK_WORDS,
    "a span that begins on the last line of an extent's last block must end in the slack"
);

/// Marks an image ("xdpctl" in ASCII, upper half of a word).
pub const MAGIC: u64 = u64::from_be_bytes(*b"xdpctl\0\0");
/// The version of everything in this file, of the counters' layout, of the program's maps and of the
/// scratch that the filter shares with the programs that it goes on with, which another version's
/// command line may load. It goes up with any change that an older program or command line would
/// misread.
pub const LAYOUT: u32 = 10;

/// Where the program finds an image's words: a BPF map in the kernel, a vector in tests.
pub trait Lines {
    /// The words from a line on, as many as lie together: a [`Span`] at least. Lines are counted from
    /// the start of the image. Words behind the end of what was written there may be anything. `None`
    /// where the image has no such line.
    fn words(&self, line: u32) -> Option<&[u64]>;

    /// The words from a line on that are a span.
    #[inline(always)]
    fn span(&self, line: u32) -> Option<&Span> {
        self.words(line)?.first_chunk()
    }

    /// One line.
    #[inline(always)]
    fn line(&self, line: u32) -> Option<&Line> {
        // SAFETY: a line is the first words of a span.
        self.span(line).map(|span| unsafe { &*span.as_ptr().cast() })
    }

    /// A span that is known to lie in the image's first extent.
    #[inline(always)]
    fn near(&self, line: u32) -> Option<&Span> {
        self.span(line)
    }

    /// The words of an extent behind the image's first, by the extent's first line.
    #[inline(always)]
    fn extent(&self, line: u32) -> Option<&[u64]> {
        self.words(line)
    }

    /// A line that is known to lie behind the image's first extent.
    #[inline(always)]
    fn far(&self, line: u32) -> Option<&Line> {
        self.line(line)
    }

    /// A whole block.
    #[inline(always)]
    fn block(&self, block: u32) -> Option<&Block> {
        // SAFETY: a block is the first words of a span.
        self.span(block.wrapping_mul(BLOCK_LINES)).map(|span| unsafe { &*span.as_ptr().cast() })
    }
}

/// Bits of [`Header::flags`].
pub mod flag {
    pub const DEFAULT_DROP: u32 = 1 << 0;
    pub const MALFORMED_DROP: u32 = 1 << 1;
    pub const FRAGMENTS_DROP: u32 = 1 << 2;
    pub const ARP_DROP: u32 = 1 << 3;
    /// Some list looks at the source.
    pub const SOURCE_LISTS: u32 = 1 << 4;
    /// Some list looks at the destination.
    pub const DESTINATION_LISTS: u32 = 1 << 5;
    pub const RULES: u32 = 1 << 6;
    /// Some rule names the field, as with the flags below; other fields are not looked at.
    pub const RULE_SOURCE: u32 = 1 << 7;
    pub const RULE_DESTINATION: u32 = 1 << 8;
    pub const RULE_SOURCE_PORT: u32 = 1 << 9;
    pub const RULE_DESTINATION_PORT: u32 = 1 << 10;
    pub const RULE_ICMP_TYPE: u32 = 1 << 11;
    pub const RULE_TCP_FLAGS: u32 = 1 << 12;
    /// VLAN id or DSCP.
    pub const RULE_TAGS: u32 = 1 << 13;
    pub const RULE_SOURCE_MAC: u32 = 1 << 14;
    pub const RULE_DESTINATION_MAC: u32 = 1 << 15;
    /// DSCP; then [`RULE_TAGS`] is set too.
    pub const RULE_DSCP: u32 = 1 << 16;
    /// There are lists of domain names.
    pub const DOMAINS: u32 = 1 << 17;
    /// Some of them look at some question types only.
    pub const DOMAIN_TYPES: u32 = 1 << 18;
    /// There are services.
    pub const SERVICES: u32 = 1 << 19;
    /// Some of them rewrite destinations, so that replies have to be rewritten back.
    pub const SERVICE_REPLIES: u32 = 1 << 20;
    /// The address of some of them is a prefix.
    pub const SERVICE_PREFIXES: u32 = 1 << 21;
    /// Some rule names the packet's length or its TTL.
    pub const RULE_LENGTH: u32 = 1 << 22;
    /// TTL or hop limit; then [`RULE_LENGTH`] is set too.
    pub const RULE_TTL: u32 = 1 << 23;
    /// Some rule has a limit.
    pub const LIMITS: u32 = 1 << 24;
    /// What answers the host passes where the default would drop it; only with [`DEFAULT_DROP`].
    pub const REPLIES: u32 = 1 << 25;
    /// Some rule blocks the sources of what it matches.
    pub const CATCHES: u32 = 1 << 26;
    /// [`super::Header::reply_ports`](crate::image::Header::reply_ports) count also where it is known what the
    /// interface has sent.
    pub const REPLIES_BY_PORT: u32 = 1 << 27;
    /// Some rule answers SYNs.
    pub const SYN_COOKIES: u32 = 1 << 28;
    /// Checks of backends ask for echoes inside of other packets, where it is not noted that they were sent.
    pub const ECHOES_OF_CHECKS: u32 = 1 << 29;
    /// Ordinary packets are asked nothing that is not in [`crate::filter::order::judge_ordinary`].
    pub const ORDINARY: u32 = 1 << 30;
    /// With one of these, they may be asked something else.
    pub const NOT_ORDINARY: u32 = RULES | DOMAINS | LIMITS | CATCHES | SYN_COOKIES;
}

/// Places of [`Header::protocol_pages`], of which two are not used.
pub const PROTOCOL_PAGES: usize = 8;

/// The place in [`Header::protocol_pages`] of the page for packets of IPv6 or of IPv4 that are, or
/// are not, fragments.
#[inline(always)]
pub const fn protocol_page(is_ipv6: u32, fragment: Fragment) -> usize {
    (is_ipv6 << 2 | fragment.number()) as usize & (PROTOCOL_PAGES - 1)
}

/// The most ranges of ports in [`Header::reply_ports`].
pub const REPLY_PORTS: usize = 16;

/// Block 0. Places are counted from the start of the image, in lines (`_tree`, `_root`, `_filter`,
/// `memberships`, `actions`) or in blocks (`pages`, `vectors`, `metadata`). Pages and directories
/// are counted from `pages`, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    pub magic: u64,
    pub layout: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Goes up by one with each ruleset; never 0.
    pub generation: u64,
    /// In nanoseconds of the kernel's monotonic clock: from then on, the image in slot [`BEFORE`] is
    /// in force again. 0: never. Written through memory when the image is confirmed.
    pub deadline: u64,
    /// All of the image's blocks.
    pub blocks: u32,
    /// The slot of its second extent, if it has one: see [`FIRST_MORE`].
    pub more_extents: u32,
    /// The search tree of senders that `[arp]` allows; 0 where there is none.
    pub arp_tree: u32,
    /// Roots of the tries of listed addresses; 0 where there is none.
    pub list_v4_root: u32,
    pub list_v6_root: u32,
    /// The first lines of the filters in front of large tries; 0 where there is none.
    pub list_v4_filter: u32,
    pub list_v6_filter: u32,
    /// The first membership. Number 0 is never looked at: it means that no list says anything.
    pub memberships: u32,
    /// Roots of the tries of addresses that rules name, and the classes of all other addresses.
    pub rule_source_v4_root: u32,
    pub rule_source_v6_root: u32,
    pub unnamed_source_class: u32,
    pub rule_destination_v4_root: u32,
    pub rule_destination_v6_root: u32,
    pub unnamed_destination_class: u32,
    pub rule_source_mac_tree: u32,
    pub rule_destination_mac_tree: u32,
    /// Pages of classes by protocol number: see [`protocol_page`].
    pub protocol_pages: [u32; PROTOCOL_PAGES],
    /// The class of a fragment whose protocol is unknown, and of a frame that is not IP.
    pub unknown_protocol_class: u32,
    pub not_ip_class: u32,
    /// Directories: a page whose entries are pages, counted from [`Header::pages`].
    pub source_port_directory: u32,
    pub destination_port_directory: u32,
    /// Directory by VLAN id, [`crate::filter::rules::NO_VLAN`] for none. It is for packets that are
    /// not IP and so have no DSCP; where no rule names a DSCP, it is for all packets.
    pub vlan_directory: u32,
    /// Page of classes by the type of ICMP and ICMPv6: a rule's protocol tells them apart.
    pub icmp_type_page: u32,
    pub tcp_flags_page: u32,
    /// Page of directories by VLAN id, one for each DSCP.
    pub dscp_page: u32,
    /// Directory by the packet's length, where no rule names a TTL.
    pub length_directory: u32,
    /// Page of directories by the packet's length, one for each TTL.
    pub ttl_page: u32,
    /// The first page.
    pub pages: u32,
    /// The first bit vector.
    pub vectors: u32,
    /// Lines of a bit vector, as a power of two.
    pub vector_shift: u32,
    /// Words of a bit vector that have rules.
    pub vector_words: u32,
    /// The first rule's action.
    pub actions: u32,
    /// How many rules.
    pub rules: u32,
    /// Where the metadata begin (blocks), and how long they are (bytes).
    pub metadata: u32,
    pub metadata_bytes: u32,
    /// The first line of keys for names: in the image's first extent, see
    /// [`crate::lookup::names`].
    pub name_keys: u32,
    /// The first bucket of listed names, behind the image's first extent: so the verifier has one way
    /// to follow and not two. And how many buckets there are.
    pub name_table: u32,
    pub name_buckets: u32,
    /// The filter that is read before the table: it begins on an extent's first line and fits into it. And
    /// the bits of a word's number in it.
    pub name_filter: u32,
    pub name_filter_mask: u32,
    /// The most labels of a listed name.
    pub name_depth: u32,
    /// The value of the root, which stands in no bucket; 0 if it is not listed.
    pub root_name: u32,
    /// What the lists say of a name, two lines for each value: of the name itself, and of those
    /// below it. See [`crate::filter::domains::Membership`].
    pub name_memberships: u32,
    /// What the lists of names do, see [`crate::filter::domains::ListedAction`].
    pub domain_actions: u32,
    /// Directory of classes by question type.
    pub qtype_directory: u32,
    /// The line of keys for services' addresses, and the line with the secret that flows are spread
    /// by: see [`crate::lookup::services`].
    pub service_keys: u32,
    pub service_secret: u32,
    /// The first line of the table of services' addresses, and how many lines it has.
    pub service_table: u32,
    pub service_table_lines: u32,
    /// Roots of the tries of clients that services name, and the first line of sets of services: a
    /// value's bit n is set if the clients are those of the service whose number of clients is n. Value 0
    /// is no line.
    pub service_clients_v4_root: u32,
    pub service_clients_v6_root: u32,
    pub service_client_sets: u32,
    /// Lines of such a set.
    pub service_set_lines: u32,
    /// The outer source of tunnelled IPv4 packets: the prefix, and which of its bits come from the
    /// flow.
    pub tunnel_v4: u32,
    pub tunnel_v4_flow: u32,
    /// The same of IPv6: the upper half, the lower half, and which bits of the lower half come from
    /// the flow.
    pub tunnel_v6_flow: u64,
    pub tunnel_v6: [u64; 2],
    /// The directory of backends by their ids, and how many ids it has.
    pub service_directory: u32,
    pub service_ids: u32,
    /// Lines of connections, a power of two; 0 where none are remembered. See [`crate::filter::tracking`].
    pub connection_lines: u32,
    /// Roots of the tries of prefixes that are services' addresses; 0 where there is none. The value
    /// of an address is the class that stands for it in keys, 0 for none.
    pub service_prefixes_v4_root: u32,
    pub service_prefixes_v6_root: u32,
    /// The first lines of the bits that addresses of services, and of nat backends, have set, and how many bits
    /// there are, as powers of two. See [`crate::lookup::services::Bits`].
    pub service_bits: u32,
    pub service_bits_log: u32,
    pub reply_bits: u32,
    pub reply_bits_log: u32,
    pub unused: u32,
    /// As [`Self::service_table`], of nat backends and of this host's own addresses. The latter may be there without
    /// services.
    pub reply_table: u32,
    pub reply_table_lines: u32,
    /// The keys of both kinds of bits.
    pub service_bits_keys: [u64; 2],
    /// The indexes of interfaces that take redirected frames; 0 for none. What a route leads to that is
    /// not among them goes by way of the kernel's stack.
    pub targets: [u32; TARGETS],
    /// Ports at which a UDP socket that is not connected is taken to have asked: ranges, the first port
    /// in the lower half and the last one in the upper; 0 for none.
    pub reply_ports: [u32; REPLY_PORTS],
    /// A bit for each of this host's addresses that the table of replies has: see
    /// [`crate::lookup::services::own_bit`].
    pub own_bits: u64,
    pub reserved: u64,
}

/// Interfaces that services may redirect frames to.
pub const TARGETS: usize = 16;

const _: () = assert!(size_of::<Header>() == size_of::<Block>());
const _: () = assert!(align_of::<Header>() == align_of::<Block>());

impl Header {
    /// The header in block 0.
    #[inline(always)]
    pub const fn of(block: &Block) -> &Self {
        // SAFETY: same size and alignment (asserted above), and every bit pattern is a header.
        unsafe { &*block.as_ptr().cast::<Self>() }
    }

    /// The block that holds this header.
    pub const fn to_block(self) -> Block {
        // SAFETY: same size, and every bit pattern is a block.
        unsafe { core::mem::transmute::<Self, Block>(self) }
    }

    /// The deadline, read anew: the command line may write it at any time.
    #[inline(always)]
    pub fn deadline(&self) -> u64 {
        // SAFETY: a reference is valid to read from, and a word is read in one.
        unsafe { core::ptr::read_volatile(&self.deadline) }
    }

    /// Whether services may redirect frames to an interface.
    ///
    /// Without branches: the verifier would follow each of them.
    #[inline(always)]
    pub fn may_redirect_to(&self, interface: u32) -> bool {
        let is = |target: &u32| u64::from(target ^ interface).wrapping_sub(1) >> 63;
        self.targets.iter().fold(0, |found, target| found | is(target)) != 0
    }

    /// Whether a flag is set.
    ///
    /// Read anew each time: if all flags were asked of one copy, the verifier would remember each
    /// answer, and follow every combination of answers.
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        // SAFETY: a reference is valid to read from.
        unsafe { core::ptr::read_volatile(&self.flags) & flag != 0 }
    }
}

/// What the lists say of an address, as a source and as a destination. Each word is 0 where no list
/// says anything, else a rank (upper half) and the list's [`crate::stats::counter::CounterId`]
/// (lower half). The higher rank decides: that of the longer prefix, then of the list that comes
/// first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Membership {
    pub source_allow: u64,
    pub source_drop: u64,
    pub source_count: u64,
    pub destination_drop: u64,
    pub destination_count: u64,
    pub reserved: [u64; 3],
}

const _: () = assert!(size_of::<Membership>() == size_of::<Line>());

impl Membership {
    /// The line that holds this membership.
    pub const fn to_line(self) -> Line {
        // SAFETY: same size, and every bit pattern is a line.
        unsafe { core::mem::transmute::<Self, Line>(self) }
    }

    /// The membership on a line.
    #[inline(always)]
    pub const fn of(line: &Line) -> &Self {
        // SAFETY: same size and alignment, and every bit pattern is a membership.
        unsafe { &*line.as_ptr().cast::<Self>() }
    }
}

/// What a rule does: half a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Action {
    /// An [`ActionKind`].
    pub kind: u8,
    /// Whether `source_mac` and `destination_mac` are written into the frame: 0 or 1.
    pub set_source_mac: u8,
    pub set_destination_mac: u8,
    pub reserved: u8,
    /// Index into the map `REDIRECTS`, if the rule redirects; the first line of its
    /// [`Sentence`](crate::filter::caught::Sentence), if it blocks; the segments that this host takes, if it
    /// answers SYNs ([`sizes`](crate::filter::syn_cookie::sizes)).
    pub slot: u32,
    /// The rule's counter, and its counter for packets that it could not redirect: each a
    /// [`crate::stats::counter::CounterId`].
    pub counter: u32,
    pub lost_counter: u32,
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    /// The line of its [`crate::filter::limits::Limit`]; 0 where it has none.
    pub limit: u32,
}

const _: () = assert!(size_of::<Action>() == 32);

impl Action {
    /// Drops, and counts nothing.
    pub const DROP: Self = Self {
        kind: ActionKind::Drop as u8,
        set_source_mac: 0,
        set_destination_mac: 0,
        reserved: 0,
        slot: 0,
        counter: 0,
        lost_counter: 0,
        source_mac: [0; 6],
        destination_mac: [0; 6],
        limit: 0,
    };

    /// Copies it word by word: LLVM makes a plain assignment a loop over bytes.
    #[inline(always)]
    pub fn copy_to(&self, other: &mut Self) {
        let (from, to) = ((&raw const *self).cast::<u64>(), (&raw mut *other).cast::<u64>());
        let mut word = 0;
        while word < size_of::<Self>() / size_of::<u64>() {
            // SAFETY: both are this many words long and aligned as words are; every bit pattern is
            // an action.
            unsafe { *to.add(word) = black_box(*from.add(word)) };
            word += 1;
        }
    }

    /// The half of a line that holds this action.
    pub const fn to_words(self) -> [u64; 4] {
        // SAFETY: same size, and every bit pattern is four words.
        unsafe { core::mem::transmute::<Self, [u64; 4]>(self) }
    }
}

/// Rule actions on a line.
pub const ACTIONS_PER_LINE: u32 = 2;

/// The kinds of [`Action`], as they stand in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ActionKind {
    Drop = 0,
    Pass = 1,
    Bounce = 2,
    Redirect = 3,
    /// Drops, and blocks the source for a while.
    Block = 4,
    /// Answers SYNs with cookies.
    SynCookie = 5,
}

impl TryFrom<u8> for ActionKind {
    type Error = u8;

    #[inline(always)]
    fn try_from(kind: u8) -> Result<Self, u8> {
        Ok(match kind {
            0 => Self::Drop,
            1 => Self::Pass,
            2 => Self::Bounce,
            3 => Self::Redirect,
            4 => Self::Block,
            5 => Self::SynCookie,
            other => return Err(other),
        })
    }
}
