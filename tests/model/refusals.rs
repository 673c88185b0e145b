//! Rules with random keys: those that can never match are refused, and no others.

use super::config::{Action, Config, Protocol, Rule, Vlan};
use super::dice::{Dice, seed};
use super::possible::can_match;
use super::product::Product;
use super::rulesets::{
    DSCP, FRAGMENTS, ICMP_TYPES, LENGTHS, MACS, PORTS, TTLS, VLANS, between, negations, prefix,
};

fn any_rule(dice: &mut Dice) -> Rule {
    let action = dice.pick(&[Action::Pass, Action::Drop, Action::Bounce, Action::SynCookie]);
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
    rule.length = dice.maybe(8, |dice| vec![between(dice, &LENGTHS)]).unwrap_or_default();
    rule.ttl = dice.maybe(8, |dice| vec![between(dice, &TTLS)]).unwrap_or_default();
    rule.fragment = dice.maybe(8, |dice| dice.pick(&FRAGMENTS));
    if dice.one_in(2) {
        negations(dice, &mut rule, 5);
    }
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
