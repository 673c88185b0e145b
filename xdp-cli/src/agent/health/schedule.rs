//! When a backend is checked.

use std::time::Duration;

/// The pauses between the checks of one backend: its interval, give or take a twentieth, so that a
/// thousand backends are not all checked at the same moment, nor all those of a rack.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    random: u64,
}

impl Schedule {
    /// `seed` is another one for each backend. No configuration has a shorter interval than is
    /// taken here, but a kept ruleset may be corrupt.
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Self { interval: interval.max(Duration::from_millis(10)), random: seed }
    }

    /// Until the first check: anything up to the interval.
    pub(super) fn first(&mut self) -> Duration {
        self.interval.mul_f64(self.fraction())
    }

    /// From the beginning of one check to that of the next.
    pub(super) fn next(&mut self) -> Duration {
        self.interval.mul_f64(0.95 + self.fraction() / 10.0)
    }

    /// A random number from 0 to under 1 (splitmix64).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_spread_over_the_interval() {
        let interval = Duration::from_secs(2);
        let mut tenths = [0; 10];
        for seed in 0..1000 {
            let mut schedule = Schedule::new(interval, seed);
            tenths[(schedule.first().as_secs_f64() / 0.2) as usize] += 1;
            let mut all = Duration::ZERO;
            for _ in 0..100 {
                let next = schedule.next();
                let range = Duration::from_millis(1900)..=Duration::from_millis(2100);
                assert!(range.contains(&next), "{next:?}");
                all += next;
            }
            assert!((196.0..204.0).contains(&all.as_secs_f64()), "{all:?}");
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
