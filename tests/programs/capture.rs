//! `capture` read back by the programs that captures are made for.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

const RULESET: &str = r#"
    [[blocklist]]
    name = "spamhaus"
    prefixes = ["203.0.113.0/24"]
"#;
/// What tshark is asked for, and a comment in each line that it prints.
const FIELDS: [&str; 8] =
    ["-T", "fields", "-e", "ip.src", "-e", "frame.len", "-e", "frame.comment"];
const BLOCKED: &str = "203.0.113.9\t142\txdpctl: drop blocklist spamhaus 203.0.113.0/24";
const PASSED: &str = "10.0.0.1\t142\txdpctl: pass default";

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(RULESET);
    bench
}

fn send(bench: &Bench) {
    for source in ["203.0.113.9", "10.0.0.1"] {
        let frame = udp4(source, "192.0.2.1", 4000, 53).payload(&[7; 100]);
        bench.port("src0").send(&frame.build());
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args);
    let output = Background::start(command).wait(EVENT).expect("it ends");
    output.success();
    output
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn tshark_tcpdump_and_capinfos_read_a_file() {
    let bench = attached();
    let file = bench.directory().join("capture.pcapng");
    let file = file.to_str().expect("UTF-8");
    let args = ["capture", JUDGED, "-w", file, "--count", "2", "--snaplen", "60"];
    let mut following = bench.lab().spawn_xdpctl("dut", args);
    await_said(&following, "capturing on");
    send(&bench);
    following.wait(EVENT).expect("it ends").success();

    let shown = run("tshark", &[&["-r", file][..], &FIELDS].concat());
    assert_eq!(shown.stdout.lines().collect::<Vec<_>>(), [BLOCKED, PASSED]);
    let narrow = [&["-r", file, "-Y", "frame.comment contains \"spamhaus\""][..], &FIELDS].concat();
    assert_eq!(run("tshark", &narrow).stdout.lines().collect::<Vec<_>>(), [BLOCKED]);

    let shown = run("tcpdump", &["-n", "-r", file]);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
    assert!(shown.stdout.contains("203.0.113.9.4000 > 192.0.2.1.53"), "{}", shown.stdout);

    let told = run("capinfos", &["-M", file]).stdout;
    for line in [
        "Number of packets:   2",
        "Packet size limit:   inferred: 60 bytes",
        "Name = in0",
        "Time precision = nanoseconds (9)",
        "Capture application: xdpctl",
        "Number of stat entries = 1",
    ] {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
}

/// Each frame is handed on at once.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn tshark_and_tcpdump_read_it_as_it_is_written() {
    let bench = attached();
    for (reader, expected) in [
        (format!("tshark -l -r - {}", FIELDS.join(" ")), "spamhaus 203.0.113.0/24"),
        ("tcpdump -l -n -r -".to_owned(), "203.0.113.9.4000 > 192.0.2.1.53"),
    ] {
        let mut shell = bench.lab().command("dut", "sh");
        let line = format!("\"$0\" capture {JUDGED} -w - --count 4 | {reader}");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_xdpctl")]);
        let mut shell = Background::start(shell);
        await_said(&shell, "capturing on");
        send(&bench);
        let lines = shell.lines(2, EVENT);
        assert!(lines.iter().any(|line| line.contains(expected)), "{reader}: {lines:?}");
        assert!(shell.is_running(), "{reader}");
        send(&bench);
        let output = shell.wait(EVENT).expect("it ends");
        assert_eq!(output.success().stdout.lines().count(), 4, "{}", output.stdout);
    }
}

/// Ctrl-C goes to both ends of a pipe, and either may end first.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn an_interrupted_capture_is_whole() {
    let bench = attached();
    let file = bench.directory().join("capture.pcapng");
    let file = file.to_str().expect("UTF-8");
    let mut following = bench.lab().spawn_xdpctl("dut", ["capture", JUDGED, "-w", file]);
    await_said(&following, "capturing on");
    send(&bench);
    following.signal(Signal::SIGINT);
    following.wait(EVENT).expect("it ends").success();
    let shown = run("tshark", &[&["-r", file][..], &FIELDS].concat());
    assert!(!shown.stderr.contains("cut short"), "{}", shown.stderr);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
}

#[track_caller]
fn await_said(capture: &Background, text: &str) {
    let deadline = Instant::now() + patient(EVENT);
    while !capture.stderr().contains(text) {
        assert!(Instant::now() < deadline, "{text:?} is not in {:?}", capture.stderr());
        thread::sleep(Duration::from_millis(1));
    }
}
