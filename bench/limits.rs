//! Cases of limits of rules: beside the same rule without a limit, and beside a bare program that reads and writes
//! as much memory.
//!
//! A source sends thousands of packets a second here, so bursts are large: what a packet costs does not depend on them,
//! but where the precise clock is asked.

use std::fmt::Write as _;

use xdp_common::stats::verdict::Reason;

use crate::case::{Case, DEFAULT_DROP, Goal, Group, Subject};
use crate::cases::{any_v4, any_v6};
use crate::prefixes::{Family, Prefixes};
use crate::prototype::Prototype;
use crate::traffic::Traffic;

/// So many rules, all of which match every packet but for their limits.
fn rules(count: u32, limit: &str) -> Subject {
    let mut text = DEFAULT_DROP.to_owned();
    for number in 0..count {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[rule]]\nname = \"rule-{number}\"\nprotocol = \"udp\"\naction = \"drop\"\n{limit}"
        );
    }
    Subject::plain(&text)
}

fn thousand(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &Prefixes::blocklist_v4(0, 0).misses(1_000, 4))
}

fn single(_: &Subject) -> Traffic {
    Traffic::from_sources(Family::V4, &Prefixes::blocklist_v4(0, 0).misses(1, 4))
}

const PER_SOURCE: &str = "over = \"100/s\"\nburst = 100000\nper = \"source\"\n";

const BASE_1000: &str = "no limit, 1,000 sources";
const BASE: &str = "no limit, a million sources";
const BARE: &str = "limit, bare prototype, a million sources";

pub fn groups() -> Vec<Group> {
    use Reason::{Default, Rule};

    let group = |name, make, cases| Group { subject: Some((name, make)), cases };
    // The first packets of each are under.
    let over = |name, traffic| Case { reason: None, ..Case::dropped(name, traffic, Rule) };
    // More keys than there are places: one may be taken for another that is over.
    let crowded = |name| Case { reason: None, ..Case::dropped(name, any_v4, Default) };
    vec![
        group(
            "limit: the same rule without",
            || rules(1, ""),
            vec![
                Case::dropped(BASE_1000, thousand, Rule),
                Case::dropped(BASE, any_v4, Rule),
                Case::dropped("no limit, IPv6", any_v6, Rule),
            ],
        ),
        group(
            "limit, bare prototype",
            || Subject::default().instead(Prototype::Limit),
            vec![
                Case::dropped("limit, bare prototype, 1,000 sources", thousand, Default),
                Case::dropped(BARE, any_v4, Default),
            ],
        ),
        group(
            "limit per source",
            || rules(1, PER_SOURCE),
            vec![
                Case::dropped("limit per source, under, 1,000 sources", thousand, Default)
                    .goal(Goal::Nanoseconds(BASE_1000, 20.0)),
                crowded("limit per source, under, a million sources").goal(Goal::Times {
                    over: BASE,
                    of: BARE,
                    at_most: 1.2,
                }),
                Case::dropped("limit per source, under, IPv6", any_v6, Default),
            ],
        ),
        group(
            "limit per source, high rate",
            || rules(1, "over = \"100000/s\"\nper = \"source\"\n"),
            vec![Case::dropped("limit per source of 100,000/s, 1,000 sources", thousand, Default)],
        ),
        group(
            "limit per source, small burst",
            || rules(1, "over = \"100000/s\"\nburst = 50000\nper = \"source\"\n"),
            vec![Case::dropped(
                "limit per source, by the precise clock, 1,000 sources",
                thousand,
                Default,
            )],
        ),
        group(
            "limit per /24",
            || rules(1, "over = \"100/s\"\nburst = 10000000\nper = \"source/24\"\n"),
            vec![Case::dropped("limit per /24, under, a million sources", any_v4, Default)],
        ),
        group(
            "limit per rule",
            || rules(1, "over = \"100/s\"\nburst = 40000000\n"),
            vec![Case::dropped("limit per rule, under, a million sources", any_v4, Default)],
        ),
        group(
            "limit per rule, over",
            || rules(1, "over = \"1/h\"\nburst = 1\n"),
            vec![over("limit per rule, over, a million sources", any_v4)],
        ),
        group(
            "limit per source, over",
            || rules(1, "over = \"1/h\"\nburst = 1\nper = \"source\"\n"),
            vec![
                over("limit per source, over, 1 source", single),
                over("limit per source, over, 1,000 sources", thousand),
            ],
        ),
        group(
            "2 limits per source",
            || rules(2, PER_SOURCE),
            vec![
                Case::dropped("2 limits per source, under, 1,000 sources", thousand, Default),
                crowded("2 limits per source, under, a million sources"),
            ],
        ),
        group(
            "16 limits per source",
            || rules(16, PER_SOURCE),
            vec![
                Case::dropped("16 limits per source, under, 1,000 sources", thousand, Default),
                crowded("16 limits per source, under, a million sources"),
            ],
        ),
    ]
}
