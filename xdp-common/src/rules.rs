//! The first rule that matches, at a cost that hardly depends on how many there are.
//!
//! Every field that some rule names has its values divided into classes: two values that the same
//! rules accept are of one class. A class has a vector of 4,096 bits, one a rule in file order, in
//! which the rules are set that accept its values (all that do not name the field are among
//! them). The intersection of a packet's vectors, one a field, is the set of rules that match it,
//! and the lowest bit is the first (Lakshman and Stiliadis, "High-speed policy-based packet
//! forwarding using efficient multi-dimensional range matching", SIGCOMM 1998). A summary word a
//! class says which of the vector's 64 words are not zero; the intersection of the summaries
//! leaves few words to look at (Baboescu and Varghese, "Scalable packet classification",
//! SIGCOMM 2001). 4,096 rules are 64 words, and a summary is one.

use crate::image::{ACTIONS_PER_LINE, Action, Block, Header, Lines, flag};
use crate::packet::{
    Network, Packet, PacketBytes, Transport, UNKNOWN_PROTOCOL, UNTAGGED, ethernet,
};
use crate::{opaque::opaque, search};

/// Most rules of a ruleset.
pub const MAX_RULES: usize = 4_096;
/// Classes on a page, and values that a page covers.
pub const PAGE_ENTRIES: usize = 256;

/// Flags of the fields that few rulesets name; a vector for each is asked only if one does.
const RARE: u32 = flag::RULE_VLAN | flag::RULE_SOURCE_MAC | flag::RULE_DESTINATION_MAC;

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
fn paged_class<L: Lines>(lines: &L, header: &Header, directory: u32, value: u32) -> Option<u32> {
    let page = page_entry(lines, header, directory, value >> 8)?;
    page_entry(lines, header, page, value)
}

/// A class's vector, and its summary.
#[inline(always)]
fn vector<'a, L: Lines>(lines: &'a L, header: &Header, class: u32) -> Option<(&'a Block, u64)> {
    let summaries = lines.block(header.summaries.wrapping_add(class / 64))?;
    let summary = summaries[(class % 64) as usize];
    Some((lines.block(header.vectors.wrapping_add(class))?, summary))
}

/// The number of the lowest bit that is set: the count of the bits below it. Written out, and kept
/// from being recognized, because eBPF has an instruction for neither and LLVM would put a table
/// into a map for it.
#[inline(always)]
fn lowest_bit(word: u64) -> u32 {
    let mut x = opaque(!word & word.wrapping_sub(1));
    x -= (x >> 1) & 0x5555_5555_5555_5555;
    x = opaque((x & 0x3333_3333_3333_3333) + ((x >> 2) & 0x3333_3333_3333_3333));
    x = (x + (x >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    opaque(x.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// The lowest bit of the intersection.
#[inline(always)]
fn first_common<const N: usize>(vectors: [&Block; N], mut summary: u64) -> Option<u32> {
    let mut rounds = 0;
    while summary != 0 && rounds < 64 {
        let index = lowest_bit(summary);
        let mut word = u64::MAX;
        for vector in vectors {
            word &= vector[(index & 63) as usize];
        }
        if word != 0 {
            return Some(index * 64 + lowest_bit(word));
        }
        summary &= summary - 1;
        rounds += 1;
    }
    None
}

/// The number of the first rule that matches, if any does. The outer `None` is an image that
/// lies.
#[inline(always)]
pub fn first_match<L: Lines, P: PacketBytes + ?Sized>(
    lines: &L,
    header: &Header,
    bytes: &P,
    packet: &Packet,
) -> Option<Option<u32>> {
    // The vector that every packet has: by family, protocol and whether it is a fragment. Rules
    // that name something that such a packet has not are not in it.
    let class = protocol_class(lines, header, packet)?;
    let (protocol, mut summary) = vector(lines, header, class)?;
    // A field that is not asked contributes the protocol's vector once more.
    let mut source = protocol;
    let mut destination = protocol;
    let mut source_port = protocol;
    let mut destination_port = protocol;
    let mut octet = protocol;

    let network = || packet.network.forgotten(|number| header.forget(number));
    let transport = || packet.transport.forgotten(|number| header.forget(number));
    if network().is_ip() {
        if header.has(flag::RULE_SOURCE) {
            let trees = [header.rule_source_v4_tree, header.rule_source_v6_tree];
            let class = search::find_address(lines, header, trees, packet.network, packet.source)?;
            let found = vector(lines, header, class)?;
            source = found.0;
            summary &= found.1;
        }
        if header.has(flag::RULE_DESTINATION) {
            let trees = [header.rule_destination_v4_tree, header.rule_destination_v6_tree];
            let class =
                search::find_address(lines, header, trees, packet.network, packet.destination)?;
            let found = vector(lines, header, class)?;
            destination = found.0;
            summary &= found.1;
        }
        if matches!(transport(), Transport::TCP | Transport::PORTS) {
            if header.has(flag::RULE_SOURCE_PORT) {
                let directory = header.source_port_directory;
                let class = paged_class(lines, header, directory, packet.source_port)?;
                let found = vector(lines, header, class)?;
                source_port = found.0;
                summary &= found.1;
            }
            if header.has(flag::RULE_DESTINATION_PORT) {
                let directory = header.destination_port_directory;
                let class = paged_class(lines, header, directory, packet.destination_port)?;
                let found = vector(lines, header, class)?;
                destination_port = found.0;
                summary &= found.1;
            }
        }
        // Flags and types never meet in a packet, so they share a place.
        let mut page = 0;
        let mut asked = false;
        if transport() == Transport::TCP && header.has(flag::RULE_TCP_FLAGS) {
            page = header.tcp_flags_page;
            asked = true;
        }
        if transport() == Transport::ICMP && header.has(flag::RULE_ICMP_TYPE) {
            page = header.icmp_type_page;
            asked = true;
        }
        if asked {
            let class = page_entry(lines, header, page, packet.octet)?;
            let found = vector(lines, header, class)?;
            octet = found.0;
            summary &= found.1;
        }
    }

    if !header.has(RARE) {
        let vectors = [protocol, source, destination, source_port, destination_port, octet];
        return Some(first_common(vectors, summary));
    }

    let mut vlan = protocol;
    let mut source_mac = protocol;
    let mut destination_mac = protocol;
    if header.has(flag::RULE_VLAN) {
        let class = match packet.vlan {
            UNTAGGED => header.untagged_class,
            id => paged_class(lines, header, header.vlan_directory, id)?,
        };
        let found = vector(lines, header, class)?;
        vlan = found.0;
        summary &= found.1;
    }
    if header.has(flag::RULE_SOURCE_MAC | flag::RULE_DESTINATION_MAC) {
        let [to, from] = ethernet::addresses(bytes)?;
        if header.has(flag::RULE_SOURCE_MAC) {
            let class = search::find_64(lines, header.rule_source_mac_tree, from)?;
            let found = vector(lines, header, class)?;
            source_mac = found.0;
            summary &= found.1;
        }
        if header.has(flag::RULE_DESTINATION_MAC) {
            let class = search::find_64(lines, header.rule_destination_mac_tree, to)?;
            let found = vector(lines, header, class)?;
            destination_mac = found.0;
            summary &= found.1;
        }
    }
    let vectors = [
        protocol,
        source,
        destination,
        source_port,
        destination_port,
        octet,
        vlan,
        source_mac,
        destination_mac,
    ];
    Some(first_common(vectors, summary))
}

#[inline(always)]
fn protocol_class<L: Lines>(lines: &L, header: &Header, packet: &Packet) -> Option<u32> {
    let network = packet.network.forgotten(|number| header.forget(number));
    if !network.is_ip() {
        return Some(header.not_ip_class);
    }
    if packet.protocol == UNKNOWN_PROTOCOL {
        return Some(header.unknown_protocol_class);
    }
    let transport = packet.transport.forgotten(|number| header.forget(number));
    let page = match (network, transport) {
        (Network::IPV4, Transport::FRAGMENT) => header.ipv4_fragment_page,
        (Network::IPV4, _) => header.ipv4_page,
        (_, Transport::FRAGMENT) => header.ipv6_fragment_page,
        (_, _) => header.ipv6_page,
    };
    page_entry(lines, header, page, packet.protocol)
}

/// What rule number `rule` does.
#[inline(always)]
pub fn action<'a, L: Lines>(lines: &'a L, header: &Header, rule: u32) -> Option<&'a Action> {
    let line = lines.line(header.actions.wrapping_add(rule / ACTIONS_PER_LINE))?;
    // SAFETY: a line holds two actions of 32 bytes, aligned as words are, and any bit pattern is
    // one.
    let actions = unsafe { &*line.as_ptr().cast::<[Action; ACTIONS_PER_LINE as usize]>() };
    Some(&actions[(rule % ACTIONS_PER_LINE) as usize])
}
