//! From a flow to its place, and from a service's backends to its table, written down once more.

use std::net::IpAddr;

use super::config::bits;
use super::service_config::{Hash, Services};

/// Eight words that stand for the configuration's seed.
pub type Secret = [u64; 8];

const STEP: u64 = 0x2545_f491_4f6c_dd1d;

/// One step of every hash here: an addition, a multiplication, and the upper half on the lower.
fn stir(state: u64, word: u64, key: u64) -> u64 {
    let factor = u128::from(0x9e37_79b9_7f4a_7c15_u64);
    let sum = (u128::from(state ^ word) + u128::from(key)) % (1 << 64);
    let product = (sum * factor % (1 << 64)) as u64;
    (product >> 32) ^ product
}

/// The words of a text, eight bytes each, the first byte the lowest.
fn words(bytes: &[u8]) -> Vec<u64> {
    let word =
        |chunk: &[u8]| chunk.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    bytes.chunks(8).map(word).collect()
}

pub fn secret(services: &Services) -> Secret {
    let seed = services.seed.clone().unwrap_or_else(|| b"xdpctl services".to_vec());
    let mut state = seed.len() as u64;
    for word in words(&seed) {
        state = stir(state, word, STEP);
    }
    let mut secret = [0; 8];
    for (place, word) in (0..).zip(&mut secret) {
        state = stir(state, place, STEP);
        *word = state;
    }
    secret
}

/// A flow's number.
pub fn number(
    secret: &Secret,
    hash: Hash,
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    (source_port, destination_port): (u16, u16),
) -> u64 {
    let (with_source, with_destination) = match hash {
        Hash::Connection => (true, true),
        Hash::Source => (false, false),
        Hash::SourceAndPort => (true, false),
        Hash::DestinationPort => (false, true),
    };
    let mut last = u64::from(protocol);
    if with_source {
        last += u64::from(source_port) << 32;
    }
    if with_destination {
        last += u64::from(destination_port) << 48;
    }
    let is_ipv4 = source.is_ipv4();
    let (source, destination) = (bits(source).0, bits(destination).0);
    let upper = |address: u128| (address >> 64) as u64;
    let lower = |address: u128| address as u64;
    let mut state = secret[0];
    if is_ipv4 {
        // The source's four octets before those of the destination.
        state = stir(state, lower(source) << 32 | lower(destination), secret[1]);
    } else {
        state = stir(state, upper(source), secret[1]);
        state = stir(state, upper(destination), secret[2]);
        state = stir(state, lower(source), secret[3]);
        state = stir(state, lower(destination), secret[4]);
    }
    state = stir(state, last, secret[5]);
    stir(state, secret[6], secret[7])
}

/// The place of a table of that size that a flow's number chooses: the fraction that its upper half is
/// of all.
pub fn place(number: u64, size: usize) -> usize {
    ((number >> 32) as usize * size) >> 32
}

/// The number by which a flow looks at another place, the `nth` time.
pub fn other(number: u64, nth: u64) -> u64 {
    stir(number, nth, STEP)
}

/// The index of the backend at each place: of backends with these names and weights.
pub fn table(secret: &Secret, size: u32, backends: &[(&str, u16)]) -> Vec<usize> {
    let size = size as usize;
    let heaviest = backends.iter().map(|(_, weight)| u64::from(*weight)).max().expect("a backend");
    // The places in the order in which each backend wants them.
    let orders = backends.iter().map(|(name, _)| {
        let mut state = secret[7] ^ name.len() as u64;
        for word in words(name.as_bytes()) {
            state = stir(state, word, secret[6]);
        }
        let number = stir(state, secret[5], secret[4]);
        let first = (number >> 32) as usize % size;
        let step = 1 + (number % (1 << 32)) as usize % (size - 1);
        (0..size).map(move |nth| (first + nth * step) % size)
    });
    let mut orders: Vec<_> = orders.collect();
    let mut table = vec![None; size];
    // The heaviest takes a place in each round; another has taken its share of them, rounded up.
    for round in 1.. {
        for (index, (_, weight)) in backends.iter().enumerate() {
            let due = |rounds: u64| (rounds * u64::from(*weight)).div_ceil(heaviest);
            if due(round) == due(round - 1) {
                continue;
            }
            let place = orders[index].find(|place| table[*place].is_none()).expect("a free place");
            table[place] = Some(index);
            if table.iter().all(Option::is_some) {
                return table.into_iter().flatten().collect();
            }
        }
    }
    unreachable!("each round takes a place")
}
