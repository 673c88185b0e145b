//! A program, which says by its exit status whether a backend is up.

use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdout, Command};

use super::fault::{Fault, said, shown};
use crate::agent::health::plan::Target;
use crate::notation::plain;

/// Bytes of a program's output that are kept.
const KEPT: usize = 4 << 10;
/// How long to wait for the rest of its output, once it has ended.
const REST: Duration = Duration::from_millis(20);

pub(super) async fn check(
    command: &[String],
    target: &Target,
    mark: Option<u32>,
) -> Result<(), Fault> {
    let [program, arguments @ ..] = command else {
        return Err(Fault::unknown("there is no program to run"));
    };
    let cannot = |what: &str, error: &io::Error| {
        Fault::unknown(format!("cannot {what} {}: {}", plain(program), said(error)))
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("XDPCTL_SERVICE", &target.service)
        .env("XDPCTL_BACKEND", &target.backend)
        .env("XDPCTL_ADDRESS", target.place().ip().to_string())
        .env("XDPCTL_BACKEND_ADDRESS", target.address.to_string())
        .env("XDPCTL_PORT", target.port.to_string())
        .envs(mark.map(|mark| ("XDPCTL_CHECK_MARK", mark.to_string())))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own: what it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot("run", &error))?;
    let mut group = Group(child.id());
    let mut output = Vec::new();
    let status = {
        let mut reading = pin!(read(child.stdout.take(), &mut output));
        let (status, is_read) = tokio::select! {
            biased;
            // What it started may hold its output open: its own end is what counts.
            status = child.wait() => (status, false),
            () = &mut reading => (child.wait().await, true),
        };
        // The kernel may give its number to another process from now on.
        group.0 = None;
        if !is_read {
            let _ = tokio::time::timeout(REST, reading).await;
        }
        status
    };
    let status = status.map_err(|error| cannot("wait for", &error))?;
    if status.success() {
        return Ok(());
    }
    let said = match shown(&output) {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    };
    Err(Fault::failed(format!("{} ended with {status}{said}", plain(program))))
}

/// Reads all output, and keeps the first of it.
async fn read(stdout: Option<ChildStdout>, kept: &mut Vec<u8>) {
    let Some(mut stdout) = stdout else { return };
    let mut buffer = [0; KEPT];
    while let Ok(length @ 1..) = stdout.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// The processes of a check, which are killed when this is dropped: when the check's time is over,
/// or nobody wants to know any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1);
        if let Some(leader) = leader {
            // The program may have ended just now; nobody has waited for it yet, so the number is
            // its.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}
