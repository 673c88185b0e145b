//! Whose run-time entries they are, and what each of them decided.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::dice::Dice;
use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;

/// Long enough for an entry `--for 1ms` to have ended.
const ENDED: Duration = Duration::from_millis(2);

const CONFIGURATION: &str = r#"
    [[allowlist]]
    name = "office"
    prefixes = ["198.51.100.0/24"]
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(CONFIGURATION);
    bench
}

#[track_caller]
fn run(bench: &Bench, args: &str) {
    let args: Vec<&str> = args.split(' ').collect();
    let (command, rest) = args.split_first().expect("a command");
    bench.xdpctl([&[*command, JUDGED], rest].concat()).success();
}

#[track_caller]
fn bans(bench: &Bench, rest: &[&str]) -> Vec<Value> {
    let listed = bench.xdpctl([&["bans", JUDGED, "--json"], rest].concat()).success().json();
    listed.as_array().expect("an array").clone()
}

/// Prefix, owner, kind and packets of each entry.
#[track_caller]
fn shown(bench: &Bench, rest: &[&str]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |entry: &Value| {
        ["prefix", "owner", "kind", "packets"].map(|key| text(&entry[key])).join(" ")
    };
    bans(bench, rest).iter().map(line).collect()
}

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "::1", 1, 2),
        false => udp4(source, "1.1.1.1", 1, 2),
    }
}

/// A frame from that source, which a run-time entry has to drop.
fn blocked(source: &str) -> [crate::lab::bench::Row; 1] {
    [drop(source, from(source), "banned")]
}

fn allowed(source: &str) -> [crate::lab::bench::Row; 1] {
    [pass(source, from(source), "allowed")]
}

fn left_alone(source: &str) -> [crate::lab::bench::Row; 1] {
    [pass(source, from(source), "default")]
}

#[test]
fn of_two_owners_the_entry_that_ends_last_counts() {
    let bench = attached();
    for (address, prefix) in [
        ("10.0.0.1", "10.0.0.1"),
        ("10.1.2.3", "10.1.0.0/16"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8:1::7", "2001:db8:1::/64"),
    ] {
        // The later end first, and last.
        for (first, second) in [("1ms", "1h"), ("1h", "1ms")] {
            run(&bench, &format!("block {prefix} --owner sshd --for {first}"));
            run(&bench, &format!("block {prefix} --owner web --for {second}"));
            sleep(ENDED);
            bench.run(&blocked(address));
            let left = if first == "1h" { "sshd" } else { "web" };
            let listed = shown(&bench, &[]);
            assert_eq!(listed.len(), 1, "the other has ended, and is swept: {listed:?}");
            assert!(listed[0].contains(&format!(" {left} block ")), "{listed:?}");
            bench.run(&blocked(address));
            run(&bench, &format!("unblock {prefix} --owner {left}"));
            bench.run(&left_alone(address));
        }
        // One is removed before its end, and the other stays.
        run(&bench, &format!("block {prefix} --owner sshd"));
        run(&bench, &format!("block {prefix} --owner web --for 1h"));
        run(&bench, &format!("unblock {prefix} --owner sshd"));
        bench.run(&blocked(address));
        run(&bench, &format!("unblock {prefix} --owner web"));
        bench.run(&left_alone(address));
    }
    assert_eq!(bans(&bench, &[]), Vec::<Value>::new());
}

#[test]
fn of_one_prefix_an_allow_decides_before_a_block_while_it_lives() {
    let bench = attached();
    run(&bench, "block 10.0.0.0/8 --owner list");
    run(&bench, "allow 10.0.0.0/8 --owner admin --for 1h");
    bench.run(&allowed("10.1.1.1"));
    run(&bench, "block 10.0.0.0/8 --owner list");
    bench.run(&allowed("10.1.1.1"));
    run(&bench, "allow 10.0.0.0/8 --owner admin --for 1ms");
    sleep(ENDED);
    // Nothing has run since it ended.
    bench.run(&blocked("10.1.1.1"));
    // A longer prefix hides both.
    run(&bench, "block 10.1.0.0/16 --owner list --for 1ms");
    run(&bench, "allow 10.1.0.0/16 --owner other");
    sleep(ENDED);
    bench.run(&allowed("10.1.1.1"));
    run(&bench, "unblock 10.1.0.0/16");
    bench.run(&blocked("10.1.1.1"));
}

#[test]
fn entries_are_listed_and_removed_by_owner() {
    let bench = attached();
    run(&bench, "block 10.0.0.1 10.0.0.2 --owner sshd");
    run(&bench, "block 10.0.0.1 2001:db8::1 --owner web");
    run(&bench, "allow 10.0.0.1");
    assert_eq!(
        shown(&bench, &[]),
        [
            "10.0.0.1/32 cli allow 0",
            "10.0.0.1/32 sshd block 0",
            "10.0.0.1/32 web block 0",
            "10.0.0.2/32 sshd block 0",
            "2001:db8::1/128 web block 0",
        ]
    );
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    assert_eq!(status[0]["entries"]["bans"], 5);
    let of_web = ["10.0.0.1/32 web block 0", "2001:db8::1/128 web block 0"];
    assert_eq!(shown(&bench, &["--owner", "web"]), of_web);
    assert_eq!(shown(&bench, &["--owner", "nobody"]), Vec::<String>::new());

    // All of them or none, and of that owner.
    let output = bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "10.0.0.2", "--owner", "web"]);
    let said = "in0 has no run-time entry of web for 10.0.0.2/32";
    assert!(output.expect_status(1).stderr.contains(said), "{}", output.stderr);
    let output = bench.xdpctl(["unblock", JUDGED, "10.0.0.1", "--owner", "nobody"]);
    output.expect_status(1);
    assert_eq!(bans(&bench, &[]).len(), 5);

    run(&bench, "unblock 10.0.0.1 --owner cli");
    bench.run(&blocked("10.0.0.1"));
    // Without an owner, those of all.
    run(&bench, "unblock 10.0.0.1");
    bench.run(&left_alone("10.0.0.1"));
    assert_eq!(shown(&bench, &[]), ["10.0.0.2/32 sshd block 0", "2001:db8::1/128 web block 0"]);
    for wrong in ["", "two words", "x;y", &"x".repeat(73)] {
        bench.xdpctl(["block", JUDGED, "10.0.0.1", "--owner", wrong]).expect_status(2);
    }
    let table = bench.xdpctl(["bans", JUDGED]);
    assert!(table.success().stdout.contains("OWNER"), "{}", table.stdout);
}

#[test]
fn the_entries_of_one_owner_or_of_all_are_flushed() {
    let bench = attached();
    run(&bench, "block 10.0.0.1 10.0.0.2 2001:db8::/48 --owner sshd");
    run(&bench, "block 10.0.0.1 --owner web");
    let flushed = bench.xdpctl(["bans", JUDGED, "--flush", "--owner", "sshd"]);
    assert_eq!(flushed.success().stdout, "removed 3 run-time entries of sshd on in0\n");
    assert_eq!(shown(&bench, &[]), ["10.0.0.1/32 web block 0"]);
    bench.run(&blocked("10.0.0.1"));
    bench.run(&left_alone("10.0.0.2"));
    // What was removed, as JSON.
    assert_eq!(shown(&bench, &["--flush"]), ["10.0.0.1/32 web block 1"]);
    bench.run(&left_alone("10.0.0.1"));
    let flushed = bench.xdpctl(["bans", JUDGED, "--flush"]);
    assert_eq!(flushed.success().stdout, "removed 0 run-time entries on in0\n");
}

#[test]
fn what_keeps_an_entry_from_acting_is_said_at_once() {
    let bench = attached();
    let said = |args: &[&str]| {
        let args = [&[args[0], JUDGED], &args[1..]].concat();
        bench.xdpctl(args).success().stderr.clone()
    };
    assert_eq!(said(&["block", "10.0.0.1"]), "");
    let listed = "warning: allowlist \"office\" 198.51.100.0/24 lets it in\n";
    assert_eq!(said(&["block", "198.51.100.7", "--for", "1h"]), listed);
    bench.run(&[pass("as was said", from("198.51.100.7"), "allowlist").by("office")]);
    assert_eq!(
        said(&["block", "198.51.0.0/16"]),
        "warning: allowlist \"office\" 198.51.100.0/24 lets part of it in\n"
    );
    assert_eq!(said(&["allow", "198.51.100.7"]), "", "an allow decides before it");
    assert_eq!(said(&["allow", "10.0.0.1", "--owner", "admin"]), "");
    assert_eq!(
        said(&["block", "10.0.0.1", "--owner", "sshd"]),
        "warning: a run-time entry of admin allows it\n"
    );
    bench.run(&allowed("10.0.0.1"));
    assert_eq!(
        said(&["block", "10.0.0.0/24"]),
        "warning: a run-time entry of admin allows a part of it, 10.0.0.1/32\n"
    );
    assert_eq!(said(&["allow", "10.0.0.1", "10.0.0.0/24", "--owner", "x"]), "");
    assert_eq!(
        said(&["allow", "10.0.0.0/16"]),
        "",
        "an allow of the longer prefix decides there, whoever blocks it too"
    );
}

/// An entry is put on every interface, or on none where one of them has no room.
#[test]
fn all_interfaces_are_told_at_once() {
    let bench = attached();
    let config = bench.write("out0.toml", "");
    let config = config.to_str().expect("UTF-8");
    let alone = bench.xdpctl(["block", "--all-interfaces", "10.0.0.1", "--owner", "a"]);
    assert_eq!(alone.success().stdout, "blocked 10.0.0.1/32 on in0\n");
    bench.xdpctl(["attach", "out0", "-c", config, "--mode", "native"]).success();
    let of = |interface: &str| {
        let listed = bench.xdpctl(["bans", interface, "--json"]).success().json();
        let listed = listed.as_array().expect("an array").clone();
        let name = |it: &Value| format!("{} {}", it["prefix"], it["owner"]).replace('"', "");
        listed.iter().map(name).collect::<Vec<_>>()
    };
    let both = bench.xdpctl(["block", "10.0.0.2", "10.0.0.3", "--all-interfaces"]);
    let said = ["in0", "out0"].map(|name| format!("blocked 2 prefixes on {name}\n"));
    let mut lines: Vec<String> =
        both.success().stdout.lines().map(|it| format!("{it}\n")).collect();
    lines.sort();
    assert_eq!(lines, said);
    bench.run(&blocked("10.0.0.2"));
    assert_eq!(of("out0"), ["10.0.0.2/32 cli", "10.0.0.3/32 cli"]);

    // It fails on one of them, which is named: nothing is left on the other either.
    let many: String =
        (0..262_144u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(n))).collect();
    let file = bench.write("many", &many);
    let mut child = bench.lab().xdpctl_command("dut", ["block", "out0", "-", "--owner", "full"]);
    child.stdin(fs::File::open(&file).expect("the file")).stdout(Stdio::null());
    assert!(!child.status().expect("it runs").success(), "two are there already");
    bench.xdpctl(["bans", "out0", "--flush"]).success();
    let mut child = bench.lab().xdpctl_command("dut", ["block", "out0", "-", "--owner", "full"]);
    child.stdin(fs::File::open(&file).expect("the file")).stdout(Stdio::null());
    assert!(child.status().expect("it runs").success());
    let before = of("in0");
    let output = bench.xdpctl(["block", "10.0.0.2", "10.0.0.9", "--all-interfaces", "--for", "1h"]);
    let said = &output.expect_status(1).stderr;
    assert!(said.starts_with("error: out0: ") && said.contains("do not fit"), "{said}");
    assert_eq!(of("in0"), before);
    let listed = bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
    assert_eq!(listed[1]["expires_in_seconds"], Value::Null, "nor is it replaced");
    bench.run(&blocked("10.0.0.2"));
    bench.run(&left_alone("10.0.0.9"));
    bench.xdpctl(["bans", "out0", "--flush"]).success();

    // Where one has it, that is removed.
    let output = bench.xdpctl(["unblock", "--all-interfaces", "10.0.0.9"]);
    let said = "no attached interface has a run-time entry for 10.0.0.9/32";
    assert!(output.expect_status(1).stderr.contains(said), "{}", output.stderr);
    let output = bench.xdpctl(["unblock", "--all-interfaces", "10.0.0.2"]);
    assert_eq!(output.success().stdout, "unblocked 10.0.0.2/32 on in0\n");
    bench.run(&left_alone("10.0.0.2"));
    assert_eq!(of("in0"), ["10.0.0.1/32 a", "10.0.0.3/32 cli"]);

    // What lists and removes them takes all interfaces too.
    bench.xdpctl(["block", "out0", "10.0.0.1", "--owner", "a"]).success();
    let listed = bench.xdpctl(["bans", "--all-interfaces", "--json"]).success().json();
    let name = |it: &Value| {
        format!("{} {} {}", it["interface"], it["prefix"], it["owner"]).replace('"', "")
    };
    let mut names: Vec<String> = listed.as_array().expect("an array").iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["in0 10.0.0.1/32 a", "in0 10.0.0.3/32 cli", "out0 10.0.0.1/32 a"]);
    let text = bench.xdpctl(["bans", "--all-interfaces"]).success().stdout.clone();
    assert!(text.contains("in0:\nPREFIX") && text.contains("out0:\nPREFIX"), "{text}");
    let flushed = bench.xdpctl(["bans", "--all-interfaces", "--flush", "--owner", "a"]);
    let mut lines: Vec<&str> = flushed.success().stdout.lines().collect();
    lines.sort_unstable();
    let said = ["in0", "out0"].map(|name| format!("removed 1 run-time entry of a on {name}"));
    assert_eq!(lines, said);
    assert_eq!((of("in0"), of("out0")), (vec!["10.0.0.3/32 cli".to_owned()], Vec::new()));
    bench.run(&[left_alone("10.0.0.1"), blocked("10.0.0.3")].concat());
    bench.xdpctl(["bans", JUDGED, "--all-interfaces"]).expect_status(2);
}

/// With `--if-present`, what has no entry is passed over.
#[test]
fn entries_that_are_not_there_are_passed_over_where_that_is_asked_for() {
    let bench = attached();
    run(&bench, "block 10.0.0.1 --owner sshd");
    let unblock = |rest: &[&str]| {
        let args = [&["unblock", JUDGED, "10.0.0.1", "10.0.0.2", "--owner"], rest].concat();
        bench.xdpctl(args)
    };
    unblock(&["sshd"]).expect_status(1);
    bench.run(&blocked("10.0.0.1"));
    assert_eq!(unblock(&["web", "--if-present"]).success().stdout, "");
    bench.run(&blocked("10.0.0.1"));
    let unblocked = unblock(&["sshd", "--if-present"]);
    assert_eq!(unblocked.success().stdout, "unblocked 10.0.0.1/32 on in0\n");
    bench.run(&left_alone("10.0.0.1"));
    let again = unblock(&["sshd", "--if-present"]);
    assert_eq!((&*again.success().stdout, &*again.stderr), ("", ""));
    bench.xdpctl(["unblock", "nowhere", "10.0.0.1", "--if-present"]).expect_status(1);
}

/// An entry's counter shows the packets that it decided since it was put: not those that an
/// allowlist let in, and no frames of `explain`.
#[test]
fn packets_are_counted_to_the_entry_that_decided_them() {
    let mut bench = attached();
    run(&bench, "block 10.0.0.0/8 --owner list");
    run(&bench, "block 10.0.0.1 --owner sshd");
    run(&bench, "block 198.51.100.7 --owner sshd");
    run(&bench, "allow 2001:db8::/48 --owner admin");
    let rows = || {
        [
            drop("the address", from("10.0.0.1"), "banned"),
            drop("again", from("10.0.0.1"), "banned"),
            drop("its net", from("10.0.0.2"), "banned"),
            pass("the allowlist", from("198.51.100.7"), "allowlist").by("office"),
            pass("allowed", from("2001:db8::1"), "allowed"),
            drop("malformed", from("10.0.0.1").ihl(4), "malformed"),
            pass("another", from("11.0.0.1"), "default"),
        ]
    };
    bench.run(&rows());
    let counted = |net: u64, address: u64, allowed: u64| {
        [
            format!("10.0.0.0/8 list block {net}"),
            format!("10.0.0.1/32 sshd block {address}"),
            "198.51.100.7/32 sshd block 0".to_owned(),
            format!("2001:db8::/48 admin allow {allowed}"),
        ]
    };
    assert_eq!(shown(&bench, &[]), counted(1, 2, 1));
    for source in ["10.0.0.1", "10.0.0.2"] {
        let asked =
            bench.xdpctl(["explain", JUDGED, "--source", source, "--destination", "1.1.1.1"]);
        assert!(asked.success().stdout.contains("banned"), "{}", asked.stdout);
    }
    assert_eq!(shown(&bench, &[]), counted(1, 2, 1), "asking counts nothing");

    // The counts stay through everything but the owner's own next command.
    bench.attach(CONFIGURATION);
    bench.xdpctl(["reload", JUDGED]).success();
    bench.xdpctl(["attach", "--replace", JUDGED]).success();
    run(&bench, "block 10.0.0.3 --owner list");
    run(&bench, "unblock 10.0.0.3");
    bench.run(&rows());
    assert_eq!(shown(&bench, &[]), counted(2, 4, 2));
    run(&bench, "block 10.0.0.0/8 --owner list --for 1h");
    assert_eq!(shown(&bench, &[]), counted(0, 4, 2), "a new entry");

    // Another owner's begins where it is put, and what an allow decided is not the block's.
    run(&bench, "block 10.0.0.1 --owner web");
    bench.run(&blocked("10.0.0.1"));
    run(&bench, "allow 10.0.0.1 --owner admin");
    bench.run(&allowed("10.0.0.1"));
    assert_eq!(
        shown(&bench, &[])[1..4],
        ["10.0.0.1/32 admin allow 1", "10.0.0.1/32 sshd block 5", "10.0.0.1/32 web block 1"]
    );
    run(&bench, "unblock 10.0.0.1 --owner admin");
    bench.run(&blocked("10.0.0.1"));
    assert_eq!(shown(&bench, &[])[1..3], ["10.0.0.1/32 sshd block 6", "10.0.0.1/32 web block 2"]);
}

/// Counters are taken and released by the page, and no two entries share one.
#[test]
fn counters_of_entries_that_went_are_used_again_and_none_twice() {
    let bench = attached();
    let status = || bench.xdpctl(["status", JUDGED, "--json"]).statuses()[0].clone();
    let without = status()["map_bytes"].clone();
    let host = |n: u32| format!("10.{}.{}.1", n >> 8, n & 0xff);
    let net = |n: u32| format!("2a02:{:x}::/64", n + 1);
    let file = |name: &str, range: std::ops::Range<u32>| {
        let text: String = range.map(|n| format!("{}\n{}\n", host(n), net(n))).collect();
        bench.write(name, &text)
    };
    let stream = |command: &str, file: &std::path::Path| {
        let mut child = bench.lab().xdpctl_command("dut", [command, JUDGED, "-"]);
        let child = child.stdin(fs::File::open(file).expect("the file")).stdout(Stdio::null());
        assert!(child.status().expect("it runs").success(), "{command}");
    };
    let (all, some) = (file("all", 0..9_000), file("some", 1_000..8_000));
    for _ in 0..3 {
        stream("block", &all);
        stream("unblock", &some);
        let mut sent = Vec::new();
        for n in [0, 999, 8_000, 8_999] {
            let inside = net(n).replace("/64", "7");
            bench.run(&blocked(&host(n)));
            bench.run(&blocked(&inside));
            sent.extend([format!("{}/32 1", host(n)), format!("{} 1", net(n))]);
        }
        stream("block", &some);
        let listed = bans(&bench, &[]);
        let counted = listed.iter().filter(|entry| entry["packets"] != 0);
        let mut counted: Vec<String> = counted
            .map(|entry| {
                format!("{} {}", entry["prefix"].as_str().expect("text"), entry["packets"])
            })
            .collect();
        counted.sort();
        sent.sort();
        assert_eq!(counted, sent);
        stream("unblock", &all);
        assert_eq!(status()["map_bytes"], without, "the memory comes back");
    }
}

/// Killed at any instant, a command of one owner leaves what is another's, and each entry that `bans`
/// shows judges and counts.
#[test]
fn killed_commands_leave_whole_entries_of_every_owner() {
    const SEED: u64 = 1;
    const TIMES: usize = 20;
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let bench = attached();
    let host = |n: u32| format!("10.{}.{}.1", n >> 8, n & 0xff);
    let net = |n: u32| format!("2a02:{:x}::/64", n + 1);
    let all: String = (0..4_000).map(|n| host(n) + "\n" + &net(n) + "\n").collect();
    let file = bench.write("all", &all);
    let command = |command: &str, rest: &[&str]| {
        let args = [&[command, JUDGED, "-"], rest].concat();
        let mut child = bench.lab().xdpctl_command("dut", args);
        child.stdin(fs::File::open(&file).expect("the file"));
        child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let begun = Instant::now();
    assert!(command("block", &["--owner", "first"]).wait().expect("it ends").success());
    let whole = begun.elapsed();
    for turn in 0..TIMES {
        let mut child = match turn % 4 {
            0 => command("allow", &["--owner", "second"]),
            1 => command("unblock", &["--owner", "second"]),
            2 => command("block", &["--owner", "second", "--for", "1h"]),
            _ => command("allow", &["--owner", "second", "--for", "1h"]),
        };
        sleep(whole.mul_f64(dice.below(1000) as f64 / 900.0));
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        child.wait().expect("it ends");
        let before = bans(&bench, &[]);
        let of = |owner: &str| before.iter().filter(|it| it["owner"] == owner).count();
        println!("turn {turn}: {} of the second", of("second"));
        assert_eq!(of("first"), 8_000, "turn {turn}");
        let entry = |listed: &[Value], prefix: &str, owner: &str| {
            let found = listed.iter().find(|it| it["prefix"] == prefix && it["owner"] == owner);
            found.map(|it| (it["kind"] == "allow", it["packets"].as_u64().expect("a number")))
        };
        let sources: Vec<(String, String)> = [0, 1, 2_000, 3_999]
            .into_iter()
            .flat_map(|n| {
                let inside = net(n).replace("/64", "7");
                [(host(n), format!("{}/32", host(n))), (inside, net(n))]
            })
            .collect();
        let mut rows = Vec::new();
        for (source, prefix) in &sources {
            rows.push(match entry(&before, prefix, "second") {
                Some((true, _)) => pass(source, from(source), "allowed"),
                _ => drop(source, from(source), "banned"),
            });
        }
        bench.run(&rows);
        let after = bans(&bench, &[]);
        for (_, prefix) in &sources {
            let allows = entry(&before, prefix, "second").is_some_and(|(allow, _)| allow);
            for owner in ["first", "second"] {
                let (before, after) = (entry(&before, prefix, owner), entry(&after, prefix, owner));
                let decides = |allow: bool| u64::from(allow == allows);
                let wanted = before.map(|(allow, count)| (allow, count + decides(allow)));
                assert_eq!(after, wanted, "turn {turn}: {prefix} of {owner}");
            }
        }
    }
}
