//! Builds the indexes of [`xdp_common::lookup::lpm`] from prefixes.
//!
//! One pass over the sorted prefixes from the root down, which looks at each prefix once on every
//! level that it branches at: the build takes no longer than the sort before it.

use std::ops::Range;

use xdp_common::image::{EXTENT_LINES, LINE_WORDS, Line};
use xdp_common::lookup::lpm::{
    BUCKET, BUCKET_WORDS, BYTE_SHIFT, BYTES, BYTES_MAX, BYTES_SHIFT, COUNT_SHIFT, EVEN,
    EVEN_NUMBERS, KIND, LENGTH_SHIFT, LINE_SLOTS, MAX_LENGTH, MAX_RECORDS, NODE, NODE_WORDS,
    RANGES_SHIFT, RECORD, RECORD_NODE, RECORD_VALUES, RECORDS, ROOT_LINES, VALUE, WORD_NUMBERS,
    WORD_RANGES,
};

use super::interval_tree::LineWriter;
use super::intervals::Address;
use crate::ruleset::Prefix;

/// Slots of a node before equal ones are merged: one for each value of a byte.
const FANOUT: usize = 256;
/// Bits of the address that the root takes, and that each node takes.
const ROOT_BITS: u8 = 16;
const NODE_BITS: u8 = 8;

/// The image would have more lines than a record can number: 2^24 lines of 64 bytes, 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// A prefix and the value of the addresses of which it is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valued<A> {
    pub prefix: Prefix<A>,
    pub value: u32,
}

/// Writes the nodes, buckets and records of indexes into lines that are numbered from `first` on.
struct IndexWriter {
    first: u32,
    words: Vec<u64>,
    /// Records that a root leads to, which a lookup reads first.
    upper_records: Pool,
    buckets: Pool,
    nodes: Pool,
    records: Pool,
}

/// Lines of one kind, taken a page of memory at a time. A lookup goes from kind to kind; since
/// lines of one kind lie together, many lookups touch few pages.
#[derive(Default)]
struct Pool {
    /// The lines of the current page that are not yet used.
    free: Range<u32>,
    /// Indexed by a number of records: a line that has room for exactly that many more.
    open: [Option<u32>; MAX_RECORDS],
}

/// Lines of a page of memory (4 KiB).
const PAGE_LINES: u32 = 4096 / size_of::<Line>() as u32;

const _: () = assert!(EXTENT_LINES.is_multiple_of(PAGE_LINES));

/// Writes indexes of both families, one after the other, and returns the lines of their roots: 0
/// for an index without prefixes. The prefixes of each index have to be sorted by address and then
/// by length, each there once.
pub fn write<const N: usize>(
    lines: &mut LineWriter,
    v4: [&[Valued<u32>]; N],
    v6: [&[Valued<u128>]; N],
) -> Result<([u32; N], [u32; N]), TooLarge> {
    let roots = v4.iter().filter(|prefixes| !prefixes.is_empty()).count()
        + v6.iter().filter(|prefixes| !prefixes.is_empty()).count();
    let mut writer = IndexWriter::new(lines.next() + ROOT_LINES * roots as u32);
    let mut places = ([0; N], [0; N]);
    for (place, prefixes) in places.0.iter_mut().zip(v4).filter(|(_, p)| !p.is_empty()) {
        *place = lines.append(writer.root(prefixes)?);
    }
    for (place, prefixes) in places.1.iter_mut().zip(v6).filter(|(_, p)| !p.is_empty()) {
        *place = lines.append(writer.root(prefixes)?);
    }
    lines.append_words(&writer.into_words());
    Ok(places)
}

/// What a slot or a record leads to.
enum SlotTarget {
    Value(u32),
    /// A node's line.
    Node(u32),
}

/// A part of a level: the prefixes that begin with the same `depth` bits, and the value
/// (`background`) of the addresses that none of them holds.
#[derive(Clone, Copy)]
struct Region<'a, A> {
    /// Sorted, each once, and longer than the region's own prefix.
    prefixes: &'a [Valued<A>],
    background: u32,
    /// How many leading bits all of the region shares: a multiple of 8.
    depth: u8,
}

impl IndexWriter {
    pub fn new(first: u32) -> Self {
        let (upper_records, buckets, nodes, records) = Default::default();
        Self { first, words: Vec::new(), upper_records, buckets, nodes, records }
    }

    /// The lines that were written.
    pub fn into_words(self) -> Vec<u64> {
        self.words
    }

    /// The lines of a root over these prefixes, which are sorted by address and then by length,
    /// each there once. Addresses that no prefix holds have the value 0.
    pub fn root<A: Address>(&mut self, prefixes: &[Valued<A>]) -> Result<Vec<Line>, TooLarge> {
        let mut slots = vec![0; (ROOT_LINES * LINE_SLOTS) as usize];
        let region = Region { prefixes, background: 0, depth: 0 };
        self.slots(&region, ROOT_BITS, &mut slots)?;
        Ok(slots.chunks_exact(LINE_SLOTS as usize).map(line_of).collect())
    }

    /// Fills the slots of a region, one for each value of its next `bits` bits.
    fn slots<A: Address>(
        &mut self,
        region: &Region<'_, A>,
        bits: u8,
        slots: &mut [u32],
    ) -> Result<(), TooLarge> {
        let depth = region.depth + bits;
        let place = |prefix: Prefix<A>| prefix.address.bits_from(region.depth, bits) as usize;
        slots.fill(VALUE | region.background);
        let mut rest = region.prefixes;
        while let Some((first, after)) = rest.split_first() {
            let start = place(first.prefix);
            if first.prefix.length <= depth {
                let slots_of_prefix = 1 << (depth - first.prefix.length);
                slots[start..start + slots_of_prefix].fill(VALUE | first.value);
                rest = after;
                continue;
            }
            // These prefixes reach below the slot. Those that hold all of it were sorted before
            // them and are in `slots[start]` already; the next prefix may be a short one again.
            let inside = rest.iter().take_while(|p| place(p.prefix) == start);
            let (prefixes, after) = rest.split_at(inside.count());
            slots[start] = self.slot(&Region { prefixes, background: slots[start], depth })?;
            rest = after;
        }
        Ok(())
    }

    /// The slot that stands for all of a region: the most compact kind that can hold it.
    fn slot<A: Address>(&mut self, region: &Region<'_, A>) -> Result<u32, TooLarge> {
        if let Some(slot) = bytes(region) {
            return Ok(slot);
        }
        if region.prefixes.len() > FEW
            && let Some(slot) = self.bucket(region)?
        {
            return Ok(slot);
        }
        if let Some(slot) = self.records(region)? {
            return Ok(slot);
        }
        Ok(match self.node(region)? {
            SlotTarget::Value(value) => VALUE | value,
            SlotTarget::Node(line) => NODE | line,
        })
    }

    /// Writes a region as a bucket; `None` if its prefixes do not fit one.
    fn bucket<A: Address>(&mut self, region: &Region<'_, A>) -> Result<Option<u32>, TooLarge> {
        let Some((kind, words)) = bucket(region) else { return Ok(None) };
        let line = self.take(|this| &mut this.buckets, 1)?;
        let start = self.place(line);
        self.words[start..start + LINE_WORDS].copy_from_slice(&words);
        Ok(Some(kind | line))
    }

    /// Writes a region of few parts as records: each leads to the value of a prefix, or to a node
    /// for several prefixes, below the bytes that these share. `None` if it has no such parts.
    fn records<A: Address>(&mut self, region: &Region<'_, A>) -> Result<Option<u32>, TooLarge> {
        let Some(parts) = parts(region) else { return Ok(None) };
        let mut records = Vec::with_capacity(MAX_RECORDS);
        for part in &parts {
            let target = match part.together {
                [alone] if alone.prefix.length == part.length => SlotTarget::Value(alone.value),
                together => {
                    // The first prefix may hold all the others: then its value is their background.
                    let (background, prefixes) = match together {
                        [first, rest @ ..] if first.prefix.length == part.length => {
                            (first.value, rest)
                        }
                        _ => (region.background, together),
                    };
                    self.node(&Region { prefixes, background, depth: part.length })?
                }
            };
            let address = part.together[0].prefix.address;
            records.push(record(address, region.depth, part.length, &target)?);
        }
        // The first record that matches decides, so longer ones come first. Only parts that are
        // single prefixes can nest.
        let length = |record: &[u64; 2]| record[1] >> LENGTH_SHIFT & 0x7f;
        records.sort_by_key(|record| std::cmp::Reverse(length(record)));
        if region.background != 0 {
            // A record of length 0 matches every address, and comes last: for those that no part
            // holds.
            let target = SlotTarget::Value(region.background);
            records.push(record(A::default(), region.depth, region.depth, &target)?);
        }
        let slot = self.push_records(region.depth, &records)?;
        Ok(Some(match parts.as_slice() {
            [part] if region.background == 0 => behind_byte(slot, region.depth, part),
            _ => slot,
        }))
    }

    /// Writes a node; a value in its place if every byte would have that value.
    fn node<A: Address>(&mut self, region: &Region<'_, A>) -> Result<SlotTarget, TooLarge> {
        let mut slots = [0; FANOUT];
        self.slots(region, NODE_BITS, &mut slots)?;
        if slots[0] & KIND == VALUE && slots.iter().all(|slot| *slot == slots[0]) {
            return Ok(SlotTarget::Value(slots[0]));
        }
        let (mut listed, mut fresh) = ([0u64; FANOUT / 64], [0u64; FANOUT / 64]);
        // The counts take the place of the first slot.
        let mut written = vec![0];
        let mut before = [0; FANOUT / 64];
        for (byte, &slot) in slots.iter().enumerate() {
            let (word, bit) = (byte / 64, 1 << (byte % 64));
            if bit == 1 {
                before[word] = written.len() as u8 - 1;
            }
            if slot != 0 {
                listed[word] |= bit;
                if written.len() == 1 || written[written.len() - 1] != slot {
                    fresh[word] |= bit;
                    written.push(slot);
                }
            }
        }
        written[0] = u32::from_le_bytes(before);
        let mut lines = [listed, fresh].concat();
        for line in written.chunks(LINE_SLOTS as usize) {
            let mut slots = [0; LINE_SLOTS as usize];
            slots[..line.len()].copy_from_slice(line);
            lines.extend(line_of(&slots));
        }
        debug_assert!(lines.len() > NODE_WORDS);
        self.push_node(&lines).map(SlotTarget::Node)
    }

    /// Takes consecutive lines from a pool. They lie in one page, and therefore in one extent.
    fn take(&mut self, pool: fn(&mut Self) -> &mut Pool, lines: u32) -> Result<u32, TooLarge> {
        if (pool(self).free.len() as u32) < lines {
            // Line numbers count from the start of the image, as the pages of an extent do.
            let next = self.first + (self.words.len() / LINE_WORDS) as u32;
            let page = next.next_multiple_of(PAGE_LINES);
            let end = page + PAGE_LINES;
            if end > RECORD_VALUES {
                return Err(TooLarge);
            }
            self.words.resize((end - self.first) as usize * LINE_WORDS, 0);
            pool(self).free = page..end;
        }
        let free = &mut pool(self).free;
        let line = free.start;
        free.start += lines;
        Ok(line)
    }

    fn place(&self, line: u32) -> usize {
        (line - self.first) as usize * LINE_WORDS
    }

    fn push_node(&mut self, words: &[u64]) -> Result<u32, TooLarge> {
        let line = self.take(|this| &mut this.nodes, (words.len() / LINE_WORDS) as u32)?;
        let start = self.place(line);
        self.words[start..start + words.len()].copy_from_slice(words);
        Ok(line)
    }

    /// Puts the records of a region on one line, the fullest one that has room for them, and
    /// returns their slot.
    fn push_records(&mut self, depth: u8, records: &[[u64; 2]]) -> Result<u32, TooLarge> {
        let pool: fn(&mut Self) -> &mut Pool = if depth == ROOT_BITS {
            |this| &mut this.upper_records
        } else {
            |this| &mut this.records
        };
        let needed = records.len();
        let open = &mut pool(self).open;
        let found = (needed..MAX_RECORDS).find_map(|free| Some((open[free].take()?, free)));
        let (line, free) = match found {
            Some(found) => found,
            None => (self.take(pool, 1)?, MAX_RECORDS),
        };
        let place = MAX_RECORDS - free;
        let start = self.place(line) + 2 * place;
        self.words[start..start + 2 * needed].copy_from_slice(records.as_flattened());
        if free > needed {
            // This forgets another line with the same room; its free records stay unused.
            pool(self).open[free - needed] = Some(line);
        }
        let number = line * MAX_RECORDS as u32 + place as u32;
        debug_assert!(number < 1 << COUNT_SHIFT);
        Ok(RECORDS | (needed as u32 - 1) << COUNT_SHIFT | number)
    }
}

/// The prefixes of a region that one record stands for.
#[derive(Clone, Copy)]
struct Part<'a, A> {
    together: &'a [Valued<A>],
    /// The record compares the bits of the address up to here, counted from its first bit.
    length: u8,
}

/// Divides a region into parts: each prefix by itself if they are few, else those with the same
/// next byte together. `None` if that is more parts than fit on a line, or if some prefix is too
/// short to have a next byte.
fn parts<'a, A: Address>(region: &Region<'a, A>) -> Option<Vec<Part<'a, A>>> {
    let Region { prefixes, background, depth } = *region;
    let room = MAX_RECORDS - usize::from(background != 0);
    let longest = depth + MAX_LENGTH;
    if prefixes.len() <= room && prefixes.iter().all(|p| p.prefix.length <= longest) {
        let alone = |valued: &'a Valued<A>| Part {
            together: std::slice::from_ref(valued),
            length: valued.prefix.length,
        };
        return Some(prefixes.iter().map(alone).collect());
    }
    if prefixes.iter().any(|p| p.prefix.length < depth + NODE_BITS) {
        return None;
    }
    let byte = |valued: &Valued<A>| valued.prefix.address.bits_from(depth, NODE_BITS);
    let parts: Vec<Part<'a, A>> = prefixes
        .chunk_by(|a, b| byte(a) == byte(b))
        .take(room + 1)
        .map(|together| {
            let length = match together {
                [alone] if alone.prefix.length <= longest => alone.prefix.length,
                _ => shared_bits(together).min(longest) / NODE_BITS * NODE_BITS,
            };
            Part { together, length }
        })
        .collect();
    (parts.len() <= room).then_some(parts)
}

/// Puts the next byte into the slot of a single record, if both fit. Most addresses that are not
/// listed differ in that byte and are settled without reading the record, which may not be in a
/// near cache.
fn behind_byte<A: Address>(slot: u32, depth: u8, part: &Part<'_, A>) -> u32 {
    let number = slot & !KIND;
    if part.length < depth + NODE_BITS || number >= 1 << BYTE_SHIFT {
        return slot;
    }
    let byte = part.together[0].prefix.address.bits_from(depth, NODE_BITS);
    RECORD | byte << BYTE_SHIFT | number
}

/// How many leading bits all of these sorted prefixes share.
fn shared_bits<A: Address>(prefixes: &[Valued<A>]) -> u8 {
    let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else { return 0 };
    let shortest = prefixes.iter().map(|p| p.prefix.length).min().unwrap_or(0);
    first.prefix.address.common_bits(last.prefix.address).min(shortest)
}

/// A region of up to three prefixes that end with the next byte and have one small value, as a slot
/// of kind [`BYTES`].
fn bytes<A: Address>(region: &Region<'_, A>) -> Option<u32> {
    let (first, prefixes) = (region.prefixes.first()?, region.prefixes);
    let fits = prefixes.len() <= 3
        && region.background == 0
        && (1..=BYTES_MAX).contains(&first.value)
        && prefixes
            .iter()
            .all(|p| p.value == first.value && p.prefix.length == region.depth + NODE_BITS);
    if !fits {
        return None;
    }
    let byte = |place: usize| {
        let valued = prefixes.get(place).unwrap_or(first);
        valued.prefix.address.bits_from(region.depth, NODE_BITS)
    };
    Some(BYTES | first.value << BYTES_SHIFT | byte(2) << 16 | byte(1) << 8 | byte(0))
}

/// Up to so many prefixes take less room as records than as a bucket.
const FEW: usize = 3;

/// A region as a bucket, with its slot's kind: an even one if it fits that.
fn bucket<A: Address>(region: &Region<'_, A>) -> Option<(u32, Line)> {
    const BITS: u8 = 16;
    let depth = region.depth;
    let value = region.prefixes.first()?.value;
    let fits = region.background == 0
        // More prefixes are not looked at, even if neighbours among them would merge into ranges.
        && region.prefixes.len() <= BUCKET_WORDS * WORD_NUMBERS
        && region.prefixes.iter().all(|p| p.value == value && p.prefix.length <= depth + BITS);
    if !fits {
        return None;
    }
    // Ranges of numbers. None nest: a nested prefix has another value than the one around it, and
    // all of these have the same.
    let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(region.prefixes.len());
    for Valued { prefix, .. } in region.prefixes {
        let first = prefix.address.bits_from(depth, BITS);
        let last = first + (1 << (depth + BITS - prefix.length)) - 1;
        match ranges.last_mut() {
            Some(before) if before.1 + 1 == first => before.1 = last,
            _ => ranges.push((first, last)),
        }
    }
    let (numbers, ranges): (Vec<_>, Vec<_>) =
        ranges.into_iter().partition(|(first, last)| first == last);
    if let Some(words) = even_bucket(&numbers, &ranges) {
        let mut line: Line = [0; LINE_WORDS];
        line[0] = u64::from(value) << 32;
        line[1..].copy_from_slice(&words);
        return Some((EVEN, line));
    }
    let words_of_numbers = numbers.len().div_ceil(WORD_NUMBERS);
    let words_of_ranges = ranges.len().div_ceil(WORD_RANGES);
    if words_of_numbers + words_of_ranges > BUCKET_WORDS {
        return None;
    }
    let counts = words_of_numbers as u64 | (words_of_ranges as u64) << RANGES_SHIFT;
    let mut line: Line = [0; LINE_WORDS];
    line[0] = u64::from(value) << 32 | counts;
    let numbers = numbers.chunks(WORD_NUMBERS).map(word_of_numbers);
    let ranges = ranges.chunks(WORD_RANGES).map(word_of_ranges);
    for (word, bits) in line[1..].iter_mut().zip(numbers.chain(ranges)) {
        *word = bits;
    }
    Some((BUCKET, line))
}

/// The words of an even bucket after its first; `None` if there is too much for one. Single numbers
/// beyond its words of these are ranges of one.
fn even_bucket(numbers: &[(u32, u32)], ranges: &[(u32, u32)]) -> Option<[u64; BUCKET_WORDS]> {
    const NUMBERS: usize = EVEN_NUMBERS * WORD_NUMBERS;
    const RANGES: usize = (BUCKET_WORDS - EVEN_NUMBERS) * WORD_RANGES;
    let (numbers, beyond) = numbers.split_at(numbers.len().min(NUMBERS));
    let ranges = [ranges, beyond].concat();
    if ranges.len() > RANGES {
        return None;
    }
    // Something that is there: a range's first number, or a number as a range.
    let any = *ranges.first().or(numbers.first())?;
    let filled = |some: &[(u32, u32)], room: usize| {
        let mut some = some.to_vec();
        some.resize(room, any);
        some
    };
    let mut words = [0; BUCKET_WORDS];
    let (of_numbers, of_ranges) = words.split_at_mut(EVEN_NUMBERS);
    for (word, four) in of_numbers.iter_mut().zip(filled(numbers, NUMBERS).chunks(WORD_NUMBERS)) {
        *word = word_of_numbers(four);
    }
    for (word, two) in of_ranges.iter_mut().zip(filled(&ranges, RANGES).chunks(WORD_RANGES)) {
        *word = word_of_ranges(two);
    }
    Some(words)
}

/// Up to four numbers, the last repeated.
fn word_of_numbers(numbers: &[(u32, u32)]) -> u64 {
    let repeated = numbers.iter().chain(std::iter::repeat(&numbers[numbers.len() - 1]));
    repeated.take(WORD_NUMBERS).fold(0, |word, &(number, _)| word << 16 | u64::from(number))
}

/// One range or two.
fn word_of_ranges(ranges: &[(u32, u32)]) -> u64 {
    let half = |&(first, last): &(u32, u32)| u64::from((last - first) << 16 | first);
    half(&ranges[ranges.len() - 1]) << 32 | half(&ranges[0])
}

/// A record that matches the addresses with the bits of `address` from `depth` to `length`.
fn record<A: Address>(
    address: A,
    depth: u8,
    length: u8,
    target: &SlotTarget,
) -> Result<[u64; 2], TooLarge> {
    let (value, node) = match *target {
        SlotTarget::Value(value) => (value, 0),
        SlotTarget::Node(line) => (line, RECORD_NODE),
    };
    if value >= RECORD_VALUES {
        return Err(TooLarge);
    }
    let (upper, lower) = address.next_96_bits(depth);
    let length = u64::from(length - depth) << LENGTH_SHIFT;
    Ok([upper, u64::from(lower) << 32 | node | length | u64::from(value)])
}

/// A line of slots, in the order in which they lie in memory.
fn line_of(slots: &[u32]) -> Line {
    let mut line = [0; LINE_WORDS];
    for (word, pair) in line.iter_mut().zip(slots.chunks_exact(2)) {
        let [lower, upper] = if cfg!(target_endian = "little") { [0, 1] } else { [1, 0] };
        *word = u64::from(pair[lower]) | u64::from(pair[upper]) << 32;
    }
    line
}

#[cfg(test)]
mod tests;
