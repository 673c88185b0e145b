//! Tables by which flows find their backends (Eisenbud and others, "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Every backend has its own order of all places. The backends take turns; whose turn it is takes the next
//! place of its order that is free. So each gets its share within a place or two, and where one comes or
//! goes, few places change that need not.

/// A backend that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A number that belongs to its name and to the secret, the same wherever both are.
    pub number: u64,
    /// 1 to 65,535. With twice the weight it takes twice as many turns.
    pub weight: u16,
}

/// The backend at each of `size` places, which is a prime; nothing where there are no backends.
pub fn table(size: u32, backends: &[Candidate]) -> Vec<u16> {
    let Some(heaviest) = backends.iter().map(|backend| u64::from(backend.weight)).max() else {
        return Vec::new();
    };
    let mut orders: Vec<Order> = backends.iter().map(|it| Order::new(it.number, size)).collect();
    let mut places = vec![None; size as usize];
    let mut free = size;
    // In round n, the heaviest has had n turns, and any other as many as its weight is worth.
    let mut turns = vec![0_u64; backends.len()];
    for round in 1.. {
        for (index, backend) in backends.iter().enumerate() {
            if turns[index] * heaviest >= round * u64::from(backend.weight) {
                continue;
            }
            turns[index] += 1;
            let place = orders[index].find(|&place| places[place as usize].is_none());
            let place = place.expect("an order has every place, and one is free");
            places[place as usize] = Some(index as u16);
            free -= 1;
            if free == 0 {
                return places.into_iter().flatten().collect();
            }
        }
    }
    unreachable!("every round fills a place")
}

/// All places, in the order of one backend: an arithmetic progression modulo a prime.
struct Order {
    size: u32,
    next: u32,
    step: u32,
}

impl Order {
    fn new(number: u64, size: u32) -> Self {
        let (upper, lower) = ((number >> 32) as u32, number as u32);
        Self { size, next: upper % size, step: lower % (size - 1) + 1 }
    }
}

impl Iterator for Order {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let place = self.next;
        self.next = (self.next + self.step) % self.size;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::services::TABLES;

    fn candidates(count: u64, weight: impl Fn(u64) -> u16) -> Vec<Candidate> {
        let candidate = |index: u64| Candidate {
            number: (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            weight: weight(index),
        };
        (0..count).map(candidate).collect()
    }

    fn shares(table: &[u16], backends: usize) -> Vec<u32> {
        let mut shares = vec![0; backends];
        for &backend in table {
            shares[usize::from(backend)] += 1;
        }
        shares
    }

    #[test]
    fn sizes_are_primes() {
        for size in TABLES {
            assert!((2..=size.isqrt()).all(|factor| size % factor != 0), "{size}");
        }
    }

    #[test]
    fn backends_of_one_weight_differ_by_a_place() {
        for (size, count) in [(251, 2), (251, 251), (4093, 100), (65537, 1000)] {
            let table = table(size, &candidates(count, |_| 1));
            assert_eq!(table.len(), size as usize);
            let shares = shares(&table, count as usize);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{size} {count}: {least} to {most}");
        }
    }

    #[test]
    fn shares_follow_weights() {
        let weights = [1_u16, 2, 5, 92];
        let table = table(16381, &candidates(4, |index| weights[index as usize]));
        for (share, weight) in shares(&table, 4).into_iter().zip(weights) {
            let due = 16381.0 * f64::from(weight) / 100.0;
            assert!((f64::from(share) - due).abs() < 3.0, "{share} for {weight} %");
        }
    }

    /// One backend in a hundred goes: its places move, and few others.
    #[test]
    fn little_moves_that_need_not() {
        let before = candidates(100, |_| 1);
        let mut after = before.clone();
        let gone = after.remove(40);
        let (old, new) = (table(65537, &before), table(65537, &after));
        let moved = old.iter().zip(&new).filter(|(old, new)| {
            let (old, new) = (before[usize::from(**old)], after[usize::from(**new)]);
            old != gone && old != new
        });
        assert!(moved.count() < 65537 / 50, "beside those of the one that is gone");
    }

    #[test]
    fn nobody_is_no_table() {
        assert!(table(251, &[]).is_empty());
    }
}
