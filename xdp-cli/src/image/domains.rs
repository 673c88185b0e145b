//! Compiles lists of domain names: what they say of each listed name, and the table in which a name
//! is looked up (`xdp_common::lookup::names`).
//!
//! What the lists say of a name is folded with what they say of its parents: a name that says the
//! same as the parent around it is left out, and a packet that finds its longest listed suffix knows
//! everything.

use rustc_hash::FxHashMap;
use xdp_common::capacity::MAX_LISTS;
use xdp_common::filter::domains::{Action, MAX_TYPE_CLASSES, Membership};
use xdp_common::filter::rules::PAGE_ENTRIES;
use xdp_common::image::{Block, EXTENT_LINES, Header, LINE_WORDS, Line, flag};
use xdp_common::lookup::names::{Bucket, Hashes, KEY_LINES, SLOTS, Sums, VALUE_BITS, lower_case};
use xdp_common::stats::counter::CounterId;

use super::interval_tree::{LineWriter, line_of};
use super::rules::page_block;
use crate::ruleset::domains::{DomainAction, DomainList, DomainName};

/// The keys of an image: they are drawn for it, and known to nobody but root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seed([u64; 4]);

impl Seed {
    /// A seed that nobody can guess: the standard library's hash tables are keyed by the system's
    /// random numbers.
    pub fn random() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self([0; 4].map(|_: u64| RandomState::new().hash_one(0_u64)))
    }

    /// Another one, made from this one.
    pub(super) fn next(self) -> Self {
        let mut generator = Generator::new(self);
        Self([0; 4].map(|_: u64| generator.next()))
    }
}

/// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM
/// Transactions on Mathematical Software 47, 2021). No answer of the filter depends on its numbers,
/// so that nobody can learn them: it need not be a cipher.
pub(super) struct Generator([u64; 4]);

impl Generator {
    pub(super) fn new(Seed(seed): Seed) -> Self {
        // A state of zeros would stay one. The numbers are the generator's own for that case.
        let all_zero = seed == [0; 4];
        Self(if all_zero { [0x9e37_79b9_7f4a_7c15, 1, 2, 3] } else { seed })
    }

    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let number = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        number
    }
}

/// The lists look at question types in more ways than there are classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTypes;

/// Lists of names, compiled but for their places in the image.
pub struct Domains {
    keys: Vec<Line>,
    actions: Vec<Line>,
    /// Pairs: what is said of a name, and of those below it.
    memberships: Vec<[Membership; 2]>,
    types: TypeClasses,
    buckets: Vec<Line>,
    filter: Vec<Line>,
    depth: u32,
    root: u32,
}

impl Domains {
    /// Compiles lists, which have these counters. `None` where there are no lists.
    pub fn new(
        lists: &[DomainList],
        counters: &[u32],
        seed: Seed,
    ) -> Result<Option<Self>, TooManyTypes> {
        if lists.is_empty() {
            return Ok(None);
        }
        let types = TypeClasses::new(lists)?;
        let mut seed = seed;
        loop {
            let keys = keys(seed);
            // Where two names have the same hash, which hardly ever happens, other keys are drawn.
            if let Some(mut names) = ListedNames::gather(lists, &keys) {
                let folded = names.fold(lists, &keys, &types);
                return Ok(Some(Self {
                    keys,
                    actions: actions(lists, counters),
                    memberships: folded.pairs,
                    types,
                    filter: names.filter(EXTENT_LINES),
                    buckets: names.place(seed),
                    depth: names.depth,
                    root: folded.root,
                }));
            }
            seed = seed.next();
        }
    }

    /// Writes what is small and read for each message: the first lines of the image.
    pub fn write_near(&self, header: &mut Header, lines: &mut LineWriter) {
        header.flags |= flag::DOMAINS;
        header.name_keys = lines.append(self.keys.clone());
        header.domain_actions = lines.append(self.actions.clone());
        header.name_depth = self.depth;
        header.root_name = self.root;
        header.name_buckets = self.buckets.len() as u32;
    }

    /// Writes the pages of question types, which the last pages of rules are followed by.
    pub fn write_pages(&self, header: &mut Header, blocks: &mut Vec<Block>) {
        if self.types.classes <= 1 {
            return;
        }
        header.flags |= flag::DOMAIN_TYPES;
        let first = blocks.len() as u32 - header.pages;
        header.qtype_directory = first;
        blocks.extend(self.types.pages(first));
    }

    /// Writes what is said of names, behind the first extent the filter, which begins with an extent, and
    /// the table.
    pub fn write_far(self, header: &mut Header, lines: &mut LineWriter) {
        header.name_memberships = lines.next();
        for membership in self.memberships.iter().flatten() {
            lines.push(line_of(*membership));
        }
        let missing = lines.next().next_multiple_of(EXTENT_LINES) - lines.next();
        lines.append(vec![[0; LINE_WORDS]; missing as usize]);
        header.name_filter_mask = self.filter.as_flattened().len() as u32 - 1;
        header.name_filter = lines.append(self.filter);
        debug_assert!(header.name_filter.is_multiple_of(EXTENT_LINES));
        header.name_table = lines.append(self.buckets);
    }
}

fn keys(seed: Seed) -> Vec<Line> {
    let mut generator = Generator::new(seed);
    (0..KEY_LINES).map(|_| [0; LINE_WORDS].map(|_: u64| generator.next())).collect()
}

fn actions(lists: &[DomainList], counters: &[u32]) -> Vec<Line> {
    let words: Vec<u64> = lists
        .iter()
        .zip(counters)
        .map(|(list, &number)| {
            let action = match list.action {
                DomainAction::Drop => Action::Drop,
                DomainAction::Nxdomain => Action::Nxdomain,
                DomainAction::Refuse => Action::Refuse,
                DomainAction::Truncate => Action::Truncate,
                DomainAction::Pass => Action::Pass,
            };
            // As `ListedAction` lies in memory: the action first.
            let parts = [action as u32, CounterId::new(number).0].map(u32::to_ne_bytes);
            u64::from_ne_bytes(*parts.as_flattened().first_chunk().expect("two times four bytes"))
        })
        .collect();
    words
        .chunks(LINE_WORDS)
        .map(|words| {
            let mut line = [0; LINE_WORDS];
            line[..words.len()].copy_from_slice(words);
            line
        })
        .collect()
}

/// Question types in classes: two types that the same lists look at are of one class. Class 0 is that
/// of types that no list names.
struct TypeClasses {
    /// The class of each named type, sorted by type.
    named: Vec<(u16, u16)>,
    classes: usize,
    /// For each class, a bit for each list that looks at it.
    looks: Vec<Vec<bool>>,
}

impl TypeClasses {
    fn new(lists: &[DomainList]) -> Result<Self, TooManyTypes> {
        let mut types: Vec<u16> =
            lists.iter().filter_map(|it| it.qtypes.as_ref()).flatten().copied().collect();
        types.sort_unstable();
        types.dedup();
        let looks_at = |kind: Option<u16>| -> Vec<bool> {
            let looks = |list: &DomainList| match (&list.qtypes, kind) {
                (None, _) => true,
                (Some(types), Some(kind)) => types.contains(&kind),
                (Some(_), None) => false,
            };
            lists.iter().map(looks).collect()
        };
        let mut looks = vec![looks_at(None)];
        let mut named = Vec::new();
        for kind in types {
            let wanted = looks_at(Some(kind));
            let class = looks.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                looks.push(wanted);
                looks.len() - 1
            });
            named.push((kind, class as u16));
        }
        if looks.len() > MAX_TYPE_CLASSES {
            return Err(TooManyTypes);
        }
        Ok(Self { named, classes: looks.len(), looks })
    }

    /// A directory, and the pages that it names, the first of which is for types that no list names.
    fn pages(&self, first: u32) -> Vec<Block> {
        let mut directory = [first as u16 + 1; PAGE_ENTRIES];
        let mut pages = vec![[0; PAGE_ENTRIES]];
        for of_page in self.named.chunk_by(|(a, _), (b, _)| a >> 8 == b >> 8) {
            let mut page = [0; PAGE_ENTRIES];
            for (kind, class) in of_page {
                page[usize::from(kind & 0xff)] = *class;
            }
            directory[usize::from(of_page[0].0 >> 8)] = first as u16 + 1 + pages.len() as u16;
            pages.push(page);
        }
        std::iter::once(&directory).chain(&pages).map(page_block).collect()
    }
}

/// A name, with the lists that hold it.
struct Listed {
    hashes: Hashes,
    /// The list that holds it and its number there.
    list: u16,
    labels: u8,
    number: u32,
    /// The first of its entries in `ListedNames::entries`.
    entries: u32,
    /// What is said of it: a pair's number, from 1; 0 while that is not known.
    value: u32,
    /// Whether its parent says the same.
    is_left_out: bool,
}

/// A list that holds a name.
struct Entry {
    list: u16,
    below_only: bool,
    /// The name's next entry; `NO_ENTRY` behind the last.
    next: u32,
}

const NO_ENTRY: u32 = u32::MAX;

/// Every name once.
struct ListedNames {
    names: Vec<Listed>,
    entries: Vec<Entry>,
    /// By a part of the hash.
    by_hash: FxHashMap<u64, u32>,
    depth: u32,
}

/// What was folded.
struct Folded {
    /// Number 0 is of names that no list says anything of.
    pairs: Vec<[Membership; 2]>,
    root: u32,
}

/// A suffix of a name, while it is hashed.
struct Suffix {
    sums: Sums,
    /// How many labels it has, without the root's.
    labels: u32,
    /// Where it begins in the name's bytes.
    start: usize,
}

/// Hashes the suffixes of a name, the shortest first, from the root on.
fn for_each_suffix(name: DomainName<'_>, keys: &[Line], mut each: impl FnMut(&Suffix)) {
    let wire = name.wire();
    let mut suffix = Suffix { sums: Sums::of_root(&keys[0]), labels: 0, start: wire.len() };
    each(&suffix);
    let mut starts = [0_u8; 128];
    let (mut count, mut at) = (0, 0);
    while at < wire.len() && count < starts.len() {
        starts[count] = at as u8;
        count += 1;
        at += 1 + usize::from(wire[at]);
    }
    let mut lines = keys[1..].iter();
    for &start in starts[..count].iter().rev() {
        let start = usize::from(start);
        let label = &wire[start..(start + 1 + usize::from(wire[start])).min(wire.len())];
        for piece in label.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            let Some(line) = lines.next() else { return };
            suffix.sums.add(line, lower_case(u64::from_le_bytes(bytes), piece.len() as u32));
        }
        suffix.labels += 1;
        suffix.start = start;
        each(&suffix);
    }
}

impl ListedNames {
    /// All names of the lists. `None` where two have the same hash.
    fn gather(lists: &[DomainList], keys: &[Line]) -> Option<Self> {
        let count: usize = lists.iter().map(|list| list.names.len()).sum();
        let mut this = Self {
            names: Vec::with_capacity(count),
            entries: Vec::with_capacity(count),
            by_hash: FxHashMap::with_capacity_and_hasher(count, Default::default()),
            depth: 0,
        };
        debug_assert!(lists.len() <= MAX_LISTS);
        for (list, of_list) in (0..).zip(lists) {
            for (number, listed) in (0..).zip(of_list.names.iter()) {
                let mut whole = None;
                for_each_suffix(listed.name, keys, |suffix| {
                    whole = Some((suffix.sums, suffix.labels))
                });
                let (sums, labels) = whole?;
                let entry = this.entries.len() as u32;
                let below_only = listed.below_only;
                let hashes = sums.hashes();
                let key = hashes.fingerprint;
                let Some(&known) = this.by_hash.get(&key) else {
                    this.entries.push(Entry { list, below_only, next: NO_ENTRY });
                    this.by_hash.insert(key, this.names.len() as u32);
                    this.depth = this.depth.max(labels);
                    this.names.push(Listed {
                        hashes,
                        list,
                        labels: labels as u8,
                        number,
                        entries: entry,
                        value: 0,
                        is_left_out: false,
                    });
                    continue;
                };
                let known = &mut this.names[known as usize];
                if name_of(lists, known)? != listed.name {
                    return None;
                }
                this.entries.push(Entry { list, below_only, next: known.entries });
                known.entries = entry;
            }
        }
        Some(this)
    }

    /// Finds what is said of each name, with what is said of its parents.
    fn fold(&mut self, lists: &[DomainList], keys: &[Line], types: &TypeClasses) -> Folded {
        let nothing = [[0; MAX_TYPE_CLASSES]; 2];
        let mut folded = Folded { pairs: vec![nothing], root: 0 };
        let mut numbers: FxHashMap<[Membership; 2], u32> = FxHashMap::default();
        numbers.insert(nothing, 0);
        // Parents have fewer labels, so they come first.
        let mut order: Vec<u32> = (0..self.names.len() as u32).collect();
        order.sort_by_key(|&name| self.names[name as usize].labels);
        let mut last = (nothing, 0);
        for number in order {
            let listed = &self.names[number as usize];
            let name = name_of(lists, listed).unwrap_or(DomainName::ROOT);
            let own = u32::from(listed.labels);
            let mut parent = 0;
            for_each_suffix(name, keys, |suffix| {
                if suffix.labels < own
                    && let Some(&known) = self.by_hash.get(&suffix.sums.hashes().fingerprint)
                    && let known = &self.names[known as usize]
                    && let Some(listed) = name_of(lists, known)
                    && Some(listed.wire()) == name.wire().get(suffix.start..)
                {
                    parent = known.value;
                }
            });
            let around = folded.pairs[parent as usize][1];
            let said = self.said(listed, around, types);
            let value = if said == last.0 {
                last.1
            } else {
                *numbers.entry(said).or_insert_with(|| {
                    folded.pairs.push(said);
                    folded.pairs.len() as u32 - 1
                })
            };
            last = (said, value);
            if own == 0 {
                folded.root = value;
            }
            let listed = &mut self.names[number as usize];
            listed.value = value;
            listed.is_left_out = own == 0 || said == [around; 2];
        }
        // No parent is looked for from here on, and the table takes as much memory.
        self.by_hash = FxHashMap::default();
        folded
    }

    /// What is said of a name and of those below it. `around` is what the parent says of those below
    /// it.
    fn said(&self, listed: &Listed, around: Membership, types: &TypeClasses) -> [Membership; 2] {
        // The first list for each class, from 1; of the name itself, of those below.
        let mut first = [[0; MAX_TYPE_CLASSES]; 2];
        let mut next = listed.entries;
        while let Some(entry) = self.entries.get(next as usize) {
            let number = u32::from(entry.list) + 1;
            for (class, looks) in types.looks.iter().enumerate() {
                if !looks[usize::from(entry.list)] {
                    continue;
                }
                let lower = |known: u32| if known == 0 { number } else { known.min(number) };
                first[1][class] = lower(first[1][class]);
                if !entry.below_only {
                    first[0][class] = lower(first[0][class]);
                }
            }
            next = entry.next;
        }
        for side in &mut first {
            for (own, around) in side.iter_mut().zip(around) {
                *own = if *own == 0 { around } else { *own };
            }
        }
        first
    }

    /// Puts the names into buckets.
    fn place(&self, seed: Seed) -> Vec<Line> {
        let placed: Vec<u32> = (0..self.names.len() as u32)
            .filter(|&name| !self.names[name as usize].is_left_out)
            .collect();
        // Fifteen names to four buckets: room enough that few names are in their second.
        let mut buckets = (placed.len() * 4).div_ceil(15).max(1);
        let mut generator = Generator::new(seed.next());
        loop {
            if let Some(slots) = self.fill(&placed, buckets as u32, &mut generator) {
                return self.write(&slots);
            }
            buckets += buckets / 8 + 1;
        }
    }

    /// The filter before the table: 16 to 32 bits for each name, if `most` lines have room for as many.
    /// That is a power of two.
    fn filter(&self, most: u32) -> Vec<Line> {
        const NAMES_PER_LINE: usize = 32;
        let placed = || self.names.iter().filter(|name| !name.is_left_out);
        let lines = placed().count().div_ceil(NAMES_PER_LINE).next_power_of_two();
        let mut filter = vec![[0; LINE_WORDS]; lines.min(most as usize)];
        let words = filter.as_flattened_mut();
        for name in placed() {
            let word = name.hashes.filter_word(words.len() as u32 - 1);
            for bit in name.hashes.filter_bits() {
                words[word as usize] |= 1 << bit;
            }
        }
        filter
    }

    /// The name in each slot; `None` if there are too few buckets. Names that find no room put others
    /// out of theirs (Pagh and Rodler, "Cuckoo hashing", Journal of Algorithms 51, 2004).
    fn fill(
        &self,
        placed: &[u32],
        buckets: u32,
        generator: &mut Generator,
    ) -> Option<Vec<[u32; SLOTS]>> {
        const EMPTY: u32 = u32::MAX;
        const MAX_MOVES: usize = 1_000;
        let mut slots = vec![[EMPTY; SLOTS]; buckets as usize];
        for &name in placed {
            let mut name = name;
            let mut moves = 0;
            'placing: loop {
                let hashes = self.names[name as usize].hashes;
                let both = [hashes.bucket(buckets), hashes.second_bucket(buckets)];
                for bucket in both {
                    let bucket = &mut slots[bucket as usize];
                    if let Some(slot) = bucket.iter_mut().find(|slot| **slot == EMPTY) {
                        *slot = name;
                        break 'placing;
                    }
                }
                if moves == MAX_MOVES {
                    return None;
                }
                moves += 1;
                let random = generator.next();
                let bucket = both[(random >> 32) as usize % 2];
                let slot = random as usize % SLOTS;
                std::mem::swap(&mut slots[bucket as usize][slot], &mut name);
            }
        }
        Some(slots)
    }

    fn write(&self, slots: &[[u32; SLOTS]]) -> Vec<Line> {
        let count = slots.len() as u32;
        let mut buckets = vec![Bucket::default(); slots.len()];
        for (bucket, names) in (0..).zip(slots) {
            for (slot, &number) in names.iter().enumerate() {
                let Some(Listed { hashes, value, .. }) = self.names.get(number as usize) else {
                    continue;
                };
                debug_assert!(*value < 1 << VALUE_BITS);
                buckets[bucket as usize].fingerprints[slot] = hashes.fingerprint;
                buckets[bucket as usize].values[slot] = hashes.beside() | value;
                let own = hashes.bucket(count);
                if own != bucket {
                    buckets[own as usize].values[SLOTS] = 1;
                }
            }
        }
        buckets.into_iter().map(Bucket::to_line).collect()
    }
}

/// The name itself.
fn name_of<'a>(lists: &'a [DomainList], listed: &Listed) -> Option<DomainName<'a>> {
    let names = &lists[usize::from(listed.list)].names;
    names.get(listed.number as usize).map(|listed| listed.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Guards;
    use crate::ruleset::domains::{ListedName, Names};

    fn list(count: u32) -> DomainList {
        let mut names = Names::default();
        for number in 0..count {
            let label = format!("h{number}");
            let wire = [&[label.len() as u8], label.as_bytes(), b"\x03org"].concat();
            let name = DomainName::of_wire(&wire);
            names.push(ListedName { name, below_only: false, file: 0, line: 1 }).unwrap();
        }
        DomainList {
            name: "x".to_owned(),
            file: 0,
            line: 1,
            column: 1,
            action: DomainAction::Drop,
            qtypes: None,
            strict: false,
            guards: Guards::default(),
            names,
        }
    }

    /// Where the filter has room for 16 bits a name, and where it is cut to fewer, as of a million names.
    #[test]
    fn a_filter_lets_all_names_through_whatever_its_size() {
        let names = ListedNames::gather(&[list(600)], &keys(Seed::default())).unwrap();
        for (most, lines) in [(EXTENT_LINES, 32), (32, 32), (8, 8), (1, 1)] {
            let filter = names.filter(most);
            assert_eq!(filter.len(), lines);
            let words = filter.as_flattened();
            let mask = words.len() as u32 - 1;
            for Listed { hashes, .. } in &names.names {
                let word = words[hashes.filter_word(mask) as usize];
                assert!(hashes.filter_bits().into_iter().all(|bit| word >> bit & 1 == 1));
            }
        }
    }
}
