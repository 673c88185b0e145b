//! Random rules that answer SYNs, and SYNs.

use std::net::{IpAddr, SocketAddr};

use super::config::{Action, Config, Rule};
use super::dice::Dice;
use super::possible::can_match;
use super::rulesets::{self, MACS, PORTS, TTLS, ipv4, ipv6};

/// Random rules, of which many answer SYNs.
pub fn config(dice: &mut Dice) -> Config {
    let mut config = rulesets::config(dice);
    for rule in &mut config.rules {
        let mut answering = rule.clone();
        answering.action = Action::SynCookie;
        (answering.set_source_mac, answering.set_destination_mac) = (None, None);
        answering.icmp_type.clear();
        answering.not.icmp_type.clear();
        if dice.one_in(2) {
            answering.protocol = None;
        }
        if dice.one_in(2) && can_match(&answering) {
            *rule = answering;
        }
    }
    let place = dice.below(config.rules.len() + 1);
    config.rules.insert(place, Rule::new("syns", Action::SynCookie));
    config
}

fn octets(frame: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => frame.extend(address.octets()),
        IpAddr::V6(address) => frame.extend(address.octets()),
    }
}

/// A SYN between two hosts, half of them to one of these, now and then with what keeps it from being answered.
pub fn syn(dice: &mut Dice, to: &[SocketAddr]) -> Vec<u8> {
    let is_v6 = dice.one_in(2);
    let to: Vec<SocketAddr> = to.iter().copied().filter(|it| it.is_ipv6() == is_v6).collect();
    let to = if to.is_empty() { None } else { dice.maybe(2, |dice| dice.pick(&to)) };
    let any = if is_v6 { ipv6(dice) } else { ipv4(dice) };
    let to = to.unwrap_or_else(|| SocketAddr::new(any, dice.pick(&PORTS)));
    let mut tcp = Vec::new();
    tcp.extend(dice.pick(&PORTS).to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    let any = dice.word() as u32;
    tcp.extend(dice.pick(&[0, u32::MAX, any]).to_be_bytes());
    tcp.extend((dice.word() as u32).to_be_bytes());
    let words = dice.pick(&[5, 5, 6, 10, 15]);
    let flags = if dice.one_in(6) { dice.byte() | 2 } else { dice.pick(&[0x02, 0x02, 0xc2]) };
    tcp.extend([words << 4, flags]);
    tcp.resize(usize::from(words) * 4, 0x01);
    if dice.one_in(4) {
        tcp.extend(dice.some(1, 40, Dice::byte));
    }
    if dice.one_in(10) {
        // TCP's header is not whole.
        tcp.truncate(dice.below(24));
    }
    let mut frame = [dice.pick(&MACS), dice.pick(&MACS)].concat();
    if !dice.one_in(4) {
        frame[0] &= 0xfe;
    }
    for _ in 0..dice.pick(&[0, 0, 1, 2]) {
        frame.extend([0x81, 0, 0, dice.byte()]);
    }
    let options = if !is_v6 && dice.one_in(10) { 4 } else { 0 };
    let extension = is_v6 && dice.one_in(10);
    let mut ip = Vec::new();
    let ttl = dice.pick(&TTLS);
    if is_v6 {
        let [upper, lower] = (tcp.len() as u16 + if extension { 8 } else { 0 }).to_be_bytes();
        let next = if extension { 60 } else { 6 };
        ip.extend([0x60, dice.byte() & 0xf, 1, 2, upper, lower, next, ttl]);
        octets(&mut ip, ipv6(dice));
        octets(&mut ip, to.ip());
        if extension {
            ip.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        }
    } else {
        let [upper, lower] = (20 + options + tcp.len() as u16).to_be_bytes();
        let fragment = if dice.one_in(10) { 0x20 } else { dice.pick(&[0, 0x40]) };
        ip.extend([0x45 + (options / 4) as u8, dice.byte(), upper, lower, 7, 7, fragment, 0]);
        ip.extend([ttl, 6, dice.byte(), dice.byte()]);
        octets(&mut ip, ipv4(dice));
        octets(&mut ip, to.ip());
        ip.extend(&[1; 4][..usize::from(options)]);
    }
    ip.extend(tcp);
    match dice.below(20) {
        0 => {
            let [upper, lower] = (ip.len() as u16 + 2).to_be_bytes();
            frame.extend([0x88, 0x64, 0x11, 0, 0, 1, upper, lower]);
            frame.extend([0, if is_v6 { 0x57 } else { 0x21 }]);
        }
        1 => frame.extend([0x88, 0x47, 0, 1, 1, 64]),
        _ => frame.extend(if is_v6 { [0x86, 0xdd] } else { [8, 0] }),
    }
    frame.extend(ip);
    match dice.below(4) {
        0 => frame.resize(frame.len().max(60), 0x55),
        1 => frame.extend(dice.some(0, 9, Dice::byte)),
        // In several buffers.
        2 if dice.one_in(10) => frame.resize(dice.pick(&[4_000, 9_000]), 0x55),
        _ => {}
    }
    frame
}
