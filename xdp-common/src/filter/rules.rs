//! The first rule that matches, at a cost that hardly depends on how many there are.
//!
//! The values of each field that some rule names are divided into classes: two values that the same
//! rules accept are of one class. A class has a bit vector, with a bit for each rule in file order.
//! Set are the bits of the rules that accept the values of the class; rules that do not name the
//! field accept all. The intersection of a packet's vectors, one for each field, is the set of
//! rules that match the packet, and its lowest bit is the first of them (Lakshman and Stiliadis,
//! "High-speed policy-based packet forwarding using efficient multi-dimensional range matching",
//! SIGCOMM 1998). A thousand rules are sixteen words, and each word costs six loads from the nearer
//! caches, so vectors are no longer than the ruleset's rules need. A summary of which words are not
//! zero (Baboescu and Varghese, SIGCOMM 2001) was tried and dropped: rules that do not name a field
//! are in all of its vectors, so that hardly a word is zero, and reading the summaries cost more
//! than they saved.

use crate::capacity::MAX_RULES;
use crate::filter::effect::{Effect, Stage, decide, intact};
use crate::image::{
    ACTIONS_PER_LINE, Action, ActionKind, BLOCK_LINES, Header, Lines, PROTOCOL_PAGES, Span, flag,
    protocol_page,
};
use crate::lookup::bits::lowest_bit;
use crate::lookup::{interval_tree, lpm};
use crate::packet::{Network, Packet, Transport, UNKNOWN_PROTOCOL, UNTAGGED};
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};
use crate::verifier::{black_box, launder};

/// The bits of a class's number.
pub const CLASS: u32 = 0xffff;
/// Entries of a page, one for each value that it covers.
pub const PAGE_ENTRIES: usize = 256;

/// Flags of the fields that few rulesets name. Their vectors are read only if some rule names one.
const RARE: u32 =
    flag::RULE_TAGS | flag::RULE_SOURCE_MAC | flag::RULE_DESTINATION_MAC | flag::RULE_LENGTH;

/// The place of packets without a VLAN tag in a directory by VLAN id: behind the highest id.
pub const NO_VLAN: u32 = 1 << 12;

/// Entry `index & 255` of a page.
#[inline(always)]
fn page_entry<L: Lines>(lines: &L, header: &Header, page: u32, index: u32) -> Option<u32> {
    let block = lines.block(header.pages.wrapping_add(page))?;
    // SAFETY: a block is 512 bytes, 256 entries of two, and any bit pattern is one.
    let entries = unsafe { &*block.as_ptr().cast::<[u16; PAGE_ENTRIES]>() };
    Some(u32::from(entries[(index & 0xff) as usize]))
}

/// The class of a 16-bit value, by way of a directory.
#[inline(always)]
pub fn paged_class<L: Lines>(
    lines: &L,
    header: &Header,
    directory: u32,
    value: u32,
) -> Option<u32> {
    let page = page_entry(lines, header, directory, value >> 8)?;
    page_entry(lines, header, page, value)
}

/// The first word that is not zero of the intersection of vectors that are `words` words long, and in
/// `place` which word that is; 0 where there is none.
///
/// The place is left in memory, since the verifier knows it wherever the loop ends: in a register, it
/// would follow each of those ways through all that comes after.
#[inline(always)]
fn first_common<const N: usize>(vectors: [&Span; N], words: u32, place: &mut u32) -> u64 {
    let mut group = 0;
    while group < MAX_RULES / 64 && group < words as usize {
        // Four words a round: an eBPF load adds only a constant to its address, so words that are
        // counted up one by one would take twice the instructions. No vector is shorter than that.
        let mut at = group;
        while at < group + GROUP {
            let mut word = u64::MAX;
            for vector in vectors {
                word &= vector[at];
            }
            if word != 0 {
                *place = at as u32;
                return word;
            }
            at += 1;
        }
        group += GROUP;
    }
    0
}

/// Words of each bit vector that are intersected in one round of the loop.
const GROUP: usize = 4;

/// The class of a packet in each field. A field that is not asked for has the class of the protocol
/// once more, whose vector changes nothing in the intersection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Classes {
    protocol: u32,
    source: u32,
    destination: u32,
    source_port: u32,
    destination_port: u32,
    /// By TCP's flags or by ICMP's type: no packet has both.
    l4_octet: u32,
    /// VLAN id and DSCP together.
    tags: u32,
    source_mac: u32,
    destination_mac: u32,
    /// Length and TTL together.
    length: u32,
    /// The word of the vectors that has the first rule.
    place: u32,
}

impl Classes {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self::all(u32::MAX);

    const fn all(class: u32) -> Self {
        Self {
            protocol: class,
            source: class,
            destination: class,
            source_port: class,
            destination_port: class,
            l4_octet: class,
            tags: class,
            source_mac: class,
            destination_mac: class,
            length: class,
            place: class,
        }
    }
}

/// Decides by the first rule that matches. Goes on with that rule if its limit has to be asked before, and with
/// `None` where no rule matches.
#[inline(always)]
pub fn judge<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    classes: &mut Classes,
    effect: &mut Effect,
) -> Stage<Option<u32>> {
    if !header.has(flag::RULES) {
        return Stage::Continue(None);
    }
    let Some(rule) = intact(first_match(lines, header, packet, classes))? else {
        return Stage::Continue(None);
    };
    act(lines, header, rule, effect)?;
    Stage::Continue(Some(rule))
}

/// Decides by a rule that matches, unless it has a limit to be asked before.
#[inline(always)]
pub fn act<L: Lines>(lines: &L, header: &Header, rule: u32, effect: &mut Effect) -> Stage {
    let action = intact(action(lines, header, rule))?;
    action.copy_to(&mut effect.action);
    effect.rule = CounterId(action.counter);
    if action.limit != 0 {
        return Stage::Continue(());
    }
    decide_by(action)
}

/// Decides by the action of a rule.
#[inline(always)]
pub fn decide_by<T>(action: &Action) -> Stage<T> {
    let verdict = match ActionKind::try_from(action.kind) {
        Ok(ActionKind::Pass) => Verdict::Pass,
        Ok(ActionKind::Bounce | ActionKind::SynCookie) => Verdict::Tx,
        Ok(ActionKind::Redirect) => Verdict::Redirect,
        Ok(ActionKind::Drop | ActionKind::Block) | Err(_) => Verdict::Drop,
    };
    decide(verdict, Reason::Rule)
}

/// The number of the first rule that matches, if any does. The outer `None` is a corrupt
/// image.
#[inline(always)]
fn first_match<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    classes: &mut Classes,
) -> Option<Option<u32>> {
    let rare = classify(lines, header, packet, classes)?;
    let classes = launder(classes);
    let words = header.vector_words;
    let first = header.vectors.wrapping_mul(BLOCK_LINES);
    let vector = |class: u32| lines.span(first.wrapping_add(class << (header.vector_shift & 3)));
    let protocol = vector(classes.protocol)?;
    let source = vector(classes.source)?;
    let destination = vector(classes.destination)?;
    let source_port = vector(classes.source_port)?;
    let destination_port = vector(classes.destination_port)?;
    let l4_octet = vector(classes.l4_octet)?;
    let word = if rare {
        let tags = vector(classes.tags)?;
        let source_mac = vector(classes.source_mac)?;
        let destination_mac = vector(classes.destination_mac)?;
        let length = vector(classes.length)?;
        let vectors = [
            protocol,
            source,
            destination,
            source_port,
            destination_port,
            l4_octet,
            tags,
            source_mac,
            destination_mac,
            length,
        ];
        first_common(vectors, words, &mut classes.place)
    } else {
        let vectors = [protocol, source, destination, source_port, destination_port, l4_octet];
        first_common(vectors, words, &mut classes.place)
    };
    if word == 0 {
        return Some(None);
    }
    // A place is less than `MAX_RULES / 64`.
    Some(Some(launder(classes).place.wrapping_mul(64).wrapping_add(lowest_bit(word))))
}

/// The number of the first rule behind another one that matches, if any does, by the classes that were found before.
/// The outer `None` is a corrupt image.
#[inline(always)]
pub fn next_match<L: Lines>(
    lines: &L,
    header: &Header,
    classes: &Classes,
    behind: u32,
) -> Option<Option<u32>> {
    let from = behind.wrapping_add(1);
    if from >= header.rules {
        return Some(None);
    }
    let first = header.vectors.wrapping_mul(BLOCK_LINES);
    let vector = |class: u32| lines.span(first.wrapping_add(class << (header.vector_shift & 3)));
    let protocol = vector(classes.protocol)?;
    // The class of a field that no rule names is that of the protocol, and need not be looked up again.
    let [mut tags, mut source_mac, mut destination_mac, mut length] = [protocol; 4];
    if header.has(RARE) {
        tags = vector(classes.tags)?;
        source_mac = vector(classes.source_mac)?;
        destination_mac = vector(classes.destination_mac)?;
        length = vector(classes.length)?;
    }
    let vectors = [
        protocol,
        vector(classes.source)?,
        vector(classes.destination)?,
        vector(classes.source_port)?,
        vector(classes.destination_port)?,
        vector(classes.l4_octet)?,
        tags,
        source_mac,
        destination_mac,
        length,
    ];
    let mut place = 0;
    while place < MAX_RULES / 64 && place < header.vector_words as usize {
        // All bits of the words behind the one that it begins in.
        let begins = from.saturating_sub(place as u32 * 64);
        let mut word = if begins >= 64 { 0 } else { u64::MAX << begins };
        for vector in vectors {
            word &= vector[place];
        }
        if word != 0 {
            return Some(Some(place as u32 * 64 + lowest_bit(word)));
        }
        place += 1;
    }
    Some(None)
}

/// Finds the class of each field that some rule names. Returns whether a field that few rulesets
/// name is among them; `None` is a corrupt image.
#[inline(always)]
fn classify<L: Lines>(
    lines: &L,
    header: &Header,
    packet: &Packet,
    classes: &mut Classes,
) -> Option<bool> {
    // The first class goes by family, protocol and whether the packet is a fragment, and which. A rule
    // that names a field that such packets lack does not accept the class: a rule on ports is not in
    // the vector of a later fragment, even if it negates them. So a field that the packet lacks needs
    // no class of its own.
    *classes = Classes::all(protocol_class(lines, header, packet)?);
    if packet.network.is_ip() {
        if header.has(flag::RULE_SOURCE) {
            classes.source = address_class(
                lines,
                packet.network,
                packet.source,
                [header.rule_source_v4_root, header.rule_source_v6_root],
                header.unnamed_source_class,
            )?;
        }
        if header.has(flag::RULE_DESTINATION) {
            classes.destination = address_class(
                lines,
                packet.network,
                packet.destination,
                [header.rule_destination_v4_root, header.rule_destination_v6_root],
                header.unnamed_destination_class,
            )?;
        }
        if matches!(packet.transport, Transport::TCP | Transport::PORTS) {
            if header.has(flag::RULE_SOURCE_PORT) {
                let directory = header.source_port_directory;
                classes.source_port = paged_class(lines, header, directory, packet.source_port)?;
            }
            if header.has(flag::RULE_DESTINATION_PORT) {
                let directory = header.destination_port_directory;
                classes.destination_port =
                    paged_class(lines, header, directory, packet.destination_port)?;
            }
        }
        if packet.transport == Transport::TCP && header.has(flag::RULE_TCP_FLAGS) {
            classes.l4_octet = page_entry(lines, header, header.tcp_flags_page, packet.l4_octet)?;
        }
        if packet.transport == Transport::ICMP && header.has(flag::RULE_ICMP_TYPE) {
            classes.l4_octet = page_entry(lines, header, header.icmp_type_page, packet.l4_octet)?;
        }
    }
    if !header.has(RARE) {
        return Some(false);
    }
    if header.has(flag::RULE_TAGS) {
        // VLAN and DSCP are one field with one vector: the DSCP chooses among directories of classes
        // by VLAN id.
        let mut directory = header.vlan_directory;
        if header.has(flag::RULE_DSCP) && packet.network.is_ip() {
            directory = page_entry(lines, header, header.dscp_page, packet.dscp)?;
        }
        let id = if packet.vlan == UNTAGGED { NO_VLAN } else { packet.vlan };
        classes.tags = paged_class(lines, header, directory, id)?;
    }
    if header.has(flag::RULE_SOURCE_MAC) {
        let tree = header.rule_source_mac_tree;
        classes.source_mac = interval_tree::find_64(lines, tree, packet.source_mac())?;
    }
    if header.has(flag::RULE_DESTINATION_MAC) {
        let tree = header.rule_destination_mac_tree;
        classes.destination_mac = interval_tree::find_64(lines, tree, packet.destination_mac())?;
    }
    if header.has(flag::RULE_LENGTH) && packet.network.is_ip() {
        // As with VLAN and DSCP, the TTL chooses among directories of classes by length.
        let mut directory = header.length_directory;
        if header.has(flag::RULE_TTL) {
            directory = page_entry(lines, header, header.ttl_page, packet.ttl)?;
        }
        classes.length = paged_class(lines, header, directory, packet.length())?;
    }
    Some(true)
}

/// The class of an address. The trie holds the difference to the class of addresses that no rule
/// names, so that these have 0, for which a trie needs no room.
#[inline(always)]
fn address_class<L: Lines>(
    lines: &L,
    network: Network,
    address: [u64; 2],
    roots: [u32; 2],
    unnamed: u32,
) -> Option<u32> {
    let difference = lpm::find_of(lines, roots, network, address)?;
    Some(difference.wrapping_add(unnamed) & CLASS)
}

#[inline(always)]
fn protocol_class<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<u32> {
    if !packet.network.is_ip() {
        return Some(header.not_ip_class);
    }
    if packet.protocol == UNKNOWN_PROTOCOL {
        return Some(header.unknown_protocol_class);
    }
    // Linux 6.1 forgets the range of a number that bits of another are set in: so it is masked again,
    // which LLVM would leave out.
    let place = black_box(protocol_page(packet.network.is_ipv6(), packet.fragment) as u64) as usize;
    let page = header.protocol_pages[place & (PROTOCOL_PAGES - 1)];
    page_entry(lines, header, page, packet.protocol)
}

/// What rule number `rule` does.
#[inline(always)]
fn action<'a, L: Lines>(lines: &'a L, header: &Header, rule: u32) -> Option<&'a Action> {
    let line = lines.line(header.actions.wrapping_add(rule / ACTIONS_PER_LINE))?;
    // SAFETY: a line holds two actions of 32 bytes, aligned as words are, and any bit pattern is
    // one.
    let actions = unsafe { &*line.as_ptr().cast::<[Action; ACTIONS_PER_LINE as usize]>() };
    Some(&actions[(rule % ACTIONS_PER_LINE) as usize])
}
