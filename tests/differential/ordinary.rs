//! Rulesets that ask ordinary packets little, and such packets (`xdp-ebpf/src/ordinary.rs`): of the others, few are.

use std::net::IpAddr;

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::bench;
use crate::config::{Config, Verdict};
use crate::dice::Dice;
use crate::filter::Filter;
use crate::frames::Edges;
use crate::rulesets::{self, PORTS};

/// One with lists of addresses alone.
pub fn config(dice: &mut Dice) -> Config {
    let Config { default, malformed, fragments, allowlists, blocklists, .. } =
        rulesets::config(dice);
    let default = default.or_else(|| dice.one_in(4).then_some(Verdict::Drop));
    Config { default, malformed, fragments, allowlists, blocklists, ..Config::default() }
}

/// Mostly an ordinary packet; otherwise one that differs in one place of its headers, or ends too early.
pub fn frame(dice: &mut Dice, edges: &Edges) -> Vec<u8> {
    let (source, destination) = (edges.v4(dice), edges.v4(dice));
    let protocol: u8 = dice.pick(&[6, 17]);
    let longer = dice.below(1_400);
    let payload = dice.pick(&[0, 0, 1, 6, 20, 100, longer]);
    let total = 20 + if protocol == 6 { 20 } else { 8 } + payload;
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, dice.below(256) as u8];
    frame.extend((total as u16).to_be_bytes());
    frame.extend([0, 1, dice.pick(&[0, 0x40]), 0, 64, protocol, 0, 0]);
    for address in [source, destination] {
        let IpAddr::V4(address) = address else { unreachable!("of IPv4 alone") };
        frame.extend(address.octets());
    }
    for _ in 0..2 {
        frame.extend(dice.pick(&PORTS).to_be_bytes());
    }
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, dice.below(64) as u8]);
    frame.resize(14 + total, 0);
    // Padding is normal.
    if frame.len() < 60 && dice.one_in(2) {
        frame.resize(60, 0);
    }
    if dice.one_in(8) {
        let at = 12 + dice.below(frame.len().min(54) - 12);
        frame[at] ^= 1 << dice.below(8);
    }
    if dice.one_in(16) {
        frame.truncate(14 + dice.below(frame.len() - 13));
    }
    frame
}

/// Such rulesets have ordinary packets go their way, and one with a rule does not. On another way, the other tests of these
/// rulesets would show nothing of it.
#[test]
fn they_go_it() {
    bench::within(|| {
        let cpu = sched_getcpu().expect("a CPU");
        let mut only = CpuSet::new();
        only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)).expect("pinned");
        let mut filter = Filter::load();
        let mut goes_it = |config: &Config| {
            filter.put(config).unwrap_or_else(|error| panic!("{error}"));
            let mut v6 = [0xaa; 80];
            v6[12..21].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 26, 17]);
            let mut udp = [0; 80];
            udp[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
            udp[16..18].copy_from_slice(&66_u16.to_be_bytes());
            udp[23] = 17;
            filter.made_of(&v6);
            assert_ne!(filter.behind_the_source(), 0, "the other packet is not read");
            filter.made_of(&udp);
            filter.behind_the_source() == 0
        };
        let mut dice = Dice::new(1);
        for _ in 0..20 {
            let config = config(&mut dice);
            assert!(goes_it(&config), "{}", config.to_toml().0);
        }
        let with_rule = std::iter::repeat_with(|| rulesets::config(&mut dice));
        let with_rule = with_rule.filter(|it| !it.rules.is_empty() && it.entries.is_empty());
        for config in with_rule.take(5) {
            assert!(!goes_it(&config), "{}", config.to_toml().0);
        }
    });
}
