//! An interface that was moved to another network namespace, and a new one that got its index.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use xdpctl::datapath::host::interface::Interface;
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::Bench;
use crate::lab::facts::pinned;
use crate::lab::frame::udp4;
use crate::lab::{DST0, IN0, MacAddr, OUT0, Output, SRC0, Topology, end};

/// An index that is free in both network namespaces.
const FREE: u32 = 77;

/// `n0` of `dut`, attached, and moved to `other`.
struct Moved {
    bench: Bench,
    file: String,
    pins: PathBuf,
}

impl Moved {
    fn new() -> Self {
        let topology = Topology::empty()
            .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
            .link(end("other", "far0", DST0), end("dut", "out0", OUT0));
        let bench = Bench::on(topology);
        let list = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.1.0.0/16\"]\n";
        let file = bench.write("n0.toml", list).to_str().expect("UTF-8").to_owned();
        let moved = Self { pins: bench.lab().pins("dut", FREE), bench, file };
        moved.add();
        moved.xdpctl(&["attach", "n0"]).success();
        moved
    }

    /// Makes `n0`, with its other end beside it.
    fn add(&self) {
        let peer = format!("p{}", self.bench.lab().kept("dut").len());
        let index = FREE.to_string();
        let lab = self.bench.lab();
        let add = ["link", "add", "n0", "index", &index, "type", "veth", "peer", "name", &peer];
        lab.ip("dut", add);
        for name in ["n0", &peer] {
            lab.ip("dut", ["link", "set", name, "up"]);
        }
    }

    fn go(&self) {
        let other = &self.bench.lab().namespace("other").name;
        self.bench.lab().ip("dut", ["link", "set", "n0", "netns", other]);
        self.bench.lab().ip("other", ["link", "set", "n0", "up"]);
    }

    fn xdpctl(&self, args: &[&str]) -> Output {
        self.in_namespace("dut", args)
    }

    fn in_namespace(&self, role: &str, args: &[&str]) -> Output {
        let mut all = args.to_vec();
        if args.contains(&"attach") {
            all.extend(["-c", &self.file]);
        }
        self.bench.lab().xdpctl(role, all)
    }

    /// Everything that a command could change of it.
    #[track_caller]
    fn snapshot(&self) -> Snapshot {
        let value = |name: &str| {
            let map = bpf::open_pin(&self.pins.join(name)).expect("a pin");
            let size = bpf::map_info(&map).expect("information").signature.value_size;
            let mut bytes = vec![0; size as usize];
            bpf::lookup(&map, 0, &mut bytes).expect("looked up");
            bytes
        };
        let programs = self.bench.lab().programs("other", "n0");
        Snapshot {
            programs: programs.iter().map(|attached| attached.program_id).collect(),
            pins: pinned(&self.pins),
            ruleset: value("RULESET"),
            switches: value("SWITCHES"),
        }
    }

    fn status(&self) -> Vec<Value> {
        let status = self.xdpctl(&["status", "--json"]).statuses();
        status.as_array().expect("an array").clone()
    }

    /// Commands on the name say where the interface is, and leave it alone.
    #[track_caller]
    fn is_told(&self, name: &str) {
        let before = self.snapshot();
        for args in [
            &["block", name, "10.9.0.1"][..],
            &["allow", name, "10.9.0.1"],
            &["unblock", name, "10.9.0.1"],
            &["bans", name],
            &["stats", name, "--once"],
            &["lookup", name, "10.1.0.1"],
            &["explain", name, "--packet", &hex(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build())],
            &["reload", name],
        ] {
            let output = self.xdpctl(args);
            let error = &output.expect_status(1).stderr;
            let said = format!("error: {name} is not attached here; what is pinned under index 77");
            assert!(error.starts_with(&said), "{args:?}: {error}");
            assert!(error.contains("another network namespace"), "{args:?}: {error}");
            let pin = format!("`rm {}`", self.pins.join("link").display());
            assert!(error.contains(&pin), "{args:?}: {error}");
            assert_eq!(self.snapshot(), before, "{args:?}");
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    programs: Vec<u32>,
    pins: BTreeMap<String, u64>,
    ruleset: Vec<u8>,
    switches: Vec<u8>,
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn it_is_told_and_left_alone() {
    let moved = Moved::new();
    let program = moved.bench.lab().programs("dut", "n0");
    moved.go();
    let lab = moved.bench.lab();
    assert_eq!(lab.programs("other", "n0"), program, "it is filtered still");
    assert_eq!(lab.ifindex("other", "n0"), FREE, "the case that is the hardest to tell");

    for has_successor in [false, true] {
        if has_successor {
            moved.add();
        }
        moved.is_told("n0");
        let status = moved.status();
        let [entry] = status.as_slice() else { panic!("{status:?}") };
        assert_eq!((&entry["interface"], &entry["link"]), (&json!("n0"), &json!("gone")));
        let problem = entry["problems"][0].as_str().expect("a problem");
        assert!(problem.starts_with("n0 is not attached here; "), "{problem}");
        assert!(problem.contains("moved to another network namespace"), "{problem}");
        moved.xdpctl(&["status", "n0"]).expect_status(1);
        // There is nothing else to reload or to count.
        for args in [&["reload"][..], &["stats", "--once"]] {
            moved.xdpctl(args).expect_status(1);
        }
        if !has_successor {
            moved.xdpctl(&["attach", "--replace", "n0"]).expect_status(1);
        }
        assert_eq!(lab.programs("other", "n0"), program);
    }

    // A new interface with its index and its name is not taken for it.
    let before = moved.snapshot();
    let detach = moved.xdpctl(&["detach", "n0"]);
    assert!(detach.expect_status(1).stderr.contains("n0 is not attached here"), "{detach:?}");
    assert_eq!(moved.snapshot(), before);
    // Nor is one with its index and another name.
    lab.ip("dut", ["link", "set", "n0", "name", "n1"]);
    for args in [&["detach", "n1"][..], &["block", "n1", "10.9.0.1"], &["bans", "n1"]] {
        let error = moved.xdpctl(args).expect_status(1).stderr.clone();
        assert!(error.contains("xdpctl is not attached to n1"), "{args:?}: {error}");
    }
    assert_eq!(moved.snapshot(), before);

    // Where it is now, it carries somebody else's program.
    assert_eq!(moved.in_namespace("other", &["status", "--json"]).statuses(), json!([]));
    for args in [&["detach", "n0"][..], &["block", "n0", "10.9.0.1"], &["stats", "n0", "--once"]] {
        moved.in_namespace("other", args).expect_status(1);
    }
    let attach = moved.in_namespace("other", &["attach", "n0"]);
    assert!(attach.expect_status(1).stderr.contains("another XDP program"), "{attach:?}");
    assert_eq!(moved.snapshot(), before);

    // With no interface of that name here, only the moved one can be meant. The message says so.
    let detach = moved.xdpctl(&["detach", "n0"]);
    let said = "detached from n0, which is in another network namespace\n";
    assert_eq!(detach.success().stdout, said);
    assert_eq!(lab.programs("other", "n0"), []);
    lab.assert_nothing_kept("dut");
    moved.in_namespace("other", &["attach", "n0"]).success();
    moved.in_namespace("other", &["detach", "n0"]).success();
}

/// The new interface with the index has pins of its own, beside those of the moved one.
#[test]
fn its_successor_is_attached_beside_it() {
    let moved = Moved::new();
    moved.xdpctl(&["block", "n0", "10.9.0.1"]).success();
    moved.go();
    moved.add();
    let lab = moved.bench.lab();
    let before = moved.snapshot();
    moved.xdpctl(&["attach", "n0"]).success();
    let again = moved.xdpctl(&["attach", "n0"]);
    assert!(again.expect_status(1).stderr.contains("attached to n0 already"), "{again:?}");
    let program = lab.programs("dut", "n0");
    assert_ne!(before.programs, [program[0].program_id]);
    let own = moved.pins.with_file_name("77-2");
    assert_eq!(pinned(&own)["program"], u64::from(program[0].program_id));

    assert_eq!(moved.xdpctl(&["bans", "n0", "--json"]).success().json(), json!([]));
    moved.xdpctl(&["block", "n0", "10.9.0.2", "--note", "new"]).success();
    let bans = moved.xdpctl(&["bans", "n0", "--json"]).success().json();
    assert_eq!((&bans[0]["prefix"], &bans[0]["note"]), (&json!("10.9.0.2/32"), &json!("new")));
    moved.xdpctl(&["unblock", "n0", "10.9.0.1"]).expect_status(1);
    moved.xdpctl(&["stats", "n0", "--once"]).success();
    let frame = hex(&udp4("10.9.0.2", "192.0.2.1", 1, 1).build());
    let explained = moved.xdpctl(&["explain", "n0", "--packet", &frame, "--json"]);
    assert_eq!(explained.success().json()["reason"], "banned");
    moved.xdpctl(&["lookup", "n0", "10.1.0.1"]).success();
    assert!(moved.xdpctl(&["reload", "n0"]).success().stdout.contains("generation 2"));
    let all = moved.xdpctl(&["reload"]);
    assert_eq!(
        all.success().stdout,
        "reloaded n0, generation 3\n  no change: the ruleset is the same\n"
    );
    assert!(all.stderr.contains("warning: n0 is not attached here"), "{}", all.stderr);
    moved.xdpctl(&["attach", "--replace", "n0"]).success();
    let status = moved.status();
    let links: Vec<_> =
        status.iter().map(|one| (&one["link"], one["problems"] == json!([]))).collect();
    assert_eq!(links, [(&json!("gone"), false), (&json!("up"), true)], "{status:?}");
    assert_eq!(moved.snapshot(), before);

    moved.xdpctl(&["detach", "n0"]).success();
    assert_eq!(lab.programs("dut", "n0"), []);
    assert!(!own.exists());
    moved.xdpctl(&["detach", "n0"]).expect_status(1);
    assert_eq!(moved.snapshot(), before);

    // Back under another index and another name, it is what it was.
    let namespace = &lab.namespace("dut").name;
    lab.ip("other", ["link", "set", "n0", "name", "n9"]);
    lab.ip("other", ["link", "set", "n9", "netns", namespace]);
    lab.ip("dut", ["link", "set", "n9", "up"]);
    assert_ne!(lab.ifindex("dut", "n9"), FREE);
    let status = moved.status();
    assert_eq!(status[0]["interface"], "n9", "{status:?}");
    assert_eq!(status[0]["problems"], json!([]), "{status:?}");
    moved.xdpctl(&["unblock", "n9", "10.9.0.1"]).success();
    moved.xdpctl(&["reload", "n9"]).success();
    // Its key is still taken.
    moved.xdpctl(&["attach", "n0"]).success();
    assert!(own.exists());
    moved.xdpctl(&["detach", "--all"]).success();
    lab.assert_nothing_kept("dut");
}

/// Where its index is taken in the other network namespace, the kernel gives it another one, which may
/// be that of a third interface here.
#[test]
fn its_index_there_is_an_index_here() {
    let moved = Moved::new();
    let lab = moved.bench.lab();
    let taken = "link add d0 index 77 type veth peer name d1";
    lab.ip("other", taken.split(' '));
    moved.go();
    let there = moved.bench.lab().ifindex("other", "n0");
    assert_ne!(there, FREE);
    // Whatever has that index here: made if there is none.
    let lab = moved.bench.lab();
    let here = lab.namespace("dut").enter(|| Interface::by_index(there).ok());
    let stranger = match here {
        Some(interface) => interface.name,
        None => {
            let index = there.to_string();
            let add = format!("link add s0 index {index} type veth peer name s1");
            lab.ip("dut", add.split(' '));
            "s0".to_owned()
        }
    };
    let before = moved.snapshot();
    for command in ["block", "unblock"] {
        let error = moved.xdpctl(&[command, &stranger, "10.9.0.1"]).expect_status(1).stderr.clone();
        assert!(error.contains(&format!("not attached to {stranger}")), "{error}");
    }
    moved.xdpctl(&["detach", &stranger]).expect_status(1);
    moved.is_told("n0");
    assert_eq!(moved.snapshot(), before);
    moved.xdpctl(&["attach", &stranger]).success();
    moved.xdpctl(&["detach", &stranger]).success();
    assert_eq!(moved.snapshot(), before);

    let detach = moved.xdpctl(&["detach", "--all"]);
    let said = "detached from n0, which is in another network namespace\n";
    assert_eq!(detach.success().stdout, said);
    assert_eq!(moved.bench.lab().programs("other", "n0"), []);
    moved.bench.lab().assert_nothing_kept("dut");
}

/// The message says to remove the pin by hand.
#[test]
fn without_its_pin_it_is_cleaned_up() {
    let moved = Moved::new();
    moved.go();
    fs::remove_file(moved.pins.join("link")).expect("a pin");
    moved.bench.lab().await_no_program("other", "n0");
    moved.xdpctl(&["detach", "--all"]).expect_status(1);
    moved.bench.lab().assert_nothing_kept("dut");
}

/// A pass program moves with its interface, and a new interface with its index gets another one.
#[test]
fn a_pass_program_that_was_moved() {
    let mac = |number: u8| MacAddr(0x02, 0, 0, 0, 7, number);
    let topology = Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
        .link(end("other", "x0", mac(1)), end("dut", "x1", mac(2)));
    let bench = Bench::on(topology);
    let lab = bench.lab();
    let pair = "link add far0 index 77 type veth peer name out0 index 78";
    let add = || {
        lab.ip("dut", pair.split(' '));
        for name in ["far0", "out0"] {
            lab.ip("dut", ["link", "set", name, "up"]);
        }
    };
    add();
    let text = "[[rule]]\nname = \"on\"\naction = \"redirect\"\nto = \"out0\"\n";
    let file = bench.write("in0.toml", text);
    let file = file.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "in0", "--mode", "native", "-c", file]).success();
    assert_eq!(lab.programs("dut", "far0").len(), 1);

    // Both ends go, and two others come with their indexes.
    let other = &lab.namespace("other").name;
    for name in ["far0", "out0"] {
        lab.ip("dut", ["link", "set", name, "netns", other]);
    }
    add();
    bench.xdpctl(["reload", "in0"]).success();
    assert_eq!(lab.programs("dut", "far0").len(), 1);
    let status = bench.xdpctl(["status", "--json"]).statuses();
    assert_eq!(status[0]["redirects"][0]["pass_program"], true, "{status}");
    assert_eq!(status[0]["problems"], json!([]), "{status}");
    // Nobody redirects to that one any more.
    lab.await_no_program("other", "far0");
    bench.xdpctl(["detach", "in0"]).success();
    assert_eq!(lab.programs("dut", "far0"), []);
    lab.assert_nothing_kept("dut");
}
