//! Compiles rules into classes of field values, with a bit vector of rules for each class, as
//! [`xdp_common::filter::rules`] reads them.

mod accepted;
mod fields;

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use xdp_common::capacity::MAX_ASKED_LIMITS;
use xdp_common::filter::rules::{CLASS, PAGE_ENTRIES};
use xdp_common::image::{BLOCK_WORDS, Block, Header, LINE_WORDS, flag, protocol_page};
use xdp_common::packet::transport::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::interval_tree::LineWriter;
use super::intervals::{Address, fold_nested};
use super::lpm::{self, TooLarge, Valued};
use crate::ruleset::{Matches, Prefix, Prefixes, Protocol, Rule, RuleAction};
use accepted::{Carried, FRAGMENTS};

/// The number of classes that an image has room for: pages hold them as 16-bit numbers.
pub const MAX_CLASSES: usize = 1 << 16;

/// The number of pages that an image has room for: directories hold them as 16-bit numbers. Ports
/// have at most 2 x (256 + 1), VLAN ids 65 x (17 + 1); only lengths, with 256 x (256 + 1), could
/// have more.
const MAX_PAGES: usize = 1 << 16;

/// Why rules do not fit into an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// They would have more than [`MAX_CLASSES`] classes, or more than [`MAX_PAGES`] pages.
    TooVaried,
    /// More than [`MAX_ASKED_LIMITS`] with limits may match one packet; this is the first one too many.
    TooManyLimits { rule: usize },
}

/// A page: the classes of 256 values of a field, or, in a directory, the numbers of their pages.
type Page = [u16; PAGE_ENTRIES];

/// The rules' part of an image.
pub struct Rules<'a> {
    rules: &'a [Rule],
    classes: Classes,
    pages: Pages,
    /// The most rules with limits that one packet may match; `None` before a field was compiled.
    limits: Option<Limited>,
}

/// The addresses that rules name. Each value is the class of a prefix relative to the class of the
/// addresses that no rule names.
#[derive(Default)]
pub struct Named {
    source: NamedPrefixes,
    destination: NamedPrefixes,
}

#[derive(Default)]
struct NamedPrefixes {
    v4: Vec<Valued<u32>>,
    v6: Vec<Valued<u128>>,
}

impl Named {
    /// Writes the indexes, and their roots into the header.
    pub fn write(&self, header: &mut Header, lines: &mut LineWriter) -> Result<(), TooLarge> {
        let Self { source, destination } = self;
        (
            [header.rule_source_v4_root, header.rule_destination_v4_root],
            [header.rule_source_v6_root, header.rule_destination_v6_root],
        ) = lpm::write(lines, [&source.v4, &destination.v4], [&source.v6, &destination.v6])?;
        Ok(())
    }
}

/// How many rules with limits a class accepts, and the first that is one too many, if one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limited {
    count: u32,
    excess: Option<usize>,
}

impl Limited {
    /// Of a class with this vector, where these are the rules with limits.
    fn of(vector: &Block, limited: &Block) -> Self {
        let both = || vector.iter().zip(limited).map(|(one, other)| one & other);
        let count = both().map(u64::count_ones).sum();
        let mut excess = None;
        if count > MAX_ASKED_LIMITS as u32 {
            let mut bits = both().enumerate().flat_map(|(word, bits)| {
                (0..64).filter(move |at| bits >> at & 1 != 0).map(move |at| word * 64 + at)
            });
            excess = bits.nth(MAX_ASKED_LIMITS);
        }
        Self { count, excess }
    }
}

/// The different bit vectors. A class is the number of a vector.
#[derive(Default)]
struct Classes {
    vectors: Vec<Block>,
    numbers: FxHashMap<Block, u32>,
    /// The rules with limits; `None` where there are none.
    limited: Option<Block>,
    /// The most of these that a class of the field at hand accepts.
    most: Option<Limited>,
}

impl Classes {
    fn class(&mut self, vector: Block) -> Result<u32, Unfit> {
        if let Some(limited) = &self.limited {
            let limits = Limited::of(&vector, limited);
            if self.most.is_none_or(|most| most.count < limits.count) {
                self.most = Some(limits);
            }
        }
        if let Some(&number) = self.numbers.get(&vector) {
            return Ok(number);
        }
        if self.vectors.len() == MAX_CLASSES {
            return Err(Unfit::TooVaried);
        }
        let number = self.vectors.len() as u32;
        self.vectors.push(vector);
        self.numbers.insert(vector, number);
        Ok(number)
    }
}

/// The different pages.
#[derive(Default)]
struct Pages {
    all: Vec<Page>,
    numbers: FxHashMap<Page, u32>,
}

impl Pages {
    /// The number of a page, which has to fit an entry of 16 bits.
    fn page(&mut self, page: Page) -> Result<u32, Unfit> {
        if let Some(&number) = self.numbers.get(&page) {
            return Ok(number);
        }
        if self.all.len() == MAX_PAGES {
            return Err(Unfit::TooVaried);
        }
        let number = self.all.len() as u32;
        self.all.push(page);
        self.numbers.insert(page, number);
        Ok(number)
    }
}

const fn bit(rule: usize) -> (usize, u64) {
    (rule / 64, 1 << (rule % 64))
}

fn set(vector: &mut Block, rule: usize) {
    let (word, mask) = bit(rule);
    vector[word] |= mask;
}

fn clear(vector: &mut Block, rule: usize) {
    let (word, mask) = bit(rule);
    vector[word] &= !mask;
}

impl<'a> Rules<'a> {
    pub fn new(rules: &'a [Rule]) -> Self {
        let mut limited = None;
        for (index, _) in rules.iter().enumerate().filter(|(_, rule)| rule.limit.is_some()) {
            set(limited.get_or_insert([0; BLOCK_WORDS]), index);
        }
        let classes = Classes { limited, ..Classes::default() };
        Self { rules, classes, pages: Pages::default(), limits: None }
    }

    /// The bit vector of the rules that `holds` accepts.
    fn vector(&self, holds: impl Fn(&Matches) -> bool) -> Block {
        let mut vector = [0; BLOCK_WORDS];
        for (index, rule) in self.rules.iter().enumerate() {
            if holds(&rule.matches) {
                set(&mut vector, index);
            }
        }
        vector
    }

    /// Compiles every field: fills the header's part on rules, and writes the trees into `lines`.
    /// The pages, the vectors and the addresses returned are for the caller to write.
    pub fn compile(&mut self, header: &mut Header, lines: &mut LineWriter) -> Result<Named, Unfit> {
        if self.rules.is_empty() {
            return Ok(Named::default());
        }
        header.flags |= flag::RULES;
        header.rules = self.rules.len() as u32;
        header.vector_shift = self.vector_shift();
        header.vector_words = header.rules.div_ceil(u64::BITS);
        self.protocols(header)?;
        self.end_field();
        let named = self.addresses(header)?;
        self.ports(header)?;
        self.icmp_types(header)?;
        self.end_field();
        self.tcp_flags(header)?;
        self.end_field();
        self.tags(header)?;
        self.end_field();
        self.macs(header, lines)?;
        self.lengths(header)?;
        self.end_field();
        match self.limits.and_then(|limits| limits.excess) {
            Some(rule) => Err(Unfit::TooManyLimits { rule }),
            None => Ok(named),
        }
    }

    /// Ends a field: a packet matches no more rules with limits than one of its classes accepts.
    fn end_field(&mut self) {
        if let Some(most) = self.classes.most.take()
            && self.limits.is_none_or(|limits| most.count < limits.count)
        {
            self.limits = Some(most);
        }
    }

    /// Whether some rule has a condition on a field, or its negation.
    fn any<T, U>(
        &self,
        field: impl Fn(&Matches) -> &Option<T>,
        not: impl Fn(&Matches) -> &Option<U>,
    ) -> bool {
        self.rules.iter().any(|rule| field(&rule.matches).is_some() || not(&rule.matches).is_some())
    }

    fn protocols(&mut self, header: &mut Header) -> Result<(), Unfit> {
        let named = self.rules.iter().flat_map(|rule| {
            let excluded = rule.matches.not.protocol.iter().flatten();
            rule.matches.protocol.iter().chain(excluded)
        });
        let named = named.filter_map(|protocol| match protocol {
            Protocol::Number(number) => Some(*number),
            Protocol::Icmp | Protocol::Icmpv6 => None,
        });
        let named: BTreeSet<u8> = [ICMP, TCP, UDP, ICMPV6, SCTP].into_iter().chain(named).collect();
        for is_ipv6 in [false, true] {
            for (fragment, state) in FRAGMENTS.into_iter().enumerate() {
                let accepts = |carried| {
                    self.vector(|matches| accepted::protocol(matches, is_ipv6, fragment, carried))
                };
                let other = accepts(Carried::Other);
                let vectors: Vec<(u8, Block)> = named
                    .iter()
                    .map(|&number| (number, accepts(Carried::Number(number))))
                    .collect();
                let mut page = [self.classes.class(other)? as u16; PAGE_ENTRIES];
                for (number, vector) in vectors {
                    page[usize::from(number)] = self.classes.class(vector)? as u16;
                }
                header.protocol_pages[protocol_page(is_ipv6.into(), state)] =
                    self.pages.page(page)?;
            }
        }
        // Only IPv6 has fragments whose protocol is unknown, and only later ones.
        let later = FRAGMENTS.len() - 1;
        let unknown =
            self.vector(|matches| accepted::protocol(matches, true, later, Carried::Unknown));
        header.unknown_protocol_class = self.classes.class(unknown)?;
        let mut not_ip = self.vector(|matches| !accepted::asks_ip(matches));
        for (index, rule) in self.rules.iter().enumerate() {
            // Nobody sent what has no source.
            let blocks = matches!(rule.action, RuleAction::Block { .. });
            if blocks || rule.limit.is_some_and(|limit| limit.per.asks_ip()) {
                clear(&mut not_ip, index);
            }
        }
        header.not_ip_class = self.classes.class(not_ip)?;
        Ok(())
    }

    fn addresses(&mut self, header: &mut Header) -> Result<Named, Unfit> {
        let mut named = Named::default();
        if self.any(|it| &it.source, |it| &it.not.source) {
            header.flags |= flag::RULE_SOURCE;
            header.unnamed_source_class = self.named(&mut named.source, |matches| {
                [matches.source.as_ref(), matches.not.source.as_ref()]
            })?;
            self.end_field();
        }
        if self.any(|it| &it.destination, |it| &it.not.destination) {
            header.flags |= flag::RULE_DESTINATION;
            header.unnamed_destination_class = self.named(&mut named.destination, |matches| {
                [matches.destination.as_ref(), matches.not.destination.as_ref()]
            })?;
            self.end_field();
        }
        Ok(named)
    }

    /// Collects the prefixes that a field and its negation name, with their classes; returns the class
    /// of all other addresses.
    fn named(
        &mut self,
        named: &mut NamedPrefixes,
        field: impl Fn(&Matches) -> [Option<&Prefixes>; 2],
    ) -> Result<u32, Unfit> {
        let unnamed = self.vector(|matches| field(matches)[0].is_none());
        let unnamed = self.classes.class(unnamed)?;
        named.v4 = self.prefixes(unnamed, &field, |prefixes| &prefixes.v4)?;
        named.v6 = self.prefixes(unnamed, &field, |prefixes| &prefixes.v6)?;
        Ok(unnamed)
    }

    fn prefixes<A: Address + 'a>(
        &mut self,
        unnamed: u32,
        field: impl Fn(&Matches) -> [Option<&Prefixes>; 2],
        family: impl Fn(&Prefixes) -> &[Prefix<A>],
    ) -> Result<Vec<Valued<A>>, Unfit> {
        // Whether the rule accepts the addresses of the prefix. Of one rule's prefixes, the longest
        // that holds an address decides, so none that it accepts may lie in one that it excludes.
        let mut prefixes: Vec<(Prefix<A>, (u32, bool))> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let [key, not] = field(&rule.matches).map(|it| it.map_or(&[][..], &family));
            let accepted = accepted::outside(key, not);
            prefixes.extend(accepted.into_iter().map(|prefix| (prefix, (index as u32, true))));
            prefixes.extend(not.iter().map(|&prefix| (prefix, (index as u32, false))));
        }
        let mut steps: FxHashMap<(u32, (u32, bool)), u32> = FxHashMap::default();
        let mut too_varied = false;
        let mut valued = Vec::with_capacity(prefixes.len());
        fold_nested(
            &mut prefixes,
            unnamed,
            |outer, &step| {
                *steps.entry((outer, step)).or_insert_with(|| {
                    let mut vector = self.classes.vectors[outer as usize];
                    let (rule, accepts) = (step.0 as usize, step.1);
                    if accepts {
                        set(&mut vector, rule)
                    } else {
                        clear(&mut vector, rule)
                    }
                    self.classes.class(vector).unwrap_or_else(|_| {
                        too_varied = true;
                        outer
                    })
                })
            },
            |prefix, class, around| {
                if class != around {
                    let value = class.wrapping_sub(unnamed) & CLASS;
                    valued.push(Valued { prefix, value });
                }
            },
        );
        if too_varied { Err(Unfit::TooVaried) } else { Ok(valued) }
    }

    /// Pages, one block each.
    pub fn page_blocks(&self) -> impl Iterator<Item = Block> {
        self.pages.all.iter().map(page_block)
    }

    /// Log2 of the number of lines that a bit vector takes: no more than the rules need.
    fn vector_shift(&self) -> u32 {
        let lines = self.rules.len().div_ceil(64 * LINE_WORDS).max(1);
        lines.next_power_of_two().trailing_zeros()
    }

    /// Blocks of bit vectors, as many in each as there is room for.
    pub fn vector_blocks(&self) -> impl Iterator<Item = Block> {
        let words = LINE_WORDS << self.vector_shift();
        self.classes.vectors.chunks(BLOCK_WORDS / words).map(move |vectors| {
            let mut block = [0; BLOCK_WORDS];
            for (place, vector) in block.chunks_exact_mut(words).zip(vectors) {
                place.copy_from_slice(&vector[..words]);
            }
            block
        })
    }
}

/// The block of a page, its entries in the order in which they lie in memory.
/// A page as a block of the image.
pub fn page_block(page: &Page) -> Block {
    let mut block = [0; BLOCK_WORDS];
    for (word, entries) in block.iter_mut().zip(page.chunks_exact(4)) {
        let mut bytes = [0; 8];
        for (place, entry) in bytes.chunks_exact_mut(2).zip(entries) {
            place.copy_from_slice(&entry.to_ne_bytes());
        }
        *word = u64::from_ne_bytes(bytes);
    }
    block
}
