//! The clock by which run-time entries end: the program's, `bpf_ktime_get_ns`.
//!
//! It is CLOCK_MONOTONIC of the machine. This process may live in a time namespace
//! (time_namespaces(7)), where clock_gettime(2) has another: with that, entries would end at once or
//! never. So the kernel is asked as the program asks it, by a program.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use crate::datapath::error::{Context, Error, Result};
use crate::datapath::program::load::load_clock;
use crate::datapath::sys::bpf;

/// The time in nanoseconds. The first call of a process loads the program.
pub fn now() -> Result<u64> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    let what = "ask for the time by which run-time entries end";
    let program = match PROGRAM.get() {
        Some(program) => program,
        None => {
            let program =
                load_clock().map_err(|error| Error::new(format!("cannot {what}: {error}")))?;
            PROGRAM.get_or_init(|| program)
        }
    };
    ask(program).context(what)
}

fn ask(program: &OwnedFd) -> io::Result<u64> {
    // As long as the shortest frame that the kernel runs a program on, ETH_HLEN.
    let (frame, mut out) = ([0; 14], [0; 14]);
    let run = bpf::run_xdp(program, &frame, None, &mut out)?;
    match out.first_chunk() {
        Some(time) if run.length == frame.len() => Ok(u64::from_le_bytes(*time)),
        _ => Err(io::Error::other("the program gave no time")),
    }
}
