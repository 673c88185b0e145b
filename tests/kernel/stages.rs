//! What the filter goes on with is loaded where a ruleset needs it, and not before; and no such
//! ruleset is ever in force without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use xdp_common::maps::Map;
use xdp_common::stages;
use xdpctl::datapath::sys::bpf;

use crate::explain::{explain_frame, told};
use crate::faults::shim::{self, Kind};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::dns::{A, query};
use crate::lab::facts::pinned;
use crate::lab::frame::{Frame, udp4};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Sample, Traffic};

const NONE: &str = "";
/// With a name that one program alone does not find, and rules behind the names.
const NAMES: &str = r#"
    [[domains]]
    name = "names"
    names = ["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.example"]
    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "drop"
"#;

const LISTED: &str = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.example";

/// A query for a name that is listed in [`NAMES`].
fn listed() -> Frame {
    ask(LISTED)
}

/// A query for one that is not.
fn unlisted() -> Frame {
    ask("www.example")
}

fn ask(name: &str) -> Frame {
    udp4("198.51.100.7", "192.0.2.53", 40_000, 53).payload(&query(name, A).build())
}

fn pins(bench: &Bench) -> PathBuf {
    bench.lab().pins("dut", bench.lab().ifindex("dut", JUDGED))
}

/// Which places are filled of the map that is pinned in a directory.
#[track_caller]
fn filled(pins: &Path) -> [bool; stages::COUNT] {
    let map = bpf::open_pin(&pins.join("STAGES")).expect("a pin");
    filled_of(&map)
}

#[track_caller]
fn filled_of(map: impl std::os::fd::AsFd) -> [bool; stages::COUNT] {
    let mut place = 0;
    [(); stages::COUNT].map(|()| {
        let found = bpf::lookup(&map, place, &mut [0; 4]).expect("a lookup");
        place += 1;
        found.is_some()
    })
}

const EMPTY: [bool; stages::COUNT] = [false; stages::COUNT];
/// What lists of names need, and the filter itself.
const FULL: [bool; stages::COUNT] = {
    let mut full = EMPTY;
    let mut place = stages::FILTER as usize;
    while place <= stages::RULES as usize {
        full[place] = true;
        place += 1;
    }
    full
};

/// Whether a query for a listed name, and one for another, are judged as under [`NAMES`], or as
/// under [`NONE`].
#[track_caller]
fn are_asked(bench: &Bench, asked: bool) {
    for (frame, reason) in [(listed(), "domain"), (unlisted(), "rule")] {
        let before = bench.sample();
        bench.port("src0").send(&frame.build());
        let after = bench.await_count(before.total().packets + 1);
        let reason = if asked { reason } else { "default" };
        let more = |sample: &Sample| sample.reasons[reason].packets;
        assert_eq!(more(&after), more(&before) + 1, "{reason}: {after:#?}");
    }
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patient(EVENT);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn they_come_with_the_first_ruleset_that_needs_them() {
    let mut bench = Bench::new();
    let explained = |bench: &Bench| told(&explain_frame(bench, listed()));
    let passed = json!(["pass", "default", null, null]);
    let dropped = json!(["drop", "domain", "names", LISTED]);
    bench.attach(NONE);
    assert_eq!(filled(&pins(&bench)), EMPTY);
    assert_eq!(explained(&bench), passed);
    are_asked(&bench, false);
    bench.attach("[[blocklist]]\nname = \"other\"\nprefixes = [\"10.0.0.0/8\"]\n");
    assert_eq!(filled(&pins(&bench)), EMPTY);
    bench.attach(NAMES);
    assert_eq!(filled(&pins(&bench)), FULL);
    assert_eq!(explained(&bench), dropped);
    are_asked(&bench, true);
    // They stay.
    bench.attach(NONE);
    assert_eq!(filled(&pins(&bench)), FULL);
    assert_eq!(explained(&bench), passed);
    are_asked(&bench, false);
    let file = bench.write("names.toml", NAMES);
    let reload = bench.xdpctl(["-v", "reload", JUDGED, "-c", file.to_str().expect("UTF-8")]);
    assert!(!reload.success().stderr.contains("loaded the program"), "{}", reload.stderr);
    are_asked(&bench, true);

    bench.xdpctl(["detach", JUDGED]).success();
    let mut bench = Bench::new();
    bench.attach(NAMES);
    assert_eq!(filled(&pins(&bench)), FULL);
    are_asked(&bench, true);
}

/// Under traffic: before the reload each query passes, and from then on none does.
#[test]
fn names_are_asked_from_the_first_packet_on() {
    for replace in [false, true] {
        let mut bench = Bench::new();
        bench.attach(NONE);
        let names = bench.write("names.toml", NAMES).display().to_string();
        let none = bench.write("none.toml", NONE).display().to_string();
        let change = |file: &str| {
            let command = if replace { &["attach", "--replace"][..] } else { &["reload"] };
            bench.xdpctl([command, &[JUDGED, "-c", file]].concat()).success();
        };
        let traffic = Traffic::start(bench.lab().port("src", "src0"), [listed(), unlisted()]);
        let counted = |sample: &Sample| {
            ["default", "domain", "rule"].map(|reason| sample.reasons[reason].packets)
        };
        let mut last = counted(&bench.sample());
        for _ in 0..2 {
            change(&names);
            let begun = counted(&bench.sample());
            assert!(begun[0] >= last[0], "{begun:?}");
            until("queries are judged by their names", || {
                let now = counted(&bench.sample());
                assert_eq!(now[0], begun[0], "a query went by");
                now[1] > begun[1] && now[2] > begun[2]
            });
            change(&none);
            let begun = counted(&bench.sample());
            until("queries pass", || {
                let now = counted(&bench.sample());
                assert_eq!(now[1..], begun[1..], "a name was asked");
                now[0] > begun[0]
            });
            last = begun;
        }
        let full = if replace { EMPTY } else { FULL };
        assert_eq!(filled(&pins(&bench)), full, "the next program has its own");
        let sent = traffic.stop() - bench.lab().dropped_at("src", "src0");
        let after = bench.await_count(sent);
        assert_eq!(after.total().packets, sent);
        assert_eq!(counted(&after).iter().sum::<u64>(), sent, "{after:#?}");
        assert_eq!(after.verdicts["aborted"].packets, 0, "{after:#?}");
    }
}

/// The kernel empties the map if its pin is removed.
#[test]
fn what_the_kernel_has_emptied_is_filled_before_it_is_needed() {
    let mut bench = Bench::new();
    bench.attach(NAMES);
    let directory = pins(&bench);
    let whole = pinned(&directory);
    let id = u32::try_from(whole["STAGES"]).expect("an id");
    let empty = || {
        fs::remove_file(directory.join("STAGES")).expect("a pin");
        // Each look has it open, and the kernel empties it after nobody has.
        until("the kernel empties it", || {
            thread::sleep(Duration::from_millis(10));
            filled_of(bpf::map_by_id(id).expect("the map")) == EMPTY
        });
    };
    // The same ruleset once more.
    empty();
    bench.attach(NAMES);
    assert_eq!((filled(&directory), pinned(&directory)), (FULL, whole.clone()));
    are_asked(&bench, true);
    // Another one in between, which does not need them: nothing is loaded for it.
    bench.attach(NONE);
    empty();
    bench.attach(NONE);
    assert_eq!((filled(&directory), pinned(&directory)), (EMPTY, whole.clone()));
    bench.attach(NAMES);
    assert_eq!((filled(&directory), pinned(&directory)), (FULL, whole.clone()));
    are_asked(&bench, true);
    // Something else is pinned in its place.
    empty();
    let other = bpf::open_pin(&directory.join("COUNTERS")).expect("a pin");
    bpf::pin(other, &directory.join("STAGES")).expect("pinned");
    bench.attach(NAMES);
    assert_eq!((filled(&directory), pinned(&directory)), (FULL, whole.clone()));
    are_asked(&bench, true);
    // One of them is missing, as after a reload that was killed.
    let map = bpf::open_pin(&directory.join("STAGES")).expect("a pin");
    bpf::delete(&map, stages::NAMES).expect("deleted");
    bench.attach(NAMES);
    assert_eq!(filled(&directory), FULL);
    are_asked(&bench, true);
}

/// In place of names, none are tried, and the other way round; what was in force comes back whole.
#[test]
fn a_ruleset_that_is_tried_and_the_one_before_have_them() {
    let mut bench = Bench::new();
    let names = bench.write("names.toml", NAMES).display().to_string();
    let none = bench.write("none.toml", NONE).display().to_string();
    let tried = |bench: &Bench, file: &str, signal| {
        let args = ["reload", JUDGED, "-c", file, "--confirm", "1h"];
        let mut waiting = bench.lab().spawn_xdpctl("dut", args);
        until("it asks to be confirmed", || waiting.stdout().contains("`xdpctl confirm in0`"));
        are_asked(bench, file == names);
        match signal {
            Some(signal) => waiting.signal(signal),
            None => drop(bench.xdpctl(["confirm", JUDGED])),
        }
        waiting.wait(EVENT).expect("it ends");
    };
    bench.attach(NONE);
    tried(&bench, &names, Some(Signal::SIGINT));
    are_asked(&bench, false);
    tried(&bench, &names, None);
    are_asked(&bench, true);
    tried(&bench, &none, Some(Signal::SIGINT));
    are_asked(&bench, true);
    // With no command that waits, the program itself goes back.
    let args = ["reload", JUDGED, "-c", &none, "--confirm", "1s"];
    let mut waiting = bench.lab().spawn_xdpctl("dut", args);
    until("it asks to be confirmed", || waiting.stdout().contains("`xdpctl confirm in0`"));
    waiting.signal(Signal::SIGKILL);
    waiting.wait(EVENT).expect("it ends");
    until("the ruleset before comes back", || {
        bench.xdpctl(["status", JUDGED, "--json"]).statuses()[0]["generation"] == json!(2)
    });
    are_asked(&bench, true);
}

#[test]
fn an_attachment_that_waits_to_be_confirmed_has_them() {
    let bench = Bench::new();
    let names = bench.write("names.toml", NAMES).display().to_string();
    for (file, places) in [(NONE, EMPTY), (NAMES, FULL)] {
        let path = bench.write("in0.toml", file).display().to_string();
        let args = ["attach", JUDGED, "-c", &path, "--mode", "native", "--confirm", "1h"];
        let mut waiting = bench.lab().spawn_xdpctl("dut", args);
        until("it asks to be confirmed", || waiting.stdout().contains("`xdpctl confirm in0`"));
        assert_eq!(filled(&pins(&bench)), places);
        are_asked(&bench, file == NAMES);
        bench.xdpctl(["reload", JUDGED, "-c", &names]).success();
        assert_eq!(filled(&pins(&bench)), FULL);
        bench.xdpctl(["confirm", JUDGED]).success();
        waiting.wait(EVENT).expect("it ends");
        are_asked(&bench, true);
        bench.xdpctl(["detach", JUDGED]).success();
        bench.lab().assert_nothing_kept("dut");
    }
}

/// A capture that runs already sees what the programs that come later decide.
#[test]
fn a_capture_goes_on() {
    let mut bench = Bench::new();
    bench.attach(NONE);
    let mut capture = bench.lab().spawn_xdpctl("dut", ["capture", JUDGED, "--count", "2"]);
    until("it has begun", || capture.stderr().contains("capturing on "));
    bench.attach(NAMES);
    are_asked(&bench, true);
    let output = capture.wait(patient(EVENT)).expect("it ends");
    let lines: Vec<&str> = output.success().stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    for (line, reason) in lines.iter().zip(["domain", "rule"]) {
        assert!(line.contains(reason), "{reason}: {line}");
    }
}

/// The calls that matter, by how their names begin.
const STEPS: [&str; 10] = [
    "PROG_LOAD xdpctl",
    "MAP_UPDATE_ELEM STAGES",
    "OBJ_PIN /sys/fs/bpf/xdpctl/v1/N/N/STAGES",
    "OBJ_PIN /sys/fs/bpf/xdpctl/v1/N/N/program",
    "OBJ_PIN /sys/fs/bpf/xdpctl/v1/N/N/link",
    "MAP_UPDATE_BATCH RULESET",
    "MAP_UPDATE_ELEM RULESET",
    "LINK_CREATE on ",
    "LINK_UPDATE",
    // The first after a ruleset is in force.
    "OBJ_GET /sys/fs/bpf/xdpctl/v1/N/N/program",
];

/// Killed before any of these, a command leaves what was in force or what it was to put in force,
/// whole; and the next one goes on from there. `before` and `after` are the rulesets.
#[track_caller]
fn killed(before: Option<&str>, args: &[&str], after: &str) {
    let bench = Bench::new();
    let path = |text: &str| {
        let name = if text == NAMES { "names.toml" } else { "none.toml" };
        bench.write(name, text).display().to_string()
    };
    let file = path(after);
    let prepare = || {
        // Status 1 where nothing is attached.
        bench.xdpctl(["detach", "--all"]);
        bench.lab().assert_nothing_kept("dut");
        if let Some(before) = before {
            let file = path(before);
            bench.xdpctl(["attach", JUDGED, "-c", &file, "--mode", "native"]).success();
        }
        bench.lab().xdpctl_command("dut", [args, &["-c", &file]].concat())
    };
    let whole = shim::run(prepare(), None);
    whole.output.success();
    let names: Vec<&str> = whole
        .calls
        .iter()
        .map(|call| call.name.as_str())
        .filter(|name| STEPS.iter().any(|step| name.starts_with(step)))
        // aya's question of what the kernel can do.
        .filter(|name| *name != "LINK_CREATE on 4294967295")
        .collect();
    let mut outcomes = [0; 2];
    for (place, name) in names.iter().enumerate() {
        // Of calls that do the same one after the other, the first and the last.
        if place > 0 && names[place - 1] == *name && names.get(place + 1) == Some(name) {
            continue;
        }
        let nth = names[..place].iter().filter(|earlier| *earlier == name).count();
        println!("{args:?} killed before call {nth} of {name}");
        shim::run_killed(prepare(), Kind::Bpf, name, nth);
        // Status 1 where an exchange left no pin of the program that runs.
        let status = bench.xdpctl(["status", "--json"]).json();
        let generation = status[0]["generation"].as_u64();
        match generation {
            None => bench.lab().await_no_program("dut", JUDGED),
            Some(generation) => {
                let is_after = generation == 1 + u64::from(before.is_some());
                let in_force = if is_after { Some(after) } else { before };
                are_asked(&bench, in_force == Some(NAMES));
                outcomes[usize::from(is_after)] += 1;
            }
        }
        // The next command that changes something finishes it, and puts the pins right.
        let command = if generation.is_some() { "reload" } else { "attach" };
        bench.xdpctl([command, JUDGED, "-c", &path(NAMES)]).success();
        let found = pinned(&pins(&bench));
        assert_eq!(found.len(), Map::ALL.len() + 2, "{found:?}");
        assert_eq!(filled(&pins(&bench)), FULL);
        are_asked(&bench, true);
    }
    println!("{args:?}: {outcomes:?}");
    // An attach has its effect with the last of its calls.
    assert!(before.is_none() || outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

#[test]
fn a_killed_attach_leaves_no_ruleset_without_them() {
    killed(None, &["attach", JUDGED, "--mode", "native"], NAMES);
}

#[test]
fn a_killed_reload_leaves_no_ruleset_without_them() {
    killed(Some(NONE), &["reload", JUDGED], NAMES);
}

#[test]
fn a_killed_exchange_leaves_no_ruleset_without_them() {
    killed(Some(NONE), &["attach", "--replace", JUDGED], NAMES);
}

#[test]
fn a_killed_exchange_to_a_ruleset_that_needs_none() {
    killed(Some(NAMES), &["attach", "--replace", JUDGED], NONE);
}
