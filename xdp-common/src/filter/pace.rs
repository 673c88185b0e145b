//! How fast something is done that anybody can ask for: no faster than a CPU may.

/// How often, over time, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds between two.
    interval: u64,
    at_once: u64,
}

/// ICMP errors that a CPU sends.
pub const ERRORS: Pace = Pace::of(1_000, 50);

impl Pace {
    /// So often in a second.
    pub const fn of(a_second: u64, at_once: u64) -> Self {
        Self { interval: 1_000_000_000 / a_second, at_once }
    }
}

/// A bucket of tokens, as the time from which on the next one is there. A CPU has it to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// Of the kernel's monotonic clock, in nanoseconds.
    next: u64,
}

impl Bucket {
    /// Takes a token. Whether there was one.
    #[inline(always)]
    pub fn take(&mut self, now: u64, pace: Pace) -> bool {
        // Tokens that nobody takes are there for later, up to a number.
        let earliest = now.saturating_sub((pace.at_once - 1) * pace.interval);
        let next = if self.next < earliest { earliest } else { self.next };
        if next > now {
            return false;
        }
        self.next = next + pace.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked all the time for ten seconds, by a clock that ticks 100 or 1,000 times a second.
    #[test]
    fn a_flood_gets_so_many_a_second() {
        for tick in [10_000_000, 1_000_000] {
            let mut bucket = Bucket::default();
            let begin = 3_600_000_000_000;
            let mut sent = 0;
            for asked in 0..10_000_000_u64 {
                let now = begin + asked * 1_000 / tick * tick;
                sent += u64::from(bucket.take(now, ERRORS));
            }
            let most = 10 * 1_000 + 50;
            assert!((most - 20..=most).contains(&sent), "{sent}");
        }
    }

    #[test]
    fn what_is_rare_is_never_held_back() {
        let mut bucket = Bucket::default();
        for second in 0..1_000 {
            assert!(bucket.take(second * ERRORS.interval, ERRORS));
        }
    }
}
