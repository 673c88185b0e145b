//! Redirect targets: the pass programs that they need, and what becomes of frames when a target
//! goes away and comes back.

use serde_json::{Value, json};

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::{Frame, udp4};
use crate::lab::{DST0, DST1, IN0, OUT0, OUT1, Output, SRC0, Sample, Topology, end};

/// Targets whose other ends are in the same namespace, where a pass program can be put.
fn pairs_inside() -> Bench {
    let topology = Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
        .link(end("dut", "far0", DST0), end("dut", "out0", OUT0))
        .link(end("dut", "far1", DST1), end("dut", "out1", OUT1));
    Bench::on(topology)
}

fn to(target: &str) -> String {
    format!(
        "[[rule]]\nname = \"on\"\ndestination_port = 7\naction = \"redirect\"\nto = \"{target}\"\n"
    )
}

fn frame() -> Frame {
    udp4("10.0.0.1", "192.0.2.1", 1024, 7)
}

#[track_caller]
fn status(bench: &Bench) -> Value {
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    status[0].clone()
}

/// How many programs there are on `far0` and `far1`.
fn passes(bench: &Bench) -> [usize; 2] {
    ["far0", "far1"].map(|name| bench.lab().programs("dut", name).len())
}

#[track_caller]
fn reload(bench: &Bench, configuration: &str) -> Output {
    let path = bench.write("again.toml", configuration);
    let output = bench.xdpctl(["reload", JUDGED, "-c", path.to_str().expect("UTF-8")]);
    output.success();
    output
}

/// Sends the frame and returns the counters with it.
#[track_caller]
fn send(bench: &Bench) -> Sample {
    let before = bench.sample();
    bench.port("src0").send(&frame().build());
    bench.await_count(before.total().packets + 1)
}

#[test]
fn pass_programs_are_there_as_long_as_they_are_needed() {
    let mut bench = pairs_inside();
    bench.attach(&to("out0"));
    assert_eq!(passes(&bench), [1, 0]);
    let said = status(&bench);
    assert_eq!(said["redirects"][0]["to"], "out0", "{said}");
    assert_eq!(said["redirects"][0]["pass_program"], true, "{said}");
    assert_eq!(said["problems"], json!([]));
    let text = bench.xdpctl(["status"]).success().stdout.clone();
    assert!(text.contains("out0 (ifindex") && text.contains("with a pass program: on"), "{text}");
    // With it, redirected frames arrive.
    send(&bench);
    bench.port("far0").expect(&frame().build());

    // The same target again, another, both, none.
    let program = bench.lab().programs("dut", "far0");
    reload(&bench, &to("out0"));
    assert_eq!(bench.lab().programs("dut", "far0"), program);
    let output = reload(&bench, &to("out1"));
    assert!(
        output.stderr.contains("note: far1 carries a pass program, so that out1"),
        "{}",
        output.stderr
    );
    assert_eq!(passes(&bench), [0, 1]);
    send(&bench);
    bench.port("far1").expect(&frame().build());
    reload(&bench, &format!("{}{}", to("out0"), to("out1").replace("\"on\"", "\"other\"")));
    assert_eq!(passes(&bench), [1, 1]);
    reload(&bench, "");
    assert_eq!(passes(&bench), [0, 0]);
    assert_eq!(status(&bench)["redirects"], json!([]));

    reload(&bench, &to("out1"));
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(passes(&bench), [0, 0]);
    bench.lab().assert_nothing_kept("dut");
}

/// Each command reports only the targets of its own interface.
#[test]
fn targets_of_other_interfaces_are_not_its_business() {
    let mut bench = pairs_inside();
    bench.attach(&to("out0"));
    let path = bench.write("out1.toml", &to("far1"));
    let attach = bench.xdpctl(["attach", "out1", "-c", path.to_str().expect("UTF-8")]);
    assert!(!attach.success().stderr.contains("out0"), "{}", attach.stderr);
    let reload = bench.xdpctl(["reload", "out1"]);
    assert!(!reload.success().stderr.contains("out0"), "{}", reload.stderr);
    let reload = bench.xdpctl(["reload", JUDGED]);
    let note = "note: far0 carries a pass program, so that out0 takes redirected frames";
    assert!(reload.success().stderr.contains(note), "{}", reload.stderr);
}

#[test]
fn a_pass_program_makes_room_for_the_filter() {
    let mut bench = pairs_inside();
    bench.attach(&to("out0"));
    let empty = bench.write("empty.toml", "");
    let empty = empty.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "far0", "-c", empty, "--mode", "native"]).success();
    send(&bench);
    bench.port("far0").expect(&frame().build());
    assert_eq!(status(&bench)["redirects"][0]["pass_program"], false);
    // When the filter goes, a pass program is needed again.
    bench.xdpctl(["detach", "far0"]).success();
    assert_eq!(status(&bench)["problems"], json!([]));
    assert_eq!(passes(&bench), [1, 0]);
    send(&bench);
    bench.port("far0").expect(&frame().build());
}

#[test]
fn one_that_somebody_took_away_is_told_and_put_back() {
    let mut bench = pairs_inside();
    bench.attach(&to("out0"));
    let pin = bench.lab().namespace("dut").xdpctl_directories()[0]
        .join("pass")
        .join(bench.lab().ifindex("dut", "far0").to_string());
    std::fs::remove_file(&pin).expect("the pass program's pin");
    bench.lab().await_no_program("dut", "far0");
    assert_eq!(passes(&bench), [0, 0]);
    let problem = status(&bench)["problems"][0].to_string();
    assert!(problem.contains("redirected to out0 may be lost"), "{problem}");
    bench.xdpctl(["reload"]).success();
    assert_eq!(passes(&bench), [1, 0]);
    assert_eq!(status(&bench)["problems"], json!([]));
}

#[test]
fn a_peer_in_another_namespace_is_warned_of() {
    let bench = Bench::new();
    let path = bench.write("in0.toml", &to("out0"));
    let output = bench.xdpctl(["attach", JUDGED, "-c", path.to_str().expect("UTF-8")]);
    let warning = "warning: what is redirected to out0 is lost unless its peer";
    assert!(output.success().stderr.contains(warning), "{}", output.stderr);
    let problem = status(&bench)["problems"][0].to_string();
    assert!(problem.contains("redirected to out0 is lost"), "{problem}");
    assert_eq!(status(&bench)["redirects"][0]["pass_program"], false);

    // As soon as the peer can take them there is nothing to say.
    bench.open_gates();
    bench.xdpctl(["reload"]).success();
    assert_eq!(status(&bench)["problems"], json!([]), "{}", status(&bench));
    send(&bench);
    bench.port("dst0").expect(&frame().build());
}

/// `status` said that a reload puts a program there, which the driver refuses each time.
#[test]
fn a_target_that_can_carry_no_program_is_told_as_such() {
    let mut bench = Bench::new();
    bench.attach(&to("lo"));
    let problems = status(&bench)["problems"].clone();
    let texts = problems.as_array().expect("an array").iter().filter_map(Value::as_str);
    let problem = texts.into_iter().find(|it| it.starts_with("what is redirected to lo may be"));
    let problem = problem.unwrap_or_else(|| panic!("{problems}"));
    // Linux 6.1 cannot be asked what a driver can do.
    let known = !std::fs::read_to_string("/proc/version").expect("a version").contains(" 6.1.");
    assert_eq!(problem.contains("it can carry no XDP program"), known, "{problem}");
    assert_eq!(problem.contains("`xdpctl reload` puts one there"), !known, "{problem}");
}

/// The index of a target may be used again by an interface that no rule names.
#[test]
fn a_target_goes_and_comes_back() {
    let mut bench = pairs_inside();
    bench.attach(&to("out0"));
    send(&bench);
    bench.lab().ip("dut", ["link", "delete", "out0"]);

    let before = bench.sample();
    let after = send(&bench);
    let rule = after.rule("on");
    assert_eq!(after.verdicts["drop"].packets, before.verdicts["drop"].packets + 1, "{after:#?}");
    assert_eq!(after.verdicts["redirect"], before.verdicts["redirect"], "{after:#?}");
    assert_eq!(after.reasons["rule"].packets, before.reasons["rule"].packets + 1, "{after:#?}");
    assert_eq!((rule.count.packets, rule.lost.packets), (2, 1), "{after:#?}");
    let said = status(&bench);
    assert_eq!(said["redirects"][0]["ifindex"], Value::Null, "{said}");
    let problem = said["problems"][0].to_string();
    assert!(problem.contains("out0 is not there: what rule"), "{problem}");
    let text = bench.xdpctl(["status"]).expect_status(1).stdout.clone();
    assert!(text.contains("out0 (missing): on"), "{text}");
    let text = bench.xdpctl(["stats", "--once"]).success().stdout.clone();
    assert!(text.contains("lost"), "{text}");

    // A reload while it is away succeeds, and says so, every time.
    for _ in 0..2 {
        let output = bench.xdpctl(["reload"]);
        let warning = "warning: in0: out0 is not there any more";
        assert!(output.success().stderr.contains(warning), "{}", output.stderr);
        assert_eq!(send(&bench).verdicts["redirect"], before.verdicts["redirect"]);
    }
    assert_eq!(bench.sample().rule("on").lost.packets, 3, "they go on");

    // Back, with another index or the same; nothing happens by itself.
    bench.lab().ip("dut", "link add out0 type veth peer name far0".split(' '));
    for name in ["out0", "far0"] {
        bench.lab().ip("dut", ["link", "set", name, "arp", "off", "up"]);
    }
    assert_eq!(send(&bench).rule("on").lost.packets, 4);
    let output = bench.xdpctl(["reload"]);
    assert!(!output.success().stderr.contains("not there"), "{}", output.stderr);
    assert_eq!(status(&bench)["problems"], json!([]), "{}", status(&bench));
    let arrival = bench.lab().port("dut", "far0");
    let after = send(&bench);
    arrival.expect(&frame().build());
    assert_eq!(after.rule("on").lost.packets, 4);
    assert_eq!(after.verdicts["redirect"].packets, before.verdicts["redirect"].packets + 1);

    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");
}

/// Where attach falls back to generic mode after pass programs were put, it removes them again.
#[test]
fn no_pass_program_stays_for_generic_mode() {
    let bench = pairs_inside();
    bench.lab().ip("dut", ["link", "add", "bridge0", "type", "bridge"]);
    let path = bench.write("bridge0.toml", &to("out0"));
    let output = bench.xdpctl(["attach", "bridge0", "-c", path.to_str().expect("UTF-8")]);
    assert!(output.success().stdout.contains("in generic mode"), "{}", output.stdout);
    assert!(!output.stderr.contains("pass program"), "{}", output.stderr);
    assert_eq!(passes(&bench), [0, 0]);
    bench.xdpctl(["reload"]).success();
    assert_eq!(passes(&bench), [0, 0]);
}

/// On a veth, frames that are sent back arrive only where the peer carries a program, too.
#[test]
fn a_veth_that_loses_what_is_sent_back_is_warned_of() {
    let answering = "[[domains]]\nname = \"a\"\nnames = [\"a.example\"]\naction = \"nxdomain\"\n";
    let bouncing = "[[rule]]\nname = \"b\"\ndestination_port = 7\naction = \"bounce\"\n";
    let dropping = answering.replace("nxdomain", "drop");
    let bench = pairs_inside();
    let run = |command: &str, interface: &str, configuration: &str| {
        let path = bench.write("any.toml", configuration);
        let path = path.to_str().expect("UTF-8");
        let output = bench.xdpctl([command, interface, "-c", path]);
        output.success();
        output.stderr.clone()
    };
    let told = |name: &str| {
        format!(
            "warning: what is sent back out of {name} (bounced frames, answers, packets of services) is \
             lost"
        )
    };
    let said = run("attach", JUDGED, answering);
    assert!(said.contains(&told(JUDGED)), "{said}");
    assert!(said.contains("in the peer's network namespace, attach to it"), "{said}");
    let said = run("reload", JUDGED, bouncing);
    assert!(said.contains(&told(JUDGED)), "{said}");
    let said = run("reload", JUDGED, &dropping);
    assert!(!said.contains("sent back"), "{said}");
    let serving = |more: &str| {
        format!(
            "[[service]]\nname = \"s\"\naddress = \"192.0.2.10\"\nprotocol = \"udp\"\nport = 53\n\
             mode = \"nat\"\n{more}[[service.backend]]\nname = \"b\"\naddress = \"10.9.0.1\"\n"
        )
    };
    let said = run("reload", JUDGED, &serving("echo = \"reply\"\n"));
    assert!(said.contains(&told(JUDGED)), "{said}");
    let said = run("reload", JUDGED, &serving(""));
    assert!(!said.contains("sent back"), "{said}");
    let said = run("attach", "out0", answering);
    assert!(said.contains(&told("out0")) && said.contains("`xdpctl attach far0`"), "{said}");

    bench.open_gates();
    for interface in [JUDGED, "out0"] {
        let said = run("reload", interface, answering);
        assert!(!said.contains("sent back"), "{said}");
    }
    bench.xdpctl(["detach", "out0"]).success();
    let path = bench.write("any.toml", bouncing);
    let path = path.to_str().expect("UTF-8");
    let generic = bench.xdpctl(["attach", "out0", "-c", path, "--mode", "generic"]);
    assert!(!generic.success().stderr.contains("sent back"), "{}", generic.stderr);
}
