//! What a case is: a ruleset, the traffic that it judges, and what that should cost at most.

use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::config::prefix::IpPrefix;

use crate::prefixes::Prefixes;
use crate::prototype::Prototype;
use crate::rules::Rules;
use crate::testbed::Floor;
use crate::traffic::Traffic;

pub const DEFAULT_DROP: &str = "[policy]\ndefault = \"drop\"\n";

/// The smallest run that a case belongs to. A larger run has the cases of the smaller ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    Quick,
    Usual,
    All,
}

/// A ruleset, and what its traffic is made from.
#[derive(Default)]
pub struct Subject {
    /// The configuration.
    pub text: String,
    /// The list files that it names `0.txt`, `1.txt` and so on.
    pub files: Vec<String>,
    prefixes: Option<Prefixes>,
    rules: Option<Rules>,
    /// Blocked at run time, beside what the configuration says.
    pub banned: Vec<IpPrefix>,
    /// Blocked at run time too, but these entries have ended, and nothing has swept them away.
    pub ended: Vec<IpPrefix>,
    /// What else is in force.
    pub beside: Beside,
    /// In place of the filter with this ruleset.
    pub prototype: Option<Prototype>,
}

/// What is in force beside a ruleset, which a packet may pay for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    #[default]
    Nothing,
    Bypass,
    /// The ruleset has to be confirmed.
    Trial,
    /// A capture of one frame in so many.
    Capture(u32),
    /// Routes to these networks.
    Routes(&'static [&'static str]),
    /// Sockets, as `replies.rs` says.
    Sockets,
}

/// One row of the table.
pub struct Case {
    pub extent: Extent,
    pub name: &'static str,
    pub traffic: fn(&Subject) -> Traffic,
    /// The bare program with the verdict that the filter has to give to all frames.
    pub floor: Floor,
    /// What the filter has to count every frame under; `None` where reasons differ.
    pub reason: Option<Reason>,
    /// The most that it should cost.
    pub goal: Option<Goal>,
}

/// A goal: the case costs at most that many times as much as something else.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Than the floor.
    Floor(f64),
    /// Than an earlier case, of the same traffic.
    Case(&'static str, f64),
    /// As that case and so much of the floor more.
    Above(&'static str, f64),
    /// As that case and so many nanoseconds more.
    Nanoseconds(&'static str, f64),
    /// What it costs more than one case is that many times what another adds to the floor.
    Times { over: &'static str, of: &'static str, at_most: f64 },
}

impl Case {
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Among the usual ones, dropped for that reason.
    pub const fn dropped(
        name: &'static str,
        traffic: fn(&Subject) -> Traffic,
        reason: Reason,
    ) -> Self {
        let (extent, floor) = (Extent::Usual, Floor::Drop);
        Self { extent, name, traffic, floor, reason: Some(reason), goal: None }
    }

    /// The same, passed.
    pub const fn passed(
        name: &'static str,
        traffic: fn(&Subject) -> Traffic,
        reason: Reason,
    ) -> Self {
        Self { floor: Floor::Pass, ..Self::dropped(name, traffic, reason) }
    }

    pub const fn verdict(&self) -> Verdict {
        match self.floor {
            Floor::Drop => Verdict::Drop,
            Floor::Pass => Verdict::Pass,
            Floor::Redirect => Verdict::Redirect,
            Floor::Tx => Verdict::Tx,
        }
    }
}

/// A ruleset with its name in the table of images; made only if one of its cases is wanted.
type NamedSubject = (&'static str, fn() -> Subject);

/// Cases over one ruleset.
pub struct Group {
    /// `None` where a bare program is compared with itself, which shows how far figures can be
    /// trusted.
    pub subject: Option<NamedSubject>,
    pub cases: Vec<Case>,
}

impl Subject {
    pub fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// This, beside the plainest ruleset.
    pub fn beside(beside: Beside) -> Self {
        Self { beside, ..Self::plain(DEFAULT_DROP) }
    }

    /// With that beside it.
    pub fn with(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }

    /// With a prototype in the filter's place.
    pub fn instead(self, prototype: Prototype) -> Self {
        Self { prototype: Some(prototype), ..self }
    }

    /// Lists of these prefixes, in so many files, and perhaps rules.
    pub fn lists(policy: &str, prefixes: Prefixes, lists: usize, rules: Option<Rules>) -> Self {
        let mut text = policy.to_owned();
        for list in 0..lists {
            text += &format!("[[blocklist]]\nname = \"list-{list}\"\nfiles = [\"{list}.txt\"]\n");
        }
        text += &rules.as_ref().map_or_else(String::new, Rules::text);
        let (files, prefixes) = (prefixes.files(lists), Some(prefixes));
        Self { text, files, prefixes, rules, ..Self::default() }
    }

    /// No lists, and these prefixes blocked at run time.
    pub fn banned(text: &str, prefixes: Prefixes) -> Self {
        let banned = prefixes.iter().copied().map(IpPrefix::from).collect();
        Self { text: text.to_owned(), prefixes: Some(prefixes), banned, ..Self::default() }
    }

    /// No lists, and prefixes whose run-time entries have ended.
    pub fn ended(text: &str, prefixes: Prefixes) -> Self {
        let ended = prefixes.iter().copied().map(IpPrefix::from).collect();
        Self { text: text.to_owned(), prefixes: Some(prefixes), ended, ..Self::default() }
    }

    pub fn rules(policy: &str, rules: Rules) -> Self {
        let text = policy.to_owned() + &rules.text();
        Self { text, rules: Some(rules), ..Self::default() }
    }

    pub fn listed(&self) -> &Prefixes {
        self.prefixes.as_ref().expect("a case of a group with lists")
    }

    pub fn ruled(&self) -> &Rules {
        self.rules.as_ref().expect("a case of a group with rules")
    }
}
