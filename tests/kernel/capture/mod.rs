//! `capture`: the frames as they came in, with what became of each.

mod places;

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Lab, Output, Topology, Traffic, stay_on_this_cpu};

const RULESET: &str = r#"
    [[allowlist]]
    name = "office"
    prefixes = ["198.51.100.0/24"]
    [[blocklist]]
    name = "spamhaus"
    prefixes = ["203.0.113.0/24", "203.0.113.7"]
    [[blocklist]]
    name = "trial"
    action = "count"
    prefixes = ["10.3.0.0/16"]
    [[rule]]
    name = "no-telnet"
    protocol = "tcp"
    destination_port = 23
    action = "drop"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(RULESET);
    bench
}

/// Waits until a capture has the kernel's programs in place.
#[track_caller]
pub fn begun(capture: Background) -> Background {
    await_said(&capture, "capturing on ");
    capture
}

#[track_caller]
fn await_said(capture: &Background, text: &str) {
    let deadline = Instant::now() + patient(EVENT);
    while !capture.stderr().contains(text) {
        let said = capture.stderr();
        assert!(Instant::now() < deadline, "{text:?} is not in {said:?}; {}", capture.stdout());
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn capture(bench: &Bench, args: &[&str]) -> Background {
    begun(bench.lab().spawn_xdpctl("dut", [&["capture", JUDGED], args].concat()))
}

/// Ends it as Ctrl-C does.
#[track_caller]
fn interrupt(mut capture: Background) -> Output {
    capture.signal(Signal::SIGINT);
    let output = capture.wait(EVENT).expect("it ends");
    output.success();
    output
}

/// Lines without their times.
fn untimed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split_once(' ').map_or("", |(_, rest)| rest)).collect()
}

fn blocked() -> Frame {
    udp4("203.0.113.9", "192.0.2.1", 4000, 53)
}

fn other() -> Frame {
    udp4("10.0.0.1", "192.0.2.1", 4000, 53)
}

#[test]
fn a_line_a_frame_with_what_decided_it() {
    let bench = attached();
    bench.xdpctl(["block", JUDGED, "10.7.0.0/16", "--for", "1h"]).success();
    let following = capture(&bench, &[]);
    let port = bench.port("src0");
    let frames = [
        blocked(),
        udp4("203.0.113.7", "192.0.2.1", 4000, 53),
        udp4("198.51.100.1", "192.0.2.1", 4000, 53),
        tcp4("10.0.0.1", "192.0.2.1", 4000, 23),
        udp4("10.3.0.1", "192.0.2.1", 4000, 53),
        udp4("10.7.0.1", "192.0.2.1", 4000, 53),
        udp6("2001:db8::1", "2001:db8::2", 4000, 53),
        arp_request("10.0.0.1", "10.0.0.2"),
        other().ihl(4),
    ];
    for (number, frame) in frames.iter().enumerate() {
        port.send(&frame.clone().build());
        // One after the other: CPUs hand over theirs in any order.
        following.lines(number + 1, EVENT);
    }
    let mut lldp = vec![1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 1, 1, 0x88, 0xcc];
    lldp.resize(60, 0);
    port.send(&lldp);
    let lines = following.lines(frames.len() + 1, EVENT);
    assert_eq!(
        untimed(&lines),
        [
            "203.0.113.9:4000 > 192.0.2.1:53 udp, 52 bytes: drop: blocklist spamhaus 203.0.113.0/24",
            "203.0.113.7:4000 > 192.0.2.1:53 udp, 52 bytes: drop: blocklist spamhaus 203.0.113.7/32",
            "198.51.100.1:4000 > 192.0.2.1:53 udp, 52 bytes: pass: allowlist office 198.51.100.0/24",
            "10.0.0.1:4000 > 192.0.2.1:23 tcp, 64 bytes: drop: rule no-telnet",
            "10.3.0.1:4000 > 192.0.2.1:53 udp, 52 bytes: pass: default; counted by trial 10.3.0.0/16",
            "10.7.0.1:4000 > 192.0.2.1:53 udp, 52 bytes: drop: banned 10.7.0.0/16",
            "[2001:db8::1]:4000 > [2001:db8::2]:53 udp, 72 bytes: pass: default",
            "10.0.0.1 arp, 42 bytes: pass: arp",
            "02:00:00:00:01:01 > 02:00:00:00:01:02 ethertype 0x0800, 52 bytes: drop: malformed: the \
             frame has an IPv4 header length or total length that is too short",
            "02:00:00:00:01:01 > 01:80:c2:00:00:0e ethertype 0x88cc, 60 bytes: pass: default",
        ]
    );
    // The time is the wall clock's.
    let time = lines[0].split(' ').next().expect("a time");
    let time = humantime::parse_rfc3339(time).expect("a time");
    let age = time.elapsed().expect("it is over");
    assert!(age < patient(EVENT), "{age:?} ago");

    let output = interrupt(following);
    assert!(output.stderr.contains("10 frames captured, 0 lost; 10 matched, of 10"), "{output:?}");
}

#[test]
fn filters_leave_out_the_others() {
    let bench = attached();
    let sent = [
        blocked(),
        other(),
        tcp4("10.0.0.1", "192.0.2.1", 4000, 23),
        udp4("10.3.0.1", "192.0.2.1", 4000, 53),
        arp_request("10.0.0.1", "10.0.0.2"),
    ];
    for (args, expected) in [
        (&["--verdict", "drop"][..], &[0, 2][..]),
        (&["--reason", "blocklist"], &[0]),
        (&["--reason", "blocklist,arp"], &[0, 4]),
        (&["--reason", "rule", "--reason", "arp"], &[2, 4]),
        (&["--verdict", "pass", "--reason", "blocklist,default"], &[1, 3]),
        (&["--rule", "spamhaus"], &[0]),
        (&["--rule", "no-telnet"], &[2]),
        // A list that only counts.
        (&["--rule", "trial"], &[3]),
        (&["--rule", "office"], &[]),
    ] {
        let following = capture(&bench, args);
        let before = bench.sample().total().packets;
        for (number, frame) in sent.iter().enumerate() {
            bench.port("src0").send(&frame.clone().build());
            bench.await_count(before + number as u64 + 1);
        }
        let output = interrupt(following);
        let flows: Vec<&str> = output
            .stdout
            .lines()
            .map(|line| line.split_once("Z ").expect("a time").1.split_once(',').expect("a flow").0)
            .collect();
        let all = [
            "203.0.113.9:4000 > 192.0.2.1:53 udp",
            "10.0.0.1:4000 > 192.0.2.1:53 udp",
            "10.0.0.1:4000 > 192.0.2.1:23 tcp",
            "10.3.0.1:4000 > 192.0.2.1:53 udp",
            "10.0.0.1 arp",
        ];
        let wanted: Vec<&str> = expected.iter().map(|number| all[*number]).collect();
        assert_eq!(flows, wanted, "{args:?}");
        let counted = format!(
            "{} captured, 0 lost; {} matched, of 5 that came in",
            match expected.len() {
                1 => "1 frame".to_owned(),
                number => format!("{number} frames"),
            },
            expected.len()
        );
        assert!(output.stderr.contains(&counted), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn one_of_so_many_and_no_more_than_asked_for() {
    stay_on_this_cpu();
    let bench = attached();
    let send = |count: u16| {
        for port in 1..=count {
            bench.port("src0").send(&udp4("203.0.113.9", "192.0.2.1", port, 53).build());
            bench.port("src0").send(&other().build());
        }
    };
    // Drawn among those that the filter asks for, and among all.
    let following = capture(&bench, &["--sample", "5", "--verdict", "drop"]);
    send(20);
    let lines = following.lines(4, EVENT);
    for (line, port) in lines.iter().zip([1, 6, 11, 16]) {
        assert!(line.contains(&format!("203.0.113.9:{port} >")), "{lines:?}");
    }
    let output = interrupt(following);
    assert!(output.stderr.contains("4 frames captured, 0 lost; 20 matched, of 40"), "{output:?}");

    let following = capture(&bench, &["--sample", "10"]);
    send(20);
    following.lines(4, EVENT);
    let output = interrupt(following);
    assert!(output.stderr.contains("4 frames captured, 0 lost; 40 matched, of 40"), "{output:?}");

    let mut following = capture(&bench, &["--count", "3"]);
    send(5);
    let output = following.wait(EVENT).expect("it ends by itself");
    assert_eq!(output.success().stdout.lines().count(), 3, "{}", output.stdout);
    assert!(output.stderr.contains("3 frames captured"), "{}", output.stderr);
}

/// Nobody reads the capture: packets flow, and what is lost to it is counted and said.
#[test]
fn a_reader_that_does_not_read_costs_frames_of_the_capture_only() {
    let bench = attached();
    let mut command = bench.lab().xdpctl_command("dut", ["capture", JUDGED, "-w", "-"]);
    // A pipe that is never read, and never closed.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let log = bench.directory().join("stderr");
    command.stdin(Stdio::null()).stdout(writer);
    command.stderr(fs::File::create(&log).expect("a file"));
    let mut child = command.spawn().expect("it runs");
    drop(command);
    let said = || fs::read_to_string(&log).expect("text");
    let deadline = Instant::now() + patient(EVENT);
    while !said().contains("capturing on") {
        assert!(Instant::now() < deadline, "{}", said());
        thread::sleep(Duration::from_millis(1));
    }
    let before = bench.sample().total().packets;
    let frame = udp4("10.0.0.1", "192.0.2.1", 4000, 53).payload(&[7; 1400]).build();
    let traffic = Traffic::start(bench.lab().port("src", "src0"), [frame]);
    traffic.wait_for(20_000);
    let dropped = bench.lab().dropped_at("src", "src0");
    let sent = traffic.stop();
    let dropped = bench.lab().dropped_at("src", "src0").max(dropped);
    let counted = bench.await_count(before + sent - dropped);
    assert!(counted.total().packets >= before + sent - dropped, "packets are missing");

    let process = Pid::from_raw(child.id().try_into().expect("a process id"));
    nix::sys::signal::kill(process, Signal::SIGINT).expect("a signal");
    let deadline = Instant::now() + patient(EVENT);
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("it does not end: {}", said());
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status.code(), Some(0), "{}", said());
    drop(reader);
    let number = |text: &str| -> u64 { text.replace(',', "").parse().expect("a number") };
    let said_of = |what: &str| {
        let text = said();
        let before = text.split(what).next().expect("the text before it");
        number(before.rsplit(' ').next().expect("a word"))
    };
    let lost = said_of(" lost;");
    // Each frame is in one of the numbers, also those that waited for the reader at the end.
    assert_eq!(said_of(" frames captured") + lost, said_of(" matched,"), "{}", said());
    assert!(lost > 1000, "{}", said());
    assert!(said().contains("the capture was read too slowly"), "{}", said());
}

/// The names are those of the ruleset that judged the frame, and a rule is followed by its name.
#[test]
fn a_reload_while_it_runs() {
    let mut bench = attached();
    let all = capture(&bench, &[]);
    let spamhaus = capture(&bench, &["--rule", "spamhaus"]);
    bench.port("src0").send(&blocked().build());
    assert!(all.lines(1, EVENT)[0].ends_with("drop: blocklist spamhaus 203.0.113.0/24"));

    bench.attach(
        "[[blocklist]]\nname = \"before\"\nprefixes = [\"10.0.0.0/8\"]\n\
         [[blocklist]]\nname = \"spamhaus\"\nprefixes = [\"203.0.113.0/28\"]\n",
    );
    bench.port("src0").send(&blocked().build());
    assert!(all.lines(2, EVENT)[1].ends_with("drop: blocklist spamhaus 203.0.113.0/28"));
    bench.port("src0").send(&other().build());
    assert!(all.lines(3, EVENT)[2].ends_with("drop: blocklist before 10.0.0.0/8"));
    assert_eq!(spamhaus.lines(2, EVENT).len(), 2);

    // The rule goes, and comes back.
    bench.attach("[[blocklist]]\nname = \"before\"\nprefixes = [\"203.0.113.0/24\"]\n");
    await_said(&spamhaus, "no list or rule \"spamhaus\" any more");
    bench.port("src0").send(&blocked().build());
    assert!(all.lines(4, EVENT)[3].ends_with("drop: blocklist before 203.0.113.0/24"));
    bench.attach(RULESET);
    // When it looks again is not seen from outside: until then, frames pass it by.
    let deadline = Instant::now() + patient(EVENT);
    while spamhaus.stdout().lines().count() < 3 {
        assert!(Instant::now() < deadline, "{}", spamhaus.stdout());
        bench.port("src0").send(&blocked().build());
        thread::sleep(Duration::from_millis(10));
    }
    let output = interrupt(spamhaus);
    assert!(output.stdout.lines().all(|line| line.contains(" spamhaus ")), "{}", output.stdout);
    interrupt(all);
}

/// A ruleset that is not confirmed names its frames while it is in force, and the one before does so
/// again afterwards.
#[test]
fn a_ruleset_on_trial_while_it_runs() {
    let bench = attached();
    let following = capture(&bench, &[]);
    let file = bench
        .write("tried.toml", "[[blocklist]]\nname = \"tried\"\nprefixes = [\"203.0.113.0/24\"]\n");
    let path = file.to_str().expect("UTF-8");
    let args = ["reload", JUDGED, "-c", path, "--confirm", "3s"];
    let mut trying = bench.lab().spawn_xdpctl("dut", args);
    let deadline = Instant::now() + patient(EVENT);
    let named = |name: &str| following.stdout().lines().any(|line| line.contains(name));
    while !named("tried") && trying.is_running() {
        assert!(Instant::now() < deadline, "{}", following.stdout());
        bench.port("src0").send(&blocked().build());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(named("drop: blocklist tried 203.0.113.0/24"), "{}", following.stdout());
    trying.wait(EVENT).expect("its time is over");
    let before = following.stdout().lines().count();
    bench.port("src0").send(&blocked().build());
    let line = following.lines(before + 1, EVENT).pop().expect("a line");
    assert!(line.ends_with("drop: blocklist spamhaus 203.0.113.0/24"), "{line}");
    interrupt(following);
}

#[test]
fn another_program_while_it_runs() {
    let bench = attached();
    let following = capture(&bench, &["--rule", "spamhaus"]);
    let file = bench.directory().join("in0.toml");
    let file = file.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", file]).success();
    await_said(&following, "the program on in0 was replaced");
    bench.port("src0").send(&blocked().build());
    assert!(following.lines(1, EVENT)[0].ends_with("drop: blocklist spamhaus 203.0.113.0/24"));
    interrupt(following);
}

/// A frame is captured as it came in, although the filter rewrites its addresses.
#[test]
fn a_redirected_frame_is_shown_as_it_came_in() {
    let mut bench = Bench::new();
    bench.attach(
        "[[rule]]\nname = \"on\"\ndestination_port = 7\naction = \"redirect\"\nto = \"out0\"\n\
         set_destination_mac = \"02:00:00:00:00:77\"\nset_source_mac = \"02:00:00:00:00:78\"\n",
    );
    bench.open_gates();
    let file = bench.directory().join("capture.pcapng");
    let following = capture(&bench, &["-w", file.to_str().expect("UTF-8")]);
    let frame = udp4("10.0.0.1", "192.0.2.1", 4000, 7).payload(b"payload").build();
    bench.port("src0").send(&frame);
    let arrived = bench.port("dst0").recv(EVENT).expect("redirected");
    assert_eq!(arrived[..12], [2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 0x78]);
    interrupt(following);
    let written = fs::read(&file).expect("a capture");
    let has = |bytes: &[u8]| written.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(&frame) && !has(&arrived));
    assert!(has(b"xdpctl: redirect rule on; to out0"));
}

#[test]
fn in_generic_mode_and_without_ethernet() {
    let mut bench = Bench::new();
    bench.attach_in_mode(RULESET, "generic");
    let following = capture(&bench, &[]);
    assert!(following.stderr().contains("capturing on in0 (generic mode)"));
    bench.port("src0").send(&blocked().build());
    assert!(following.lines(1, EVENT)[0].ends_with("drop: blocklist spamhaus 203.0.113.0/24"));
    interrupt(following);

    let lab = Lab::new();
    let tun = lab.tun("dut", "tun0");
    let file = bench.write("tun.toml", RULESET);
    let args = ["attach", "tun0", "-c", file.to_str().expect("UTF-8")];
    lab.xdpctl("dut", args).success();
    let written = bench.directory().join("tun.pcapng");
    let args = ["capture", "tun0", "--count", "1", "-w", written.to_str().expect("UTF-8")];
    let mut following = begun(lab.spawn_xdpctl("dut", args));
    let packet = blocked().build()[14..].to_vec();
    tun.send(&packet);
    following.wait(EVENT).expect("it ends").success();
    let bytes = fs::read(&written).expect("a capture");
    assert!(bytes.windows(packet.len()).any(|window| window == packet));
    // It can be asked about, as a capture of such an interface.
    let asked = lab.xdpctl("dut", ["explain", "tun0", "--pcap", written.to_str().expect("UTF-8")]);
    assert!(asked.success().stdout.contains("spamhaus"), "{}", asked.stdout);
}

#[test]
fn a_frame_in_several_buffers() {
    let mut bench = Bench::on(Topology::standard().mtu(9000));
    bench.attach(RULESET);
    let file = bench.directory().join("jumbo.pcapng");
    let path = file.to_str().expect("UTF-8");
    let mut following = capture(&bench, &["--count", "1", "-w", path]);
    let lines = capture(&bench, &[]);
    let payload: Vec<u8> = (0..8000u32).map(|number| number as u8).collect();
    let frame = other().payload(&payload).build();
    bench.port("src0").send(&frame);
    assert!(lines.lines(1, EVENT)[0].contains(", 8,042 bytes: pass: default"));
    following.wait(EVENT).expect("it ends").success();
    let bytes = fs::read(&file).expect("a capture");
    assert!(bytes.windows(frame.len()).any(|window| window == frame));
    interrupt(lines);
}

#[test]
fn a_part_of_each_frame() {
    let bench = attached();
    let file = bench.directory().join("short.pcapng");
    let args = ["--snaplen", "20", "--count", "1", "-w", file.to_str().expect("UTF-8")];
    let mut following = capture(&bench, &args);
    let frame = blocked().payload(&[7; 100]).build();
    bench.port("src0").send(&frame);
    following.wait(EVENT).expect("it ends").success();
    let bytes = fs::read(&file).expect("a capture");
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(has(&frame[..20]) && !has(&frame[..21]));
    assert!(has(&[&20u32.to_le_bytes()[..], &142u32.to_le_bytes()].concat()));
    // What decided is known even so.
    assert!(has(b"xdpctl: drop blocklist spamhaus 203.0.113.0/24"));
}

#[test]
fn it_says_why_it_ends() {
    let bench = attached();
    let mut following = capture(&bench, &[]);
    bench.xdpctl(["detach", JUDGED]).success();
    let output = following.wait(EVENT).expect("it ends");
    output.expect_status(1);
    assert!(output.stderr.contains("error: xdpctl was detached from in0"), "{}", output.stderr);

    let bench = attached();
    let mut following = capture(&bench, &[]);
    bench.lab().ip("dut", ["link", "delete", JUDGED]);
    let output = following.wait(EVENT).expect("it ends");
    output.expect_status(1);
    assert!(output.stderr.contains("error: in0 is gone"), "{}", output.stderr);
}

#[test]
fn it_ends_with_its_reader() {
    let bench = attached();
    for args in [&["capture", JUDGED][..], &["capture", JUDGED, "-w", "-"]] {
        let mut command = bench.lab().xdpctl_command("dut", args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let deadline = Instant::now() + patient(EVENT);
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().expect("killed");
                panic!("{args:?} does not end without a reader");
            }
            thread::sleep(Duration::from_millis(1));
        };
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("error"), "{said}");
    }
}

/// A FIFO that nobody reads keeps it waiting, and not from ending.
#[test]
fn a_fifo_without_a_reader() {
    let bench = attached();
    let path = bench.write("fifo", "");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let path = path.to_str().expect("a path in UTF-8");
    let start = || bench.lab().spawn_xdpctl("dut", ["capture", JUDGED, "-w", path]);
    let mut waiting = start();
    thread::sleep(Duration::from_millis(300));
    waiting.signal(Signal::SIGTERM);
    let ended = waiting.wait(EVENT).expect("it ends");
    assert!(!ended.stderr.contains("capturing on"), "{}", ended.stderr);
    // With a reader, it begins.
    let waiting = start();
    let mut reader = fs::File::open(path).unwrap();
    await_said(&waiting, "capturing on");
    interrupt(waiting);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a pcapng section");
}

#[test]
fn what_cannot_be_captured_is_an_error() {
    let bench = attached();
    let refused = |args: &[&str], status: i32, text: &str| {
        let output = bench.xdpctl([&["capture"], args].concat());
        output.expect_status(status);
        assert!(output.stderr.contains(text), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
    };
    refused(&[JUDGED, "--rule", "spamhouse"], 1, "did you mean \"spamhaus\"?");
    refused(&[JUDGED, "--rule", "zzz"], 1, "`xdpctl show in0` shows what it has");
    refused(&["out0"], 1, "xdpctl is not attached to out0");
    refused(&["nothing"], 1, "no interface `nothing`");
    refused(&[JUDGED, "--verdict", "dorp"], 2, "'drop'");
    refused(&[JUDGED, "--reason", "list"], 2, "possible values");
    refused(&[JUDGED, "--snaplen", "0"], 2, "--snaplen");
    refused(&[JUDGED, "--sample", "0"], 2, "--sample");
    refused(&[JUDGED, "-w", "/nowhere/at/all"], 1, "cannot write /nowhere/at/all");
    refused(&[JUDGED, "-w", "/dev/full"], 1, "No space left");
    // A file that is there stays as it is where nothing can be captured.
    let file = bench.write("kept", "as it was");
    refused(&[JUDGED, "--rule", "zzz", "-w", file.to_str().expect("UTF-8")], 1, "zzz");
    assert_eq!(fs::read_to_string(&file).expect("text"), "as it was");

    // On a terminal: script(1) gives it one.
    let mut command = bench.lab().command("dut", "script");
    let asked = format!("{} capture {JUDGED} -w -", env!("CARGO_BIN_EXE_xdpctl"));
    command.args(["--quiet", "--return", "--command", &asked, "/dev/null"]);
    let output = Background::start(command).wait(EVENT).expect("it ends");
    output.expect_status(2);
    assert!(output.stdout.contains("pcapng is not for a terminal"), "{output:?}");
}
