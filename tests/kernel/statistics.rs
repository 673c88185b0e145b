//! `stats` as a process: its samples, its end, its terminal.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;

use crate::lab::Sample;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::udp4;
use crate::lab::patience::EVENT;

const TIMEOUT: Duration = EVENT;
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.1.0.0/16\"]");
    bench
}

#[test]
fn as_many_samples_as_asked_for() {
    let bench = attached();
    let args = ["stats", "--json", "--count", "3", "--interval", "100ms"];
    let mut following = bench.lab().spawn_xdpctl("dut", args);
    following.lines(1, TIMEOUT);
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    let output = following.wait(TIMEOUT).expect("it ends");
    let samples: Vec<Sample> = output.success().stdout.lines().map(Sample::parse).collect();
    assert_eq!(samples.len(), 3, "{}", output.stdout);
    assert_eq!(output.stderr, "");
    let seen: Vec<u64> = samples.iter().map(|sample| sample.total().packets).collect();
    assert!(seen.is_sorted() && seen[0] == 0, "{seen:?}");
    assert!(samples.is_sorted_by(|one, other| one.time < other.time), "{}", output.stdout);

    // All interfaces: an object each.
    let file = bench.directory().join("in0.toml");
    bench.xdpctl(["attach", "out0", "-c", file.to_str().expect("UTF-8")]).success();
    let both = bench.xdpctl(["stats", "--once", "--json"]);
    let names: Vec<String> =
        both.success().stdout.lines().map(|line| Sample::parse(line).interface).collect();
    assert_eq!(names, ["in0", "out0"]);
    bench.xdpctl(["stats", "out0", "--count", "1"]).success();
}

#[test]
fn plain_lines_into_a_pipe() {
    let bench = attached();
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    bench.await_count(1);
    let output = bench.xdpctl(["stats", "--count", "2", "--interval", "10ms"]);
    let text = &output.success().stdout;
    assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("in0")).count(), 2, "{text}");
    assert!(text.contains("bad"), "{text}");
}

#[test]
fn it_ends_with_its_reader() {
    let bench = attached();
    for options in [&["--json"][..], &[]] {
        let mut command = bench.lab().xdpctl_command("dut", ["stats", "--interval", "10ms"]);
        command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().expect("runs"));
        let mut pipe = child.0.stdout.take().expect("a pipe");
        let mut some = [0; 64];
        assert!(pipe.read(&mut some).expect("read") > 0);
        drop(pipe);
        assert_eq!(wait(&mut child.0), Some(0), "{options:?}");
        let mut said = String::new();
        child.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("read");
        assert_eq!(said, "");
    }
    // The whole of it, as a shell does it.
    let mut shell = bench.lab().command("dut", "sh");
    shell.args(["-c", "\"$0\" stats | head -1", env!("CARGO_BIN_EXE_xdpctl")]);
    let mut shell = crate::lab::Background::start(shell);
    let output = shell.wait(TIMEOUT).expect("it ends");
    assert_eq!(output.success().stdout.lines().count(), 1, "{}", output.stdout);
    assert_eq!(output.stderr, "");
}

#[test]
fn interrupted_in_a_pipe() {
    let bench = attached();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // Long enough that only the signal can have ended it.
        let args = ["stats", "--json", "--interval", "1h"];
        let mut following = bench.lab().spawn_xdpctl("dut", args);
        following.lines(1, TIMEOUT);
        following.signal(signal);
        let output = following.wait(TIMEOUT).expect("it ends");
        output.success();
        assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""), "{signal}");
    }
}

/// Killed on drop.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exit status; `None` where a signal ended it or nothing did.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.code();
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

/// A command on a terminal of its own.
struct OnTerminal {
    child: Guard,
    master: File,
    /// Held so that its attributes can still be asked for when the command has ended.
    slave: OwnedFd,
    shown: String,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let slave = || pty.slave.try_clone().expect("dup");
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = Guard(command.spawn().expect("runs"));
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("fcntl");
        Self { child, master: pty.master.into(), slave: pty.slave, shown: String::new() }
    }

    /// Reads what is shown until that is `enough`.
    #[track_caller]
    fn read_until(&mut self, enough: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !enough(&self.shown) {
            assert!(Instant::now() < deadline, "shown so far: {:?}", self.shown);
            let mut bytes = [0; 4096];
            match self.master.read(&mut bytes) {
                Ok(length) => self.shown.push_str(&String::from_utf8_lossy(&bytes[..length])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}; shown so far: {:?}", self.shown),
            }
        }
    }
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let bench = attached();
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    bench.await_count(1);
    let mut command = bench.lab().xdpctl_command("dut", ["stats", "--interval", "50ms"]);
    command.env("TERM", "xterm");
    let mut terminal = OnTerminal::start(command);
    let before = tcgetattr(&terminal.slave).expect("attributes");
    // Drawn twice, in place.
    terminal.read_until(|shown| shown.matches(HIDE_CURSOR).count() >= 2);
    assert!(terminal.shown.contains("\x1b["), "{:?}", terminal.shown);
    let up = terminal
        .shown
        .split("\x1b[")
        .any(|part| part.split_once('A').is_some_and(|(rows, _)| rows.parse::<u32>().is_ok()));
    assert!(up, "not drawn in place: {:?}", terminal.shown);
    assert!(terminal.shown.contains("in0") && terminal.shown.contains("bad"));
    assert!(!terminal.shown.contains(SHOW_CURSOR));

    let process = Pid::from_raw(terminal.child.0.id().try_into().expect("a process id"));
    kill(process, Signal::SIGINT).expect("a signal");
    assert_eq!(wait(&mut terminal.child.0), Some(0));
    terminal.read_until(|shown| shown.ends_with(SHOW_CURSOR));
    let (hidden, shown) = (terminal.shown.rfind(HIDE_CURSOR), terminal.shown.rfind(SHOW_CURSOR));
    assert!(hidden < shown, "{:?}", terminal.shown);
    assert_eq!(tcgetattr(&terminal.slave).expect("attributes"), before);
    // What comes next begins on a line of its own.
    let last = terminal.shown.trim_end_matches(SHOW_CURSOR);
    assert!(last.ends_with('\n') || last.ends_with("\x1b[J"), "{last:?}");
}

/// The interface is taken away from under it.
#[test]
fn detached_meanwhile() {
    let bench = attached();
    let mut command = bench.lab().xdpctl_command("dut", ["stats", JUDGED, "--interval", "20ms"]);
    command.env("TERM", "xterm");
    let mut terminal = OnTerminal::start(command);
    terminal.read_until(|shown| shown.contains("in0"));
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(wait(&mut terminal.child.0), Some(1));
    terminal.read_until(|shown| shown.contains("xdpctl is not attached to in0"));
    // The cursor is back before anything is said.
    let (shown, said) = (terminal.shown.rfind(SHOW_CURSOR), terminal.shown.rfind("error: "));
    assert!(shown < said && shown.is_some(), "{:?}", terminal.shown);
}

/// On a terminal that knows no control codes, samples are lines.
#[test]
fn a_dumb_terminal_gets_no_control_codes() {
    let bench = attached();
    let args = ["stats", "--interval", "50ms", "--count", "2"];
    let mut command = bench.lab().xdpctl_command("dut", args);
    command.env("TERM", "dumb");
    let mut terminal = OnTerminal::start(command);
    terminal.read_until(|shown| shown.matches("in0: native mode").count() == 2);
    assert!(!terminal.shown.contains('\u{1b}'), "{:?}", terminal.shown);
    // Messages have no colours there either.
    let mut command = bench.lab().xdpctl_command("dut", ["stats", "nope0"]);
    command.env("TERM", "dumb");
    let mut terminal = OnTerminal::start(command);
    terminal.read_until(|shown| shown.contains("error: no interface"));
    assert!(!terminal.shown.contains('\u{1b}'), "{:?}", terminal.shown);
}

/// Its counters are still there, and stand still.
#[test]
fn an_interface_that_goes_is_told() {
    let bench = attached();
    bench.lab().ip("dut", ["link", "delete", JUDGED]);
    let said = bench.xdpctl(["stats", JUDGED, "--once"]);
    assert!(
        said.success().stdout.starts_with("in0 (not on it any more): native"),
        "{}",
        said.stdout
    );
}

#[test]
fn what_counted_nothing_is_left_out() {
    let bench = attached();
    let quiet = bench.xdpctl(["stats", "--once"]).success().stdout.clone();
    let all = bench.xdpctl(["stats", "--once", "--all"]).success().stdout.clone();
    assert!(all.contains("bad") && !quiet.contains("bad"), "{quiet}{all}");
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    bench.await_count(1);
    let moved = bench.xdpctl(["stats", "--once"]).success().stdout.clone();
    assert!(moved.contains("bad"), "{moved}");
}
