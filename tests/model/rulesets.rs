//! Random configurations, made of few addresses, ports, tags and MAC addresses, so that their lists
//! and rules match frames that are made of the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{
    Action, Config, DomainAction, Domains, Fragment, Labels, Limit, List, ListAction, ListedName,
    Mac, Over, Per, Prefix, Protocol, ReplyUdp, Rule, RuntimeEntry, Side, Target, Verdict, Vlan,
    bits, with_bits,
};
use super::dice::Dice;
use super::possible::can_match;

pub const PORTS: [u16; 12] = [0, 1, 52, 53, 54, 255, 256, 1023, 1024, 49152, 65534, 65535];
pub const VLANS: [u16; 7] = [0, 1, 100, 101, 255, 256, 4095];
pub const DSCP: [u8; 6] = [0, 1, 10, 46, 62, 63];
pub const ICMP_TYPES: [u8; 7] = [0, 3, 8, 128, 129, 135, 255];
pub const TTLS: [u8; 7] = [0, 1, 2, 63, 64, 254, 255];
/// Of packets with few bytes behind their headers, and the most and the least that there can be.
pub const LENGTHS: [u16; 14] = [0, 19, 20, 27, 28, 40, 41, 48, 60, 80, 100, 1500, 9000, 65535];
pub const FRAGMENTS: [Fragment; 4] =
    [Fragment::No, Fragment::Yes, Fragment::First, Fragment::Later];
pub const MACS: [Mac; 5] = [
    [0x02, 0, 0, 0, 0, 0x01],
    [0x02, 0, 0, 0, 0, 0x02],
    [0x02, 0, 0, 0, 0x01, 0x01],
    [0xff; 6],
    [0; 6],
];
/// A, NS, TXT, AAAA, ANY, and one of those for private use.
pub const QTYPES: [u16; 6] = [1, 2, 16, 28, 255, 65_280];
const LABELS: [&[u8]; 18] = [
    b"a",
    b"b",
    b"a",
    b"org",
    b"org",
    b"com",
    b"ads",
    b"example",
    b"_dns",
    b"xn--p1ai",
    b"0-9",
    b"seven-7",
    b"eight--8",
    b"@",
    b"`[",
    b"a.org",
    b"\0\xff\xc0",
    b"sixty-three-bytes-are-the-most-that-a-label-can-have-as-here--z",
];
const IPV4: [[u8; 4]; 12] = [
    [0, 0, 0, 0],
    [10, 0, 0, 0],
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 0, 0, 255],
    [10, 0, 1, 0],
    [10, 255, 255, 255],
    [127, 255, 255, 255],
    [128, 0, 0, 0],
    [192, 0, 2, 53],
    [192, 0, 2, 54],
    [255, 255, 255, 255],
];
const IPV6: [u128; 14] = [
    0,
    1,
    // IPv4-mapped, of an address above.
    0xffff_0a00_0001,
    0x2001_0db8 << 96,
    0x2001_0db8 << 96 | 1,
    0x2001_0db8 << 96 | 0xffff_ffff_ffff_ffff,
    0x2001_0db8 << 96 | 1 << 64,
    0x2001_0db8 << 96 | 1 << 64 | 0xffff_ffff_ffff_ffff,
    0x2001_0db8 << 96 | 2 << 64,
    0x2001_0db8 << 96 | 2 << 64 | 1 << 63,
    0x7fff << 112 | ((1 << 112) - 1),
    0x8000 << 112,
    0xfe80 << 112 | 1,
    u128::MAX,
];

pub fn ipv4(dice: &mut Dice) -> IpAddr {
    let random = |dice: &mut Dice| Ipv4Addr::from_bits(dice.word() as u32);
    dice.maybe(16, random).unwrap_or_else(|| dice.pick(&IPV4).into()).into()
}

pub fn ipv6(dice: &mut Dice) -> IpAddr {
    let random = |dice: &mut Dice| Ipv6Addr::from_bits(dice.wide());
    dice.maybe(16, random).unwrap_or_else(|| dice.pick(&IPV6).into()).into()
}

fn address(dice: &mut Dice) -> IpAddr {
    if dice.one_in(2) { ipv4(dice) } else { ipv6(dice) }
}

/// Of an IPv4 address most often /32, of an IPv6 address most often around /64 or /128.
pub fn prefix_of(dice: &mut Dice, address: IpAddr) -> Prefix {
    let length = match address {
        _ if dice.one_in(8) => dice.below(usize::from(bits(address).1) + 1) as u8,
        IpAddr::V4(_) => dice.pick(&[0, 1, 8, 15, 16, 17, 23, 24, 25, 30, 31, 31, 32, 32, 32]),
        IpAddr::V6(_) => {
            dice.pick(&[0, 1, 32, 47, 48, 62, 63, 63, 64, 64, 65, 65, 96, 126, 127, 127, 128, 128])
        }
    };
    let prefix = Prefix::new(address, length);
    // Bits beyond the length are taken off by the reader, and mostly not written.
    if dice.one_in(4) { prefix } else { Prefix::new(prefix.ends().0, length) }
}

pub fn prefix(dice: &mut Dice) -> Prefix {
    let address = address(dice);
    prefix_of(dice, address)
}

fn address_range(dice: &mut Dice) -> (IpAddr, IpAddr) {
    let first = address(dice);
    let other = match first {
        IpAddr::V4(_) => ipv4(dice),
        IpAddr::V6(_) => ipv6(dice),
    };
    let (first, last) = (first.min(other), first.max(other));
    // Short ones, too.
    if dice.one_in(2) {
        let (own, width) = bits(first);
        let most = u128::MAX >> (128 - width);
        let reach = dice.below(300) as u128;
        return (first, with_bits(first, own.saturating_add(reach).min(most)));
    }
    (first, last)
}

fn verdict(dice: &mut Dice) -> Verdict {
    dice.pick(&[Verdict::Pass, Verdict::Drop])
}

fn list(dice: &mut Dice, name: String, earlier: &[Prefix]) -> List {
    let longest = if dice.one_in(10) { 300 } else { 6 };
    let mut prefixes = dice.some(1, longest, |dice| {
        // Again what another list has, or its neighbour.
        if !earlier.is_empty() && dice.one_in(3) {
            let known = dice.pick(earlier);
            return if dice.one_in(2) { known } else { neighbour(known) };
        }
        prefix(dice)
    });
    let ranges = if dice.one_in(8) { dice.some(1, 4, address_range) } else { Vec::new() };
    if !ranges.is_empty() && dice.one_in(2) {
        prefixes.clear();
    }
    List { name, prefixes, ranges, side: None, action: None }
}

/// The next prefix of the same length, or the first one after the last.
fn neighbour(prefix: Prefix) -> Prefix {
    let (own, width) = bits(prefix.ends().1);
    let next = own.wrapping_add(1) & (u128::MAX >> (128 - width));
    Prefix::new(with_bits(prefix.address, next), prefix.length)
}

/// A configuration that is right.
pub fn config(dice: &mut Dice) -> Config {
    let mut config = Config {
        default: dice.maybe(2, verdict),
        malformed: dice.maybe(2, verdict),
        fragments: dice.maybe(3, verdict),
        arp: dice.maybe(2, verdict),
        replies: dice.maybe(2, |dice| dice.pick(&[Verdict::Pass, Verdict::Pass, Verdict::Drop])),
        replies_udp: dice.maybe(4, |dice| {
            dice.pick(&[ReplyUdp::Sent, ReplyUdp::Ephemeral, ReplyUdp::Connected])
        }),
        ..Config::default()
    };
    if config.replies == Some(Verdict::Pass) && !dice.one_in(3) {
        config.default = Some(Verdict::Drop);
    }
    if dice.one_in(2) {
        config.arp_allow = dice.some(1, 4, |dice| dice.pick(&IPV4).into());
    }
    let mut seen = Vec::new();
    if dice.one_in(3) {
        for number in 0..dice.below(4) {
            let mut list = list(dice, format!("allow-{number}"), &seen);
            // A prefix that short would leave little for the rest.
            list.prefixes.retain(|prefix| prefix.length > 1);
            if list.prefixes.is_empty() && list.ranges.is_empty() {
                list.prefixes.push(Prefix::new(Ipv4Addr::new(10, 0, 0, 1).into(), 32));
            }
            seen.extend(list.prefixes.iter().copied());
            config.allowlists.push(list);
        }
    }
    if !dice.one_in(4) {
        for number in 0..dice.below(8) {
            let mut list = list(dice, format!("block-{number}"), &seen);
            seen.extend(list.prefixes.iter().copied());
            list.side =
                dice.maybe(2, |dice| dice.pick(&[Side::Source, Side::Destination, Side::Either]));
            list.action = dice.maybe(2, |dice| dice.pick(&[ListAction::Drop, ListAction::Count]));
            if list.action != Some(ListAction::Count) {
                list.prefixes.retain(|prefix| prefix.length > 8);
                if list.prefixes.is_empty() && list.ranges.is_empty() {
                    list.prefixes.push(Prefix::new(Ipv4Addr::new(10, 0, 0, 1).into(), 31));
                }
            }
            config.blocklists.push(list);
        }
    }
    if dice.one_in(2) {
        config.domains = domains(dice);
    }
    if !dice.one_in(6) {
        let most = if dice.one_in(10) { 130 } else { 10 };
        let number = dice.below(most);
        config.rules = (0..number).map(|number| rule(dice, format!("rule-{number}"))).collect();
        if dice.one_in(3) {
            // No more than a packet may be asked.
            let limited = config.rules.iter_mut().filter(|_| dice.one_in(3)).take(16);
            let limited: Vec<&mut Rule> = limited.collect();
            limited.into_iter().for_each(|rule| rule.limit = Some(limit(dice)));
        }
    }
    if dice.one_in(3) {
        config.entries = entries(dice, &seen);
    }
    config
}

/// A domain name of few labels.
pub fn labels(dice: &mut Dice) -> Labels {
    let most = if dice.one_in(12) { 100 } else { 3 };
    let mut labels = Labels::new();
    let mut left = 254;
    for _ in 0..dice.below(most + 1) {
        let label = dice.pick(&LABELS);
        if label.len() < left {
            left -= 1 + label.len();
            labels.push(label.to_vec());
        }
    }
    labels
}

/// Lists of domain names, in which the same names stand again and again, with their parents and
/// children.
fn domains(dice: &mut Dice) -> Vec<Domains> {
    let mut seen: Vec<Labels> = Vec::new();
    let lists = 1 + dice.below(5);
    (0..lists).map(|number| domain_list(dice, format!("domains-{number}"), &mut seen)).collect()
}

fn domain_list(dice: &mut Dice, name: String, seen: &mut Vec<Labels>) -> Domains {
    let longest = if dice.one_in(10) { 40 } else { 6 };
    let mut names = dice.some(1, longest, |dice| {
        let mut labels =
            if seen.is_empty() || dice.one_in(3) { labels(dice) } else { dice.pick(seen) };
        match dice.below(4) {
            0 if !labels.is_empty() => drop(labels.remove(0)),
            1 => {
                let longer = [vec![dice.pick(&LABELS).to_vec()], labels.clone()].concat();
                if longer.iter().map(|label| 1 + label.len()).sum::<usize>() < 255 {
                    labels = longer;
                }
            }
            _ => {}
        }
        // The root now and then: it would leave little for the rest.
        if labels.is_empty() && !dice.one_in(6) {
            labels.push(dice.pick(&LABELS).to_vec());
        }
        seen.push(labels.clone());
        if dice.one_in(6) {
            labels.iter_mut().for_each(|label| label.make_ascii_uppercase());
        }
        let below_only = !labels.is_empty() && dice.one_in(4);
        ListedName { labels, below_only }
    });
    let filed = if dice.one_in(4) { names.split_off(dice.below(names.len())) } else { Vec::new() };
    let qtypes =
        if dice.one_in(3) { dice.some(1, 3, |dice| dice.pick(&QTYPES)) } else { Vec::new() };
    let action = dice.maybe(6, |_| ()).is_none().then(|| {
        dice.pick(&[
            DomainAction::Drop,
            DomainAction::Nxdomain,
            DomainAction::Nxdomain,
            DomainAction::Refuse,
            DomainAction::Truncate,
            DomainAction::Pass,
        ])
    });
    Domains { name, names, filed, qtypes, action }
}

/// Run-time entries, some around and inside each other, half of them ended. Live ones with short
/// prefixes would leave little for the rest.
fn entries(dice: &mut Dice, listed: &[Prefix]) -> Vec<RuntimeEntry> {
    let mut prefixes: Vec<Prefix> = Vec::new();
    for _ in 0..1 + dice.below(12) {
        let next = match dice.below(5) {
            0 if !listed.is_empty() => dice.pick(listed),
            // Again the same, of another owner or in its place.
            3 if !prefixes.is_empty() => dice.pick(&prefixes),
            1 | 2 if !prefixes.is_empty() => {
                let known = dice.pick(&prefixes);
                prefix_of(dice, known.address)
            }
            _ => prefix(dice),
        };
        prefixes.push(next);
    }
    let entry = |prefix: Prefix| RuntimeEntry {
        owner: dice.below(3) as u8,
        prefix,
        allow: dice.one_in(2),
        live: prefix.length > 1 && dice.one_in(2),
    };
    prefixes.into_iter().map(entry).collect()
}

/// Mostly one that packets are under, so that the rules behind are asked.
fn limit(dice: &mut Dice) -> Limit {
    let over = if dice.one_in(4) { Over::Always } else { Over::Never };
    let per = dice.pick(&[Per::Rule, Per::Source, Per::Destination]);
    Limit { over, per, lengths: None }
}

/// A rule that can match.
pub fn rule(dice: &mut Dice, name: String) -> Rule {
    loop {
        let mut rule = usual_rule(dice, name.clone());
        if dice.one_in(3) {
            negations(dice, &mut rule, 4);
        }
        if can_match(&rule) {
            return rule;
        }
    }
}

/// Adds some of the keys that begin with `not_`, each one time in `seldom`.
pub fn negations(dice: &mut Dice, rule: &mut Rule, seldom: usize) {
    let has_ports = !matches!(rule.protocol, Some(Protocol::Icmp | Protocol::Icmpv6));
    let has_types = !has_ports;
    let Rule { not, .. } = rule;
    let maybe = |dice: &mut Dice| dice.one_in(seldom);
    if maybe(dice) {
        not.protocol = dice.some(1, 3, |dice| {
            let number = dice.pick(&[6, 17, 47, 50]);
            let words = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Icmpv6];
            if dice.one_in(3) { Protocol::Number(number) } else { dice.pick(&words) }
        });
    }
    if maybe(dice) {
        not.source = dice.some(1, 3, prefix);
    }
    if maybe(dice) {
        not.destination = dice.some(1, 3, prefix);
    }
    if has_ports && maybe(dice) {
        not.source_port = dice.some(1, 3, |dice| between(dice, &PORTS));
    }
    if has_ports && maybe(dice) {
        not.destination_port = dice.some(1, 3, |dice| between(dice, &PORTS));
    }
    if has_types && maybe(dice) {
        not.icmp_type = dice.some(1, 3, |dice| dice.pick(&ICMP_TYPES));
    }
    if has_ports && maybe(dice) {
        let mut names = vec!["fin", "syn", "rst", "ack"];
        not.tcp_flags =
            dice.some(1, 2, |dice| (names.swap_remove(dice.below(names.len())), dice.one_in(2)));
    }
    if maybe(dice) {
        not.dscp = dice.some(1, 3, |dice| dice.pick(&DSCP));
    }
    if maybe(dice) {
        not.vlan = Some(vlan(dice));
    }
    if maybe(dice) {
        not.source_mac = dice.some(1, 3, |dice| dice.pick(&MACS));
    }
    if maybe(dice) {
        not.destination_mac = dice.some(1, 3, |dice| dice.pick(&MACS));
    }
    if maybe(dice) {
        not.length = dice.some(1, 3, |dice| between(dice, &LENGTHS));
    }
    if maybe(dice) {
        not.ttl = dice.some(1, 3, |dice| between(dice, &TTLS));
    }
    if maybe(dice) {
        not.fragment = Some(dice.pick(&FRAGMENTS));
    }
}

pub fn between<T: Copy + Ord>(dice: &mut Dice, ends: &[T]) -> (T, T) {
    let (one, other) = (dice.pick(ends), dice.pick(ends));
    if dice.one_in(2) { (one, one) } else { (one.min(other), one.max(other)) }
}

fn vlan(dice: &mut Dice) -> Vlan {
    if dice.one_in(3) {
        Vlan::Untagged
    } else {
        Vlan::Ids(dice.some(1, 3, |dice| dice.pick(&VLANS)))
    }
}

/// A rule of the keys that say what a packet has.
fn usual_rule(dice: &mut Dice, name: String) -> Rule {
    let action = match dice.below(8) {
        0 | 1 => Action::Pass,
        2..4 => Action::Drop,
        4 => Action::Bounce,
        5 => Action::Block(dice.pick(&[1, 600, 86_400])),
        6 => Action::Redirect(Target::Name(dice.pick(&["eth1", "eth2", "br-lan.7"]).into())),
        _ => Action::Redirect(Target::Index(dice.pick(&[2, 3, 2_147_483_647]))),
    };
    let goes_out = matches!(action, Action::Bounce | Action::Redirect(_));
    let mut rule = Rule::new(name, action);
    if goes_out {
        rule.set_source_mac = dice.maybe(3, |dice| dice.pick(&MACS));
        rule.set_destination_mac = dice.maybe(3, |dice| dice.pick(&MACS));
    }
    if dice.one_in(2) {
        rule.protocol = Some(match dice.below(8) {
            0 | 1 => Protocol::Tcp,
            2 => Protocol::Udp,
            3 => Protocol::Sctp,
            4 => Protocol::Icmp,
            5 => Protocol::Icmpv6,
            6 => Protocol::Number(dice.pick(&[0, 4, 6, 17, 43, 44, 47, 50, 51, 59, 60, 132, 255])),
            _ => loop {
                let number = dice.byte();
                // These two are written as words.
                if !matches!(number, 1 | 58) {
                    break Protocol::Number(number);
                }
            },
        });
    }
    let has_ports = matches!(
        rule.protocol,
        None | Some(
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp | Protocol::Number(6 | 17 | 132)
        )
    );
    if has_ports {
        rule.source_port = maybe_ports(dice);
        rule.destination_port = maybe_ports(dice);
    }
    if matches!(rule.protocol, None | Some(Protocol::Tcp | Protocol::Number(6))) && dice.one_in(4) {
        let mut names = vec!["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        rule.tcp_flags =
            dice.some(1, 3, |dice| (names.swap_remove(dice.below(names.len())), dice.one_in(2)));
    }
    if matches!(rule.protocol, Some(Protocol::Icmp | Protocol::Icmpv6)) && dice.one_in(2) {
        rule.icmp_type = dice.some(1, 3, |dice| dice.pick(&ICMP_TYPES));
    }
    if dice.one_in(5) {
        rule.dscp = dice.some(1, 3, |dice| dice.pick(&DSCP));
    }
    rule.vlan = dice.maybe(4, vlan);
    if dice.one_in(6) {
        rule.length = dice.some(1, 3, |dice| between(dice, &LENGTHS));
    }
    if dice.one_in(6) {
        rule.ttl = dice.some(1, 3, |dice| between(dice, &TTLS));
    }
    rule.fragment = dice.maybe(8, |dice| dice.pick(&FRAGMENTS));
    if dice.one_in(6) {
        rule.source_mac = dice.some(1, 3, |dice| dice.pick(&MACS));
    }
    if dice.one_in(6) {
        rule.destination_mac = dice.some(1, 3, |dice| dice.pick(&MACS));
    }
    addresses(dice, &mut rule);
    rule
}

fn maybe_ports(dice: &mut Dice) -> Vec<(u16, u16)> {
    if !dice.one_in(3) {
        return Vec::new();
    }
    dice.some(1, 3, |dice| between(dice, &PORTS))
}

/// Adds prefixes of families that the protocol allows. If both sides have prefixes, both have these
/// families.
fn addresses(dice: &mut Dice, rule: &mut Rule) {
    let mut families = match rule.protocol {
        // Extension headers are no protocols of IPv6.
        Some(Protocol::Icmp | Protocol::Number(0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)) => vec![4],
        Some(Protocol::Icmpv6) => vec![6],
        _ => vec![4, 6],
    };
    if dice.one_in(2) && families.len() == 2 {
        families.swap_remove(dice.below(2));
    }
    let side = |dice: &mut Dice| {
        let mut prefixes = Vec::new();
        for family in &families {
            prefixes.extend(dice.some(1, 2, |dice| {
                let address = if *family == 4 { ipv4(dice) } else { ipv6(dice) };
                prefix_of(dice, address)
            }));
        }
        prefixes
    };
    if dice.one_in(3) {
        rule.source = side(dice);
    }
    if dice.one_in(3) {
        rule.destination = side(dice);
    }
}
