//! Samples with constructed counters, printed, drawn and followed.

mod drawn;
mod followed;
mod printed;

use std::time::{Duration, UNIX_EPOCH};

use xdp_common::stats::counter::CELLS;

use super::*;

fn counter(packets: u64, bytes: u64) -> Counter {
    Counter { packets, bytes }
}

/// A sample without lists and rules that has counted nothing.
fn nothing(interface: &str) -> Sample {
    Sample {
        interface: interface.into(),
        ifindex: 2,
        gone: false,
        bypass: false,
        mode: Mode::Native,
        generation: 3,
        time: UNIX_EPOCH + Duration::from_secs(1_769_860_800),
        matrix: Matrix { cells: [Counter::default(); CELLS] },
        unreadable: Default::default(),
        counted: Vec::new(),
        redirects: Vec::new(),
    }
}

fn counted(name: &str, kind: Kind, action: &str, counter: Counter) -> CountedSample {
    let lost = (action == "redirect").then(Counter::default);
    CountedSample { name: name.into(), kind, action: action.into(), counter, lost, under: None }
}

impl Sample {
    fn count(&mut self, verdict: Verdict, reason: Reason, packets: u64, bytes: u64) {
        self.matrix.cells[Matrix::cell(verdict, reason)] = counter(packets, bytes);
    }
}

/// The example in the contract.
fn example() -> Sample {
    let mut sample = nothing("eth0");
    sample.count(Verdict::Pass, Reason::Default, 9, 900);
    sample.count(Verdict::Drop, Reason::Blocklist, 1, 60);
    sample.counted = vec![counted("spamhaus", Kind::Blocklist, "drop", counter(1, 60))];
    sample
}

/// Lists and rules of every kind, with redirects, some of them lost.
fn busy() -> Sample {
    let mut sample = nothing("eth1");
    sample.ifindex = 7;
    sample.mode = Mode::Generic;
    sample.count(Verdict::Pass, Reason::Allowlist, 1_000_000, 64_000_000);
    sample.count(Verdict::Pass, Reason::Default, 5, 320);
    sample.count(Verdict::Drop, Reason::Rule, 3, 180);
    sample.count(Verdict::Redirect, Reason::Rule, 2_000, 3_028_000);
    sample.count(Verdict::Tx, Reason::Rule, 10, 640);
    sample.counted = vec![
        counted("office", Kind::Allowlist, "pass", counter(1_000_000, 64_000_000)),
        counted("tried", Kind::Blocklist, "count", counter(0, 0)),
        counted("to-ids", Kind::Rule, "redirect", counter(2_003, 3_028_180)),
        counted("to-tap", Kind::Rule, "redirect", counter(0, 0)),
        counted("echo", Kind::Rule, "bounce", counter(10, 640)),
    ];
    sample.counted[2].lost = Some(counter(3, 180));
    sample.redirects = vec!["ids0".into(), "tap0".into()];
    sample
}

/// `sample` before it counted anything.
fn before(sample: &Sample) -> Sample {
    let mut before = sample.clone();
    before.matrix.cells = [Counter::default(); CELLS];
    for counted in &mut before.counted {
        counted.counter = Counter::default();
        counted.lost = counted.lost.map(|_| Counter::default());
    }
    before
}
