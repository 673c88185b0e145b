//! From a packet to the service that takes it, and to the backend that serves it.
//!
//! ```text
//! bits      one for each address, set where a service or a backend that replies has it (see [`Bits`])
//! keys      a line: keys for addresses and ports
//! table     lines of two entries, each four words: the address (two words), the rest of its key, and
//!           where it leads. An entry lies in one of the two lines that its hash chooses
//!   rest      bits 0-15 port, 16-23 protocol, 24 IPv6, 25 a reply of a backend, 26 any port, 27 a
//!             later fragment, 28 a prefix, 29 a request for an echo, 30 an address of this host,
//!             63 always set, so that no entry is 0. With a prefix, the address is the number of its class.
//!             Replies, and addresses of this host, have a table of their own
//!   leads to  the line of a front, or of a reply's origin; 1 for an address of this host
//! front     a line: a service as it is reached by an address, a protocol and a port
//! places    32 bits each, 16 on a line: the number of a backend of the service, and in the upper half
//!           that of the backend that had the place before
//! backend   a line
//! directory 32 bits each, 16 on a line: the line of a backend, by the backend's id; 0 for no backend
//! origin    a line: what a reply of a backend is rewritten to
//! ```
//!
//! Nothing of it is written by packets, so no flood of flows makes it slower. What packets write, and what
//! commands write between two rulesets, lies beside the image: `crate::filter::tracking`.
//!
//! A backend's id is the number of its counter, which it keeps from one ruleset to the next.

use crate::capacity::COUNTERS_OF_SERVICE;
use crate::image::{Header, LINE_WORDS, Line, Lines};
use crate::packet::rewrite::{Rewritten, Side};
use crate::packet::{Network, Packet};
use crate::verifier::black_box;

/// Words of an entry, and entries of a line.
pub const ENTRY_WORDS: usize = 4;
pub const LINE_ENTRIES: usize = LINE_WORDS / ENTRY_WORDS;

/// Places on a line, and entries of the directory.
pub const LINE_PLACES: u32 = 16;
/// Bits of a place that are the backend of now; those above it are the backend of before.
pub const PLACE_BITS: u32 = 16;
/// The backend of before where that is gone, but connections may be with others than that of now.
pub const GONE: u32 = (1 << PLACE_BITS) - 1;
/// Bits of a line.
pub const LINE_BITS: u32 = 512;

/// Bits of the third word of an entry.
pub const KEY_PROTOCOL_SHIFT: u32 = 16;
pub const KEY_IPV6: u64 = 1 << 24;
pub const KEY_REPLY: u64 = 1 << 25;
pub const KEY_ANY_PORT: u64 = 1 << 26;
pub const KEY_FRAGMENT: u64 = 1 << 27;
pub const KEY_PREFIX: u64 = 1 << 28;
pub const KEY_ECHO: u64 = 1 << 29;
pub const KEY_OWN: u64 = 1 << 30;
pub const KEY_SET: u64 = 1 << 63;

/// The key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u64; 3]);

impl Key {
    /// The destination of a packet: an address of a service.
    #[inline(always)]
    pub fn destination(packet: &Packet) -> Self {
        Self::of(packet, packet.destination, packet.destination_port, 0)
    }

    /// The source of a packet: a backend that replies.
    #[inline(always)]
    pub fn source(packet: &Packet) -> Self {
        Self::of(packet, packet.source, packet.source_port, KEY_REPLY)
    }

    /// The destination of a request for an echo: an address of a service that answers it.
    #[inline(always)]
    pub fn echo(packet: &Packet) -> Self {
        Self::of(packet, packet.destination, 0, KEY_ECHO)
    }

    #[inline(always)]
    fn of(packet: &Packet, address: [u64; 2], port: u32, bits: u64) -> Self {
        let is_v6 = packet.network == Network::IPV6;
        let lower = if is_v6 { address[1] } else { 0 };
        Self([
            address[0],
            lower,
            KEY_SET
                | bits
                | if is_v6 { KEY_IPV6 } else { 0 }
                | u64::from(packet.protocol & 0xff) << KEY_PROTOCOL_SHIFT
                | u64::from(port & 0xffff),
        ])
    }

    /// The same, for any port.
    #[inline(always)]
    #[must_use]
    pub const fn for_any_port(self) -> Self {
        let Self([high, low, rest]) = self;
        Self([high, low, rest & !0xffff | KEY_ANY_PORT])
    }

    /// The same, for the prefixes around its address, of which this is the class: the value of the
    /// address in the trie of services' prefixes, see [`Header::service_prefixes_v4_root`].
    #[inline(always)]
    #[must_use]
    pub const fn for_prefix(self, class: u32) -> Self {
        let Self([_, _, rest]) = self;
        Self([class as u64, 0, rest | KEY_PREFIX])
    }

    /// The destination of a packet, if it is an address of this host.
    #[inline(always)]
    pub fn own(packet: &Packet) -> Self {
        let is_v6 = packet.network == Network::IPV6;
        let [high, low] = packet.destination;
        let family = if is_v6 { KEY_IPV6 } else { 0 };
        Self([high, if is_v6 { low } else { 0 }, KEY_SET | KEY_OWN | family])
    }

    /// The same, for fragments, which carry no ports.
    #[inline(always)]
    #[must_use]
    pub const fn for_fragments(self) -> Self {
        let Self([high, low, rest]) = self;
        Self([high, low, rest & !0xffff | KEY_FRAGMENT])
    }

    /// The two lines of a table of so many in which its entry may lie: halves of one hash, keyed
    /// as in [`crate::lookup::names`].
    #[inline(always)]
    pub const fn places(self, keys: &Line, lines: u32) -> [u32; 2] {
        let Self([high, low, rest]) = self;
        // The entry is compared as a whole, and no packet brings keys into the table: so the hash has to
        // spread and nothing else. Products that do not wait for each other are fast.
        let sum = high
            .wrapping_mul(keys[0] | 1)
            .wrapping_add(low.wrapping_mul(keys[1] | 1))
            .wrapping_add(rest.wrapping_mul(keys[2] | 1));
        let other = (sum ^ sum >> 32).wrapping_mul(keys[3] | 1);
        [
            ((sum >> 32).wrapping_mul(lines as u64) >> 32) as u32,
            ((other >> 32).wrapping_mul(lines as u64) >> 32) as u32,
        ]
    }
}

/// A service as it is reached by one address, protocol and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Front {
    /// A [`Mode`].
    pub mode: u8,
    /// A [`Fields`].
    pub hash: u8,
    /// Whether packets pass while no backend is up: 0 or 1; else they are dropped.
    pub pass_unserved: u8,
    /// Whether only some clients are served: 0 or 1; then `source_class` says which.
    pub limited: u8,
    /// The UDP port of GUE.
    pub gue_port: u16,
    /// Bytes of the longest IP packet that goes to a backend; 0 where the interface says it.
    pub mtu: u16,
    /// The first line of the table's places, and how many places it has.
    pub places_at: u32,
    pub places: u32,
    /// The first backend's line.
    pub backends: u32,
    /// The service's counter, and its id.
    pub counter: u32,
    /// The front that is asked instead where the client is not one of this one's; 0 where there is
    /// none.
    pub next: u32,
    /// The number of its clients' set, see [`Header`].
    pub clients: u32,
    /// Until when a place remembers the backend of before, for connections that no entry is known of;
    /// and when places last changed. In [`crate::filter::tracking::Moment`]s.
    pub history_ends: u32,
    pub changed_at: u32,
    /// How long an entry of a flow without connections counts, in ages of
    /// [`crate::filter::tracking`]; 0 where entries of connections count as long as they are there.
    pub life: u16,
    /// A [`Tracking`].
    pub tracking: u8,
    /// Whether a new connection of a client goes where its entry says: 0 or 1.
    pub affine: u8,
    /// What becomes of packets that are too big, that no backend serves, and that ask for an echo: bits
    /// of [`answers`].
    pub answers: u8,
    /// For the command line: percent of the weight; with less of it up, checks are disregarded.
    pub panic: u8,
    pub unused: [u8; 2],
    /// The id of its second word of state, and its first counter of losses, see [`Lost`].
    pub spares: u32,
    pub losses: u32,
    /// For the command line: how many backends there are, how long connections may be with a substitute
    /// after a backend recovered, in moments.
    pub backend_count: u32,
    pub history: u32,
}

/// Which flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tracking {
    /// None.
    None = 0,
    /// Those whose place changed its backend, or whose backend is not up.
    Changed = 1,
    /// All.
    All = 2,
}

/// What is answered in a backend's place: bits.
pub mod answers {
    /// A packet that is too big is answered with the size that fits; else it is dropped.
    pub const TOO_BIG: u8 = 1;
    /// A packet that no backend serves is answered as unreachable.
    pub const UNREACHABLE: u8 = 2;
    /// A request for an echo is answered while a backend is up.
    pub const ECHO: u8 = 4;
}

/// Why a packet of a service did not get to a backend, or how: each has a counter of the service, in
/// this order from its first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Lost {
    NoBackend = 0,
    TooBig = 1,
    NoRoute = 2,
    Fragment = 3,
    TimeToLive = 4,
    /// Not lost: the kernel's stack sends it on, for it has to find the next hop first.
    Slow = 5,
    /// Not lost: the first packet of a connection.
    New = 6,
}

/// Beside the service's own.
const _: () = assert!(COUNTERS_OF_SERVICE == 1 + Lost::ALL.len());

impl Lost {
    pub const ALL: [Self; 7] = [
        Self::NoBackend,
        Self::TooBig,
        Self::NoRoute,
        Self::Fragment,
        Self::TimeToLive,
        Self::Slow,
        Self::New,
    ];

    /// As it is called in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::TooBig => "too_big",
            Self::NoRoute => "no_route",
            Self::Fragment => "fragment",
            Self::TimeToLive => "ttl",
            Self::Slow => "slow",
            Self::New => "new",
        }
    }
}

/// How a packet gets to its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Nat = 0,
    Ipip = 1,
    Gue = 2,
    L2dsr = 3,
}

/// Which ports take part in the choice of a backend: bits.
pub mod fields {
    pub const SOURCE_PORT: u8 = 1;
    pub const DESTINATION_PORT: u8 = 2;
}

/// A backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Backend {
    /// As in [`Packet::destination`].
    pub address: [u64; 2],
    /// Its counter, and its id.
    pub counter: u32,
    /// The port that packets are rewritten to; 0 leaves it, see `has_port`.
    pub port: u16,
    pub has_port: u8,
    /// Whether its address is IPv6: 0 or 1.
    pub is_v6: u8,
    /// Whether packets go on to `mac`; else the kernel is asked for the way: 0 or 1.
    pub has_mac: u8,
    /// What the configuration says of it, a [`State`].
    pub state: u8,
    pub mac: [u8; 6],
    /// The id of its service.
    pub service: u32,
    /// For the command line: its weight.
    pub weight: u32,
    pub padding: [u64; 3],
}

/// Whether a backend gets packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Up = 0,
    /// Of connections that it has.
    Drain = 1,
    Down = 2,
}

/// What the reply of a nat backend is rewritten to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Origin {
    /// The service's address, and its port unless `has_port` is 0.
    pub address: [u64; 2],
    /// The service's counter, and the backend's.
    pub service_counter: u32,
    pub backend_counter: u32,
    pub port: u16,
    pub has_port: u8,
    /// As in [`Backend`].
    pub has_mac: u8,
    /// As in [`Front`].
    pub answers: u8,
    pub reserved: [u8; 3],
    pub mac: [u8; 6],
    pub unused: [u8; 2],
    /// The service's first counter of losses.
    pub losses: u32,
    pub others: u32,
    pub padding: [u64; 2],
}

const _: () = assert!(size_of::<Front>() == size_of::<Line>());
const _: () = assert!(size_of::<Backend>() == size_of::<Line>());
const _: () = assert!(size_of::<Origin>() == size_of::<Line>());

macro_rules! on_a_line {
    ($($type:ty),*) => {$(
        impl $type {
            /// The line that holds it.
            pub const fn to_line(self) -> Line {
                // SAFETY: same size, and every bit pattern is a line.
                unsafe { core::mem::transmute::<Self, Line>(self) }
            }

            /// The one on a line.
            #[inline(always)]
            pub const fn of(line: &Line) -> &Self {
                // SAFETY: same size, no stricter alignment, and every bit pattern is one.
                unsafe { &*line.as_ptr().cast::<Self>() }
            }
        }
    )*};
}

on_a_line!(Front, Backend, Origin);

impl Backend {
    /// One address of a packet becomes the backend's, and its port where it has one of its own.
    #[inline(always)]
    pub fn rewritten(&self, side: Side) -> Rewritten {
        let port = (self.has_port != 0).then_some(self.port);
        Rewritten { side, address: self.address, port }
    }
}

impl Origin {
    /// One address of a packet becomes the service's, and its port where it has one.
    #[inline(always)]
    pub fn rewritten(&self, side: Side) -> Rewritten {
        let port = (self.has_port != 0).then_some(self.port);
        Rewritten { side, address: self.address, port }
    }
}

/// Bits of a filter that is read before the table: an address that is in no key has its bit set by chance
/// alone, and costs no more than that one line. They lie in the near caches, where the table of many
/// backends does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The first line.
    pub at: u32,
    /// How many bits there are, as a power of two: a line or more.
    pub log: u32,
    pub keys: [u64; 2],
}

impl Bits {
    /// Bits for each address, at least.
    pub const FOR_EACH: usize = 16;
    /// The least and the most that there are.
    pub const LEAST: u32 = LINE_BITS.ilog2();
    pub const MOST: u32 = 22;

    /// The bit of an address, as in [`Packet::destination`].
    #[inline(always)]
    pub const fn bit(self, [high, low]: [u64; 2]) -> u32 {
        let sum =
            high.wrapping_mul(self.keys[0] | 1).wrapping_add(low.wrapping_mul(self.keys[1] | 1));
        (sum >> 32) as u32 >> (32_u32.wrapping_sub(self.log) & 31)
    }

    /// Whether some key may have that address. `None` is a corrupt image.
    #[inline(always)]
    pub fn may_have<L: Lines>(self, lines: &L, is_v6: bool, address: [u64; 2]) -> Option<bool> {
        let [high, low] = address;
        let bit = self.bit([high, if is_v6 { low } else { 0 }]);
        let word = lines.line(self.at.wrapping_add(bit / LINE_BITS))?[(bit / 64) as usize & 7];
        Some(word >> (bit % 64) & 1 != 0)
    }
}

/// Where the key of a service's address leads: a line; 0 where it has no entry. `None` is a corrupt image.
#[inline(always)]
pub fn find<L: Lines>(lines: &L, header: &Header, key: Key) -> Option<u32> {
    find_in(lines, header, (header.service_table, header.service_table_lines), key)
}

/// The same of the key of a backend that replies, and of an address of this host. These lie in a table of their
/// own, so that the one of the services is small enough for the near caches.
#[inline(always)]
pub fn find_reply<L: Lines>(lines: &L, header: &Header, key: Key) -> Option<u32> {
    find_in(lines, header, (header.reply_table, header.reply_table_lines), key)
}

/// Whether a packet is to an address of this host. Most are not, and of nearly all of those a word of the header says
/// so. `None` is a corrupt image.
#[inline(always)]
pub fn is_own<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<bool> {
    let [high, low] = packet.destination;
    let low = if packet.network == Network::IPV6 { low } else { 0 };
    if header.own_bits >> own_bit([high, low]) & 1 == 0 {
        return Some(false);
    }
    Some(find_reply(lines, header, Key::own(packet))? != 0)
}

/// The bit of [`Header::own_bits`] that an address has; IPv4's lower half is 0.
#[inline(always)]
pub const fn own_bit([high, low]: [u64; 2]) -> u32 {
    ((high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u32
}

#[inline(always)]
fn find_in<L: Lines>(lines: &L, header: &Header, table: (u32, u32), key: Key) -> Option<u32> {
    // One line of keys for both tables: it is looked up once.
    let places = key.places(lines.line(header.service_keys)?, table.1);
    // Nine of ten entries lie in the first of their lines.
    let found = on_line(lines.line(table.0.wrapping_add(places[0]))?, key);
    if found != 0 {
        return Some(found);
    }
    Some(on_line(lines.line(table.0.wrapping_add(places[1]))?, key))
}

/// Where the key leads by the entries of one line; 0 if none is its.
#[inline(always)]
fn on_line(line: &Line, key: Key) -> u32 {
    let Key([high, low, rest]) = key;
    let mut found = 0;
    let mut entry = 0;
    while entry < LINE_WORDS {
        let difference = line[entry] ^ high | line[entry + 1] ^ low | line[entry + 2] ^ rest;
        // 1 where anything differs, and then none of the bits. LLVM would make a branch of each comparison, and of a mask
        // that it sees to have two values.
        let difference = black_box(difference);
        let differs = black_box((difference | difference.wrapping_neg()) >> 63);
        found |= line[entry + 3] & differs.wrapping_sub(1);
        entry += ENTRY_WORDS;
    }
    found as u32
}

/// The flow's number: the same on every box with the same secret. Its upper half chooses the place.
#[inline(always)]
pub fn flow<L: Lines>(lines: &L, header: &Header, packet: &Packet, hash: u8) -> Option<u64> {
    let secret = lines.line(header.service_secret)?;
    let is_v6 = packet.network == Network::IPV6;
    let mut ports = u64::from(packet.protocol & 0xff);
    if hash & fields::SOURCE_PORT != 0 {
        ports |= u64::from(packet.source_port & 0xffff) << 32;
    }
    if hash & fields::DESTINATION_PORT != 0 {
        ports |= u64::from(packet.destination_port & 0xffff) << 48;
    }
    let mut sum = secret[0];
    if is_v6 {
        sum = mix(sum, packet.source[0], secret[1]);
        sum = mix(sum, packet.destination[0], secret[2]);
        sum = mix(sum, packet.source[1], secret[3]);
        sum = mix(sum, packet.destination[1], secret[4]);
    } else {
        // Both in one step.
        sum = mix(sum, packet.source[0] << 32 | packet.destination[0], secret[1]);
    }
    sum = mix(sum, ports, secret[5]);
    sum = mix(sum, secret[6], secret[7]);
    Some(sum)
}

#[inline(always)]
pub const fn mix(sum: u64, word: u64, secret: u64) -> u64 {
    let product = (sum ^ word).wrapping_add(secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// What stands at the place that a number chooses: the backend of now and the one of before, see
/// [`PLACE_BITS`]. `None` is a corrupt image.
#[inline(always)]
pub fn place<L: Lines>(lines: &L, front: &Front, number: u32) -> Option<u32> {
    let place = (u64::from(number).wrapping_mul(u64::from(front.places)) >> 32) as u32;
    number_at(lines, front.places_at, place)
}

/// The line of the backend with that id; 0 where the ruleset has none. `None` is a corrupt image.
#[inline(always)]
pub fn by_id<L: Lines>(lines: &L, header: &Header, id: u32) -> Option<u32> {
    if id >= header.service_ids {
        return Some(0);
    }
    number_at(lines, header.service_directory, id)
}

/// The number at that index of an array of them. `None` is a corrupt image.
#[inline(always)]
pub fn number_at<L: Lines>(lines: &L, first: u32, index: u32) -> Option<u32> {
    let line = lines.line(first.wrapping_add(index / LINE_PLACES))?;
    let pair = line[(index % LINE_PLACES / 2) as usize & 7];
    Some((pair >> (32 * (index % 2))) as u32)
}
