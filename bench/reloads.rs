//! Reloads under full load: whether a packet is misjudged, and what becomes of the packet rate.
//!
//! The generator and the packet filter have one processor; the commands, and the clock that cuts
//! the time into windows, have another. One test run (BPF_PROG_TEST_RUN) lasts from beginning to
//! end: the start of a second one would show as a window without packets. Each of the two rulesets
//! drops every packet by its blocklist. All else in them is different, so that a packet that is
//! judged by parts of both, or by none, counts elsewhere.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::Result;
use crate::cases::million_v4;
use crate::clock::{other_than, pin_to};
use crate::commands::{Attached, Figure, Rulesets, text};
use crate::lab::{GUEST, InterfaceCounters, Lab};
use crate::prefixes::Family;
use crate::testbed::{Device, Run, Testbed};
use crate::traffic::{SOURCES_V4_COUNT, Traffic};

const RELOADS: usize = 100;
/// Fewer packets would say little about the moment of the switch.
const LEAST_PACKETS: f64 = 20e6;
const WINDOW: Duration = Duration::from_millis(50);
/// Before the first reload, once caches are filled.
const QUIET: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);
/// The signal that ends the test run. Its handler does nothing: it is enough that the call is
/// interrupted.
const END: Signal = Signal::SIGUSR1;

extern "C" fn interrupted(_: libc::c_int) {}

/// Measures [`RELOADS`] reloads; nothing on a machine with one processor.
pub fn measure(testbed: &mut Testbed) -> Result<Vec<Figure>> {
    let Some(other) = other_than(testbed.clock.cpu) else {
        eprintln!("reloads under load need a second processor: left out");
        return Ok(Vec::new());
    };
    let rulesets = Rulesets::create()?;
    let prefixes = million_v4();
    let list = prefixes.files(1).remove(0);
    let one = rulesets.write("one", "[policy]\ndefault = \"pass\"\n", &[("one", &list)])?;
    let two = rulesets.write("two", &other_policy()?, &[("two", &list)])?;
    let sources = prefixes.hits(SOURCES_V4_COUNT, 3);
    drop((prefixes, list));
    let traffic = Traffic::from_sources(Family::V4, &sources);
    testbed.load_traffic(&traffic)?;

    let action =
        SigAction::new(SigHandler::Handler(interrupted), SaFlags::empty(), SigSet::empty());
    // SAFETY: a handler that does nothing can be called at any time.
    unsafe { sigaction(END, &action)? };
    let lab = testbed.lab.clone();
    let attached = Attached::with(&lab, &one)?;
    let before = attached.json(&["stats", GUEST, "--json", "--once"])?;
    let generator = pthread_self();
    let generator_clock = thread_clock()?;
    let ended = AtomicBool::new(false);
    let (run, timed) = thread::scope(|scope| {
        let timing = scope.spawn(|| {
            let timed = reload(&lab, &attached, other, generator_clock, [&two, &one])
                .map_err(|e| e.to_string());
            end(generator, &ended);
            timed
        });
        let run = testbed.run(Device::Guest, &traffic.frame, u32::MAX);
        ended.store(true, Ordering::Release);
        (run, timing.join())
    });
    let run = run?;
    let timed = timed.map_err(|_| "the thread that reloads panicked")??;
    let after = attached.json(&["stats", GUEST, "--json", "--once"])?;
    figures(run, &timed, [&before, &after])
}

/// The processor time of the calling thread, for others to read.
fn thread_clock() -> Result<ClockId> {
    let mut clock = 0;
    // SAFETY: the calling thread is there, and the number is written to a variable.
    let status = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    if status != 0 {
        return Err(std::io::Error::from_raw_os_error(status).into());
    }
    Ok(ClockId::from_raw(clock))
}

fn other_policy() -> Result<String> {
    let mut policy = "[policy]\ndefault = \"drop\"\nfragments = \"drop\"\n".to_owned();
    for rule in 0..70 {
        write!(
            policy,
            "[[rule]]\nname = \"r{rule}\"\nsource = \"10.{rule}.0.0/16\"\n\
             destination_port = {}\naction = \"pass\"\n",
            rule * 100 + 1
        )?;
    }
    Ok(policy)
}

/// Interrupts the test run until it has ended, for one signal may come too early, between two
/// batches of frames.
fn end(generator: Pthread, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        // The thread waits for this one, so it is there.
        let _ = pthread_kill(generator, END);
        thread::sleep(Duration::from_millis(10));
    }
}

/// What was measured.
struct Timed {
    quiet: Vec<Window>,
    during: Vec<Window>,
    /// Seconds.
    reloads: Vec<f64>,
}

/// The packet rate of a window.
struct Window {
    /// Packets a second.
    rate: f64,
    /// Packets for each second that the generator and the filter had their processor, without the
    /// time that other programs had it.
    rate_while_running: f64,
}

fn reload(
    lab: &Lab,
    attached: &Attached<'_>,
    cpu: usize,
    generator: ClockId,
    rulesets: [&Path; 2],
) -> Result<Timed> {
    pin_to(cpu)?;
    let counters = lab.device.enter(InterfaceCounters::open)?;
    let mut windows = Windows::start(counters, generator)?;
    windows.cut_for(WARM_UP)?;
    windows.cut.clear();
    windows.cut_for(QUIET)?;
    let quiet = std::mem::take(&mut windows.cut);

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let cutting = scope.spawn(|| -> std::result::Result<Vec<Window>, String> {
            while !done.load(Ordering::Relaxed) {
                windows.cut_for(WINDOW).map_err(|error| error.to_string())?;
            }
            Ok(windows.cut)
        });
        let reloads = (0..RELOADS).map(|turn| {
            let path = text(rulesets[turn % 2])?;
            Ok(attached.xdpctl(&["reload", GUEST, "-c", path])?.seconds)
        });
        let reloads: Result<Vec<f64>> = reloads.collect();
        done.store(true, Ordering::Relaxed);
        let during = cutting.join().map_err(|_| "the thread that cuts windows panicked")??;
        Ok(Timed { quiet, during, reloads: reloads? })
    })
}

/// Cuts the time into windows. The length of each is measured, so that a thread that wakes up late
/// does not look like packets that came late.
struct Windows {
    counters: InterfaceCounters,
    generator: ClockId,
    at: Instant,
    ran: Duration,
    packets: u64,
    cut: Vec<Window>,
}

impl Windows {
    fn start(mut counters: InterfaceCounters, generator: ClockId) -> Result<Self> {
        // Frames begin to come when the test run does.
        let mut packets = counters.received(GUEST)?;
        let first = packets;
        let deadline = Instant::now() + Duration::from_secs(10);
        while packets == first {
            if Instant::now() > deadline {
                return Err("no frame came in within ten seconds".into());
            }
            thread::sleep(Duration::from_millis(1));
            packets = counters.received(GUEST)?;
        }
        let ran = clock_gettime(generator)?.into();
        Ok(Self { counters, generator, at: Instant::now(), ran, packets, cut: Vec::new() })
    }

    fn cut_for(&mut self, time: Duration) -> Result<()> {
        let until = self.at + time;
        while self.at < until {
            let end = self.at + WINDOW;
            thread::sleep(end.saturating_duration_since(Instant::now()));
            let packets = self.counters.received(GUEST)?;
            let (at, ran) = (Instant::now(), Duration::from(clock_gettime(self.generator)?));
            let came = (packets - self.packets) as f64;
            self.cut.push(Window {
                rate: came / (at - self.at).as_secs_f64(),
                rate_while_running: came / (ran - self.ran).as_secs_f64(),
            });
            (self.at, self.ran, self.packets) = (at, ran, packets);
        }
        Ok(())
    }
}

fn figures(run: Run, timed: &Timed, [before, after]: [&Value; 2]) -> Result<Vec<Figure>> {
    let of = |group: &str, name: &str| -> Result<u64> {
        let packets = |sample: &Value| sample[group][name]["packets"].as_u64();
        let (before, after) = (packets(before), packets(after));
        Ok(after.ok_or("no such counter")? - before.ok_or("no such counter")?)
    };
    let right = of("verdicts", "drop")?.min(of("reasons", "blocklist")?);
    let misjudged = run.arrived.abs_diff(right);
    let rates = |windows: &[Window]| windows.iter().map(|window| window.rate).collect::<Vec<_>>();
    let running =
        |windows: &[Window]| windows.iter().map(|w| w.rate_while_running).collect::<Vec<_>>();
    let quiet = median(&rates(&timed.quiet));
    let worst_of = |windows: &[f64], usual: &[f64]| least(windows) / median(usual);
    let name = |what: &str| format!("{RELOADS} reloads under full load: {what}");
    Ok(vec![
        Figure::new(name("packets judged"), run.arrived as f64, "").at_least(LEAST_PACKETS),
        Figure::new(name("packets misjudged"), misjudged as f64, "").at_most(0.0),
        Figure::new(name("packets a second, before"), quiet, "/s"),
        Figure::new(
            name("worst 50 ms window to the median before"),
            worst_of(&rates(&timed.during), &rates(&timed.quiet)),
            "x",
        )
        .at_least(0.75),
        Figure::new(
            name("the same by processor time"),
            worst_of(&running(&timed.during), &running(&timed.quiet)),
            "x",
        ),
        Figure::new(
            name("worst window before, to the median"),
            worst_of(&rates(&timed.quiet), &rates(&timed.quiet)),
            "x",
        ),
        Figure::new(name("a reload, median"), median(&timed.reloads), "s"),
    ])
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
