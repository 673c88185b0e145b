//! Network namespaces with interfaces of one name, `ip netns exec` with its fresh /sys, and
//! interfaces that are renamed, go away, or are down.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::facts::pinned;
use crate::lab::frame::udp4;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, IN0, Lab, MacAddr, Output, SRC0, Sample, Topology, end};

const TIMEOUT: Duration = Duration::from_secs(60);
const XDPCTL: &str = env!("CARGO_BIN_EXE_xdpctl");

fn run(mut command: Command, args: &[&str]) -> Output {
    command.args(args).env("NO_COLOR", "1").env("LC_ALL", "C");
    Background::start(command).wait(TIMEOUT).expect("it ends")
}

/// Under `ip netns exec`, which mounts a /sys of its own.
fn netns_exec(lab: &Lab, role: &str, args: &[&str]) -> Output {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.namespace(role).name, XDPCTL]);
    run(command, args)
}

/// Under `nsenter`, which keeps the mounts.
fn nsenter(lab: &Lab, role: &str, args: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command.args([&format!("--net=/run/netns/{}", lab.namespace(role).name), XDPCTL]);
    run(command, args)
}

#[track_caller]
fn status(bench: &Bench) -> Value {
    bench.xdpctl(["status", "--json"]).statuses()
}

#[test]
fn one_name_in_two_namespaces() {
    let other = |last| MacAddr(0x02, 0, 0, 0, 9, last);
    let lab = Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", JUDGED, IN0))
        .link(end("src", "src1", other(1)), end("dst", JUDGED, other(2)))
        .build();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let drop = write("drop.toml", "[policy]\ndefault = \"drop\"");
    let pass = write("pass.toml", "");
    lab.xdpctl("dut", ["attach", JUDGED, "-c", &drop]).success();
    lab.xdpctl("dst", ["attach", JUDGED, "-c", &pass]).success();
    let frame = udp4("10.0.0.1", "192.0.2.1", 1, 1).build();
    lab.port("src", "src0").send(&frame);
    lab.port("src", "src1").send(&frame);
    let count = |role: &str, verdict: &str| {
        let deadline = Instant::now() + patient(EVENT);
        loop {
            let sample = Sample::read(&lab, role, JUDGED);
            if sample.total().packets > 0 {
                return sample.verdicts[verdict].packets;
            }
            assert!(Instant::now() < deadline, "nothing counted in {role}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    assert_eq!((count("dut", "drop"), count("dst", "pass")), (1, 1));

    // A reload of one does not change the other.
    lab.xdpctl("dut", ["reload"]).success();
    assert_eq!(Sample::read(&lab, "dst", JUDGED).generation, 1);
    assert_eq!(Sample::read(&lab, "dut", JUDGED).generation, 2);
    lab.xdpctl("dut", ["detach", "--all"]).success();
    lab.assert_nothing_kept("dut");
    assert_eq!(lab.programs("dst", JUDGED).len(), 1);
    assert_eq!(pinned(&lab.pins("dst", lab.ifindex("dst", JUDGED))).len(), 23);
    lab.xdpctl("dst", ["detach", "--all"]).success();
}

#[test]
fn under_ip_netns_exec() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "[policy]\ndefault = \"drop\"");
    let file = file.to_str().expect("UTF-8");
    let lab = bench.lab();
    let output = netns_exec(lab, "dut", &["attach", JUDGED, "-c", file]);
    let note = "note: pins are on the machine's own /sys/fs/bpf";
    assert!(output.success().stderr.contains(note), "{}", output.stderr);

    // The command's /sys has ended with it; the program has not.
    assert_eq!(pinned(&lab.pins("dut", lab.ifindex("dut", JUDGED))).len(), 23);
    bench.port("src0").send(&udp4("10.0.0.1", "192.0.2.1", 1, 1).build());
    assert_eq!(bench.await_count(1).verdicts["drop"].packets, 1);
    for output in [
        nsenter(lab, "dut", &["status", "--json"]),
        netns_exec(lab, "dut", &["status", "--json"]),
        lab.xdpctl("dut", ["status", "--json"]),
    ] {
        assert_eq!(output.success().json()[0]["interface"], JUDGED, "{output:?}");
        assert_eq!(output.json()[0]["problems"], json!([]), "{output:?}");
    }
    let stats = netns_exec(lab, "dut", &["stats", "--once", "--json"]);
    assert_eq!(Sample::parse(&stats.success().stdout).verdicts["drop"].packets, 1);
    netns_exec(lab, "dut", &["reload"]).success();
    assert_eq!(bench.sample().generation, 2);
    netns_exec(lab, "dut", &["attach", "--replace", JUDGED]).success();
    nsenter(lab, "dut", &["reload"]).success();
    assert_eq!(bench.sample().generation, 4);
    netns_exec(lab, "dut", &["detach", JUDGED]).success();
    assert_eq!(lab.programs("dut", JUDGED), []);
    lab.assert_nothing_kept("dut");
}

/// In a mount and process namespace of its own, so that the machine's bpffs stays as it is.
#[test]
fn a_bpffs_that_is_not_mounted() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "");
    let script = r#"
        set -eu
        umount /sys/fs/bpf
        ! grep -q ' /sys/fs/bpf ' /proc/mounts
        "$0" status --json
        "$0" attach in0 -c "$1"
        grep ' /sys/fs/bpf ' /proc/mounts | cut -d ' ' -f 3
        "$0" status | head -n 1
        "$0" reload
        "$0" detach in0
        test -e /sys/fs/bpf/xdpctl || echo "nothing left"
    "#;
    let of_the_machine = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let of_bpf = mounts.lines().filter(|line| line.contains(" /sys/fs/bpf "));
        of_bpf.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = of_the_machine();
    let mut command = bench.lab().command("dut", "unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
        XDPCTL,
    ]);
    let output = run(command, &[file.to_str().expect("UTF-8")]);
    insta::assert_snapshot!(output.success().stdout, @"
        []
        attached to in0 in native mode, generation 1
        bpf
        in0
        reloaded in0, generation 2
          no change: the ruleset is the same
        detached from in0
        nothing left
    ");
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
    bench.lab().assert_nothing_kept("dut");
    assert_eq!(of_the_machine(), before);
}

/// A thread inside the machine's mount namespace mounts it and logs that, while the command waits
/// for the thread. Once they waited for each other forever, because the command held the lock of
/// standard error.
#[test]
fn a_bpffs_that_is_mounted_with_words() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "");
    let script = r#"
        set -eu
        umount /sys/fs/bpf
        ip netns exec "$1" "$0" -v attach in0 -c "$2"
        "$0" detach in0
    "#;
    let mut command = bench.lab().command("dut", "unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
        XDPCTL,
    ]);
    let name = &bench.lab().namespace("dut").name;
    let output = run(command, &[name, file.to_str().expect("UTF-8")]);
    assert!(output.success().stderr.contains("mounted a bpffs on /sys/fs/bpf"), "{output:?}");
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn a_renamed_interface() {
    let mut bench = Bench::new();
    bench.attach("[policy]\ndefault = \"drop\"");
    let rename = |from: &str, to: &str| {
        bench.lab().ip("dut", ["link", "set", from, "name", to]);
    };
    rename(JUDGED, "new0");
    let entry = status(&bench)[0].clone();
    assert_eq!(entry["interface"], "new0", "{entry}");
    assert_eq!(entry["attached_as"], JUDGED, "{entry}");
    assert_eq!((&entry["link"], &entry["problems"]), (&json!("up"), &json!([])), "{entry}");
    let text = bench.xdpctl(["status"]);
    assert!(text.success().stdout.starts_with("new0 (attached as in0)\n"), "{}", text.stdout);

    // By either name.
    for name in [JUDGED, "new0"] {
        bench.xdpctl(["status", name]).success();
        bench.xdpctl(["stats", name, "--once"]).success();
        let said = bench.xdpctl(["reload", name]);
        assert!(said.success().stdout.starts_with("reloaded new0,"), "{}", said.stdout);
    }
    let file = bench.directory().join("in0.toml");
    let file = file.to_str().expect("UTF-8");
    let again = bench.xdpctl(["attach", "new0", "-c", file]);
    assert!(again.expect_status(1).stderr.contains("attached to new0 already"), "{again:?}");
    bench.xdpctl(["detach", JUDGED]).success();
    bench.xdpctl(["detach", JUDGED]).expect_status(1);
    assert_eq!(bench.lab().programs("dut", "new0"), []);
    bench.lab().assert_nothing_kept("dut");

    bench.xdpctl(["attach", "new0", "-c", file]).success();
    rename("new0", JUDGED);
    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");

    // A name that another interface has taken means that one.
    bench.xdpctl(["attach", JUDGED, "-c", file]).success();
    rename(JUDGED, "new0");
    rename("out0", JUDGED);
    // Also where nothing is attached to it.
    for args in [&["detach", JUDGED][..], &["reload", JUDGED], &["block", JUDGED, "10.0.0.1"]] {
        let said = bench.xdpctl(args);
        let hint = "xdpctl is not attached to in0\n  hint: it is attached to: new0";
        assert!(said.expect_status(1).stderr.contains(hint), "{args:?}: {}", said.stderr);
    }
    bench.xdpctl(["attach", JUDGED, "-c", file]).success();
    let said = bench.xdpctl(["detach", JUDGED]);
    said.success();
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
    assert_eq!(bench.lab().programs("dut", "new0").len(), 1);
    bench.xdpctl(["detach", "new0"]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn a_deleted_interface() {
    let mut bench = Bench::new();
    bench.attach("[policy]\ndefault = \"drop\"");
    let file = bench.directory().join("in0.toml");
    let file = file.to_str().expect("UTF-8");
    bench.lab().ip("dut", ["link", "delete", JUDGED]);

    let entry = status(&bench)[0].clone();
    assert_eq!((&entry["interface"], &entry["link"]), (&json!(JUDGED), &json!("gone")), "{entry}");
    let problem = entry["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("the interface is gone: `xdpctl detach in0`"), "{problem}");
    bench.xdpctl(["status", JUDGED]).expect_status(1);
    // The counters are still there.
    bench.xdpctl(["stats", JUDGED, "--once"]).success();
    // There is nothing that a ruleset could be put in force on.
    let reload = bench.xdpctl(["reload", JUDGED]);
    assert!(reload.expect_status(1).stderr.contains("in0 is gone"), "{}", reload.stderr);
    assert_eq!(status(&bench)[0]["generation"], 1);

    // A new interface of that name is another one.
    let again = || {
        bench.lab().ip("dut", "link add in0 type veth peer name in0-peer".split(' '));
        for name in [JUDGED, "in0-peer"] {
            bench.lab().ip("dut", ["link", "set", name, "up"]);
        }
    };
    again();
    assert_eq!(status(&bench)[0]["link"], "gone");
    bench.xdpctl(["attach", JUDGED, "-c", file]).success();
    assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
    let both = status(&bench);
    let links: Vec<_> = both.as_array().expect("an array").iter().map(|one| &one["link"]).collect();
    assert_eq!(links, ["gone", "up"], "{both}");
    bench.xdpctl(["reload", JUDGED]).success();

    // The first detach is of the one that is there, the second of what the old one left.
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
    assert_eq!(status(&bench)[0]["link"], "gone");
    bench.xdpctl(["detach", JUDGED]).success();
    bench.xdpctl(["detach", JUDGED]).expect_status(1);
    bench.lab().assert_nothing_kept("dut");

    // The same index again: what is pinned under it is not this interface's.
    bench.xdpctl(["attach", JUDGED, "-c", file]).success();
    let index = bench.lab().ifindex("dut", JUDGED).to_string();
    bench.lab().ip("dut", ["link", "delete", JUDGED]);
    let pair = format!("link add out9 index {index} type veth peer name out9-peer");
    bench.lab().ip("dut", pair.split(' '));
    bench.lab().ip("dut", ["link", "set", "out9", "up"]);
    bench.lab().ip("dut", ["link", "set", "out9-peer", "up"]);
    assert_eq!(status(&bench)[0]["link"], "gone");
    assert_eq!(status(&bench)[0]["interface"], JUDGED);
    bench.xdpctl(["detach", "out9"]).expect_status(1);
    bench.xdpctl(["attach", "out9", "-c", file]).success();
    let all = status(&bench);
    assert_eq!((all.as_array().map(Vec::len), &all[0]["interface"]), (Some(1), &json!("out9")));
    bench.xdpctl(["detach", "--all"]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn a_program_that_somebody_took_off() {
    let mut bench = Bench::new();
    bench.attach("[policy]\ndefault = \"drop\"");
    let pin = bench.lab().pins("dut", bench.lab().ifindex("dut", JUDGED)).join("link");
    bpf::detach_link(bpf::open_pin(&pin).expect("a pin")).expect("detached");
    let entry = status(&bench)[0].clone();
    assert_eq!(entry["link"], "up", "{entry}");
    let problem = entry["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("xdpctl's program is not on the interface"), "{problem}");
    let reload = bench.xdpctl(["reload"]);
    let said = "error: xdpctl's program is not on in0 any more\n  hint: `xdpctl detach in0`";
    assert!(reload.expect_status(1).stderr.starts_with(said), "{}", reload.stderr);
    let file = bench.directory().join("in0.toml");
    bench.xdpctl(["attach", JUDGED, "-c", file.to_str().expect("UTF-8")]).success();
    assert_eq!(status(&bench)[0]["problems"], json!([]));
    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn all_others_are_reloaded_where_one_is_gone() {
    let mut bench = Bench::new();
    bench.attach("");
    let file = bench.directory().join("in0.toml");
    bench.xdpctl(["attach", "out0", "-c", file.to_str().expect("UTF-8")]).success();
    bench.lab().ip("dut", ["link", "delete", JUDGED]);
    let reload = bench.xdpctl(["reload"]);
    let said = "reloaded out0, generation 2\n  no change: the ruleset is the same\n";
    assert_eq!(reload.success().stdout, said);
    assert!(reload.stderr.contains("warning: in0 is gone"), "{}", reload.stderr);
    bench.xdpctl(["detach", "--all"]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn an_interface_that_is_down() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "[policy]\ndefault = \"drop\"");
    let file = file.to_str().expect("UTF-8");
    let set = |role: &str, name: &str, state: &str| {
        bench.lab().ip(role, ["link", "set", name, state]);
    };
    set("dut", JUDGED, "down");
    let attach = bench.xdpctl(["attach", JUDGED, "-c", file]);
    let note = "note: in0 is switched off\n  hint: `ip link set in0 up`";
    assert!(attach.success().stderr.contains(note), "{}", attach.stderr);
    let entry = status(&bench)[0].clone();
    assert_eq!(entry["link"], "down");
    assert_eq!(entry["problems"][0], "the interface is down: `ip link set in0 up`", "{entry}");
    bench.xdpctl(["reload", JUDGED]).success();

    set("dut", JUDGED, "up");
    wait_for(&bench, "up");
    bench.port("src0").send(&udp4("10.0.0.1", "192.0.2.1", 1, 1).build());
    assert_eq!(bench.await_count(1).verdicts["drop"].packets, 1);
    // The other end.
    set("src", "src0", "down");
    wait_for(&bench, "down");
    let entry = status(&bench)[0].clone();
    assert_eq!(entry["problems"][0], "the interface has no carrier", "{entry}");
    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");
}

/// The kernel takes its time to tell a carrier.
#[track_caller]
fn wait_for(bench: &Bench, link: &str) {
    let deadline = Instant::now() + patient(EVENT);
    while status(bench)[0]["link"] != link {
        assert!(Instant::now() < deadline, "not {link}: {}", status(bench));
        std::thread::sleep(Duration::from_millis(10));
    }
}
