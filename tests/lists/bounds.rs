//! As many prefixes as a ruleset may have, as many lists, and as many rules.

use xdp_common::capacity::{MAX_LISTS, MAX_PREFIXES, MAX_RULES};
use xdp_common::filter::lists::find_listed;
use xdp_common::image::Block;
use xdp_common::lookup::lpm::ROOT_LINES;
use xdp_common::packet::Network;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::ruleset::{ListAction, Matches, Prefixes, Rule, RuleAction, Ruleset, Side};

use super::reference::{Address, Compiled, entry, list, prefix};

/// A step with which hosts spread over all addresses, without one of them twice: odd numbers
/// divide no power of two.
const STEP_V4: u32 = 0x9e37_79b1;
const STEP_V6: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

#[test]
fn a_million_hosts_of_each_family() {
    let mut all = list(0, Side::Source, ListAction::Drop);
    let v4 = |number: u32| number.wrapping_mul(STEP_V4);
    let v6 = |number: u128| number.wrapping_mul(STEP_V6);
    let count = MAX_PREFIXES as u32;
    all.v4 = (0..count).map(|number| entry(prefix(v4(number), 32))).collect();
    all.v6 = (0..count).map(|number| entry(prefix(v6(number.into()), 128))).collect();
    let ruleset = Ruleset { blocklists: vec![all], ..Ruleset::default() };
    // A scan would take hours, but what is listed is plain.
    let image = Image::build(&ruleset, 1, &Metadata::unbound(&ruleset)).expect("within limits");
    let finds = |network: Network, address: [u64; 2]| {
        find_listed(&image, image.header(), network, address).expect("an image that is not corrupt")
            != 0
    };
    let finds_v4 = |address: u32| finds(Network::IPV4, address.words());
    let finds_v6 = |address: u128| finds(Network::IPV6, address.words());
    for number in (0..count).step_by(101).chain([count - 1]) {
        assert!(finds_v4(v4(number)), "{number}");
        assert!(finds_v6(v6(number.into())), "{number}");
        // Those that would come next are not in the list.
        assert!(!finds_v4(v4(count + number)), "{number}");
        assert!(!finds_v6(v6(u128::from(count + number))), "{number}");
    }
}

/// Each address in a list of its own, and one that is in all of them.
#[test]
fn as_many_lists_as_there_may_be() {
    let blocklists = (0..MAX_LISTS)
        .map(|number| {
            let mut list = list(number, Side::Source, ListAction::Drop);
            let own = number as u32 * 3;
            list.v4 = [(own, 32), (u32::MAX, 32), (1 << 31, 1 + (number % 32) as u8)]
                .map(|(address, length)| entry(prefix(address, length)))
                .to_vec();
            list
        })
        .collect();
    let ruleset = Ruleset { blocklists, ..Ruleset::default() };
    let compiled = Compiled::new(&ruleset);
    for number in 0..MAX_LISTS as u32 {
        compiled.compare(number * 3);
        compiled.compare(number * 3 + 1);
    }
    for address in [u32::MAX, u32::MAX - 1, 1 << 31, (1 << 31) + 1] {
        compiled.compare(address);
    }
}

/// As many rules as there may be, each with ports and networks that overlap those of all others:
/// every edge of one makes another class. Their part of an image stays within what
/// `xdp_common::filter::rules` can come to: a bit vector for each class, a page for each byte of a port.
#[test]
fn as_many_rules_as_there_may_be() {
    let count = MAX_RULES as u32;
    let rules = (0..count)
        .map(|number| {
            let port = number as u16;
            let range = || Some(vec![(port, u16::MAX - port)]);
            let networks = |offset: u32| {
                let address = (number / 30 + offset) << 20 | 0x000f_ffff;
                let length = 3 + (number % 30) as u8;
                let v6 = prefix(u128::from(address) << 96, length);
                Some(Prefixes { v4: vec![prefix(address, length)], v6: vec![v6] })
            };
            Rule {
                name: format!("rule-{number}"),
                file: 0,
                line: 1,
                limit: None,
                matches: Matches {
                    source: networks(0),
                    destination: networks(1_000),
                    source_port: range(),
                    destination_port: range(),
                    ..Matches::default()
                },
                action: RuleAction::Drop,
            }
        })
        .collect();
    let ruleset = Ruleset { rules, ..Ruleset::default() };
    let image = Image::build(&ruleset, 1, &Metadata::unbound(&ruleset)).expect("within limits");
    // Two edges a rule in each of four fields, and the classes of protocols.
    let classes = 4 * (2 * MAX_RULES + 1) + 32;
    let pages = 2 * (1 + 256) + 8;
    let networks = 4 * (ROOT_LINES as usize * 64 + MAX_RULES * 192);
    let names = MAX_RULES * 64;
    let most = (classes + pages) * size_of::<Block>() + networks + names;
    let bytes = size_of_val(image.blocks());
    assert!(bytes <= most, "{bytes} bytes, expected {most} at most");
}

/// So many in so few networks that there is a filter, and not one that is set everywhere.
#[test]
fn many_ipv6_prefixes_in_few_networks() {
    let mut blocked = list(0, Side::Source, ListAction::Drop);
    let network = |number: u128| (0x2400_0000 + number * 0x0001_0081) << 96;
    blocked.v6 = (0..6_000u128)
        .map(|number| entry(prefix(network(number % 40) | (number * 77) << 80, 48)))
        .chain([entry(prefix(0x2f00 << 112, 21))])
        .collect();
    let ruleset = Ruleset { blocklists: vec![blocked], ..Ruleset::default() };
    let compiled = Compiled::new(&ruleset);
    for number in (0..6_000u128).step_by(97) {
        let first = network(number % 40) | (number * 77) << 80;
        for address in [first, first - 1, first + (1 << 80), first ^ 1 << 100, first ^ 1 << 127] {
            compiled.compare(address);
        }
    }
    for upper in [0x2f00_0000u128, 0x2f00_07ff, 0x2f00_0800, 0x2eff_ffff, 0, 0xffff_ffff] {
        compiled.compare(upper << 96);
        compiled.compare(upper << 96 | 0xffff_ffff);
    }
}
