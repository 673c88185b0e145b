//! The order of judgement: malformed; ARP; run-time `allow`; allowlists; run-time `block`;
//! fragments; blocklists; domains; rules; default.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::answer::{answer, can_be_syn_ack};
use super::config::{
    Action, Config, DomainAction, Fragment, List, ListAction, ListedName, Mac, Not, Over, Per,
    Prefix, Protocol, Rule, RuntimeEntry, Side, Target, Verdict, Vlan, bits,
};
use super::domains::{self, Said};
use super::packet::{self, Frame, Packet, Payload};
use super::sockets::is_answer;

/// What is to happen to a frame, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    pub verdict: &'static str,
    pub reason: &'static str,
    /// Kind and name of what counts the frame.
    pub counted: Vec<(&'static str, String)>,
    /// The rules that it would match if it were over their limits.
    pub under: Vec<String>,
    /// For what a rule sends out.
    pub sent: Option<Sent>,
    /// For what a list of addresses or a run-time entry decided.
    pub entry: Option<Entry>,
    /// For what a list of domain names decided, or let go on.
    pub domain: Option<DomainEntry>,
    /// Why the question of a DNS message could not be read.
    pub unreadable: Option<&'static str>,
    /// The frame that a query becomes if it is answered.
    pub answer: Option<Vec<u8>>,
    /// What becomes of a SYN that a rule answers, on a host that listens everywhere and needs cookies always.
    pub syn_cookie: Option<&'static str>,
}

/// What decided by a domain name: as it is written, in lower case, and the line as in [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainEntry {
    pub name: String,
    pub line: Option<usize>,
}

impl DomainEntry {
    fn of(name: &ListedName, line: Option<usize>) -> Self {
        Self { name: name.to_string().to_ascii_lowercase(), line }
    }
}

/// What decided a packet: a prefix, without bits beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub prefix: Prefix,
    /// Line of the list's own file; `None` where the entry stands in the configuration, or in no
    /// file.
    pub line: Option<usize>,
}

/// Where a frame goes, and what is rewritten on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `None` is back out of the same interface.
    pub to: Option<Target>,
    pub source_mac: Option<Mac>,
    pub destination_mac: Option<Mac>,
}

impl Opinion {
    fn new(verdict: Verdict, reason: &'static str) -> Self {
        let verdict = match verdict {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
        };
        Self { reason, ..Self::of(verdict) }
    }

    /// Nothing but a verdict.
    pub fn of(verdict: &'static str) -> Self {
        Self {
            verdict,
            reason: "",
            counted: Vec::new(),
            under: Vec::new(),
            sent: None,
            entry: None,
            domain: None,
            unreadable: None,
            answer: None,
            syn_cookie: None,
        }
    }

    fn by(self, entry: Entry) -> Self {
        Self { entry: Some(entry), ..self }
    }

    fn counting(mut self, kind: &'static str, name: &str) -> Self {
        self.counted.push((kind, name.to_owned()));
        self
    }
}

/// Whether a packet is under the limit of a rule, which has one.
type IsUnder<'a> = &'a mut dyn FnMut(&Rule, &Frame) -> bool;

/// Of limits that need no clock.
fn never_over(rule: &Rule, _: &Frame) -> bool {
    rule.limit.is_some_and(|limit| limit.over == Over::Never)
}

/// Judges an Ethernet frame.
pub fn judge(config: &Config, frame: &[u8]) -> Opinion {
    judge_by(config, frame, &mut never_over)
}

/// The same where rules have rates.
pub fn judge_by(config: &Config, frame: &[u8], is_under: IsUnder<'_>) -> Opinion {
    judge_read(config, frame, packet::read(frame), is_under)
}

/// Judges a packet of a link without a link layer header.
pub fn judge_raw(config: &Config, packet: &[u8]) -> Opinion {
    judge_read(config, packet, packet::read_raw(packet), &mut never_over)
}

fn judge_read(
    config: &Config,
    bytes: &[u8],
    frame: Option<Frame>,
    is_under: IsUnder<'_>,
) -> Opinion {
    let Some(frame) = frame else {
        return Opinion::new(config.malformed.unwrap_or(Verdict::Drop), "malformed");
    };
    if let Payload::Arp(sender) = frame.payload {
        let let_through = sender.is_some_and(|sender| config.arp_allow.contains(&sender));
        let verdict = config.arp.filter(|_| !let_through).unwrap_or(Verdict::Pass);
        return Opinion::new(verdict, "arp");
    }
    let mut counting = None;
    let mut said = Said::Nothing;
    if let Payload::Ip(packet) = &frame.payload {
        let standing = runtime_entry(config, packet.source);
        if let Some((true, entry)) = standing {
            return Opinion::new(Verdict::Pass, "allowed").by(entry);
        }
        if let Some((list, entry)) = allowing(config, packet.source) {
            let opinion = Opinion::new(Verdict::Pass, "allowlist");
            return opinion.counting("allowlist", &list.name).by(entry);
        }
        if let Some((false, entry)) = standing {
            return Opinion::new(Verdict::Drop, "banned").by(entry);
        }
        if packet.later_fragment && config.fragments == Some(Verdict::Drop) {
            return Opinion::new(Verdict::Drop, "fragment");
        }
        match blocking(config, packet) {
            Some((list, _)) if list.action == Some(ListAction::Count) => counting = Some(list),
            Some((list, entry)) => {
                let opinion = Opinion::new(Verdict::Drop, "blocklist");
                return opinion.counting("blocklist", &list.name).by(entry);
            }
            None => {}
        }
        said = domains::ask(config, bytes, packet);
        if let Said::Listed(listed) = &said {
            let action = listed.list.action.unwrap_or(DomainAction::Drop);
            if action != DomainAction::Pass {
                let mut opinion = Opinion::new(Verdict::Drop, "domain");
                if !listed.message.is_answer() {
                    opinion.answer = answer(bytes, &frame, packet, &listed.message, action);
                }
                if opinion.answer.is_some() {
                    opinion.verdict = "tx";
                }
                if let Some(list) = counting {
                    opinion = opinion.counting("blocklist", &list.name);
                }
                opinion.domain = Some(DomainEntry::of(listed.name, listed.line));
                return opinion.counting("domains", &listed.list.name);
            }
        }
    }
    let mut opinion = Opinion::new(config.default.unwrap_or(Verdict::Pass), "default");
    // What is under goes on to the next rule.
    let mut is_under = |rule: &&Rule| rule.limit.is_some() && is_under(rule, &frame);
    let mut rules = config.rules.iter().filter(|rule| matches(rule, &frame));
    let mut rule = rules.next();
    while let Some(limited) = rule.filter(&mut is_under) {
        opinion.under.push(limited.name.clone());
        rule = rules.next();
    }
    if let Some(rule) = rule {
        opinion.reason = "rule";
        opinion.verdict = match rule.action {
            Action::Pass => "pass",
            Action::Drop | Action::Block(_) => "drop",
            Action::Bounce => "tx",
            Action::Redirect(_) => "redirect",
            Action::SynCookie => {
                let is_answered = can_be_syn_ack(bytes, &frame);
                opinion.syn_cookie = Some(if is_answered { "answered" } else { "odd" });
                if is_answered { "tx" } else { "drop" }
            }
        };
        let sent = |to| Sent {
            to,
            source_mac: rule.set_source_mac,
            destination_mac: rule.set_destination_mac,
        };
        opinion.sent = match &rule.action {
            Action::Pass | Action::Drop | Action::Block(_) | Action::SynCookie => None,
            Action::Bounce => Some(sent(None)),
            Action::Redirect(to) => Some(sent(Some(to.clone()))),
        };
    }
    if let Some(list) = counting {
        opinion = opinion.counting("blocklist", &list.name);
    }
    match said {
        Said::Nothing => {}
        Said::Unreadable(why) => opinion.unreadable = Some(why),
        Said::Listed(listed) => {
            opinion.domain = Some(DomainEntry::of(listed.name, listed.line));
            opinion = opinion.counting("domains", &listed.list.name);
        }
    }
    if let Some(rule) = rule {
        opinion = opinion.counting("rule", &rule.name);
    }
    if let (("drop", "default"), Payload::Ip(packet)) =
        ((opinion.verdict, opinion.reason), &frame.payload)
        && is_answer(config, bytes, packet)
    {
        (opinion.verdict, opinion.reason) = ("pass", "reply");
    }
    opinion
}

/// Whether the longest prefix with a live entry that holds the source allows it. For a prefix there is
/// one entry of each owner, the last that it put; of those that live, an allow comes before a block.
fn runtime_entry(config: &Config, source: IpAddr) -> Option<(bool, Entry)> {
    let holding = config.entries.iter().filter(|entry| entry.prefix.contains(source));
    // Of the same length and owner, the last stays.
    let last: BTreeMap<(u8, u8), &RuntimeEntry> =
        holding.map(|entry| ((entry.prefix.length, entry.owner), entry)).collect();
    let live = || last.values().filter(|entry| entry.live);
    let longest = live().map(|entry| entry.prefix.length).max()?;
    let allow = live().any(|entry| entry.prefix.length == longest && entry.allow);
    Some((allow, Entry { prefix: block(source, longest), line: None }))
}

/// The prefix of that length that holds the address.
fn block(address: IpAddr, length: u8) -> Prefix {
    Prefix::new(Prefix::new(address, length).ends().0, length)
}

/// The entry of a list with the longest prefix that holds the address; of equal ones, the first as
/// they are written. A range counts as the fewest prefixes that hold exactly its addresses.
fn longest(list: &List, address: IpAddr) -> Option<Entry> {
    let mut best: Option<Entry> = None;
    let mut consider = |length: u8, line| {
        if best.is_none_or(|best| length > best.prefix.length) {
            best = Some(Entry { prefix: block(address, length), line });
        }
    };
    for prefix in list.prefixes.iter().filter(|prefix| prefix.contains(address)) {
        consider(prefix.length, None);
    }
    for (at, &(first, last)) in list.ranges.iter().enumerate() {
        if first.is_ipv4() != address.is_ipv4() || address < first || last < address {
            continue;
        }
        let whole = |length: &u8| {
            let (from, to) = block(address, *length).ends();
            first <= from && to <= last
        };
        let length = (0..=bits(address).1).find(whole).expect("at least the address itself");
        consider(length, Some(at + 1));
    }
    best
}

/// The contract does not say which of several allowlists is counted: as with blocklists, the
/// longest prefix, then the list that comes first.
fn allowing(config: &Config, source: IpAddr) -> Option<(&List, Entry)> {
    let mut best: Option<(&List, Entry)> = None;
    for list in &config.allowlists {
        if let Some(entry) = longest(list, source)
            && best.is_none_or(|(_, before)| entry.prefix.length > before.prefix.length)
        {
            best = Some((list, entry));
        }
    }
    best
}

/// A dropping entry before a counting one, then the longest prefix, then the list that comes
/// first, then the source before the destination.
fn blocking<'c>(config: &'c Config, packet: &Packet) -> Option<(&'c List, Entry)> {
    let mut best: Option<((bool, u8), &List, Entry)> = None;
    for list in &config.blocklists {
        let sides: &[IpAddr] = match list.side.unwrap_or(Side::Source) {
            Side::Source => &[packet.source],
            Side::Destination => &[packet.destination],
            Side::Either => &[packet.source, packet.destination],
        };
        let drops = list.action != Some(ListAction::Count);
        for address in sides {
            if let Some(entry) = longest(list, *address)
                && best.is_none_or(|(before, _, _)| (drops, entry.prefix.length) > before)
            {
                best = Some(((drops, entry.prefix.length), list, entry));
            }
        }
    }
    best.map(|(_, list, entry)| (list, entry))
}

fn matches(rule: &Rule, frame: &Frame) -> bool {
    let vlan = match &rule.vlan {
        None => true,
        Some(Vlan::Untagged) => frame.vlan.is_none(),
        Some(Vlan::Ids(ids)) => frame.vlan.is_some_and(|id| ids.contains(&id)),
    };
    let mac_among = |macs: &[Mac], mac: Option<Mac>| {
        macs.is_empty() || mac.is_some_and(|mac| macs.contains(&mac))
    };
    let other_mac = |macs: &[Mac], mac: Option<Mac>| {
        macs.is_empty() || mac.is_some_and(|mac| !macs.contains(&mac))
    };
    let macs = mac_among(&rule.source_mac, frame.source_mac)
        && mac_among(&rule.destination_mac, frame.destination_mac)
        && other_mac(&rule.not.source_mac, frame.source_mac)
        && other_mac(&rule.not.destination_mac, frame.destination_mac);
    // What has no tag has none that could be another.
    let other_vlan = match &rule.not.vlan {
        None => true,
        Some(Vlan::Untagged) => frame.vlan.is_some(),
        Some(Vlan::Ids(ids)) => frame.vlan.is_some_and(|id| !ids.contains(&id)),
    };
    let asks_for_ip = rule.protocol.is_some()
        || !rule.source.is_empty()
        || !rule.destination.is_empty()
        || !rule.source_port.is_empty()
        || !rule.destination_port.is_empty()
        || !rule.icmp_type.is_empty()
        || !rule.tcp_flags.is_empty()
        || !rule.dscp.is_empty()
        || !rule.length.is_empty()
        || !rule.ttl.is_empty()
        || rule.fragment.is_some()
        || rule.limit.is_some_and(|limit| limit.per != Per::Rule)
        || matches!(rule.action, Action::Block(_) | Action::SynCookie);
    vlan && other_vlan
        && macs
        && match &frame.payload {
            Payload::Ip(packet) => matches_packet(rule, packet) && has_others(&rule.not, packet),
            _ => !asks_for_ip && !asks_for_other_ip(&rule.not),
        }
}

/// A key does not match a packet that lacks the field: a later fragment has no ports, flags or
/// type, and only TCP, UDP and SCTP have ports.
fn matches_packet(rule: &Rule, packet: &Packet) -> bool {
    let protocol = rule.protocol.is_none_or(|protocol| is_of(packet, protocol));
    let among = |prefixes: &[Prefix], address| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
    };
    let port_among = |ranges: &[(u16, u16)], port: Option<u16>| {
        ranges.is_empty()
            || port.is_some_and(|port| {
                ranges.iter().any(|(first, last)| *first <= port && port <= *last)
            })
    };
    let flags = rule.tcp_flags.is_empty()
        || packet.tcp_flags.is_some_and(|flags| looks(flags, &rule.tcp_flags));
    // "The first packets of TCP's connections and nothing else."
    let is_syn = || packet.tcp_flags.is_some_and(|it| looks(it, &[("syn", true), ("ack", false)]));
    protocol
        && flags
        && (!matches!(rule.action, Action::SynCookie) || is_syn())
        && among(&rule.source, packet.source)
        && among(&rule.destination, packet.destination)
        && port_among(&rule.source_port, packet.ports.map(|ports| ports.0))
        && port_among(&rule.destination_port, packet.ports.map(|ports| ports.1))
        && (rule.dscp.is_empty() || rule.dscp.contains(&packet.dscp))
        && (rule.icmp_type.is_empty()
            || packet.icmp_type.is_some_and(|number| rule.icmp_type.contains(&number)))
        && (rule.length.is_empty() || in_ranges(&rule.length, length(packet)))
        && (rule.ttl.is_empty() || in_ranges(&rule.ttl, packet.ttl))
        && rule.fragment.is_none_or(|fragment| is_fragment(packet, fragment))
}

fn asks_for_other_ip(not: &Not) -> bool {
    !(not.protocol.is_empty()
        && not.source.is_empty()
        && not.destination.is_empty()
        && not.source_port.is_empty()
        && not.destination_port.is_empty()
        && not.icmp_type.is_empty()
        && not.tcp_flags.is_empty()
        && not.dscp.is_empty()
        && not.length.is_empty()
        && not.ttl.is_empty()
        && not.fragment.is_none())
}

/// Whether the packet has each field that the keys name, with another value than theirs.
fn has_others(not: &Not, packet: &Packet) -> bool {
    let outside =
        |prefixes: &[Prefix], address| prefixes.iter().all(|prefix| !prefix.contains(address));
    let other_port = |ranges: &[(u16, u16)], port: Option<u16>| {
        ranges.is_empty() || port.is_some_and(|port| !in_ranges(ranges, port))
    };
    (not.protocol.is_empty()
        || packet.protocol.is_some() && !not.protocol.iter().any(|it| is_of(packet, *it)))
        && outside(&not.source, packet.source)
        && outside(&not.destination, packet.destination)
        && other_port(&not.source_port, packet.ports.map(|ports| ports.0))
        && other_port(&not.destination_port, packet.ports.map(|ports| ports.1))
        && (not.icmp_type.is_empty()
            || packet.icmp_type.is_some_and(|number| !not.icmp_type.contains(&number)))
        && (not.tcp_flags.is_empty()
            || packet.tcp_flags.is_some_and(|flags| !looks(flags, &not.tcp_flags)))
        && !not.dscp.contains(&packet.dscp)
        && !in_ranges(&not.length, length(packet))
        && !in_ranges(&not.ttl, packet.ttl)
        && !not.fragment.is_some_and(|fragment| is_fragment(packet, fragment))
}

fn in_ranges<T: PartialOrd>(ranges: &[(T, T)], value: T) -> bool {
    ranges.iter().any(|(first, last)| *first <= value && value <= *last)
}

fn is_of(packet: &Packet, protocol: Protocol) -> bool {
    let over_ipv4 = packet.source.is_ipv4();
    match protocol {
        Protocol::Tcp => packet.protocol == Some(6),
        Protocol::Udp => packet.protocol == Some(17),
        Protocol::Sctp => packet.protocol == Some(132),
        Protocol::Icmp => over_ipv4 && packet.protocol == Some(1),
        Protocol::Icmpv6 => !over_ipv4 && packet.protocol == Some(58),
        Protocol::Number(number) => packet.protocol == Some(number),
    }
}

/// Whether TCP's flags are as these say. RFC 9293, section 3.1: the byte from its low bit.
fn looks(flags: u8, wanted: &[(&str, bool)]) -> bool {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    wanted.iter().all(|(name, set)| {
        let bit = names.iter().position(|known| known == name).unwrap();
        (flags >> bit & 1 == 1) == *set
    })
}

/// The IP packet's bytes by its header; more than the header can say count as the most that it can.
fn length(packet: &Packet) -> u16 {
    u16::try_from(packet.parts.end - packet.parts.l3).unwrap_or(u16::MAX)
}

fn is_fragment(packet: &Packet, fragment: Fragment) -> bool {
    match fragment {
        Fragment::No => !packet.first_fragment && !packet.later_fragment,
        Fragment::Yes => packet.first_fragment || packet.later_fragment,
        Fragment::First => packet.first_fragment,
        Fragment::Later => packet.later_fragment,
    }
}
