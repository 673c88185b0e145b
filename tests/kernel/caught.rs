//! Rules with `action = "block"`: the program makes run-time entries of the sources of what they match.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::explain::explain_frames;
use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};

const BLOCK: &str = r#"
[[allowlist]]
name     = "office"
prefixes = ["198.51.100.0/24"]

[[rule]]
name             = "trap"
destination_port = 23
action           = "block"
for              = "10m"

[[rule]]
name             = "ssh"
destination_port = 22
over             = "1/h"
burst            = 3
per              = "source"
action           = "block"
for              = "1h"
"#;

fn run(bench: &Bench, args: &[&str]) -> crate::lab::Output {
    bench.xdpctl([&[args[0], JUDGED], &args[1..]].concat()).success().clone()
}

/// Prefix, owner and packets of each entry.
#[track_caller]
fn shown(bench: &Bench) -> Vec<String> {
    let listed = run(bench, &["bans", "--json"]).json();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |entry: &Value| {
        assert_eq!((&entry["kind"], &entry["note"]), (&"block".into(), &Value::Null));
        ["prefix", "owner", "packets"].map(|key| text(&entry[key])).join(" ")
    };
    listed.as_array().expect("an array").iter().map(line).collect()
}

fn to(source: &str, port: u16) -> Frame {
    match source.contains(':') {
        true => udp6(source, "2001:db8:b::1", 9, port),
        false => udp4(source, "192.0.2.1", 9, port),
    }
}

#[test]
fn the_source_of_what_a_rule_matches_is_blocked_from_then_on() {
    let mut bench = Bench::new();
    bench.attach(BLOCK);
    bench.run(&[
        pass("before", to("10.0.0.1", 53), "default"),
        drop("matched", to("10.0.0.1", 23), "rule").by("trap"),
        drop("from then on", to("10.0.0.1", 53), "banned"),
        pass("another source", to("10.0.0.2", 53), "default"),
        pass("an allowlist is asked before", to("198.51.100.1", 23), "allowlist").by("office"),
        pass("and stays", to("198.51.100.1", 53), "allowlist").by("office"),
        drop("of IPv6", to("2001:db8:a::1", 23), "rule").by("trap"),
        drop("its /64", to("2001:db8:a::2", 53), "banned"),
        pass("and no more", to("2001:db8:a:1::1", 53), "default"),
        pass("under the rate", to("10.0.0.3", 22), "default"),
        pass("still", to("10.0.0.3", 22), "default"),
        pass("the last one", to("10.0.0.3", 22), "default"),
        drop("over", to("10.0.0.3", 22), "rule").by("ssh"),
        drop("from then on", to("10.0.0.3", 22), "banned"),
        drop("whatever it is", to("10.0.0.3", 9), "banned"),
        drop("nobody's own", to("0.0.0.0", 23), "rule").by("trap"),
        pass("so that is not blocked", to("0.0.0.0", 53), "default"),
        drop("nor the link's", to("fe80::1", 23), "rule").by("trap"),
        pass("of any neighbour", to("fe80::1", 53), "default"),
        pass("what is not IP", ethernet(0x88cc, &[0; 46]), "default"),
    ]);
    assert_eq!(
        shown(&bench),
        ["10.0.0.1/32 rule:trap 1", "10.0.0.3/32 rule:ssh 2", "2001:db8:a::/64 rule:trap 1"]
    );
    let listed = run(&bench, &["bans", "--json", "--owner", "rule:ssh"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let left = listed[0]["expires_in_seconds"].as_u64().expect("it ends");
    assert!((3_000..=3_600).contains(&left), "{left}");
    let status = run(&bench, &["status", "--json"]).json();
    assert_eq!(status[0]["entries"]["bans"], 3, "{status}");
    assert_eq!(status[0]["problems"], serde_json::json!([]));
    let held = run(&bench, &["lookup", "2001:db8:a::77", "--json"]).json();
    assert_eq!(held[0]["entry"], "2001:db8:a::/64", "{held}");
    assert_eq!(held[0]["owner"], "rule:trap");
}

#[test]
fn explain_says_which_rule_blocks_and_blocks_nothing_itself() {
    let mut bench = Bench::new();
    bench.attach(BLOCK);
    let frames = [to("10.0.0.1", 23).build(), to("10.0.0.3", 22).build()];
    for _ in 0..3 {
        let explained = explain_frames(&bench, &frames);
        assert_eq!(explained[0]["reason"], "rule", "{explained:?}");
        assert_eq!(explained[0]["blocks"], "10.0.0.1/32", "{explained:?}");
        assert_eq!(explained[0]["for_seconds"], 600);
        assert_eq!(explained[1]["reason"], "default");
    }
    assert_eq!(shown(&bench), [""; 0]);
    bench.run(&[drop("matched", to("10.0.0.1", 23), "rule").by("trap")]);
    let explained = explain_frames(&bench, &[&frames[0]]);
    assert_eq!(explained[0]["reason"], "banned", "{explained:?}");
    assert_eq!(explained[0]["entry"], "10.0.0.1/32");
    assert_eq!(explained[0]["owner"], "rule:trap");
    assert_eq!(shown(&bench), ["10.0.0.1/32 rule:trap 0"], "a question is not counted");
}

#[test]
fn commands_remove_what_rules_put() {
    let mut bench = Bench::new();
    bench.attach(BLOCK);
    let caught = ["10.0.0.1", "10.0.0.2", "10.0.0.4", "2001:db8:a::1", "2001:db8:c::1"];
    bench.run(&caught.map(|source| drop(source, to(source, 23), "rule").by("trap")));
    run(&bench, &["block", "10.0.0.9"]);
    run(&bench, &["block", "10.0.0.4", "--owner", "other"]);
    assert_eq!(shown(&bench).len(), 7);
    // All or none.
    let refused = bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "10.0.0.77"]);
    refused.expect_status(1);
    bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "--owner", "rule:ssh"]).expect_status(1);
    assert_eq!(shown(&bench).len(), 7);
    run(&bench, &["unblock", "10.0.0.1"]);
    run(&bench, &["unblock", "2001:db8:a::/64", "--owner", "rule:trap"]);
    run(&bench, &["unblock", "10.0.0.4", "--owner", "rule:trap"]);
    bench.run(&[
        pass("let go", to("10.0.0.1", 53), "default"),
        pass("let go, of IPv6", to("2001:db8:a::1", 53), "default"),
        drop("of another owner", to("10.0.0.4", 53), "banned"),
        drop("still", to("10.0.0.2", 53), "banned"),
    ]);
    run(&bench, &["bans", "--flush", "--owner", "rule:trap"]);
    assert_eq!(shown(&bench), ["10.0.0.4/32 other 1", "10.0.0.9/32 cli 0"]);
    bench.run(&[
        pass("flushed", to("10.0.0.2", 53), "default"),
        drop("again", to("10.0.0.2", 23), "rule").by("trap"),
        drop("blocked again", to("10.0.0.2", 53), "banned"),
    ]);
    // The owner's last command replaces what the rule put.
    run(&bench, &["allow", "10.0.0.2", "--owner", "rule:trap"]);
    bench.run(&[pass("allowed", to("10.0.0.2", 23), "allowed")]);
    run(&bench, &["bans", "--flush"]);
    assert_eq!(shown(&bench), [""; 0]);
}

#[test]
fn of_entries_that_hold_a_source_the_longest_decides() {
    let mut bench = Bench::new();
    bench.attach(BLOCK);
    let [v4, v6] = ["10.0.0.1", "2001:db8:a::1"];
    bench.run(&[v4, v6].map(|source| drop(source, to(source, 23), "rule").by("trap")));
    run(&bench, &["allow", "10.0.0.0/24", "2001:db8::/32"]);
    bench.run(&[v4, v6].map(|source| drop(source, to(source, 53), "banned")));
    run(&bench, &["allow", "10.0.0.1", "2001:db8:a::/64"]);
    bench.run(&[v4, v6].map(|source| pass(source, to(source, 23), "allowed")));
    let explained = explain_frames(&bench, &[to(v4, 23).build(), to(v6, 23).build()]);
    assert_eq!(explained[1]["entry"], "2001:db8:a::/64", "{explained:?}");
    assert_eq!(explained[0]["reason"], "allowed");
}

#[test]
fn entries_outlive_their_rule_and_the_program_and_end_by_themselves() {
    let mut bench = Bench::new();
    bench.attach(&BLOCK.replace("10m", "4s"));
    let begun = Instant::now();
    bench.run(&[
        drop("for 4 s", to("10.0.0.1", 23), "rule").by("trap"),
        pass("1", to("10.0.0.3", 22), "default"),
        pass("2", to("10.0.0.3", 22), "default"),
        pass("3", to("10.0.0.3", 22), "default"),
        drop("for an hour", to("10.0.0.3", 22), "rule").by("ssh"),
    ]);
    let file = bench.write("next.toml", "");
    run(&bench, &["reload", "-c", file.to_str().expect("a name of ours")]);
    run(&bench, &["attach", "--replace", "-c", file.to_str().expect("a name of ours")]);
    bench.run(&[drop("still", to("10.0.0.3", 22), "banned")]);
    assert!(shown(&bench).contains(&"10.0.0.3/32 rule:ssh 1".to_owned()), "{:?}", shown(&bench));
    let deadline = Instant::now() + patient(EVENT);
    while shown(&bench).len() > 1 {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() >= Duration::from_secs(4), "it ended too early");
    bench.run(&[pass("its time is over", to("10.0.0.1", 23), "default")]);
    // With the last one goes the memory.
    let bytes = || run(&bench, &["status", "--json"]).json()[0]["map_bytes"].as_u64();
    let before = bytes();
    run(&bench, &["bans", "--flush"]);
    run(&bench, &["reload", "-c", file.to_str().expect("a name of ours")]);
    assert!(bytes() < before.map(|bytes| bytes - (8 << 20)), "{:?} {before:?}", bytes());
}

/// A flood of forged sources fills the places, and costs the others nothing: what commands put, and what was there.
#[test]
fn a_flood_of_forged_sources_drives_nobody_out() {
    let mut bench = Bench::new();
    bench.attach(BLOCK);
    run(&bench, &["block", "10.0.0.9"]);
    bench.run(&[drop("the first", to("10.0.0.1", 23), "rule").by("trap")]);
    let before = bench.sample().total().packets;
    let count = 90_000_u32;
    for nth in 0..count {
        let [_, a, b, c] = nth.to_be_bytes();
        bench.port("src0").send(&to(&format!("11.{a}.{b}.{c}"), 23).build());
        // The receiving queue has an end.
        if nth % 128 == 127 {
            bench.await_count(before + u64::from(nth) + 1);
        }
    }
    bench.await_count(before + u64::from(count));
    let listed = run(&bench, &["bans", "--json"]);
    let entries = listed.json().as_array().expect("an array").len();
    assert!((50_000..=65_538).contains(&entries), "{entries}");
    assert!(
        listed.stderr.contains("rules that block sources had no place for more"),
        "{}",
        listed.stderr
    );
    let status = bench.xdpctl(["status", JUDGED, "--json"]);
    status.expect_status(1);
    assert!(status.stdout.contains("had no place for more"), "{}", status.stdout);
    bench.run(&[
        drop("what a command put", to("10.0.0.9", 53), "banned"),
        drop("what was there first", to("10.0.0.1", 53), "banned"),
        pass("others", to("10.0.0.2", 53), "default"),
    ]);
    run(&bench, &["block", "10.0.0.10"]);
    run(&bench, &["bans", "--flush"]);
    assert_eq!(shown(&bench), [""; 0]);
    bench.run(&[drop("there is room again", to("10.0.0.2", 23), "rule").by("trap")]);
    assert_eq!(shown(&bench), ["10.0.0.2/32 rule:trap 0"]);
}
