//! The index of prefixes, seen from outside: one blocklist for each prefix, and which of them is
//! counted at each address at which the answer may change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::config::{Action, Config, List, ListAction, Prefix, Rule, Side};
use super::dice::{Dice, seed};
use super::disagreement::tell;
use super::frames::{around, udp};
use super::product::{Product, differs};

/// One list for each prefix, named after its place.
fn lists(prefixes: &[Prefix], side: Side, action: ListAction) -> Config {
    let list = |(at, prefix): (usize, &Prefix)| List {
        name: format!("{at}"),
        prefixes: vec![*prefix],
        side: Some(side),
        action: Some(action),
        ..List::default()
    };
    let blocklists = prefixes.iter().enumerate().map(list).collect();
    Config { blocklists, ..Config::default() }
}

/// Asks at the edges of all prefixes, and at `more`.
fn compare(config: &Config, prefixes: &[Prefix], more: &[IpAddr]) {
    let product = Product::load(config).unwrap();
    for address in prefixes.iter().flat_map(around).chain(more.iter().copied()) {
        let other: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::new(198, 18, 0, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1).into(),
        };
        for frame in [udp(address, other), udp(other, address), udp(address, address)] {
            if product.differs(config, &frame).is_some() {
                tell(config, &frame, &mut differs);
            }
        }
    }
}

fn compare_all_ways(prefixes: &[Prefix], more: &[IpAddr]) {
    for side in [Side::Source, Side::Destination, Side::Either] {
        compare(&lists(prefixes, side, ListAction::Drop), prefixes, more);
    }
    compare(&lists(prefixes, Side::Either, ListAction::Count), prefixes, more);

    // The same prefixes as rules, of which the first decides and not the longest.
    for either_side in [
        |rule: &mut Rule, prefix| rule.source.push(prefix),
        |rule, prefix| {
            rule.destination.push(prefix);
        },
    ] as [fn(&mut Rule, Prefix); 2]
    {
        let rules = prefixes.iter().enumerate().map(|(at, prefix)| {
            let mut rule = Rule::new(format!("{at}"), Action::Drop);
            either_side(&mut rule, *prefix);
            rule
        });
        let config = Config { rules: rules.collect(), ..Config::default() };
        compare(&config, prefixes, more);
    }

    // All of them in one list, which says yes or no.
    let together = List { name: "all".into(), prefixes: prefixes.to_vec(), ..List::default() };
    let blocklists = vec![together.clone()];
    compare(&Config { blocklists, ..Config::default() }, prefixes, more);
    let allowlists = vec![together];
    compare(&Config { allowlists, ..Config::default() }, prefixes, more);
}

fn v4(address: u32, length: u8) -> Prefix {
    Prefix::new(Ipv4Addr::from_bits(address).into(), length)
}

fn v6(address: u128, length: u8) -> Prefix {
    Prefix::new(Ipv6Addr::from_bits(address).into(), length)
}

#[test]
fn every_length_over_one_address() {
    for address in [0, 0x0a01_0203, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let down: Vec<Prefix> = (0..=32).map(|length| v4(address, length)).collect();
        compare_all_ways(&down, &[]);
        compare_all_ways(&down.into_iter().rev().collect::<Vec<_>>(), &[]);
    }
    for address in [0, 0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 0xffff_ffff_ffff_ffff, u128::MAX]
    {
        let down: Vec<Prefix> = (0..=128).map(|length| v6(address, length)).collect();
        compare_all_ways(&down, &[]);
    }
}

#[test]
fn nothing_but_everything() {
    compare_all_ways(&[v4(0, 0)], &[]);
    compare_all_ways(&[v6(0, 0)], &[]);
    compare_all_ways(&[v4(0, 0), v6(0, 0), v4(0, 0), v6(0, 0)], &[]);
    compare_all_ways(&[v4(0, 1), v4(1 << 31, 1), v6(0, 1), v6(1 << 127, 1)], &[]);
}

#[test]
fn all_hosts_of_a_network() {
    let hosts: Vec<Prefix> = (0..256).map(|host| v4(0xc000_0200 | host, 32)).collect();
    compare_all_ways(&hosts, &[]);
    let with_network: Vec<Prefix> =
        [v4(0xc000_0200, 24)].into_iter().chain(hosts.into_iter().step_by(2)).collect();
    compare_all_ways(&with_network, &[]);
    let pairs: Vec<Prefix> = (0..128).map(|pair| v4(0xffff_ff00 | pair << 1, 31)).collect();
    compare_all_ways(&pairs, &[]);
}

#[test]
fn ipv6_around_64() {
    let network: u128 = 0x2001_0db8_0000_0001 << 64;
    let last = u128::from(u64::MAX);
    let mut prefixes = Vec::new();
    for high in [network, network + (1 << 64), network + (2 << 64), network - (1 << 64)] {
        for length in [63, 64, 65, 127, 128] {
            prefixes.extend([
                v6(high, length),
                v6(high | last, length),
                v6(high | 1 << 63, length),
            ]);
        }
    }
    compare_all_ways(&prefixes, &[]);
    prefixes.reverse();
    compare_all_ways(&prefixes, &[]);
    // Hosts at both ends alone, and neighbouring networks alone.
    let hosts: Vec<Prefix> = (0..20u128)
        .flat_map(|n| [v6(network + (n << 64), 128), v6(network + (n << 64) + last, 128)])
        .collect();
    compare_all_ways(&hosts, &[]);
    let networks: Vec<Prefix> = (0..100u128).map(|n| v6(network + (n << 64), 64)).collect();
    compare_all_ways(&networks, &[]);
}

/// Single addresses four apart, so many that the tree has one level, two, and more, each full or
/// just begun. Too many for a scan, but what is expected is plain.
#[test]
fn every_number_of_hosts() {
    let spread: [fn(usize) -> IpAddr; 4] = [
        |at| Ipv4Addr::from_bits(0x0a00_0000 + at as u32).into(),
        |at| Ipv6Addr::from_bits(0x2001_0db8 << 96 | at as u128).into(),
        |at| Ipv6Addr::from_bits((0x2001_0db8 << 32 | at as u128) << 64).into(),
        // Networks of 64 addresses each.
        |at| {
            Ipv6Addr::from_bits(0x2001_0db8 << 96 | (at as u128 >> 6) << 64 | at as u128 & 63)
                .into()
        },
    ];
    // n hosts are 2n + 1 intervals: 17^2 leaves of 8, and 9^2, 9^3 and 9^4 leaves of 5.
    let many = [202, 203, 1_155, 1_156, 1_157, 1_822, 1_823, 16_401, 16_402, 16_403];
    for address in spread {
        for number in (1..=80).chain(many) {
            let ranges = (0..number).map(|host| (address(host * 4), address(host * 4))).collect();
            let list = List { name: "hosts".into(), ranges, ..List::default() };
            let config = Config { blocklists: vec![list], ..Config::default() };
            let product = Product::load(&config).unwrap();
            let step = if number > 500 { number / 100 } else { 1 };
            // From both ends inwards, and one beyond.
            let hosts = (0..number).step_by(step).chain((0..=number).rev().step_by(step));
            for at in hosts.flat_map(|host| host * 4..host * 4 + 4) {
                let frame = udp(address(at), address(at));
                let listed = at % 4 == 0 && at / 4 < number;
                let expected = if listed { "blocklist" } else { "default" };
                let found = product.judge(&frame).reason;
                assert_eq!(found, expected, "{} of {number} hosts", address(at));
            }
        }
    }
}

/// Many prefixes of all lengths, in as many lists as there may be.
#[test]
fn many_prefixes_in_many_lists() {
    let mut dice = Dice::new(seed());
    for per_list in [1, 4, 20] {
        let list = |dice: &mut Dice, at: usize| List {
            name: format!("{at}"),
            prefixes: dice.some(per_list, per_list, dense),
            side: Some(dice.pick(&[Side::Source, Side::Destination, Side::Either])),
            action: Some(dice.pick(&[ListAction::Drop, ListAction::Count])),
            ..List::default()
        };
        let lists: Vec<List> = (0..1_024).map(|at| list(&mut dice, at)).collect();
        let prefixes: Vec<Prefix> =
            lists.iter().flat_map(|list| list.prefixes.iter().copied()).collect();
        let config = Config { blocklists: lists, ..Config::default() };
        let product = Product::load(&config).unwrap();
        for _ in 0..3_000 / per_list {
            let prefix = dice.pick(&prefixes);
            let source = dice.pick(&around(&prefix));
            let same_family = |prefix: &Prefix| prefix.address.is_ipv4() == source.is_ipv4();
            let destination = loop {
                let prefix = dice.pick(&prefixes);
                if same_family(&prefix) {
                    break dice.pick(&around(&prefix));
                }
            };
            let frame = udp(source, destination);
            if product.differs(&config, &frame).is_some() {
                tell(&config, &frame, &mut differs);
            }
        }
    }
}

/// A prefix out of a part of the addresses so small that many nest, and long enough that none of
/// them holds all.
fn dense(dice: &mut Dice) -> Prefix {
    let (short, long) = (dice.one_in(2), dice.word());
    let prefix = if short {
        v4(0x0a00_0000 | long as u32 & 0x000f_ffff, 16 + dice.below(17) as u8)
    } else {
        let bits =
            0x2001_0db8 << 96 | u128::from(long & 0xff) << 62 | u128::from(long >> 32 & 0xff);
        v6(bits, dice.pick(&[58, 60, 62, 63, 64, 65, 96, 120, 124, 126, 127, 128]))
    };
    Prefix::new(prefix.ends().0, prefix.length)
}

/// Prefixes that nest and touch: few bits vary, at both ends of the address.
fn some_v4() -> impl Strategy<Value = Prefix> {
    let length = prop_oneof![Just(0u8), Just(31), Just(32), 0..=32u8];
    (any::<u32>(), prop_oneof![Just(0xc000_0003u32), Just(0x0000_0fff), Just(u32::MAX)], length)
        .prop_map(|(address, varying, length)| {
            v4(0x0a00_0000 & !varying | address & varying, length)
        })
}

fn some_v6() -> impl Strategy<Value = Prefix> {
    let varying: u128 = 3 << 126 | 7 << 62 | 3;
    let length = prop_oneof![Just(0u8), 62..=66u8, 126..=128u8, 0..=128u8];
    let address = prop_oneof![
        any::<u128>().prop_map(move |address| address & varying),
        any::<u128>().prop_map(move |address| address | !varying),
        any::<u128>(),
    ];
    (address, length).prop_map(|(address, length)| v6(address, length))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefixes(
        prefixes in vec(prop_oneof![some_v4(), some_v6()], 1..60),
        more in vec(prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
        ], 20),
    ) {
        compare_all_ways(&prefixes, &more);
    }
}
