//! Run-time entries end by the machine's clock, and those that have ended are skipped and hide
//! nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::bench::{Bench, JUDGED, Row, drop, pass};
use crate::lab::frame::*;
use crate::lab::{Background, Output};

const PATIENCE: Duration = Duration::from_secs(60);

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "::1", 1, 2),
        false => udp4(source, "1.1.1.1", 1, 2),
    }
}

/// Runs xdpctl in a time namespace whose monotonic clock differs by that many seconds.
fn shifted(bench: &Bench, seconds: i64, args: &[&str]) -> Output {
    let mut command = bench.lab().command("dut", "unshare");
    command.args(["--time", "--fork", "--monotonic", &seconds.to_string(), "--"]);
    command.arg(env!("CARGO_BIN_EXE_xdpctl")).args(args);
    Background::start(command).wait(PATIENCE).expect("it ends")
}

fn remaining(listed: &Value) -> Vec<Option<u64>> {
    let entries = listed.as_array().expect("an array");
    entries.iter().map(|entry| entry["expires_in_seconds"].as_u64()).collect()
}

#[test]
fn a_time_namespace_changes_no_deadline() {
    const DAY: i64 = 86_400;
    let mut bench = Bench::new();
    bench.attach("");
    let far = |listed: &Value| {
        let left = remaining(listed);
        assert!(
            left.len() == 2 && left.iter().all(|left| left.is_some_and(|left| left > 3000)),
            "{listed}"
        );
    };
    let rows =
        || [drop("blocked", from("10.1.2.3"), "banned"), drop("too", from("10.2.0.9"), "banned")];
    shifted(&bench, 10 * DAY, &["block", JUDGED, "10.1.2.3", "--for", "1h"]).success();
    bench.xdpctl(["block", JUDGED, "10.2.0.0/16", "--for", "1h"]).success();
    bench.run(&rows());
    far(&bench.xdpctl(["bans", JUDGED, "--json"]).success().json());
    far(&shifted(&bench, 10 * DAY, &["bans", JUDGED, "--json"]).success().json());
    // By this clock they would have ended, but nothing is swept.
    shifted(&bench, 20 * DAY, &["reload", JUDGED]).success();
    far(&bench.xdpctl(["bans", JUDGED, "--json"]).success().json());
    bench.run(&rows());
    let status = shifted(&bench, 20 * DAY, &["status", JUDGED, "--json"]).statuses();
    assert_eq!(status[0]["entries"]["bans"], 2);
    // And an entry that is put there ends in time here.
    shifted(&bench, 10 * DAY, &["block", JUDGED, "10.1.2.3", "10.2.0.0/16", "--for", "1s"])
        .success();
    let until = Instant::now() + PATIENCE;
    while bench.xdpctl(["bans", JUDGED, "--json"]).success().json() != Value::Array(Vec::new()) {
        assert!(Instant::now() < until, "they do not end");
    }
    bench.run(&[
        pass("ended", from("10.1.2.3"), "default"),
        pass("too", from("10.2.0.9"), "default"),
    ]);
}

/// The program notes the shorter prefix at which it arrived past entries that have ended, and goes
/// there at once with the next packet. The same entry decides as before, also after the next
/// change.
#[test]
fn what_has_ended_is_skipped_and_hides_nothing() {
    let mut bench = Bench::new();
    bench.attach("");
    let sources = ["10.1.2.3", "2001:db8::7"];
    let thrice = |row: fn(&str, Frame, &'static str) -> Row, reason: &'static str| {
        for description in ["first", "again", "once more"] {
            bench.run(&sources.map(|source| row(description, from(source), reason)));
        }
    };
    let run = |args: &[&str]| {
        bench.xdpctl(args).success();
    };
    run(&["block", JUDGED, "10.0.0.0/8", "2001:d00::/24"]);
    let inner = ["10.1.2.0/24", "10.1.0.0/16", "2001:db8::/64", "2001:db8::/48"];
    run(&[&["allow", JUDGED], &inner[..], &["--for", "1s"]].concat());
    // `lookup` only looks: what has ended stays in the tables.
    let until = Instant::now() + PATIENCE;
    while sources.iter().any(|source| {
        let held = bench.xdpctl(["lookup", JUDGED, source, "--json"]).success().stdout.clone();
        inner.iter().any(|inner| held.contains(inner))
    }) {
        assert!(Instant::now() < until, "they do not end");
    }
    thrice(drop, "banned");
    run(&["unblock", JUDGED, "10.0.0.0/8", "2001:d00::/24"]);
    thrice(pass, "default");
    run(&["allow", JUDGED, "10.0.0.0/9", "2001:d80::/25"]);
    thrice(pass, "allowed");
}

/// More commands, each of which begins an epoch, than there are numbers for epochs.
#[test]
fn epochs_come_again_without_what_was_skipped_in_them() {
    let mut bench = Bench::new();
    bench.attach("");
    let run = |args: &[&str]| {
        bench.xdpctl(args).success();
    };
    run(&["block", JUDGED, "10.0.0.0/8"]);
    for n in 0..300 {
        let host = format!("192.0.2.{}", n % 200);
        run(&["block", JUDGED, &host, "--for", "1h"]);
        if n % 50 == 0 {
            run(&["allow", JUDGED, "10.1.0.0/16", "--for", "1ms"]);
            bench.run(&[drop("ended, first", from("10.1.2.3"), "banned")]);
            bench.run(&[drop("ended, again", from("10.1.2.3"), "banned")]);
        }
    }
}
