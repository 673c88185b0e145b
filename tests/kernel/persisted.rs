//! Run-time entries that outlive a restart: put back at attach, until they end or are removed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::dice::Dice;
use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;

/// The lab, with what it leaves in /var/lib removed.
struct Kept {
    bench: Bench,
    directory: PathBuf,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Nothing may be there.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Kept {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.attach("");
        let name = format!("netns-{}", bench.lab().namespace("dut").name);
        Self { bench, directory: PathBuf::from("/var/lib/xdpctl/v1").join(name) }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("in0.entries.json")
    }

    #[track_caller]
    fn run(&self, args: &str) {
        let args: Vec<&str> = args.split(' ').collect();
        let (command, rest) = args.split_first().expect("a command");
        self.bench.xdpctl([&[*command, JUDGED], rest].concat()).success();
    }

    /// Does what a restart does: removes what is in the kernel and below /run, then attaches.
    /// Returns the messages.
    #[track_caller]
    fn restart(&self) -> String {
        self.bench.xdpctl(["detach", JUDGED]).success();
        let config = self.bench.directory().join("in0.toml");
        let config = config.to_str().expect("UTF-8");
        self.bench.xdpctl(["attach", JUDGED, "-c", config]).success().stderr.clone()
    }

    #[track_caller]
    fn bans(&self) -> Vec<Value> {
        let listed = self.bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    }
}

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "::1", 1, 2),
        false => udp4(source, "1.1.1.1", 1, 2),
    }
}

#[test]
fn they_are_put_back_as_they_were() {
    let kept = Kept::new();
    kept.run("block 10.0.0.1 2001:db8::/48 --persist --for 1h --note twice --owner sshd");
    kept.run("allow 10.0.0.1 --persist --for 1ms --owner admin");
    kept.run("allow 10.2.0.0/16 --persist");
    kept.run("block 10.3.0.1");
    sleep(Duration::from_millis(5));
    kept.bench.run(&[drop("counted", from("10.0.0.1"), "banned")]);
    let before = kept.bans();
    assert_eq!(before.len(), 4);
    let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode(kept.file()), mode(kept.directory.clone())), (0o600, 0o700));

    for _ in 0..2 {
        let said = kept.restart();
        assert!(said.contains("note: put back 3 run-time entries"), "{said}");
        let mut after = kept.bans();
        assert_eq!(after.len(), 3, "not the one without `--persist`");
        assert_eq!(after[0]["packets"], 0);
        after[0]["packets"] = before[0]["packets"].clone();
        for (after, before) in
            after.iter().zip(before.iter().filter(|it| it["prefix"] != "10.3.0.1/32"))
        {
            for key in ["prefix", "kind", "owner", "note", "created", "packets"] {
                assert_eq!(after[key], before[key], "{after}");
            }
            let left = |entry: &Value| entry["expires_in_seconds"].as_u64();
            assert_eq!(left(after).is_some(), left(before).is_some());
            assert!(left(after) <= left(before), "{after}");
        }
        kept.bench.run(&[
            drop("blocked", from("10.0.0.1"), "banned"),
            drop("blocked, IPv6", from("2001:db8::9"), "banned"),
            pass("allowed", from("10.2.1.1"), "allowed"),
            pass("not kept", from("10.3.0.1"), "default"),
        ]);
    }
}

#[test]
fn what_is_removed_or_has_ended_stays_away() {
    let kept = Kept::new();
    kept.run("block 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 --persist --owner sshd");
    kept.run("block 10.0.0.2 --persist --owner web");
    kept.run("unblock 10.0.0.1 10.0.0.2 --owner sshd");
    // The last command of an owner replaces the one before in the file too.
    kept.run("block 10.0.0.3 --owner sshd");
    kept.run("block 10.0.0.4 --owner sshd --persist --for 1ms");
    sleep(Duration::from_millis(5));
    let said = kept.restart();
    assert!(said.contains("note: put back 1 run-time entry\n"), "{said}");
    let listed = kept.bans();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let (prefix, owner) = (&listed[0]["prefix"], &listed[0]["owner"]);
    assert_eq!((prefix.as_str(), owner.as_str()), (Some("10.0.0.2/32"), Some("web")));
    let text = fs::read_to_string(kept.file()).expect("the file");
    assert!(!text.contains("10.0.0.4"), "what has ended is removed there too: {text}");
    kept.run("bans --flush");
    assert!(!kept.directory.exists(), "nothing is left of it");
    let said = kept.restart();
    assert!(!said.contains("put back"), "{said}");
    assert_eq!(kept.bans(), Vec::<Value>::new());
}

/// A disk that is full, and a file that is damaged.
#[test]
fn what_cannot_be_kept_is_said_and_is_in_no_ones_way() {
    let kept = Kept::new();
    kept.run("block 10.0.0.1 --persist");
    // In the place of the file that is written first, as if the disk were full.
    let new = kept.directory.join("in0.entries.new");
    fs::create_dir(&new).expect("a directory");
    let output = kept.bench.xdpctl(["block", JUDGED, "10.0.0.2", "--persist"]);
    let said = "error: cannot keep run-time entries in";
    assert!(output.expect_status(1).stderr.contains(said), "{}", output.stderr);
    kept.bench.run(&[pass("not done", from("10.0.0.2"), "default")]);
    kept.run("block 10.0.0.3");
    fs::remove_dir(&new).expect("it is empty");
    let said = kept.restart();
    assert!(said.contains("put back 1 run-time entry"), "{said}");

    fs::write(kept.file(), "{}").expect("written");
    let told = "is not what xdpctl wrote";
    let said = kept.restart();
    assert!(said.contains("warning: not all run-time entries were put back"), "{said}");
    assert!(said.contains(told), "{said}");
    assert_eq!(kept.bans(), Vec::<Value>::new());
    let output = kept.bench.xdpctl(["block", JUDGED, "10.0.0.2", "--persist"]);
    assert!(output.expect_status(1).stderr.contains(told), "{}", output.stderr);
    kept.run("block 10.0.0.2");
    let output = kept.bench.xdpctl(["unblock", JUDGED, "10.0.0.2"]);
    assert!(output.success().stderr.contains("the next attach may put back"), "{output:?}");
    kept.bench.run(&[pass("removed", from("10.0.0.2"), "default")]);
    fs::remove_file(kept.file()).expect("the file");
    kept.run("block 10.0.0.2 --persist");
    kept.bench.run(&[drop("as it should be", from("10.0.0.2"), "banned")]);
    kept.run("unblock 10.0.0.2");
}

/// Killed between the file and the kernel, a command left entries that nobody saw and nobody could
/// remove, and the next attach put them in force.
#[test]
fn what_a_killed_command_kept_is_seen_and_removed() {
    let kept = Kept::new();
    kept.run("block 10.0.0.1 10.0.0.2 --persist --owner sshd");
    kept.run("block 10.0.0.3 --persist");
    let text = fs::read(kept.file()).expect("the file");
    // As it is where a command wrote the file and was killed.
    let again = || {
        kept.run("unblock 10.0.0.1 10.0.0.2");
        fs::write(kept.file(), &text).expect("written");
    };
    again();
    let bans = |rest: &[&str]| kept.bench.xdpctl([&["bans", JUDGED], rest].concat());
    let output = bans(&[]);
    assert!(output.success().stdout.contains("10.0.0.3/32"), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 2, "{output:?}");
    let told = "warning: 2 run-time entries are not in force, and the next attach puts back: \
                10.0.0.1/32, 10.0.0.2/32\n";
    assert!(output.stderr.starts_with(told), "{output:?}");
    assert_eq!(bans(&["--owner", "cli"]).success().stderr, "");

    // All of them or none, whether they are in force or not.
    let output = kept.bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "10.0.0.3", "10.0.0.4"]);
    assert!(output.expect_status(1).stderr.contains("no run-time entry for 10.0.0.4/32"));
    let output = kept.bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "--owner", "cli"]);
    output.expect_status(1);
    let output = kept.bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "10.0.0.3"]);
    assert_eq!(output.success().stdout, "unblocked 2 prefixes on in0\n");
    let output = bans(&[]);
    let told =
        "warning: 1 run-time entry is not in force, and the next attach puts back: 10.0.0.2/32";
    assert!(output.success().stderr.starts_with(told), "{output:?}");
    let output = bans(&["--owner", "cli", "--flush"]);
    assert_eq!(output.success().stdout, "removed 0 run-time entries of cli on in0\n");
    let output = bans(&["--flush"]);
    assert_eq!(output.success().stdout, "removed 1 run-time entry on in0\n");
    assert!(!kept.directory.exists(), "nothing is left of it");
    assert_eq!(bans(&[]).success().stderr, "");

    kept.run("block 10.0.0.1 10.0.0.2 10.0.0.3 --persist");
    again();
    assert!(kept.restart().contains("put back 3 run-time entries"));
}

/// At whatever instant.
#[test]
fn killed_commands_leave_nothing_that_cannot_be_removed() {
    const SEED: u64 = 1;
    const TIMES: usize = 12;
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let kept = Kept::new();
    let all: String = (0..5_000u32).map(|n| format!("10.1.{}.{}\n", n >> 8, n & 0xff)).collect();
    let file = kept.bench.write("all", &all);
    let command = |name: &str| {
        let rest: &[&str] = if name == "block" { &["--persist"] } else { &[] };
        let mut command =
            kept.bench.lab().xdpctl_command("dut", [&[name, JUDGED, "-"], rest].concat());
        command.stdin(fs::File::open(&file).expect("the file"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let begun = Instant::now();
    assert!(command("block").status().expect("it runs").success());
    let whole = begun.elapsed();
    let mut seen = Vec::new();
    for turn in 0..TIMES {
        // Half of them begin with everything blocked, half with nothing.
        let name = if turn % 2 == 0 { "unblock" } else { "block" };
        let mut child = command(name).spawn().expect("it starts");
        sleep(whole.mul_f64(dice.below(1000) as f64 / 900.0));
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        child.wait().expect("it ends");
        let output = kept.bench.xdpctl(["bans", JUDGED, "--json"]);
        let listed = output.success().json().as_array().expect("an array").len();
        let text = fs::read_to_string(kept.file()).unwrap_or_default();
        let would_return = text.matches("\"prefix\"").count();
        let not_in_force = would_return.saturating_sub(listed);
        assert_eq!(output.stderr.contains("not in force"), not_in_force > 0, "turn {turn}");
        seen.push((listed, would_return));
        kept.run("bans --flush");
        assert!(!kept.directory.exists(), "turn {turn}");
        assert_eq!(kept.bans(), Vec::<Value>::new(), "turn {turn}");
        if turn % 2 == 1 && turn + 1 < TIMES {
            assert!(command("block").status().expect("it runs").success());
        }
    }
    println!("listed and kept after each turn: {seen:?}");
}
