//! Captures of all kinds, whole and broken.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{explain, lines, told, without_the_kernel};
use crate::lab::Output;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::capture::{Block, ETHERNET, Order, pcap, pcap_with, pcapng};
use crate::lab::dns::{A, query};
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
    // Captures are read in the same way, whoever is asked. The kernel, which verifies the filter each
    // time, is asked for one of them.
    let file = bench.directory().join("in0.toml");
    let mut in_the_kernel = true;
    for (name, capture) in captures {
        for (name, bytes) in [(name.clone(), capture.clone()), (name + ", gzip", gzip(&capture))] {
            let path = bench.directory().join("capture");
            std::fs::write(&path, bytes).unwrap();
            let args = ["--pcap", path.to_str().unwrap()];
            let answers = if std::mem::take(&mut in_the_kernel) {
                explain(&bench, args)
            } else {
                let args = [&args[..], &["--json"]].concat();
                lines(&without_the_kernel("explain", &file, args).success().stdout)
            };
            let told: Vec<Value> = answers.iter().map(told).collect();
            assert_eq!(told, expected(), "{name}");
            let numbers: Vec<Value> = answers.iter().map(|it| it["frame"].clone()).collect();
            assert_eq!(numbers, [1, 2, 3, 4], "{name}");
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
    // In small pieces, as from a pipe.
    for piece in pcapng(Order::Little, 1, Block::Enhanced, &frames()).chunks(11) {
        input.write_all(piece).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(answers.iter().map(told).collect::<Vec<_>>(), expected());
}

/// Runs `explain` on a capture in a file: the output, and the objects in it.
fn ask(bench: &Bench, capture: &[u8]) -> (Output, Vec<Value>) {
    let path = bench.directory().join("capture");
    std::fs::write(&path, capture).unwrap();
    let output = bench.xdpctl(["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()]);
    let answers = lines(&output.stdout);
    (output, answers)
}

/// Number and error of each object; null for an answer.
fn errors(answers: &[Value]) -> Vec<Value> {
    answers.iter().map(|answer| json!([answer["frame"], answer["error"]])).collect()
}

/// Offset of the captured length in the `nth` frame's record of a pcap file whose frames are all
/// `frame` bytes long.
const fn captured_at(nth: usize, frame: usize) -> usize {
    24 + nth * (16 + frame) + 8
}

#[test]
fn a_frame_that_cannot_be_judged_is_told_in_its_place() {
    let bench = attached();
    let good = frames().swap_remove(0);
    let size = good.len();
    let three = pcap(&[&good, &good, &good]);
    let with = |at: usize, word: u32| {
        let mut bytes = three.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        bytes
    };
    // In pcapng, the length of the block says where the next one begins.
    let ng = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut middle = pcapng(Order::Little, 1, Block::Enhanced, &[&good]);
        change(&mut middle);
        let whole = pcapng(Order::Little, 1, Block::Enhanced, &[&good]);
        [whole.clone(), middle, whole].concat()
    };
    let block = 8 + 20 + size.next_multiple_of(4) + 4;
    let word_at = |from_block: usize, word: u32| {
        move |bytes: &mut Vec<u8>| {
            let at = bytes.len() - block + from_block;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    };
    let room = size.next_multiple_of(4);
    // As `lo` makes them, of 65,535 bytes of IP.
    let long = vec![0; 65_549];
    for (name, capture, error) in [
        ("too long", pcap(&[&good, &long, &good]), "it has 65549 bytes, 65535 are the most".into()),
        (
            "too long, in pcapng",
            pcapng(Order::Big, 1, Block::Enhanced, &[&good, &long, &good]),
            "it has 65549 bytes, 65535 are the most".into(),
        ),
        (
            "too long before it was cut",
            with(captured_at(1, size) + 4, 100_000),
            "it has 100000 bytes, 65535 are the most".into(),
        ),
        (
            "longer than it was",
            with(captured_at(1, size) + 4, 20),
            format!("its record claims {size} captured bytes of a frame of 20"),
        ),
        (
            "a length that the block has no room for",
            ng(&word_at(20, 60_000)),
            format!("its record claims 60000 captured bytes and has room for {room}"),
        ),
        (
            "the longest length",
            ng(&word_at(20, u32::MAX)),
            format!("its record claims {} captured bytes and has room for {room}", u32::MAX),
        ),
        (
            "an interface that is not described",
            ng(&word_at(8, 7)),
            "it was captured on interface 7, which the capture does not describe".into(),
        ),
        (
            "another link type",
            [
                pcapng(Order::Little, 1, Block::Enhanced, &[&good]),
                pcapng(Order::Big, 101, Block::Simple, &[&good]),
                pcapng(Order::Little, 1, Block::Enhanced, &[&good]),
            ]
            .concat(),
            "its link type is RAW, not Ethernet".into(),
        ),
    ] {
        let (output, answers) = ask(&bench, &capture);
        output.success();
        let expected = [json!([1, null]), json!([2, error]), json!([3, null])];
        assert_eq!(errors(&answers), expected, "{name}");
        assert_eq!(answers[1].as_object().unwrap().len(), 2, "{name}: {}", answers[1]);
        for answer in [&answers[0], &answers[2]] {
            assert_eq!(told(answer), expected_of_a_good_one(), "{name}");
        }
        assert!(output.stderr.contains("1 frame could not be judged"), "{}", output.stderr);
    }

    let path = bench.directory().join("capture");
    std::fs::write(&path, pcap(&[&good, &long])).unwrap();
    let output = bench.xdpctl(["explain", JUDGED, "--pcap", path.to_str().unwrap()]);
    output.success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let first = "1: 203.0.113.7:1 > 10.0.0.2:2 udp: drop: blocklist \"bad\" 203.0.113.0/24 (";
    assert!(lines[0].starts_with(first), "{}", output.stdout);
    assert_eq!(lines[1..], ["2: error: it has 65549 bytes, 65535 are the most"]);
}

fn expected_of_a_good_one() -> Value {
    expected().swap_remove(0)
}

/// The last frame has an object too, and the status says that the capture goes on.
#[test]
fn a_capture_that_breaks_off_fails_after_all_that_it_holds() {
    let bench = attached();
    let frames = frames();
    let whole = pcap(&frames[..2]);
    let ng = pcapng(Order::Little, 1, Block::Enhanced, &frames[..2]);
    let mut huge = pcap(&frames[..1]);
    huge.extend([[0; 4], [0; 4], 0x7fff_ffff_u32.to_le_bytes(), 60_u32.to_le_bytes()].concat());
    huge.extend(vec![0; 3 << 20]);
    let mut beyond = whole.clone();
    let at = captured_at(0, frames[0].len());
    beyond[at..at + 4].copy_from_slice(&60_000_u32.to_le_bytes());
    let cut = "the capture ends in the middle of its record";
    let gzipped = {
        let many: Vec<Vec<u8>> = (0..50_000u32).map(|n| n.to_le_bytes().repeat(15)).collect();
        gzip(&pcap(&many))
    };
    for (name, bytes, answers, error, message) in [
        ("in a frame", whole[..whole.len() - 1].to_vec(), 1, cut, "cut off"),
        ("in a record's header", [&whole[..], &[0; 7]].concat(), 2, cut, "after frame 2"),
        ("in a block", ng[..ng.len() - 5].to_vec(), 1, cut, "after frame 1"),
        ("a length beyond the end", beyond, 0, cut, "after frame 0"),
        (
            "a record of 2 GiB",
            huge,
            1,
            "its record claims 2147483647 captured bytes, more than any capture has in one",
            "what follows frame 1 is damaged",
        ),
    ] {
        let (output, found) = ask(&bench, &bytes);
        output.expect_status(1);
        assert_eq!(found.len(), answers + 1, "{name}");
        assert_eq!(errors(&found)[answers], json!([answers + 1, error]), "{name}");
        assert!(output.stderr.contains(message), "{name}: {}", output.stderr);
    }
    let (output, found) = ask(&bench, &gzipped[..gzipped.len() / 2]);
    output.expect_status(1);
    assert!((2..50_000).contains(&found.len()), "{}", found.len());
    assert!(found[found.len() - 1]["error"].is_string());
    assert!(found[..found.len() - 1].iter().all(|answer| answer["error"].is_null()));
}

/// gzip(1) does the same.
#[test]
fn members_of_gzip_are_read_one_behind_the_other_and_what_follows_is_left() {
    let bench = attached();
    let whole = pcap(&frames());
    let (first, second) = whole.split_at(100);
    let members = [gzip(first), gzip(second)].concat();
    // The last member's checksum.
    let mut damaged = members.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    for (name, capture, status, said) in [
        ("nothing behind", members.clone(), 0, ""),
        ("zeros", [&members[..], &[0; 512]].concat(), 0, ""),
        ("text", [&members[..], b"trailing garbage"].concat(), 0, "was left aside"),
        // It could have been another member.
        ("half a mark", [&members[..], &[0x1f]].concat(), 1, "its compression is damaged"),
        ("another checksum", damaged, 1, "its compression is damaged"),
    ] {
        let (output, answers) = ask(&bench, &capture);
        output.expect_status(status);
        assert_eq!(answers.iter().map(told).collect::<Vec<_>>(), expected(), "{name}");
        assert!(output.stderr.contains(said), "{name}: {}", output.stderr);
        assert_eq!(output.stderr.is_empty(), said.is_empty(), "{name}: {}", output.stderr);
    }
}

/// A file that is no capture, or one of another link layer, is refused with status 2.
#[test]
fn what_is_no_capture_of_ethernet_is_one_clear_error() {
    let bench = attached();
    let frames = frames();
    let whole = pcap(&frames[..2]);
    for (name, bytes, answers, message) in [
        ("empty", vec![], 0, "neither a pcap nor a pcapng file"),
        ("text", b"no capture at all, just text".to_vec(), 0, "neither a pcap nor a pcapng file"),
        ("zeros", vec![0; 4096], 0, "neither a pcap nor a pcapng file"),
        ("a header alone, cut", whole[..20].to_vec(), 0, "neither a pcap nor a pcapng file"),
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
        ("gzip of nothing good", gzip(b"text"), 0, "neither a pcap nor a pcapng file"),
        ("gzip, damaged", gzip(&whole)[..20].to_vec(), 0, "compressed by gzip, and damaged"),
    ] {
        let path = bench.directory().join("capture");
        std::fs::write(&path, bytes).unwrap();
        let output = bench.xdpctl(["explain", JUDGED, "--json", "--pcap", path.to_str().unwrap()]);
        output.expect_status(2);
        let told = lines(&output.stdout);
        if answers == 0 {
            // Where no frame was judged, the error is the answer.
            assert_eq!((told.len(), &told[0]["ok"]), (1, &json!(false)), "{name}");
        } else {
            assert_eq!(told.len(), answers, "{name}");
        }
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

/// If the missing bytes were filled with zeros, these would be judged as ports.
#[test]
fn frames_that_the_capture_cut_within_their_headers_are_not_judged() {
    let mut bench = Bench::new();
    bench.attach("[[rule]]\nname = \"dns\"\ndestination_port = 53\naction = \"drop\"\n");
    let frame = udp4("203.0.113.7", "10.0.0.2", 1, 53).payload(&[0; 500]).build();
    for (kept, judged) in [(37, false), (38, true)] {
        let mut bytes = pcap(&[&frame[..kept]]);
        bytes[24 + 12..24 + 16].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        let (output, answers) = ask(&bench, &bytes);
        output.success();
        if judged {
            assert_eq!(told(&answers[0]), json!(["drop", "rule", "dns", null]));
        } else {
            let error = format!("cut by the capture: {kept} of {} bytes", frame.len());
            assert_eq!(errors(&answers), [json!([1, error])]);
        }
    }
}

/// While rulesets are exchanged, every frame is judged by one of them, and the answer has the names
/// of that one. Lists of names come with the second: the filter goes on with other programs then.
#[test]
fn a_capture_during_reloads_is_told_by_one_ruleset_a_frame() {
    let mut bench = Bench::new();
    let of = |name: &str, prefix: &str| {
        format!("[[blocklist]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n")
    };
    let names = "[[domains]]\nname = \"names\"\nnames = [\"drop.example\"]\naction = \"drop\"\n";
    let two = of("two", "203.0.0.0/16") + names;
    let configurations = [of("one", "203.0.113.0/24"), two];
    bench.attach(&configurations[0]);
    let listed = udp4("203.0.113.7", "10.0.0.2", 1, 2).build();
    let asking =
        udp4("10.0.0.1", "10.0.0.2", 40_000, 53).payload(&query("drop.example", A).build());
    let path = bench.directory().join("capture");
    std::fs::write(&path, pcap(&vec![[listed, asking.build()]; 10_000].concat())).unwrap();
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
    let expected = [
        [
            json!(["drop", "blocklist", "one", "203.0.113.0/24"]),
            json!(["drop", "blocklist", "two", "203.0.0.0/16"]),
        ],
        [
            json!(["pass", "default", null, null]),
            json!(["drop", "domain", "names", "drop.example"]),
        ],
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (answer, either) in answers.iter().zip(expected.iter().cycle()) {
        let told = told(answer);
        assert!(either.contains(&told), "{told}");
        seen.insert(told.to_string());
    }
    assert!(seen.len() == 4 || turns < 2, "only {seen:?} in {turns} reloads");
}
