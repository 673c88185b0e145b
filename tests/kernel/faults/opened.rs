//! How many calls a command makes: they grow in proportion to what is attached, and no faster.

use super::shim::{self, Kind};
use crate::lab::bench::Bench;
use crate::lab::{IN0, SRC0, Topology, end};

/// How often a command makes some calls.
struct Counts {
    links: usize,
    passes: usize,
    dumps: usize,
}

fn name(nth: usize, what: &str) -> String {
    format!("{what}{nth}")
}

/// Attaches one more interface, which redirects to another one that needs a pass program.
fn add(bench: &Bench, nth: usize) {
    let lab = bench.lab();
    for (one, other) in [("n", "p"), ("out", "far")] {
        let (one, other) = (name(nth, one), name(nth, other));
        lab.ip("dut", ["link", "add", &one, "type", "veth", "peer", "name", &other]);
        for end in [one, other] {
            lab.ip("dut", ["link", "set", &end, "up"]);
        }
    }
    let rule = format!("[[rule]]\nname = \"on\"\naction = \"redirect\"\nto = \"out{nth}\"\n");
    let file = bench.write(&format!("n{nth}.toml"), &rule);
    let file = file.to_str().expect("UTF-8");
    bench.xdpctl(["attach", &name(nth, "n"), "--mode", "native", "-c", file]).success();
}

#[track_caller]
fn counts(bench: &Bench, args: &[&str]) -> Counts {
    let ran = shim::run(bench.lab().xdpctl_command("dut", args), None);
    ran.output.success();
    let count = |is: &dyn Fn(&shim::Call) -> bool| ran.calls.iter().filter(|call| is(call)).count();
    let pins = "OBJ_GET /sys/fs/bpf/xdpctl/v1/N";
    Counts {
        links: count(&|call| call.name == format!("{pins}/N/link")),
        passes: count(&|call| call.name == format!("{pins}/pass/N")),
        dumps: count(&|call| call.kind == Kind::Network && call.name == "sendto"),
    }
}

/// Once these commands opened all pins again for each attached interface: ten thousand with a
/// hundred interfaces.
#[test]
fn pins_are_opened_once_and_not_once_for_each() {
    let bench = Bench::on(Topology::empty().link(end("src", "src0", SRC0), end("dut", "in0", IN0)));
    // (arguments, how often each link's pin and each pass program's is opened, at most)
    let commands: [(&[&str], usize, usize); 5] = [
        (&["status"], 1, 1),
        (&["stats", "--once"], 1, 0),
        (&["bans", "n1"], 1, 0),
        (&["block", "n1", "10.9.0.1"], 1, 1),
        // Links: once to compile without the lock, once under it. Pass programs: before, once they
        // are put, and at the end.
        (&["reload"], 2, 3),
    ];
    let mut before: Vec<Counts> = Vec::new();
    for attached in 1..=4 {
        add(&bench, attached);
        for (nth, (args, links, passes)) in commands.iter().enumerate() {
            let now = counts(&bench, args);
            assert_eq!(now.links, links * attached, "{args:?} with {attached}");
            assert_eq!(now.passes, passes * attached, "{args:?} with {attached}");
            if attached == 1 {
                before.push(now);
                continue;
            }
            // What each redirects to is asked about by itself.
            let dumps = before[nth].dumps * attached;
            assert!(now.dumps <= dumps, "{args:?} with {attached}: {} of {dumps}", now.dumps);
        }
    }
    bench.xdpctl(["detach", "--all"]).success();
    bench.lab().assert_nothing_kept("dut");
}
