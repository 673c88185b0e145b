//! Rules with `over`: what is under a rate goes on, what is over is theirs.
//!
//! The rates are so low that nothing comes back while a test runs: what passes is the burst.

use crate::explain::explain_frames;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;

/// Sends `count` frames, and says how many of them passed.
fn passed(bench: &Bench, frame: &[u8], count: u64) -> u64 {
    let before = bench.sample();
    for _ in 0..count {
        bench.port("src0").send(frame);
    }
    let after = bench.await_count(before.total().packets + count);
    assert_eq!(after.total().packets, before.total().packets + count);
    after.verdicts["pass"].packets - before.verdicts["pass"].packets
}

fn reload(bench: &Bench, configuration: &str) {
    let file = bench.write("next.toml", configuration);
    bench.xdpctl(["reload", JUDGED, "-c", file.to_str().expect("a name of ours")]).success();
}

fn from(source: &str) -> Vec<u8> {
    udp4(source, "192.0.2.1", 1, 9).build()
}

fn from6(source: &str) -> Vec<u8> {
    udp6(source, "2001:db8:b::1", 1, 9).build()
}

const PER_SOURCE: &str = r#"
[[rule]]
name   = "flood"
over   = "1/h"
burst  = 5
per    = "source"
action = "drop"
"#;

#[test]
fn each_source_has_its_burst() {
    let mut bench = Bench::new();
    bench.attach(PER_SOURCE);
    assert_eq!(passed(&bench, &from("10.0.0.1"), 12), 5);
    assert_eq!(passed(&bench, &from("10.0.0.2"), 3), 3);
    assert_eq!(passed(&bench, &from("10.0.0.2"), 9), 2);
    assert_eq!(passed(&bench, &from("10.0.0.1"), 2), 0);
    assert_eq!(bench.sample().rule("flood").count.packets, 16);
    // Of IPv6, a /64 is one source.
    assert_eq!(passed(&bench, &from6("2001:db8:a::1"), 3), 3);
    assert_eq!(passed(&bench, &from6("2001:db8:a::2"), 3), 2);
    assert_eq!(passed(&bench, &from6("2001:db8:a:1::2"), 3), 3);
    // What has no address is not asked.
    assert_eq!(passed(&bench, &ethernet(0x88cc, &[0; 46]).build(), 9), 9);
}

#[test]
fn networks_destinations_and_the_rule_itself() {
    let mut bench = Bench::new();
    let per = |per: &str| PER_SOURCE.replace("\"source\"", per);
    bench.attach(&per("\"source/24,48\""));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 4), 4);
    assert_eq!(passed(&bench, &from("10.0.0.2"), 4), 1);
    assert_eq!(passed(&bench, &from("10.0.1.2"), 4), 4);
    assert_eq!(passed(&bench, &from6("2001:db8:a::1"), 4), 4);
    assert_eq!(passed(&bench, &from6("2001:db8:a:1::2"), 4), 1);
    reload(&bench, &per("\"destination\""));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 4), 4);
    assert_eq!(passed(&bench, &from("10.0.2.1"), 4), 1);
    reload(&bench, &per("\"rule\""));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 3), 3);
    assert_eq!(passed(&bench, &from6("2001:db8:a::1"), 4), 2);
    assert_eq!(passed(&bench, &ethernet(0x88cc, &[0; 46]).build(), 9), 0);
}

#[test]
fn bytes_are_those_of_whole_frames() {
    let mut bench = Bench::new();
    bench.attach(
        r#"
        [[rule]]
        name   = "bulk"
        over   = "800bit/h"
        burst  = "2000B"
        per    = "source"
        action = "drop"
        "#,
    );
    let long = udp4("10.0.0.1", "192.0.2.1", 1, 9).payload(&[0; 600 - 42]).build();
    assert_eq!(long.len(), 600);
    assert_eq!(passed(&bench, &long, 6), 3);
    // 200 bytes are left.
    let short = from("10.0.0.1");
    assert_eq!(passed(&bench, &short, 20), 200 / short.len() as u64);
    assert_eq!(bench.sample().rule("bulk").count.packets, 3 + 20 - 200 / short.len() as u64);
}

/// What is under goes on to the next rule, which may have a limit too, and then to the default.
#[test]
fn what_is_under_goes_on() {
    let mut bench = Bench::new();
    bench.attach(
        r#"
        [policy]
        default = "drop"
        [[rule]]
        name   = "one"
        over   = "1/h"
        burst  = 6
        per    = "source"
        action = "drop"
        [[rule]]
        name   = "two"
        protocol = "udp"
        over   = "1/h"
        burst  = 4
        action = "drop"
        [[rule]]
        name   = "let"
        destination_port = 9
        action = "pass"
        "#,
    );
    assert_eq!(passed(&bench, &from("10.0.0.1"), 8), 4);
    let sample = bench.sample();
    let of = |name: &str| sample.rule(name).count.packets;
    assert_eq!((of("one"), of("two"), of("let")), (2, 2, 4));
    assert_eq!(passed(&bench, &udp4("10.0.0.2", "192.0.2.1", 1, 10).build(), 2), 0);
    // The second limit is the rule's own, and used up; one of TCP asks the first alone.
    assert_eq!(bench.sample().rule("two").count.packets, 4);
    assert_eq!(passed(&bench, &tcp4("10.0.0.3", "192.0.2.1", 1, 9).build(), 9), 6);
}

/// Sixteen rules with limits are asked of one packet.
#[test]
fn as_many_limits_as_a_ruleset_may_have() {
    let mut bench = Bench::new();
    let rule = |nth: usize| {
        format!(
            "[[rule]]\nname = \"r{nth}\"\nover = \"1/h\"\nburst = {}\naction = \"drop\"\n",
            30 - nth
        )
    };
    let sixteen: String = (0..16).map(rule).collect();
    bench.attach(&sixteen);
    assert_eq!(passed(&bench, &from("10.0.0.1"), 20), 15);
    // Each packet that was over one limit was under those before it, the first of which ends the next packet.
    let sample = bench.sample();
    let over: Vec<u64> =
        (10..16).map(|nth| sample.rule(&format!("r{nth}")).count.packets).collect();
    assert_eq!(over, [0, 1, 1, 1, 1, 1]);
    let more = bench.write("more.toml", &format!("{sixteen}{}", rule(16)));
    let refused = bench.xdpctl(["reload", JUDGED, "-c", more.to_str().expect("a name of ours")]);
    assert!(refused.stderr.contains("more than 16 rules with `over`"), "{}", refused.stderr);
    // Of these, no packet matches two.
    let customer = |nth: usize| {
        rule(nth % 16)
            .replace(&format!("r{}", nth % 16), &format!("c{nth}"))
            .replace("action", &format!("destination = \"192.0.2.{nth}\"\naction"))
    };
    reload(&bench, &(1..200).map(customer).collect::<String>());
    assert_eq!(passed(&bench, &from("10.0.0.1"), 40), 29);
}

/// What sources have used up stays over a reload and a new program, as long as the rule's name, its key and its rate
/// stay.
#[test]
fn a_limit_outlives_reloads() {
    let mut bench = Bench::new();
    bench.attach(PER_SOURCE);
    assert_eq!(passed(&bench, &from("10.0.0.1"), 4), 4);
    reload(&bench, &format!("{PER_SOURCE}[[rule]]\nname = \"more\"\naction = \"pass\"\n"));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 4), 1);
    let file = bench.write("same.toml", PER_SOURCE);
    bench
        .xdpctl(["attach", JUDGED, "--replace", "-c", file.to_str().expect("a name of ours")])
        .success();
    assert_eq!(passed(&bench, &from("10.0.0.1"), 4), 0);
    reload(&bench, &PER_SOURCE.replace("flood", "other"));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 8), 5);
    // Without limits the memory is given back, so that all begin anew.
    reload(&bench, "");
    assert_eq!(passed(&bench, &from("10.0.0.1"), 8), 8);
    reload(&bench, PER_SOURCE);
    assert_eq!(passed(&bench, &from("10.0.0.1"), 8), 5);
}

#[test]
fn a_question_costs_no_token() {
    let mut bench = Bench::new();
    bench.attach(PER_SOURCE);
    let frame = from("10.0.0.1");
    for _ in 0..3 {
        let [one, two] = explain_frames(&bench, &[&frame, &frame]);
        assert_eq!((&one["verdict"], &two["verdict"]), (&"pass".into(), &"pass".into()));
    }
    assert_eq!(passed(&bench, &frame, 4), 4);
    let [left, _] = explain_frames(&bench, &[&frame, &frame]);
    assert_eq!(left["reason"], "default");
    assert_eq!(passed(&bench, &frame, 4), 1);
    let [over, other] = explain_frames(&bench, &[&frame, &from("10.0.0.2")]);
    assert_eq!((&over["verdict"], &over["rule"]), (&"drop".into(), &"flood".into()));
    assert_eq!(other["verdict"], "pass");
    let told = |over: bool, left: u64| {
        serde_json::json!([{
            "rule": "flood", "over": over, "rate": "1/h", "per": "source", "left": left,
            "burst": 5, "unit": "packets",
        }])
    };
    assert_eq!((&over["limits"], &other["limits"]), (&told(true, 0), &told(false, 5)));
    let args = ["explain", JUDGED, "--source", "10.0.0.1", "--destination", "192.0.2.1"];
    let text = bench.xdpctl(args);
    let expected = "; over the 1/h per source of \"flood\": 0 of 5 packets left\n";
    assert!(text.success().stdout.ends_with(expected), "{}", text.stdout);
}

/// What `limits` and `stats` show: what was under and over, and who is over.
#[test]
fn who_is_over_is_shown() {
    let mut bench = Bench::new();
    bench.attach(
        r#"
        [[rule]]
        name   = "flood"
        over   = "1/h"
        burst  = 2
        per    = "source/24,48"
        action = "drop"
        [[rule]]
        name   = "all"
        over   = "2GB/d"
        action = "drop"
        "#,
    );
    assert_eq!(passed(&bench, &from("10.0.0.1"), 9), 2);
    assert_eq!(passed(&bench, &from("10.0.1.1"), 5), 2);
    assert_eq!(passed(&bench, &from6("2001:db8:a::1"), 6), 2);
    assert_eq!(passed(&bench, &from("10.0.2.1"), 1), 1);
    let bytes = |packets: u64, v6: u64| {
        (packets * from("10.0.0.1").len() as u64) + v6 * from6("2001:db8:a::1").len() as u64
    };
    let mut shown = bench.xdpctl(["limits", JUDGED, "--json"]).success().json();
    for heavy in shown[0]["heaviest"].as_array_mut().expect("an array") {
        assert!(heavy["seconds_ago"].take().as_u64().expect("a number") < 600);
    }
    let expected = serde_json::json!([
        {
            "name": "flood", "rate": "1/h", "per": "source/24,48", "burst": 2,
            "under": {"packets": 7, "bytes": bytes(5, 2)},
            "over": {"packets": 14, "bytes": bytes(10, 4)},
            "heaviest": [
                {"key": "10.0.0.0/24", "packets": 7, "seconds_ago": null},
                {"key": "2001:db8:a::/48", "packets": 4, "seconds_ago": null},
                {"key": "10.0.1.0/24", "packets": 3, "seconds_ago": null},
            ],
        },
        {
            "name": "all", "rate": "16Gbit/d", "per": "rule", "burst": "23149B",
            "under": {"packets": 7, "bytes": bytes(5, 2)},
            "over": {"packets": 0, "bytes": 0}, "heaviest": [],
        },
    ]);
    assert_eq!(shown, expected);
    let text = bench.xdpctl(["limits", JUDGED]);
    let begin = "flood: over 1/h per source/24,48, burst 2\n  under 7 packets";
    assert!(text.success().stdout.starts_with(begin), "{}", text.stdout);
    let stats = bench.xdpctl(["stats", JUDGED, "--once"]);
    assert!(stats.success().stdout.contains("under"), "{}", stats.stdout);
    reload(&bench, "");
    assert_eq!(bench.xdpctl(["limits", JUDGED]).success().stdout, "no limits\n");
}

/// A bounce and a pass may have limits too: whatever the rule does, it does with what is over.
#[test]
fn any_action_may_have_a_limit() {
    let mut bench = Bench::new();
    let with = |action: &str| {
        let rule = PER_SOURCE.replace("\"drop\"", action).replace("flood", "any");
        format!("[policy]\ndefault = \"drop\"\n{rule}")
    };
    bench.attach(&with("\"pass\""));
    assert_eq!(passed(&bench, &from("10.0.0.1"), 7), 2);
    reload(&bench, &with("\"bounce\""));
    assert_eq!(passed(&bench, &from("10.0.0.2"), 7), 0);
    let sample = bench.sample();
    assert_eq!(sample.verdicts["tx"].packets, 2);
    assert_eq!(sample.rule("any").count.packets, 4);
}
