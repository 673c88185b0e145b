//! Samples as JSON and as lines.

use super::*;
use crate::views::stats::rate::{Before, Rate};
use crate::views::stats::text::Style;

fn json(sample: &Sample) -> String {
    let mut out = Vec::new();
    json::write(&mut out, sample).unwrap();
    String::from_utf8(out).unwrap()
}

fn text(sample: &Sample, style: Style<'_>) -> String {
    let mut out = Vec::new();
    text::write(&mut out, sample, style).unwrap();
    String::from_utf8(out).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

fn with_rates<'a>(before: &'a Sample, elapsed: Duration) -> Style<'a> {
    Style {
        rates: true,
        before: Some(Before { sample: before, elapsed }),
        hints: false,
        all: false,
    }
}

#[test]
fn the_contracts_example_as_json() {
    assert_eq!(
        json(&example()),
        concat!(
            r#"{"interface":"eth0","ifindex":2,"mode":"native","generation":3,"#,
            r#""time":"2026-01-31T12:00:00.000Z","#,
            r#""verdicts":{"pass":{"packets":9,"bytes":900},"drop":{"packets":1,"bytes":60},"#,
            r#""tx":{"packets":0,"bytes":0},"redirect":{"packets":0,"bytes":0},"#,
            r#""aborted":{"packets":0,"bytes":0}},"#,
            r#""reasons":{"malformed":{"packets":0,"bytes":0},"#,
            r#""allowed":{"packets":0,"bytes":0},"banned":{"packets":0,"bytes":0},"#,
            r#""arp":{"packets":0,"bytes":0},"allowlist":{"packets":0,"bytes":0},"#,
            r#""blocklist":{"packets":1,"bytes":60},"domain":{"packets":0,"bytes":0},"#,
            r#""rule":{"packets":0,"bytes":0},"fragment":{"packets":0,"bytes":0},"#,
            r#""default":{"packets":9,"bytes":900},"bypass":{"packets":0,"bytes":0},"#,
            r#""service":{"packets":0,"bytes":0},"reply":{"packets":0,"bytes":0}},"#,
            r#""rules":[{"name":"spamhaus","kind":"blocklist","action":"drop","#,
            r#""packets":1,"bytes":60}],"#,
            r#""names":{"label":{"packets":0,"bytes":0},"questions":{"packets":0,"bytes":0},"#,
            r#""length":{"packets":0,"bytes":0}}}"#,
            "\n"
        )
    );
}

#[test]
fn redirect_rules_alone_have_losses_in_json() {
    let json: serde_json::Value = serde_json::from_str(&json(&busy())).unwrap();
    let rules = json["rules"].as_array().unwrap();
    let losses: Vec<String> = rules.iter().map(|rule| rule["lost"].to_string()).collect();
    let zero = r#"{"bytes":0,"packets":0}"#;
    assert_eq!(losses, ["null", "null", r#"{"bytes":180,"packets":3}"#, zero, "null"]);
    assert!(rules[0].get("lost").is_none());
}

#[test]
fn verdicts_and_reasons_are_sums_over_one_matrix() {
    let sample = busy();
    assert_eq!(sample.verdict(Verdict::Pass), counter(1_000_005, 64_000_320));
    assert_eq!(sample.reason(Reason::Rule), counter(2_013, 3_028_820));
    assert_eq!(sample.total(), counter(1_002_018, 67_029_140));
}

#[test]
fn once_as_lines() {
    let once = Style { hints: true, ..Style::default() };
    insta::assert_snapshot!(text(&busy(), once));
    insta::assert_snapshot!(text(&nothing("eth0"), once), @"
    eth0: native mode, generation 3, 0 packets and 0 bytes since attach, 2026-01-31T12:00:00.000Z
    KIND  NAME  ACTION  PACKETS  BYTES  SHARE
    ");
}

#[test]
fn all_as_lines() {
    insta::assert_snapshot!(text(&nothing("eth0"), Style { all: true, ..Style::default() }), @"
    eth0: native mode, generation 3, 0 packets and 0 bytes since attach, 2026-01-31T12:00:00.000Z
    KIND     NAME       ACTION  PACKETS  BYTES  SHARE
    verdict  pass       -             0      0      -
    verdict  drop       -             0      0      -
    verdict  tx         -             0      0      -
    verdict  redirect   -             0      0      -
    verdict  aborted    -             0      0      -
    reason   malformed  -             0      0      -
    reason   allowed    -             0      0      -
    reason   banned     -             0      0      -
    reason   arp        -             0      0      -
    reason   allowlist  -             0      0      -
    reason   blocklist  -             0      0      -
    reason   domain     -             0      0      -
    reason   rule       -             0      0      -
    reason   fragment   -             0      0      -
    reason   default    -             0      0      -
    reason   bypass     -             0      0      -
    reason   service    -             0      0      -
    reason   reply      -             0      0      -
    ");
    let quiet = text(&busy(), Style::default());
    let all = text(&busy(), Style { all: true, ..Style::default() });
    for name in ["tried", "to-tap", "aborted", "malformed"] {
        assert!(all.contains(name) && !quiet.contains(name), "{name}");
    }
}

#[test]
fn the_fastest_comes_first() {
    let mut then = before(&busy());
    let now = busy();
    then.counted[0].counter = now.counted[0].counter;
    then.counted[2].counter = counter(2_000, 3_028_000);
    let text = text(&now, with_rates(&then, SECOND));
    let order: Vec<&str> = text
        .lines()
        .filter(|line| ["allowlist", "rule", "lost"].iter().any(|kind| line.starts_with(kind)))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    // Lost packets stay below their rule; rows whose counters stand still come last.
    assert_eq!(order, ["echo", "to-ids", "to-ids", "office"]);
}

#[test]
fn an_interface_that_is_gone() {
    let sample = Sample { gone: true, ..example() };
    let text = text(&sample, Style::default());
    assert!(text.starts_with("eth0 (not on it any more): native mode"), "{text}");
}

#[test]
fn bypass_is_in_the_title() {
    let text = text(&Sample { bypass: true, ..example() }, Style::default());
    assert!(text.starts_with("eth0: native mode, generation 3, bypass on, 10 packets"), "{text}");
}

#[test]
fn rates_as_lines() {
    let first = Style { rates: true, ..Style::default() };
    insta::assert_snapshot!(text(&example(), first), @"
    eth0: native mode, generation 3, 10 packets and 960 bytes since attach, 2026-01-31T12:00:00.000Z
    KIND       NAME       ACTION  PACKETS  BYTES  SHARE  PACKETS/S  BIT/S
    verdict    pass       -             9    900  90.0%          -      -
    verdict    drop       -             1     60  10.0%          -      -
    reason     blocklist  -             1     60  10.0%          -      -
    reason     default    -             9    900  90.0%          -      -
    blocklist  spamhaus   drop          1     60  10.0%          -      -
    ");
    let then = before(&busy());
    insta::assert_snapshot!(text(&busy(), with_rates(&then, 2 * SECOND)));
}

#[test]
fn huge_counts() {
    let mut sample = example();
    sample.count(Verdict::Pass, Reason::Default, u64::MAX, u64::MAX);
    sample.counted[0].counter = counter(u64::MAX, u64::MAX);
    insta::assert_snapshot!(text(&sample, with_rates(&before(&sample), SECOND)), @"
    eth0: native mode, generation 3, 18446744073709551615 packets and 18446744073709551615 bytes since attach, 2026-01-31T12:00:00.000Z
    KIND       NAME       ACTION               PACKETS                 BYTES   SHARE  PACKETS/S  BIT/S
    verdict    pass       -       18446744073709551615  18446744073709551615  100.0%      18.4E   148E
    verdict    drop       -                          1                    60   <0.1%       1.00    480
    reason     blocklist  -                          1                    60   <0.1%       1.00    480
    reason     default    -       18446744073709551615  18446744073709551615  100.0%      18.4E   148E
    blocklist  spamhaus   drop    18446744073709551615  18446744073709551615  100.0%      18.4E   148E
    ");
}

#[test]
fn counters_that_went_back_move_at_no_rate() {
    let text = text(&before(&busy()), with_rates(&busy(), SECOND));
    for line in text.lines().skip(2) {
        assert!(line.split_whitespace().skip(6).eq(["0", "0"]), "{line}");
    }
}

#[test]
fn rates_by_time() {
    let rate = |before, now, elapsed| Rate::between(before, now, elapsed);
    let (none, some) = (counter(0, 0), counter(10, 1000));
    let half = Duration::from_millis(500);
    assert_eq!(rate(none, some, half), Rate { packets: 20.0, bits: 16_000.0 });
    assert_eq!(rate(none, some, Duration::ZERO), Rate::default());
    assert_eq!(rate(some, none, half), Rate::default());
}

#[test]
fn a_rule_keeps_its_rate_where_a_reload_moved_it() {
    let (mut then, mut now) = (example(), example());
    now.counted.insert(0, counted("new", Kind::Rule, "drop", counter(4, 400)));
    now.counted.push(counted("spamhaus", Kind::Rule, "drop", counter(5, 500)));
    now.counted[1].counter = counter(3, 180);
    then.ifindex = now.ifindex;
    let text = text(&now, with_rates(&then, SECOND));
    let rate_of = |kind: &str, name: &str| {
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = text.lines().map(cells).collect();
        rows.iter().find(|row| row[0] == kind && row[1] == name).unwrap()[6].clone()
    };
    assert_eq!(rate_of("blocklist", "spamhaus"), "2.00");
    assert_eq!(rate_of("rule", "spamhaus"), "5.00");
    assert_eq!(rate_of("rule", "new"), "4.00");
}

#[test]
fn an_interface_with_a_harmful_name() {
    let text = text(&nothing("a\u{1b}[2J"), Style::default());
    assert!(text.starts_with("a\\u{1b}[2J: native mode"), "{text}");
}
