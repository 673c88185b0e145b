//! How fast counters move.

use std::time::Duration;

use xdp_common::stats::counter::Counter;

use super::{CountedSample, Sample};

/// Packets and bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    pub packets: f64,
    pub bits: f64,
}

impl Rate {
    /// The rate from one reading to the next. Counters that went back were restarted: their rate is
    /// 0.
    pub fn between(before: Counter, now: Counter, elapsed: Duration) -> Self {
        if elapsed.is_zero() {
            return Self::default();
        }
        let seconds = elapsed.as_secs_f64();
        Self {
            packets: now.packets.saturating_sub(before.packets) as f64 / seconds,
            bits: now.bytes.saturating_sub(before.bytes) as f64 * 8.0 / seconds,
        }
    }
}

/// The sample before, which rates are computed against.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    pub sample: &'a Sample,
    /// Time since that sample, by the monotonic clock, which nobody can set.
    pub elapsed: Duration,
}

impl<'a> Before<'a> {
    /// Finds in `samples` the one that `now` follows, if there is one.
    pub fn find(samples: &'a [Sample], now: &Sample, elapsed: Duration) -> Option<Self> {
        samples
            .iter()
            .find(|before| before.ifindex == now.ifindex)
            .map(|sample| Self { sample, elapsed })
    }

    pub(super) fn rate(&self, before: Counter, now: Counter) -> Rate {
        Rate::between(before, now, self.elapsed)
    }

    /// The counters of the same list or rule in the sample before: its own, what it lost, and what was under its
    /// limit. It is looked for at its `place`
    /// first, where it is unless a reload came between. A new list or rule began at 0.
    pub(super) fn counted(&self, place: usize, now: &CountedSample) -> [Counter; 3] {
        let same = |before: &&CountedSample| before.name == now.name && before.kind == now.kind;
        let counted = &self.sample.counted;
        let before = counted.get(place).filter(same).or_else(|| counted.iter().find(same));
        before.map_or_else(Default::default, |before| {
            let [lost, under] = [before.lost, before.under].map(Option::unwrap_or_default);
            [before.counter, lost, under]
        })
    }
}
