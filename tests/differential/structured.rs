//! Configurations that are made to be hard, where those of `rulesets.rs` are made to be mixed:
//! long chains of prefixes around one address, ties between the sides of a packet, dense networks,
//! protocols that are headers elsewhere, rules by the hundred, and domain names that nest as deep as
//! they can or have one parent.

use std::net::IpAddr;

use crate::config::{
    Action, Config, DomainAction, Domains, Labels, List, ListAction, ListedName, Prefix, Protocol,
    Rule, Side, bits, with_bits,
};
use crate::dice::Dice;
use crate::rulesets::{QTYPES, ipv4, ipv6, labels, prefix_of, rule};

pub fn config(dice: &mut Dice) -> Config {
    match dice.below(7) {
        0 => chain(dice),
        1 => ties(dice),
        2 => dense(dice),
        3 => protocols(dice),
        4 => deep_names(dice),
        5 => many_names(dice),
        _ => rules(dice),
    }
}

fn address(dice: &mut Dice) -> IpAddr {
    if dice.one_in(2) { ipv4(dice) } else { ipv6(dice) }
}

fn side(dice: &mut Dice) -> Side {
    dice.pick(&[Side::Source, Side::Destination, Side::Either])
}

fn action(dice: &mut Dice) -> ListAction {
    dice.pick(&[ListAction::Drop, ListAction::Count])
}

fn blocklist(dice: &mut Dice, name: String, prefixes: Vec<Prefix>) -> List {
    let (side, action) = (Some(side(dice)), Some(action(dice)));
    List { name, prefixes, side, action, ..List::default() }
}

/// A list for each length of prefix over one address, in any order.
fn chain(dice: &mut Dice) -> Config {
    let address = address(dice);
    let mut lengths: Vec<u8> = (0..=bits(address).1).collect();
    let mut blocklists = Vec::new();
    while !lengths.is_empty() {
        let length = lengths.swap_remove(dice.below(lengths.len()));
        let prefix = Prefix::new(Prefix::new(address, length).ends().0, length);
        blocklists.push(blocklist(dice, format!("length-{length}"), vec![prefix]));
    }
    Config { blocklists, ..Config::default() }
}

/// Lists of the same few prefixes, which differ in side, action and place alone.
fn ties(dice: &mut Dice) -> Config {
    let some = dice.some(2, 6, |dice| {
        let address = address(dice);
        prefix_of(dice, address)
    });
    let lists = 2 + dice.below(20);
    let blocklists = (0..lists).map(|number| {
        let prefixes = dice.some(1, 3, |dice| dice.pick(&some));
        blocklist(dice, format!("tie-{number}"), prefixes)
    });
    let blocklists = blocklists.collect();
    let mut config = Config { blocklists, ..Config::default() };
    if dice.one_in(3) {
        let mut all = Rule::new("rest", Action::Bounce);
        all.set_source_mac = Some([2, 0, 0, 0, 0, 9]);
        config.rules.push(all);
    }
    config
}

/// Some thousands of prefixes in a few networks: nodes that are full, and runs of neighbours.
fn dense(dice: &mut Dice) -> Config {
    let networks = dice.some(1, 3, address);
    let number = if cfg!(debug_assertions) { 1_500 } else { 6_000 };
    let mut blocklists = Vec::new();
    for list in 0..1 + dice.below(4) {
        let prefixes = (0..number / 4).map(|_| {
            let network = dice.pick(&networks);
            let (own, width) = bits(network);
            let near = dice.pick(&[8, 10, 16, 20]);
            let most = u128::MAX >> (128 - width);
            let below = u128::from(dice.word()) & ((1 << near) - 1);
            let address = with_bits(network, (own & !((1 << near) - 1) | below) & most);
            let length = width - dice.pick(&[0, 0, 0, 0, 1, 2, 8]);
            Prefix::new(Prefix::new(address, length).ends().0, length)
        });
        let prefixes = prefixes.collect();
        blocklists.push(blocklist(dice, format!("dense-{list}"), prefixes));
    }
    Config { blocklists, ..Config::default() }
}

/// A rule for each of the numbers that stand for protocols in one place and for headers in another.
fn protocols(dice: &mut Dice) -> Config {
    let mut numbers = vec![0, 4, 6, 17, 41, 43, 44, 47, 50, 51, 59, 60, 132, 135, 139, 140];
    let mut rules = Vec::new();
    while !numbers.is_empty() {
        let number = numbers.swap_remove(dice.below(numbers.len()));
        let action = dice.pick(&[Action::Pass, Action::Drop, Action::Bounce]);
        let mut rule = Rule::new(format!("protocol-{number}"), action);
        rule.protocol = Some(Protocol::Number(number));
        rules.push(rule);
    }
    Config { rules, ..Config::default() }
}

/// Hundreds of rules, most of them narrow: the first that matches is far behind.
fn rules(dice: &mut Dice) -> Config {
    let number = if cfg!(debug_assertions) { 300 } else { 1_000 };
    let mut rules = Vec::new();
    while rules.len() < number {
        let rule = rule(dice, format!("rule-{}", rules.len()));
        let addresses =
            usize::from(!rule.source.is_empty()) + usize::from(!rule.destination.is_empty());
        let ports = usize::from(!rule.source_port.is_empty())
            + usize::from(!rule.destination_port.is_empty());
        let macs = usize::from(!rule.source_mac.is_empty())
            + usize::from(!rule.destination_mac.is_empty());
        let others = usize::from(rule.vlan.is_some()) + usize::from(rule.protocol.is_some());
        if addresses + ports + macs + others >= 4 {
            rules.push(rule);
        }
    }
    Config { rules, ..Config::default() }
}

fn domains(dice: &mut Dice, name: String, names: Vec<ListedName>) -> Domains {
    let actions = [
        DomainAction::Drop,
        DomainAction::Nxdomain,
        DomainAction::Refuse,
        DomainAction::Truncate,
        DomainAction::Pass,
    ];
    let qtypes = if dice.one_in(4) { dice.some(1, 3, |dice| dice.pick(&QTYPES)) } else { vec![] };
    Domains { name, names, qtypes, action: Some(dice.pick(&actions)), ..Domains::default() }
}

/// A list for each parent of a name of 127 labels, in any order; some for what is below it alone.
fn deep_names(dice: &mut Dice) -> Config {
    let deepest: Labels = dice.some(127, 127, |dice| vec![dice.pick(b"aaab_0")]);
    let mut depths: Vec<usize> = (1..=127).collect();
    let mut lists = Vec::new();
    while !depths.is_empty() {
        let depth = depths.swap_remove(dice.below(depths.len()));
        let labels = deepest[127 - depth..].to_vec();
        let name = ListedName { labels, below_only: dice.one_in(3) };
        lists.push(domains(dice, format!("depth-{depth}"), vec![name]));
    }
    Config { domains: lists, ..Config::default() }
}

/// Thousands of names under one parent, which several lists share, with an exception for all of them
/// or none.
fn many_names(dice: &mut Dice) -> Config {
    let number = if cfg!(debug_assertions) { 1_000 } else { 6_000 };
    let parent = labels(dice);
    let mut lists = Vec::new();
    for list in 0..1 + dice.below(3) {
        let names = dice.some(number / 2, number, |dice| {
            let child = format!("h{}", dice.below(number)).into_bytes();
            let labels = [vec![child], parent.clone()].concat();
            // A parent that is near the longest name has no room for children.
            let bytes = labels.iter().map(|label| 1 + label.len()).sum::<usize>();
            let labels = if bytes < 255 { labels } else { parent.clone() };
            ListedName { labels, below_only: dice.one_in(3) }
        });
        lists.push(domains(dice, format!("children-{list}"), names));
    }
    if dice.one_in(2) {
        let name = ListedName { labels: parent, below_only: false };
        lists.push(domains(dice, "parent".to_owned(), vec![name]));
    }
    Config { domains: lists, ..Config::default() }
}
