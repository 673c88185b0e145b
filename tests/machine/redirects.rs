//! What a NIC needs to take frames that are redirected to it.

use serde_json::{Value, json};

use crate::kernel::is_at_least;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::udp4;
use crate::lab::{Sample, Topology};

fn to(target: &str) -> String {
    format!("[[rule]]\nname = \"on\"\naction = \"redirect\"\nto = \"{target}\"\n")
}

fn frame() -> Vec<u8> {
    udp4("10.0.0.1", "192.0.2.1", 1024, 7).build()
}

/// Sends the frame and returns the counters with it.
#[track_caller]
fn send(bench: &Bench) -> Sample {
    let before = bench.sample();
    bench.port("src0").send(&frame());
    bench.await_count(before.total().packets + 1)
}

#[track_caller]
fn status(bench: &Bench) -> Value {
    bench.xdpctl(["status", JUDGED, "--json"]).statuses()[0].clone()
}

/// All that the kernel says was dropped or went wrong on an interface, in the driver's own numbers
/// too.
#[track_caller]
fn losses(bench: &Bench, interface: &str) -> u64 {
    let mut statistics = bench.lab().command("dut", "ethtool");
    let output = statistics.args(["-S", interface]).output().expect("ethtool");
    let of_driver = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.contains("drop") || name.contains("err"))
        .map(|(name, value)| value.trim().parse::<u64>().unwrap_or_else(|_| panic!("{name}")))
        .sum::<u64>();
    let output = bench.lab().ip("dut", ["-json", "-statistics", "link", "show", "dev", interface]);
    let statistics = output.json()[0]["stats64"].clone();
    let of_stack: u64 = ["rx", "tx"]
        .iter()
        .flat_map(|way| ["dropped", "errors"].map(|what| statistics[way][what].as_u64()))
        .map(|number| number.expect("a number"))
        .sum();
    of_driver + of_stack
}

/// A virtio-net NIC takes redirected frames only while it carries a program, so xdpctl puts one
/// there. Without it they are lost, and before Linux 6.3 no counter shows it.
#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_targets_need_a_program_and_get_it() {
    let mut bench = Bench::on(Topology::standard().on_nics());
    bench.attach(&to("out0"));
    let programs = bench.lab().programs("dut", "out0");
    assert_eq!(programs.len(), 1, "{programs:?}");
    let said = status(&bench);
    assert_eq!(said["redirects"][0]["to"], "out0", "{said}");
    assert_eq!(said["redirects"][0]["pass_program"], true, "{said}");
    assert_eq!(said["problems"], json!([]), "{said}");
    send(&bench);
    bench.port("dst0").expect(&frame());

    // Somebody takes it away.
    let pin = bench.lab().namespace("dut").xdpctl_directories()[0]
        .join("pass")
        .join(bench.lab().ifindex("dut", "out0").to_string());
    std::fs::remove_file(&pin).expect("the pass program's pin");
    bench.lab().await_no_program("dut", "out0");
    let problem = status(&bench)["problems"][0].to_string();
    assert!(problem.contains("redirected to out0 may be lost"), "{problem}");
    let before = losses(&bench, JUDGED) + losses(&bench, "out0");
    let sample = send(&bench);
    bench.port("dst0").expect_silence();
    assert_eq!(sample.rule("on").count.packets, 2, "{sample:#?}");
    let lost = losses(&bench, JUDGED) + losses(&bench, "out0") - before;
    println!("lost, by the kernel's own account: {lost}");
    assert_eq!(lost > 0, is_at_least(6, 3));

    // The next command puts it back.
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(status(&bench)["problems"], json!([]));
    send(&bench);
    bench.port("dst0").expect(&frame());
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(bench.lab().programs("dut", "out0"), []);
    bench.lab().assert_nothing_kept("dut");
}

/// From a NIC into a veth: it is the veth's far end that needs the program.
#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_to_veth_whose_far_end_needs_a_program_and_gets_it() {
    let mut bench = Bench::on(Topology::standard().on_nics());
    let lab = bench.lab();
    lab.ip("dut", ["link", "add", "near0", "type", "veth", "peer", "name", "far0"]);
    lab.ip("dut", ["link", "set", "near0", "arp", "off", "up"]);
    lab.ip("dut", ["link", "set", "far0", "arp", "off", "up"]);
    let far = lab.port("dut", "far0");
    bench.attach(&to("near0"));
    assert_eq!(bench.lab().programs("dut", "far0").len(), 1);
    assert_eq!(bench.lab().programs("dut", "near0"), []);
    let said = status(&bench);
    assert_eq!(said["redirects"][0]["pass_program"], true, "{said}");
    assert_eq!(said["problems"], json!([]), "{said}");
    send(&bench);
    far.expect(&frame());
}
