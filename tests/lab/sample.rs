//! One line of `xdpctl stats --once --json`, and the difference between two of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::Lab;

/// The verdicts and the reasons that every sample has, even where they are zero.
pub const VERDICTS: [&str; 5] = ["pass", "drop", "tx", "redirect", "aborted"];
pub const REASONS: [&str; 13] = [
    "malformed",
    "allowed",
    "banned",
    "arp",
    "allowlist",
    "blocklist",
    "domain",
    "rule",
    "fragment",
    "default",
    "bypass",
    "service",
    "reply",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    /// What was counted since `before`. Panics where a counter went back.
    fn since(self, before: Self, name: &str) -> Self {
        let less = |now: u64, then: u64| {
            now.checked_sub(then).unwrap_or_else(|| panic!("{name} went back: {before} to {self}"))
        };
        Self { packets: less(self.packets, before.packets), bytes: less(self.bytes, before.bytes) }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} bytes", self.packets, self.bytes)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RuleCount {
    pub name: String,
    pub kind: String,
    pub action: String,
    #[serde(flatten)]
    pub count: Count,
    /// What a redirect could not send on; other rules do not have this counter.
    #[serde(default)]
    pub lost: Count,
}

/// The counters of one interface at one time.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    pub interface: String,
    pub ifindex: u32,
    pub mode: String,
    pub generation: u64,
    pub time: String,
    pub verdicts: BTreeMap<String, Count>,
    pub reasons: BTreeMap<String, Count>,
    pub rules: Vec<RuleCount>,
}

impl Sample {
    /// Asks xdpctl for the counters of one interface.
    #[track_caller]
    pub fn read(lab: &Lab, role: &str, interface: &str) -> Self {
        let output = lab.xdpctl(role, ["stats", interface, "--once", "--json"]);
        Self::parse(&output.success().stdout)
    }

    /// Reads one line, and checks what holds for every sample.
    #[track_caller]
    pub fn parse(line: &str) -> Self {
        let sample: Self = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("not a sample of the counters: {error}\n{line}"));
        for (found, expected) in
            [(&sample.verdicts, &VERDICTS[..]), (&sample.reasons, &REASONS[..])]
        {
            let mut names: Vec<&str> = expected.to_vec();
            names.sort_unstable();
            assert!(found.keys().eq(&names), "{:?} instead of {names:?}", found.keys());
        }
        sample.assert_consistent();
        sample
    }

    /// Every packet is in exactly one verdict and in exactly one reason.
    #[track_caller]
    pub fn assert_consistent(&self) {
        let (verdicts, reasons) = (total(&self.verdicts), total(&self.reasons));
        assert!(verdicts == reasons, "verdicts: {verdicts}; reasons: {reasons}\n{self:#?}");
    }

    /// All packets that the program saw.
    pub fn total(&self) -> Count {
        total(&self.verdicts)
    }

    /// The counter of a list or a rule.
    #[track_caller]
    pub fn rule(&self, name: &str) -> &RuleCount {
        let found = self.rules.iter().find(|rule| rule.name == name);
        found.unwrap_or_else(|| panic!("no rule {name} in {:#?}", self.rules))
    }
}

fn total(counts: &BTreeMap<String, Count>) -> Count {
    counts.values().fold(Count::default(), |sum, &count| sum.plus(count))
}

/// What was counted between two samples: only what moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub verdicts: BTreeMap<String, Count>,
    pub reasons: BTreeMap<String, Count>,
    pub rules: BTreeMap<String, Count>,
}

impl Difference {
    #[track_caller]
    pub fn between(before: &Sample, after: &Sample) -> Self {
        let by_name = |sample: &Sample| {
            sample.rules.iter().map(|rule| (rule.name.clone(), rule.count)).collect()
        };
        Self {
            verdicts: moved(&before.verdicts, &after.verdicts),
            reasons: moved(&before.reasons, &after.reasons),
            rules: moved(&by_name(before), &by_name(after)),
        }
    }

    /// The difference that one packet of that length has to make: its verdict, its reason, and
    /// these rules.
    pub fn of_one(bytes: usize, verdict: &str, reason: &str, rules: &[&str]) -> Self {
        let count = Count { packets: 1, bytes: bytes as u64 };
        Self {
            verdicts: [(verdict.to_owned(), count)].into(),
            reasons: [(reason.to_owned(), count)].into(),
            rules: rules.iter().map(|&name| (name.to_owned(), count)).collect(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("verdict", &self.verdicts), ("reason", &self.reasons), ("rule", &self.rules)];
        let mut separator = "";
        for (kind, counts) in kinds {
            for (name, count) in counts {
                write!(f, "{separator}{kind} {name} {count}")?;
                separator = "; ";
            }
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

#[track_caller]
fn moved(
    before: &BTreeMap<String, Count>,
    after: &BTreeMap<String, Count>,
) -> BTreeMap<String, Count> {
    let since = after.iter().map(|(name, count)| {
        (name.clone(), count.since(before.get(name).copied().unwrap_or_default(), name))
    });
    since.filter(|(_, count)| *count != Count::default()).collect()
}
