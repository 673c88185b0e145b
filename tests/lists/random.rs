//! Random sets out of so few addresses that prefixes nest, touch and repeat.

use proptest::collection::vec;
use proptest::prelude::*;
use xdpctl::ruleset::{ListAction, Ruleset, Side};

use super::reference::{Compiled, entry, list, prefix};

/// What a prefix is made from: its list, its address and its length.
fn v4() -> impl Strategy<Value = (usize, u32, u8)> {
    let varying = prop_oneof![Just(0xc000_0003u32), Just(0x0003_0f0f), Just(0x1ff), Just(u32::MAX)];
    let length = prop_oneof![Just(0u8), Just(31), Just(32), 22..=26u8, 0..=32u8];
    (0..6usize, any::<u32>(), varying, length)
        .prop_map(|(list, bits, varying, length)| (list, 0x0a00_0000 ^ bits & varying, length))
}

fn v6() -> impl Strategy<Value = (usize, u128, u8)> {
    let varying =
        prop_oneof![Just(3u128 << 126 | 7 << 62 | 3), Just(0xffu128 << 56), Just(u128::MAX)];
    let length = prop_oneof![Just(0u8), 62..=66u8, 126..=128u8, 0..=128u8];
    (0..6usize, any::<u128>(), varying, length).prop_map(|(list, bits, varying, length)| {
        (list, 0x2001_0db8 << 96 ^ bits & varying, length)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lists(
        four in vec(v4(), 0..80),
        six in vec(v6(), 0..80),
        more_v4 in vec(any::<u32>(), 20),
        more_v6 in vec(any::<u128>(), 20),
    ) {
        let side = |number| [Side::Source, Side::Destination, Side::Either][number % 3];
        let action = |number| [ListAction::Drop, ListAction::Count][number / 3 % 2];
        let mut lists: Vec<_> =
            (0..6).map(|number| list(number, side(number), action(number))).collect();
        for &(number, address, length) in &four {
            lists[number].v4.push(entry(prefix(address, length)));
        }
        for &(number, address, length) in &six {
            lists[number].v6.push(entry(prefix(address, length)));
        }
        // With the first as an allowlist, and without.
        let blocking = Ruleset { blocklists: lists.clone(), ..Ruleset::default() };
        let allowlists = vec![lists.remove(0)];
        let allowing = Ruleset { allowlists, blocklists: lists, ..Ruleset::default() };
        for ruleset in [&blocking, &allowing] {
            let compiled = Compiled::new(ruleset);
            compiled.compare_edges();
            more_v4.iter().for_each(|&address| compiled.compare(address));
            more_v6.iter().for_each(|&address| compiled.compare(address));
        }
    }
}
