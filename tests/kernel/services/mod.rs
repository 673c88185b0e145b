//! Services end to end: clients and servers on the kernel's own stack, and a load balancer between them.

mod crowd;
mod dsr;
mod fast_path;
mod flood;
mod frames;
mod nat;
mod order;
mod spread;
mod states;
mod survive;
mod through;
mod vlan;
mod ways;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::balancer::{Balancer, IN, service, to_each};
use crate::lab::checksum;
use crate::lab::frame::Frame;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Count, Difference, Port, Sample, hex};

/// What the frames of these tests carry: hosts send others of their own accord.
const MARK: &[u8] = b"a frame of this test";
/// Where tunnels by Generic UDP Encapsulation end.
const GUE: u16 = 6080;

/// Whether a frame is one of a test, whose checksums have to be right then, or an ICMP error about one.
#[track_caller]
fn is_marked(frame: &[u8]) -> Option<Marked> {
    if !frame.windows(MARK.len()).any(|bytes| bytes == MARK) {
        return None;
    }
    checksum::assert_right(frame, Some(GUE));
    match checksum::protocol(frame) {
        Some(1 | 58) => Some(Marked::Error),
        _ => Some(Marked::Frame),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Frame,
    Error,
}

/// The next frame of a test that arrives somewhere.
#[track_caller]
fn next_marked(port: &Port) -> Vec<u8> {
    next(port, Marked::Frame)
}

/// The next ICMP error about one.
#[track_caller]
fn next_error(port: &Port) -> Vec<u8> {
    next(port, Marked::Error)
}

#[track_caller]
fn next(port: &Port, what: Marked) -> Vec<u8> {
    let deadline = Instant::now() + patient(EVENT);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let frame = port.recv(left).unwrap_or_else(|| panic!("no {what:?} of this test arrives"));
        if is_marked(&frame) == Some(what) {
            return frame;
        }
    }
}

/// The next frame of a test has to be this one.
#[track_caller]
fn expect(port: &Port, frame: &Frame) {
    let (arrived, expected) = (next_marked(port), frame.build());
    assert!(
        arrived == expected,
        "on {} arrived\n{}\nbut expected was\n{}",
        port.interface(),
        hex(&arrived),
        hex(&expected)
    );
}

/// No frame of a test may have arrived. To be called when one that was sent later has.
#[track_caller]
fn expect_none(port: &Port) {
    for frame in port.recv_all(Duration::ZERO) {
        let marked = is_marked(&frame) == Some(Marked::Frame);
        assert!(!marked, "on {} arrived\n{}", port.interface(), hex(&frame));
    }
}

/// What one frame is counted as: its verdict and reason, and the lists, rules and services that it
/// counts for.
struct Counted<'a> {
    verdict: &'a str,
    reason: &'a str,
    rules: &'a [&'a str],
}

const fn counted<'a>(verdict: &'a str, reason: &'a str, rules: &'a [&'a str]) -> Counted<'a> {
    Counted { verdict, reason, rules }
}

/// Sends a frame into the device under test, and waits until it is counted so. What hosts send of
/// their own accord is counted too, under no rule.
#[track_caller]
fn send(lab: &Balancer, from: &Port, frame: &Frame, expected: &Counted<'_>) {
    let before = lab.sample(IN);
    let frame = frame.build();
    from.send(&frame);
    let deadline = Instant::now() + patient(EVENT);
    let one = Count { packets: 1, bytes: frame.len() as u64 };
    let rules: BTreeMap<String, Count> =
        expected.rules.iter().map(|&name| (name.to_owned(), one)).collect();
    loop {
        let after = lab.sample(IN);
        let found = Difference::between(&before, &after);
        let count = |of: &BTreeMap<String, Count>, name: &str| of.get(name).copied();
        let is_noise = |verdict: &str| expected.reason == "default" || verdict == "pass";
        let of_reason = count(&found.reasons, expected.reason).unwrap_or_default();
        if of_reason.packets >= 1 {
            let of_verdict = count(&found.verdicts, expected.verdict).unwrap_or_default();
            assert!(of_verdict.packets >= 1, "no {}: {found}", expected.verdict);
            assert!(is_noise(expected.verdict) || of_reason == one, "{found}");
            assert_eq!(found.rules, rules, "{found}");
            return;
        }
        assert!(Instant::now() < deadline, "not counted as {}: {found}", expected.reason);
    }
}

/// A frame of a test that is so many bytes long.
fn filled(frame: Frame, bytes: usize) -> Frame {
    let marked = frame.payload(MARK);
    let rest = vec![7; bytes - marked.build().len()];
    marked.payload(&[MARK, &rest].concat())
}

/// Packets of a verdict.
/// The counters, once connections that were closed have ended: no packet goes by a service any more.
#[track_caller]
fn once_quiet(lab: &Balancer, interface: &str) -> Sample {
    let deadline = Instant::now() + patient(EVENT);
    let mut before = lab.sample(interface);
    loop {
        thread::sleep(Duration::from_millis(300));
        let after = lab.sample(interface);
        if after.reasons["service"] == before.reasons["service"] {
            return after;
        }
        assert!(Instant::now() < deadline, "packets still go by services");
        before = after;
    }
}

fn packets(sample: &Sample, verdict: &str) -> u64 {
    sample.verdicts[verdict].packets
}
