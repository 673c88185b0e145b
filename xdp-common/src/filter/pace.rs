//! How fast errors are sent: no faster than a CPU may, whatever asks for them.

/// Errors that a CPU sends in a second, over time, and at once.
pub const A_SECOND: u64 = 1_000;
pub const AT_ONCE: u64 = 50;

/// Nanoseconds between two errors.
const INTERVAL: u64 = 1_000_000_000 / A_SECOND;

/// A bucket of tokens, as the time from which on the next one is there. A CPU has it to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pace {
    /// Of the kernel's monotonic clock, in nanoseconds.
    next: u64,
}

impl Pace {
    /// Takes a token. Whether there was one.
    #[inline(always)]
    pub fn take(&mut self, now: u64) -> bool {
        // Tokens that nobody takes are there for later, up to a number.
        let earliest = now.saturating_sub((AT_ONCE - 1) * INTERVAL);
        let next = if self.next < earliest { earliest } else { self.next };
        if next > now {
            return false;
        }
        self.next = next + INTERVAL;
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
            let mut pace = Pace::default();
            let begin = 3_600_000_000_000;
            let mut sent = 0;
            for asked in 0..10_000_000_u64 {
                let now = begin + asked * 1_000 / tick * tick;
                sent += u64::from(pace.take(now));
            }
            let most = 10 * A_SECOND + AT_ONCE;
            assert!((most - 20..=most).contains(&sent), "{sent}");
        }
    }

    #[test]
    fn what_is_rare_is_never_held_back() {
        let mut pace = Pace::default();
        for second in 0..1_000 {
            assert!(pace.take(second * INTERVAL));
        }
    }
}
