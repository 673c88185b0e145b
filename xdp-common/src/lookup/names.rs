//! From a domain name to what the lists say of it and of its parents.
//!
//! A name is looked up label by label from the right: `com`, `example.com`, `www.example.com`. Each of
//! these suffixes has four hashes of 32 bits, which go on from those of the suffix before. One
//! chooses a bucket, a line of the image; the other three are the fingerprint, which stands in the
//! bucket beside the value. The names themselves are not in the image.
//!
//! ```text
//! keys         a line where the sums begin, then a line for each eight bytes of a name
//! bucket       four slots of two words, empty where the value is 0
//!   slot       word 0: fingerprint 0 (lower half), 1 (upper half)
//!              word 1: the value (31 bits), fingerprint 2 (upper half)
//!              bit 31 of word 1, in the first slot alone: names of this bucket stand in their second
//! filter       of a large table: lines of 512 bits, one line and two bits in it for each name
//! ```
//!
//! **Hash.** Each is a sum of products modulo 2^64 of which the upper half is taken: of the name's
//! 32-bit numbers, each with a random key of 64 bits, and one more key. Two different names have the
//! same hash with a probability of 2^-32 over the keys, whatever the names are (Lemire and Kaser,
//! "Strongly universal string hashing is fast", The Computer Journal 57, 2014). The four hashes
//! have keys of their own, so all of them agree with 2^-128. The keys are drawn for each image, and
//! no answer depends on them, so nobody can search for names that collide. A name that is not
//! listed is taken for one of n listed names with a probability below n * 2^-96: the second bucket
//! is chosen by a part of the fingerprint.
//!
//! **Encoding.** A label is its length and its bytes, in lower case, filled up with zeros to a multiple
//! of eight; the labels follow each other from the right. The length says where a label ends, so no
//! two names give the same numbers, and none is zero at its end.
//!
//! **Cost.** A name that is not listed takes one line for each suffix, sometimes two. A large table has a
//! filter before it (Putze, Sanders and Singler, "Cache-, hash-, and space-efficient Bloom filters", ACM
//! Journal of Experimental Algorithmics 14, 2010): of eight bits a name, so that it stays in the near
//! caches, and lets 5 of 100 suffixes through that are not listed. Suffixes with more
//! labels than any listed name are not looked up. What names are asked for changes nothing in the
//! table, so no flood of names can make it slower; and a bucket has four slots, whatever is listed.

use crate::image::{Header, LINE_WORDS, Line, Lines};
use crate::packet::dns::{MAX_LABELS, Message};
use crate::verifier::{black_box, launder};

/// Lines of keys: where the sums begin, and the most eight bytes that a name can take, one for each
/// label.
pub const KEY_LINES: u32 = 1 + MAX_LABELS;
/// Slots of a bucket.
pub const SLOTS: usize = 4;
/// The bits of a value.
pub const VALUE: u64 = 0x7fff_ffff;
/// Set in the first slot of a bucket if names that belong there stand in their second bucket.
pub const OVERFLOW: u64 = 1 << 31;
/// The bits of the third fingerprint in a slot.
const UPPER: u64 = 0xffff_ffff << 32;

/// The sums of a suffix.
#[derive(Clone, Copy, Debug)]
pub struct Sums([u64; 4]);

impl Sums {
    /// The sums of the root, by the first line of keys.
    #[inline(always)]
    pub const fn of_root(keys: &Line) -> Self {
        Self([keys[0], keys[1], keys[2], keys[3]])
    }

    /// Goes on with eight bytes of a label.
    #[inline(always)]
    pub fn add(&mut self, keys: &Line, bytes: u64) {
        let (low, high) = (bytes & 0xffff_ffff, bytes >> 32);
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(keys[0].wrapping_mul(low)).wrapping_add(keys[4].wrapping_mul(high));
        *b = b.wrapping_add(keys[1].wrapping_mul(low)).wrapping_add(keys[5].wrapping_mul(high));
        *c = c.wrapping_add(keys[2].wrapping_mul(low)).wrapping_add(keys[6].wrapping_mul(high));
        *d = d.wrapping_add(keys[3].wrapping_mul(low)).wrapping_add(keys[7].wrapping_mul(high));
    }

    /// The fingerprint, as it lies in a slot, without the value.
    #[inline(always)]
    pub const fn fingerprint(&self) -> [u64; 2] {
        let [a, b, c, _] = self.0;
        [a >> 32 | b & UPPER, c & UPPER]
    }

    /// The hash that chooses the bucket.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        (self.0[3] >> 32) as u32
    }

    /// The bucket, among `buckets`.
    #[inline(always)]
    pub const fn bucket(&self, buckets: u32) -> u32 {
        ((self.0[3] >> 32).wrapping_mul(buckets as u64) >> 32) as u32
    }

    /// The filter's line, among `lines`, and two bits in it.
    #[inline(always)]
    pub const fn in_filter(&self, lines: u32) -> (u32, [u32; 2]) {
        (self.bucket(lines), filter_bits(self.0[2]))
    }

    /// The second bucket, for names that find no room in the first: by a part of the fingerprint.
    #[inline(always)]
    pub const fn second_bucket(&self, buckets: u32) -> u32 {
        second_bucket(self.fingerprint()[1], buckets)
    }
}

/// Bits of the filter's line, by the second word of a fingerprint.
#[inline(always)]
pub const fn filter_bits(second_word: u64) -> [u32; 2] {
    let bits = (second_word >> 32) as u32;
    [bits & 0x1ff, bits >> 9 & 0x1ff]
}

/// The second bucket of what lies in a slot.
#[inline(always)]
pub const fn second_bucket(second_word: u64, buckets: u32) -> u32 {
    ((second_word >> 32).wrapping_mul(buckets as u64) >> 32) as u32
}

/// Up to eight bytes of a label, in lower case, without what follows the first `count` of them.
/// Letters are those of ASCII (RFC 4343).
#[inline(always)]
pub const fn lower_case(bytes: u64, count: u32) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const TOP: u64 = ONES << 7;
    let bytes = bytes & (u64::MAX >> ((64 - 8 * count) & 63));
    // In the top bit of each byte: whether its other seven are from `A` on; beyond `Z`.
    let rest = bytes & !TOP;
    let from_a = rest + ONES * (0x80 - b'A' as u64);
    let beyond_z = rest + ONES * (0x80 - b'Z' as u64 - 1);
    let capitals = from_a & !beyond_z & !bytes & TOP;
    bytes | capitals >> 2
}

/// Where the search for a name stands. It lies in a map's value between two steps: the verifier
/// then knows nothing of it, and follows each step once.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Search {
    sums: Sums,
    /// The label that is being read, the leftmost being 0, and how many are left to its left that
    /// are to be read.
    label: u32,
    left: u32,
    /// The line of keys for the next eight bytes.
    piece: u32,
    /// Where its next eight bytes are, and how many bytes of it are left.
    at: u32,
    rest: u32,
    /// The value of the longest suffix that was found, and its leftmost label.
    found: u32,
    found_at: u32,
    padding: u32,
}

impl Search {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        sums: Sums([u64::MAX; 4]),
        label: u32::MAX,
        left: u32::MAX,
        piece: u32::MAX,
        at: u32::MAX,
        rest: u32::MAX,
        found: u32::MAX,
        found_at: u32::MAX,
        padding: u32::MAX,
    };

    /// Begins a search for a name of so many labels. `None` is a corrupt image.
    #[inline(always)]
    pub fn begin<L: Lines>(&mut self, lines: &L, header: &Header, labels: u32) -> Option<()> {
        self.sums = Sums::of_root(lines.near(header.name_keys)?);
        self.label = labels;
        self.left = if labels < header.name_depth { labels } else { header.name_depth };
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
        let mut steps = 0;
        while steps < STEPS {
            if !launder(self).step(lines, header, message)? {
                let this = launder(self);
                return Some(Found::Said(this.found << 1 | u32::from(this.found_at != 0)));
            }
            steps += 1;
        }
        Some(Found::More)
    }

    /// Goes on by eight bytes. Whether there were any; the outer `None` is a corrupt image.
    #[inline(always)]
    fn step<L: Lines>(&mut self, lines: &L, header: &Header, message: &Message) -> Option<bool> {
        if self.rest == 0 {
            if self.left == 0 {
                return Some(false);
            }
            self.left -= 1;
            self.label = self.label.wrapping_sub(1);
            self.at = message.label(self.label);
            self.rest = u32::from(message.u8(self.at)) + 1;
        }
        let this = launder(self);
        // The lesser of the rest and 8, without a branch, of which the verifier would follow both ways
        // through the hash.
        let is_less = black_box(((this.rest.wrapping_sub(8) as i32) >> 31) as u32 as u64) as u32;
        let count = this.rest & is_less | 8 & !is_less;
        let bytes = lower_case(message.eight(this.at), count);
        this.sums.add(lines.near(header.name_keys.wrapping_add(this.piece))?, bytes);
        this.piece += 1;
        this.at += 8;
        this.rest -= count;
        let this = launder(this);
        if this.rest == 0 {
            let value = value_of(lines, header, &this.sums)?;
            if value != 0 {
                this.found = value as u32;
                this.found_at = this.label;
            }
        }
        Some(true)
    }
}

/// Steps of a search that the program takes at once; it goes on with itself for more. More steps would
/// take longer to verify, fewer would have longer names pay for going on.
pub const STEPS: u32 = 16;

/// What is said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Twice the value of its longest suffix that is listed, plus 1 if that is not the whole name. 0
    /// or 1 where none is listed.
    Said(u32),
    /// Not known yet: go on.
    More,
}

/// The value of a suffix; 0 if it is not listed.
#[inline(always)]
fn value_of<L: Lines>(lines: &L, header: &Header, sums: &Sums) -> Option<u64> {
    if header.name_filter != 0 && !may_be_listed(lines, header, sums)? {
        return Some(0);
    }
    let (table, buckets) = (header.name_table, header.name_buckets);
    let fingerprint = sums.fingerprint();
    let bucket = lines.far(table.wrapping_add(sums.bucket(buckets)))?;
    let mut value = value_in(bucket, fingerprint);
    if value == 0 && bucket[1] & OVERFLOW != 0 {
        let bucket = lines.far(table.wrapping_add(sums.second_bucket(buckets)))?;
        value = value_in(bucket, fingerprint);
    }
    Some(value)
}

/// Whether the filter lets a suffix through.
#[inline(always)]
fn may_be_listed<L: Lines>(lines: &L, header: &Header, sums: &Sums) -> Option<bool> {
    let (line, [first, second]) = sums.in_filter(header.name_filter_lines);
    let line = lines.far(header.name_filter.wrapping_add(line))?;
    let bit = |bit: u32| line[(bit >> 6 & 7) as usize] >> (bit & 63);
    Some(black_box(bit(first) & bit(second) & 1) != 0)
}

/// The value beside a fingerprint. All four slots are compared, without a branch that could be
/// guessed wrong.
#[inline(always)]
fn value_in(bucket: &Line, [first, second]: [u64; 2]) -> u64 {
    let mut value = 0;
    let mut slot = 0;
    while slot < LINE_WORDS {
        let difference = bucket[slot] ^ first | (bucket[slot + 1] ^ second) >> 32;
        // All ones where nothing differs. LLVM would make a branch of it.
        let differs = black_box((difference | difference.wrapping_neg()) >> 63);
        let same = differs.wrapping_sub(1);
        value |= bucket[slot + 1] & VALUE & same;
        slot += 2;
    }
    value
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
