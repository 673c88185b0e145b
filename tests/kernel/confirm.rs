//! An attachment that waits to be confirmed: confirmed, it stays; otherwise it ends with its
//! command, however that ends.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::patient;
use crate::lab::{Background, Output};

/// Longer than any test takes, where the time must not run out.
const LONG: &str = "1h";
const PATIENCE: Duration = Duration::from_secs(60);

fn written(bench: &Bench) -> String {
    bench.write("in0.toml", "[policy]\ndefault = \"drop\"\n").to_str().expect("UTF-8").to_owned()
}

fn args<'a>(file: &'a str, life: &'a str) -> [&'a str; 8] {
    ["attach", JUDGED, "-c", file, "--mode", "native", "--confirm", life]
}

/// Attaches, and leaves the command waiting for its confirmation.
fn pending(bench: &Bench) -> Background {
    let file = written(bench);
    let waiting = bench.lab().spawn_xdpctl("dut", args(&file, LONG));
    let lines = waiting.lines(2, PATIENCE);
    assert_eq!(lines[0], "attached to in0 in native mode, generation 1");
    assert_eq!(lines[1], "`xdpctl confirm in0` keeps it, within 1h; else it is taken off again");
    assert!(carries(bench));
    waiting
}

/// Whether the kernel has a program on the interface.
fn carries(bench: &Bench) -> bool {
    let told = bench.lab().ip("dut", ["-json", "link", "show", "dev", JUDGED]).json();
    told[0]["xdp"].is_object()
}

/// Waits until the kernel has taken the program off: a killed command may be gone before that.
#[track_caller]
fn is_taken_off(bench: &Bench) {
    let deadline = Instant::now() + patient(PATIENCE);
    while carries(bench) {
        assert!(Instant::now() < deadline, "the program is on its interface still");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(bench.xdpctl(["status", "--json"]).json(), serde_json::json!([]));
}

#[track_caller]
fn nothing_left(bench: &Bench) {
    is_taken_off(bench);
    assert!(bench.lab().kept("dut").is_empty(), "{:?}", bench.lab().kept("dut"));
}

#[track_caller]
fn ended(waiting: &mut Background, status: i32, told: &str) -> Output {
    let output = waiting.wait(PATIENCE).expect("it ends");
    output.expect_status(status);
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(all.contains(told), "{told:?} is not in {all}");
    output
}

#[test]
fn confirmed_from_elsewhere_it_stays() {
    let bench = Bench::new();
    let mut waiting = pending(&bench);
    // It is attached as any other is, and status says that it waits.
    let status = bench.xdpctl(["status", JUDGED, "--json"]);
    status.expect_status(1);
    let status = status.json();
    let problem = status[0]["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("not confirmed: it is taken off in "), "{problem}");
    assert!(problem.ends_with(" unless `xdpctl confirm in0` keeps it"), "{problem}");
    bench.xdpctl(["reload", JUDGED]).success();
    bench.xdpctl(["block", JUDGED, "192.0.2.1"]).success();
    let again = bench.xdpctl(["attach", JUDGED, "-c", &written(&bench)]);
    again.expect_status(1);
    assert!(again.stderr.contains("attached to in0 already"), "{}", again.stderr);

    let replaced = bench.xdpctl(["attach", JUDGED, "--replace"]);
    replaced.expect_status(1);
    assert!(replaced.stderr.contains("waits to be confirmed"), "{}", replaced.stderr);

    let confirmed = bench.xdpctl(["confirm", JUDGED]);
    assert_eq!(confirmed.success().stdout, "confirmed in0: it stays attached\n");
    ended(&mut waiting, 0, "confirmed in0: it stays attached");
    assert!(carries(&bench));
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    assert_eq!(
        (&status[0]["problems"], &status[0]["generation"]),
        (&serde_json::json!([]), &2.into())
    );
    assert_eq!(status[0]["entries"]["bans"], 1);
    // There is nothing more to confirm, neither here nor where nothing is attached.
    let more = bench.xdpctl(["confirm", JUDGED]);
    more.expect_status(1);
    assert!(more.stderr.contains("nothing on in0 waits to be confirmed"), "{}", more.stderr);
    let other = bench.xdpctl(["confirm", "out0"]);
    other.expect_status(1);
    assert!(other.stderr.contains("xdpctl is not attached to out0"), "{}", other.stderr);
    bench.xdpctl(["detach", JUDGED]).success();
    nothing_left(&bench);
}

#[test]
fn when_the_time_is_over_it_is_taken_off() {
    let bench = Bench::new();
    let file = written(&bench);
    let output = bench.xdpctl(args(&file, "200ms"));
    output.expect_status(1);
    let told = "in0 was not confirmed within 200ms: it is detached again";
    assert!(output.stderr.contains(told), "{}", output.stderr);
    nothing_left(&bench);
}

#[test]
fn signals_take_it_off() {
    let bench = Bench::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut waiting = pending(&bench);
        // A signal that would stop the process does not stop its clock.
        waiting.signal(Signal::SIGTSTP);
        waiting.signal(signal);
        ended(&mut waiting, 1, "stopped before in0 was confirmed: it is detached again");
        nothing_left(&bench);
    }
}

/// With no process left to take it off, the kernel does, and the next command removes the pins.
#[test]
fn killed_it_is_taken_off() {
    let bench = Bench::new();
    let mut waiting = pending(&bench);
    // A command that looks at it does not keep it attached.
    let stats = bench.lab().spawn_xdpctl("dut", ["stats", JUDGED, "--json", "--interval", "50ms"]);
    stats.lines(2, PATIENCE);
    waiting.signal(Signal::SIGKILL);
    waiting.wait(PATIENCE).expect("it is dead");
    is_taken_off(&bench);
    drop(stats);
    assert!(!bench.lab().kept("dut").is_empty(), "nothing was left to remove");
    let confirmed = bench.xdpctl(["confirm", JUDGED]);
    confirmed.expect_status(1);
    assert!(confirmed.stderr.contains("not attached to in0"), "{}", confirmed.stderr);
    nothing_left(&bench);
    // The interface is free again.
    let mut waiting = pending(&bench);
    bench.xdpctl(["confirm", JUDGED]).success();
    ended(&mut waiting, 0, "confirmed in0");
}

#[test]
fn detached_by_another_command_it_is_gone() {
    let bench = Bench::new();
    let mut waiting = pending(&bench);
    bench.xdpctl(["detach", JUDGED]).success();
    ended(&mut waiting, 1, "in0 was detached before it was confirmed");
    nothing_left(&bench);
}

/// Confirmed and killed at the same instant, it either stays, if the confirmation succeeded, or is
/// gone.
#[test]
fn a_confirmation_that_meets_the_end_is_all_or_nothing() {
    let bench = Bench::new();
    for delay in 0..8 {
        let mut waiting = pending(&bench);
        let mut confirm = bench.lab().spawn_xdpctl("dut", ["confirm", JUDGED]);
        thread::sleep(Duration::from_millis(3 * delay));
        waiting.signal(Signal::SIGKILL);
        waiting.wait(PATIENCE).expect("it is dead");
        let confirmed = confirm.wait(PATIENCE).expect("it ends").status == 0;
        if confirmed {
            assert!(carries(&bench), "it was confirmed");
            bench.xdpctl(["detach", JUDGED]).success();
        }
        bench.xdpctl(["detach", JUDGED]).expect_status(1);
        nothing_left(&bench);
    }
}

/// A command with a terminal of its own, which hangs up when `screen` is dropped.
struct Terminal {
    screen: PtyMaster,
    child: Child,
}

impl Terminal {
    fn attach(bench: &Bench) -> Self {
        let file = written(bench);
        // Nobody else may hold it open, neither the command itself nor those of other tests.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let screen = posix_openpt(flags).expect("a terminal");
        grantpt(&screen).expect("grantpt");
        unlockpt(&screen).expect("unlockpt");
        let path = ptsname_r(&screen).expect("its path");
        let slave = open(path.as_str(), flags, Mode::empty()).expect("the other side");
        let end = || Stdio::from(slave.try_clone().expect("dup"));
        let mut command = bench.lab().xdpctl_command("dut", args(&file, LONG));
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: between fork and exec the closure only makes system calls that are
        // async-signal-safe, on descriptor 0, which is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("it starts");
        drop(command);
        drop(slave);
        let mut terminal = Self { screen, child };
        terminal.shows("press Enter to keep it, or say `xdpctl confirm in0` elsewhere, within 1h");
        terminal
    }

    /// Reads until that text is shown.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let mut all = Vec::new();
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&all).contains(text) {
            // EIO: the other side is closed.
            let length = self.screen.read(&mut part).unwrap_or(0);
            let shown = String::from_utf8_lossy(&all).into_owned();
            assert!(length > 0, "{text:?} was not shown: {shown}");
            all.extend_from_slice(&part[..length]);
        }
    }

    fn status(mut self) -> Option<i32> {
        drop(self.screen);
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn enter_keeps_it() {
    let bench = Bench::new();
    let mut terminal = Terminal::attach(&bench);
    terminal.screen.write_all(b"\n").expect("typed");
    terminal.shows("confirmed in0: it stays attached");
    assert_eq!(terminal.status(), Some(0));
    assert!(carries(&bench));
    bench.xdpctl(["detach", JUDGED]).success();
    nothing_left(&bench);
}

#[test]
fn a_terminal_that_hangs_up_takes_it_off() {
    let bench = Bench::new();
    let terminal = Terminal::attach(&bench);
    assert_eq!(terminal.status(), Some(1));
    nothing_left(&bench);
    // By Ctrl-C, typed at the terminal.
    let mut terminal = Terminal::attach(&bench);
    terminal.screen.write_all(b"\x03").expect("typed");
    terminal.shows("stopped before in0 was confirmed");
    assert_eq!(terminal.status(), Some(1));
    nothing_left(&bench);
}
