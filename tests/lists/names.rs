//! Lists of domain names: large ones, those that are hard on a table of hashes, and random ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::names_reference::{Compiled, Listed, Name, compare_small, name};

/// Compares some names of large lists, and what is around them.
fn compare_large(lists: &[Listed], step: usize) {
    let compiled = Compiled::new(lists);
    for list in lists {
        for (name, _) in list.names.iter().step_by(step) {
            compiled.compare_around(name);
        }
    }
}

const MANY: u32 = 60_000;

#[test]
fn names_that_all_lie_under_one_parent() {
    let child = |number: u32| name(&[format!("h{number}").as_bytes(), b"example", b"org"]);
    compare_large(&[Listed::of((0..MANY).map(child))], 17);
    let parent = Listed { passes: true, ..Listed::of([name(&[b"example", b"org"])]) };
    let others = Listed::below((0..MANY).step_by(3).map(child));
    let last = Listed::of((0..MANY).step_by(2).map(child));
    compare_large(&[others, parent, last], 17);
}

/// The last label tells them apart, or the first, or one bit of either.
#[test]
fn names_of_one_length() {
    let digits = |number: u32| format!("{number:08}").into_bytes();
    let ends = (0..MANY).map(|number| name(&[b"www", &digits(number)]));
    let begins = (0..MANY).map(|number| name(&[&digits(number), b"www"]));
    compare_large(&[Listed::of(ends), Listed::of(begins)], 41);
    let bytes = |number: u32| number.to_be_bytes().map(|byte| byte.to_ascii_lowercase());
    let spread = |number: u32| number.wrapping_mul(0x9e37_79b1);
    let any = (0..MANY).map(|number| name(&[&bytes(spread(number))]));
    compare_large(&[Listed::of(any)], 41);
    // Four bytes each, of which one bit is set or two.
    let bits = (0..32_u32).flat_map(|one| (0..=one).map(move |other| 1 << one | 1 << other));
    let few =
        bits.map(|bits| name(&[&u32::to_be_bytes(bits).map(|byte| byte.to_ascii_lowercase())]));
    compare_large(&[Listed::of(few)], 1);
}

/// Zeros at the end of a label, and labels that together look like one: the places of the bytes are
/// the same, only the lengths tell them apart.
#[test]
fn names_that_differ_in_their_lengths_alone() {
    let mut names = Vec::new();
    for length in 1..=63 {
        for fill in [0, b'a', 0xff] {
            names.push(name(&[&vec![fill; length]]));
            names.push(name(&[&vec![fill; length], b"org"]));
            names.push(name(&[b"a", &vec![fill; length]]));
        }
    }
    for split in 1..15 {
        let (one, other) = b"abcdefghijklmnop".split_at(split);
        names.push(name(&[one, other]));
        names.push(name(&[&[one, b"."].concat(), other]));
    }
    names.push(name(&[b"abcdefghijklmnop"]));
    names.push(name(&[b"abcdefg.hijklmnop"]));
    compare_small(&[Listed::of(names.iter().cloned())], &[1]);
    // The odd ones alone, so that the even ones must not be found.
    let odd = names.iter().skip(1).step_by(2).cloned();
    let odd = [Listed::of(odd)];
    let compiled = Compiled::new(&odd);
    names.iter().for_each(|name| compiled.compare_around(name));
}

/// Every suffix of the deepest name, each in a list by turns, with an exception half-way.
#[test]
fn chains_of_127_labels() {
    for label in [&b"\x01a"[..], b"\x01z", b"\x01\0"] {
        let suffix = |labels: usize| label.repeat(labels);
        let in_one = Listed::of((0..=127).map(suffix));
        compare_small(std::slice::from_ref(&in_one), &[1]);
        let odd = Listed::below((1..=127).step_by(2).map(suffix));
        let even = Listed { passes: true, ..Listed::of((0..=127).step_by(2).map(suffix)) };
        compare_small(&[odd.clone(), even.clone()], &[1]);
        compare_small(&[even, in_one, odd], &[1]);
        compare_small(&[Listed::of([suffix(127)])], &[1]);
        compare_small(&[Listed::of([suffix(64)])], &[1]);
    }
    // Hundreds of deep names that part at their leftmost labels, or at their rightmost.
    let other = |place: usize, byte: u8| {
        let mut name = b"\x01a".repeat(127);
        name[place * 2 + 1] = byte;
        name
    };
    let both = [0, 1, 63, 125, 126].into_iter().flat_map(|at| (1..=200_u8).map(move |b| (at, b)));
    let both = both.filter(|(_, byte)| !byte.is_ascii_uppercase());
    compare_large(&[Listed::of(both.map(|(at, byte)| other(at, byte)))], 3);
}

/// Names of as many bytes as there can be.
#[test]
fn names_of_254_bytes() {
    let long = |first: u8| {
        let label = |byte: u8, length: usize| vec![byte; length];
        let labels = [label(first, 61), label(b'b', 63), label(b'c', 63), label(b'd', 63)];
        name(&labels.each_ref().map(|label| &label[..]))
    };
    let all = (0..=255).filter(|byte: &u8| !byte.is_ascii_uppercase());
    let names: Vec<Name> = all.map(long).collect();
    assert!(names.iter().all(|name| name.len() == 254));
    compare_small(&[Listed::of(names)], &[1]);
}

/// What stands in several lists, for itself and for what is below, with types and without.
#[test]
fn which_list_decides() {
    let org = || name(&[b"org"]);
    let example = || name(&[b"example", b"org"]);
    let types = |listed: Listed, qtypes: &[u16]| Listed { qtypes: Some(qtypes.to_vec()), ..listed };
    let passing = |listed: Listed| Listed { passes: true, ..listed };
    let lists = [
        types(Listed::of([example(), vec![]]), &[255]),
        Listed::below([example(), org(), vec![]]),
        passing(types(Listed::of([example()]), &[1, 28])),
        Listed::of([example(), org()]),
        types(Listed::below([example()]), &[1, 16, 255]),
        Listed::of([vec![]]),
    ];
    let qtypes = [0, 1, 2, 16, 28, 255, 256, 65_535];
    compare_small(&lists, &qtypes);
    for from in 0..lists.len() {
        compare_small(&lists[from..], &qtypes);
        let turned: Vec<_> = lists.iter().rev().skip(from).cloned().collect();
        compare_small(&turned, &qtypes);
    }
}

/// Few labels, so that names nest and repeat; all bytes but capital letters.
fn some_name() -> impl Strategy<Value = Name> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(0), Just(b'@'), Just(b'['), any::<u8>()];
    let label = prop_oneof![
        Just(b"a".to_vec()),
        Just(b"org".to_vec()),
        vec(byte, 1..10).prop_map(|label| label.to_ascii_lowercase()),
    ];
    vec(label, 0..5).prop_map(|labels| {
        let labels: Vec<&[u8]> = labels.iter().map(|label| &label[..]).collect();
        name(&labels)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_names(
        listed in vec((0..4usize, some_name(), any::<bool>()), 1..40),
        types in vec(proptest::option::of(vec(1..4u16, 1..3)), 4),
        asked in vec(some_name(), 20),
    ) {
        let mut lists = vec![Listed::default(); 4];
        for (list, name, below_only) in listed {
            lists[list].names.push((name, below_only));
        }
        for (nth, (list, mut types)) in lists.iter_mut().zip(types).enumerate() {
            list.passes = nth == 1;
            if let Some(types) = &mut types {
                types.sort_unstable();
                types.dedup();
            }
            list.qtypes = types;
        }
        compare_small(&lists, &[1, 2, 3, 4]);
        let compiled = Compiled::new(&lists);
        for name in asked {
            compiled.compare_around(&name);
            prop_assert_eq!(compiled.found(&name, 2), compiled.scanned(&name, 2));
        }
    }
}
