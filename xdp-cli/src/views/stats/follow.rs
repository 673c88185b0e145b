//! The loop of `xdpctl stats`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::rate::Before;
use super::stop::Stop;
use super::terminal::Screen;
use super::{Sample, json, terminal, text};

/// What to follow, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between two samples.
    pub interval: Duration,
    /// How many samples to take; `None` to go on until stopped.
    pub count: Option<u64>,
    /// Whether to take just one sample, without rates.
    pub once: bool,
    pub json: bool,
    /// Whether to show lists, rules and reasons that have counted nothing. JSON always has them.
    pub all: bool,
}

/// Why following ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// The source gave no sample.
    #[error(transparent)]
    Source(E),
    #[error("the counters cannot be written: {0}")]
    Output(io::Error),
}

/// Takes samples, the first at once, and prints each. Being stopped is success, and so is a closed
/// pipe that nobody reads any more.
pub fn follow<E>(
    source: &mut dyn FnMut() -> Result<Vec<Sample>, E>,
    options: &Options,
    out: &mut dyn Write,
    is_terminal: bool,
    stop: &Stop,
) -> Result<(), Error<E>> {
    let count = if options.once { Some(1) } else { options.count };
    let mut ticks = Ticks::new(options.interval);
    let mut view = View::new(options, out, is_terminal);
    let mut before: Option<(Instant, Vec<Sample>)> = None;
    let mut taken = 0;
    while count.is_none_or(|count| taken < count) && !stop.is_set() {
        let now = Instant::now();
        let samples = source().map_err(Error::Source)?;
        let elapsed = before.as_ref().map_or(Duration::ZERO, |(then, _)| now - *then);
        let past = before.as_ref().map(|(_, samples)| samples.as_slice()).unwrap_or_default();
        match view.show(&samples, past, elapsed) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            shown => shown.map_err(Error::Output)?,
        }
        before = Some((now, samples));
        taken += 1;
        if count.is_some_and(|count| taken >= count) || stop.wait_until(ticks.next_tick()) {
            break;
        }
    }
    Ok(())
}

/// The instants of the samples: whole intervals after the first, so that delays do not add up.
/// Those that were missed, such as while the process was stopped, are skipped.
pub struct Ticks {
    start: Instant,
    interval: Duration,
}

impl Ticks {
    /// The first is now.
    pub fn new(interval: Duration) -> Self {
        Self { start: Instant::now(), interval: interval.max(Duration::from_millis(1)) }
    }

    /// The next instant; `None` if it is too far ahead to be represented.
    pub fn next_tick(&mut self) -> Option<Instant> {
        self.after(Instant::now())
    }

    fn after(&self, now: Instant) -> Option<Instant> {
        let interval = self.interval.as_nanos();
        let passed = (now - self.start).as_nanos() / interval;
        let nanos = interval.checked_mul(passed + 1)?;
        let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
        let since = Duration::new(seconds, (nanos % 1_000_000_000) as u32);
        self.start.checked_add(since)
    }
}

/// Where samples go.
enum View<'o> {
    Json(&'o mut dyn Write),
    Text { out: &'o mut dyn Write, rates: bool, first: bool, all: bool },
    Screen(Screen<'o>),
}

impl<'o> View<'o> {
    fn new(options: &Options, out: &'o mut dyn Write, is_terminal: bool) -> Self {
        if options.json {
            Self::Json(out)
        } else if is_terminal && !options.once {
            Self::Screen(Screen::new(out, options.all))
        } else {
            Self::Text { out, rates: !options.once, first: true, all: options.all }
        }
    }

    fn show(&mut self, samples: &[Sample], past: &[Sample], elapsed: Duration) -> io::Result<()> {
        match self {
            Self::Json(out) => {
                for sample in samples {
                    json::write(out, sample)?;
                    out.flush()?;
                }
                Ok(())
            }
            Self::Text { out, rates, first, all } => {
                for (place, sample) in samples.iter().enumerate() {
                    if place > 0 || !*first {
                        writeln!(out)?;
                    }
                    let before = Before::find(past, sample, elapsed);
                    let style = text::Style { rates: *rates, before, hints: *first, all: *all };
                    text::write(out, sample, style)?;
                }
                *first = false;
                out.flush()
            }
            Self::Screen(screen) => screen.draw(samples, past, elapsed, terminal::size()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift_and_are_not_made_up_for() {
        let ticks = Ticks::new(Duration::from_secs(1));
        let at = |millis| ticks.start + Duration::from_millis(millis);
        for (now, next) in [(0, 1000), (1, 1000), (1003, 2000), (2999, 3000), (3000, 4000)] {
            assert_eq!(ticks.after(at(now)), Some(at(next)), "at {now} ms");
        }
        assert_eq!(ticks.after(at(60_500)), Some(at(61_000)));
    }

    #[test]
    fn intervals_at_the_limits() {
        assert_eq!(Ticks::new(Duration::MAX).next_tick(), None);
        let none = Ticks::new(Duration::ZERO);
        assert_eq!(none.after(none.start), Some(none.start + Duration::from_millis(1)));
    }
}
