//! What is measured: rulesets, and for each the traffic that it judges.

use xdp_common::verdict::{Reason, Verdict};

use crate::prefixes::{Family, Prefixes};
use crate::rules::Rules;
use crate::stand::{Floor, REDIRECT_TARGET};
use crate::traffic::{FLOWS_V4_COUNT, FLOWS_V6_COUNT, SOURCES_V4_COUNT, SOURCES_V6_COUNT, Traffic};

/// Which runs a case belongs to: each run has those of the ones before it as well.
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
}

/// One row of the table.
pub struct Case {
    pub extent: Extent,
    pub name: &'static str,
    pub traffic: fn(&Subject) -> Traffic,
    /// The bare program that does to frames what the filter has to do to all of them.
    pub floor: Floor,
    /// What the filter has to count every frame under; `None` where reasons differ.
    pub reason: Option<Reason>,
}

impl Case {
    pub const fn verdict(&self) -> Verdict {
        match self.floor {
            Floor::Drop => Verdict::Drop,
            Floor::Pass => Verdict::Pass,
            Floor::Redirect => Verdict::Redirect,
        }
    }
}

/// A ruleset with its name in the table of images; made only if one of its cases is wanted.
type NamedSubject = (&'static str, fn() -> Subject);

/// Cases over one ruleset.
pub struct Group {
    /// `None` where a bare program is held against itself, which shows how far figures can be
    /// trusted.
    pub subject: Option<NamedSubject>,
    pub cases: Vec<Case>,
}

impl Subject {
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Lists of these prefixes, in so many files, and perhaps rules.
    fn lists(policy: &str, prefixes: Prefixes, lists: usize, rules: Option<Rules>) -> Self {
        let mut text = policy.to_owned();
        for list in 0..lists {
            text += &format!("[[blocklist]]\nname = \"list-{list}\"\nfiles = [\"{list}.txt\"]\n");
        }
        text += &rules.as_ref().map_or_else(String::new, Rules::text);
        Self { text, files: prefixes.files(lists), prefixes: Some(prefixes), rules }
    }

    fn rules(policy: &str, rules: Rules) -> Self {
        let text = policy.to_owned() + &rules.text();
        Self { text, rules: Some(rules), ..Self::default() }
    }

    fn listed(&self) -> &Prefixes {
        self.prefixes.as_ref().expect("a case of a group with lists")
    }

    fn ruled(&self) -> &Rules {
        self.rules.as_ref().expect("a case of a group with rules")
    }
}

const DEFAULT_DROP: &str = "[policy]\ndefault = \"drop\"\n";

/// Two rules that match nothing, and for which three more fields have to be looked at.
const RARE_FIELDS: &str = "
[[rule]]
name = \"vlan\"
vlan = [100, 200]
action = \"pass\"
[[rule]]
name = \"mac\"
source_mac = \"02:00:00:00:00:01\"
destination_mac = \"02:00:00:00:00:02\"
action = \"pass\"
";

/// The rules that flows are made from, also for rulesets that have fewer.
fn thousand_rules() -> Rules {
    Rules::mixed(Family::V4, 1_000, 0x1000)
}

fn any_v4(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &Prefixes::blocklist_v4(0, 0).misses(SOURCES_V4_COUNT, 1))
}

fn any_v6(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &Prefixes::blocklist_v6(0, 0).misses(SOURCES_V6_COUNT, 1))
}

fn misses_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().misses(SOURCES_V4_COUNT, 2))
}

fn hits_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().hits(SOURCES_V4_COUNT, 3))
}

fn few_hits_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().hits(1_000, 4))
}

fn few_misses_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().misses(1_000, 4))
}

fn misses_v6(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &subject.listed().misses(SOURCES_V6_COUNT, 5))
}

fn near_misses_v6(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &subject.listed().misses_inside(32, SOURCES_V6_COUNT, 6))
}

fn nearest_misses_v6(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &subject.listed().misses_inside(64, SOURCES_V6_COUNT, 7))
}

fn hits_v6(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &subject.listed().hits(SOURCES_V6_COUNT, 8))
}

fn flows_of_thousand(_: &Subject) -> Traffic {
    Traffic::from_flows(Family::V4, &thousand_rules().flows(FLOWS_V4_COUNT, 9))
}

fn flows_v6(subject: &Subject) -> Traffic {
    Traffic::from_flows(Family::V6, &subject.ruled().flows(FLOWS_V6_COUNT, 10))
}

fn flows_of_last(subject: &Subject) -> Traffic {
    Traffic::from_flows(Family::V4, &subject.ruled().flows_of_last(FLOWS_V4_COUNT, 11))
}

/// Flows of rules that get past the lists.
fn unlisted_flows(subject: &Subject) -> Traffic {
    let mut flows = subject.ruled().flows(FLOWS_V4_COUNT, 12);
    flows.retain(|flow| !subject.listed().contains(flow.source));
    Traffic::from_flows(Family::V4, &flows)
}

/// Everything, in the order of the table.
pub fn groups() -> Vec<Group> {
    use Extent::{All, Quick, Usual};

    let case = |extent, name, traffic, reason: Reason| Case {
        extent,
        name,
        traffic,
        floor: Floor::Drop,
        reason: Some(reason),
    };
    vec![
        Group {
            subject: None,
            cases: vec![Case {
                reason: None,
                ..case(Quick, "bare drop, against itself", any_v4, Reason::Default)
            }],
        },
        Group {
            subject: Some(("no rules, default drop", || Subject::plain(DEFAULT_DROP))),
            cases: vec![
                case(Quick, "no rules, default drop", any_v4, Reason::Default),
                case(Usual, "no rules, default drop, IPv6", any_v6, Reason::Default),
            ],
        },
        Group {
            subject: Some(("no rules, default pass", || Subject::plain(""))),
            cases: vec![Case {
                floor: Floor::Pass,
                ..case(Quick, "no rules, default pass, to bare pass", any_v4, Reason::Default)
            }],
        },
        Group {
            subject: Some(("10 IPv4 prefixes", || {
                Subject::lists(DEFAULT_DROP, Prefixes::blocklist_v4(10, 0x10), 1, None)
            })),
            cases: vec![case(Quick, "10 IPv4 prefixes, miss", misses_v4, Reason::Default)],
        },
        Group {
            subject: Some(("10,000 IPv4 prefixes", || {
                Subject::lists(DEFAULT_DROP, Prefixes::blocklist_v4(10_000, 0x11), 1, None)
            })),
            cases: vec![
                case(Quick, "10,000 IPv4 prefixes, miss", misses_v4, Reason::Default),
                case(Quick, "10,000 IPv4 prefixes, hit", hits_v4, Reason::Blocklist),
                case(
                    Quick,
                    "10,000 IPv4 prefixes, 1,000 sources hit",
                    few_hits_v4,
                    Reason::Blocklist,
                ),
            ],
        },
        Group {
            subject: Some(("1,000,000 IPv4 prefixes", || {
                Subject::lists(DEFAULT_DROP, Prefixes::blocklist_v4(1_000_000, 0x12), 1, None)
            })),
            cases: vec![
                case(Usual, "1,000,000 IPv4 prefixes, miss", misses_v4, Reason::Default),
                case(Usual, "1,000,000 IPv4 prefixes, hit", hits_v4, Reason::Blocklist),
                case(
                    Usual,
                    "1,000,000 IPv4 prefixes, 1,000 sources hit",
                    few_hits_v4,
                    Reason::Blocklist,
                ),
                case(
                    All,
                    "1,000,000 IPv4 prefixes, 1,000 sources miss",
                    few_misses_v4,
                    Reason::Default,
                ),
            ],
        },
        Group {
            subject: Some(("1,000,000 IPv6 prefixes", || {
                Subject::lists(DEFAULT_DROP, Prefixes::blocklist_v6(1_000_000, 0x13), 1, None)
            })),
            cases: vec![
                case(Usual, "1,000,000 IPv6 prefixes, miss", misses_v6, Reason::Default),
                case(
                    Usual,
                    "1,000,000 IPv6 prefixes, miss in listed /32s",
                    near_misses_v6,
                    Reason::Default,
                ),
                case(
                    All,
                    "1,000,000 IPv6 prefixes, miss in listed /64s",
                    nearest_misses_v6,
                    Reason::Default,
                ),
                case(Usual, "1,000,000 IPv6 prefixes, hit", hits_v6, Reason::Blocklist),
            ],
        },
        Group {
            subject: Some(("1 rule", || Subject::rules(DEFAULT_DROP, Rules::one()))),
            cases: vec![Case {
                reason: None,
                ..case(Quick, "1 rule", flows_of_thousand, Reason::Rule)
            }],
        },
        Group {
            subject: Some(("1,000 rules", || Subject::rules("", thousand_rules()))),
            cases: vec![case(Quick, "1,000 rules", flows_of_thousand, Reason::Rule)],
        },
        Group {
            subject: Some(("1,000 rules, VLANs and MACs too", || {
                let mut subject = Subject::rules("", thousand_rules());
                subject.text += RARE_FIELDS;
                subject
            })),
            cases: vec![case(
                All,
                "1,000 rules, VLANs and MACs too",
                flows_of_thousand,
                Reason::Rule,
            )],
        },
        Group {
            subject: Some(("1,000 rules, IPv6", || {
                Subject::rules("", Rules::mixed(Family::V6, 1_000, 0x1001))
            })),
            cases: vec![case(All, "1,000 rules, IPv6", flows_v6, Reason::Rule)],
        },
        Group {
            subject: Some(("1,000 adversarial rules", || {
                Subject::rules("", Rules::adversarial(1_000, 0x1002))
            })),
            cases: vec![case(
                Usual,
                "1,000 adversarial rules, last matches",
                flows_of_last,
                Reason::Rule,
            )],
        },
        Group {
            subject: Some(("4,096 adversarial rules", || {
                Subject::rules("", Rules::adversarial(4_096, 0x1003))
            })),
            cases: vec![case(
                All,
                "4,096 adversarial rules, last matches",
                flows_of_last,
                Reason::Rule,
            )],
        },
        Group {
            subject: Some(("10,000 prefixes in 3 lists, 1,000 rules", || {
                let prefixes = Prefixes::blocklist_v4(10_000, 0x14);
                Subject::lists("", prefixes, 3, Some(thousand_rules()))
            })),
            cases: vec![case(
                Usual,
                "10,000 prefixes in 3 lists, 1,000 rules",
                unlisted_flows,
                Reason::Rule,
            )],
        },
        Group {
            subject: Some(("1 redirect", || {
                Subject::plain(&format!(
                    "[[rule]]\nname = \"out\"\nprotocol = \"udp\"\naction = \"redirect\"\n\
                     to = \"{REDIRECT_TARGET}\"\n"
                ))
            })),
            cases: vec![Case {
                floor: Floor::Redirect,
                ..case(Usual, "1 redirect, to bare redirect", any_v4, Reason::Rule)
            }],
        },
    ]
}
