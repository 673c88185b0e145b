//! Unexpected mounts: something is mounted over a file of the kernel, or a directory of xdpctl is a
//! mount point.

use std::time::Duration;

use serde_json::json;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::{Frame, udp4};
use crate::lab::{Background, Output, Sample};

const TIMEOUT: Duration = Duration::from_secs(60);

/// xdpctl in a mount namespace of its own, after a line of shell that changes its mounts.
fn behind<S: AsRef<str>>(bench: &Bench, line: &str, args: &[S]) -> Output {
    let mut command = bench.lab().command("dut", "unshare");
    let script = format!("{line}; exec \"$0\" \"$@\"");
    command.args(["--mount", "sh", "-ec", &script, env!("CARGO_BIN_EXE_xdpctl")]);
    command.args(args.iter().map(AsRef::as_ref));
    Background::start(command).wait(TIMEOUT).expect("it ends")
}

fn list(names: &[(&str, &str)]) -> String {
    let list = |(name, prefix): &(&str, &str)| {
        format!("[[blocklist]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n")
    };
    names.iter().map(list).collect()
}

fn from(source: &str) -> Frame {
    udp4(source, "192.0.2.1", 1024, 9)
}

/// Once buffers for counters were made by /sys/devices/system/cpu/possible. With fewer CPUs in it
/// than there are, the kernel wrote beyond a buffer; with more, lists showed the counters of
/// others.
#[test]
fn a_wrong_file_of_possible_cpus() {
    let bench = Bench::new();
    let path = |name: &str, text: &str| bench.write(name, text).to_str().expect("UTF-8").to_owned();
    let first = path("first.toml", &list(&[("one", "10.1.0.0/16"), ("two", "10.2.0.0/16")]));
    let three = [("one", "10.1.0.0/16"), ("two", "10.2.0.0/16"), ("three", "10.3.0.0/16")];
    let second = path("second.toml", &list(&three));
    for possible in ["0", "0-4095"] {
        let file = path("possible", &format!("{possible}\n"));
        let line = format!("mount --bind {file} /sys/devices/system/cpu/possible");
        let run = |args: &[&str]| behind(&bench, &line, args);
        let sample =
            || Sample::parse(&run(&["stats", JUDGED, "--once", "--json"]).success().stdout);
        let count = |sample: &Sample, name: &str| sample.rule(name).count.packets;

        run(&["attach", JUDGED, "-c", &first]).success();
        for source in ["10.1.0.1", "10.2.0.1", "10.2.0.2", "10.9.0.1"] {
            bench.port("src0").send(&from(source).build());
        }
        bench.await_count(4);
        let before = sample();
        assert_eq!((count(&before, "one"), count(&before, "two")), (1, 2), "{possible}");
        assert_eq!(before.verdicts["drop"].packets, 3, "{possible}");
        assert_eq!(before.total(), bench.sample().total(), "{possible}");

        let asked = ["explain", JUDGED, "--source", "10.2.0.3", "--destination", "10.0.0.2"];
        let answer = run(&[&asked[..], &["--json"]].concat()).success().json();
        assert_eq!(answer["rule"], json!("two"), "{possible}: {answer}");

        // The third list gets a counter that lies in the page of the others.
        run(&["reload", JUDGED, "-c", &second]).success();
        let after = sample();
        let counts = ["one", "two", "three"].map(|name| count(&after, name));
        assert_eq!((after.generation, counts), (2, [1, 2, 0]), "{possible}");
        bench.port("src0").send(&from("10.3.0.1").build());
        bench.await_count(5);
        assert_eq!(count(&sample(), "three"), 1, "{possible}");
        run(&["attach", "--replace", JUDGED]).success();
        assert_eq!(count(&sample(), "two"), 2, "{possible}");
        run(&["detach", JUDGED]).success();
        bench.lab().assert_nothing_kept("dut");
    }
}

/// Even empty it cannot be removed. That is up to whoever mounted it, so it is no failure.
#[test]
fn a_run_directory_that_is_a_mount_point() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "");
    let script = "
        mount -t tmpfs tmpfs /run
        mkdir -m 700 /run/xdpctl
        mount -t tmpfs -o mode=700 tmpfs /run/xdpctl
        \"$0\" attach in0 -c \"$1\"
        \"$0\" detach in0
        ls -A /run/xdpctl";
    let mut command = bench.lab().command("dut", "unshare");
    command.args(["--mount", "sh", "-ec", script, env!("CARGO_BIN_EXE_xdpctl")]).arg(file);
    let output = Background::start(command).wait(TIMEOUT).expect("it ends");
    output.success();
    assert!(output.stdout.ends_with("detached from in0\n"), "{output:?}");
    bench.lab().assert_nothing_kept("dut");
}
