//! Random configurations with random frames.

use std::collections::BTreeMap;

use super::dice::{Dice, seed, setting};
use super::disagreement::tell;
use super::frames::{Edges, frame, to_cut};
use super::product::{Product, differs};
use super::rulesets;

const FRAMES_PER_CONFIG: usize = 200;

/// `XDPCTL_MODEL_PAIRS` configurations and frames.
#[test]
fn model_and_product_judge_alike() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(300_000) as usize;
    let mut dice = Dice::new(seed());
    let mut outcomes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut with_rule_and_list = 0;
    for _ in 0..pairs.div_ceil(FRAMES_PER_CONFIG) {
        let config = rulesets::config(&mut dice);
        let product = Product::load(&config)
            .unwrap_or_else(|error| panic!("refused: {error}\n{}", config.to_toml().0));
        let edges = Edges::of(&config);
        for _ in 0..FRAMES_PER_CONFIG {
            let frame = frame(&mut dice, &edges);
            if product.differs(&config, &frame).is_some() {
                tell(&config, &frame, &mut differs);
            }
            let opinion = product.judge(&frame);
            *outcomes.entry((opinion.reason, opinion.verdict)).or_default() += 1;
            with_rule_and_list += usize::from(opinion.counted.len() == 2);
        }
    }
    println!("{pairs} pairs, {with_rule_and_list} counted by a list and a rule: {outcomes:?}");
    if pairs < 100_000 {
        return;
    }
    // A run that met only some of this has compared nothing.
    let reasons = [
        "malformed",
        "arp",
        "allowed",
        "allowlist",
        "banned",
        "blocklist",
        "fragment",
        "rule",
        "default",
    ];
    for reason in reasons {
        let met: usize = outcomes
            .iter()
            .filter(|((found, _), _)| *found == reason)
            .map(|(_, times)| times)
            .sum();
        assert!(met * 200 > pairs, "{reason} only {met} times");
    }
    assert!(with_rule_and_list * 1000 > pairs);
}

#[test]
fn frames_cut_at_each_byte_are_judged_alike() {
    let mut dice = Dice::new(seed());
    let mut compared = 0;
    for _ in 0..20 {
        let config = rulesets::config(&mut dice);
        let product = Product::load(&config).unwrap();
        let edges = Edges::of(&config);
        for _ in 0..15 {
            let frame = to_cut(&mut dice, &edges);
            for end in 0..=frame.len() {
                if product.differs(&config, &frame[..end]).is_some() {
                    tell(&config, &frame[..end], &mut differs);
                }
                compared += 1;
            }
        }
    }
    println!("{compared} pairs");
}
