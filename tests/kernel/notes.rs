//! The notes of run-time entries: a file of their own, which can be lost without harm.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;

/// Long enough for an entry `--for 1ms` to have ended.
const ENDED: Duration = Duration::from_millis(2);

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach("");
    bench
}

#[track_caller]
fn run(bench: &Bench, command: &str, rest: &[&str]) {
    bench.xdpctl([&[command, JUDGED], rest].concat()).success();
}

#[track_caller]
fn bans(bench: &Bench) -> Vec<Value> {
    let listed = bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
    listed.as_array().expect("an array").clone()
}

fn from(source: &str) -> Frame {
    udp4(source, "1.1.1.1", 1, 2)
}

/// Where the interface's state lies, its notes among it.
fn state(bench: &Bench) -> PathBuf {
    let [_, state] = bench.lab().namespace("dut").xdpctl_directories();
    state.join(bench.lab().ifindex("dut", JUDGED).to_string())
}

#[test]
fn without_its_file_a_note_is_lost_and_nothing_else() {
    let bench = attached();
    run(&bench, "block", &["10.0.0.1", "--note", "once"]);
    assert_eq!(bans(&bench)[0]["note"], "once");
    fs::remove_file(state(&bench).join("notes")).expect("removed");
    assert_eq!(bans(&bench)[0]["note"], Value::Null);
    bench.run(&[drop("all the same", from("10.0.0.1"), "banned")]);
}

/// Entries can still be shown and removed.
#[test]
fn those_that_cannot_be_written_are_in_no_ones_way() {
    let bench = attached();
    run(&bench, "block", &["10.0.0.2", "--note", "stays"]);
    run(&bench, "block", &["10.0.0.1", "--for", "1ms", "--note", "ends"]);
    // In the place of the file that is written first, as if the disk were full.
    fs::create_dir(state(&bench).join("notes.new")).expect("a directory");
    sleep(ENDED);
    let listed = bans(&bench);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        (&listed[0]["prefix"], &listed[0]["note"]),
        (&json!("10.0.0.2/32"), &json!("stays"))
    );
    run(&bench, "block", &["10.0.0.3"]);
    let output = bench.xdpctl(["block", JUDGED, "10.0.0.4", "--note", "new"]);
    assert!(output.expect_status(1).stderr.contains("cannot keep the notes"), "{}", output.stderr);
    run(&bench, "unblock", &["10.0.0.2"]);
    let listed = bans(&bench);
    assert_eq!(listed.len(), 1, "{listed:?}");
    bench.run(&[
        pass("removed", from("10.0.0.2"), "default"),
        drop("without a note", from("10.0.0.3"), "banned"),
        pass("not done", from("10.0.0.4"), "default"),
    ]);
}

/// Where entries come and go in one table and stay in another, no sweep read the records of both:
/// the notes of all entries that there had ever been stayed in memory.
#[test]
fn those_that_no_entry_names_are_forgotten_though_other_entries_stay() {
    let bench = attached();
    run(&bench, "block", &["2001:db8::/48", "--note", "stays"]);
    let file = state(&bench).join("notes");
    // What 300 commands with notes of their own would have left, each followed by an `unblock`.
    let one = fs::read(&file).expect("a note");
    assert_eq!(one[8], 1, "a map with one text, behind the mark of eight bytes");
    let mut many = [&one[..8], &[0x80 | 45, 2], &one[9..]].concat();
    for number in 0..300_u32 {
        many.extend([0x80 | (number as u8 & 0x7f), (number >> 7) as u8, 4]);
        many.extend(format!("{number:04}").bytes());
    }
    fs::write(&file, &many).expect("written");
    run(&bench, "block", &["10.0.0.1"]);
    assert_eq!(fs::read(&file).expect("a note"), one);
    assert_eq!(bans(&bench)[1]["note"], "stays");
}
