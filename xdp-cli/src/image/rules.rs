//! Compiles rules into classes of field values, with a bit vector of rules for each class, as
//! [`xdp_common::filter::rules`] reads them.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use xdp_common::filter::rules::{CLASS, NO_VLAN, PAGE_ENTRIES};
use xdp_common::image::{BLOCK_WORDS, Block, Header, LINE_WORDS, flag};
use xdp_common::packet::transport::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::interval_tree::LineWriter;
use super::intervals::{Address, Intervals, fold_nested};
use super::lpm::{self, TooLarge, Valued};
use crate::ruleset::{MAX_DSCP, Matches, Prefix, Prefixes, Protocol, Rule, Vlan};

/// The number of classes that an image has room for: pages hold them as 16-bit numbers.
pub const MAX_CLASSES: usize = 1 << 16;

/// The rules would have more than [`MAX_CLASSES`] classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooVaried;

/// A page: the classes of 256 values of a field, or, in a directory, the numbers of their pages.
type Page = [u16; PAGE_ENTRIES];

/// The rules' part of an image.
pub struct Rules<'a> {
    rules: &'a [Rule],
    classes: Classes,
    pages: Pages,
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

/// The different bit vectors. A class is the number of a vector.
#[derive(Default)]
struct Classes {
    vectors: Vec<Block>,
    numbers: FxHashMap<Block, u32>,
}

impl Classes {
    fn class(&mut self, vector: Block) -> Result<u32, TooVaried> {
        if let Some(&number) = self.numbers.get(&vector) {
            return Ok(number);
        }
        if self.vectors.len() == MAX_CLASSES {
            return Err(TooVaried);
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
    /// The number of a page. It fits an entry of 16 bits, since there are at most 2 x (256 + 1)
    /// pages of ports, 65 x (17 + 1) of VLAN ids and a few others.
    fn page(&mut self, page: Page) -> u32 {
        *self.numbers.entry(page).or_insert_with(|| {
            self.all.push(page);
            self.all.len() as u32 - 1
        })
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
        Self { rules, classes: Classes::default(), pages: Pages::default() }
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
    pub fn compile(
        &mut self,
        header: &mut Header,
        lines: &mut LineWriter,
    ) -> Result<Named, TooVaried> {
        if self.rules.is_empty() {
            return Ok(Named::default());
        }
        header.flags |= flag::RULES;
        header.rules = self.rules.len() as u32;
        header.vector_shift = self.vector_shift();
        header.vector_words = header.rules.div_ceil(u64::BITS);
        self.protocols(header)?;
        let named = self.addresses(header)?;
        self.ports(header)?;
        self.icmp_types(header)?;
        self.tcp_flags(header)?;
        self.tags(header)?;
        self.macs(header, lines)?;
        Ok(named)
    }

    /// Whether some rule has a condition on a field.
    fn any<T>(&self, field: impl Fn(&Matches) -> &Option<T>) -> bool {
        self.rules.iter().any(|rule| field(&rule.matches).is_some())
    }

    fn protocols(&mut self, header: &mut Header) -> Result<(), TooVaried> {
        let named = self.rules.iter().filter_map(|rule| match rule.matches.protocol {
            Some(Protocol::Number(number)) => Some(number),
            _ => None,
        });
        let named: BTreeSet<u8> = [ICMP, TCP, UDP, ICMPV6, SCTP].into_iter().chain(named).collect();
        for ipv6 in [false, true] {
            for fragment in [false, true] {
                let accepts = |protocol| {
                    self.vector(|matches| accepts_protocol(matches, ipv6, fragment, protocol))
                };
                let other = accepts(None);
                let vectors: Vec<(u8, Block)> =
                    named.iter().map(|&number| (number, accepts(Some(number)))).collect();
                let mut page = [self.classes.class(other)? as u16; PAGE_ENTRIES];
                for (number, vector) in vectors {
                    page[usize::from(number)] = self.classes.class(vector)? as u16;
                }
                let page = self.pages.page(page);
                match (ipv6, fragment) {
                    (false, false) => header.ipv4_page = page,
                    (false, true) => header.ipv4_fragment_page = page,
                    (true, false) => header.ipv6_page = page,
                    (true, true) => header.ipv6_fragment_page = page,
                }
            }
        }
        // Only IPv6 has fragments whose protocol is unknown.
        let unknown = self.vector(|matches| accepts_protocol(matches, true, true, None));
        header.unknown_protocol_class = self.classes.class(unknown)?;
        let not_ip = self.vector(|matches| !asks_ip(matches));
        header.not_ip_class = self.classes.class(not_ip)?;
        Ok(())
    }

    fn addresses(&mut self, header: &mut Header) -> Result<Named, TooVaried> {
        let mut named = Named::default();
        if self.any(|matches| &matches.source) {
            header.flags |= flag::RULE_SOURCE;
            let unnamed = self.named(&mut named.source, |matches| matches.source.as_ref())?;
            header.unnamed_source_class = unnamed;
        }
        if self.any(|matches| &matches.destination) {
            header.flags |= flag::RULE_DESTINATION;
            let unnamed =
                self.named(&mut named.destination, |matches| matches.destination.as_ref())?;
            header.unnamed_destination_class = unnamed;
        }
        Ok(named)
    }

    /// Collects the prefixes that a field names, with their classes; returns the class of all other
    /// addresses.
    fn named(
        &mut self,
        named: &mut NamedPrefixes,
        field: impl Fn(&Matches) -> Option<&Prefixes>,
    ) -> Result<u32, TooVaried> {
        let unnamed = self.vector(|matches| field(matches).is_none());
        let unnamed = self.classes.class(unnamed)?;
        named.v4 = self.prefixes(unnamed, &field, |prefixes| &prefixes.v4)?;
        named.v6 = self.prefixes(unnamed, &field, |prefixes| &prefixes.v6)?;
        Ok(unnamed)
    }

    fn prefixes<A: Address + 'a>(
        &mut self,
        unnamed: u32,
        field: impl Fn(&Matches) -> Option<&Prefixes>,
        family: impl Fn(&Prefixes) -> &[Prefix<A>],
    ) -> Result<Vec<Valued<A>>, TooVaried> {
        let mut prefixes: Vec<(Prefix<A>, u32)> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let named = field(&rule.matches).map_or(&[][..], &family);
            prefixes.extend(named.iter().map(|&prefix| (prefix, index as u32)));
        }
        let mut steps: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut too_varied = false;
        let mut valued = Vec::with_capacity(prefixes.len());
        fold_nested(
            &mut prefixes,
            unnamed,
            |outer, &rule| {
                *steps.entry((outer, rule)).or_insert_with(|| {
                    let mut vector = self.classes.vectors[outer as usize];
                    set(&mut vector, rule as usize);
                    self.classes.class(vector).unwrap_or_else(|TooVaried| {
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
        if too_varied { Err(TooVaried) } else { Ok(valued) }
    }

    fn ports(&mut self, header: &mut Header) -> Result<(), TooVaried> {
        if self.any(|matches| &matches.source_port) {
            header.flags |= flag::RULE_SOURCE_PORT;
            header.source_port_directory =
                self.port_directory(|matches| matches.source_port.as_deref())?;
        }
        if self.any(|matches| &matches.destination_port) {
            header.flags |= flag::RULE_DESTINATION_PORT;
            header.destination_port_directory =
                self.port_directory(|matches| matches.destination_port.as_deref())?;
        }
        Ok(())
    }

    fn port_directory(
        &mut self,
        field: impl Fn(&Matches) -> Option<&[(u16, u16)]>,
    ) -> Result<u32, TooVaried> {
        // The ports from which a rule accepts, and those from which it no longer does, sorted by
        // port.
        let mut edges: Vec<(u32, usize, bool)> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            for range in united(field(&rule.matches).unwrap_or_default()) {
                edges.push((range.0, index, true));
                edges.push((range.1, index, false));
            }
        }
        edges.sort_unstable();
        let mut vector = self.vector(|matches| field(matches).is_none());
        let mut classes = vec![0u16; 1 << 16];
        let mut edges = edges.into_iter().peekable();
        let mut port = 0;
        while port < 1 << 16 {
            while let Some((_, rule, begins)) = edges.next_if(|edge| edge.0 == port) {
                if begins { set(&mut vector, rule) } else { clear(&mut vector, rule) }
            }
            let next = edges.peek().map_or(1 << 16, |edge| edge.0);
            classes[port as usize..next as usize].fill(self.classes.class(vector)? as u16);
            port = next;
        }
        Ok(self.directory(&classes))
    }

    /// Cuts the classes of all values into pages, and returns the page that lists those.
    fn directory(&mut self, classes: &[u16]) -> u32 {
        let mut directory = [0; PAGE_ENTRIES];
        for (entry, classes) in directory.iter_mut().zip(classes.chunks_exact(PAGE_ENTRIES)) {
            let mut page = [0; PAGE_ENTRIES];
            page.copy_from_slice(classes);
            *entry = self.pages.page(page) as u16;
        }
        self.pages.page(directory)
    }

    /// The page with the class of each value of a field of one byte.
    fn byte_page(&mut self, accepts: impl Fn(&Matches, u8) -> bool) -> Result<u32, TooVaried> {
        let mut page = [0; PAGE_ENTRIES];
        for value in 0..=u8::MAX {
            let vector = self.vector(|matches| accepts(matches, value));
            page[usize::from(value)] = self.classes.class(vector)? as u16;
        }
        Ok(self.pages.page(page))
    }

    fn icmp_types(&mut self, header: &mut Header) -> Result<(), TooVaried> {
        if self.any(|matches| &matches.icmp_type) {
            header.flags |= flag::RULE_ICMP_TYPE;
            // Whether a rule means ICMP or ICMPv6 is part of its protocol condition.
            header.icmp_type_page = self.byte_page(|matches, value| {
                matches.icmp_type.as_ref().is_none_or(|types| types.contains(&value))
            })?;
        }
        Ok(())
    }

    fn tcp_flags(&mut self, header: &mut Header) -> Result<(), TooVaried> {
        if self.any(|matches| &matches.tcp_flags) {
            header.flags |= flag::RULE_TCP_FLAGS;
            header.tcp_flags_page = self.byte_page(|matches, value| {
                matches.tcp_flags.is_none_or(|flags| value & flags.mask == flags.value)
            })?;
        }
        Ok(())
    }

    /// VLAN id and DSCP share a vector: each different set of rules that accept some code point has
    /// a directory by VLAN id.
    fn tags(&mut self, header: &mut Header) -> Result<(), TooVaried> {
        let any_dscp = self.any(|matches| &matches.dscp);
        if !any_dscp && !self.any(|matches| &matches.vlan) {
            return Ok(());
        }
        header.flags |= flag::RULE_TAGS;
        let untagged =
            self.vector(|matches| matches.vlan.as_ref().is_none_or(|vlan| *vlan == Vlan::Untagged));
        let unnamed = self.vector(|matches| matches.vlan.is_none());
        let mut by_id: FxHashMap<u16, Block> = FxHashMap::default();
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(Vlan::Ids(ids)) = &rule.matches.vlan {
                for &id in ids {
                    set(by_id.entry(id).or_insert(unnamed), index);
                }
            }
        }
        by_id.insert(NO_VLAN as u16, untagged);
        // For packets without a code point, which are not IP: there, the protocol's vector leaves
        // out the rules that ask for one.
        let all = self.vector(|_| true);
        header.vlan_directory = self.vlan_directory(unnamed, &by_id, &all)?;
        if any_dscp {
            header.flags |= flag::RULE_DSCP;
            let mut directories: FxHashMap<Block, u32> = FxHashMap::default();
            let mut page = [0; PAGE_ENTRIES];
            for (point, entry) in (0..=MAX_DSCP).zip(&mut page) {
                let accepts = self.vector(|matches| {
                    matches.dscp.as_ref().is_none_or(|points| points.contains(&point))
                });
                let directory = match directories.get(&accepts) {
                    Some(&directory) => directory,
                    None => self.vlan_directory(unnamed, &by_id, &accepts)?,
                };
                directories.insert(accepts, directory);
                *entry = directory as u16;
            }
            header.dscp_page = self.pages.page(page);
        }
        Ok(())
    }

    /// The directory by VLAN id, whose classes hold only rules of the vector `among`.
    fn vlan_directory(
        &mut self,
        unnamed: Block,
        by_id: &FxHashMap<u16, Block>,
        among: &Block,
    ) -> Result<u32, TooVaried> {
        let mut class = |vector: &Block| {
            let mut common = *vector;
            common.iter_mut().zip(among).for_each(|(word, among)| *word &= among);
            self.classes.class(common)
        };
        let ids = (NO_VLAN as usize + 1).next_multiple_of(PAGE_ENTRIES);
        let mut classes = vec![class(&unnamed)? as u16; ids];
        for (id, vector) in by_id {
            classes[usize::from(*id)] = class(vector)? as u16;
        }
        Ok(self.directory(&classes))
    }

    fn macs(&mut self, header: &mut Header, lines: &mut LineWriter) -> Result<(), TooVaried> {
        if self.any(|matches| &matches.source_mac) {
            header.flags |= flag::RULE_SOURCE_MAC;
            header.rule_source_mac_tree =
                self.mac_tree(lines, |matches| matches.source_mac.as_deref())?;
        }
        if self.any(|matches| &matches.destination_mac) {
            header.flags |= flag::RULE_DESTINATION_MAC;
            header.rule_destination_mac_tree =
                self.mac_tree(lines, |matches| matches.destination_mac.as_deref())?;
        }
        Ok(())
    }

    fn mac_tree(
        &mut self,
        lines: &mut LineWriter,
        field: impl Fn(&Matches) -> Option<&[[u8; 6]]>,
    ) -> Result<u32, TooVaried> {
        let unnamed = self.vector(|matches| field(matches).is_none());
        let mut by_mac: std::collections::BTreeMap<u64, Block> = std::collections::BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            for &[a, b, c, d, e, f] in field(&rule.matches).unwrap_or_default() {
                let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                set(by_mac.entry(mac).or_insert(unnamed), index);
            }
        }
        let unnamed = self.classes.class(unnamed)?;
        let mut intervals = Intervals::new(unnamed);
        for (mac, vector) in by_mac {
            intervals.set(mac, self.classes.class(vector)?);
            intervals.set(mac + 1, unnamed);
        }
        Ok(lines.tree_64(&intervals))
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

/// Whether a rule names anything that only an IP packet has.
fn asks_ip(matches: &Matches) -> bool {
    matches.protocol.is_some()
        || matches.source.is_some()
        || matches.destination.is_some()
        || matches.source_port.is_some()
        || matches.destination_port.is_some()
        || matches.icmp_type.is_some()
        || matches.tcp_flags.is_some()
        || matches.dscp.is_some()
}

/// Whether a rule can match a packet of this family and protocol; `None` is a protocol that no
/// rule names, or one that is unknown.
fn accepts_protocol(matches: &Matches, ipv6: bool, fragment: bool, protocol: Option<u8>) -> bool {
    let named = match matches.protocol {
        None => true,
        Some(Protocol::Number(number)) => protocol == Some(number),
        Some(Protocol::Icmp) => !ipv6 && protocol == Some(ICMP),
        Some(Protocol::Icmpv6) => ipv6 && protocol == Some(ICMPV6),
    };
    let ports = matches.source_port.is_some() || matches.destination_port.is_some();
    let has_ports = !fragment && matches!(protocol, Some(TCP | UDP | SCTP));
    let has_flags = !fragment && protocol == Some(TCP);
    let has_type = !fragment;
    named
        && (!ports || has_ports)
        && (matches.tcp_flags.is_none() || has_flags)
        && (matches.icmp_type.is_none() || has_type)
}

/// The ranges with their ends excluded; those that touch or overlap are joined.
fn united(ranges: &[(u16, u16)]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> =
        ranges.iter().map(|&(first, last)| (u32::from(first), u32::from(last) + 1)).collect();
    ranges.sort_unstable();
    let mut united: Vec<(u32, u32)> = Vec::new();
    for (first, end) in ranges {
        match united.last_mut() {
            Some(last) if first <= last.1 => last.1 = last.1.max(end),
            _ => united.push((first, end)),
        }
    }
    united
}
