//! Output that nobody reads: a command that waits for its reader does not stop other commands.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::udp4;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A configuration with more warnings than a pipe holds.
fn with_warnings() -> String {
    let prefixes: Vec<String> =
        (1..=2000).map(|n| format!("\"10.1.{}.{}/16\"", n / 250, n % 250 + 1)).collect();
    format!("[[blocklist]]\nname = \"bad\"\nprefixes = [{}]\n", prefixes.join(", "))
}

/// A pipe without room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).expect("set");
    (reader, writer)
}

/// A command that waits for its reader. Killed on drop.
struct Waiting {
    child: Child,
    reader: Option<PipeReader>,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Out = 1,
    Err = 2,
}

impl Waiting {
    #[track_caller]
    fn start(mut command: Command, stream: Stream) -> Self {
        let (reader, writer) = full_pipe();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match stream {
            Stream::Out => command.stdout(writer),
            Stream::Err => command.stderr(writer),
        };
        let child = command.spawn().expect("it runs");
        // The writing end is the command's alone.
        drop(command);
        let mut waiting = Self { child, reader: Some(reader) };
        let deadline = Instant::now() + TIMEOUT;
        while !waiting.is_writing(stream) {
            assert!(Instant::now() < deadline, "it writes nothing to {stream:?}");
            let ended = waiting.child.try_wait().expect("wait");
            assert_eq!(ended, None, "it wrote nothing to {stream:?}");
            thread::sleep(Duration::from_millis(1));
        }
        waiting
    }

    /// Whether it waits in write(2).
    fn is_writing(&self, stream: Stream) -> bool {
        let call = fs::read_to_string(format!("/proc/{}/syscall", self.child.id()));
        let call = call.unwrap_or_default();
        call.starts_with(&format!("{} {:#x} ", libc::SYS_write, stream as u32))
    }

    /// Closes the reading end, after which the command has to end.
    #[track_caller]
    fn let_go(mut self) {
        self.reader = None;
        let deadline = Instant::now() + TIMEOUT;
        while self.child.try_wait().expect("wait").is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_command_is_stopped_by_it() {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.1.0.0/16\"]\n");
    let many = bench.write("many.toml", &with_warnings());
    let many = many.to_str().expect("UTF-8");
    bench.xdpctl(["block", JUDGED, "10.8.0.1", "10.8.0.2"]).success();
    let stopped: [(&[&str], Stream); 10] = [
        (&["bans", JUDGED], Stream::Out),
        (&["bans", JUDGED, "--json"], Stream::Out),
        (&["block", JUDGED, "10.8.0.3"], Stream::Out),
        (&["unblock", JUDGED, "10.8.0.1"], Stream::Out),
        (&["reload", JUDGED], Stream::Out),
        (&["reload", JUDGED, "-c", many], Stream::Err),
        (&["attach", "out0", "-c", many], Stream::Err),
        (&["attach", "--replace", JUDGED, "-c", many], Stream::Err),
        // The verifier's log.
        (&["-vv", "attach", "--replace", JUDGED], Stream::Err),
        (&["detach", "out0"], Stream::Out),
    ];
    for (args, stream) in stopped {
        let waiting = Waiting::start(bench.lab().xdpctl_command("dut", args), stream);
        bench.xdpctl(["block", JUDGED, "10.9.0.1"]).success();
        waiting.let_go();
    }
}

/// Warnings that nobody reads keep no ruleset from coming into force.
#[test]
fn what_was_asked_for_is_done_before_it_is_told() {
    let mut bench = Bench::new();
    bench.attach("");
    let many = bench.write("many.toml", &with_warnings());
    let reload = ["reload", JUDGED, "-c", many.to_str().expect("UTF-8")];
    let waiting = Waiting::start(bench.lab().xdpctl_command("dut", reload), Stream::Err);
    let before = bench.sample();
    assert_eq!(before.generation, 2);
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    let after = bench.await_count(before.total().packets + 1);
    assert_eq!(after.verdicts["drop"].packets, 1);
    waiting.let_go();
}

/// What was done is done, though it cannot be written: so the status is 0, and a warning says it.
#[test]
fn a_full_disk_does_not_undo_it() {
    let mut bench = Bench::new();
    bench.attach("");
    let flush = ["bans", JUDGED, "--flush", "--json"];
    let bans = ["bans", JUDGED, "--json"];
    let status = ["status", "--json"];
    type Change<'a> = (&'a [&'a str], &'a [&'a str], fn(&str) -> bool);
    let changes: [Change<'_>; 10] = [
        (&["reload", JUDGED], &status, |is| is.contains("\"generation\":2")),
        (&["reload", JUDGED, "--json"], &status, |is| is.contains("\"generation\":3")),
        (&["block", JUDGED, "10.8.0.1", "10.8.0.2"], &bans, |is| is.contains("10.8.0.1/32")),
        (&["unblock", JUDGED, "10.8.0.1"], &bans, |is| !is.contains("10.8.0.1/32")),
        (&flush, &bans, |is| is == "[]\n"),
        (&["bypass", JUDGED, "on"], &status, |is| is.contains("\"bypass\":true")),
        (&["bypass", JUDGED, "off"], &status, |is| is.contains("\"bypass\":false")),
        (&["attach", "out0", "-c", "/dev/stdin"], &status, |is| is.contains("\"out0\"")),
        (&["attach", "--replace", JUDGED], &status, |is| is.contains("\"generation\":4")),
        (&["detach", "--all"], &status, |is| is == "[]\n"),
    ];
    let full = || File::options().write(true).open("/dev/full").expect("a full disk");
    for (args, look, is_done) in changes {
        let mut command = bench.lab().xdpctl_command("dut", args);
        let output = command.stdin(Stdio::null()).stdout(full()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        let warning = "warning: it is done, but that cannot be written to the output: No space left on device";
        assert_eq!(said.matches(warning).count(), 1, "{args:?}: {said}");
        let now = bench.xdpctl(look).stdout;
        assert!(is_done(&now), "{args:?}: {now}");
    }
    // What changes nothing fails.
    let mut check = bench.lab().xdpctl_command("dut", ["check", "/dev/stdin"]);
    let output = check.stdin(Stdio::null()).stdout(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
}
