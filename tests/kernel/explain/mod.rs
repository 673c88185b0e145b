//! `explain` and `lookup`: what the program would do with frames that nobody sent.

mod captures;
mod configurations;
mod entries;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::capture::pcap;
use crate::lab::frame::*;
use crate::lab::{Background, Output};
use crate::verdicts;

/// Runs `explain --json`, and returns its objects.
#[track_caller]
fn explain<S: AsRef<OsStr>>(bench: &Bench, rest: impl IntoIterator<Item = S>) -> Vec<Value> {
    let mut args = vec![OsStr::new("explain").to_owned(), JUDGED.into(), "--json".into()];
    args.extend(rest.into_iter().map(|arg| arg.as_ref().to_owned()));
    let output = bench.xdpctl(args);
    output.success();
    lines(&output.stdout)
}

#[track_caller]
pub fn lines(text: &str) -> Vec<Value> {
    let object =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(object).collect()
}

fn hex_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a command with `--config` and without capabilities: the kernel would refuse any call that
/// needs one.
#[track_caller]
pub fn without_the_kernel<S: AsRef<OsStr>>(
    command: &str,
    file: &Path,
    rest: impl IntoIterator<Item = S>,
) -> Output {
    let mut program = Command::new("setpriv");
    program.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_xdpctl"), command]);
    program.arg("--config").arg(file).args(rest);
    let mut running = Background::start(program);
    running.wait(Duration::from_secs(300)).expect("it ends")
}

/// The answer of `explain` for one frame.
#[track_caller]
pub fn explain_frame(bench: &Bench, frame: impl Into<Vec<u8>>) -> Value {
    let hex = hex_digits(&frame.into());
    let [answer] = explain(bench, ["--packet", &hex]).try_into().expect("one answer");
    answer
}

/// The answers of `explain` for frames, asked at once: each time, the kernel verifies the filter
/// anew.
#[track_caller]
pub fn explain_frames<F: AsRef<[u8]>, const N: usize>(
    bench: &Bench,
    frames: &[F; N],
) -> [Value; N] {
    let path = bench.directory().join("asked.pcap");
    std::fs::write(&path, pcap(frames)).unwrap();
    let answers = explain(bench, [OsStr::new("--pcap"), path.as_os_str()]);
    answers.try_into().unwrap_or_else(|answers| panic!("not {N} answers: {answers:?}"))
}

/// The decision, without the place of what decided.
pub fn told(answer: &Value) -> Value {
    json!([answer["verdict"], answer["reason"], answer["rule"], answer["entry"]])
}

/// `explain` says of each row's frame what happens to it on the wire: the tables are those of the
/// verdict tests. The live counters do not move. The configuration, asked without the kernel, gives
/// the same answer to the last key.
#[test]
fn explain_says_what_every_table_of_verdicts_says() {
    for (name, table) in verdicts::all() {
        let bench = table.prepare();
        let before = bench.sample();
        let frames: Vec<&[u8]> = table.rows.iter().map(|row| row.frame()).collect();
        let path = bench.directory().join("rows.pcap");
        std::fs::write(&path, pcap(&frames)).unwrap();
        let answers = explain(&bench, [OsStr::new("--pcap"), path.as_os_str()]);
        assert_eq!(answers.len(), frames.len(), "{name}");
        let file = bench.directory().join("in0.toml");
        let args = [OsStr::new("--pcap"), path.as_os_str(), OsStr::new("--json")];
        let by_file = without_the_kernel("explain", &file, args);
        for (answer, by_file) in answers.iter().zip(lines(&by_file.success().stdout)) {
            let mut answer = answer.clone();
            if by_file["to"].as_str().is_some_and(|to| to.starts_with("interface index")) {
                // Only the kernel knows which interface has that index.
                answer["to"] = by_file["to"].clone();
            }
            assert_eq!(by_file, answer, "{name}");
        }
        for (row, answer) in table.rows.iter().zip(&answers) {
            let (verdict, reason, rules) = row.judgement();
            let found = [&answer["counted"]["rule"], &answer["excepted"]["rule"], &answer["rule"]];
            let mut found: Vec<&str> = found.iter().filter_map(|name| name.as_str()).collect();
            let mut rules = rules.to_vec();
            found.sort_unstable();
            rules.sort_unstable();
            let said = (answer["verdict"].as_str(), answer["reason"].as_str(), &found[..]);
            let description = row.description();
            assert_eq!(said, (Some(verdict), Some(reason), &rules[..]), "{name}: {description}");
            let is_told = answer["cause"].is_string();
            assert_eq!(is_told, reason == "malformed", "{name}: {description}: {answer}");
        }
        let after = bench.sample();
        assert_eq!(after.total(), before.total(), "{name}");
        assert!(
            after.rules.iter().all(|rule| rule.count.packets == 0),
            "{name}: {:?}",
            after.rules
        );
    }
}

#[test]
fn what_is_malformed_is_told_why() {
    let mut bench = Bench::new();
    bench.attach("");
    let bytes = |frame: Frame| -> Vec<u8> { frame.into() };
    let extensions = std::array::from_fn::<_, 9, _>(|_| Extension::HopByHop);
    let malformed = [
        (bytes(udp4("192.0.2.1", "192.0.2.2", 1, 2))[..24].to_vec(), "ends inside a header"),
        (vec![0x02; 13], "ends inside a header"),
        (bytes(udp4("192.0.2.1", "192.0.2.2", 1, 2).ihl(4)), "has an IPv4 header length"),
        (bytes(udp4("192.0.2.1", "192.0.2.2", 1, 2).version(5)), "has a wrong IP version"),
        (bytes(udp4("192.0.2.1", "192.0.2.2", 1, 2).total_length(9_999)), "has an IP length"),
        (bytes(udp6("::1", "::2", 1, 2).extensions(extensions)), "has a ninth IPv6 extension"),
    ];
    let frames = malformed.each_ref().map(|(frame, _)| frame);
    let answers = explain_frames(&bench, &frames);
    let path = bench.directory().join("malformed.pcap");
    std::fs::write(&path, pcap(&frames)).unwrap();
    let text = bench.xdpctl(["explain", JUDGED, "--pcap", path.to_str().unwrap()]);
    let text: Vec<&str> = text.success().stdout.lines().collect();
    assert_eq!(text.len(), malformed.len(), "{text:?}");
    for (((_, cause), answer), line) in malformed.iter().zip(answers).zip(text) {
        let said = answer["cause"].as_str().expect("a cause");
        assert!(said.starts_with(cause), "{said}: {cause}");
        assert!(line.contains(&format!(": drop: malformed: the frame {cause}")), "{line}");
    }
    let alone = bench.xdpctl(["explain", JUDGED, "--packet", &hex_digits(&malformed[0].0)]);
    let begins = format!("drop: malformed: the frame {}", malformed[0].1);
    assert!(alone.success().stdout.starts_with(&begins), "{alone:?}");
}

#[test]
fn a_redirected_frame_is_shown_as_it_goes_on() {
    let mut bench = Bench::new();
    let index = bench.lab().ifindex("dut", "out0");
    bench.attach(&format!(
        r#"
        [[rule]]
        name = "by-name"
        protocol = "udp"
        destination_port = 1
        action = "redirect"
        to = "out0"
        set_source_mac = "02:00:00:00:00:07"
        [[rule]]
        name = "by-index"
        protocol = "udp"
        destination_port = 2
        action = "redirect"
        to = {index}
        [[rule]]
        name = "back"
        destination_port = 3
        action = "bounce"
        set_destination_mac = "02:00:00:00:00:08"
        "#
    ));
    let frame = |port| udp4("10.0.0.1", "10.0.0.2", 9, port).build();
    let [by_name, by_index, back] = explain_frames(&bench, &[frame(1), frame(2), frame(3)]);
    let answer = by_name;
    let mut changed = frame(1);
    changed[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
    assert_eq!(told(&answer), json!(["redirect", "rule", "by-name", null]));
    assert_eq!((&answer["to"], &answer["output"]), (&json!("out0"), &json!(hex_digits(&changed))));
    // That of its name.
    assert_eq!(answer["line"], 3);
    let answer = by_index;
    assert_eq!((&answer["to"], &answer["output"]), (&json!("out0"), &Value::Null));
    let answer = back;
    let mut changed = frame(3);
    changed[..6].copy_from_slice(&[2, 0, 0, 0, 0, 8]);
    assert_eq!(told(&answer), json!(["tx", "rule", "back", null]));
    assert_eq!(answer["output"], json!(hex_digits(&changed)));
    assert_eq!(answer["to"], Value::Null);
}

#[test]
fn a_redirect_that_cannot_be_made_is_a_drop() {
    let mut bench = Bench::new();
    bench.attach("[[rule]]\nname = \"out\"\naction = \"redirect\"\nto = \"out0\"");
    bench.lab().ip("dut", ["link", "delete", "out0"]);
    let answer = explain_frame(&bench, udp4("10.0.0.1", "10.0.0.2", 1, 2));
    assert_eq!(told(&answer), json!(["drop", "rule", "out", null]));
    assert_eq!((&answer["to"], &answer["missing"]), (&Value::Null, &json!("out0")));
}

#[test]
fn a_frame_built_from_what_is_said_of_it() {
    let mut bench = Bench::new();
    bench.attach(
        r#"
        [[rule]]
        name = "all-of-it"
        protocol = "tcp"
        source = "10.0.0.0/8"
        destination = "192.0.2.53"
        source_port = 1024
        destination_port = 443
        tcp_flags = "syn,ack,!rst"
        vlan = 100
        source_mac = "02:00:00:00:00:09"
        destination_mac = "02:00:00:00:00:0a"
        action = "drop"
        [[rule]]
        name = "ping6"
        protocol = "icmpv6"
        icmp_type = 128
        action = "drop"
        [[rule]]
        name = "own-mac"
        destination_mac = "02:00:00:00:01:02"
        protocol = "sctp"
        action = "drop"
        [[rule]]
        name = "gre"
        protocol = 47
        action = "drop"
        [[rule]]
        name = "of-ip"
        destination = ["192.0.2.7", "2001:db8::7"]
        ttl = "0-4"
        dscp = "ef"
        length = "1400-1500"
        fragment = "first"
        action = "drop"
        [[rule]]
        name = "later"
        protocol = "udp"
        fragment = "later"
        action = "drop"
        "#,
    );
    let all = "--source 10.1.2.3 --destination 192.0.2.53 --protocol tcp --source-port 1024 \
               --destination-port 443 --tcp-flags syn,ack --vlan 100 --source-mac \
               02:00:00:00:00:09 --destination-mac 02:00:00:00:00:0a";
    let by = |args: &str| {
        let [answer] = explain(&bench, args.split_whitespace()).try_into().expect("one answer");
        answer["rule"].clone()
    };
    // The frame is built in the same way where the configuration is asked, for which the kernel
    // verifies nothing.
    let file = bench.directory().join("in0.toml");
    let by_file = |args: &str| {
        let args = args.split_whitespace().chain(["--json"]);
        let output = without_the_kernel("explain", &file, args);
        let [answer] = lines(&output.success().stdout).try_into().expect("one answer");
        answer["rule"].clone()
    };
    assert_eq!(by(all), "all-of-it");
    assert_eq!(by_file(all), "all-of-it");
    for other in [
        all.replace("10.1.2.3", "11.1.2.3"),
        all.replace("192.0.2.53", "192.0.2.54"),
        all.replace("1024", "1025"),
        all.replace("443", "444"),
        all.replace("syn,ack", "syn,ack,rst"),
        all.replace("--vlan 100", ""),
        all.replace("00:09", "00:19"),
        all.replace("00:0a", "00:1a"),
        all.replace("tcp ", "udp ").replace("--tcp-flags syn,ack", ""),
    ] {
        assert_eq!(by_file(&other), Value::Null, "{other}");
    }
    assert_eq!(by_file("--source 2001:db8::1 --destination ::1 --protocol icmpv6"), "ping6");
    assert_eq!(
        by_file("--source 2001:db8::1 --destination ::1 --protocol icmpv6 --icmp-type 129"),
        Value::Null
    );
    assert_eq!(by("--source 10.0.0.1 --destination 10.0.0.2 --protocol sctp"), "own-mac");
    assert_eq!(by_file("--source 10.0.0.1 --destination 10.0.0.2 --protocol 47"), "gre");
    for (source, destination) in [("192.0.2.9", "192.0.2.7"), ("2001:db8::9", "2001:db8::7")] {
        let ends = format!("--source {source} --destination {destination}");
        let all = format!("{ends} --ttl 4 --dscp ef --length 1400 --fragment first");
        assert_eq!(by(&all), "of-ip");
        assert_eq!(by_file(&all.replace("ef", "46").replace("1400", "1500")), "of-ip");
        for (one, other) in [
            ("ttl 4", "ttl 5"),
            ("--dscp ef", "--dscp af41"),
            ("1400", "1399"),
            ("--length 1400", ""),
            ("first", "later"),
            ("--fragment first", ""),
        ] {
            assert_eq!(by_file(&all.replace(one, other)), Value::Null, "{other}");
        }
        assert_eq!(by_file(&format!("{ends} --protocol udp --fragment later")), "later");
    }
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    for (args, message) in [
        ("", "the following required arguments were not provided"),
        ("--packet 0", "it has an odd number of digits"),
        ("--packet 0g", "'g', character 2, is no digit"),
        ("--source 1.2.3.0/24 --destination 1.2.3.5", "write one address"),
        ("--packet 00 --pcap x", "cannot be used with"),
        ("--source 1.2.3.4", "--destination"),
        ("--source 1.2.3.4 --destination ::1", "1.2.3.4 and ::1 are of two families"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --protocol icmpv6", "icmpv6 is IPv6's"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --protocol 300", "a number from 0 to 255"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --protocol 47 --source-port 1", "no ports"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --icmp-type 1", "no ICMP type"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --tcp-flags urgent", "is no flag"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --vlan 4096", "0..=4095"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --ttl 256", "256 is not in 0..=255"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --dscp 64", "a code point is 0 to 63"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --length 39", "write at least --length 40"),
        ("--source 1.2.3.4 --destination 1.2.3.5 --length 65536", "65536 is not in 0..=65535"),
        (
            "--source 1.2.3.4 --destination 1.2.3.5 --fragment later --source-port 5",
            "omit --source-port, or write --fragment first",
        ),
        ("--pcap /nonexistent/file", "No such file"),
        ("--pcap /", "Is a directory"),
    ] {
        let args = ["explain", JUDGED].into_iter().chain(args.split_whitespace());
        let output = bench.xdpctl(args);
        output.expect_status(2);
        assert!(output.stderr.contains(message), "{message:?} is not in\n{}", output.stderr);
    }
    // The question is right, but nothing is attached that could answer.
    for args in [&["explain", JUDGED, "--packet", "00"][..], &["lookup", JUDGED, "1.2.3.4"]] {
        let output = bench.xdpctl(args);
        output.expect_status(1);
        assert!(output.stderr.contains("xdpctl is not attached to in0"), "{}", output.stderr);
    }
}

/// A frame of any length has an answer. The kernel refuses to run a program on one below 14 bytes,
/// and puts the longer ones into several buffers.
#[test]
fn frames_of_every_length_are_answered() {
    let mut bench = Bench::new();
    bench.attach("[policy]\nmalformed = \"pass\"\n[[rule]]\nname = \"far\"\ndestination_port = 7\naction = \"drop\"");
    let lengths = (0..=100).chain([1500, 3519, 3520, 3521, 4096, 9000, 65_534, 65_535]);
    let whole = udp4("10.0.0.1", "10.0.0.2", 1, 7).build();
    let mut frames = Vec::new();
    for length in lengths {
        let mut frame = whole.clone();
        frame.resize(length, 0);
        frames.push(frame);
    }
    let path = bench.directory().join("lengths.pcap");
    std::fs::write(&path, pcap(&frames)).unwrap();
    let answers = explain(&bench, ["--pcap", path.to_str().unwrap()]);
    assert_eq!(answers.len(), frames.len());
    for (frame, answer) in frames.iter().zip(&answers) {
        let expected = if frame.len() < whole.len() {
            json!(["pass", "malformed", null, null])
        } else {
            json!(["drop", "rule", "far", null])
        };
        assert_eq!(told(answer), expected, "{} bytes", frame.len());
    }
}
