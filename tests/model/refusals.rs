//! Rules with random keys: those that can never match are refused, and no others.

use super::config::{Action, Config, Prefix, Protocol, Rule, Vlan};
use super::dice::{Dice, seed};
use super::product::Product;
use super::rulesets::{DSCP, ICMP_TYPES, MACS, PORTS, VLANS, prefix};

/// Whether the rule alone can match a packet, by the contract.
fn can_match(rule: &Rule) -> bool {
    let named = |number| match rule.protocol {
        Some(Protocol::Tcp) => number == 6,
        Some(Protocol::Udp) => number == 17,
        Some(Protocol::Sctp) => number == 132,
        Some(Protocol::Number(own)) => number == own,
        Some(Protocol::Icmp | Protocol::Icmpv6) => false,
        None => true,
    };
    let ports = rule.source_port.is_empty() && rule.destination_port.is_empty();
    let icmp = matches!(rule.protocol, Some(Protocol::Icmp | Protocol::Icmpv6));
    let clash = rule.tcp_flags.iter().any(|(name, set)| rule.tcp_flags.contains(&(name, !set)));
    let goes_out = !matches!(rule.action, Action::Pass | Action::Drop);
    (ports || named(6) || named(17) || named(132))
        && (rule.tcp_flags.is_empty() || named(6))
        && !clash
        && (rule.icmp_type.is_empty() || icmp)
        && (goes_out || (rule.set_source_mac.is_none() && rule.set_destination_mac.is_none()))
        && families_can_match(rule)
}

/// "Where a rule names source and destination, a family that stands on one side only is refused."
/// A prefix of a family that the protocol excludes can never match either.
fn families_can_match(rule: &Rule) -> bool {
    let has = |prefixes: &[Prefix], v4| prefixes.iter().any(|it| it.address.is_ipv4() == v4);
    let (over_v4, over_v6) = match rule.protocol {
        // In IPv6 these are extension headers, never protocols.
        Some(Protocol::Icmp | Protocol::Number(0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)) => {
            (true, false)
        }
        Some(Protocol::Icmpv6) => (false, true),
        _ => (true, true),
    };
    let both_named = !rule.source.is_empty() && !rule.destination.is_empty();
    [(true, over_v4), (false, over_v6)].into_iter().all(|(family, carried)| {
        let (source, destination) = (has(&rule.source, family), has(&rule.destination, family));
        (carried || !(source || destination)) && (!both_named || source == destination)
    })
}

fn any_rule(dice: &mut Dice) -> Rule {
    let action = dice.pick(&[Action::Pass, Action::Drop, Action::Bounce]);
    let mut rule = Rule::new("rule", action);
    rule.protocol = dice.maybe(2, |dice| {
        let number = loop {
            let any = dice.byte();
            let number = dice.pick(&[any, 0, 6, 17, 43, 44, 51, 60, 132, 135, 139, 140]);
            // The product asks for the words.
            if !matches!(number, 1 | 58) {
                break number;
            }
        };
        let named =
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmpv6];
        if dice.one_in(2) { Protocol::Number(number) } else { dice.pick(&named) }
    });
    let ports = |dice: &mut Dice| {
        let port = dice.pick(&PORTS);
        vec![(port, port)]
    };
    rule.source = dice.maybe(3, |dice| dice.some(1, 3, prefix)).unwrap_or_default();
    rule.destination = dice.maybe(3, |dice| dice.some(1, 3, prefix)).unwrap_or_default();
    rule.source_port = dice.maybe(6, ports).unwrap_or_default();
    rule.destination_port = dice.maybe(6, ports).unwrap_or_default();
    rule.icmp_type = dice.maybe(8, |dice| vec![dice.pick(&ICMP_TYPES)]).unwrap_or_default();
    rule.dscp = dice.maybe(8, |dice| vec![dice.pick(&DSCP)]).unwrap_or_default();
    let flag = |dice: &mut Dice| (dice.pick(&["syn", "ack", "cwr"]), dice.one_in(2));
    rule.tcp_flags = dice.maybe(8, |dice| dice.some(1, 3, flag)).unwrap_or_default();
    rule.vlan = dice.maybe(8, |dice| Vlan::Ids(vec![dice.pick(&VLANS)]));
    rule.source_mac = dice.maybe(8, |dice| vec![dice.pick(&MACS)]).unwrap_or_default();
    rule.set_source_mac = dice.maybe(8, |dice| dice.pick(&MACS));
    rule.set_destination_mac = dice.maybe(8, |dice| dice.pick(&MACS));
    rule
}

#[test]
fn only_rules_that_can_never_match_are_refused() {
    let mut dice = Dice::new(seed());
    let mut accepted = 0;
    let rules = 4_000;
    for _ in 0..rules {
        let rule = any_rule(&mut dice);
        let expected = can_match(&rule);
        let config = Config { rules: vec![rule], ..Config::default() };
        let found = Product::load(&config);
        let text = config.to_toml().0;
        assert_eq!(found.is_ok(), expected, "{text}{}", found.err().unwrap_or_default());
        accepted += usize::from(expected);
    }
    println!("{accepted} of {rules} rules accepted");
    assert!(accepted * 5 > rules && accepted * 5 < rules * 4);
}
