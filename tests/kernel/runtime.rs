//! Entries added at run time, and the emergency switch: where they stand in the order of judgement.

use std::thread::sleep;
use std::time::Duration;

use crate::lab::bench::{Bench, JUDGED, drop, pass};
use crate::lab::frame::*;

const CONFIGURATION: &str = r#"
    [policy]
    fragments = "drop"
    [[allowlist]]
    name = "office"
    prefixes = ["198.51.100.0/24", "2001:db8:1::/48"]
    [[blocklist]]
    name = "bad"
    prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
    match = "either"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(CONFIGURATION);
    bench
}

#[track_caller]
fn run(bench: &Bench, command: &str, rest: &[&str]) {
    bench.xdpctl([&[command, JUDGED], rest].concat()).success();
}

#[test]
fn runtime_entries_stand_around_the_allowlists() {
    let bench = attached();
    run(&bench, "allow", &["203.0.113.7"]);
    run(&bench, "allow", &["2001:db8:bad::/64"]);
    run(&bench, "block", &["198.51.100.0/24"]);
    run(&bench, "block", &["10.0.0.0/8", "--note", "a whole net"]);
    run(&bench, "block", &["2001:db8:e::/48", "--for", "1h"]);
    let rows = [
        pass("allowed over a blocklist", udp4("203.0.113.7", "1.1.1.1", 1, 2), "allowed"),
        pass(
            "allowed over fragments",
            udp4("203.0.113.7", "1.1.1.1", 1, 2).fragment(1, true),
            "allowed",
        ),
        pass("allowed, IPv6", udp6("2001:db8:bad::7", "::1", 1, 2).vlan(7), "allowed"),
        drop("beside it", udp4("203.0.113.8", "1.1.1.1", 1, 2), "blocklist").by("bad"),
        drop("beside it, IPv6", udp6("2001:db8:bad:1::", "::1", 1, 2), "blocklist").by("bad"),
        pass("allowlists over a ban", udp4("198.51.100.7", "1.1.1.1", 1, 2), "allowlist")
            .by("office"),
        drop("banned", udp4("10.1.2.3", "1.1.1.1", 1, 2).qinq(7, 8), "banned"),
        drop(
            "banned before fragments",
            udp4("10.1.2.3", "1.1.1.1", 1, 2).fragment(1, true),
            "banned",
        ),
        drop("banned before blocklists", udp4("10.1.2.3", "203.0.113.1", 1, 2), "banned"),
        drop("banned, IPv6", icmp6("2001:db8:e::1", "::1", 128), "banned"),
        pass("only the source is asked", udp4("1.1.1.1", "10.1.2.3", 1, 2), "default"),
        drop("malformed comes first", udp4("203.0.113.7", "1.1.1.1", 1, 2).ihl(4), "malformed"),
        pass("ARP is judged apart", arp_request("10.1.2.3", "10.0.0.1"), "arp"),
    ];
    bench.run(&rows);
    bench.explain(&rows);
}

#[test]
fn the_longest_live_entry_decides() {
    let bench = attached();
    let inner = || udp4("10.1.0.9", "1.1.1.1", 1, 2);
    let inner_v6 = || udp6("2001:db8:e:1::9", "::1", 1, 2);
    run(&bench, "block", &["10.0.0.0/8"]);
    run(&bench, "allow", &["10.1.0.0/16"]);
    run(&bench, "block", &["2001:db8:e::/48"]);
    run(&bench, "block", &["10.1.0.9", "--for", "3s"]);
    run(&bench, "allow", &["2001:db8:e:1::/64", "--for", "3s"]);
    bench.run(&[
        drop("the host", inner(), "banned"),
        pass("its net", udp4("10.1.0.8", "1.1.1.1", 1, 2), "allowed"),
        drop("the net around", udp4("10.2.0.8", "1.1.1.1", 1, 2), "banned"),
        pass("the inner net, IPv6", inner_v6(), "allowed"),
    ]);
    sleep(Duration::from_secs(3));
    bench.run(&[
        pass("the host's entry has expired, and hides nothing", inner(), "allowed"),
        drop("the inner net's, IPv6", inner_v6(), "banned"),
    ]);
    run(&bench, "block", &["10.1.0.0/16"]);
    bench.run(&[drop("the last command replaces the one before", inner(), "banned")]);
    run(&bench, "unblock", &["10.1.0.0/16"]);
    run(&bench, "unblock", &["10.0.0.0/8"]);
    bench.run(&[pass("nothing is left", inner(), "default")]);
    bench.xdpctl(["unblock", JUDGED, "2001:db8:e::/48"]).success();
    bench.run(&[pass("nothing is left, IPv6", inner_v6(), "default")]);
}

#[test]
fn runtime_entries_survive_a_reload() {
    let mut bench = attached();
    run(&bench, "block", &["10.0.0.0/8"]);
    let banned = || drop("banned", udp4("10.1.2.3", "1.1.1.1", 1, 2), "banned");
    bench.run(&[banned()]);
    bench.attach("[policy]\ndefault = \"drop\"\n");
    bench.run(&[banned(), drop("the new default", udp4("9.9.9.9", "1.1.1.1", 1, 2), "default")]);
}

#[test]
fn bypass_passes_everything() {
    let bench = attached();
    let blocked = || udp4("203.0.113.7", "1.1.1.1", 1, 2);
    run(&bench, "bypass", &["on"]);
    let rows = [
        pass("blocked", blocked(), "bypass"),
        pass("malformed", blocked().ihl(4), "bypass"),
        pass("ARP", arp_request("10.0.0.1", "10.0.0.2"), "bypass"),
        pass("not IP", ethernet(0x88cc, &[1; 46]), "bypass"),
    ];
    bench.run(&rows);
    run(&bench, "bypass", &["off"]);
    bench.run(&[drop("blocked", blocked(), "blocklist").by("bad")]);
}
