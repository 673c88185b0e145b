//! Random configurations with random frames.

use std::collections::BTreeMap;

use xdp_common::packet::LinkType;

use super::config::DomainAction;
use super::dice::{Dice, seed, setting};
use super::disagreement::tell;
use super::frames::{Edges, frame, raw_packet, to_cut};
use super::product::{Product, differs, differs_raw};
use super::{rulesets, sockets};

const FRAMES_PER_CONFIG: usize = 200;

/// `XDPCTL_MODEL_PAIRS` configurations and frames.
#[test]
fn model_and_product_judge_alike() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(300_000) as usize;
    let mut dice = Dice::new(seed());
    let mut outcomes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut with_rule_and_list = 0;
    for _ in 0..pairs.div_ceil(FRAMES_PER_CONFIG) {
        let mut config = rulesets::config(&mut dice);
        config.sockets = sockets::some(&mut dice);
        config.sent = dice.maybe(2, sockets::sent);
        let product = Product::load(&config)
            .unwrap_or_else(|error| panic!("refused: {error}\n{}", config.to_toml().0));
        let edges = Edges::of(&config);
        for _ in 0..FRAMES_PER_CONFIG {
            let frame =
                match config.sockets.is_empty() || config.replies.is_none() || !dice.one_in(4) {
                    true => frame(&mut dice, &edges),
                    false => sockets::frame(&mut dice, &config.sockets),
                };
            if product.differs(&config, &frame).is_some() {
                tell(&config, &frame, &mut differs);
            }
            let opinion = product.judge(&frame);
            *outcomes.entry((opinion.reason, opinion.verdict)).or_default() += 1;
            with_rule_and_list += usize::from(opinion.counted.len() == 2);
            if dice.one_in(4) {
                let packet = raw_packet(&mut dice, &edges);
                if product.differs_raw(&config, &packet).is_some() {
                    tell(&config, &packet, &mut differs_raw);
                }
            }
        }
    }
    println!("{pairs} pairs, {with_rule_and_list} counted by a list and a rule: {outcomes:?}");
    if pairs < 100_000 {
        return;
    }
    // A run has to meet all of these, or it has compared little.
    let reasons = [
        "malformed",
        "arp",
        "allowed",
        "allowlist",
        "banned",
        "blocklist",
        "fragment",
        "domain",
        "rule",
        "default",
        "reply",
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

/// "Judged like the same packet without": the product is compared with itself, without the model.
#[test]
fn what_carries_a_packet_changes_nothing() {
    let mut dice = Dice::new(seed());
    let mut compared = 0;
    for _ in 0..60 {
        let mut config = rulesets::config(&mut dice);
        // A packet without an Ethernet header has no MAC addresses and no tag.
        config.rules.retain(|rule| {
            rule.source_mac.is_empty()
                && rule.destination_mac.is_empty()
                && rule.vlan.is_none()
                && rule.not.source_mac.is_empty()
                && rule.not.destination_mac.is_empty()
                && rule.not.vlan.is_none()
        });
        // Nor is a query under labels answered.
        for list in &mut config.domains {
            list.action = list.action.filter(|action| *action == DomainAction::Pass);
        }
        let product = Product::load(&config).unwrap();
        let edges = Edges::of(&config);
        for _ in 0..200 {
            let packet = raw_packet(&mut dice, &edges);
            // Left out: packets longer than PPPoE can say, and those whose first bits are no IP
            // version.
            let version = packet.first().map_or(0, |byte| byte >> 4);
            if packet.len() > 60_000 || ![4, 6].contains(&version) {
                continue;
            }
            let v6 = version == 6;
            let length = (packet.len() as u16 + 2).to_be_bytes();
            let framed = |before: &[u8]| [&[2; 12], before, &packet[..]].concat();
            let plain = product.judge(&framed(if v6 { &[0x86, 0xdd] } else { &[8, 0] }));
            let label = [0, 1, 0, 64];
            let bottom = [0, 1, 1, 64];
            let labels = [&[0x88, 0x47][..], &label.repeat(dice.below(8)), &bottom].concat();
            let protocol = if v6 { 0x57 } else { 0x21 };
            let pppoe = [0x88, 0x64, 0x11, 0, 0, 1, length[0], length[1], 0, protocol];
            assert_eq!(product.judge(&framed(&labels)), plain, "under labels: {packet:02x?}");
            assert_eq!(product.judge(&framed(&pppoe)), plain, "in a session: {packet:02x?}");
            let raw = product.judge_on(LinkType::Raw, &packet);
            assert_eq!(raw, plain, "without a link layer header: {packet:02x?}");
            compared += 1;
        }
    }
    assert!(compared > 5_000, "only {compared} packets were compared");
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
