//! From a domain name to what the lists say of it and of its parents.
//!
//! A name is looked up label by label from the right: `com`, `example.com`, `www.example.com`. Each of
//! these suffixes has three hashes of 32 bits, which go on from those of the suffix before. One
//! chooses a bucket, a line of the image; the other two are the fingerprint, which stands in the
//! bucket beside the value. The names themselves are not in the image.
//!
//! ```text
//! keys         a line where the sums begin, then a line for each eight bytes of a name
//! filter       words of 64 bits, one word and three bits in it for each name
//! bucket       five slots, and in the last four bytes 1 if names of this bucket stand in their second
//!   slot       a word: the fingerprint
//!              four bytes behind all words: the value (20 bits, 0 where the slot is empty), the lowest
//!              bits of the hash that chooses the bucket (12 bits)
//! ```
//!
//! **Hash.** Each is a sum modulo 2^64 of which the upper half is taken: the name's 32-bit numbers are
//! added to random keys of 64 bits, each two such sums are multiplied, and the products added up
//! (Multilinear-HM: Lemire and Kaser, "Strongly universal string hashing is fast", The Computer
//! Journal 57, 2014). Two different names have the same hash with a probability of 2^-32 over the
//! keys if their numbers are equally many, whatever the names are, for then the difference of the
//! sums is linear in the keys. If they are not, it is a product of two keys at least, and the
//! probability is below 2^-31: only a factor that 2^33 divides keeps the upper half from being any
//! number equally often. The three hashes have keys of their own. The keys are drawn for each
//! image, and no answer depends on them, so nobody can search for names that collide. A suffix that
//! is not listed is taken for one of n listed names with a probability below n * 2^-73, for 76 bits
//! are compared; a whole name, which has 127 suffixes at most, below n * 2^-66. Most names stand in
//! their first bucket, which those bits say nothing of, and are mistaken as much less often as there
//! are buckets.
//!
//! **Encoding.** A label is its length and its bytes, in lower case, filled up with zeros to a multiple
//! of eight; the labels follow each other from the right. The length says where a label ends, so no
//! two names give the same numbers.
//!
//! **Cost.** A filter stands before the table (Putze, Sanders and Singler, "Cache-, hash-, and
//! space-efficient Bloom filters", ACM Journal of Experimental Algorithmics 14, 2010): of 16 to 32 bits a
//! name, 8 where there are a million, in one extent, so that it is found once for all suffixes, and a
//! large one stays in the near caches. It lets under 1 of 100 suffixes through that are not listed, 4
//! where there are a million names; a name that is not listed mostly reads nothing else. The suffixes that it lets through are looked up from the longest on,
//! up to the first that is listed: one line each, sometimes two. Suffixes with more labels than any
//! listed name are not looked up. What names are asked for changes nothing in the table, so no flood
//! of names can make it slower; and a bucket has five slots, whatever is listed.

use crate::capacity::MAX_NAMES;
use crate::image::{EXTENT_WORDS, Header, LINE_WORDS, Line, Lines, SPAN_WORDS, Span};
use crate::packet::dns::{MAX_LABELS, Message};
use crate::verifier::{black_box, launder};

/// Lines of keys: where the sums begin, and the most eight bytes that a name can take, one for each
/// label.
pub const KEY_LINES: u32 = 1 + MAX_LABELS;
/// Slots of a bucket.
pub const SLOTS: usize = 5;
/// The bits of a value.
pub const VALUE_BITS: u32 = 20;

// What is said of names can differ from one to the next, and 0 is what is said of none.
const _: () = assert!(MAX_NAMES < 1 << VALUE_BITS);

/// The sums of a suffix.
#[derive(Clone, Copy, Debug)]
pub struct Sums([u64; 3]);

impl Sums {
    /// The sums of the root, by the first line of keys.
    #[inline(always)]
    pub const fn of_root(keys: &Line) -> Self {
        Self([keys[0], keys[1], keys[2]])
    }

    /// Goes on with eight bytes of a label.
    #[inline(always)]
    pub fn add(&mut self, keys: &Line, bytes: u64) {
        let (low, high) = (bytes & 0xffff_ffff, bytes >> 32);
        let product = |hash: usize| {
            keys[2 * hash].wrapping_add(low).wrapping_mul(keys[2 * hash + 1].wrapping_add(high))
        };
        let [a, b, c] = &mut self.0;
        *a = a.wrapping_add(product(0));
        *b = b.wrapping_add(product(1));
        *c = c.wrapping_add(product(2));
    }

    /// The hashes.
    #[inline(always)]
    pub const fn hashes(&self) -> Hashes {
        let [a, b, c] = self.0;
        Hashes { fingerprint: a >> 32 | (b >> 32) << 32, place: (c >> 32) as u32 }
    }
}

/// The hashes of a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Hashes {
    pub fingerprint: u64,
    /// Chooses the bucket.
    pub place: u32,
}

impl Hashes {
    /// The bucket, among `buckets`.
    #[inline(always)]
    pub const fn bucket(&self, buckets: u32) -> u32 {
        part_of(self.place, buckets)
    }

    /// The second bucket, for names that find no room in the first: by a part of the fingerprint.
    #[inline(always)]
    pub const fn second_bucket(&self, buckets: u32) -> u32 {
        part_of((self.fingerprint >> 32) as u32, buckets)
    }

    /// What stands in a slot beside the fingerprint, but for the value: those bits of the place that
    /// say least of the bucket.
    #[inline(always)]
    pub const fn beside(&self) -> u32 {
        self.place << VALUE_BITS
    }

    /// The filter's word, among as many as `mask` has numbers.
    #[inline(always)]
    pub const fn filter_word(&self, mask: u32) -> u32 {
        self.place & mask
    }

    /// Three bits of the filter's word.
    #[inline(always)]
    pub const fn filter_bits(&self) -> [u32; 3] {
        let bits = self.fingerprint as u32;
        [bits & 63, bits >> 6 & 63, bits >> 12 & 63]
    }
}

/// One of `count` equal parts of all hashes.
#[inline(always)]
const fn part_of(hash: u32, count: u32) -> u32 {
    ((hash as u64).wrapping_mul(count as u64) >> 32) as u32
}

/// A bucket. It takes a line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Bucket {
    pub fingerprints: [u64; SLOTS],
    /// What stands beside them; behind that of the last, 1 if names of this bucket stand in their
    /// second.
    pub values: [u32; SLOTS + 1],
}

const _: () = assert!(size_of::<Bucket>() == size_of::<Line>());

impl Bucket {
    /// The line that holds it.
    pub const fn to_line(self) -> Line {
        // SAFETY: same size, and every bit pattern is a line.
        unsafe { core::mem::transmute::<Self, Line>(self) }
    }

    /// The bucket on a line.
    #[inline(always)]
    const fn of(line: &Line) -> &Self {
        // SAFETY: same size and alignment, and every bit pattern is a bucket.
        unsafe { &*line.as_ptr().cast() }
    }
}

/// Up to eight bytes of a label, in lower case, without what follows the first `count` of them.
/// Letters are those of ASCII (RFC 4343).
#[inline(always)]
pub const fn lower_case(bytes: u64, count: u32) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const TOP: u64 = ONES << 7;
    let bytes = bytes & (u64::MAX >> (8_u32.wrapping_mul(count).wrapping_neg() & 63));
    // In the top bit of each byte: whether its other seven are from `A` on; beyond `Z`.
    let rest = bytes & !TOP;
    let from_a = rest + ONES * (0x80 - b'A' as u64);
    let beyond_z = rest + ONES * (0x80 - b'Z' as u64 - 1);
    let capitals = from_a & !beyond_z & !bytes & TOP;
    bytes | capitals >> 2
}

/// A suffix that the filter let through.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Candidate {
    hashes: Hashes,
    /// Its leftmost label.
    label: u32,
}

/// Where the search for a name stands. It lies in a map's value between two rounds.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Search {
    sums: Sums,
    /// The label that is being read, the leftmost being 0, and the last that is to be read.
    label: u32,
    last: u32,
    /// The line of keys for the next eight bytes.
    piece: u32,
    /// Where its next eight bytes are, and how many bytes of it are left.
    at: u32,
    rest: u32,
    /// The value of the longest suffix that was found, and its leftmost label.
    found: u32,
    found_at: u32,
    /// How many suffixes of this round the filter let through, and these, the longest last.
    count: u32,
    candidates: [Candidate; STEPS as usize],
}

impl Search {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        sums: Sums([u64::MAX; 3]),
        label: u32::MAX,
        last: u32::MAX,
        piece: u32::MAX,
        at: u32::MAX,
        rest: u32::MAX,
        found: u32::MAX,
        found_at: u32::MAX,
        count: u32::MAX,
        candidates: [Candidate {
            hashes: Hashes { fingerprint: u64::MAX, place: u32::MAX },
            label: u32::MAX,
        }; STEPS as usize],
    };

    /// Begins a search for a name of so many labels. `None` is a corrupt image.
    #[inline(always)]
    pub fn begin<L: Lines>(&mut self, lines: &L, header: &Header, labels: u32) -> Option<()> {
        let keys = lines.near(header.name_keys)?;
        self.sums = Sums::of_root(line_of(keys, 0));
        self.label = labels;
        self.last = labels.saturating_sub(header.name_depth);
        self.rest = 0;
        self.piece = 1;
        self.found = header.root_name;
        self.found_at = labels;
        Some(())
    }

    /// Goes on with a search, by up to [`STEPS`] times eight bytes. `None` is a corrupt image.
    #[inline(always)]
    pub fn advance<L: Lines>(
        &mut self,
        lines: &L,
        header: &Header,
        message: &Message,
    ) -> Option<Found> {
        let is_over = self.filter(lines, header, message)?;
        // The verifier has seen the suffixes counted; from here on it knows nothing of them.
        let this = launder(self);
        this.look_up(lines, header)?;
        let this = launder(this);
        if !is_over {
            return Some(Found::More);
        }
        Some(Found::Said(this.found << 1 | u32::from(this.found_at != 0)))
    }

    /// Hashes the next suffixes, and keeps those that the filter lets through. Whether they were the
    /// last; `None` is a corrupt image.
    #[inline(always)]
    fn filter<L: Lines>(&mut self, lines: &L, header: &Header, message: &Message) -> Option<bool> {
        let keys = lines.near(header.name_keys.wrapping_add(self.piece))?;
        let filter = lines.extent(header.name_filter)?;
        let mask = header.name_filter_mask;
        let Self { mut sums, mut label, mut at, mut rest, last, .. } = *self;
        let mut step = 0;
        self.count = 0;
        while step < STEPS {
            if rest == 0 {
                if label == last {
                    break;
                }
                label = label.wrapping_sub(1);
                at = message.label(label);
            }
            let mut bytes = message.eight(at);
            if rest == 0 {
                rest = (bytes & 0xff) as u32 + 1;
            }
            while rest > 8 && step < STEPS - 1 {
                sums.add(line_of(keys, step as usize), lower_case(bytes, 8));
                step += 1;
                at += 8;
                rest -= 8;
                bytes = message.eight(at);
            }
            let keys = line_of(keys, step as usize);
            step += 1;
            if rest > 8 {
                sums.add(keys, lower_case(bytes, 8));
                at += 8;
                rest -= 8;
                break;
            }
            sums.add(keys, lower_case(bytes, rest));
            rest = 0;
            let hashes = sums.hashes();
            let word = black_box(u64::from(hashes.filter_word(mask))) as usize;
            let word = *filter.get(word & (EXTENT_WORDS - 1))?;
            let [first, second, third] = hashes.filter_bits();
            if black_box(word >> first & word >> second & word >> third & 1) != 0 {
                // Counted in the map, of which the verifier knows nothing.
                let this = launder(self);
                this.candidates[this.count as usize % STEPS as usize] = Candidate { hashes, label };
                this.count += 1;
            }
        }
        let is_over = rest == 0 && label == last;
        if !is_over {
            let this = launder(self);
            this.sums = sums;
            this.label = label;
            this.at = at;
            this.rest = rest;
            this.piece += STEPS;
        }
        Some(is_over)
    }

    /// Looks up what the filter let through, from the longest suffix on to the first that is listed.
    /// `None` is a corrupt image.
    #[inline(always)]
    fn look_up<L: Lines>(&mut self, lines: &L, header: &Header) -> Option<()> {
        let mut step = 0;
        while step < STEPS {
            let this = launder(self);
            if this.count == 0 {
                break;
            }
            this.count -= 1;
            let number = this.count as usize % STEPS as usize;
            let Candidate { hashes, label } = &this.candidates[number];
            let value = value_of(lines, header, hashes)?;
            if value != 0 {
                this.found = value;
                this.found_at = *label;
                break;
            }
            step += 1;
        }
        Some(())
    }
}

/// Steps of a search that a program takes at once; another one goes on with more. Their keys have to
/// lie in a span. More steps would take longer to verify, fewer would have longer names pay for going
/// on.
pub const STEPS: u32 = 16;

const _: () = assert!(STEPS as usize * LINE_WORDS <= SPAN_WORDS);

/// What is said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Twice the value of its longest suffix that is listed, plus 1 if that is not the whole name. 0
    /// or 1 where none is listed.
    Said(u32),
    /// Not known yet: go on.
    More,
}

/// Line number `number` of a span.
#[inline(always)]
fn line_of(span: &Span, number: usize) -> &Line {
    debug_assert!((number + 1) * LINE_WORDS <= SPAN_WORDS);
    // SAFETY: all callers ask for less than `STEPS`, and a span has that many lines (asserted above).
    unsafe { &*span.as_ptr().add(number * LINE_WORDS).cast() }
}

/// The value of a suffix; 0 if it is not listed.
#[inline(always)]
fn value_of<L: Lines>(lines: &L, header: &Header, hashes: &Hashes) -> Option<u32> {
    let (table, buckets) = (header.name_table, header.name_buckets);
    let bucket = Bucket::of(lines.far(table.wrapping_add(hashes.bucket(buckets)))?);
    let mut value = value_in(bucket, hashes);
    if value == 0 && bucket.values[SLOTS] != 0 {
        let bucket = lines.far(table.wrapping_add(hashes.second_bucket(buckets)))?;
        value = value_in(Bucket::of(bucket), hashes);
    }
    Some(value)
}

/// The value beside a fingerprint. All slots are compared, without a branch that could be guessed
/// wrong.
#[inline(always)]
fn value_in(bucket: &Bucket, hashes: &Hashes) -> u32 {
    let mut value = 0;
    let mut slot = 0;
    while slot < SLOTS {
        let beside = bucket.values[slot] ^ hashes.beside();
        let difference =
            bucket.fingerprints[slot] ^ hashes.fingerprint | u64::from(beside >> VALUE_BITS);
        // All ones where anything differs. LLVM would make a branch of it.
        let difference = black_box(difference);
        let negative = black_box(difference.wrapping_neg());
        value |= bucket.values[slot] & !((difference | negative) as i64 >> 63) as u32;
        slot += 1;
    }
    value & ((1 << VALUE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_become_lower_case() {
        for byte in 0..=u8::MAX {
            let bytes = [3, byte, b'Z', byte, byte, b'@', b'[', byte];
            for count in 1..=8 {
                let mut expected = [0; 8];
                expected[..count]
                    .copy_from_slice(&bytes.map(|it| it.to_ascii_lowercase())[..count]);
                let lower = lower_case(u64::from_le_bytes(bytes), count as u32);
                assert_eq!(lower, u64::from_le_bytes(expected), "{byte:#x} {count}");
            }
        }
    }
}
