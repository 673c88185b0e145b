//! A ruleset that is in force to be tried: confirmed, it stays; otherwise the one before comes back,
//! by the program's own clock where no process is left to see to it.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::bench::{self, Bench, JUDGED, Row};
use crate::lab::frame::{Frame, udp4};
use crate::lab::patience::patient;
use crate::lab::{Background, Topology};

/// Longer than any test takes, where the time must not run out.
const LONG: &str = "1h";
const PATIENCE: Duration = Duration::from_secs(60);

const BEFORE: &str = r#"
    [[blocklist]]
    name = "both"
    prefixes = ["10.0.0.1"]
    [[blocklist]]
    name = "first"
    prefixes = ["10.0.0.2"]
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const AFTER: &str = r#"
    [[blocklist]]
    name = "second"
    prefixes = ["10.0.0.3"]
    [[blocklist]]
    name = "both"
    prefixes = ["10.0.0.1"]
    [[rule]]
    name = "other"
    destination_port = 7
    action = "redirect"
    to = "out1"
"#;

fn from(source: &str, port: u16) -> Frame {
    udp4(source, "192.0.2.1", 1024, port)
}

fn rows_before() -> Vec<Row> {
    vec![
        bench::drop("both", from("10.0.0.1", 9), "blocklist").by("both"),
        bench::drop("first", from("10.0.0.2", 9), "blocklist").by("first"),
        bench::pass("second", from("10.0.0.3", 9), "default"),
        bench::redirect("on", from("10.0.0.4", 7), "on"),
    ]
}

fn rows_after() -> Vec<Row> {
    let there = from("10.0.0.4", 7);
    vec![
        bench::drop("both", from("10.0.0.1", 9), "blocklist").by("both"),
        bench::pass("first", from("10.0.0.2", 9), "default"),
        bench::drop("second", from("10.0.0.3", 9), "blocklist").by("second"),
        bench::redirect("other", there.clone(), "other").arrives("dst1", there),
    ]
}

/// Attached with the ruleset before; its frames are counted once.
fn attached() -> Bench {
    let mut bench = Bench::on(Topology::two_outputs());
    bench.attach(BEFORE);
    bench.open_gates();
    bench.run(&rows_before());
    // The name of an owner stays.
    bench.xdpctl(["block", JUDGED, "192.0.2.77"]).success();
    bench.xdpctl(["bans", JUDGED, "--flush"]).success();
    bench
}

/// On trial over the ruleset before, with its command waiting.
fn tried(bench: &Bench, life: &str) -> Background {
    let file = bench.write("after.toml", AFTER);
    let file = file.to_str().expect("UTF-8");
    let waiting =
        bench.lab().spawn_xdpctl("dut", ["reload", JUDGED, "-c", file, "--confirm", life]);
    until("it asks to be confirmed", || {
        let asked =
            format!("`xdpctl confirm in0` keeps it, within {life}; else generation 1 comes back\n");
        waiting.stdout().ends_with(&asked)
    });
    waiting
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patient(PATIENCE);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn status(bench: &Bench) -> Value {
    bench.xdpctl(["status", JUDGED, "--json"]).statuses()[0].clone()
}

/// The generation in force, asked by a command that only looks.
fn generation(bench: &Bench) -> u64 {
    bench.sample().generation
}

/// Files of rulesets that are kept beside the pins.
fn kept(bench: &Bench) -> Vec<String> {
    let all = bench.lab().kept("dut").into_iter().map(|path| path.display().to_string());
    let mut rulesets: Vec<String> =
        all.filter_map(|path| Some(path.rsplit_once("/ruleset-")?.1.to_owned())).collect();
    rulesets.sort();
    rulesets
}

#[track_caller]
fn ended(waiting: &mut Background, status: i32, told: &str) {
    let output = waiting.wait(PATIENCE).expect("it ends");
    output.expect_status(status);
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(all.contains(told), "{told:?} is not in {all}");
}

/// What was in force before is in force again, as it was: verdicts, counters, targets, memory.
#[track_caller]
fn is_as_before(bench: &Bench, times: u64, map_bytes: &Value) {
    assert_eq!(generation(bench), 1);
    bench.run(&rows_before());
    let sample = bench.sample();
    for name in ["both", "first", "on"] {
        assert_eq!(sample.rule(name).count.packets, times, "{name}: {sample:#?}");
    }
    // Any command that changes something removes what the ruleset on trial had.
    bench.xdpctl(["block", JUDGED, "192.0.2.77"]).success();
    bench.xdpctl(["bans", JUDGED, "--flush"]).success();
    assert_eq!(kept(bench), ["1"]);
    let status = status(bench);
    assert_eq!((&status["generation"], &status["problems"]), (&1.into(), &json!([])));
    assert_eq!(&status["map_bytes"], map_bytes);
    let explained = bench.xdpctl([
        "explain",
        JUDGED,
        "--json",
        "--source",
        "10.0.0.2",
        "--destination",
        "192.0.2.1",
    ]);
    assert_eq!(explained.success().json()["rule"], "first");
}

#[test]
fn confirmed_from_elsewhere_it_stays() {
    let bench = attached();
    let mut waiting = tried(&bench, LONG);
    bench.run(&rows_after());
    assert_eq!(kept(&bench), ["1", "2"]);
    let problem = status(&bench)["problems"][0].as_str().expect("a problem").to_owned();
    let told = "the ruleset is not confirmed: generation 1 comes back in ";
    assert!(problem.starts_with(told), "{problem}");
    assert!(problem.ends_with(" unless `xdpctl confirm in0` keeps it"), "{problem}");
    // Entries are put meanwhile as ever; another ruleset has to wait.
    bench.xdpctl(["block", JUDGED, "192.0.2.77"]).success();
    for args in [&["reload", JUDGED][..], &["attach", JUDGED, "--replace"]] {
        let other = bench.xdpctl(args);
        other.expect_status(1);
        assert!(
            other.stderr.contains("the ruleset in force on in0 waits to be confirmed"),
            "{}",
            other.stderr
        );
        assert!(other.stderr.contains("`xdpctl confirm in0` keeps it"), "{}", other.stderr);
    }
    let confirmed = bench.xdpctl(["confirm", JUDGED]);
    assert_eq!(confirmed.success().stdout, "confirmed in0: generation 2 stays in force\n");
    assert_eq!(confirmed.stderr, "");
    ended(&mut waiting, 0, "confirmed in0: generation 2 stays in force");
    bench.run(&rows_after());
    assert_eq!(kept(&bench), ["2"]);
    let status = status(&bench);
    assert_eq!((&status["generation"], &status["problems"]), (&2.into(), &json!([])));
    let sample = bench.sample();
    assert_eq!(sample.rule("both").count.packets, 3, "{sample:#?}");
    assert_eq!(sample.rule("second").count.packets, 2, "{sample:#?}");
    let more = bench.xdpctl(["confirm", JUDGED]);
    more.expect_status(1);
    assert!(more.stderr.contains("nothing on in0 waits to be confirmed"), "{}", more.stderr);
    // What comes after is as ever.
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(generation(&bench), 3);
    bench.run(&rows_before());
}

/// No process is left, and no command comes: the program goes back by itself.
#[test]
fn killed_the_program_goes_back_by_itself() {
    let bench = attached();
    let map_bytes = status(&bench)["map_bytes"].clone();
    let mut waiting = tried(&bench, "2s");
    waiting.signal(Signal::SIGKILL);
    waiting.wait(PATIENCE).expect("it is dead");
    until("generation 1 is in force again", || generation(&bench) == 1);
    is_as_before(&bench, 2, &map_bytes);
    // And again, with the slots of redirects and extents that were used meanwhile.
    let mut waiting = tried(&bench, LONG);
    bench.run(&rows_after());
    bench.xdpctl(["confirm", JUDGED]).success();
    ended(&mut waiting, 0, "generation 2 stays in force");
    bench.run(&rows_after());
}

#[test]
fn when_the_time_is_over_the_one_before_comes_back() {
    let bench = attached();
    let map_bytes = status(&bench)["map_bytes"].clone();
    let mut waiting = tried(&bench, "300ms");
    ended(
        &mut waiting,
        1,
        "in0: generation 2 was not confirmed within 300ms: generation 1 is in force again",
    );
    is_as_before(&bench, 2, &map_bytes);
}

#[test]
fn signals_put_the_one_before_back_at_once() {
    let bench = attached();
    let map_bytes = status(&bench)["map_bytes"].clone();
    for (times, signal) in (2..).zip([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]) {
        let mut waiting = tried(&bench, LONG);
        waiting.signal(signal);
        ended(&mut waiting, 1, "stopped before in0 was confirmed: generation 1 is in force again");
        is_as_before(&bench, times, &map_bytes);
    }
}

#[test]
fn detached_meanwhile_nothing_comes_back() {
    let bench = attached();
    let mut waiting = tried(&bench, LONG);
    bench.xdpctl(["detach", JUDGED]).success();
    ended(&mut waiting, 1, "in0 was detached before it was confirmed");
    bench.xdpctl(["status", JUDGED]).expect_status(1);
}

/// Images of several extents, which share the halves of their slots with what is on trial.
#[test]
fn large_rulesets_come_back_whole() {
    let mut bench = Bench::new();
    let large = |first: u32| {
        let hosts = (0..120_000).map(|n: u32| {
            let address = std::net::Ipv4Addr::from((first << 24) + n * 131);
            format!("{address}\n")
        });
        hosts.collect::<String>()
    };
    let (one, two) = (bench.write("one.txt", &large(20)), bench.write("two.txt", &large(40)));
    let list = |name: &str, file: &std::path::Path| {
        format!("[[blocklist]]\nname = \"{name}\"\nfiles = [\"{}\"]\n", file.display())
    };
    bench.attach(&list("one", &one));
    let of = |first: u32| {
        let address = std::net::Ipv4Addr::from((first << 24) + 119_999 * 131).to_string();
        from(&address, 9)
    };
    let before = [
        bench::drop("one", of(20), "blocklist").by("one"),
        bench::pass("not two", of(40), "default"),
    ];
    bench.run(&before);
    let map_bytes = status(&bench)["map_bytes"].clone();
    let file = bench.write("after.toml", &list("two", &two));
    let file = file.to_str().expect("UTF-8");
    // Its image is written to no slot of the one before, whatever becomes of it.
    for _ in 0..2 {
        let mut waiting =
            bench.lab().spawn_xdpctl("dut", ["reload", JUDGED, "-c", file, "--confirm", LONG]);
        until("generation 2 is in force", || generation(&bench) == 2);
        bench.run(&[
            bench::pass("not one", of(20), "default"),
            bench::drop("two", of(40), "blocklist").by("two"),
        ]);
        until("it asks", || waiting.stdout().contains("xdpctl confirm in0"));
        waiting.signal(Signal::SIGTERM);
        ended(&mut waiting, 1, "generation 1 is in force again");
        bench.run(&before);
        bench.xdpctl(["bans", JUDGED, "--flush"]).success();
        assert_eq!(status(&bench)["map_bytes"], map_bytes);
    }
}

/// With JSON, standard output has the objects alone.
#[test]
fn json_stays_json() {
    let bench = attached();
    let file = bench.write("after.toml", AFTER);
    let file = file.to_str().expect("UTF-8");
    let output = bench.xdpctl(["reload", JUDGED, "-c", file, "--confirm", "200ms", "--json"]);
    output.expect_status(1);
    let lines: Vec<Value> = serde_json::Deserializer::from_str(&output.stdout)
        .into_iter::<Value>()
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert_eq!(lines[0]["generation"], 2, "{lines:?}");
}

/// Confirmed and taken back at the same instant, it is the one or the other as a whole.
#[test]
fn a_confirmation_that_meets_the_end_is_all_or_nothing() {
    let bench = attached();
    for delay in 0..6 {
        let mut waiting = tried(&bench, LONG);
        let mut confirm = bench.lab().spawn_xdpctl("dut", ["confirm", JUDGED]);
        thread::sleep(Duration::from_millis(4 * delay));
        waiting.signal(Signal::SIGTERM);
        let confirmed = confirm.wait(PATIENCE).expect("it ends").status == 0;
        let kept = waiting.wait(PATIENCE).expect("it ends").status == 0;
        assert_eq!(confirmed, kept, "delay {delay}");
        assert_eq!(generation(&bench), if confirmed { 2 } else { 1 }, "delay {delay}");
        bench.run(&if confirmed { rows_after() } else { rows_before() });
        if confirmed {
            bench.xdpctl(["detach", JUDGED]).success();
            let file = bench.write("in0.toml", BEFORE);
            let file = file.to_str().expect("UTF-8");
            bench.xdpctl(["attach", JUDGED, "-c", file, "--mode", "native"]).success();
        }
    }
}
