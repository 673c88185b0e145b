//! `kill -9` at any instant leaves either the state before or the one that was asked for, and the
//! next command cleans up.

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::dice::Dice;
use crate::faults::stand::OLD;
use crate::lab::Topology;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::facts::pinned;
use crate::lab::frame::*;
use crate::lab::patience::EVENT;

/// The seed of the random instants, shown when a test fails.
const SEED: u64 = 1;

/// It sends to another interface than [`OLD`], and wants to know what the interface sends.
const NEW: &str = r#"
    [policy]
    default = "drop"
    replies = "pass"
    [[blocklist]]
    name = "new"
    prefixes = ["10.1.0.1"]
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out1"
"#;

fn frame() -> Frame {
    udp4("10.1.0.1", "192.0.2.1", 1024, 9)
}

/// Which ruleset judges packets on the interface, if any: found out by sending one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    Nothing,
    Old,
    New,
}

/// `in0` as always, and two pairs with both ends in the same namespace, where redirected frames
/// need a pass program at `far0` and `far1`.
struct Victim {
    bench: Bench,
    old: String,
    new: String,
    dice: Dice,
}

impl Victim {
    fn new() -> Self {
        use crate::lab::{DST0, DST1, IN0, OUT0, OUT1, SRC0, end};
        let topology = Topology::empty()
            .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
            .link(end("dut", "far0", DST0), end("dut", "out0", OUT0))
            .link(end("dut", "far1", DST1), end("dut", "out1", OUT1));
        let bench = Bench::on(topology);
        let path = |name, text| bench.write(name, text).to_str().expect("UTF-8").to_owned();
        let (old, new) = (path("old.toml", OLD), path("new.toml", NEW));
        println!("seed {SEED}");
        Self { bench, old, new, dice: Dice::new(SEED) }
    }

    fn attach(&self) -> [&str; 6] {
        ["attach", JUDGED, "--mode", "native", "-c", &self.new]
    }

    fn reload(&self, path: &str) {
        self.bench.xdpctl(["reload", JUDGED, "-c", path]).success();
    }

    /// Runs and kills the command `args` until `times` runs were killed, at instants that cover all
    /// of its duration. Before each run comes `prepare`; after it, what is in force is found out
    /// and given to `check`. The duration changes with the machine's load, so its estimate is
    /// corrected after each run. Both outcomes have to come up, or the instants were not spread.
    #[track_caller]
    fn kill_many(
        &mut self,
        times: u32,
        args: &[&str],
        [before, after]: [Force; 2],
        prepare: impl Fn(&Self),
        check: impl Fn(&Self, Force, u32),
    ) {
        prepare(self);
        let begun = Instant::now();
        self.bench.xdpctl(args).success();
        let mut duration = begun.elapsed();
        assert_eq!(self.force(0), after);
        check(self, after, 0);

        let (mut killed, mut turn, mut counts) = (0, 0, [0; 2]);
        while killed < times || counts.contains(&0) {
            turn += 1;
            assert!(turn < 3 * times, "{killed} killed of {turn}, outcomes {counts:?}");
            prepare(self);
            let chance = self.dice.below(1000) as f64 / 1000.0;
            let evenly = (f64::from(turn % times) + chance) / f64::from(times);
            // Half of them close together at the beginning, where detaching has its effect.
            let share = if turn % 2 == 0 { evenly } else { evenly.powi(3) };
            let running = self.kill(args, duration.mul_f64(share), turn);
            let force = self.force(turn);
            assert!(force == before || force == after, "turn {turn}: {force:?}");
            counts[usize::from(force == after)] += 1;
            killed += u32::from(running);
            match (running, force == after) {
                (false, _) => duration = duration.mul_f64(0.95),
                (true, false) if share > 0.8 => duration = duration.mul_f64(1.1),
                // The machine has become busier since the command was timed, and no run got as far
                // as its effect: wait longer, until one does.
                (true, false) if turn >= times && counts[1] == 0 => {
                    duration = duration.mul_f64(1.25);
                }
                _ => {}
            }
            check(self, force, turn);
        }
        println!(
            "{killed} killed, {turn} in all: {} {before:?}, {} {after:?}",
            counts[0], counts[1]
        );
    }

    /// Starts a command and kills it after `delay`. Returns whether it was still running.
    fn kill(&self, args: &[&str], delay: Duration, turn: u32) -> bool {
        let mut command = self.bench.lab().spawn_xdpctl("dut", args);
        thread::sleep(delay);
        let running = command.is_running();
        if running {
            command.signal(Signal::SIGKILL);
        }
        let output = command.wait(EVENT).expect("it ends");
        assert!(
            matches!(output.status, 0 | 137),
            "turn {turn}: status {}\n{}",
            output.status,
            output.stderr
        );
        running
    }

    /// Asks xdpctl, the kernel and a packet what is in force; they have to agree.
    #[track_caller]
    fn force(&self, turn: u32) -> Force {
        let bench = &self.bench;
        let output = bench.xdpctl(["status", "--json"]);
        let status = output.success().json();
        let programs = bench.lab().programs("dut", JUDGED);
        let entries: &Vec<Value> = status.as_array().expect("an array");
        let Some(status) = entries.first() else {
            assert_eq!(programs, [], "turn {turn}: a program that status does not know");
            bench.port("src0").send(&frame().build());
            bench.port(JUDGED).expect(&frame().build());
            return Force::Nothing;
        };
        assert_eq!(entries.len(), 1, "turn {turn}: {status}");
        assert_eq!(status["link"], "up", "turn {turn}: {status}");
        assert_eq!(programs.len(), 1, "turn {turn}: {programs:?}");
        assert_eq!(status["program_id"], programs[0].program_id, "turn {turn}");
        // An exchange of programs may be killed between taking a pin away and putting the next one.
        let problems = status["problems"].as_array().expect("an array").iter();
        let other = problems.filter(|it| !it.to_string().contains(" pins it again"));
        assert_eq!(other.count(), 0, "turn {turn}: {status}");

        let before = bench.sample();
        bench.port("src0").send(&frame().build());
        let after = bench.await_count(before.total().packets + 1);
        let count = |name: &str| {
            let find = |sample: &crate::lab::Sample| {
                let rule = sample.rules.iter().find(|rule| rule.name == name);
                rule.map(|rule| rule.count.packets)
            };
            find(&after).map(|count| count - find(&before).unwrap_or(0))
        };
        assert_eq!(after.reasons["blocklist"].packets, before.reasons["blocklist"].packets + 1);
        match (count("old"), count("new")) {
            (Some(1), None) => Force::Old,
            (None, Some(1)) => Force::New,
            counts => panic!("turn {turn}: counted by {counts:?}"),
        }
    }

    /// Detaches whatever is attached, after which nothing may be left.
    #[track_caller]
    fn clear(&self, expected: Force) {
        let output = self.bench.xdpctl(["detach", "--all"]);
        output.expect_status(if expected == Force::Nothing { 1 } else { 0 });
        let lab = self.bench.lab();
        lab.assert_nothing_kept("dut");
        for interface in [JUDGED, "out0", "out1", "far0", "far1"] {
            assert_eq!(lab.programs("dut", interface), [], "{interface}");
        }
        assert_eq!(lab.at_egress("dut", JUDGED), [""; 0]);
    }

    /// The pins are those of the link and of the program that it has, and of what is at the egress where the ruleset in
    /// force wants that.
    #[track_caller]
    fn assert_pins(&self, force: Force) {
        let lab = self.bench.lab();
        let directory = lab.pins("dut", lab.ifindex("dut", JUDGED));
        let mut pins = pinned(&directory);
        let wants = force == Force::New;
        assert_eq!(pins.remove("egress").is_some(), wants, "{force:?}");
        assert_eq!(!lab.at_egress("dut", JUDGED).is_empty(), wants, "{force:?}");
        let names: Vec<&str> = pins.keys().map(String::as_str).collect();
        let whole = [
            "BACKEND_STATES",
            "BAN_FILTERS",
            "BAN_HOSTS_V4",
            "BAN_HOSTS_V6",
            "BAN_PREFIXES_V4",
            "BAN_PREFIXES_V6",
            "CAUGHT",
            "CAUGHT_COUNTERS",
            "CONNECTIONS",
            "COUNTERS",
            "ENTRY_COUNTERS",
            "LIMITS",
            "NAMES",
            "OWNERS",
            "RECORDS",
            "REDIRECTS",
            "RULESET",
            "RULE_COUNTERS",
            "SENT",
            "STAGES",
            "SWITCHES",
            "link",
            "program",
        ];
        assert_eq!(names, whole);
        let program = lab.programs("dut", JUDGED)[0].program_id;
        assert_eq!(pins["program"], u64::from(program));
    }
}

#[test]
fn attach() {
    let mut victim = Victim::new();
    let args = victim.attach().map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcomes = [Force::Nothing, Force::New];
    victim.kill_many(
        50,
        &args,
        outcomes,
        |_| {},
        |victim, force, turn| {
            // Every fifth time the next command is an attach, which has to cope with the leftovers.
            if force == Force::Nothing && turn % 5 == 0 {
                victim.bench.xdpctl(victim.attach()).success();
                assert_eq!(victim.force(turn), Force::New);
                victim.assert_pins(Force::New);
                victim.clear(Force::New);
            } else {
                victim.clear(force);
            }
        },
    );
}

#[test]
fn reload() {
    let mut victim = Victim::new();
    victim.bench.xdpctl(victim.attach()).success();
    let new = victim.new.clone();
    let args = ["reload", JUDGED, "-c", new.as_str()];
    let generation = Cell::new(0);
    let prepare = |victim: &Victim| {
        victim.reload(&victim.old);
        generation.set(victim.bench.sample().generation);
    };
    victim.kill_many(50, &args, [Force::Old, Force::New], prepare, |victim, force, turn| {
        let expected = generation.get() + u64::from(force == Force::New);
        assert_eq!(victim.bench.sample().generation, expected, "turn {turn}");
        if force == Force::New {
            victim.assert_pins(force);
        }
    });
    // After a complete reload, only the state of the ruleset in force is left.
    victim.reload(&victim.old);
    let generation = victim.bench.sample().generation;
    let files = victim.bench.lab().kept("dut");
    let rulesets: Vec<_> = files
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.strip_prefix("ruleset-"))
        .collect();
    assert_eq!(rulesets, [generation.to_string()]);
    let passes = |name: &str| victim.bench.lab().programs("dut", name).len();
    assert_eq!((passes("far0"), passes("far1")), (1, 0), "pass programs where they are needed");
    victim.clear(Force::Old);
}

#[test]
fn detach() {
    let mut victim = Victim::new();
    let attach = |victim: &Victim| {
        victim.bench.xdpctl(victim.attach()).success();
    };
    let outcomes = [Force::New, Force::Nothing];
    victim.kill_many(20, &["detach", JUDGED], outcomes, attach, |victim, force, _| {
        victim.clear(force);
    });
}

#[test]
fn replace() {
    let mut victim = Victim::new();
    victim.bench.xdpctl(victim.attach()).success();
    let new = victim.new.clone();
    let args = ["attach", "--replace", JUDGED, "-c", new.as_str()];
    let total = Cell::new(0);
    let prepare = |victim: &Victim| {
        victim.reload(&victim.old);
        total.set(victim.bench.sample().total().packets);
    };
    victim.kill_many(20, &args, [Force::Old, Force::New], prepare, |victim, _, turn| {
        let now = victim.bench.sample().total().packets;
        assert_eq!(now, total.get() + 1, "turn {turn}: counters go on");
        // The next command that changes anything repairs what was left.
        victim.reload(&victim.new);
        victim.assert_pins(Force::New);
    });
    victim.clear(Force::New);
}

/// A way to be interrupted: its name, and what it does to an interface's pins.
type Interruption<'a> = (&'a str, &'a dyn Fn(&Path));

/// The instants between two removals are too short to be hit by chance.
#[test]
fn whatever_detaching_leaves_is_cleaned_up() {
    let victim = Victim::new();
    let lab = victim.bench.lab();
    let index = lab.ifindex("dut", JUDGED);
    let state = lab.namespace("dut").xdpctl_directories()[1].join(index.to_string());
    let interruptions: [Interruption<'_>; 3] = [
        ("the link's pin is gone, the rest is there", &|pins| {
            std::fs::remove_file(pins.join("link")).expect("a pin");
        }),
        ("all pins are gone, their directory is there", &|pins| {
            std::fs::remove_file(pins.join("link")).expect("a pin");
            for entry in std::fs::read_dir(pins).expect("pins").flatten() {
                std::fs::remove_file(entry.path()).expect("a pin");
            }
        }),
        ("only the state is there", &|pins| {
            std::fs::remove_dir_all(pins).expect("pins");
        }),
    ];
    for (name, interrupt) in interruptions {
        println!("{name}");
        victim.bench.xdpctl(victim.attach()).success();
        interrupt(&lab.pins("dut", index));
        lab.await_no_program("dut", JUDGED);
        assert!(state.exists(), "{name}");
        assert_eq!(victim.force(0), Force::Nothing, "{name}");
        victim.clear(Force::Nothing);
    }
}
