//! What a command does while it holds the lock of its network namespace, and what others do
//! meanwhile.

use std::cell::RefCell;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::shim::{self, Kind};
use crate::lab::Background;
use crate::lab::bench::{Bench, JUDGED};

const TIMEOUT: Duration = Duration::from_secs(60);

const LIST: &str = "[[blocklist]]\nname = \"bad\"\nfiles = [\"bad.list\"]\n";

fn attached() -> Bench {
    let bench = Bench::new();
    bench.write("bad.list", "10.1.0.0/16\n");
    let file = bench.write("in0.toml", LIST);
    bench.xdpctl(["attach", JUDGED, "-c", file.to_str().expect("UTF-8")]).success();
    bench
}

/// Reading files may take long, for example from a server that does not answer.
#[test]
fn configurations_and_lists_are_read_without_it() {
    let bench = attached();
    let file = bench.directory().join("in0.toml");
    let file = file.to_str().expect("UTF-8");
    let commands: [&[&str]; 4] = [
        &["reload", JUDGED],
        &["reload"],
        &["attach", "out0", "-c", file],
        &["attach", "--replace", JUDGED],
    ];
    for args in commands {
        for name in ["in0.toml", "bad.list"] {
            let command = bench.lab().xdpctl_command("dut", args);
            let read = format!("read /tmp/DIR/{name}");
            shim::run_with(command, Kind::Files, &read, || {
                // That takes the lock: it would wait forever for the command that this call holds
                // up.
                bench.xdpctl(["bans", JUDGED, "--flush"]).success();
            })
            .output
            .success();
            if args.contains(&"out0") {
                bench.xdpctl(["detach", "out0"]).success();
            }
        }
    }
}

/// A command that waits names the other command and its process id.
#[test]
fn who_waits_says_for_whom() {
    let bench = attached();
    let waiting = RefCell::new(None);
    let reload = bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    // A ruleset is put in force only under the lock.
    let ran = shim::run_with(reload, Kind::Bpf, "MAP_UPDATE_ELEM RULESET", || {
        if waiting.borrow().is_some() {
            return;
        }
        let block = bench.lab().spawn_xdpctl("dut", ["block", JUDGED, "10.9.0.1"]);
        let said = first_line(&block);
        let holder = said.strip_prefix("note: waiting for xdpctl reload, process ");
        let holder = holder.unwrap_or_else(|| panic!("{said}"));
        let words = fs::read_to_string(format!("/proc/{holder}/cmdline")).expect("it runs");
        assert!(words.contains("\0reload\0"), "{words}");
        waiting.replace(Some(block));
    });
    ran.output.success();
    let block = waiting.borrow_mut().take().and_then(|mut block| block.wait(TIMEOUT));
    let output = block.expect("it ends");
    assert_eq!(output.success().stderr.lines().count(), 1, "{}", output.stderr);
}

/// Who looks waits for nobody.
#[test]
fn looking_takes_no_lock() {
    let bench = attached();
    bench.xdpctl(["block", JUDGED, "10.9.0.1"]).success();
    let mut looked = 0;
    let reload = bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    let ran = shim::run_with(reload, Kind::Bpf, "MAP_UPDATE_ELEM RULESET", || {
        looked += 1;
        let output = bench.xdpctl(["bans", JUDGED]);
        assert_eq!(output.success().stderr, "");
        assert!(output.stdout.contains("10.9.0.1/32"), "{}", output.stdout);
    });
    ran.output.success();
    assert!(looked > 0, "it was not held up");
    // While entries are being put, those before are shown.
    let mut looked = 0;
    let block = bench.lab().xdpctl_command("dut", ["block", JUDGED, "10.9.0.2"]);
    let ran = shim::run_with(block, Kind::Bpf, "MAP_UPDATE_BATCH xdpctl_records", || {
        looked += 1;
        let output = bench.xdpctl(["bans", JUDGED]);
        assert_eq!(output.success().stderr, "");
        assert!(output.stdout.contains("10.9.0.1/32"), "{}", output.stdout);
    });
    ran.output.success();
    assert!(looked > 0, "{:?}", ran.calls);
}

/// This takes the whole time that a command waits.
#[test]
fn who_waits_too_long_gives_up() {
    let bench = attached();
    let mut ended = None;
    let reload = bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    let ran = shim::run_with(reload, Kind::Bpf, "MAP_UPDATE_ELEM RULESET", || {
        ended.get_or_insert_with(|| bench.xdpctl(["block", JUDGED, "10.9.0.1"]));
    });
    ran.output.success();
    let output = ended.expect("it was run");
    let said = &output.expect_status(1).stderr;
    assert!(said.contains("error: waited 30 seconds for xdpctl reload, process "), "{said}");
    assert!(said.contains("\n  hint: run it again when that has ended; "), "{said}");
    let bans = bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
    assert_eq!(bans, serde_json::json!([]));
}

/// The first line that a command writes to standard error.
#[track_caller]
fn first_line(command: &Background) -> String {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some((line, _)) = command.stderr().split_once('\n') {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "it says nothing");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Once an attachment that was being detached was taken for one whose program somebody took off by
/// other means.
#[test]
fn what_is_detached_meanwhile_is_not_attached() {
    let bench = attached();
    let mut first = true;
    let reload = bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    // It has opened the link, and asks for its interface.
    let ran = shim::run_with(reload, Kind::Bpf, "OBJ_GET_INFO_BY_FD", || {
        if std::mem::take(&mut first) {
            bench.xdpctl(["detach", JUDGED]).success();
        }
    });
    let said = "error: xdpctl is not attached to in0\n";
    assert!(ran.output.expect_status(1).stderr.starts_with(said), "{ran:?}");
}

/// A ruleset that came into force while another was compiled is not replaced by one that was read
/// before.
#[test]
fn what_was_read_before_another_reload_is_read_again() {
    let bench = attached();
    let mut first = true;
    let reload = bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    // After the command has looked, and before it takes the lock.
    let ran = shim::run_with(reload, Kind::Files, "read /tmp/DIR/bad.list", || {
        if !std::mem::take(&mut first) {
            return;
        }
        // The old file is open already, so that it is the one that is read.
        fs::remove_file(bench.directory().join("bad.list")).expect("removed");
        bench.write("bad.list", "10.2.0.0/16\n10.3.0.0/16\n");
        bench.xdpctl(["reload", JUDGED]).success();
    });
    // It finds what the other reload put in force.
    let said = "reloaded in0, generation 3\n  no change: the ruleset is the same\n";
    assert_eq!(ran.output.success().stdout, said);
    let status = bench.xdpctl(["status", "--json"]).statuses();
    assert_eq!(status[0]["entries"]["ipv4"], 2, "{status}");
}
