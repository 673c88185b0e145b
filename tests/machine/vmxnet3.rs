//! A NIC whose driver learned native XDP between two supported kernels, in 6.6.

use crate::kernel::is_at_least;
use crate::lab::bench::*;
use crate::lab::frame::*;
use crate::lab::{IN0, SRC0, Topology, end};

const RULESET: &str = r#"
[[blocklist]]
name = "bad"
prefixes = ["10.1.0.0/16"]
[[rule]]
name = "back"
destination_port = 9
action = "bounce"
"#;

fn cable() -> Bench {
    let link = Topology::empty().link(end("src", "src0", SRC0), end("dut", "in0", IN0));
    Bench::on(link.on_nics())
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn vmxnet3_gets_the_mode_that_its_driver_has() {
    let bench = cable();
    let driver = bench.lab().interface("dut", JUDGED).driver;
    assert_eq!(driver.as_deref(), Some("vmxnet3"));
    let path = bench.write("in0.toml", RULESET);
    let path = path.to_str().expect("UTF-8");
    let native = bench.xdpctl(["attach", JUDGED, "-c", path, "--mode", "native"]);
    let reason = "its driver (vmxnet3) has no native XDP";
    if is_at_least(6, 6) {
        native.success();
        bench.xdpctl(["detach", JUDGED]).success();
        let auto = bench.xdpctl(["attach", JUDGED, "-c", path]);
        assert!(auto.success().stdout.contains("in native mode"), "{}", auto.stdout);
        assert!(!auto.stderr.contains("not in native mode"), "{}", auto.stderr);
    } else {
        let stderr = &native.expect_status(1).stderr;
        let error = format!("error: cannot attach to in0 in native mode: {reason}");
        assert!(stderr.contains(&error), "{stderr}");
        assert_eq!(bench.lab().programs("dut", JUDGED), []);
        let auto = bench.xdpctl(["attach", JUDGED, "-c", path]);
        assert!(auto.success().stdout.contains("in generic mode"), "{}", auto.stdout);
        let note = format!("note: not in native mode: {reason}");
        assert!(auto.stderr.contains(&note), "{}", auto.stderr);
    }
    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn vmxnet3_frames_are_dropped_passed_and_sent_back() {
    let mut bench = cable();
    bench.attach_in_mode(RULESET, "auto");
    let mode = if is_at_least(6, 6) { "native" } else { "generic" };
    assert_eq!(bench.sample().mode, mode);
    // Not under 60 bytes: the emulated NIC pads what is shorter.
    let udp = |port| udp4("10.0.0.1", "192.0.2.1", 1024, port).length(60);
    bench.run(&[
        pass("nothing decides", udp(1), "default"),
        pass("the largest", udp(1).length(1514), "default"),
        drop("blocked", udp4("10.1.0.1", "192.0.2.1", 1, 1).length(60), "blocklist").by("bad"),
        // Of another lie, a header length of 4, the emulated NIC would not send it.
        drop("malformed", udp(1).version(5), "malformed"),
        bounce("sent back", udp(9), "back"),
        bounce("sent back, the largest", udp(9).length(1514), "back"),
    ]);
}
