//! Compares lookups in an index with a scan of all prefixes, and checks how large indexes get.

use xdp_common::image::Lines;
use xdp_common::lookup::lpm::find;

use super::super::intervals::fold_nested;
use super::*;

/// The lines of one index and nothing else, with its root on line 1.
struct Alone(Vec<u64>);

impl Lines for Alone {
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.0.get(line as usize * LINE_WORDS..)
    }
}

trait Family: Address + std::fmt::LowerHex + std::fmt::Debug {
    fn left(self) -> [u64; 2];
    fn mask(length: u8) -> Self;
    fn and(self, mask: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn from_bits(bits: u128) -> Self;
}

macro_rules! family {
    ($type:ty) => {
        impl Family for $type {
            fn left(self) -> [u64; 2] {
                let left = u128::from(self) << (128 - <$type>::BITS);
                [(left >> 64) as u64, left as u64]
            }
            fn mask(length: u8) -> Self {
                !<$type>::MAX.checked_shr(length.into()).unwrap_or(0)
            }
            fn and(self, mask: Self) -> Self {
                self & mask
            }
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            fn from_bits(bits: u128) -> Self {
                bits as Self
            }
        }
    };
}

family!(u32);
family!(u128);

struct Random(u64);

impl Random {
    /// Any numbers will do, if they are the same each time (Marsaglia's xorshift).
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn build<A: Family>(prefixes: &[(Prefix<A>, u32)]) -> (Alone, Vec<Valued<A>>) {
    let mut members: Vec<(Prefix<A>, u32)> = prefixes
        .iter()
        .map(|&(Prefix { address, length }, value)| {
            (Prefix { address: address.and(A::mask(length)), length }, value)
        })
        .collect();
    let mut valued = Vec::new();
    // Of equal prefixes the one with the greatest value counts, whatever the order.
    members.sort_by_key(|&(prefix, value)| (prefix.address, prefix.length, value));
    members.dedup_by(|later, before| {
        let same = later.0 == before.0;
        if same {
            before.1 = later.1;
        }
        same
    });
    fold_nested(
        &mut members,
        0,
        |_, &value| value,
        |prefix, value, around| {
            if value != around {
                valued.push(Valued { prefix, value });
            }
        },
    );
    let mut writer = IndexWriter::new(1 + ROOT_LINES);
    let root = writer.root(&valued).unwrap();
    let mut words = vec![0; LINE_WORDS];
    words.extend(root.into_flattened());
    words.extend(writer.into_words());
    words.extend([0; SPAN]);
    let prefixes = members.iter().map(|&(prefix, value)| Valued { prefix, value }).collect();
    (Alone(words), prefixes)
}

const SPAN: usize = xdp_common::image::SPAN_WORDS;

/// The reference: tries all prefixes, one after the other.
fn plainly<A: Family>(prefixes: &[Valued<A>], address: A) -> u32 {
    let holds = |p: &&Valued<A>| address.and(A::mask(p.prefix.length)) == p.prefix.address;
    prefixes.iter().filter(holds).max_by_key(|p| p.prefix.length).map_or(0, |p| p.value)
}

/// Looks up both ends of each prefix, their neighbours, and random addresses inside and near.
fn check<A: Family>(prefixes: &[(Prefix<A>, u32)], random: &mut Random) {
    let (index, plain) = build(prefixes);
    let mut asked = vec![A::from_bits(0), A::from_bits(u128::MAX)];
    for valued in plain.iter().step_by(plain.len() / 200 + 1) {
        let Prefix { address, length } = valued.prefix;
        let last = address.last(length);
        let inside = A::from_bits(random.wide()).and(A::from_bits(u128::MAX).xor(A::mask(length)));
        asked.extend([address, last, address.xor(inside)]);
        asked.extend(last.next());
        for bit in [0, 1, 7, 8, random.below(A::BITS.into()) as u32] {
            asked.push(address.xor(A::from_bits(1 << bit)));
        }
    }
    asked.extend((0..50).map(|_| A::from_bits(random.wide())));
    for address in asked {
        let found = find(&index, 1, address.left());
        assert_eq!(found, Some(plainly(&plain, address)), "{address:x} in {prefixes:x?}");
    }
}

fn check_random<A: Family>(seed: u64) {
    let random = &mut Random(seed);
    for round in 0..400 {
        let count = [1, 2, 3, 5, 9, 40, 300][round % 7];
        // A few centres, so that prefixes nest, meet and share long beginnings.
        let centres: Vec<u128> = (0..1 + random.below(6)).map(|_| random.wide()).collect();
        let bits = u64::from(A::BITS);
        let prefixes: Vec<(Prefix<A>, u32)> = (0..count)
            .map(|_| {
                let centre = centres[random.below(centres.len() as u64) as usize];
                let near = centre ^ (random.wide() >> (128 - bits + random.below(bits)));
                let length = match random.below(4) {
                    0 => A::BITS,
                    1 => (random.below(bits / 8 + 1) * 8) as u8,
                    _ => random.below(bits + 1) as u8,
                };
                let value = match random.below(10) {
                    0 => 1 + random.below(1 << 22) as u32,
                    _ => 1 + random.below(3) as u32,
                };
                (Prefix { address: A::from_bits(near), length }, value)
            })
            .collect();
        check(&prefixes, random);
    }
}

#[test]
fn finds_the_longest_ipv4_prefix() {
    check_random::<u32>(0x9e37_79b9_7f4a_7c15);
}

#[test]
fn finds_the_longest_ipv6_prefix() {
    check_random::<u128>(0x2545_f491_4f6c_dd1d);
}

fn v4(address: u32, length: u8, value: u32) -> (Prefix<u32>, u32) {
    (Prefix { address, length }, value)
}

#[test]
fn sets_that_are_hard_on_an_index() {
    let random = &mut Random(7);
    let everything = v4(0, 0, 1);
    check(&[everything], random);
    check(&[everything, v4(u32::MAX, 32, 2)], random);
    // Prefixes of every length on one address: each with a value of its own, and all with one.
    let nested: Vec<_> =
        (0..=32).map(|length| v4(0xc0a8_0181, length, 1 + u32::from(length))).collect();
    check(&nested, random);
    let nested: Vec<_> = (0..=32).map(|length| v4(0xc0a8_0181, length, 1)).collect();
    check(&nested, random);
    // Neighbours with the same value, and with two.
    for values in [[1, 1], [1, 2], [64, 64], [70, 71]] {
        let hosts: Vec<_> =
            (0..600u32).map(|n| v4(0x0a00_00f0 + n, 32, values[n as usize % 2])).collect();
        check(&hosts, random);
        let pairs: Vec<_> =
            (0..600u32).map(|n| v4(0x0a00_00f0 + 2 * n, 31, values[n as usize % 2])).collect();
        check(&pairs, random);
        let every_other: Vec<_> =
            (0..600u32).map(|n| v4(0x0a00_00f0 + 2 * n, 32, values[n as usize % 2])).collect();
        check(&every_other, random);
    }
    let nested: Vec<(Prefix<u128>, u32)> = (0..=128)
        .map(|length| {
            (Prefix { address: 0x2001_0db8 << 96 | 0x1234, length }, 1 + u32::from(length) % 5)
        })
        .collect();
    check(&nested, random);
}

#[test]
fn whole_networks_of_hosts_are_one_slot() {
    let hosts: Vec<_> = (0..1u32 << 20).map(|n| v4(0x0a00_0000 + n, 32, 1)).collect();
    let (index, plain) = build(&hosts);
    let ten_slash_twelve = 1 + ROOT_LINES as usize + 1;
    // Pages of lines are taken whole, and two of them may be nearly unused.
    let page = PAGE_LINES as usize;
    let most = (ten_slash_twelve + 2 * page) * LINE_WORDS + SPAN;
    assert!(index.0.len() <= most, "nothing but the root");
    for address in [0x0a00_0000_u32, 0x0a0f_ffff, 0x0a07_1234] {
        assert_eq!(find(&index, 1, address.left()), Some(1));
    }
    for address in [0x09ff_ffff_u32, 0x0a10_0000] {
        assert_eq!(find(&index, 1, address.left()), Some(plainly(&plain, address)));
    }
}

/// Holds the index to the size that the documentation of `xdp_common::lookup::lpm` promises.
#[test]
fn no_list_makes_an_index_large() {
    /// Bytes of the smallest node, two records, and the two that can stay free on their line.
    const MOST: usize = 2 * 64 + 2 * 16 + 2 * 16;
    let random = &mut Random(11);
    let mut sets: Vec<Vec<(Prefix<u128>, u32)>> = Vec::new();
    let host = |address, value| (Prefix { address, length: 128 }, value);
    // Groups of five addresses that share all but their last bits; the groups are far apart.
    for shared in [40, 72, 104, 120, 124] {
        sets.push(
            (0..2_000)
                .flat_map(|_| {
                    let base = random.wide();
                    (0..5).map(move |n| host(base ^ n << (128 - shared - 4), 1))
                })
                .collect(),
        );
    }
    // One prefix of every length, over and over.
    sets.push(
        (0..100)
            .flat_map(|_| {
                let address = random.wide();
                (17..=128).map(move |length| (Prefix { address, length }, 1 + u32::from(length)))
            })
            .collect(),
    );
    // Every other host, with two values in turn.
    sets.push((0..50_000).map(|n| host(n * 2, 1 + n as u32 % 2)).collect());
    sets.push((0..50_000).map(|_| host(random.wide(), 1 + random.below(2) as u32)).collect());
    for set in sets {
        let (index, plain) = build(&set);
        let bytes = (index.0.len() - SPAN) * 8 - (1 + ROOT_LINES as usize) * 64;
        let each = bytes / plain.len();
        assert!(each <= MOST, "{each} bytes a prefix: {:x?}", &plain[..3]);
    }
}
