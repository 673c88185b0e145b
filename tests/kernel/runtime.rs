//! Entries added at run time: where they stand in the order of judgement, how they end, and what
//! they survive.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};

/// Long enough for an entry `--for 1ms` to have ended.
const ENDED: Duration = Duration::from_millis(2);

const CONFIGURATION: &str = r#"
    [policy]
    fragments = "drop"
    [[allowlist]]
    name = "office"
    prefixes = ["198.51.100.0/24", "2001:db8:1::/48"]
    [[blocklist]]
    name = "bad"
    prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
    match = "either"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(CONFIGURATION);
    bench
}

#[track_caller]
fn run(bench: &Bench, command: &str, rest: &[&str]) {
    bench.xdpctl([&[command, JUDGED], rest].concat()).success();
}

/// Runs a command with text on its standard input: status, output, errors.
#[track_caller]
fn stream(bench: &Bench, command: &str, rest: &[&str], text: &str) -> (i32, String, String) {
    let args = [&[command, JUDGED, "-"], rest].concat();
    let mut command = bench.lab().xdpctl_command("dut", args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let output = thread::scope(|scope| {
        // It may end without reading all of it.
        scope.spawn(move || input.write_all(text.as_bytes()));
        child.wait_with_output().expect("it ends")
    });
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn bans(bench: &Bench) -> Vec<Value> {
    let listed = bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
    listed.as_array().expect("an array").clone()
}

/// An entry without when it was put, which has to be now.
#[track_caller]
fn without_time(entry: &Value) -> Value {
    let mut entry = entry.clone();
    let created = entry["created"].as_str().map(humantime::parse_rfc3339);
    let created = created.and_then(Result::ok).unwrap_or_else(|| panic!("{entry}"));
    assert!(created.elapsed().is_ok_and(|since| since < patient(EVENT)), "{entry}");
    entry.as_object_mut().expect("an object").remove("created");
    entry
}

fn status(bench: &Bench) -> Value {
    bench.xdpctl(["status", JUDGED, "--json"]).statuses()[0].clone()
}

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "::1", 1, 2),
        false => udp4(source, "1.1.1.1", 1, 2),
    }
}

#[test]
fn they_stand_around_the_allowlists() {
    let bench = attached();
    run(&bench, "allow", &["203.0.113.7"]);
    run(&bench, "allow", &["2001:db8:bad::/64"]);
    run(&bench, "block", &["198.51.100.0/24"]);
    run(&bench, "block", &["10.0.0.0/8", "--note", "a whole net"]);
    run(&bench, "block", &["2001:db8:e::/48", "--for", "1h"]);
    bench.run(&[
        pass("allowed over a blocklist", from("203.0.113.7"), "allowed"),
        pass("allowed over fragments", from("203.0.113.7").fragment(1, true), "allowed"),
        pass("allowed, IPv6", from("2001:db8:bad::7").vlan(7), "allowed"),
        drop("beside it", from("203.0.113.8"), "blocklist").by("bad"),
        drop("beside it, IPv6", from("2001:db8:bad:1::"), "blocklist").by("bad"),
        pass("allowlists over a ban", from("198.51.100.7"), "allowlist").by("office"),
        drop("banned", from("10.1.2.3").qinq(7, 8), "banned"),
        drop("banned before fragments", from("10.1.2.3").fragment(1, true), "banned"),
        drop("banned before blocklists", udp4("10.1.2.3", "203.0.113.1", 1, 2), "banned"),
        drop("banned, IPv6", icmp6("2001:db8:e::1", "::1", 128), "banned"),
        pass("only the source is asked", udp4("1.1.1.1", "10.1.2.3", 1, 2), "default"),
        drop("malformed comes first", from("203.0.113.7").ihl(4), "malformed"),
        pass("ARP is judged apart", arp_request("10.1.2.3", "10.0.0.1"), "arp"),
    ]);
}

#[test]
fn the_longest_live_entry_decides() {
    let bench = attached();
    let (inner, inner_v6) = ("10.1.0.9", "2001:db8:e:1::9");
    run(&bench, "block", &["10.0.0.0/8"]);
    run(&bench, "allow", &["10.1.0.0/16"]);
    run(&bench, "block", &["2001:db8:e::/48"]);
    run(&bench, "block", &["10.1.0.9", "--for", "1h"]);
    run(&bench, "allow", &["2001:db8:e:1::/64", "--for", "1h"]);
    bench.run(&[
        drop("the host", from(inner), "banned"),
        pass("its net", from("10.1.0.8"), "allowed"),
        drop("the net around", from("10.2.0.8"), "banned"),
        pass("the inner net, IPv6", from(inner_v6), "allowed"),
    ]);
    // The two are put one after the other: the next command that changes entries removes one that
    // has ended, and here it has to be there still.
    run(&bench, "block", &["10.1.0.9", "--for", "1ms"]);
    sleep(ENDED);
    bench.run(&[pass("the host's entry has ended, and hides nothing", from(inner), "allowed")]);
    run(&bench, "allow", &["2001:db8:e:1::/64", "--for", "1ms"]);
    sleep(ENDED);
    bench.run(&[drop("the inner net's, IPv6", from(inner_v6), "banned")]);
    run(&bench, "block", &["10.1.0.0/16"]);
    bench.run(&[drop("the last command replaces the one before", from(inner), "banned")]);
    run(&bench, "unblock", &["10.1.0.0/16"]);
    run(&bench, "unblock", &["10.0.0.0/8"]);
    bench.run(&[pass("nothing is left", from(inner), "default")]);
    run(&bench, "unblock", &["2001:db8:e::/48"]);
    bench.run(&[pass("nothing is left, IPv6", from(inner_v6), "default")]);
}

/// A trie answers only with the longest match. Entries of as many lengths as there can be have
/// ended, and the shortest still decides.
#[test]
fn entries_that_have_ended_hide_nothing_however_many() {
    let bench = attached();
    let v4 = (1..=32).map(|length| format!("10.1.2.3/{length}\n"));
    let v6 = (1..=128).map(|length| format!("2001:db8::7/{length}\n"));
    let nested: String = v4.chain(v6).collect();
    run(&bench, "allow", &["0.0.0.0/0", "::/0", "--catch-all"]);
    assert_eq!(stream(&bench, "block", &["--for", "1h"], &nested).0, 0);
    let sources = ["10.1.2.3", "10.1.2.2", "2001:db8::7", "2001:db8:0:1::7"];
    bench.run(&sources.map(|source| drop("under all of them", from(source), "banned")));
    bench.run(&[pass("under the shortest alone", from("192.0.2.1"), "allowed")]);
    assert_eq!(stream(&bench, "block", &["--for", "1ms"], &nested).0, 0);
    sleep(ENDED);
    bench.run(&sources.map(|source| pass("they have ended", from(source), "allowed")));
    assert_eq!(bans(&bench).len(), 2, "and are swept");
    bench.run(&sources.map(|source| pass("swept", from(source), "allowed")));
}

/// While the test waits, no command and no daemon runs but the one that reads the counters.
#[test]
fn an_entry_ends_in_time_by_itself() {
    let bench = attached();
    let life = Duration::from_secs(2);
    let before = Instant::now();
    run(&bench, "block", &["10.1.2.3", "10.2.0.0/16", "2001:db8:e::/64", "--for", "2s"]);
    run(&bench, "allow", &["203.0.113.9", "--for", "2s"]);
    let after = Instant::now();
    let sources = ["10.1.2.3", "10.2.9.9", "2001:db8:e::1", "203.0.113.9"];
    let mut ended = [false; 4];
    // Entries end by the clock that this test reads. When exactly a packet was judged is not known,
    // but it was between two looks at the clock, however far apart these are.
    while ended.contains(&false) {
        for (source, ended) in sources.iter().zip(&mut ended) {
            let seen = bench.sample();
            let sent = Instant::now();
            bench.port("src0").send(&from(source).build());
            let now = bench.await_count(seen.total().packets + 1);
            let counted = Instant::now();
            let moved = |reason: &str| now.reasons[reason].packets - seen.reasons[reason].packets;
            assert_eq!(now.total().packets, seen.total().packets + 1);
            if moved("banned") + moved("allowed") == 1 {
                assert!(!*ended, "{source} came back");
                assert!(sent < after + life, "{source} lives after its end");
            } else {
                *ended = true;
                assert!(counted >= before + life, "{source} ended too early");
            }
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_hundred_thousand_are_streamed_replaced_and_removed() {
    const PREFIXES: usize = 100_000;
    let bench = attached();
    let without = status(&bench)["map_bytes"].clone();
    let all: String = (0..25_000u32)
        .map(|n| {
            let [_, a, b, c] = (n * 256).to_be_bytes();
            let host = n % 251;
            format!(
                "10.{a}.{b}.{host} ; one address\n11.{a}.{b}.{c}/24\n2a02:{n:x}::{host}\r\n\
                 2a00:{n:x}::/64\n"
            )
        })
        .collect();
    let (code, said, errors) = stream(&bench, "block", &["--note", "all of them"], &all);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(said, "blocked 100,000 prefixes on in0\n");
    assert_eq!(status(&bench)["entries"]["bans"], json!(PREFIXES));
    let rows = |verdict: fn(&str, Frame, &'static str) -> _, reason| {
        let of = |n: u32| {
            let [_, a, b, _] = (n * 256).to_be_bytes();
            let host = n % 251;
            [
                format!("10.{a}.{b}.{host}"),
                format!("11.{a}.{b}.77"),
                format!("2a02:{n:x}::{host}"),
                format!("2a00:{n:x}::1:2:3:4"),
            ]
        };
        let numbers = [0, 1, 255, 256, 12_345, 24_999];
        let sources: Vec<String> = numbers.into_iter().flat_map(of).collect();
        sources.iter().map(|source| verdict(source, from(source), reason)).collect::<Vec<_>>()
    };
    bench.run(&rows(drop, "banned"));
    bench.run(
        &["10.0.0.1", "12.0.0.1", "2a02:1::ffff", "2a00:1:0:1::", "2a01::"]
            .map(|source| pass(source, from(source), "default")),
    );
    let listed = bans(&bench);
    assert_eq!(listed.len(), PREFIXES);
    let entry = json!({"prefix": "10.0.0.0/32", "kind": "block", "expires_in_seconds": null,
                       "note": "all of them", "owner": "cli", "packets": 1});
    assert_eq!(without_time(&listed[0]), entry);

    let (code, said, _) = stream(&bench, "allow", &["--for", "1h"], &all);
    assert_eq!(code, 0);
    assert!(said.contains("100,000 of them in place of entries before"), "{said}");
    assert_eq!(status(&bench)["entries"]["bans"], json!(PREFIXES), "one entry for a prefix");
    bench.run(&rows(pass, "allowed"));

    assert_eq!(stream(&bench, "unblock", &[], &all).0, 0);
    bench.run(&rows(pass, "default"));
    assert_eq!(bans(&bench), Vec::<Value>::new());
    assert_eq!(status(&bench)["map_bytes"], without, "the memory comes back");
    assert_eq!(status(&bench)["entries"]["bans"], 0);
}

#[test]
fn each_table_holds_a_quarter_of_a_million_and_says_when_it_is_full() {
    let bench = attached();
    let dotted = |n: u32| std::net::Ipv4Addr::from_bits(10 << 24 | n).to_string();
    let many: String = (0..250_000).map(|n| dotted(n) + "\n").collect();
    assert_eq!(stream(&bench, "block", &[], &many).0, 0);
    let prefixes: String =
        (0..250_000).map(|n| format!("2a00:{:x}:{:x}::/48\n", n >> 16, n & 0xffff)).collect();
    assert_eq!(stream(&bench, "block", &[], &prefixes).0, 0);
    let full = || {
        bench.run(&[
            drop("the last one", from(&dotted(249_999)), "banned"),
            drop("the last prefix", from("2a00:3:d08f::1"), "banned"),
            pass("none", from("9.0.0.0"), "default"),
        ]);
        assert_eq!(status(&bench)["entries"]["bans"], 500_000);
    };
    full();
    let more: String = (250_000..270_000).map(|n| dotted(n) + "\n").collect();
    let (code, _, errors) = stream(&bench, "allow", &[], &(more + "10.0.0.0\n9.0.0.0/24\n"));
    assert_eq!(code, 1);
    assert!(
        errors.contains("20,000 more IPv4 addresses do not fit: there are 250,000 already"),
        "{errors}"
    );
    // All or none of them.
    full();
    bench.run(&[drop("not replaced either", from("10.0.0.0"), "banned")]);
}

#[test]
fn they_survive_a_reload_and_an_exchange_of_the_program() {
    let mut bench = attached();
    run(&bench, "block", &["10.0.0.0/8", "--note", "a net"]);
    run(&bench, "block", &["9.9.9.9", "--for", "1h"]);
    run(&bench, "allow", &["10.1.0.0/16", "2001:db8:bad::/64", "--for", "1h"]);
    let listed = || {
        let mut listed = bans(&bench);
        let left = |entry: &mut Value| entry["expires_in_seconds"].take().as_u64();
        let left: Vec<Option<u64>> = listed.iter_mut().map(left).collect();
        (listed, left)
    };
    let (before, left_before) = listed();
    bench.xdpctl(["attach", "--replace", JUDGED]).success();
    bench.xdpctl(["reload", JUDGED]).success();
    let (after, left_after) = listed();
    assert_eq!(before, after);
    for (before, after) in left_before.iter().zip(&left_after) {
        assert_eq!(before.is_some(), after.is_some());
        assert!(after <= before && *after != Some(0), "{left_before:?}, {left_after:?}");
    }
    bench.attach("[policy]\ndefault = \"drop\"\n");
    let rows = [
        drop("banned", from("10.9.2.3"), "banned"),
        drop("the host", from("9.9.9.9"), "banned"),
        drop("the new default", from("9.9.9.8"), "default"),
    ];
    bench.run(&rows);
    bench.run(&[
        pass("allowed", from("10.1.2.3"), "allowed"),
        pass("allowed, IPv6", from("2001:db8:bad::1"), "allowed"),
    ]);
    run(&bench, "allow", &["10.1.0.0/16", "2001:db8:bad::/64", "--for", "1ms"]);
    sleep(ENDED);
    bench.run(&[
        drop("ended all the same", from("10.1.2.3"), "banned"),
        drop("ended, IPv6", from("2001:db8:bad::1"), "default"),
    ]);
    bench.run(&rows);
    // The reload sweeps.
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(status(&bench)["entries"]["bans"], 2);

    bench.xdpctl(["detach", JUDGED]).success();
    let path = bench.directory().join("in0.toml");
    bench.xdpctl(["attach", JUDGED, "-c", path.to_str().expect("UTF-8")]).success();
    assert_eq!(bans(&bench), Vec::<Value>::new(), "they go with the program");
}

#[test]
fn what_has_ended_gives_its_memory_back_to_the_next_command() {
    let bench = attached();
    let without = status(&bench)["map_bytes"].as_u64().expect("a number");
    let many: String = (0..20_000u32).map(|n| format!("10.1.{}.{}\n", n >> 8, n & 0xff)).collect();
    let many = many + "192.0.2.0/24\n";
    assert_eq!(stream(&bench, "block", &["--for", "1h"], &many).0, 0);
    run(&bench, "block", &["2001:db8::/64"]);
    let with = status(&bench)["map_bytes"].as_u64().expect("a number");
    assert!(with > without + 20_000 * 16, "{with} and {without}");
    assert_eq!(stream(&bench, "block", &["--for", "1ms"], &many).0, 0);
    sleep(ENDED);
    assert_eq!(status(&bench)["entries"]["bans"], 1, "no longer counted");
    let listed = bans(&bench);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["prefix"], "2001:db8::/64");
    run(&bench, "block", &["2001:db8::/64"]);
    let swept = status(&bench)["map_bytes"].as_u64().expect("a number");
    assert!(swept < without + (2 << 20), "{swept} and {without}");
    run(&bench, "unblock", &["2001:db8::/64"]);
    assert_eq!(status(&bench)["map_bytes"], without);
}

#[test]
fn bans_are_sorted_and_have_notes_and_remaining_times() {
    let bench = attached();
    run(&bench, "block", &["2001:db8::/48", "10.0.0.9", "--for", "90s", "--note", "ssh é"]);
    run(&bench, "allow", &["10.0.0.0/24", "9.0.0.0/8"]);
    let listed = bans(&bench);
    let prefixes: Vec<&str> =
        listed.iter().map(|entry| entry["prefix"].as_str().expect("text")).collect();
    assert_eq!(prefixes, ["9.0.0.0/8", "10.0.0.0/24", "10.0.0.9/32", "2001:db8::/48"]);
    let left = listed[2]["expires_in_seconds"].as_u64().expect("a number");
    assert!((1..=90).contains(&left), "{left}");
    assert_eq!((&listed[2]["kind"], &listed[2]["note"]), (&json!("block"), &json!("ssh é")));
    let bare = |prefix: &str, kind: &str| {
        json!({
            "prefix": prefix, "kind": kind, "expires_in_seconds": null, "note": null,
            "owner": "cli", "packets": 0,
        })
    };
    assert_eq!(without_time(&listed[0]), bare("9.0.0.0/8", "allow"));
    run(&bench, "block", &["10.0.0.9"]);
    assert_eq!(without_time(&bans(&bench)[2]), bare("10.0.0.9/32", "block"));
    let text = bench.xdpctl(["bans", JUDGED]);
    assert!(text.success().stdout.contains("ssh é"), "{}", text.stdout);
}

/// An address of IPv6 stands for its network, and `unblock` is told the same.
#[test]
fn addresses_of_ipv6_are_aggregated() {
    let bench = attached();
    run(&bench, "block", &["2001:db8:e:1:2:3:4:5", "10.0.0.1", "--aggregate", "64"]);
    bench.run(&[
        drop("another address of its /64", from("2001:db8:e:1::"), "banned"),
        pass("the /64 beside it", from("2001:db8:e:2::"), "default"),
        drop("IPv4 stays an address", from("10.0.0.1"), "banned"),
        pass("the address beside it", from("10.0.0.2"), "default"),
    ]);
    run(&bench, "unblock", &["2001:db8:e:1::9", "--aggregate", "64"]);
    bench.run(&[pass("removed", from("2001:db8:e:1::"), "default")]);
    bench.xdpctl(["block", JUDGED, "::1", "--aggregate", "129"]).expect_status(2);
}

#[test]
fn every_source_is_blocked_or_allowed_only_where_that_is_meant() {
    let bench = attached();
    for command in ["block", "allow"] {
        let output = bench.xdpctl([command, JUDGED, "9.0.0.1", "0.0.0.0/0"]);
        let said = "error: 0.0.0.0/0 holds every IPv4 source\n";
        assert!(output.expect_status(2).stderr.contains(said), "{}", output.stderr);
        assert_eq!(bans(&bench), Vec::<Value>::new());
    }
    run(&bench, "block", &["::/0", "--catch-all"]);
    bench.run(&[drop("every source", from("2a00::1"), "banned")]);
    run(&bench, "unblock", &["::/0"]);
    bench.run(&[pass("removed", from("2a00::1"), "default")]);
}

#[test]
fn what_is_not_there_is_told_and_nothing_removed() {
    let bench = attached();
    let output = bench.xdpctl(["unblock", JUDGED, "10.0.0.0/8"]);
    let said = "in0 has no run-time entry for 10.0.0.0/8";
    let help = bench.xdpctl(["unblock", "--help"]);
    let help = help.success().stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let promise = "Where a prefix has no entry, nothing is removed at all, and the status is 1";
    assert!(help.contains(promise), "{help}");
    assert!(output.expect_status(1).stderr.contains(said), "{}", output.stderr);
    run(&bench, "block", &["10.0.0.0/8", "9.0.0.1", "2001:db8::1"]);
    // The prefix itself, not what it holds or what holds it.
    let output = bench.xdpctl(["unblock", JUDGED, "10.0.0.0/9", "9.0.0.0/24", "9.0.0.1"]);
    let said = "in0 has no run-time entry for 9.0.0.0/24, 10.0.0.0/9";
    assert!(output.expect_status(1).stderr.contains(said), "{}", output.stderr);
    assert_eq!(output.stdout, "");
    let (code, said, errors) = stream(&bench, "unblock", &[], "1.1.1.1\n2001:db8::1\n2.2.2.0/24");
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(errors.contains("no run-time entry for 1.1.1.1/32, 2.2.2.0/24"), "{errors}");
    bench.run(&[
        drop("left", from("10.1.1.1"), "banned"),
        drop("left, an address", from("9.0.0.1"), "banned"),
        drop("left, IPv6", from("2001:db8::1"), "banned"),
    ]);
    run(&bench, "unblock", &["9.0.0.1", "2001:db8::1"]);
    bench.run(&[
        pass("removed", from("9.0.0.1"), "default"),
        pass("removed, IPv6", from("2001:db8::1"), "default"),
    ]);
}

#[test]
fn bad_input_changes_nothing() {
    let bench = attached();
    run(&bench, "block", &["10.0.0.0/8"]);
    let before = bans(&bench);
    let text = "9.0.0.1\nnonsense\n10.0.0.0/8\n9.0.0.0/33\n";
    for nothing in ["", "# nothing\n\n"] {
        let (code, _, errors) = stream(&bench, "block", &[], nothing);
        assert_eq!(code, 0);
        assert!(errors.contains("standard input had no prefixes"), "{errors}");
    }
    for command in ["allow", "block", "unblock"] {
        let (code, said, errors) = stream(&bench, command, &[], text);
        assert_eq!((code, said.as_str()), (2, ""));
        for place in ["<stdin>:2:1", "<stdin>:4:1"] {
            assert!(errors.contains(place), "{errors}");
        }
    }
    for args in [
        &["block", JUDGED, "9.0.0.1", "nonsense"][..],
        &["block", JUDGED, "9.0.0.1", "-"],
        &["block", JUDGED],
        &["block", JUDGED, "9.0.0.1", "--for", "0s"],
        &["block", JUDGED, "9.0.0.1", "--for", "soon"],
        &["block", JUDGED, "9.0.0.1", "--for", "1000years"],
        &["block", JUDGED, "9.0.0.1", "--note", &"x".repeat(201)],
    ] {
        bench.xdpctl(args).expect_status(2);
    }
    bench.xdpctl(["block", "out0", "9.0.0.1"]).expect_status(1);
    assert_eq!(bans(&bench), before);
    assert_eq!(stream(&bench, "block", &[], "# nothing today\n").0, 0);
    assert_eq!(bans(&bench), before);
    let warned = bench.xdpctl(["block", JUDGED, "9.1.2.3/8"]);
    assert!(warned.success().stderr.contains("taken as 9.0.0.0/8"), "{}", warned.stderr);
    assert_eq!(bans(&bench)[0]["prefix"], "9.0.0.0/8");
}

/// Among many prefixes that come and go, those that are blocked stay blocked.
#[test]
fn filters_that_are_made_anew_miss_nothing() {
    let bench = attached();
    let kept = ["9.9.9.9", "9.8.0.0/15", "2001:db8::1", "2a00:5::/29", "2a10:1:2::/48", "4000::/3"];
    run(&bench, "block", &kept);
    let mut others = String::new();
    for n in 0..5_000 {
        others += &format!("10.0.{}.{}\n11.{}.{}.0/24\n", n >> 8, n & 0xff, n >> 8, n & 0xff);
        others += &format!("2001:db8:1::{n:x}\n2a00:{n:x}:1::/64\n");
    }
    let rows = || {
        [
            drop("a host", from("9.9.9.9"), "banned"),
            drop("a net", from("9.9.0.1"), "banned"),
            drop("IPv6", from("2001:db8::1"), "banned"),
            drop("a short prefix", from("2a00:7::1"), "banned"),
            drop("a site", from("2a10:1:2:3::1"), "banned"),
            drop("a very short one", from("5000::1"), "banned"),
        ]
    };
    for _ in 0..2 {
        assert_eq!(stream(&bench, "allow", &[], &others).0, 0);
        bench.run(&rows());
        bench.run(&[pass("one of them", from("11.0.7.1"), "allowed")]);
        assert_eq!(stream(&bench, "unblock", &[], &others).0, 0);
        bench.run(&rows());
        bench.run(&[pass("one that was", from("11.0.7.1"), "default")]);
    }
    run(&bench, "unblock", &["4000::/3"]);
    bench.run(&rows()[..5]);
    bench.run(&[pass("removed", from("5000::1"), "default")]);
}

/// Killed at any instant, a command leaves what was before in force, and each entry that `bans`
/// shows is one that judges; the next command goes on from there.
#[test]
fn killed_commands_leave_whole_entries() {
    const SEED: u64 = 1;
    const TIMES: usize = 20;
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let bench = attached();
    let v4 = |n: u32| format!("10.{}.{}.1", n >> 8, n & 0xff);
    let v6 = |n: u32| format!("2a02:{:x}::/64", n + 1);
    let all: String = (0..5_000).map(|n| v4(n) + "\n" + &v6(n) + "\n").collect();
    let begun = Instant::now();
    assert_eq!(stream(&bench, "block", &[], &all).0, 0);
    let whole = begun.elapsed();
    let file = bench.write("all", &all);
    run(&bench, "block", &["9.9.9.9", "9.8.0.0/16", "2a00::/48"]);
    let mut seen = Vec::new();
    for turn in 0..TIMES {
        let command = if turn % 2 == 0 { "unblock" } else { "block" };
        let mut child = bench
            .lab()
            .xdpctl_command("dut", [command, JUDGED, "-"])
            .stdin(fs::File::open(&file).expect("the file"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        sleep(whole.mul_f64(dice.below(1000) as f64 / 900.0));
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        child.wait().expect("it ends");
        let listed = bans(&bench);
        seen.push(listed.len());
        assert_eq!(status(&bench)["entries"]["bans"], json!(listed.len()), "turn {turn}");
        bench.run(&[
            drop("before", from("9.9.9.9"), "banned"),
            drop("before, a prefix", from("9.8.7.6"), "banned"),
            drop("before, IPv6", from("2a00::1"), "banned"),
        ]);
        let there = |prefix: &str| listed.iter().any(|entry| entry["prefix"] == prefix);
        let mut rows = Vec::new();
        for n in [0, 1, 2_500, 4_999] {
            let (host, net) = (v4(n), v6(n));
            let inside = net.replace("/64", "7");
            for (source, prefix) in [(&host, format!("{host}/32")), (&inside, net.clone())] {
                rows.push(match there(&prefix) {
                    true => drop(source, from(source), "banned"),
                    false => pass(source, from(source), "default"),
                });
            }
        }
        bench.run(&rows);
    }
    println!("entries after each turn: {seen:?}");
    assert_eq!(stream(&bench, "block", &[], &all).0, 0);
    assert_eq!(bans(&bench).len(), 10_003);
}
