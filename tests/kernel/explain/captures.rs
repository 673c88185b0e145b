//! Captures of all kinds, whole and broken.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{explain, lines, told};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::capture::{Block, ETHERNET, Order, pcap, pcap_with, pcapng};
use crate::lab::frame::*;
use crate::lab::patience::EVENT;

const CONFIGURATION: &str = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"203.0.113.0/24\"]\n";

fn frames() -> Vec<Vec<u8>> {
    vec![
        udp4("203.0.113.7", "10.0.0.2", 1, 2).build(),
        udp4("10.0.0.1", "10.0.0.2", 1, 2).build(),
        // A length that is no multiple of four.
        vec![0xff; 17],
        Vec::new(),
    ]
}

fn expected() -> Vec<Value> {
    vec![
        json!(["drop", "blocklist", "bad", "203.0.113.0/24"]),
        json!(["pass", "default", null, null]),
        json!(["pass", "default", null, null]),
        json!(["drop", "malformed", null, null]),
    ]
}

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(CONFIGURATION);
    bench
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_kind_of_capture_is_read() {
    let bench = attached();
    let frames = frames();
    let mut captures = Vec::new();
    for order in [Order::Little, Order::Big] {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
            captures
                .push((format!("{order:?} {magic:x}"), pcap_with(order, magic, ETHERNET, &frames)));
        }
        for block in [Block::Enhanced, Block::Simple, Block::Obsolete] {
            captures.push((format!("{order:?} {block:?}"), pcapng(order, 1, block, &frames)));
        }
    }
    // Frames with a checksum of four bytes at the end, says the upper half of the link type.
    captures.push(("FCS".into(), pcap_with(Order::Little, 0xa1b2_c3d4, 0x2400_0001, &frames)));
    // Two sections in one file, each with its own interfaces.
    let two = [
        pcapng(Order::Little, 1, Block::Enhanced, &frames[..2]),
        pcapng(Order::Big, 1, Block::Enhanced, &frames[2..]),
    ];
    captures.push(("two sections".into(), two.concat()));
    for (name, capture) in captures {
        for (name, bytes) in [(name.clone(), capture.clone()), (name + ", gzip", gzip(&capture))] {
            let path = bench.directory().join("capture");
            std::fs::write(&path, bytes).unwrap();
            let answers = explain(&bench, ["--pcap", path.to_str().unwrap()]);
            let told: Vec<Value> = answers.iter().map(told).collect();
            assert_eq!(told, expected(), "{name}");
        }
    }
}

#[test]
fn a_capture_from_standard_input() {
    let bench = attached();
    let mut command =
        bench.lab().xdpctl_command("dut", ["explain", JUDGED, "--json", "--pcap", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // In small pieces, as pipes give them.
    for piece in pcapng(Order::Little, 1, Block::Enhanced, &frames()).chunks(11) {
        input.write_all(piece).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(answers.iter().map(told).collect::<Vec<_>>(), expected());
}

/// What was answered before the damage stays answered; the status is 2, and the message says where.
#[test]
fn broken_captures_are_one_clear_error() {
    let bench = attached();
    let frames = frames();
    let whole = pcap(&frames[..2]);
    let ng = pcapng(Order::Little, 1, Block::Enhanced, &frames[..2]);
    let mut longer_than_it_is = pcapng(Order::Little, 1, Block::Enhanced, &frames[..1]);
    let captured = longer_than_it_is.len() - 4 - frames[0].len().next_multiple_of(4) - 8;
    longer_than_it_is[captured..captured + 4].copy_from_slice(&60_000_u32.to_le_bytes());
    let mut huge = pcap(&frames[..1]);
    huge.extend([[0; 4], [0; 4], 0x7fff_ffff_u32.to_le_bytes(), 60_u32.to_le_bytes()].concat());
    huge.extend(vec![0; 3 << 20]);
    let long = pcap(&[vec![0; 65_536]]);
    for (name, bytes, answers, message) in [
        ("empty", vec![], 0, "neither a pcap nor a pcapng file"),
        ("text", b"no capture at all, just text".to_vec(), 0, "neither a pcap nor a pcapng file"),
        ("zeros", vec![0; 4096], 0, "neither a pcap nor a pcapng file"),
        ("a header alone, cut", whole[..20].to_vec(), 0, "neither a pcap nor a pcapng file"),
        (
            "cut in a frame",
            whole[..whole.len() - 1].to_vec(),
            1,
            "cut off in the middle of a block, after frame 1",
        ),
        ("cut in a record's header", [&whole[..], &[0; 7]].concat(), 2, "after frame 2"),
        (
            "pcapng cut",
            ng[..ng.len() - 5].to_vec(),
            1,
            "cut off in the middle of a block, after frame 1",
        ),
        ("a length that lies", longer_than_it_is, 0, "after frame 0"),
        ("a record of 2 GiB", huge, 1, "what follows frame 1 is damaged"),
        ("too long a frame", long, 0, "frame 1 has 65536 bytes, 65535 are the most"),
        (
            "a link type without a name",
            pcap_with(Order::Little, 0xa1b2_c3d4, 999, &frames),
            0,
            "its link type is 999, not Ethernet",
        ),
        (
            "another link type",
            pcap_with(Order::Little, 0xa1b2_c3d4, 113, &frames),
            0,
            "its link type is LINUX_SLL, not Ethernet",
        ),
        (
            "another link type in pcapng",
            pcapng(Order::Big, 101, Block::Simple, &frames),
            0,
            "its link type is RAW, not Ethernet",
        ),
        ("gzip of nothing good", gzip(b"text"), 0, "neither a pcap nor a pcapng file"),
        ("gzip, damaged", gzip(&whole)[..20].to_vec(), 0, "compressed by gzip, and damaged"),
    ] {
        let path = bench.directory().join("capture");
        std::fs::write(&path, bytes).unwrap();
        let output = bench.xdpctl(["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()]);
        output.expect_status(2);
        assert_eq!(lines(&output.stdout).len(), answers, "{name}");
        assert!(
            output.stderr.contains(message),
            "{name}: {message:?} is not in\n{}",
            output.stderr
        );
        assert_eq!(output.stderr.matches("error").count(), 1, "{name}: {}", output.stderr);
    }
}

#[test]
fn frames_that_the_capture_cut_are_judged_by_their_length_on_the_wire() {
    let bench = attached();
    let frame = udp4("203.0.113.7", "10.0.0.2", 1, 2).payload(&[0; 500]).build();
    let mut bytes = pcap(&[&frame[..60]]);
    bytes[24 + 12..24 + 16].copy_from_slice(&(frame.len() as u32).to_le_bytes());
    let path = bench.directory().join("capture");
    std::fs::write(&path, bytes).unwrap();
    let output = bench.xdpctl(["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()]);
    output.success();
    let answers = lines(&output.stdout);
    assert_eq!(answers.iter().map(told).collect::<Vec<_>>(), expected()[..1]);
    assert_eq!(answers[0]["captured"], 60);
    assert!(output.stderr.contains("holds only the beginning of 1 frame"), "{}", output.stderr);
}

/// The stub of a frame that is longer than any that can be judged would be called malformed.
#[test]
fn frames_that_were_too_long_before_they_were_cut_are_refused() {
    let bench = attached();
    let mut bytes = pcap(&frames()[..1]);
    bytes[24 + 12..24 + 16].copy_from_slice(&100_000_u32.to_le_bytes());
    let path = bench.directory().join("capture");
    std::fs::write(&path, bytes).unwrap();
    let output = bench.xdpctl(["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()]);
    output.expect_status(2);
    assert!(output.stderr.contains("frame 1 has 100000 bytes"), "{}", output.stderr);
}

/// While rulesets are exchanged, every frame is judged by one of them, and told by its own names.
#[test]
fn a_capture_during_reloads_is_told_by_one_ruleset_a_frame() {
    let mut bench = Bench::new();
    let of = |name: &str, prefix: &str| {
        format!("[[blocklist]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n")
    };
    let configurations = [of("one", "203.0.113.0/24"), of("two", "203.0.0.0/16")];
    bench.attach(&configurations[0]);
    let frame = udp4("203.0.113.7", "10.0.0.2", 1, 2).build();
    let path = bench.directory().join("capture");
    std::fs::write(&path, pcap(&vec![frame; 20_000])).unwrap();
    let args = ["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()];
    let mut asking = bench.lab().spawn_xdpctl("dut", args);
    let mut turns = 0;
    while asking.is_running() {
        turns += 1;
        bench.attach(&configurations[turns % 2]);
    }
    let output = asking.wait(EVENT).expect("it has ended");
    output.success();
    let answers = lines(&output.stdout);
    assert_eq!(answers.len(), 20_000);
    let mut seen = std::collections::BTreeSet::new();
    for answer in &answers {
        let told = told(answer);
        let one = json!(["drop", "blocklist", "one", "203.0.113.0/24"]);
        let two = json!(["drop", "blocklist", "two", "203.0.0.0/16"]);
        assert!(told == one || told == two, "{told}");
        seen.insert(told.to_string());
    }
    assert!(seen.len() == 2 || turns < 2, "only {seen:?} in {turns} reloads");
}
