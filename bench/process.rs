//! A command's time and memory.
//!
//! The kernel counts what a process had in memory before execve(2) as the new program's. A
//! benchmark that holds a million prefixes would add its own size to each command's. So a small
//! process stands between: the benchmark itself, started with [`OPTION`].

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The first argument of the process that stands between; the command follows.
pub const OPTION: &str = "--measure-command";

/// What a command took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// From start to exit.
    pub seconds: f64,
    /// The most that it had in memory at once.
    pub peak_kib: i64,
}

/// Runs a command that has to end well, where the calling thread is.
pub fn measure(program: &str, arguments: &[&str]) -> Result<Cost> {
    let output = Command::new("/proc/self/exe")
        .args([OPTION, program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {}: {}", arguments.join(" "), said.trim_end()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The process that stands between.
pub fn stand_between(command: impl Iterator<Item = OsString>) -> ExitCode {
    match run(command) {
        Ok(cost) => {
            println!("{cost}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut command: impl Iterator<Item = OsString>) -> Result<String> {
    let program = command.next().ok_or("no command")?;
    let start = Instant::now();
    // Standard error goes on to whoever reads this process's.
    let status = Command::new(program).args(command).stdout(Stdio::null()).status()?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(status.to_string().into());
    }
    let peak_kib = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(serde_json::to_string(&Cost { seconds, peak_kib })?)
}
