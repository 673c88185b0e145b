//! Frames that take several buffers.

use crate::kernel::is_at_least;
use crate::lab::Topology;
use crate::lab::bench::*;
use crate::lab::frame::*;

const MTU: u16 = 9000;
const RULESET: &str = r#"
[[rule]]
name = "refused"
destination_port = 1
action = "drop"
[[rule]]
name = "on"
destination_port = 7
action = "redirect"
to = "out0"
[[rule]]
name = "back"
destination_port = 9
action = "bounce"
"#;

/// virtio-net takes them since Linux 6.3; before, native mode is refused with the MTU that it is
/// refused for.
#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_jumbo_frames() {
    let mut bench = Bench::on(Topology::standard().mtu(MTU).on_nics());
    let path = bench.write("jumbo.toml", RULESET);
    let path = path.to_str().expect("UTF-8").to_owned();
    let mode = if is_at_least(6, 3) {
        "native"
    } else {
        let native = bench.xdpctl(["attach", JUDGED, "-c", &path, "--mode", "native"]);
        let stderr = &native.expect_status(1).stderr;
        assert!(
            stderr.contains("error: cannot attach to in0 in native mode: ")
                && stderr.contains(&MTU.to_string()),
            "{stderr}"
        );
        assert_eq!(bench.lab().programs("dut", JUDGED), []);
        "generic"
    };
    let auto = bench.xdpctl(["attach", JUDGED, "-c", &path]);
    assert!(auto.success().stdout.contains(&format!("in {mode} mode")), "{}", auto.stdout);
    let said = auto.stderr.contains("note: not in native mode: ");
    assert_eq!(said, mode == "generic", "{}", auto.stderr);
    bench.xdpctl(["detach", JUDGED]).success();

    bench.attach_in_mode(RULESET, mode);
    let udp = |port| udp4("10.0.0.1", "192.0.2.1", 1024, port);
    bench.run(&[
        pass("small", udp(2), "default"),
        pass("large", udp(2).length(9014), "default"),
        drop("dropped", udp(1).length(9014), "rule").by("refused"),
        drop("dropped, IPv6", udp6("::1", "::2", 1, 1).length(5000), "rule").by("refused"),
        redirect("sent on, small", udp(7), "on"),
        redirect("sent on", udp(7).length(9014), "on"),
        bounce("sent back, small", udp(9), "back"),
        bounce("sent back", udp(9).length(9014), "back"),
    ]);
}
