//! The cases that are measured: rulesets, and for each the traffic that it judges.

use xdp_common::stats::verdict::Reason;

use crate::case::{Beside, Case, DEFAULT_DROP, Extent, Goal, Group, Subject};
use crate::names::Names;
use crate::prefixes::{Family, Prefixes};
use crate::prototype::Prototype;
use crate::rules::Rules;
use crate::testbed::{Floor, REDIRECT_TARGET};
use crate::traffic::{
    FLOWS_V4_COUNT, FLOWS_V6_COUNT, Flow, NAMES_V4_COUNT, SOURCES_V4_COUNT, SOURCES_V6_COUNT,
    Traffic,
};
use crate::{limits, replies, services};

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
pub fn thousand_rules() -> Rules {
    Rules::mixed(Family::V4, 1_000, 0x1000)
}

fn adversarial_rules() -> Rules {
    Rules::adversarial(1_000, 0x1002)
}

/// The list of the cases with a million IPv4 prefixes.
pub fn million_v4() -> Prefixes {
    Prefixes::blocklist_v4(1_000_000, 0x12)
}

/// That list as the only thing in a ruleset.
pub fn million_v4_blocked() -> Subject {
    Subject::lists(DEFAULT_DROP, million_v4(), 1, None)
}

const NAMES: Names = Names::new(1_000_000);

/// A million names, with that action.
fn million_names(action: &str) -> Subject {
    let text = format!(
        "{DEFAULT_DROP}[[domains]]\nname = \"names\"\nfiles = [\"0.txt\"]\naction = \"{action}\"\n"
    );
    let mut subject = Subject::plain(&text);
    subject.files.push(NAMES.hosts_file());
    subject
}

fn queries_listed(_: &Subject) -> Traffic {
    Traffic::from_names(&NAMES.hits(NAMES_V4_COUNT, 20))
}

fn queries_not_listed(_: &Subject) -> Traffic {
    Traffic::from_names(&NAMES.misses(NAMES_V4_COUNT, 21))
}

/// A thousand of the names that are listed, over and over: what a search takes that finds all it
/// needs in the caches.
fn thousand_listed(_: &Subject) -> Traffic {
    Traffic::from_names(&NAMES.hits(1000, 20))
}

fn thousand_not_listed(_: &Subject) -> Traffic {
    Traffic::from_names(&NAMES.misses(1000, 21))
}

/// A name of as many labels as there can be, all of that letter but the leftmost: on the wire, with
/// the root's label.
fn deep_name(leftmost: u8, letter: u8) -> Vec<u8> {
    let mut name = [1, letter].repeat(127);
    name[1] = leftmost;
    name.push(0);
    name
}

/// Queries for a name of 127 labels, which is not listed.
fn deep_queries(_: &Subject) -> Traffic {
    let sources = Prefixes::blocklist_v4(0, 0).misses(SOURCES_V4_COUNT, 23);
    Traffic::from_name(&deep_name(b'a', b'x'), &sources)
}

/// A million names, and one of 127 labels, from which [`deep_queries`] differs in the leftmost.
fn deep_names() -> Subject {
    let mut subject = million_names("drop");
    let name = deep_name(b'b', b'x').into_iter().skip(1).step_by(2);
    let labels: Vec<String> = name.map(|byte| char::from(byte).to_string()).collect();
    let names = Names::new(999_999).hosts_file();
    subject.files = vec![format!("{names}0.0.0.0 {}\n", labels.join("."))];
    subject
}

/// UDP to a port that has nothing to do with names.
fn not_dns(_: &Subject) -> Traffic {
    let sources = Prefixes::blocklist_v4(0, 0).misses(FLOWS_V4_COUNT, 22);
    let flow = |source| Flow {
        source,
        destination: 0xc633_6401,
        ports: [4096, 123],
        protocol: 17,
        tcp_flags: 0,
    };
    Traffic::from_flows(Family::V4, &sources.into_iter().map(flow).collect::<Vec<_>>())
}

pub fn any_v4(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &Prefixes::blocklist_v4(0, 0).misses(SOURCES_V4_COUNT, 1))
}

pub fn any_v6(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V6, &Prefixes::blocklist_v6(0, 0).misses(SOURCES_V6_COUNT, 1))
}

fn misses_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().misses(SOURCES_V4_COUNT, 2))
}

fn hits_v4(subject: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &subject.listed().hits(SOURCES_V4_COUNT, 3))
}

/// Both kinds of traffic for a list, as the cases have them.
pub fn both_v4(prefixes: &Prefixes) -> Vec<(&'static str, Traffic)> {
    let of = |sources: Vec<u128>| Traffic::from_sources(Family::V4, &sources);
    vec![
        ("miss", of(prefixes.misses(SOURCES_V4_COUNT, 2))),
        ("hit", of(prefixes.hits(SOURCES_V4_COUNT, 3))),
    ]
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

/// Those of the adversarial rules, for a ruleset that has only the first.
fn flows_of_adversarial(_: &Subject) -> Traffic {
    let rules = adversarial_rules();
    Traffic::from_flows(Family::V4, &rules.flows_of_last(FLOWS_V4_COUNT, 11))
}

/// Flows of rules that get past the lists.
fn unlisted_flows(subject: &Subject) -> Traffic {
    let mut flows = subject.ruled().flows(FLOWS_V4_COUNT, 12);
    flows.retain(|flow| !subject.listed().contains(flow.source));
    Traffic::from_flows(Family::V4, &flows)
}

/// The bare prototype, on the same traffic over the same list as the filter.
fn prototype() -> Group {
    let (miss, hit) = (Reason::Default, Reason::Blocklist);
    let make = || million_v4_blocked().instead(Prototype::List);
    Group {
        subject: Some(("bare prototype, 1,000,000 IPv4 prefixes", make)),
        cases: vec![
            Case::dropped("bare prototype, 1,000,000 IPv4 prefixes, miss", misses_v4, miss),
            Case::dropped("bare prototype, 1,000,000 IPv4 prefixes, hit", hits_v4, hit),
            Case::dropped("bare prototype, 1,000 sources hit", few_hits_v4, hit),
            Case::dropped("bare prototype, 1,000 sources miss", few_misses_v4, miss),
        ],
    }
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
        goal: None,
    };
    let mut groups = vec![
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
                case(Quick, "no rules, default drop", any_v4, Reason::Default)
                    .goal(Goal::Floor(1.10)),
                case(Usual, "no rules, default drop, IPv6", any_v6, Reason::Default),
            ],
        },
        Group {
            subject: Some(("no lists of names", || Subject::plain(DEFAULT_DROP))),
            cases: vec![
                case(Usual, "no names, not DNS", not_dns, Reason::Default),
                case(Usual, "no names, queries", queries_not_listed, Reason::Default),
            ],
        },
        Group {
            subject: Some(("1,000,000 names", || million_names("drop"))),
            cases: vec![
                case(Usual, "1,000,000 names, not DNS", not_dns, Reason::Default)
                    .goal(Goal::Case("no names, not DNS", 1.03)),
                case(Usual, "1,000,000 names, miss", queries_not_listed, Reason::Default)
                    .goal(Goal::Floor(2.0)),
                case(Usual, "1,000,000 names, hit", queries_listed, Reason::Domain)
                    .goal(Goal::Floor(2.2)),
                case(
                    Usual,
                    "1,000,000 names, miss, 1,000 of them",
                    thousand_not_listed,
                    Reason::Default,
                ),
                case(Usual, "1,000,000 names, hit, 1,000 of them", thousand_listed, Reason::Domain),
                case(Usual, "1,000,000 names, 127 labels", deep_queries, Reason::Default),
            ],
        },
        Group {
            subject: Some(("1,000,000 names, of up to 127 labels", deep_names)),
            cases: vec![
                case(
                    Usual,
                    "1,000,000 names of up to 127 labels, 127 labels",
                    deep_queries,
                    Reason::Default,
                )
                .goal(Goal::Floor(12.0)),
            ],
        },
        Group {
            subject: Some(("1,000,000 names, nxdomain", || million_names("nxdomain"))),
            cases: vec![
                Case {
                    floor: Floor::Tx,
                    ..case(
                        Usual,
                        "1,000,000 names, answered, to bare tx",
                        queries_listed,
                        Reason::Domain,
                    )
                }
                .goal(Goal::Floor(1.8)),
            ],
        },
        Group {
            subject: Some(("bypass", || Subject::beside(Beside::Bypass))),
            cases: vec![Case {
                floor: Floor::Pass,
                ..case(Usual, "bypass, to bare pass", any_v4, Reason::Bypass)
            }],
        },
        Group {
            subject: Some(("reload --confirm", || Subject::beside(Beside::Trial))),
            cases: vec![case(
                Usual,
                "no rules, default drop, not confirmed",
                any_v4,
                Reason::Default,
            )],
        },
        Group {
            subject: Some(("capture", || Subject::beside(Beside::Capture(1)))),
            cases: vec![case(
                Usual,
                "no rules, default drop, captured and not read",
                any_v4,
                Reason::Default,
            )],
        },
        Group {
            subject: Some(("capture --sample 1000", || Subject::beside(Beside::Capture(1000)))),
            cases: vec![case(
                Usual,
                "no rules, default drop, 1 in 1,000 captured",
                any_v4,
                Reason::Default,
            )],
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
            subject: Some(("1,000,000 IPv4 prefixes", || million_v4_blocked())),
            cases: vec![
                case(Usual, "1,000,000 IPv4 prefixes, miss", misses_v4, Reason::Default)
                    .goal(Goal::Floor(1.40)),
                case(Usual, "1,000,000 IPv4 prefixes, hit", hits_v4, Reason::Blocklist)
                    .goal(Goal::Floor(1.50)),
                case(
                    Usual,
                    "1,000,000 IPv4 prefixes, 1,000 sources hit",
                    few_hits_v4,
                    Reason::Blocklist,
                )
                .goal(Goal::Floor(1.15)),
                case(
                    Usual,
                    "1,000,000 IPv4 prefixes, 1,000 sources miss",
                    few_misses_v4,
                    Reason::Default,
                )
                .goal(Goal::Floor(1.15)),
            ],
        },
        Group {
            subject: Some(("1,000,000 IPv4 prefixes, default pass", || {
                Subject::lists("", million_v4(), 1, None)
            })),
            cases: vec![
                Case {
                    floor: Floor::Pass,
                    ..case(
                        Usual,
                        "1,000,000 IPv4 prefixes, miss, to bare pass",
                        misses_v4,
                        Reason::Default,
                    )
                }
                .goal(Goal::Floor(1.15)),
            ],
        },
        Group {
            subject: Some(("1,000,000 IPv6 prefixes", || {
                Subject::lists(DEFAULT_DROP, Prefixes::blocklist_v6(1_000_000, 0x13), 1, None)
            })),
            cases: vec![
                case(Usual, "1,000,000 IPv6 prefixes, miss", misses_v6, Reason::Default)
                    .goal(Goal::Floor(1.20)),
                case(
                    Usual,
                    "1,000,000 IPv6 prefixes, miss in listed /32s",
                    near_misses_v6,
                    Reason::Default,
                )
                .goal(Goal::Floor(2.0)),
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
            cases: vec![
                Case { reason: None, ..case(Quick, "1 rule", flows_of_thousand, Reason::Rule) },
                Case {
                    reason: None,
                    ..case(
                        Usual,
                        "1 rule, adversarial traffic",
                        flows_of_adversarial,
                        Reason::Default,
                    )
                },
            ],
        },
        Group {
            subject: Some(("1,000 rules", || Subject::rules("", thousand_rules()))),
            cases: vec![
                case(Quick, "1,000 rules", flows_of_thousand, Reason::Rule)
                    .goal(Goal::Case("1 rule", 1.4)),
            ],
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
            subject: Some(("1,000 adversarial rules", || Subject::rules("", adversarial_rules()))),
            cases: vec![
                case(Usual, "1,000 adversarial rules, last matches", flows_of_last, Reason::Rule)
                    .goal(Goal::Case("1 rule, adversarial traffic", 2.0)),
            ],
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
            cases: vec![
                case(
                    Usual,
                    "10,000 prefixes in 3 lists, 1,000 rules",
                    unlisted_flows,
                    Reason::Rule,
                )
                .goal(Goal::Floor(2.0)),
            ],
        },
        Group {
            subject: Some(("1 redirect", || {
                Subject::plain(&format!(
                    "[[rule]]\nname = \"out\"\nprotocol = \"udp\"\naction = \"redirect\"\n\
                     to = \"{REDIRECT_TARGET}\"\n"
                ))
            })),
            cases: vec![
                Case {
                    floor: Floor::Redirect,
                    ..case(Usual, "1 redirect, to bare redirect", any_v4, Reason::Rule)
                }
                .goal(Goal::Floor(1.25)),
            ],
        },
        Group {
            subject: Some(("100,000 addresses blocked at run time", || {
                Subject::banned(DEFAULT_DROP, Prefixes::hosts_v4(100_000, 0x15))
            })),
            cases: vec![
                case(
                    Usual,
                    "100,000 addresses blocked at run time, miss",
                    misses_v4,
                    Reason::Default,
                )
                .goal(Goal::Case("no rules, default drop", 1.25)),
                case(All, "100,000 addresses blocked at run time, hit", hits_v4, Reason::Banned),
            ],
        },
        Group {
            subject: Some(("10,000 prefixes blocked at run time", || {
                Subject::banned(DEFAULT_DROP, Prefixes::networks_v4(10_000, 0x16))
            })),
            cases: vec![
                case(
                    Usual,
                    "10,000 prefixes blocked at run time, miss",
                    misses_v4,
                    Reason::Default,
                )
                .goal(Goal::Case("no rules, default drop", 1.50)),
                case(All, "10,000 prefixes blocked at run time, hit", hits_v4, Reason::Banned),
            ],
        },
        Group {
            subject: Some(("31 nested IPv4 prefixes blocked at run time, all ended", || {
                Subject::ended(DEFAULT_DROP, Prefixes::nested(Family::V4))
            })),
            cases: vec![case(
                Usual,
                "31 nested IPv4 prefixes blocked at run time, all ended",
                |subject| Traffic::from_sources(Family::V4, &subject.listed().outward()),
                Reason::Default,
            )],
        },
        Group {
            subject: Some(("127 nested IPv6 prefixes blocked at run time, all ended", || {
                Subject::ended(DEFAULT_DROP, Prefixes::nested(Family::V6))
            })),
            cases: vec![case(
                Usual,
                "127 nested IPv6 prefixes blocked at run time, all ended",
                |subject| Traffic::from_sources(Family::V6, &subject.listed().outward()),
                Reason::Default,
            )],
        },
    ];
    groups.extend(services::groups());
    groups.extend(limits::groups());
    groups.extend(replies::groups());
    groups.push(prototype());
    groups
}
