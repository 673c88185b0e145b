//! The processor time that packets take, on the one processor on which everything runs.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

/// Counts the time of this thread and of the processor's ksoftirqd. The kernel hands packets to
/// ksoftirqd when the thread has kept the processor for long, and without its time these would seem
/// to be free.
pub struct Clock {
    pub cpu: usize,
    ksoftirqd: Option<PathBuf>,
}

impl Clock {
    /// Pins the calling thread, to the last processor that it may use if none is given.
    pub fn pin(cpu: Option<usize>) -> Result<Self> {
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this)?;
        let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        let cpu = cpu.or(last).ok_or("no processor to run on")?;
        pin_to(cpu)?;
        // Other processes spoil the caches as often as they get the processor. Best effort: the
        // figures are noisier without.
        // SAFETY: setpriority takes numbers alone.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        Ok(Self { cpu, ksoftirqd: find_ksoftirqd(cpu)? })
    }

    pub fn now(&self) -> Result<Duration> {
        let thread = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
        let Some(path) = &self.ksoftirqd else { return Ok(thread) };
        let text = fs::read_to_string(path)?;
        let ran = text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
        Ok(thread + Duration::from_nanos(ran.unwrap_or(0)))
    }
}

/// Keeps the calling thread, and what it starts from now on, on one processor.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &only)
        .map_err(|error| format!("processor {cpu}: {error}").into())
}

/// Some processor beside this one, if the machine has another.
pub fn other_than(cpu: usize) -> Option<usize> {
    let online = fs::read_to_string("/proc/cpuinfo").ok()?;
    let numbers = online.lines().filter_map(|line| {
        line.strip_prefix("processor")?.split_once(':')?.1.trim().parse::<usize>().ok()
    });
    numbers.into_iter().find(|&number| number != cpu)
}

/// Where the processor's ksoftirqd says how long it ran; `None` where it is out of sight, as in
/// a container.
fn find_ksoftirqd(cpu: usize) -> io::Result<Option<PathBuf>> {
    let name = format!("ksoftirqd/{cpu}\n");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Processes come and go while they are looked through.
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name) {
            let times = path.join("schedstat");
            return Ok(times.exists().then_some(times));
        }
    }
    Ok(None)
}
