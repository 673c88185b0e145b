//! Commands that run at the same time wait for each other; those that only look do not wait.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xdpctl::datapath::sys::private_dir;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::facts::pinned;
use crate::lab::frame::udp4;
use crate::lab::{Lab, Output, Topology, end};

const TIMEOUT: Duration = Duration::from_secs(60);

fn list(name: &str) -> String {
    format!("[[blocklist]]\nname = \"{name}\"\nprefixes = [\"10.1.0.0/16\"]\n")
}

/// Starts all of these before it waits for any.
#[track_caller]
fn at_once(lab: &Lab, commands: &[&[&str]]) -> Vec<Output> {
    let mut running: Vec<_> = commands.iter().map(|args| lab.spawn_xdpctl("dut", *args)).collect();
    running.iter_mut().map(|command| command.wait(TIMEOUT).expect("no deadlock")).collect()
}

/// The one list that is in force and judges.
#[track_caller]
fn in_force(bench: &Bench) -> String {
    let before = bench.sample();
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    let after = bench.await_count(before.total().packets + 1);
    let [rule] = after.rules.as_slice() else { panic!("a mixture: {after:#?}") };
    assert_eq!(rule.count.packets, before.rule(&rule.name).count.packets + 1);
    rule.name.clone()
}

fn path(bench: &Bench, name: &str) -> String {
    let path = bench.write(&format!("{name}.toml"), &list(name));
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn two_reloads() {
    let mut bench = Bench::new();
    bench.attach(&list("first"));
    let (a, b) = (path(&bench, "a"), path(&bench, "b"));
    let mut won = [0; 2];
    for turn in 0..20 {
        let generation = bench.sample().generation;
        let (one, other): (&[&str], &[&str]) =
            (&["reload", JUDGED, "-c", &a], &["reload", JUDGED, "-c", &b]);
        let order = if turn % 2 == 0 { [one, other] } else { [other, one] };
        for output in at_once(bench.lab(), &order) {
            output.success();
        }
        assert_eq!(bench.sample().generation, generation + 2);
        match in_force(&bench).as_str() {
            "a" => won[0] += 1,
            "b" => won[1] += 1,
            other => panic!("{other} is in force"),
        }
    }
    println!("the last word: a {}, b {}", won[0], won[1]);
}

/// Each prepares its ruleset for what is in force before it takes the lock, so one of them has to
/// begin anew.
#[test]
fn exchanges_of_the_program() {
    let mut bench = Bench::new();
    bench.attach(&list("first"));
    let (a, b) = (path(&bench, "a"), path(&bench, "b"));
    for _ in 0..5 {
        let generation = bench.sample().generation;
        let commands: [&[&str]; 3] = [
            &["attach", "--replace", JUDGED, "-c", &a],
            &["attach", "--replace", JUDGED, "-c", &b],
            &["reload", JUDGED, "-c", &a],
        ];
        for output in at_once(bench.lab(), &commands) {
            output.success();
        }
        assert_eq!(bench.sample().generation, generation + 3);
        assert!(["a", "b"].contains(&in_force(&bench).as_str()));
    }
}

#[test]
fn four_attaches() {
    let bench = Bench::new();
    let paths = ["a", "b", "c", "d"].map(|name| path(&bench, name));
    for _ in 0..5 {
        let commands = paths.each_ref().map(|path| ["attach", JUDGED, "-c", path.as_str()]);
        let outputs = at_once(bench.lab(), &commands.each_ref().map(|args| args.as_slice()));
        let done = outputs.iter().position(|output| output.status == 0).expect("one of them");
        for (place, output) in outputs.iter().enumerate() {
            if place == done {
                continue;
            }
            output.expect_status(1);
            let already = "error: xdpctl is attached to in0 already\n  hint: `xdpctl reload in0`";
            assert!(output.stderr.contains(already), "{}", output.stderr);
        }
        let sample = bench.sample();
        assert_eq!(sample.generation, 1);
        let name = in_force(&bench);
        assert!(paths[done].ends_with(&format!("/{name}.toml")), "{name} is in force");
        assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
        bench.xdpctl(["detach", JUDGED]).success();
        bench.lab().assert_nothing_kept("dut");
    }
}

#[test]
fn reload_and_detach() {
    let bench = Bench::new();
    let (a, b) = (path(&bench, "a"), path(&bench, "b"));
    for turn in 0..10 {
        bench.xdpctl(["attach", JUDGED, "-c", &a]).success();
        let (reload, detach): (&[&str], &[&str]) =
            (&["reload", JUDGED, "-c", &b], &["detach", JUDGED]);
        let order = if turn % 2 == 0 { [reload, detach] } else { [detach, reload] };
        let outputs = at_once(bench.lab(), &order);
        let [reload, detach] =
            if turn % 2 == 0 { [&outputs[0], &outputs[1]] } else { [&outputs[1], &outputs[0]] };
        detach.success();
        if reload.status != 0 {
            reload.expect_status(1);
            assert!(reload.stderr.contains("not attached to in0"), "{}", reload.stderr);
        }
        assert_eq!(bench.lab().programs("dut", JUDGED), []);
        bench.xdpctl(["detach", "--all"]).expect_status(1);
        bench.lab().assert_nothing_kept("dut");
    }
}

/// Each has the other's interface as a target, so that both change the same pass programs.
#[test]
fn two_interfaces() {
    let bench = Bench::on(Topology::two_outputs());
    let on = |name: &str, to: &str| {
        let text = format!("[[rule]]\nname = \"{name}\"\naction = \"redirect\"\nto = \"{to}\"\n");
        bench.write(name, &text).to_str().expect("UTF-8").to_owned()
    };
    let (a, b) = (on("a", "out1"), on("b", "out0"));
    for _ in 0..5 {
        for output in at_once(
            bench.lab(),
            &[
                &["attach", "out0", "--mode", "native", "-c", &a],
                &["attach", "out1", "--mode", "native", "-c", &b],
            ],
        ) {
            output.success();
        }
        let status = bench.xdpctl(["status", "--json"]).statuses();
        let names: Vec<_> = status.as_array().expect("an array").iter().collect();
        assert_eq!(names.len(), 2, "{status}");
        for output in at_once(bench.lab(), &[&["reload", "out0"], &["detach", "out1"]]) {
            output.success();
        }
        bench.xdpctl(["detach", "out0"]).success();
        bench.lab().assert_nothing_kept("dut");
    }
}

/// `xdpctl reload | true`: the second interface is reloaded too.
#[test]
fn a_reload_of_all_without_a_reader() {
    let bench = Bench::on(Topology::two_outputs());
    for (name, interface) in [("a", "out0"), ("b", "out1")] {
        bench.xdpctl(["attach", interface, "-c", &path(&bench, name)]).success();
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = bench.lab().xdpctl_command("dut", ["reload"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let status = bench.xdpctl(["status", "--json"]).statuses();
    let attached = status.as_array().expect("an array");
    let generations: Vec<_> = attached.iter().map(|it| it["generation"].as_u64()).collect();
    assert_eq!(generations, [Some(2), Some(2)], "{status}");
    bench.xdpctl(["detach", "--all"]).success();
}

/// Looking never fails because of what others do meanwhile, except that nothing may be attached.
#[test]
fn looking_beside_changes() {
    let bench = Bench::new();
    let (a, b) = (path(&bench, "a"), path(&bench, "b"));
    let stop = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let look = |args: &'static [&'static str]| {
            let (bench, stop) = (&bench, &stop);
            scope.spawn(move || {
                let mut outputs = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    outputs.push(bench.xdpctl(args));
                }
                outputs
            })
        };
        let status = look(&["status", "--json"]);
        let stats = look(&["stats", "--once", "--json"]);
        let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..8 {
                bench.xdpctl(["attach", JUDGED, "-c", &a]).success();
                bench.xdpctl(["reload", JUDGED, "-c", &b]).success();
                bench.xdpctl(["attach", "--replace", JUDGED, "-c", &a]).success();
                bench.xdpctl(["detach", JUDGED]).success();
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = changes {
            std::panic::resume_unwind(panic);
        }
        [status, stats].map(|thread| thread.join().expect("it looks"))
    });
    let [status, stats] = looks;
    println!("{} looks at the status, {} at the counters", status.len(), stats.len());
    for output in status {
        assert!(output.success().json().as_array().is_some_and(|all| all.len() < 2));
    }
    for output in stats {
        if output.status != 0 {
            output.expect_status(1);
            assert!(output.stderr.contains("is not attached to any interface"), "{output:?}");
        }
    }
}

/// The directories above those of a namespace are removed while those of another one are made in
/// them.
#[test]
fn directories_come_and_go() {
    let base = tempfile::tempdir().expect("a temporary directory");
    thread::scope(|scope| {
        for own in ["1", "2", "3", "4"] {
            let base = base.path();
            scope.spawn(move || {
                let names = ["xdpctl", "v1", own, "in0"];
                for _ in 0..5000 {
                    let path = private_dir::create(base, &names).expect("made");
                    assert!(path.is_dir());
                    private_dir::remove_if_empty(base, &names).expect("removed");
                    assert!(!path.exists());
                }
            });
        }
    });
    assert!(!base.path().join("xdpctl").exists());
}

#[test]
fn namespaces_side_by_side() {
    let roles = ["dut", "two", "three", "four"];
    let mac = |number: u8| crate::lab::MacAddr(0x02, 0, 0, 0, 9, number);
    let lab = Topology::empty()
        .link(end("dut", "in0", mac(1)), end("two", "in0", mac(2)))
        .link(end("three", "in0", mac(3)), end("four", "in0", mac(4)))
        .build();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let empty = directory.path().join("empty.toml");
    std::fs::write(&empty, "").expect("a file");
    let empty = empty.to_str().expect("UTF-8");
    thread::scope(|scope| {
        for role in roles {
            let lab = &lab;
            scope.spawn(move || {
                for _ in 0..10 {
                    lab.xdpctl(role, ["attach", JUDGED, "-c", empty]).success();
                    let pins = pinned(&lab.pins(role, lab.ifindex(role, JUDGED)));
                    assert_eq!(pins.len(), 23);
                    lab.xdpctl(role, ["detach", JUDGED]).success();
                    lab.assert_nothing_kept(role);
                }
            });
        }
    });
}

/// A state is said of one interface, and the service stands on two.
#[test]
fn who_takes_a_backend_out_on_one_interface_is_told_of_the_other() {
    let mut bench = Bench::new();
    let service = "[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"udp\"\n\
                   port = 53\nmode = \"nat\"\n[[service.backend]]\nname = \"b1\"\n\
                   address = \"10.9.0.1\"\n";
    bench.attach(service);
    let path = bench.write("out0.toml", service);
    bench.xdpctl(["attach", "out0", "-c", path.to_str().expect("UTF-8")]).success();
    let say = |interface: &str, state: &str| {
        bench.xdpctl(["backend", interface, "web", "b1", state]).success().stderr.clone()
    };
    let said = say(JUDGED, "down");
    assert!(said.contains("service \"web\" is on out0 too, where b1 is up still"), "{said}");
    assert!(said.contains("`xdpctl backend out0 web b1 down`"), "{said}");
    assert_eq!(say("out0", "down"), "");
    let said = say(JUDGED, "auto");
    assert!(said.contains("is on out0 too, where b1 is down still"), "{said}");
    assert_eq!(say("out0", "auto"), "");
    bench.xdpctl(["detach", "out0"]).success();
}
