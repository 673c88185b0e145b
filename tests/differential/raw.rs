//! Links without a link layer header: the program for them, on packets that begin with IP.

use xdp_common::packet::LinkType;

use crate::config::{Action, Config};
use crate::dice::{Dice, seed, setting};
use crate::disagreement::tell;
use crate::filter::{Filter, Given, SHORTEST};
use crate::frames::{Edges, raw_packet};
use crate::judge::judge_raw;
use crate::rulesets;

const PACKETS_PER_CONFIG: usize = 100;
/// A run of fewer pairs has too few configurations to meet everything.
const ENOUGH: usize = 5_000;
/// Of the pairs that are asked for, one in so many: most of what there is to read is Ethernet's too.
const SHARE: usize = 8;

/// A configuration as such a link takes it: there is no MAC address to rewrite, and all that the
/// test's namespace has to redirect to is Ethernet.
fn config(dice: &mut Dice) -> Config {
    let mut config = rulesets::config(dice);
    for rule in &mut config.rules {
        (rule.set_source_mac, rule.set_destination_mac) = (None, None);
        if matches!(rule.action, Action::Redirect(_)) {
            rule.action = Action::Bounce;
        }
    }
    config
}

#[test]
fn model_and_program_judge_alike_without_a_link_layer() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(200_000) as usize / SHARE;
    let mut dice = Dice::new(seed());
    let mut filter = Filter::load_for(LinkType::Raw);
    filter.remember_nothing();
    let (mut malformed, mut by_rule) = (0, 0);
    for _ in 0..pairs.div_ceil(PACKETS_PER_CONFIG) {
        let config = config(&mut dice);
        filter.put(&config).unwrap_or_else(|error| panic!("{error}\n{}", config.to_toml().0));
        let edges = Edges::of(&config);
        for nth in 0..PACKETS_PER_CONFIG {
            let packet = raw_packet(&mut dice, &edges);
            let opinion = judge_raw(&config, &packet);
            malformed += usize::from(opinion.reason == "malformed");
            by_rule += usize::from(opinion.reason == "rule");
            // The kernel's test runs take nothing shorter; `explain` has an answer for it.
            let short = packet.len() < SHORTEST;
            let ask = short || nth % 8 == 0 && packet.len() <= 65_535;
            if ask && filter.explained_differs(&opinion, &packet).is_some() {
                tell(&config, &packet, &mut |config, packet| {
                    filter.put(config).ok()?;
                    filter.explained_differs(&judge_raw(config, packet), packet)
                });
            }
            let given = Given { frame: &packet, first: None };
            if !short && filter.compare(&opinion, given).is_some() {
                tell(&config, &packet, &mut |config, packet| {
                    if packet.len() < SHORTEST {
                        return None;
                    }
                    filter.put(config).ok()?;
                    filter.compare(&judge_raw(config, packet), Given { frame: packet, first: None })
                });
            }
        }
    }
    println!("{pairs} pairs, {malformed} malformed, {by_rule} by rules");
    let met = malformed > 0 && by_rule > 0;
    assert!(met || pairs < ENOUGH, "a run that met neither has compared nothing");
}
