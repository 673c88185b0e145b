//! What becomes of frames on virtio-net, in native mode with several queues.

use crate::lab::bench::*;
use crate::lab::frame::*;
use crate::lab::{DST0, OUT0, Topology};

const RULESET: &str = r#"
[[allowlist]]
name = "good"
prefixes = ["10.1.0.9"]
[[blocklist]]
name = "bad"
prefixes = ["10.1.0.0/16", "2001:db8:1::/48"]
[[rule]]
name = "on"
protocol = "udp"
destination_port = 7
action = "redirect"
to = "out0"
[[rule]]
name = "marked"
protocol = "udp"
destination_port = 8
action = "redirect"
to = "out0"
set_source_mac = "02:00:00:00:02:02"
set_destination_mac = "02:00:00:00:02:01"
[[rule]]
name = "back"
protocol = "udp"
destination_port = 9
action = "bounce"
[[rule]]
name = "refused"
protocol = "tcp"
destination_port = 22
action = "drop"
"#;

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_frames_are_dropped_passed_sent_on_and_sent_back() {
    let mut bench = Bench::on(Topology::standard().on_nics());
    bench.attach(RULESET);
    assert_eq!(bench.sample().mode, "native");
    let udp = |port| udp4("10.0.0.1", "192.0.2.1", 1024, port);
    let marked = udp(8).source_mac(OUT0).destination_mac(DST0);
    bench.run(&under_all_tags(&[
        pass("nothing decides", udp(1), "default"),
        pass("large", udp(1).length(1500), "default"),
        pass("allowed", udp4("10.1.0.9", "192.0.2.1", 1, 1), "allowlist").by("good"),
        drop("blocked", udp4("10.1.0.1", "192.0.2.1", 1, 1), "blocklist").by("bad"),
        drop("blocked, IPv6", udp6("2001:db8:1::1", "2001:db8::1", 1, 1), "blocklist").by("bad"),
        drop("by a rule", tcp4("10.0.0.1", "192.0.2.1", 1024, 22), "rule").by("refused"),
        drop("malformed", udp(1).ihl(4), "malformed"),
        redirect("sent on", udp(7), "on"),
        redirect("sent on, IPv6", udp6("2001:db8::1", "2001:db8::2", 1024, 7), "on"),
        redirect("sent on, large", udp(7).length(1500), "on"),
        redirect("sent on, marked", udp(8), "marked").arrives("dst0", marked),
        bounce("sent back", udp(9), "back"),
        bounce("sent back, large", udp(9).length(1500), "back"),
    ]));
    bench.run(&[pass("ARP", arp_request("10.0.0.1", "10.0.0.2"), "arp")]);

    // Another ruleset, and then no program: the NIC does what it did before.
    bench.attach("[policy]\ndefault = \"drop\"");
    bench.run(&[drop("nothing decides", udp(7), "default")]);
    bench.xdpctl(["detach", JUDGED]).success();
    bench.port("src0").send(&udp(7).build());
    bench.port(JUDGED).expect(&udp(7).build());
    bench.lab().assert_nothing_kept("dut");
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_in_generic_mode() {
    let mut bench = Bench::on(Topology::standard().on_nics());
    bench.attach_in_mode(RULESET, "generic");
    assert_eq!(bench.sample().mode, "generic");
    let udp = |port| udp4("10.0.0.1", "192.0.2.1", 1024, port);
    bench.run(&[
        pass("nothing decides", udp(1), "default"),
        drop("blocked", udp4("10.1.0.1", "192.0.2.1", 1, 1), "blocklist").by("bad"),
        drop("malformed", udp(1).ihl(4), "malformed"),
        redirect("sent on", udp(7), "on"),
        bounce("sent back", udp(9), "back"),
    ]);
}
