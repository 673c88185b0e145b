//! What `capture` takes.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use xdp_common::capacity::MAX_SNAPLEN;
use xdp_common::stats::verdict::{Reason, Verdict};

#[derive(Args, Clone, Debug)]
pub struct Capture {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Write the frames to this file as pcapng, each with verdict, reason, rule and entry as its
    /// comment; `-` is standard output, as for `| tshark -r -`
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub write: Option<PathBuf>,
    /// Only frames with this verdict, or one of these with commas between
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = verdict())]
    pub verdict: Vec<Verdict>,
    /// Only frames with this reason, or one of these with commas between
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = reason())]
    pub reason: Vec<Reason>,
    /// Only frames that this list, rule or service decides or counts
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// Only one of so many of these frames, on each CPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: Option<u32>,
    /// End after that many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Bytes of each frame to capture, from its beginning
    #[arg(
        long, value_name = "N", default_value_t = MAX_SNAPLEN,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPLEN))
    )]
    pub snaplen: u32,
}

impl Capture {
    /// The options that leave frames out, as they stand on the command line.
    pub fn filter(&self) -> String {
        let verdicts = self.verdict.iter().map(|it| format!("--verdict {}", it.as_str()));
        let reasons = self.reason.iter().map(|it| format!("--reason {}", it.as_str()));
        let rule = self.rule.iter().map(|it| format!("--rule {it}"));
        let sample = self.sample.iter().map(|it| format!("--sample {it}"));
        verdicts.chain(reasons).chain(rule).chain(sample).collect::<Vec<_>>().join(" ")
    }
}

fn verdict() -> impl TypedValueParser<Value = Verdict> {
    named(Verdict::ALL, Verdict::as_str)
}

fn reason() -> impl TypedValueParser<Value = Reason> {
    named(Reason::ALL, Reason::as_str)
}

/// Takes the name of one of these.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|it| name(*it))).try_map(move |text| {
        all.iter().copied().find(|it| name(*it) == text).ok_or("it is none of these")
    })
}
