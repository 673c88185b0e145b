//! `top` in a terminal of its own, which tmux gives it: what is on the screen, what keys do, and
//! what is left of it, whatever ends it.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

const RULESET: &str = r#"
    [[blocklist]]
    name = "spamhaus"
    prefixes = ["203.0.113.0/24"]

    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "pass"

    [[rule]]
    name = "zebra"
    protocol = "udp"
    destination_port = 54
    action = "drop"
"#;
/// The one that sends most, and another one.
const LOUD: &str = "198.51.100.7";
const QUIET: &str = "10.0.0.1";

/// A shell in a terminal of tmux's, in the namespace of the device under test.
struct Pane {
    bench: Bench,
}

impl Pane {
    #[track_caller]
    fn new(columns: u16, rows: u16) -> Self {
        let mut bench = Bench::new();
        bench.attach(RULESET);
        let pane = Self { bench };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // The shell is one that leaves the terminal's modes as a command left them.
        pane.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "/bin/dash",
        ]);
        pane.tmux(&["set-option", "-g", "status", "off"]);
        pane.keys("PS1='ready> '\n");
        pane.await_screen("the shell is there", |screen| screen.trim_end().ends_with("ready>"));
        pane
    }

    /// Runs tmux on a server of this pane's own.
    #[track_caller]
    fn tmux(&self, args: &[&str]) -> Output {
        let output = self.try_tmux(args);
        output.success();
        output
    }

    #[track_caller]
    fn try_tmux(&self, args: &[&str]) -> Output {
        let mut command = self.bench.lab().command("dut", "tmux");
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm").env_remove("TMUX");
        command.arg("-S").arg(self.bench.directory().join("tmux")).args(args);
        Background::start(command).wait(EVENT).expect("tmux ends")
    }

    /// Types text; a line feed is Enter.
    #[track_caller]
    fn keys(&self, text: &str) {
        self.tmux(&["send-keys", "-l", &text.replace('\n', "\r")]);
    }

    /// Runs a command in the shell, and leaves its exit status in a variable.
    #[track_caller]
    fn run(&self, command: &str) {
        self.keys(&format!("{command}\n"));
    }

    fn top(&self, args: &str) {
        self.run(&format!("clear; {} top {JUDGED} {args}; echo \"status=$?\"", binary()));
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).stdout
    }

    /// Whether a program shows its own screen.
    fn is_alternate(&self) -> bool {
        self.value("#{alternate_on}") == "1"
    }

    fn value(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format]).stdout.trim().to_owned()
    }

    /// Sends some frames from both sources.
    fn send(&self) {
        let port = self.bench.port("src0");
        let frame = |source, port: u16| udp4(source, "192.0.2.1", 4000, port).payload(&[7; 100]);
        for _ in 0..20 {
            port.send(&frame(LOUD, 53).build());
        }
        port.send(&frame(QUIET, 54).build());
        port.send(&frame("203.0.113.9", 53).build());
        port.send(&frame("203.0.113.9", 53).build());
    }

    /// Waits until the screen is as it should be; traffic goes on meanwhile.
    #[track_caller]
    fn await_screen(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        self.await_that(what, |pane| {
            pane.send();
            let screen = pane.screen();
            is_so(&screen).then_some(screen)
        })
    }

    #[track_caller]
    fn await_that<T>(&self, what: &str, is_so: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + patient(EVENT);
        loop {
            if let Some(found) = is_so(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "not so: {what}\n{}", self.screen());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The processes of `top`: the one that the shell started, and its child, which draws.
    #[track_caller]
    fn processes(&self) -> [Pid; 2] {
        let shell = self.value("#{pane_pid}").parse().expect("a process id");
        self.await_that("top and its child run", |_| {
            let parent = child_of(shell)?;
            Some([parent, child_of(parent.as_raw())?].map(Pid::from))
        })
    }

    fn bans(&self) -> Vec<Value> {
        let bans = self.bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
        bans.as_array().expect("an array").clone()
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        // Best effort: the test may be panicking.
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.bench.directory().join("tmux")).arg("kill-server");
        let _ = command.output();
    }
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_xdpctl")
}

fn child_of(process: i32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// The line that begins with these words.
fn line<'s>(screen: &'s str, begin: &str) -> Option<&'s str> {
    screen.lines().find(|line| line.trim_start_matches("> ").trim_start().starts_with(begin))
}

/// Whether these words stand one below the other.
fn in_order(screen: &str, words: &[&str]) -> bool {
    let places: Option<Vec<usize>> = words.iter().map(|word| screen.find(word)).collect();
    places.is_some_and(|places| places.is_sorted())
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn rates_are_shown_sorted_and_filtered() {
    let pane = Pane::new(80, 24);
    pane.run("echo before-it");
    pane.top("--interval 200ms");
    pane.await_screen("rates of verdicts, rules and sources", |screen| {
        let rates = |begin| {
            let rate = line(screen, begin)?.split_whitespace().nth(2)?;
            Some(!matches!(rate, "0" | "-"))
        };
        rates("pass") == Some(true)
            && rates("drop") == Some(true)
            && line(screen, "pass").is_some_and(|line| line.contains('█'))
            && in_order(screen, &["rule       dns", "blocklist  spamhaus", "rule       zebra"])
            && in_order(screen, &[LOUD, "203.0.113.9", QUIET])
            && line(screen, "203.0.113.9").is_some_and(|line| line.contains("100%"))
            && screen.contains("SOURCES, sampled 1 in ")
    });
    pane.keys("ss");
    pane.await_screen("sorted by name", |screen| {
        screen.contains("NAME▼") && in_order(screen, &["dns", "spamhaus", "zebra"])
    });
    pane.keys("/ZEB\n");
    pane.await_screen("filtered", |screen| {
        screen.contains("/ZEB") && screen.contains("zebra") && !screen.contains("spamhaus")
    });
    pane.keys(" ");
    let paused = pane.await_screen("paused", |screen| screen.contains("PAUSED"));
    pane.send();
    assert_eq!(pane.screen(), paused);
    pane.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    pane.await_screen("made small", |screen| {
        screen.contains("PAUSED") && screen.lines().all(|line| line.chars().count() <= 40)
    });
    pane.keys("q");
    pane.await_screen("ended", |screen| screen.contains("status=0\nready>"));
    assert!(!pane.is_alternate());
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_selected_source_is_blocked() {
    let pane = Pane::new(100, 30);
    pane.top("--interval 200ms");
    pane.await_screen("sources", |screen| in_order(screen, &[LOUD, QUIET]));
    pane.keys("jb");
    pane.await_screen("asked", |screen| {
        screen.contains("block 198.51.100.7 on in0 for 10 minutes?")
    });
    pane.keys("n");
    pane.await_screen("not blocked", |screen| screen.contains("198.51.100.7 was not blocked"));
    assert!(pane.bans().is_empty());
    pane.keys("by");
    pane.await_screen("blocked", |screen| {
        screen.contains("blocked 198.51.100.7/32 on in0 for 10m")
    });
    let bans = pane.bans();
    assert_eq!(bans.len(), 1, "{bans:?}");
    let ban = &bans[0];
    assert_eq!(
        (&ban["prefix"], &ban["kind"], &ban["owner"]),
        (&"198.51.100.7/32".into(), &"block".into(), &"top".into())
    );
    assert!((1..=600).contains(&ban["expires_in_seconds"].as_u64().expect("it ends")), "{ban}");
    pane.await_screen("what it sends is dropped", |screen| {
        line(screen, LOUD).is_some_and(|line| line.contains("100%"))
    });
    // An allowlist lets it in all the same, as `block` says.
    let mut configuration = String::from("[[allowlist]]\nname = \"friends\"\n");
    configuration.push_str("prefixes = [\"198.51.100.0/24\"]\n");
    let path = pane.bench.write("in0.toml", &configuration);
    let path = path.to_str().expect("UTF-8");
    pane.bench.xdpctl(["reload", JUDGED, "-c", path]).success();
    pane.keys("by");
    pane.await_screen("warned", |screen| screen.contains("allowlist \"friends\" 198.51.100.0/24"));
    // Ctrl-C ends it as q does.
    pane.tmux(&["send-keys", "C-c"]);
    pane.await_screen("ended", |screen| screen.contains("status=0\nready>"));
}

/// The terminal's modes, the screen and the cursor are as before, whichever of the two processes a
/// signal ends.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_terminal_is_as_it_was_whatever_ends_it() {
    let pane = Pane::new(80, 24);
    let modes = |name: &str| {
        let path = pane.bench.directory().join(name);
        pane.run(&format!("stty -a > {0}.part; mv {0}.part {0}", path.display()));
        pane.await_that("the modes are known", |_| fs::read_to_string(&path).ok())
    };
    let before = modes("before");
    for (number, (of_child, signal, status)) in [
        (false, Signal::SIGTERM, Some(0)),
        (false, Signal::SIGHUP, Some(0)),
        (false, Signal::SIGQUIT, Some(0)),
        (true, Signal::SIGTERM, Some(0)),
        (true, Signal::SIGKILL, Some(1)),
        (true, Signal::SIGABRT, Some(1)),
        // What the shell says of it may be on the screen that is left a moment later.
        (false, Signal::SIGKILL, None),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{signal} to the {}", if of_child { "child" } else { "parent" });
        pane.top("");
        pane.await_screen(&what, |screen| screen.contains("VERDICT"));
        assert!(pane.is_alternate() && pane.value("#{cursor_flag}") == "0", "{what}");
        let processes = pane.processes();
        kill(processes[usize::from(of_child)], signal).expect("a process");
        if let Some(status) = status {
            let told = format!("status={status}\n");
            pane.await_screen(&what, |screen| screen.contains(&told));
        }
        pane.await_that(&what, |pane| {
            (!pane.is_alternate() && pane.value("#{cursor_flag}") == "1").then_some(())
        });
        for process in processes {
            pane.await_that(&what, |_| kill(process, None).is_err().then_some(()));
        }
        assert_eq!(modes(&format!("after-{number}")), before, "{what}");
        let said = pane.screen().contains("error: the process that draws was ended by SIG");
        assert_eq!(said, status == Some(1), "{what}\n{}", pane.screen());
    }
}

/// A terminal that is closed ends both processes.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_terminal_that_is_closed_ends_it() {
    let pane = Pane::new(80, 24);
    pane.top("");
    pane.await_screen("it runs", |screen| screen.contains("VERDICT"));
    let processes = pane.processes();
    pane.tmux(&["kill-server"]);
    let deadline = Instant::now() + patient(EVENT);
    while processes.iter().any(|process| kill(*process, None).is_ok()) {
        assert!(Instant::now() < deadline, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn without_a_place_for_a_capture_the_rest_is_shown() {
    let pane = Pane::new(80, 24);
    let captures = [0, 1]
        .map(|_| pane.bench.lab().spawn_xdpctl("dut", ["capture", JUDGED, "--sample", "1000"]));
    for capture in &captures {
        pane.await_that("it captures", |_| capture.stderr().contains("capturing").then_some(()));
    }
    pane.top("--interval 200ms");
    pane.await_screen("rates without sources", |screen| {
        screen.contains("not sampled: two captures run on in0 already")
            && line(screen, "pass").is_some_and(|line| line.contains('█'))
    });
    // As soon as one ends, there are sources.
    drop(captures.into_iter().next());
    pane.await_screen("sources", |screen| {
        screen.contains("SOURCES, sampled 1 in") && screen.contains(LOUD)
    });
    pane.keys("q");
    pane.await_screen("ended", |screen| screen.contains("status=0\n"));
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn it_goes_on_over_a_replaced_program_and_ends_with_the_attachment() {
    let pane = Pane::new(80, 24);
    pane.top("--interval 200ms");
    pane.await_screen("sources", |screen| screen.contains(LOUD));
    let path = pane.bench.directory().join("in0.toml");
    let path = path.to_str().expect("UTF-8");
    pane.bench.xdpctl(["attach", "--replace", JUDGED, "-c", path]).success();
    pane.await_screen("sources of the new program", |screen| {
        screen.contains("generation 2") && screen.contains(LOUD)
    });
    pane.bench.xdpctl(["detach", JUDGED]).success();
    pane.await_screen("it ends", |screen| {
        screen.contains("error: xdpctl is not attached to in0") && screen.contains("status=1\n")
    });
    assert!(!pane.is_alternate());
}

/// Where nobody would see it, nothing is drawn, and what does without a terminal is named.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn it_is_refused_where_it_cannot_be_drawn() {
    let pane = Pane::new(120, 24);
    let output = pane.bench.xdpctl(["top", JUDGED]);
    output.expect_status(2);
    assert!(output.stdout.is_empty());
    assert!(output.stderr.contains("error: top needs a terminal"), "{}", output.stderr);
    assert!(output.stderr.contains("`xdpctl stats in0`"), "{}", output.stderr);
    for (terminal, told) in [
        ("TERM=dumb", "which a terminal with TERM=dumb does not let it do"),
        ("TERM=", "TERM does not say which terminal this is"),
        ("-u TERM", "TERM does not say which terminal this is"),
    ] {
        pane.run(&format!("clear; env {terminal} {} top {JUDGED}; echo \"status=$?\"", binary()));
        pane.await_screen(terminal, |screen| {
            screen.contains(told)
                && screen.contains("`xdpctl stats in0`")
                && screen.contains("status=2\n")
        });
    }
    pane.run(&format!("clear; {} top nothing0; echo \"status=$?\"", binary()));
    pane.await_screen("told before the screen is taken", |screen| {
        screen.contains("nothing0") && screen.contains("status=1\n")
    });
}
