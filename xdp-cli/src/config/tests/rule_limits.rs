//! The limits of rules: `over`, `per` and `burst`.

use super::{Setup, ruleset};
use crate::config::written;
use crate::ruleset::limits::{Lengths, Limit, Per, Quantity, Rate, Time};

fn limit(keys: &str) -> Limit {
    let ruleset = ruleset(&format!("[[rule]]\nname = \"r\"\naction = \"drop\"\n{keys}\n"));
    ruleset.rules[0].limit.expect("a limit")
}

#[test]
fn rates() {
    let packets = |amount, time| Rate { amount, of: Quantity::Packets, time };
    let bits = |amount| Rate { amount, of: Quantity::Bits, time: Time::Second };
    for (text, rate, burst) in [
        ("100/s", packets(100, Time::Second), 100),
        ("100 packets/second", packets(100, Time::Second), 100),
        ("90/m", packets(90, Time::Minute), 2),
        ("5/h", packets(5, Time::Hour), 1),
        ("1/day", packets(1, Time::Day), 1),
        ("10Mbit/s", bits(10_000_000), 1_250_000),
        ("10 mbit/s", bits(10_000_000), 1_250_000),
        ("1kbit/s", bits(1_000), 1_518),
        ("2MB/s", bits(16_000_000), 2_000_000),
        ("1KiB/s", bits(8_192), 1_518),
        ("1000Gbit/s", bits(1_000_000_000_000), 125_000_000_000),
    ] {
        let expected = Limit { rate, burst, per: Per::Rule };
        assert_eq!(limit(&format!("over = \"{text}\"")), expected, "{text}");
    }
}

#[test]
fn keys_and_bursts() {
    let of = |v4, v6| Lengths { v4, v6 };
    for (per, expected) in [
        ("rule", Per::Rule),
        ("source", Per::Source(of(32, 64))),
        ("source/24", Per::Source(of(24, 64))),
        ("source/48", Per::Source(of(32, 48))),
        ("destination/24,48", Per::Destination(of(24, 48))),
        ("source/24, /128", Per::Source(of(24, 128))),
    ] {
        let limit = limit(&format!("over = \"100/s\"\nper = \"{per}\"\nburst = 7"));
        assert_eq!((limit.per, limit.burst), (expected, 7), "{per}");
    }
    assert_eq!(limit("over = \"1Mbit/s\"\nburst = \"64KB\"").burst, 64_000);
    assert_eq!(limit("over = \"1Mbit/s\"\nburst = \"64 KiB\"").burst, 65_536);
}

/// What is shown of a ruleset loads again, as the same.
#[test]
fn limits_are_written_as_they_are_read() {
    for keys in [
        "over = \"100/s\"",
        "over = \"90/m\"\nper = \"source\"",
        "over = \"16Mbit/s\"\nper = \"destination/24,48\"\nburst = \"65536B\"",
        "over = \"2500bit/h\"\nper = \"source/24\"\nburst = \"3kB\"",
        "over = \"7/d\"\nper = \"source/32,128\"\nburst = 3",
    ] {
        let read = ruleset(&format!("[[rule]]\nname = \"r\"\naction = \"drop\"\n{keys}\n"));
        let settings = written::rule(&read.rules[0]);
        let shown = settings.iter().map(|it| format!("{} = {}\n", it.key, it.value));
        let shown: String = shown.collect();
        let again = ruleset(&format!("[[rule]]\nname = \"r\"\n{shown}"));
        assert_eq!(again.rules[0].limit, read.rules[0].limit, "{shown}");
    }
}

#[test]
fn a_rule_with_a_limit_shadows_no_other() {
    let limited = "[[rule]]\nname = \"a\"\nover = \"5/s\"\naction = \"drop\"\n";
    let other = "[[rule]]\nname = \"b\"\naction = \"drop\"\n";
    assert_eq!(Setup::new(&[]).said(format!("{limited}{other}")), "");
    assert!(Setup::new(&[]).said(format!("{other}{limited}")).contains("never match"));
}

#[test]
fn what_is_refused() {
    let setup = Setup::new(&[]);
    let mut all = String::new();
    for keys in [
        "over = 100",
        "over = \"100\"",
        "over = \"many/s\"",
        "over = \"100/week\"",
        "over = \"0/s\"",
        "over = \"10Mb/s\"",
        "over = \"10Tbit/s\"",
        "over = \"2000000000/s\"",
        "over = \"99999999999999999999/s\"",
        "over = \"1001Gbit/s\"",
        "over = \"1.5Mbit/s\"",
        "over = \"1.5/s\"",
        "over = \".5 Mbit/s\"",
        "over = \"18446744073709551616/s\"",
        "per = \"source\"",
        "burst = 3",
        "over = \"1/s\"\nper = \"port\"",
        "over = \"1/s\"\nper = \"rule/24\"",
        "over = \"1/s\"\nper = \"source/33,48\"",
        "over = \"1/s\"\nburst = 0",
        "over = \"1/s\"\nburst = \"64KB\"",
        "over = \"1/s\"\nburst = 4294967296",
        "over = \"1/s\"\nburst = -1",
        "over = \"1Mbit/s\"\nburst = \"100000GB\"",
        "over = \"1Mbit/s\"\nburst = \"18446744073709551616B\"",
        "over = \"1Mbit/s\"\nburst = \"1.5MB\"",
        "over = \"1Mbit/s\"\nburst = \"0B\"",
        "over = \"1Mbit/s\"\nburst = 64000",
        "over = \"1Mbit/s\"\nburst = \"64Kbit\"",
        "over = \"1/d\"\nburst = 7",
        "over = \"1bit/h\"",
    ] {
        let said = setup.said(format!("[[rule]]\nname = \"r\"\naction = \"drop\"\n{keys}\n"));
        assert!(said.contains("error: "), "accepted: {keys}");
        all.push_str(&format!("## {keys}\n{said}\n"));
    }
    insta::assert_snapshot!("rule_limits", all);
}

/// What is wrong with a burst whatever the rate is is told beside a wrong rate.
#[test]
fn a_wrong_rate_hides_no_wrong_burst() {
    let setup = Setup::new(&[]);
    let said = |burst: &str| {
        let keys = format!("over = \"10Tbit/s\"\nburst = {burst}");
        setup.said(format!("[[rule]]\nname = \"r\"\naction = \"drop\"\n{keys}\n"))
    };
    for burst in ["true", "1.5", "0", "-1", "4294967296", "\"0B\"", "\"64Kbit\"", "\"1.5MB\""] {
        let said = said(burst);
        assert_eq!(said.matches("error: ").count(), 2, "{burst}: {said}");
        assert!(said.contains("x.toml:5:9: rule \"r\": burst "), "{burst}: {said}");
    }
    // Each of these is right with some rate.
    for burst in ["1", "\"64KB\""] {
        let said = said(burst);
        assert_eq!(said.matches("error: ").count(), 1, "{burst}: {said}");
    }
}

/// What no full frame fits into is nearly always a mistake.
#[test]
fn a_burst_below_a_frame_is_a_warning() {
    let said = Setup::new(&[])
        .said("[[rule]]\nname = \"r\"\naction = \"drop\"\nover = \"1Mbit/s\"\nburst = \"1kB\"\n");
    assert!(said.starts_with("warning: ") && said.contains("is always over"), "{said}");
}
