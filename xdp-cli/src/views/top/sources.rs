//! Which sources send most, found out from a sample of the frames.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::views::stats::rate::Rate;

/// How many frames are to be looked at each second. Of so many, a source that sends a hundredth of
/// all is found within a second, and they cost the processor next to nothing.
const WANTED: u64 = 1000;
/// How many sources are remembered. With [`WANTED`] and [`FORGOTTEN`] there is room for a flood in
/// which each frame comes from elsewhere.
const MOST: usize = 1 << 14;
/// After so many looks in which a source was not seen, it is forgotten. Its rate has been halved as
/// often.
const FORGOTTEN: u32 = 10;

/// A source, and how much it sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub address: IpAddr,
    /// As the sample lets expect it.
    pub rate: Rate,
    /// How many of its frames are dropped, from 0 to 1; `None` where none was seen.
    pub dropped: Option<f64>,
}

/// What was seen of sources.
#[derive(Debug)]
pub struct Tally {
    /// One of so many frames is seen.
    sample: u32,
    sources: HashMap<IpAddr, Seen>,
}

/// What was seen of a source.
#[derive(Debug, Default)]
struct Seen {
    /// Since the last look, as if every frame had been seen.
    packets: f64,
    bytes: f64,
    dropped: f64,
    /// Over the last looks, of which each counts half as much as the next one. `None` before the
    /// first.
    rate: Option<Rate>,
    dropped_rate: f64,
    /// Looks since it was seen.
    quiet: u32,
}

impl Tally {
    pub fn new(sample: u32) -> Self {
        Self { sample, sources: HashMap::new() }
    }

    /// One of how many frames is seen.
    pub fn sample(&self) -> u32 {
        self.sample
    }

    /// Says of how many frames one is seen from now on.
    pub fn set_sample(&mut self, sample: u32) {
        self.sample = sample;
    }

    /// Takes a frame that was seen.
    pub fn add(&mut self, address: IpAddr, length: u32, is_dropped: bool) {
        if self.sources.len() >= MOST && !self.sources.contains_key(&address) {
            return;
        }
        let weight = f64::from(self.sample);
        let seen = self.sources.entry(address).or_default();
        seen.packets += weight;
        seen.bytes += weight * f64::from(length);
        if is_dropped {
            seen.dropped += weight;
        }
    }

    /// The sources by what they sent in the time since the last look, the busiest first.
    pub fn look(&mut self, elapsed: Duration) -> Vec<Source> {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        self.sources.retain(|_, seen| {
            seen.quiet = if seen.packets > 0.0 { 0 } else { seen.quiet + 1 };
            let now = Rate { packets: seen.packets / seconds, bits: seen.bytes * 8.0 / seconds };
            let dropped = seen.dropped / seconds;
            (seen.rate, seen.dropped_rate) = match seen.rate {
                None => (Some(now), dropped),
                Some(before) => {
                    let packets = f64::midpoint(before.packets, now.packets);
                    let bits = f64::midpoint(before.bits, now.bits);
                    (Some(Rate { packets, bits }), f64::midpoint(seen.dropped_rate, dropped))
                }
            };
            (seen.packets, seen.bytes, seen.dropped) = (0.0, 0.0, 0.0);
            seen.quiet < FORGOTTEN
        });
        let mut sources: Vec<Source> = self
            .sources
            .iter()
            .map(|(&address, seen)| {
                let rate = seen.rate.unwrap_or_default();
                let dropped = (rate.packets > 0.0).then(|| seen.dropped_rate / rate.packets);
                Source { address, rate, dropped }
            })
            .collect();
        sources.sort_by(|one, other| {
            let by_rate = other.rate.packets.total_cmp(&one.rate.packets);
            by_rate.then(one.address.cmp(&other.address))
        });
        sources
    }
}

/// Of how many frames one is to be seen, where so many came in that time and one of `sample` was
/// seen: a power of two.
pub fn adapted(sample: u32, frames: u64, elapsed: Duration) -> u32 {
    let rate = frames as f64 / elapsed.as_secs_f64().max(1e-3);
    let fitting = |rate: f64| {
        // A cast of a number that is too large gives the largest.
        let times = (rate / WANTED as f64).ceil().max(1.0) as u32;
        times.min(1 << 30).next_power_of_two()
    };
    // It is not lowered for a rate that is just below the one at which it would be raised again.
    fitting(rate).max(sample.min(fitting(rate * 1.25)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_sample_fits_the_rate() {
        for (sample, frames, fitting) in [
            (1024, 0, 1),
            (1, 1000, 1),
            (1, 1001, 2),
            (2, 999, 2),
            (2, 799, 1),
            (1, 10_000_000, 16384),
            (64, 40_000, 64),
            (1, u64::MAX, 1 << 30),
        ] {
            assert_eq!(adapted(sample, frames, SECOND), fitting, "{sample}, {frames}");
        }
        assert_eq!(adapted(1, 100, Duration::ZERO), 128);
    }

    #[test]
    fn a_frame_stands_for_as_many_as_were_not_seen() {
        let mut tally = Tally::new(10);
        for _ in 0..3 {
            tally.add(ip("192.0.2.1"), 100, false);
        }
        tally.set_sample(100);
        tally.add(ip("2001:db8::1"), 50, true);
        tally.add(ip("2001:db8::1"), 50, false);
        let sources = tally.look(Duration::from_secs(2));
        assert_eq!(
            sources,
            [
                Source {
                    address: ip("2001:db8::1"),
                    rate: Rate { packets: 100.0, bits: 40_000.0 },
                    dropped: Some(0.5)
                },
                Source {
                    address: ip("192.0.2.1"),
                    rate: Rate { packets: 15.0, bits: 12_000.0 },
                    dropped: Some(0.0)
                },
            ]
        );
    }

    #[test]
    fn who_sends_no_more_is_forgotten() {
        let mut tally = Tally::new(1);
        for _ in 0..8 {
            tally.add(ip("192.0.2.1"), 100, true);
        }
        let rates: Vec<f64> = (0..FORGOTTEN)
            .map(|_| tally.look(SECOND).first().expect("not forgotten").rate.packets)
            .collect();
        assert_eq!(rates[..4], [8.0, 4.0, 2.0, 1.0]);
        assert!(tally.look(SECOND).is_empty());
    }

    #[test]
    fn a_flood_from_everywhere_takes_no_more_memory() {
        let mut tally = Tally::new(1);
        for number in 0..2 * MOST as u32 {
            tally.add(IpAddr::from(number.to_be_bytes()), 60, true);
        }
        tally.add(IpAddr::from([0, 0, 0, 0]), 60, true);
        let sources = tally.look(SECOND);
        assert_eq!(sources.len(), MOST);
        assert_eq!(sources[0].rate.packets, 2.0);
    }
}
