//! `bypass`: everything passes, malformed frames too, until it is switched off.

use crate::explain::explain_frames;
use crate::lab::bench::{Bench, JUDGED, pass};
use crate::lab::frame::udp4;

const RULESET: &str = r#"
[policy]
default = "drop"

[arp]
action = "drop"

[[blocklist]]
name = "bad"
prefixes = ["203.0.113.0/24"]

[[rule]]
name = "back"
protocol = "udp"
destination_port = 7
action = "bounce"
"#;

#[test]
fn everything_passes_while_it_is_on_and_is_judged_again_afterwards() {
    let mut bench = Bench::new();
    bench.attach(RULESET);
    let frames = || {
        [
            ("a listed source", udp4("203.0.113.7", "192.0.2.1", 9, 9).build()),
            ("a rule", udp4("198.51.100.7", "192.0.2.1", 9, 7).build()),
            ("the default", udp4("198.51.100.7", "192.0.2.1", 9, 9).build()),
            ("a header cut short", udp4("198.51.100.7", "192.0.2.1", 9, 9).build()[..20].to_vec()),
        ]
    };
    let judged = |bench: &Bench| {
        let answers = explain_frames(bench, &frames().map(|(_, frame)| frame));
        let told = answers.map(|it| (it["verdict"].to_string(), it["reason"].to_string()));
        let named = frames().into_iter().zip(told);
        named.map(|((what, _), (verdict, reason))| (what, verdict, reason)).collect::<Vec<_>>()
    };
    let before = judged(&bench);
    assert_eq!(
        before.iter().filter(|(_, verdict, _)| verdict != "\"pass\"").count(),
        4,
        "{before:?}"
    );
    bench.xdpctl(["block", JUDGED, "198.51.100.7"]).success();

    let on = bench.xdpctl(["bypass", JUDGED, "on"]);
    assert_eq!(
        on.success().stdout,
        "bypass on in0: everything passes, until `xdpctl bypass in0 off`\n"
    );
    let again = bench.xdpctl(["bypass", JUDGED, "on"]);
    assert_eq!(again.success().stdout, "in0: bypass is on already: everything passes\n");
    for (what, verdict, reason) in judged(&bench) {
        assert_eq!((&verdict[..], &reason[..]), ("\"pass\"", "\"bypass\""), "{what}");
    }
    let rows: Vec<_> =
        frames().into_iter().map(|(what, frame)| pass(what, frame, "bypass")).collect();
    bench.run(&rows);
    let status = bench.xdpctl(["status", JUDGED, "--json"]);
    status.expect_status(1);
    assert_eq!(status.json()[0]["bypass"], true);
    let stats = bench.xdpctl(["stats", JUDGED, "--once"]);
    assert!(stats.success().stdout.contains(", bypass on, "), "{}", stats.stdout);

    // No ruleset switches it off, and nobody reloads without being told.
    let reload = bench.xdpctl(["reload", JUDGED]);
    reload.success();
    let told = "in0: bypass is on: everything passes, and the ruleset judges nothing";
    assert!(reload.stderr.contains(told), "{}", reload.stderr);
    let replace = bench.xdpctl(["attach", "--replace", JUDGED]);
    replace.success();
    assert!(replace.stderr.contains(told), "{}", replace.stderr);
    bench.xdpctl(["unblock", JUDGED, "198.51.100.7"]).success();
    bench.run(&rows);

    let off = bench.xdpctl(["bypass", JUDGED, "off"]);
    assert_eq!(off.success().stdout, "bypass off in0: the ruleset judges again\n");
    let again = bench.xdpctl(["bypass", JUDGED, "off"]);
    assert_eq!(again.success().stdout, "in0: bypass is off already: the ruleset judges\n");
    assert_eq!(judged(&bench), before);
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    assert_eq!(status[0]["bypass"], false);
}

#[test]
fn what_is_not_attached_cannot_be_bypassed() {
    let bench = Bench::new();
    let output = bench.xdpctl(["bypass", JUDGED, "on"]);
    output.expect_status(1);
    assert!(output.stderr.contains("xdpctl is not attached to in0"), "{}", output.stderr);
    bench.xdpctl(["bypass", JUDGED, "maybe"]).expect_status(2);
}
