//! The fields that a table leads to a class: of ports, octets, tags, MAC addresses and lengths.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xdp_common::filter::rules::{NO_VLAN, PAGE_ENTRIES};
use xdp_common::image::{Block, Header, flag};

use super::{Rules, Unfit, accepted, clear, set};
use crate::image::interval_tree::LineWriter;
use crate::image::intervals::Intervals;
use crate::ruleset::{MAX_DSCP, Matches};

/// The values of a field with 16 bits from which on other rules accept them, with these.
type Changes = Vec<(u16, Block)>;

/// The condition of a rule on a field, and on its negation.
type Ranges<'a> = [Option<&'a [(u16, u16)]>; 2];

impl Rules<'_> {
    pub(super) fn ports(&mut self, header: &mut Header) -> Result<(), Unfit> {
        if self.any(|it| &it.source_port, |it| &it.not.source_port) {
            header.flags |= flag::RULE_SOURCE_PORT;
            let changes =
                self.changes(|it| [it.source_port.as_deref(), it.not.source_port.as_deref()]);
            header.source_port_directory = self.directory_of_all(&changes, None)?;
            self.end_field();
        }
        if self.any(|it| &it.destination_port, |it| &it.not.destination_port) {
            header.flags |= flag::RULE_DESTINATION_PORT;
            let changes = self
                .changes(|it| [it.destination_port.as_deref(), it.not.destination_port.as_deref()]);
            header.destination_port_directory = self.directory_of_all(&changes, None)?;
            self.end_field();
        }
        Ok(())
    }

    /// Which rules accept which values of a field: the first from 0 on.
    fn changes(&self, field: impl Fn(&Matches) -> Ranges<'_>) -> Changes {
        // The values from which a rule accepts, and those from which it no longer does, sorted by
        // value.
        let mut edges: Vec<(u32, usize, bool)> = Vec::new();
        let mut vector = self.vector(|matches| field(matches) == [None, None]);
        for (index, rule) in self.rules.iter().enumerate() {
            let [key, not] = field(&rule.matches);
            for range in accepted::ranges(key, not).unwrap_or_default() {
                edges.push((range.0, index, true));
                edges.push((range.1, index, false));
            }
        }
        edges.sort_unstable();
        let mut edges = edges.into_iter().peekable();
        let mut changes = Vec::new();
        let mut value = 0;
        while let Ok(from) = u16::try_from(value) {
            while let Some((_, rule, begins)) = edges.next_if(|edge| edge.0 == value) {
                if begins { set(&mut vector, rule) } else { clear(&mut vector, rule) }
            }
            changes.push((from, vector));
            value = edges.peek().map_or(1 << 16, |edge| edge.0);
        }
        changes
    }

    /// The directory of all values of a field with 16 bits, whose classes hold only rules of the vector
    /// `among`, if there is one.
    fn directory_of_all(&mut self, changes: &Changes, among: Option<&Block>) -> Result<u32, Unfit> {
        let mut classes = vec![0u16; 1 << 16];
        let ends = changes.iter().skip(1).map(|change| usize::from(change.0));
        for ((from, vector), end) in changes.iter().zip(ends.chain([1 << 16])) {
            let class = self.class_among(vector, among)?;
            classes[usize::from(*from)..end].fill(class);
        }
        self.directory(&classes)
    }

    /// The class of the rules that are in both vectors.
    fn class_among(&mut self, vector: &Block, among: Option<&Block>) -> Result<u16, Unfit> {
        let mut common = *vector;
        if let Some(among) = among {
            common.iter_mut().zip(among).for_each(|(word, among)| *word &= among);
        }
        Ok(self.classes.class(common)? as u16)
    }

    /// Cuts the classes of all values into pages, and returns the page that lists those.
    fn directory(&mut self, classes: &[u16]) -> Result<u32, Unfit> {
        let mut directory = [0; PAGE_ENTRIES];
        for (entry, classes) in directory.iter_mut().zip(classes.chunks_exact(PAGE_ENTRIES)) {
            let mut page = [0; PAGE_ENTRIES];
            page.copy_from_slice(classes);
            *entry = self.pages.page(page)? as u16;
        }
        self.pages.page(directory)
    }

    /// The page of directories by the value of a field of one byte, which `accepts` says what rules
    /// accept: each different set of rules has a directory, which `directory` makes.
    fn directories(
        &mut self,
        last: u8,
        accepts: impl Fn(&Matches, u8) -> bool,
        directory: impl Fn(&mut Self, &Block) -> Result<u32, Unfit>,
    ) -> Result<u32, Unfit> {
        let mut directories: FxHashMap<Block, u32> = FxHashMap::default();
        let mut page = [0; PAGE_ENTRIES];
        for (value, entry) in (0..=last).zip(&mut page) {
            let among = self.vector(|matches| accepts(matches, value));
            let number = match directories.get(&among) {
                Some(&number) => number,
                None => directory(self, &among)?,
            };
            directories.insert(among, number);
            *entry = number as u16;
        }
        self.pages.page(page)
    }

    /// The page with the class of each value of a field of one byte.
    fn byte_page(&mut self, accepts: impl Fn(&Matches, u8) -> bool) -> Result<u32, Unfit> {
        let mut page = [0; PAGE_ENTRIES];
        for value in 0..=u8::MAX {
            let vector = self.vector(|matches| accepts(matches, value));
            page[usize::from(value)] = self.classes.class(vector)? as u16;
        }
        self.pages.page(page)
    }

    pub(super) fn icmp_types(&mut self, header: &mut Header) -> Result<(), Unfit> {
        if self.any(|it| &it.icmp_type, |it| &it.not.icmp_type) {
            header.flags |= flag::RULE_ICMP_TYPE;
            // Whether a rule means ICMP or ICMPv6 is part of its protocol condition.
            header.icmp_type_page = self.byte_page(|it, value| {
                accepted::value(it.icmp_type.as_deref(), it.not.icmp_type.as_deref(), &value)
            })?;
        }
        Ok(())
    }

    pub(super) fn tcp_flags(&mut self, header: &mut Header) -> Result<(), Unfit> {
        if self.any(|it| &it.tcp_flags, |it| &it.not.tcp_flags) {
            header.flags |= flag::RULE_TCP_FLAGS;
            header.tcp_flags_page = self.byte_page(accepted::flags)?;
        }
        Ok(())
    }

    /// VLAN id and DSCP share a vector: each different set of rules that accept some code point has
    /// a directory by VLAN id.
    pub(super) fn tags(&mut self, header: &mut Header) -> Result<(), Unfit> {
        let any_dscp = self.any(|it| &it.dscp, |it| &it.not.dscp);
        if !any_dscp && !self.any(|it| &it.vlan, |it| &it.not.vlan) {
            return Ok(());
        }
        header.flags |= flag::RULE_TAGS;
        let unnamed = self.vector(accepted::other_tag);
        let mut by_id: FxHashMap<u16, Block> = FxHashMap::default();
        for (index, rule) in self.rules.iter().enumerate() {
            for &id in accepted::ids(rule.matches.vlan.as_ref()) {
                set(by_id.entry(id).or_insert(unnamed), index);
            }
            for &id in accepted::ids(rule.matches.not.vlan.as_ref()) {
                clear(by_id.entry(id).or_insert(unnamed), index);
            }
        }
        by_id.insert(NO_VLAN as u16, self.vector(accepted::untagged));
        // For packets without a code point, which are not IP: there, the protocol's vector leaves
        // out the rules that ask for one.
        header.vlan_directory = self.vlan_directory(unnamed, &by_id, None)?;
        if any_dscp {
            header.flags |= flag::RULE_DSCP;
            header.dscp_page = self.directories(
                MAX_DSCP,
                |it, point| accepted::value(it.dscp.as_deref(), it.not.dscp.as_deref(), &point),
                |rules, among| rules.vlan_directory(unnamed, &by_id, Some(among)),
            )?;
        }
        Ok(())
    }

    /// The directory by VLAN id, whose classes hold only rules of the vector `among`, if there is one.
    fn vlan_directory(
        &mut self,
        unnamed: Block,
        by_id: &FxHashMap<u16, Block>,
        among: Option<&Block>,
    ) -> Result<u32, Unfit> {
        let ids = (NO_VLAN as usize + 1).next_multiple_of(PAGE_ENTRIES);
        let mut classes = vec![self.class_among(&unnamed, among)?; ids];
        for (id, vector) in by_id {
            classes[usize::from(*id)] = self.class_among(vector, among)?;
        }
        self.directory(&classes)
    }

    pub(super) fn macs(
        &mut self,
        header: &mut Header,
        lines: &mut LineWriter,
    ) -> Result<(), Unfit> {
        if self.any(|it| &it.source_mac, |it| &it.not.source_mac) {
            header.flags |= flag::RULE_SOURCE_MAC;
            header.rule_source_mac_tree = self
                .mac_tree(lines, |it| [it.source_mac.as_deref(), it.not.source_mac.as_deref()])?;
            self.end_field();
        }
        if self.any(|it| &it.destination_mac, |it| &it.not.destination_mac) {
            header.flags |= flag::RULE_DESTINATION_MAC;
            header.rule_destination_mac_tree = self.mac_tree(lines, |it| {
                [it.destination_mac.as_deref(), it.not.destination_mac.as_deref()]
            })?;
            self.end_field();
        }
        Ok(())
    }

    fn mac_tree(
        &mut self,
        lines: &mut LineWriter,
        field: impl Fn(&Matches) -> [Option<&[[u8; 6]]>; 2],
    ) -> Result<u32, Unfit> {
        let unnamed = self.vector(|matches| field(matches)[0].is_none());
        let mut by_mac: BTreeMap<u64, Block> = BTreeMap::new();
        let number = |&[a, b, c, d, e, f]: &[u8; 6]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        for (index, rule) in self.rules.iter().enumerate() {
            let [key, not] = field(&rule.matches).map(Option::unwrap_or_default);
            for mac in key {
                set(by_mac.entry(number(mac)).or_insert(unnamed), index);
            }
            for mac in not {
                clear(by_mac.entry(number(mac)).or_insert(unnamed), index);
            }
        }
        let unnamed = self.classes.class(unnamed)?;
        let mut intervals = Intervals::new(unnamed);
        for (mac, vector) in by_mac {
            intervals.set(mac, self.classes.class(vector)?);
            intervals.set(mac + 1, unnamed);
        }
        // A number of more bits stands for no address, which no rule accepts that names one, be it
        // that it must not be.
        let without = self.vector(|matches| field(matches) == [None, None]);
        intervals.set(1 << 48, self.classes.class(without)?);
        Ok(lines.tree_64(&intervals))
    }

    /// Length and TTL share a vector: each different set of rules that accept some TTL has a directory
    /// by length.
    pub(super) fn lengths(&mut self, header: &mut Header) -> Result<(), Unfit> {
        let any_ttl = self.any(|it| &it.ttl, |it| &it.not.ttl);
        if !any_ttl && !self.any(|it| &it.length, |it| &it.not.length) {
            return Ok(());
        }
        header.flags |= flag::RULE_LENGTH;
        let changes = self.changes(|it| [it.length.as_deref(), it.not.length.as_deref()]);
        if !any_ttl {
            header.length_directory = self.directory_of_all(&changes, None)?;
            return Ok(());
        }
        header.flags |= flag::RULE_TTL;
        header.ttl_page = self.directories(
            u8::MAX,
            |it, ttl| accepted::in_ranges(it.ttl.as_deref(), it.not.ttl.as_deref(), ttl),
            |rules, among| rules.directory_of_all(&changes, Some(among)),
        )?;
        Ok(())
    }
}
