//! Longest prefix match: from an address to the value of the longest prefix that holds it. The
//! addresses that lists and rules name are looked up so.
//!
//! It is a trie that takes 16 bits first, then a byte at a time, of addresses of 128 bits; an IPv4
//! address is the upper 32 of them. Among a million prefixes, what costs time is each line that no
//! cache has. Therefore
//!
//! - a node says in its first line whether anything is listed below each of the 256 bytes. Most
//!   addresses that no prefix holds end there, after two lines in all;
//! - a node has slots only for the bytes below which something is listed. They lie in the lines
//!   right behind the node, which the processor fetches with it. Neighbours with the same slot
//!   share it, so that a short prefix takes no more room than a long one;
//! - a few prefixes get no nodes of their own: up to three listed bytes fit into a slot, up to four
//!   longer prefixes or parts of the trie into a line of records;
//! - up to two dozen prefixes that differ only in two bytes, as those of an IPv4 /16 do in a list
//!   of a million, fit into one line, a bucket.
//!
//! ```text
//! root      65,536 slots, by the first 16 bits
//! slot      u32, its kind in the upper three bits:
//!   VALUE     the value of every address below, 0 where nothing is listed
//!   BYTES     a value (5 bits), and the three next bytes that have it; other bytes have 0
//!   NODE      the line of a node, which takes the next byte
//!   RECORDS   the number of records less one (2 bits), and the place of the first, counted in
//!             records of 16 bytes. The first record that matches decides; if none does, 0
//!   RECORD    the next byte (8 bits), and the place of one record; other bytes have 0
//!   BUCKET    the line of a bucket
//!   EVEN      the line of an even bucket
//! node      4 x u64: a bit for each byte below which something is listed
//!           4 x u64: a bit for each of these bytes whose slot is not the one before it
//!           4 x u8: for each word of the latter bits, how many are set in the words before it
//!           u32: slots, one for each of the latter bits
//! record    u64: the next 64 bits; u64: the 32 bits after them, then a bit that is set if a node
//!           follows, 7 bits of length (0 to 96), 24 bits of value or of the node's line
//! bucket    u32: how many words of single numbers it has (lower 8 bits), and how many of ranges
//!           (above); u32: the value of addresses whose next 16 bits are among these; others have 0
//!           words of 4 x u16: single numbers, the last repeated
//!           words of 2 x u32: ranges, the first number in the lower half, how many follow it in the
//!           upper; the last is repeated
//! even      as a bucket, of 4 words of single numbers and 3 of ranges; what would be empty repeats
//!           something. Nothing in it has to be asked before the next word can be compared
//! ```
//!
//! The worst that a list can do: an IPv6 lookup reads a slot, a record and a node (two lines) for
//! every two bytes, an IPv4 lookup two nodes. No prefix takes more than a node with its slots and
//! two records, however the list is chosen (`image::lpm` in xdp-cli builds the trie and has a test
//! of that). Nothing is hashed, so nobody can choose addresses that collide.

use crate::image::{Lines, SPAN_WORDS, Span};
use crate::lookup::bits::count_ones;
use crate::packet::Network;
use crate::verifier::black_box;

/// Lines of a root.
pub const ROOT_LINES: u32 = (1 << 16) / LINE_SLOTS;
/// Slots on a line.
pub const LINE_SLOTS: u32 = 16;

/// A slot's kind.
pub const KIND: u32 = 7 << 29;
pub const VALUE: u32 = 0;
pub const BYTES: u32 = 1 << 29;
pub const NODE: u32 = 2 << 29;
pub const RECORDS: u32 = 3 << 29;
pub const BUCKET: u32 = 4 << 29;
pub const RECORD: u32 = 5 << 29;
pub const EVEN: u32 = 6 << 29;

/// Greatest value of slots of kind [`BYTES`], and where it stands in them.
pub const BYTES_MAX: u32 = 31;
pub const BYTES_SHIFT: u32 = 24;
/// Where a slot of kind [`RECORDS`] has its number of records less one.
pub const COUNT_SHIFT: u32 = 27;
/// Where a slot of kind [`RECORD`] has the byte. A record whose place needs more bits than are
/// below it gets a slot of kind [`RECORDS`].
pub const BYTE_SHIFT: u32 = 21;
/// Most records of a slot, all in one line.
pub const MAX_RECORDS: usize = 4;

/// In the second word of a record: a node's line stands in place of a value.
pub const RECORD_NODE: u64 = 1 << 31;
pub const LENGTH_SHIFT: u32 = 24;
/// Most bits that a record can compare.
pub const MAX_LENGTH: u8 = 96;
/// Values and lines in records are below this.
pub const RECORD_VALUES: u32 = 1 << 24;

/// Words of a bucket after its first, and numbers in each.
pub const BUCKET_WORDS: usize = 7;
pub const WORD_NUMBERS: usize = 4;
/// Ranges in each.
pub const WORD_RANGES: usize = 2;
/// Where a bucket's first half word has its number of words of ranges.
pub const RANGES_SHIFT: u32 = 8;
/// Words of single numbers in an even bucket; the rest are of ranges.
pub const EVEN_NUMBERS: usize = 4;

/// Words of a node before the line of its slots.
pub const NODE_WORDS: usize = 8;
/// Steps of the longest lookup: 14 bytes follow the first two of an IPv6 address.
const STEPS: u32 = 14;
/// The same of IPv4: two bytes follow.
const STEPS_V4: u32 = 2;

/// The value of a packet's address in the trie of its family: the roots are IPv4's and IPv6's.
#[inline(always)]
pub fn find_of<L: Lines>(
    lines: &L,
    [v4, v6]: [u32; 2],
    network: Network,
    address: [u64; 2],
) -> Option<u32> {
    // One call of `find_within` for both families: inlined, a second one would be a second copy of it.
    let (root, address, most) = if network == Network::IPV6 {
        (v6, address, STEPS)
    } else {
        (v4, [address[0] << 32, 0], STEPS_V4)
    };
    find_within(lines, root, address, most)
}

/// The value of an address; 0 where there is no root. `None` is a corrupt image.
#[inline(always)]
pub fn find<L: Lines>(lines: &L, root: u32, address: [u64; 2]) -> Option<u32> {
    find_within(lines, root, address, STEPS)
}

/// As above, within so many steps.
#[inline(always)]
fn find_within<L: Lines>(lines: &L, root: u32, address: [u64; 2], most: u32) -> Option<u32> {
    if root == 0 {
        return Some(0);
    }
    let [mut high, mut low] = address;
    let top = (high >> 48) as u32;
    let line = lines.span(root.wrapping_add(top / LINE_SLOTS))?;
    let mut slot = halves(line)[(top % LINE_SLOTS) as usize];
    shift(&mut high, &mut low, 16);
    // A black box, or LLVM writes the steps one behind the other where they are few.
    let (mut step, most) = (0, black_box(most.into()));
    while step < most {
        if slot & KIND == VALUE {
            return Some(slot);
        }
        if slot & KIND == BYTES {
            return Some(value_of_byte(slot, high));
        }
        if slot & KIND == EVEN {
            return Some(value_in_even_bucket(lines.span(slot & !KIND)?, high));
        }
        if slot & KIND == BUCKET {
            return Some(value_in_bucket(lines.span(slot & !KIND)?, high));
        }
        if slot & KIND == RECORD {
            if (high >> 56) as u32 != slot >> BYTE_SHIFT & 0xff {
                return Some(0);
            }
            slot = RECORDS | slot & ((1 << BYTE_SHIFT) - 1);
        }
        if slot & KIND == RECORDS {
            let record = match first_match(lines, slot, high, low)? {
                Some(record) => record,
                None => return Some(0),
            };
            let value = record as u32 & (RECORD_VALUES - 1);
            if record & RECORD_NODE == 0 {
                return Some(value);
            }
            shift(&mut high, &mut low, (record >> LENGTH_SHIFT) as u32 & 0x7f);
            slot = value;
        }
        slot = node_slot(lines.span(slot & !KIND)?, (high >> 56) as u32)?;
        shift(&mut high, &mut low, 8);
        step += 1;
    }
    // An image's last step is a value.
    Some(slot)
}

/// Lines of filters: 2^24 bits for IPv4, 2^18 for IPv6.
pub const FILTER_V4_LINES: u32 = 1 << 15;
pub const FILTER_V6_LINES: u32 = 1 << 9;

/// The number of an IPv4 address's bit in a filter: one for each /24.
#[inline(always)]
pub const fn filter_bit_v4(address: u32) -> u32 {
    address >> 8
}

/// The number of an IPv6 address's bit, by its first 32 bits: the upper bits of an odd product,
/// which spread neighbours over the filter (Knuth, volume 3, section 6.4). A list whose /32s were
/// chosen to share bits would set fewer of them.
#[inline(always)]
pub const fn filter_bit_v6(upper: u32) -> u32 {
    upper.wrapping_mul(0x9e37_79b1) >> 14
}

/// Line, word of the line and bit of the word.
#[inline(always)]
pub const fn filter_place(bit: u32) -> (u32, usize, u32) {
    (bit >> 9, (bit >> 6 & 7) as usize, bit & 63)
}

/// Whether a large trie may hold an address: its filter has a bit for each /24 of IPv4, and for
/// each /32 of IPv6, in which an address is listed. Without a filter, it may.
///
/// IPv4's filter takes half the room of the nodes' first lines, and one read where they take two.
/// It costs a listed address nothing: the processor goes on before it knows the bit.
#[inline(always)]
pub fn may_hold<L: Lines>(lines: &L, filter: u32, bit: u32) -> Option<bool> {
    if filter == 0 {
        return Some(true);
    }
    let (line, word, bit) = filter_place(bit);
    let line = lines.line(filter.wrapping_add(line))?;
    Some(line[word] >> bit & 1 != 0)
}

/// Drops the first `bits` of an address, 1 to 127. A corrupt image may say 0; then any address may
/// come out.
#[inline(always)]
fn shift(high: &mut u64, low: &mut u64, bits: u32) {
    if bits < 64 {
        *high = *high << bits | low.wrapping_shr(64 - bits);
        *low <<= bits;
    } else {
        *high = *low << (bits - 64);
        *low = 0;
    }
}

#[inline(always)]
const fn halves(span: &Span) -> &[u32; 2 * SPAN_WORDS] {
    // SAFETY: same size, the alignment of words is the greater one, and every bit pattern is valid.
    unsafe { &*span.as_ptr().cast() }
}

#[inline(always)]
const fn value_of_byte(slot: u32, high: u64) -> u32 {
    let byte = (high >> 56) as u32;
    if byte == slot & 0xff || byte == slot >> 8 & 0xff || byte == slot >> 16 & 0xff {
        slot >> BYTES_SHIFT & BYTES_MAX
    } else {
        0
    }
}

/// A one in each of the four parts of a word.
const EACH: u64 = 0x0001_0001_0001_0001;

/// All words are compared, and one branch decides, which goes the same way for most packets. Which
/// word matches cannot be guessed, and a branch guessed wrong costs more than all comparisons.
#[inline(always)]
fn value_in_even_bucket(bucket: &Span, high: u64) -> u32 {
    let number = high >> 48;
    let everywhere = number * EACH;
    let mut equal = 0;
    for word in &bucket[1..1 + EVEN_NUMBERS] {
        let differs = word ^ everywhere;
        equal |= differs.wrapping_sub(EACH) & !differs;
    }
    // How far the number lies behind the last of a range is positive or 0 inside, so the upper bit
    // stays where all ranges were missed.
    let mut outside = u64::MAX;
    for word in &bucket[1 + EVEN_NUMBERS..=BUCKET_WORDS] {
        let follows = |range: u64| number.wrapping_sub(range) & 0xffff;
        outside &= (word >> 16 & 0xffff).wrapping_sub(follows(*word));
        outside &= (word >> 48).wrapping_sub(follows(word >> 32));
    }
    // EACH << 15 has the upper bit too.
    if black_box((equal & EACH << 15) | (!outside & 1 << 63)) == 0 {
        return 0;
    }
    (bucket[0] >> 32) as u32
}

#[inline(always)]
fn value_in_bucket(bucket: &Span, high: u64) -> u32 {
    let number = high >> 48;
    let value = (bucket[0] >> 32) as u32;
    let words = bucket[0] & 7;
    let ranges = bucket[0] >> RANGES_SHIFT & 7;
    let everywhere = number * EACH;
    // A black box, or LLVM makes a loop that counts down to 0 from a number whose bound the
    // verifier of Linux 6.1 does not know.
    let mut place = 0;
    while place < BUCKET_WORDS && (place as u64) < black_box(words) {
        let differs = black_box(bucket[1 + place] ^ everywhere);
        // Set where one of the four parts is 0: it borrows (Hacker's Delight, section 6-1).
        if differs.wrapping_sub(EACH) & !differs & (EACH << 15) != 0 {
            return value;
        }
        place += 1;
    }
    let first = black_box(1 + words) as usize & 0xf;
    let mut place = 0;
    while place < BUCKET_WORDS && (place as u64) < black_box(ranges) {
        let word = bucket[first + place];
        let follows = |range: u64| number.wrapping_sub(range & 0xffff) & 0xffff;
        if follows(word) <= word >> 16 & 0xffff || follows(word >> 32) <= word >> 48 {
            return value;
        }
        place += 1;
    }
    0
}

/// The slot of a byte in a node.
#[inline(always)]
fn node_slot(node: &Span, byte: u32) -> Option<u32> {
    let word = (byte >> 6 & 3) as usize;
    let bit = u64::from(byte & 63);
    if node[word] >> bit & 1 == 0 {
        return Some(0);
    }
    let halves = halves(node);
    let before = halves[2 * NODE_WORDS] >> (8 * word as u32) & 0xff;
    let up_to = (2u64 << bit).wrapping_sub(1);
    let place = black_box(u64::from(before + count_ones(node[4 + word] & up_to)));
    // Place 0 is that of the counts; the first listed byte always has a slot of its own, at place
    // 1.
    if place > 256 {
        return None;
    }
    Some(halves[2 * NODE_WORDS + place as usize])
}

/// The second word of the first record that matches.
#[inline(always)]
fn first_match<L: Lines>(lines: &L, slot: u32, high: u64, low: u64) -> Option<Option<u64>> {
    let first = slot & ((1 << COUNT_SHIFT) - 1);
    let line = lines.span(first / MAX_RECORDS as u32)?;
    // A black box, or LLVM joins the places of line and record in a way in which the verifier of
    // Linux 6.1 loses their bounds.
    let mut place = black_box(u64::from(first % MAX_RECORDS as u32)) as usize;
    let last = place + (slot >> COUNT_SHIFT & 3) as usize;
    while place < MAX_RECORDS && place <= last {
        let (upper, rest) = (line[2 * place], line[2 * place + 1]);
        let length = rest >> LENGTH_SHIFT & 0x7f;
        // Two shifts, because a shift by 64 shifts nothing: with length 0, a record compares
        // nothing.
        let differs = if length < 64 {
            (high ^ upper) >> 1 >> ((63 - length) & 63)
        } else {
            // A corrupt image may say more than 96 bits; then any number of them is compared.
            (high ^ upper) | (low ^ rest) >> 32 >> (96u64.wrapping_sub(length) & 63)
        };
        if differs == 0 {
            return Some(Some(rest));
        }
        place += 1;
    }
    Some(None)
}
