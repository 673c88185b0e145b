//! Rulesets as large as they get: the first match is the linear scan's.

use super::config::Config;
use super::dice::{Dice, seed};
use super::disagreement::tell;
use super::frames::{Edges, frame};
use super::product::{Product, differs};
use super::rulesets::rule;

fn compare(number: usize, frames: usize) {
    let mut dice = Dice::new(seed());
    let narrow = |dice: &mut Dice, number| loop {
        let rule = rule(dice, format!("rule-{number}"));
        // Wide rules at the front would leave nothing for those behind.
        let conditions = usize::from(rule.protocol.is_some())
            + usize::from(!rule.source.is_empty())
            + usize::from(!rule.destination.is_empty())
            + usize::from(!rule.source_port.is_empty())
            + usize::from(!rule.destination_port.is_empty())
            + usize::from(!rule.tcp_flags.is_empty())
            + usize::from(rule.vlan.is_some())
            + usize::from(!rule.source_mac.is_empty())
            + usize::from(!rule.destination_mac.is_empty());
        if conditions >= 4 {
            break rule;
        }
    };
    let rules = (0..number).map(|number| narrow(&mut dice, number)).collect();
    let config = Config { rules, ..Config::default() };
    let product = Product::load(&config).unwrap();
    let edges = Edges::of(&config);
    let mut deepest = 0;
    for _ in 0..frames {
        let frame = frame(&mut dice, &edges);
        if product.differs(&config, &frame).is_some() {
            tell(&config, &frame, &mut differs);
        }
        if let Some((_, name)) = product.judge(&frame).counted.first() {
            let at = config.rules.iter().position(|rule| rule.name == *name);
            deepest = deepest.max(at.unwrap());
        }
    }
    println!("{number} rules, {frames} frames, the last rule met was number {deepest}");
    assert!(deepest * 2 > number);
}

#[test]
fn a_thousand_rules() {
    compare(1_000, 3_000);
}

#[test]
fn as_many_rules_as_there_may_be() {
    compare(4_096, 1_500);
}
