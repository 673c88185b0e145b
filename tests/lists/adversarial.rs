//! Sets that are hard on an index: nested to the full depth, side by side, at the ends of all
//! addresses, and dense where others are sparse.

use xdpctl::ruleset::{List, ListAction, Ruleset, Side};

use super::reference::{Address, Compiled, entry, list, prefix};

fn with<A: Address>(
    number: usize,
    prefixes: impl IntoIterator<Item = (A, u8)>,
    place: fn(&mut List) -> &mut Vec<xdpctl::ruleset::Entry<A>>,
) -> List {
    let mut list = list(number, Side::Source, ListAction::Drop);
    *place(&mut list) =
        prefixes.into_iter().map(|(address, length)| entry(prefix(address, length))).collect();
    list
}

fn v4(number: usize, prefixes: impl IntoIterator<Item = (u32, u8)>) -> List {
    with(number, prefixes, |list| &mut list.v4)
}

fn v6(number: usize, prefixes: impl IntoIterator<Item = (u128, u8)>) -> List {
    with(number, prefixes, |list| &mut list.v6)
}

fn compare(blocklists: Vec<List>) {
    let ruleset = Ruleset { blocklists, ..Ruleset::default() };
    Compiled::new(&ruleset).compare_edges();
}

const V4_CORNERS: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xc000_02fe, u32::MAX];
const V6_CORNERS: [u128; 6] =
    [0, 1 << 64, (1 << 64) - 1, 1 << 127, 0x2001_0db8 << 96 | 0x00ff_ffff_ffff_ffff, u128::MAX];

#[test]
fn every_length_over_one_address_in_one_list_and_in_many() {
    for corner in V4_CORNERS {
        compare(vec![v4(0, (0..=32).map(|length| (corner, length)))]);
        compare((0..=32).map(|length| v4(length.into(), [(corner, length)])).collect());
        compare((0..=32).map(|length| v4(length.into(), [(corner, 32 - length)])).collect());
    }
    for corner in V6_CORNERS {
        compare(vec![v6(0, (0..=128).map(|length| (corner, length)))]);
        compare((0..=128).map(|length| v6(length.into(), [(corner, length)])).collect());
    }
}

#[test]
fn neighbours_of_the_longest_lengths() {
    for corner in V4_CORNERS {
        for lengths in [[31, 32], [32, 31], [24, 32], [23, 24], [30, 31]] {
            // In two lists by turns, so that neighbours differ.
            let near = |list: u32| {
                let step = move |at: u32| corner.wrapping_add(at).wrapping_sub(8);
                (0..16)
                    .filter(move |at| at % 2 == list)
                    .map(move |at| (step(at), lengths[list as usize]))
            };
            compare(vec![v4(0, near(0)), v4(1, near(1))]);
        }
    }
    for corner in V6_CORNERS {
        for lengths in [[127, 128], [128, 127], [64, 128], [63, 64], [64, 65], [32, 48]] {
            let near = |list: u128| {
                let step = move |at: u128| corner.wrapping_add(at).wrapping_sub(8);
                let far = move |at: u128| corner.wrapping_add(at << 64);
                (0..16).filter(move |at| at % 2 == list).flat_map(move |at| {
                    [(step(at), lengths[list as usize]), (far(at), lengths[list as usize])]
                })
            };
            compare(vec![v6(0, near(0)), v6(1, near(1))]);
        }
    }
}

#[test]
fn everything_with_holes_of_another_list() {
    let holes: Vec<(u32, u8)> = V4_CORNERS.iter().map(|&corner| (corner, 32)).collect();
    compare(vec![v4(0, [(0, 0)]), v4(1, holes.iter().copied())]);
    compare(vec![v4(0, [(0, 1)]), v4(1, [(1 << 31, 1)]), v4(2, holes)]);
    let holes: Vec<(u128, u8)> = V6_CORNERS.iter().map(|&corner| (corner, 128)).collect();
    compare(vec![v6(0, [(0, 0)]), v6(1, holes.iter().copied())]);
    compare(vec![v6(0, [(0, 1)]), v6(1, [(1 << 127, 1)]), v6(2, holes)]);
}

/// Every /16 of a /8 with hosts, and one /16 with every host that it can have.
#[test]
fn a_whole_8_of_hosts() {
    let spread =
        (0..=255u32).flat_map(|net| (0..64).map(move |at| 10 << 24 | net << 16 | at << 10));
    let full = (0..=0xffffu32).map(|at| 10 << 24 | 77 << 16 | at);
    let (spread, full): (Vec<u32>, Vec<u32>) = (spread.collect(), full.collect());
    let hosts = |hosts: &[u32]| hosts.iter().map(|&host| (host, 32)).collect::<Vec<_>>();
    let blocklists = vec![v4(0, hosts(&spread)), v4(1, hosts(&full)), v4(2, [(10 << 24, 8)])];
    let ruleset = Ruleset { blocklists, ..Ruleset::default() };
    let compiled = Compiled::new(&ruleset);
    // The scan takes its time: a part of them, with ends and neighbours.
    for host in spread.iter().step_by(199).chain(full.iter().step_by(997)) {
        for near in [host - 1, *host, host + 1] {
            compiled.compare(near);
        }
    }
    for end in [(10 << 24) - 1, 10 << 24, 11 << 24, (11 << 24) - 1, 0x0a4c_ffff, 0x0a4e_0000] {
        compiled.compare::<u32>(end);
    }
}

/// Every second host of 256 networks of IPv6, so that every byte of an address branches somewhere.
#[test]
fn branches_at_every_byte_of_ipv6() {
    let prefixes = (0..16).flat_map(|byte| {
        (0..=255u128)
            .step_by(2)
            .map(move |value| (value << (8 * (15 - byte)), 8 * (byte + 1) as u8))
    });
    compare(vec![v6(0, prefixes.clone())]);
    let hosts = prefixes.map(|(address, _)| (address | 0x2001_0db8 << 96, 128));
    compare(vec![v6(0, hosts.collect::<Vec<_>>())]);
}
