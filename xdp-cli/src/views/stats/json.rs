//! Samples as JSON, one object a line. The keys and their order are part of the contract.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use xdp_common::packet::dns::Unreadable;
use xdp_common::stats::counter::Counter;
use xdp_common::stats::verdict::{Reason, Verdict};

use super::Sample;
use crate::notation::{json_line, timestamp};

#[derive(Serialize)]
struct Object<'a> {
    interface: &'a str,
    ifindex: u32,
    mode: &'a str,
    generation: u64,
    time: String,
    verdicts: Counters,
    reasons: Counters,
    rules: Vec<Rule<'a>>,
    /// DNS messages whose question could not be read.
    names: Counters,
}

#[derive(Serialize)]
struct Rule<'a> {
    name: &'a str,
    kind: &'a str,
    action: &'a str,
    packets: u64,
    bytes: u64,
    /// Only redirect rules have this.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Count>,
    /// Only rules with limits have this: what is over is what they matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    under: Option<Count>,
}

#[derive(Serialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl From<Counter> for Count {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes }
    }
}

/// An object whose keys are the names of an enum, in its order.
struct Counters(Vec<(&'static str, Count)>);

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

/// Writes one sample as one line.
pub fn write(out: &mut dyn Write, sample: &Sample) -> io::Result<()> {
    let verdict = |&verdict: &Verdict| (verdict.as_str(), sample.verdict(verdict).into());
    let reason = |&reason: &Reason| (reason.as_str(), sample.reason(reason).into());
    let unreadable = |&why: &Unreadable| (why.as_str(), sample.unreadable[why as usize - 1].into());
    let rules = sample.counted.iter().map(|counted| Rule {
        name: &counted.name,
        kind: counted.kind.as_str(),
        action: &counted.action,
        packets: counted.counter.packets,
        bytes: counted.counter.bytes,
        lost: counted.lost.map(Count::from),
        under: counted.under.map(Count::from),
    });
    let object = Object {
        interface: &sample.interface,
        ifindex: sample.ifindex,
        mode: sample.mode.as_str(),
        generation: sample.generation,
        time: timestamp(sample.time),
        verdicts: Counters(Verdict::ALL.iter().map(verdict).collect()),
        reasons: Counters(Reason::ALL.iter().map(reason).collect()),
        rules: rules.collect(),
        names: Counters(Unreadable::ALL.iter().map(unreadable).collect()),
    };
    out.write_all(&json_line(&object)?)
}
