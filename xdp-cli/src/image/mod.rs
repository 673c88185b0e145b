//! Compiles a ruleset into its image: the exact bytes that the program judges by.
//!
//! Pure: the same ruleset and the same bindings give the same image, and no kernel is asked.
//! `xdp_common::image` has the layout.

pub mod caught;
pub mod counters;
pub mod domains;
mod filter;
mod interval_tree;
mod intervals;
pub mod limits;
mod lists;
mod lpm;
mod maglev;
pub mod metadata;
pub mod nic;
mod rules;
mod service_bits;
mod service_classes;
mod service_clients;
mod service_tables;
pub mod services;
mod unbound;

use std::path::{Path, PathBuf};

use xdp_common::capacity::{MAX_ASKED_LIMITS, MORE_EXTENTS};
use xdp_common::filter::domains::MAX_TYPE_CLASSES;
use xdp_common::filter::syn_cookie;
use xdp_common::image::{
    Action, ActionKind, BLOCK_LINES, BLOCK_WORDS, Block, EXTENT_BLOCKS, FIRST_MORE, Header, LAYOUT,
    LINE_WORDS, Line, Lines, MAGIC, REPLY_PORTS, SLACK_BLOCKS, flag,
};
use xdp_common::stats::counter::CounterId;

use crate::diagnostic::Diagnostic;
use crate::ruleset::services::{Service, Tracking};
use crate::ruleset::{PolicyAction, Prefix, Rewrite, RuleAction, Ruleset};
use domains::{Domains, TooManyTypes};
use interval_tree::LineWriter;
use intervals::flatten;
use lists::{Lists as CompiledLists, MembershipTable};
use lpm::TooLarge;
use metadata::{Kind, LimitCounted, Metadata};
use rules::{Rules, Unfit};

/// Why there can be no image of a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The rules differ from each other in more ways than an image has room for.
    #[error("the rules divide addresses and ports into more than {} classes", rules::MAX_CLASSES)]
    TooVaried,
    /// A packet may have to be asked too many limits, of which that rule's is the first one too many.
    #[error("more than {MAX_ASKED_LIMITS} rules with `over` may match one packet")]
    TooManyLimits { rule: usize },
    /// Lists of names look at question types in too many ways.
    #[error(
        "the lists of names look at question types in more than {MAX_TYPE_CLASSES} different ways"
    )]
    TooManyTypes,
    /// The lists' indexes are too large.
    #[error("the lists would take more than half a gigabyte in the kernel")]
    TooLarge,
}

impl BuildError {
    /// What to do about it.
    const fn hint(self) -> &'static str {
        match self {
            Self::TooVaried => {
                "give fewer of them prefixes or port ranges that overlap in different ways"
            }
            Self::TooManyLimits { .. } => {
                "give such rules conditions by which a packet matches few of them, or leave some out"
            }
            Self::TooManyTypes => "give several of them the same `qtype`",
            Self::TooLarge => "list fewer prefixes",
        }
    }

    /// What is wrong with this ruleset, where, and what to do about it. `file` is the configuration, which is named
    /// where no rule is known.
    pub fn told(self, ruleset: &Ruleset, file: &Path) -> Diagnostic {
        let rule = match self {
            Self::TooManyLimits { rule } => ruleset.rules.get(rule),
            Self::TooVaried | Self::TooManyTypes | Self::TooLarge => None,
        };
        let place = rule.and_then(|rule| ruleset.files.get(usize::from(rule.file)));
        let message = match rule.and_then(|rule| Some((rule, rule.limit?))) {
            Some((rule, limit)) => {
                let over = limit.rate;
                format!("rule \"{}\": over = \"{over}\" is one too many: {self}", rule.name)
            }
            None => self.to_string(),
        };
        Diagnostic {
            file: place.map_or(file, PathBuf::as_path).to_owned(),
            line: rule.map_or(0, |rule| rule.line),
            column: 0,
            message,
            hint: Some(self.hint().to_owned()),
            excerpt: None,
        }
    }
}

impl From<Unfit> for BuildError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::TooVaried => Self::TooVaried,
            Unfit::TooManyLimits { rule } => Self::TooManyLimits { rule },
        }
    }
}

impl From<TooManyTypes> for BuildError {
    fn from(TooManyTypes: TooManyTypes) -> Self {
        Self::TooManyTypes
    }
}

impl From<TooLarge> for BuildError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// An image, ready to be written into a map.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// At the end are [`SLACK_BLOCKS`] blocks of zeros: a span that starts on the last line of the
    /// image is read as a whole.
    blocks: Vec<Block>,
}

impl Lines for Image {
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.blocks.as_flattened().get(line as usize * LINE_WORDS..)
    }
}

impl Image {
    /// Builds the image of a ruleset. `metadata` says which counters and redirect slots it uses:
    /// `counted` has to come from [`counters::assign`] for this ruleset, and `redirects` has to
    /// name every target of its rules. Fails if the rules have too many classes, or the lists take
    /// too much room.
    pub fn build(
        ruleset: &Ruleset,
        generation: u64,
        metadata: &Metadata,
    ) -> Result<Self, BuildError> {
        Self::build_after(ruleset, generation, metadata, &services::Before::default())
    }

    /// The same for a ruleset that takes the place of another one, whose services had these tables.
    pub fn build_after(
        ruleset: &Ruleset,
        generation: u64,
        metadata: &Metadata,
        before: &services::Before,
    ) -> Result<Self, BuildError> {
        let mut header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            generation,
            flags: policy_flags(ruleset),
            more_extents: FIRST_MORE[(generation % 2) as usize],
            reply_ports: reply_ports(metadata),
            ..Header::of(&[0; BLOCK_WORDS]).to_owned()
        };
        let table = table(ruleset, metadata, &mut header);
        let mut lines = LineWriter::new(BLOCK_LINES);
        // First, because it has to lie in the first extent.
        let domains = domains(ruleset, metadata)?;
        if let Some(domains) = &domains {
            domains.write_near(&mut header, &mut lines);
        }
        let limits = compile_limits(ruleset, metadata, &mut header, &mut lines);
        let sentences = compile_sentences(ruleset, &mut header, &mut lines);
        if ruleset.answers_syns() {
            header.flags |= flag::SYN_COOKIES;
        }
        header.actions = lines.next();
        compile_actions(ruleset, metadata, &limits, &sentences, &mut lines);
        header.memberships = lines.next();
        for membership in &table.memberships {
            lines.push(membership.to_line());
        }
        header.arp_tree = arp_tree(ruleset, &mut lines);
        let mut rules = Rules::new(&ruleset.rules);
        let named = rules.compile(&mut header, &mut lines)?;

        let mut blocks = vec![[0; BLOCK_WORDS]];
        append_lines(&mut blocks, lines);
        let next = |blocks: &Vec<Block>| blocks.len() as u32;
        header.pages = next(&blocks);
        blocks.extend(rules.page_blocks());
        if let Some(domains) = &domains {
            domains.write_pages(&mut header, &mut blocks);
        }
        header.vectors = next(&blocks);
        blocks.extend(rules.vector_blocks());
        let mut lines = LineWriter::new(next(&blocks) * BLOCK_LINES);
        named.write(&mut header, &mut lines)?;
        write_lists(&table, &mut header, &mut lines)?;
        services(ruleset, metadata, before, &mut header, &mut lines)?;
        if let Some(domains) = domains {
            domains.write_far(&mut header, &mut lines);
        }
        append_lines(&mut blocks, lines);
        if is_ordinary(ruleset, &header) {
            header.flags |= flag::ORDINARY;
        }
        header.metadata = next(&blocks);
        let bytes = postcard::to_stdvec(metadata).expect("plain data fits into memory");
        header.metadata_bytes = bytes.len() as u32;
        blocks.extend(bytes.chunks(size_of::<Block>()).map(block_of_bytes));
        header.blocks = next(&blocks);
        if blocks.len().div_ceil(EXTENT_BLOCKS) > 1 + MORE_EXTENTS as usize {
            return Err(BuildError::TooLarge);
        }
        blocks[0] = header.to_block();
        blocks.extend([[0; BLOCK_WORDS]; SLACK_BLOCKS]);
        Ok(Self { blocks })
    }

    /// All blocks, the header's first.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks[..self.blocks.len() - SLACK_BLOCKS]
    }

    /// The header.
    pub fn header(&self) -> &Header {
        Header::of(&self.blocks[0])
    }
}

/// Whether ordinary packets go a shorter way, see [`flag::ORDINARY`]: not where most of them would have to go the longer
/// one as well, because all connections of services are looked up, or replies.
fn is_ordinary(ruleset: &Ruleset, header: &Header) -> bool {
    let looks_up = |service: &Service| service.tracking == Tracking::All;
    let goes_on = match ruleset.services.is_empty() {
        true => header.has(flag::REPLIES),
        false => ruleset.services.iter().all(looks_up),
    };
    !header.has(flag::NOT_ORDINARY) && !goes_on
}

fn domains(ruleset: &Ruleset, metadata: &Metadata) -> Result<Option<Domains>, BuildError> {
    let counted = metadata.counted.iter().filter(|counted| counted.kind == Kind::Domains);
    let counters: Vec<u32> = counted.map(|counted| counted.number).collect();
    Ok(Domains::new(&ruleset.domains, &counters, metadata.seed)?)
}

fn services(
    ruleset: &Ruleset,
    metadata: &Metadata,
    before: &services::Before,
    header: &mut Header,
    lines: &mut LineWriter,
) -> Result<(), TooLarge> {
    let own = metadata.counted.iter().filter(|counted| counted.kind == Kind::Service);
    let counters: Vec<services::Counters> = own
        .zip(&metadata.backends)
        .map(|(service, backends)| services::Counters {
            service: service.number,
            backends: backends.iter().map(|backend| backend.number).collect(),
        })
        .collect();
    for (place, taker) in header.targets.iter_mut().zip(&metadata.takers) {
        *place = *taker;
    }
    let (settings, services) = (&ruleset.service_settings, &ruleset.services);
    let Metadata { mtu, seed, connection_lines, ref own, .. } = *metadata;
    let context = services::Context {
        counters: &counters,
        mtu,
        seed,
        own,
        rules_ask_own: ruleset.answers_syns(),
        connection_lines,
        before,
    };
    services::write(settings, services, &context, header, lines)
}

/// The ranges of ports as the header has them; those for which there is no room are left out.
fn reply_ports(metadata: &Metadata) -> [u32; REPLY_PORTS] {
    let mut ranges = [0; REPLY_PORTS];
    for (range, (first, last)) in ranges.iter_mut().zip(&metadata.reply_ports) {
        *range = u32::from(*first) | u32::from(*last) << 16;
    }
    ranges
}

fn policy_flags(ruleset: &Ruleset) -> u32 {
    let policy = ruleset.policy;
    let replies = if policy.asks_replies() { flag::REPLIES } else { 0 };
    let by_port = if policy.always_asks_by_port() { flag::REPLIES_BY_PORT } else { 0 };
    replies
        | by_port
        | [
            (policy.default, flag::DEFAULT_DROP),
            (policy.malformed, flag::MALFORMED_DROP),
            (policy.fragments, flag::FRAGMENTS_DROP),
            (ruleset.arp.action, flag::ARP_DROP),
        ]
        .into_iter()
        .filter(|(action, _)| *action == PolicyAction::Drop)
        .fold(0, |flags, (_, flag)| flags | flag)
}

fn arp_tree(ruleset: &Ruleset, lines: &mut LineWriter) -> u32 {
    if ruleset.arp.allow.is_empty() {
        return 0;
    }
    let host = |&address| (Prefix { address, length: 32 }, ());
    let mut allowed: Vec<(Prefix<u32>, ())> = ruleset.arp.allow.iter().map(host).collect();
    lines.tree_32(&flatten(&mut allowed, 0, |_, ()| 1))
}

/// Writes the index of each family that some list names, and before it a filter if worthwhile.
fn write_lists(
    table: &MembershipTable,
    header: &mut Header,
    lines: &mut LineWriter,
) -> Result<(), TooLarge> {
    header.list_v4_filter = filter::v4(&table.v4).map_or(0, |filter| lines.append(filter));
    header.list_v6_filter = filter::v6(&table.v6).map_or(0, |filter| lines.append(filter));
    ([header.list_v4_root], [header.list_v6_root]) = lpm::write(lines, [&table.v4], [&table.v6])?;
    Ok(())
}

fn table(ruleset: &Ruleset, metadata: &Metadata, header: &mut Header) -> MembershipTable {
    let numbers = |kind| -> Vec<u32> {
        metadata.counted.iter().filter(|c| c.kind == kind).map(|c| c.number).collect()
    };
    let lists = CompiledLists::new(ruleset, &numbers(Kind::Allowlist), &numbers(Kind::Blocklist));
    let (source, destination) = lists.sides();
    header.flags |= if source { flag::SOURCE_LISTS } else { 0 };
    header.flags |= if destination { flag::DESTINATION_LISTS } else { 0 };
    lists.table()
}

/// Writes the limits of rules: for each rule the line of its limit, 0 where it has none.
fn compile_limits(
    ruleset: &Ruleset,
    metadata: &Metadata,
    header: &mut Header,
    lines: &mut LineWriter,
) -> Vec<u32> {
    let counted = metadata.counted.iter().filter(|counted| counted.kind == Kind::Rule);
    let limits = ruleset.rules.iter().zip(counted).map(|(rule, counted)| {
        let Some(LimitCounted { limit, under }) = counted.limit else { return 0 };
        header.flags |= flag::LIMITS;
        lines.push(limits::line(&rule.name, &limit, under).to_line())
    });
    limits.collect()
}

/// The bytes of a packet of a usual Ethernet, and the least segments that hosts take (RFC 9293, section 3.7.1).
const USUAL_MTU: u16 = 1_500;
const LEAST_V4: u16 = 536;
const LEAST_V6: u16 = 1_220;

/// Writes what rules that block sources make: for each rule the first line of that, 0 where it does not block.
fn compile_sentences(ruleset: &Ruleset, header: &mut Header, lines: &mut LineWriter) -> Vec<u32> {
    let sentences = ruleset.rules.iter().map(|rule| {
        let RuleAction::Block { life } = rule.action else { return 0 };
        header.flags |= flag::CATCHES;
        let life = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
        let [first, second] = caught::sentence(&rule.name, life).to_lines();
        let place = lines.push(first);
        lines.push(second);
        place
    });
    sentences.collect()
}

fn compile_actions(
    ruleset: &Ruleset,
    metadata: &Metadata,
    limits: &[u32],
    sentences: &[u32],
    lines: &mut LineWriter,
) {
    let counted = metadata.counted.iter().filter(|counted| counted.kind == Kind::Rule);
    let actions: Vec<[u64; 4]> = ruleset
        .rules
        .iter()
        .zip(counted)
        .zip(limits.iter().zip(sentences))
        .map(|((rule, counted), (&limit, &sentence))| {
            let mut action = Action {
                limit,
                counter: CounterId::new(counted.number).0,
                lost_counter: counted.lost.map_or(CounterId::NONE, CounterId::new).0,
                ..Action::default()
            };
            let rewrite = match &rule.action {
                RuleAction::Pass => {
                    action.kind = ActionKind::Pass as u8;
                    Rewrite::default()
                }
                RuleAction::Drop => {
                    action.kind = ActionKind::Drop as u8;
                    Rewrite::default()
                }
                RuleAction::Bounce { rewrite } => {
                    action.kind = ActionKind::Bounce as u8;
                    *rewrite
                }
                RuleAction::SynCookie => {
                    // What TCP announces: the packet without the headers of IP and TCP.
                    let mtu = if metadata.mtu == 0 { USUAL_MTU } else { metadata.mtu };
                    let sizes = syn_cookie::sizes(
                        mtu.saturating_sub(40).max(LEAST_V4),
                        mtu.saturating_sub(60).max(LEAST_V6),
                    );
                    (action.kind, action.slot) = (ActionKind::SynCookie as u8, sizes);
                    Rewrite::default()
                }
                RuleAction::Block { .. } => {
                    (action.kind, action.slot) = (ActionKind::Block as u8, sentence);
                    Rewrite::default()
                }
                RuleAction::Redirect { to, rewrite, .. } => {
                    action.kind = ActionKind::Redirect as u8;
                    let redirect = metadata.redirects.iter().find(|redirect| redirect.to == *to);
                    action.slot = redirect.map_or(u32::MAX, |redirect| redirect.slot);
                    *rewrite
                }
            };
            if let Some(mac) = rewrite.source_mac {
                (action.set_source_mac, action.source_mac) = (1, mac);
            }
            if let Some(mac) = rewrite.destination_mac {
                (action.set_destination_mac, action.destination_mac) = (1, mac);
            }
            action.to_words()
        })
        .collect();
    for pair in actions.chunks(2) {
        let mut line: Line = [0; LINE_WORDS];
        for (place, action) in line.chunks_exact_mut(4).zip(pair) {
            place.copy_from_slice(action);
        }
        lines.push(line);
    }
}

fn append_lines(blocks: &mut Vec<Block>, lines: LineWriter) {
    blocks.extend(lines.into_lines().chunks(BLOCK_LINES as usize).map(block_of_lines));
}

fn block_of_lines(lines: &[Line]) -> Block {
    let mut block = [0; BLOCK_WORDS];
    for (place, line) in block.chunks_exact_mut(LINE_WORDS).zip(lines) {
        place.copy_from_slice(line);
    }
    block
}

fn block_of_bytes(bytes: &[u8]) -> Block {
    let mut block = [0; BLOCK_WORDS];
    for (word, chunk) in block.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(padded);
    }
    block
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use xdp_common::filter::lists::find_listed;
    use xdp_common::packet::Network;

    use super::*;
    use crate::ruleset::{Entry, Guards, List, ListAction, Side};

    /// File names need not be UTF-8. One that was not once made the command panic.
    #[test]
    fn a_configuration_of_any_name() {
        use std::os::unix::ffi::OsStringExt as _;

        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/etc/\xff.toml".into()));
        let ruleset = Ruleset { files: vec![path.clone()], ..Ruleset::default() };
        let mut metadata = Metadata::unbound(&ruleset);
        metadata.config = path.clone();
        metadata.loaded_from = path;
        let bytes = postcard::to_stdvec(&metadata).unwrap();
        assert_eq!(postcard::from_bytes::<Metadata>(&bytes).unwrap(), metadata);
        let bytes = postcard::to_stdvec(&ruleset).unwrap();
        assert_eq!(postcard::from_bytes::<Ruleset>(&bytes).unwrap(), ruleset);
        Image::build(&ruleset, 1, &metadata).unwrap();
    }

    /// Hosts all over the address space, alone in their /24 and not, and whole networks: together
    /// more than one extent.
    #[test]
    fn a_large_list_is_exact() {
        let mut hosts = HashSet::new();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            // Marsaglia's xorshift: any numbers will do, as long as they are the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        while hosts.len() < 60_000 {
            hosts.insert(random() as u32);
        }
        // Neighbours, and both ends of the address space.
        hosts.extend([0, 1, 255, 256, 0x0a00_00fe, 0x0a00_0100, u32::MAX - 1, u32::MAX]);
        let networks = [(0x0b00_0000_u32, 8_u8), (0x0c0c_0c00, 24), (0x0c0c_0e00, 23)];
        let entry =
            |(address, length)| Entry { prefix: Prefix { address, length }, file: 0, line: 1 };
        let hosts_and_networks = hosts.iter().map(|&host| (host, 32)).chain(networks);
        let list = List {
            name: "large".into(),
            file: 0,
            line: 1,
            column: 1,
            side: Side::Source,
            action: ListAction::Drop,
            strict: false,
            guards: Guards::default(),
            v4: hosts_and_networks.map(entry).collect(),
            v6: Vec::new(),
        };
        let ruleset = Ruleset { blocklists: vec![list], ..Ruleset::default() };
        let image = Image::build(&ruleset, 1, &Metadata::unbound(&ruleset)).unwrap();
        let listed = |address: u32| {
            hosts.contains(&address)
                || networks
                    .iter()
                    .any(|(network, length)| (address ^ network) >> (32 - length) == 0)
        };
        let found = |address: u32| {
            let address = [u64::from(address), 0];
            find_listed(&image, image.header(), Network::IPV4, address).unwrap() != 0
        };
        let around = |address: u32| [address.wrapping_sub(1), address, address.wrapping_add(1)];
        let edges = networks.iter().flat_map(|&(network, length)| {
            [network, network | (u32::MAX >> length)].into_iter().flat_map(around)
        });
        let asked: Vec<u32> = hosts.iter().copied().flat_map(around).chain(edges).collect();
        for address in asked.into_iter().chain((0..200_000).map(|_| random() as u32)) {
            assert_eq!(found(address), listed(address), "{address:08x}");
        }
    }
}
