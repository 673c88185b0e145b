//! Two processors at once, as with two queues of a NIC: the rate of both together against that of
//! one alone. Anything that they share, such as cache lines of counters, would show here.

use std::sync::{Arc, Barrier};
use std::thread;

use crate::Result;
use crate::cases::million_v4_blocked;
use crate::clock::{Clock, other_than};
use crate::commands::Figure;
use crate::measure::FRAMES;
use crate::prefixes::Family;
use crate::ruleset::Compiled;
use crate::testbed::{Device, Testbed};
use crate::traffic::{SOURCES_V4_COUNT, Traffic};

/// Of one processor's rate.
const GOAL: f64 = 1.9;

/// Nothing on a machine with one processor.
pub fn measure(testbed: &mut Testbed, rounds: usize) -> Result<Vec<Figure>> {
    let Some(other) = other_than(testbed.clock.cpu) else {
        eprintln!("two processors at once need a second one: left out");
        return Ok(Vec::new());
    };
    let subject = million_v4_blocked();
    testbed.put_in_force(Compiled::new(&subject)?.image())?;
    let traffic = Traffic::from_sources(Family::V4, &subject.listed().hits(SOURCES_V4_COUNT, 3));
    let _attached = testbed.attach_filter_to_guest()?;
    testbed.load_traffic(&traffic)?;
    let mut second = testbed.second_generator()?;
    second.load_traffic(&traffic)?;

    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(testbed.run(Device::Filter, &traffic.frame, FRAMES)?.nanoseconds);
        let start = Arc::new(Barrier::new(2));
        let both = thread::scope(|scope| {
            let (second, frame, at) = (&mut second, &traffic.frame, start.clone());
            let beside = scope.spawn(move || -> std::result::Result<f64, String> {
                let clock = Clock::pin(Some(other)).map_err(|error| error.to_string());
                at.wait();
                let run = clock.and_then(|clock| {
                    second.run(&clock, Device::Guest, frame, FRAMES).map_err(|e| e.to_string())
                });
                run.map(|run| run.nanoseconds)
            });
            start.wait();
            let here = testbed.run(Device::Filter, &traffic.frame, FRAMES);
            let beside = beside.join().map_err(|_| "the second generator panicked")?;
            Ok::<_, crate::Error>([here?.nanoseconds, beside?])
        })?;
        together.push(both);
    }
    let alone = alone.into_iter().fold(f64::INFINITY, f64::min);
    let sums = together.iter().map(|[one, other]| alone / one + alone / other);
    let best = sums.fold(0.0, f64::max);
    Ok(vec![
        Figure::new("1,000,000 IPv4 prefixes, hit, one processor: a packet", alone, "ns"),
        Figure::new("the same on two processors at once: packets to those of one", best, "x")
            .at_least(GOAL),
    ])
}
