//! Which entry decided, and where it stands.

use std::time::Duration;

use serde_json::{Value, json};

use super::{explain_frame, explain_frames, told};
use crate::faults::shim;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::capture::pcap;
use crate::lab::frame::*;

const CONFIGURATION: &str = r#"[arp]
action = "drop"
allow = ["192.0.2.1"]

[[allowlist]]
name = "office"
prefixes = ["198.51.100.0/24"]

[[blocklist]]
name = "bad"
match = "either"
prefixes = [
    "203.0.113.7",
    "203.0.113.0/24",
    "2001:db8:bad::/48",
]
files = ["list.txt"]

[[blocklist]]
name = "trial"
action = "count"
prefixes = ["10.0.0.0/8"]

[[blocklist]]
name = "inside"
match = "destination"
prefixes = ["10.2.0.0/16"]

[[rule]]
name = "telnet"
destination_port = 23
action = "drop"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.write("list.txt", "# comment\n192.0.2.0/25\r\n192.0.2.200-192.0.2.215\n");
    bench.attach(CONFIGURATION);
    bench
}

/// Name, entry, file without its folder, and line.
fn place(answer: &Value) -> Value {
    let file = answer["file"].as_str().and_then(|file| file.rsplit('/').next());
    json!([answer["rule"], answer["entry"], file, answer["line"]])
}

#[test]
fn the_entry_and_where_it_stands() {
    let bench = attached();
    let decided = [
        ("203.0.113.7", "10.9.9.9", json!(["bad", "203.0.113.7/32", "in0.toml", 13])),
        ("203.0.113.8", "10.9.9.9", json!(["bad", "203.0.113.0/24", "in0.toml", 14])),
        ("9.9.9.9", "192.0.2.1", json!(["bad", "192.0.2.0/25", "list.txt", 2])),
        ("9.9.9.9", "192.0.2.201", json!(["bad", "192.0.2.200/29", "list.txt", 3])),
        // The longer prefix decides, on whichever side it is.
        ("203.0.113.8", "192.0.2.201", json!(["bad", "192.0.2.200/29", "list.txt", 3])),
        ("198.51.100.8", "192.0.2.201", json!(["office", "198.51.100.0/24", "in0.toml", 7])),
        ("10.9.9.9", "9.9.9.9", json!(["telnet", null, "in0.toml", 30])),
    ];
    let frames =
        decided.each_ref().map(|(source, destination, _)| udp4(source, destination, 1, 23).build());
    let answers = explain_frames(&bench, &frames);
    for ((source, destination, expected), answer) in decided.into_iter().zip(answers) {
        assert_eq!(place(&answer), expected, "{source} to {destination}");
    }
    let [ipv6, ruled, defaulted, allowed_arp, other_arp] = explain_frames(
        &bench,
        &[
            udp6("2001:db8:bad::1", "::1", 1, 2).build(),
            udp4("10.9.9.9", "9.9.9.9", 1, 23).build(),
            udp4("10.9.9.9", "9.9.9.9", 1, 24).build(),
            arp_request("192.0.2.1", "10.0.0.2").build(),
            arp_request("192.0.2.2", "10.0.0.2").build(),
        ],
    );
    assert_eq!(place(&ipv6), json!(["bad", "2001:db8:bad::/48", "in0.toml", 15]));
    // A list that only counts is named beside the one that decides.
    for answer in [ruled, defaulted] {
        let counted = &answer["counted"];
        assert_eq!(place(counted), json!(["trial", "10.0.0.0/8", "in0.toml", 22]));
    }
    assert_eq!(told(&allowed_arp), json!(["pass", "arp", null, "192.0.2.1/32"]));
    assert_eq!(told(&other_arp), json!(["drop", "arp", null, null]));
}

#[test]
fn run_time_entries_decide_as_they_live() {
    let bench = attached();
    bench.xdpctl(["block", JUDGED, "8.8.0.0/16"]).success();
    bench.xdpctl(["block", JUDGED, "8.8.8.8", "198.51.100.1", "--note", "twice"]).success();
    bench.xdpctl(["allow", JUDGED, "203.0.113.7", "--for", "1h"]).success();
    let frames = ["8.8.8.8", "8.8.1.1", "198.51.100.1", "203.0.113.7"]
        .map(|source| udp4(source, "9.9.9.9", 1, 2).build());
    let [noted, prefix, office, allowed] = explain_frames(&bench, &frames);
    assert_eq!(told(&noted), json!(["drop", "banned", null, "8.8.8.8/32"]));
    assert_eq!(told(&prefix), json!(["drop", "banned", null, "8.8.0.0/16"]));
    // An allowlist comes before a block.
    assert_eq!(told(&office), json!(["pass", "allowlist", "office", "198.51.100.0/24"]));
    assert_eq!(told(&allowed), json!(["pass", "allowed", null, "203.0.113.7/32"]));
    // With their notes, and their ends.
    let life = |answer: &Value| (answer["note"].clone(), answer["expires_in_seconds"].clone());
    assert_eq!(life(&noted), (json!("twice"), Value::Null));
    assert_eq!(life(&prefix), (Value::Null, Value::Null));
    let (note, left) = life(&allowed);
    assert!(note.is_null() && (1..=3600).contains(&left.as_u64().unwrap()), "{note} {left}");
    let frame = super::hex_digits(&udp4("8.8.8.8", "9.9.9.9", 1, 2).build());
    let said = bench.xdpctl(["explain", JUDGED, "--packet", &frame]);
    assert_eq!(said.success().stdout, "drop: banned 8.8.8.8/32 (twice)\n");
    bench.xdpctl(["allow", JUDGED, "203.0.113.7", "--for", "1ms"]).success();
    std::thread::sleep(Duration::from_millis(5));
    let answer = explain_frame(&bench, udp4("203.0.113.7", "9.9.9.9", 1, 2));
    assert_eq!(told(&answer), json!(["drop", "blocklist", "bad", "203.0.113.7/32"]));
}

/// Once each length of a prefix was looked up by itself, and 100,000 frames took eight seconds.
#[test]
fn the_run_time_entry_that_decides_is_found_in_a_few_calls() {
    let bench = attached();
    bench.xdpctl(["block", JUDGED, "8.0.0.0/8", "2001:db8::/32"]).success();
    // Entries that have ended hide nothing and are passed over.
    bench
        .xdpctl(["block", JUDGED, "8.8.8.8", "8.8.8.0/24", "8.8.0.0/16", "--for", "1ms"])
        .success();
    std::thread::sleep(Duration::from_millis(5));
    // The note and the end of an entry are asked for once.
    const FRAMES: usize = 1_000;
    let calls = |frame: Vec<u8>, decides: Value| {
        let path = bench.directory().join("capture");
        std::fs::write(&path, pcap(&vec![frame; FRAMES])).unwrap();
        let args = ["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()];
        let ran = shim::run(bench.lab().xdpctl_command("dut", args), None);
        ran.output.success();
        for line in ran.output.stdout.lines() {
            assert_eq!(told(&serde_json::from_str(line).unwrap()), decides);
        }
        ran.calls.iter().filter(|call| call.kind == shim::Kind::Bpf).count()
    };
    let passed =
        calls(udp4("9.9.9.9", "9.9.9.9", 1, 2).build(), json!(["pass", "default", null, null]));
    for (frame, entry) in [
        (udp4("8.8.8.8", "9.9.9.9", 1, 2).build(), "8.0.0.0/8"),
        (udp6("2001:db8::1", "::1", 1, 2).build(), "2001:db8::/32"),
    ] {
        let blocked = calls(frame, json!(["drop", "banned", null, entry]));
        // Number, map and shape of two tables, four entries, the time, and whether rules caught sources.
        let more = (blocked - passed) / FRAMES;
        assert!(more <= 12, "{more} calls a frame to find {entry}");
    }
}

#[test]
fn lookup_shows_everything_that_holds_an_address_in_the_order_of_judgement() {
    let bench = attached();
    let lookup = |address: &str| -> Vec<Value> {
        let listed = bench.xdpctl(["lookup", JUDGED, address, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    };
    let shown = |address: &str| -> Vec<Value> {
        let of =
            |it: &Value| json!([it["kind"], it["name"], it["entry"], it["action"], it["match"]]);
        lookup(address).iter().map(of).collect()
    };
    assert_eq!(lookup("1.2.3.4"), [] as [Value; 0]);
    assert_eq!(
        shown("203.0.113.7"),
        [
            json!(["blocklist", "bad", "203.0.113.7/32", "drop", "either"]),
            json!(["blocklist", "bad", "203.0.113.0/24", "drop", "either"]),
        ]
    );
    assert_eq!(
        shown("10.2.0.1"),
        [
            json!(["blocklist", "inside", "10.2.0.0/16", "drop", "destination"]),
            json!(["blocklist", "trial", "10.0.0.0/8", "count", "source"]),
        ]
    );
    bench.xdpctl(["block", JUDGED, "203.0.0.0/16", "--for", "10m", "--note", "x"]).success();
    bench.xdpctl(["allow", JUDGED, "203.0.113.0/29"]).success();
    bench.xdpctl(["block", JUDGED, "198.51.100.0/25"]).success();
    assert_eq!(
        shown("203.0.113.7"),
        [
            json!(["allow", null, "203.0.113.0/29", "pass", "source"]),
            json!(["block", null, "203.0.0.0/16", "drop", "source"]),
            json!(["blocklist", "bad", "203.0.113.7/32", "drop", "either"]),
            json!(["blocklist", "bad", "203.0.113.0/24", "drop", "either"]),
        ]
    );
    bench.xdpctl(["allow", JUDGED, "198.51.0.0/16"]).success();
    assert_eq!(
        shown("198.51.100.1"),
        [
            json!(["allowlist", "office", "198.51.100.0/24", "pass", "source"]),
            json!(["block", null, "198.51.100.0/25", "drop", "source"]),
            json!(["allow", null, "198.51.0.0/16", "pass", "source"]),
        ]
    );
    let [first] = &lookup("192.0.2.203")[..] else { panic!("one entry holds it") };
    assert!(first["file"].as_str().unwrap().ends_with("/list.txt"));
    assert_eq!(first["line"], 3);
    let last = lookup("203.0.113.7").swap_remove(1);
    assert_eq!(last["note"], "x");
    assert!(last["expires_in_seconds"].as_u64().is_some_and(|left| (1..=600).contains(&left)));

    // The first is what the program says of a packet from there.
    let addresses = ["203.0.113.7", "203.0.113.9", "198.51.100.1", "192.0.2.203", "203.0.1.1"];
    let frames = addresses.map(|address| udp4(address, "9.9.9.9", 1, 2).build());
    for (address, answer) in addresses.into_iter().zip(explain_frames(&bench, &frames)) {
        let first = lookup(address).swap_remove(0);
        assert_eq!(answer["entry"], first["entry"], "{address}");
    }
}

#[test]
fn without_the_kept_ruleset_the_verdict_is_told_all_the_same() {
    let bench = attached();
    for kept in bench.lab().kept("dut") {
        if kept.starts_with("/run") {
            let _ = std::fs::remove_dir_all(&kept);
        }
    }
    let frame = super::hex_digits(&udp4("203.0.113.7", "9.9.9.9", 1, 2).build());
    let output = bench.xdpctl(["explain", JUDGED, "--json", "--packet", &frame]);
    output.success();
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(told(&answer), json!(["drop", "blocklist", "bad", null]));
    assert!(output.stderr.contains("is not kept any more"), "{}", output.stderr);
    // It must not say that no entry holds the address.
    let output = bench.xdpctl(["lookup", JUDGED, "203.0.113.7"]);
    output.expect_status(1);
    assert!(output.stderr.contains("is not kept any more"), "{}", output.stderr);
    bench.xdpctl(["reload", JUDGED]).success();
    let answer = explain_frame(&bench, udp4("203.0.113.7", "9.9.9.9", 1, 2));
    assert_eq!(told(&answer), json!(["drop", "blocklist", "bad", "203.0.113.7/32"]));
}
