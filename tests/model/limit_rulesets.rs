//! Random rules with rates, and frames of a few hosts.

use std::net::IpAddr;

use super::config::{Action, Config, Limit, Over, Per, Prefix, Protocol, Rate, Rule, Verdict};
use super::dice::Dice;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const SOURCES: [&str; 6] =
    ["10.0.0.1", "10.0.0.2", "10.0.1.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"];
const DESTINATIONS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8:f::1", "2001:db8:f::2"];

fn rate(dice: &mut Dice) -> Rate {
    let of_bits = dice.one_in(3);
    let seconds = dice.pick(&[1, 1, 1, 60, 3_600, 86_400]);
    let (amount, burst) = if of_bits {
        let amount = dice.pick(&[800, 8_000, 100_000, 1_000_000, 40_000_000, 1_000_000_000]);
        (amount, dice.pick(&[1_000, 1_518, 4_000, 20_000, 1_000_000]))
    } else {
        let amount = dice.pick(&[1, 2, 5, 10, 100, 977, 1_000, 30_000, 1_000_000]);
        (amount, dice.pick(&[1, 1, 2, 3, 5, 10, 40, 1_000]))
    };
    Rate { amount, of_bits, seconds, burst }
}

fn limit(dice: &mut Dice) -> Limit {
    let per = dice.pick(&[Per::Rule, Per::Source, Per::Source, Per::Destination]);
    let lengths =
        (per != Per::Rule).then(|| dice.pick(&[None, None, Some((24, 48)), Some((32, 128))]));
    Limit { over: Over::Rate(rate(dice)), per, lengths: lengths.flatten() }
}

fn rule(dice: &mut Dice, name: &str) -> Rule {
    let action = if dice.one_in(3) { Action::Pass } else { Action::Drop };
    let mut rule = Rule::new(name, action);
    rule.limit = (!dice.one_in(6)).then(|| limit(dice));
    rule.protocol = dice.maybe(3, |dice| dice.pick(&[Protocol::Udp, Protocol::Tcp]));
    if dice.one_in(4) || rule.limit.is_none() {
        rule.source = vec![Prefix::new("10.0.0.0".parse().unwrap(), 24)];
    }
    rule
}

/// Rules, most of which have limits.
pub fn config(dice: &mut Dice) -> Config {
    let default = Some(dice.pick(&[Verdict::Pass, Verdict::Drop]));
    let mut config = Config { default, ..Config::default() };
    for name in NAMES {
        if !dice.one_in(3) {
            config.rules.push(rule(dice, name));
        }
    }
    config
}

/// The same with something else: a rule's place, its limit, or all of it.
pub fn changed(dice: &mut Dice, config: &Config) -> Config {
    let mut config = config.clone();
    let others = NAMES.iter().filter(|name| config.rules.iter().all(|rule| rule.name != **name));
    let others: Vec<&str> = others.copied().collect();
    match dice.below(5) {
        0 if !others.is_empty() => {
            let name = dice.pick(&others);
            let at = dice.below(config.rules.len() + 1);
            config.rules.insert(at, rule(dice, name));
        }
        1 if config.rules.len() > 1 => {
            let at = dice.below(config.rules.len());
            config.rules.remove(at);
        }
        2 if config.rules.len() > 1 => config.rules.rotate_left(1),
        _ => {
            let limited = config.rules.iter_mut().filter_map(|rule| rule.limit.as_mut());
            for limit in limited {
                // With another burst, what was used up stays.
                match (dice.below(3), &mut limit.over) {
                    (0, Over::Rate(rate)) => rate.burst = rate.burst * 2 + 1,
                    (1, _) => *limit = self::limit(dice),
                    _ => {}
                }
            }
        }
    }
    config
}

/// UDP or TCP between two of the addresses, or no IP at all, of some length.
pub fn frame(dice: &mut Dice) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let length = dice.pick(&[60, 60, 60, 61, 400, 1_000, 1_514]);
    if dice.one_in(20) {
        frame.extend([0x88, 0xcc]);
        frame.resize(length, 0);
        return frame;
    }
    let source: IpAddr = dice.pick(&SOURCES).parse().unwrap();
    let is_v4 = source.is_ipv4();
    let destination = dice.pick(if is_v4 { &DESTINATIONS[..2] } else { &DESTINATIONS[2..] });
    let protocol = dice.pick(&[6, 17]);
    let length = if is_v4 { length } else { length.max(74) };
    match (source, destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (length - 14) as u16;
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(total.to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let payload = (length - 54) as u16;
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(payload.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("both are of one family"),
    }
    let header = frame.len();
    frame.resize(length, 0);
    // Ports, and TCP's data offset.
    frame[header + 1] = 9;
    frame[header + 3] = 9;
    if protocol == 6 {
        frame[header + 12] = 0x50;
    }
    frame
}
