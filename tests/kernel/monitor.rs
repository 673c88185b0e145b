//! `monitor`: what happens is told as it happens, by commands and by itself, each once.

use std::thread;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_USERSOCK;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use xdpctl::datapath::attached::namespace::Namespace;
use xdpctl::datapath::host::events;
use xdpctl::datapath::maps::dynamic::bypass;

use crate::faults::shim::{self, Kind, Refusal};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

const OLD: &str = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.0.0.1\"]\n";
const NEW: &str = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.0.0.2\", \"10.0.0.3\"]\n";

/// A monitor that runs beside the test.
struct Monitor(Background);

impl Monitor {
    /// Starts one, and waits until it watches.
    #[track_caller]
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let all = [&["monitor", "--json"], args].concat();
        let monitor = Self(bench.lab().spawn_xdpctl("dut", all));
        monitor.until("it watches", || monitor.0.stderr().contains("Ctrl-C ends\n").then_some(()));
        monitor
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + patient(EVENT);
        loop {
            if let Some(found) = look() {
                return found;
            }
            let (told, said) = (self.0.stdout(), self.0.stderr());
            assert!(Instant::now() < deadline, "not: {what}\n{told}--- stderr\n{said}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The first so many events.
    #[track_caller]
    fn events(&self, count: usize) -> Vec<Value> {
        let lines = self.0.lines(count, EVENT);
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        lines.iter().map(parse).collect()
    }

    /// Ends it with Ctrl-C, and returns everything that it told.
    #[track_caller]
    fn end(mut self) -> Vec<Value> {
        self.0.signal(Signal::SIGINT);
        let output: Output = self.0.wait(EVENT).expect("it ends");
        output.success();
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

/// Reloads, which a monitor tells once everything before it.
fn last(bench: &Bench) {
    bench.xdpctl(["reload", JUDGED]).success();
}

#[test]
fn what_commands_do() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", OLD);
    let file = file.to_str().expect("UTF-8");
    let monitor = Monitor::start(&bench, &[]);
    let other = Monitor::start(&bench, &[]);
    assert!(monitor.0.stderr().contains("note: watching; nothing is attached yet"));
    let run = |args: &[&str]| bench.xdpctl(args).success().clone();
    run(&["attach", JUDGED, "-c", file, "--mode", "native"]);
    bench.write("in0.toml", NEW);
    let reload = run(&["reload", JUDGED]);
    let mut command = bench.lab().xdpctl_command(
        "dut",
        [
            "block",
            JUDGED,
            "10.1.0.0/16",
            "2001:db8::1",
            "--for",
            "10m",
            "--owner",
            "sshd",
            "--note",
            "5 times",
        ],
    );
    command.env("SUDO_USER", "alice").env("SUDO_UID", "1000");
    Background::start(command).wait(EVENT).expect("it ends").success();
    run(&["allow", JUDGED, "10.2.0.1"]);
    run(&["unblock", JUDGED, "10.1.0.0/16"]);
    run(&["bans", JUDGED, "--flush"]);
    run(&["bypass", JUDGED, "on"]);
    // Nothing changes, so nothing happens.
    run(&["bypass", JUDGED, "on"]);
    run(&["bypass", JUDGED, "off"]);
    run(&["attach", JUDGED, "--replace"]);
    bench.xdpctl(["reload", JUDGED, "-c", "/nonexistent"]).expect_status(2);
    run(&["detach", JUDGED]);

    let expected = [
        "attach", "reload", "set", "set", "unset", "unset", "bypass", "bypass", "attach", "detach",
    ];
    monitor.events(expected.len());
    let events = monitor.end();
    assert_eq!(names(&events), expected, "{events:#?}");
    let ifindex = bench.lab().ifindex("dut", JUDGED);
    let namespace = bench.lab().namespace("dut");
    for event in &events {
        assert_eq!((&event["interface"], &event["ifindex"]), (&json!(JUDGED), &json!(ifindex)));
        assert_eq!(event["namespace"], json!(format!("netns-{}", namespace.name)), "{event}");
        assert!(event["by"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{event}");
    }
    let [attach, reload_event, block, allow, unblock, flush, on, off, replace, detach] =
        &events[..]
    else {
        panic!("{events:#?}")
    };
    assert_eq!(
        (&attach["mode"], &attach["generation"], &attach["config"], &attach["replaced"]),
        (&json!("native"), &json!(1), &json!(file), &json!(false))
    );
    assert_eq!(attach["by"]["command"], "xdpctl attach");
    // As the line that the reload prints.
    let changes = reload_event["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 1, "{reload_event}");
    let change = changes[0].as_str().expect("a line");
    assert!(reload.stdout.contains(&format!("\n  {change}\n")), "{}", reload.stdout);
    assert!(change.starts_with("blocklist bad: 2 entries added"), "{change}");
    assert_eq!(reload_event["generation"], 2);
    assert_eq!(
        (&block["kind"], &block["owner"], &block["for_seconds"], &block["note"], &block["count"]),
        (&json!("block"), &json!("sshd"), &json!(600), &json!("5 times"), &json!(2))
    );
    assert_eq!(block["prefixes"], json!(["10.1.0.0/16", "2001:db8::1/128"]));
    assert_eq!((&block["by"]["user"], &block["by"]["uid"]), (&json!("alice"), &json!(1000)));
    assert_eq!((&allow["kind"], &allow["for_seconds"]), (&json!("allow"), &Value::Null));
    assert_eq!(unblock["prefixes"], json!(["10.1.0.0/16"]));
    assert_eq!((&flush["count"], &flush["owner"]), (&json!(2), &Value::Null));
    assert_eq!((&on["on"], &off["on"]), (&json!(true), &json!(false)));
    assert_eq!((&replace["replaced"], &replace["generation"]), (&json!(true), &json!(3)));
    assert_eq!(detach["moved"], false);
    assert_eq!(other.end(), events);
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn entries_end_by_themselves() {
    let mut bench = Bench::new();
    bench.attach("");
    bench.xdpctl(["block", JUDGED, "10.0.0.1", "--for", "2s", "--note", "before"]).success();
    let monitor = Monitor::start(&bench, &[JUDGED]);
    bench.xdpctl(["allow", JUDGED, "10.0.0.2", "--for", "100ms", "--owner", "me"]).success();
    bench.xdpctl(["block", JUDGED, "10.0.0.3"]).success();
    let mut events = monitor.events(4);
    // The first has ended already where the machine was busy.
    events.sort_by_key(|event| event["prefix"].to_string());
    last(&bench);
    monitor.events(5);
    assert_eq!(monitor.end().len(), 5);
    let ended: Vec<&Value> = events.iter().filter(|event| event["event"] == "ended").collect();
    let [first, second] = ended[..] else { panic!("{events:#?}") };
    assert_eq!(
        (&first["prefix"], &first["kind"], &first["owner"], &first["note"], &first["by"]),
        (&json!("10.0.0.1/32"), &json!("block"), &json!("cli"), &json!("before"), &Value::Null)
    );
    assert_eq!(
        (&second["prefix"], &second["kind"], &second["owner"]),
        (&json!("10.0.0.2/32"), &json!("allow"), &json!("me"))
    );
}

#[test]
fn interfaces_come_and_go() {
    let mut bench = Bench::new();
    bench.attach(
        "[[rule]]\nname = \"on\"\ndestination_port = 7\naction = \"redirect\"\nto = \"out0\"\n",
    );
    let monitor = Monitor::start(&bench, &[]);
    let ip = |args: &str| {
        bench.lab().ip("dut", args.split(' ')).success();
    };
    let mut count = 0;
    let mut next = || {
        count += 1;
        let event = monitor.events(count).pop().expect("an event");
        let what = event.get("link").or(event.get("target")).expect("a word");
        (event["interface"].as_str().expect("a name").to_owned(), what.clone())
    };
    let told = |name: &str, what: &str| (name.to_owned(), json!(what));
    ip("link set in0 down");
    assert_eq!(next(), told("in0", "down"));
    ip("link set in0 up");
    assert_eq!(next(), told("in0", "up"));
    ip("link set in0 name wan0");
    assert_eq!(next(), told("wan0", "renamed"));
    ip("link set out0 down");
    assert_eq!(next(), told("wan0", "down"));
    ip("link delete out0");
    assert_eq!(next(), told("wan0", "gone"));
    ip("link add out0 type veth peer name far0");
    assert_eq!(next(), told("wan0", "back"));
    ip("link delete wan0");
    // It is switched off first; then it is gone.
    let mut last = next();
    if last == told("wan0", "down") {
        last = next();
    }
    // The name that it had when it was attached is the one that is known.
    assert_eq!(last.1, json!("gone"));
    bench.xdpctl(["detach", "--all"]).success();
    let events = monitor.events(count + 1);
    assert_eq!(names(&events)[count], "detach");
    monitor.end();
}

/// Whoever changes something without a word is found out.
#[test]
fn what_no_command_says() {
    let mut bench = Bench::new();
    bench.attach(OLD);
    let monitor = Monitor::start(&bench, &[]);
    let lab = bench.lab();
    lab.namespace("dut").enter(|| {
        let namespace = Namespace::look().expect("a namespace").expect("a bpffs");
        let attached = namespace.attachments().expect("attachments");
        let attachment = attached.require(JUDGED).expect("attached");
        let (maps, _) = attachment.readable().expect("readable");
        assert!(!bypass::set(maps, true).expect("switched on"));
    });
    let events = monitor.events(1);
    assert_eq!(
        (&events[0]["event"], &events[0]["on"], &events[0]["by"]),
        (&json!("bypass"), &json!(true), &Value::Null)
    );
    std::fs::remove_file(lab.pins("dut", lab.ifindex("dut", JUDGED)).join("link")).expect("a pin");
    let events = monitor.events(2);
    assert_eq!((&events[1]["event"], &events[1]["by"]), (&json!("detach"), &Value::Null));
    assert_eq!(monitor.end().len(), 2);
}

/// A command that was killed before it could say what it did leaves what one leaves whose word is
/// refused.
#[test]
fn what_a_command_could_not_say() {
    let mut bench = Bench::new();
    bench.attach(OLD);
    let monitor = Monitor::start(&bench, &[]);
    let run = |args: &[&str], refusal| {
        let ran = shim::run(bench.lab().xdpctl_command("dut", args), refusal);
        ran.output.success();
        ran
    };
    let commands: [[&[&str]; 2]; 3] = [
        [&["reload", JUDGED], &["reload", JUDGED]],
        [&["block", JUDGED, "10.1.0.1"], &["block", JUDGED, "10.1.0.2", "10.1.0.3"]],
        [&["unblock", JUDGED, "10.1.0.1"], &["unblock", JUDGED, "10.1.0.3"]],
    ];
    let mut count = 0;
    for [said, unsaid] in commands {
        let calls = run(said, None).calls;
        let calls: Vec<_> = calls.iter().filter(|call| call.kind == Kind::Network).collect();
        // Of all that a command sends by netlink, only its word has no answer.
        let is_word = |nth: &usize| {
            let named = |nth: usize| calls.get(nth).map_or("", |call| call.name.as_str());
            [named(nth - 1), named(*nth)] == ["getsockname", "sendto"]
                && named(nth + 1) != "recvfrom"
        };
        let nth = (1..calls.len()).rfind(is_word).expect("a word");
        let kind = Kind::Network;
        let ran = run(unsaid, Some(Refusal { kind, nth, errno: libc::ENOBUFS }));
        assert_eq!(ran.refused.expect("refused").name, "sendto");
        count += 2;
        let events = monitor.events(count);
        let [first, second] = &events[count - 2..] else { panic!("{events:#?}") };
        assert_eq!(first["event"], second["event"]);
        assert_eq!(first["by"]["command"], format!("xdpctl {}", said[0]), "{first}");
        assert_eq!(second["by"], Value::Null, "{second}");
    }
    let events = monitor.end();
    assert_eq!(events.len(), 6, "{events:#?}");
    assert_eq!((&events[0]["generation"], &events[1]["generation"]), (&json!(2), &json!(3)));
    assert_eq!(events[3]["prefixes"], json!(["10.1.0.2/32", "10.1.0.3/32"]));
    assert_eq!(
        (&events[5]["prefixes"], &events[5]["owner"]),
        (&json!(["10.1.0.3/32"]), &json!("cli"))
    );
}

#[test]
fn what_was_confirmed_and_what_was_not() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "");
    let file = file.to_str().expect("UTF-8");
    let attach = |life| {
        let args = ["attach", JUDGED, "-c", file, "--mode", "native", "--confirm", life];
        bench.lab().spawn_xdpctl("dut", args)
    };
    let monitor = Monitor::start(&bench, &[]);
    let mut waiting = attach("1h");
    assert_eq!(monitor.events(1)[0]["confirm_seconds"], 3600);
    waiting.lines(2, EVENT);
    bench.xdpctl(["confirm", JUDGED]).success();
    waiting.wait(EVENT).expect("it ends").success();
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(names(&monitor.events(3)), ["attach", "confirm", "detach"]);

    attach("100ms").wait(EVENT).expect("it ends").expect_status(1);
    let events = monitor.events(5);
    assert_eq!((&events[4]["event"], &events[4]["why"]), (&json!("rollback"), &json!("timeout")));

    let mut waiting = attach("1h");
    monitor.events(6);
    waiting.lines(2, EVENT);
    waiting.signal(Signal::SIGINT);
    waiting.wait(EVENT).expect("it ends").expect_status(1);
    let events = monitor.events(7);
    assert_eq!((&events[6]["event"], &events[6]["why"]), (&json!("rollback"), &json!("stopped")));

    let mut waiting = attach("1h");
    monitor.events(8);
    waiting.lines(2, EVENT);
    waiting.signal(Signal::SIGKILL);
    waiting.wait(EVENT).expect("it is dead");
    let events = monitor.events(9);
    assert_eq!((&events[8]["event"], &events[8]["why"]), (&json!("rollback"), &json!("killed")));
    assert_eq!(events[8]["by"], Value::Null);
    assert_eq!(monitor.end().len(), 9);
}

#[test]
fn what_was_tried() {
    let mut bench = Bench::new();
    bench.attach(OLD);
    let monitor = Monitor::start(&bench, &[]);
    let reload = |life| bench.lab().spawn_xdpctl("dut", ["reload", JUDGED, "--confirm", life]);
    let mut waiting = reload("1h");
    assert_eq!(monitor.events(1)[0]["confirm_seconds"], 3600);
    bench.xdpctl(["confirm", JUDGED]).success();
    waiting.wait(EVENT).expect("it ends").success();
    let mut waiting = reload("1h");
    monitor.events(3);
    waiting.signal(Signal::SIGINT);
    waiting.wait(EVENT).expect("it ends").expect_status(1);
    reload("500ms").wait(EVENT).expect("it ends").expect_status(1);
    let mut waiting = reload("5s");
    monitor.events(7);
    // The program goes back by itself, and nobody is left to say so.
    waiting.signal(Signal::SIGKILL);
    waiting.wait(EVENT).expect("it is dead");
    let events = monitor.events(8);
    monitor.end();
    let told: Vec<(&Value, &Value, &Value)> =
        events.iter().map(|event| (&event["event"], &event["generation"], &event["why"])).collect();
    let reload = json!("reload");
    let expected = [
        (&reload, &json!(2), &Value::Null),
        (&json!("confirm"), &json!(2), &Value::Null),
        (&reload, &json!(3), &Value::Null),
        (&json!("rollback"), &json!(2), &json!("stopped")),
        (&reload, &json!(3), &Value::Null),
        (&json!("rollback"), &json!(2), &json!("timeout")),
        (&reload, &json!(3), &Value::Null),
        (&json!("rollback"), &json!(2), &json!("timeout")),
    ];
    assert_eq!(told, expected);
    assert_eq!(events[5]["by"]["command"], "xdpctl reload");
    assert_eq!(events[7]["by"], Value::Null);
}

#[test]
fn one_interface_alone() {
    let mut bench = Bench::new();
    bench.attach("");
    let file = bench.write("out0.toml", "");
    let monitor = Monitor::start(&bench, &["out0"]);
    assert!(monitor.0.stderr().starts_with("warning: xdpctl is not attached to out0"));
    bench.xdpctl(["block", JUDGED, "10.0.0.1"]).success();
    bench.xdpctl(["attach", "out0", "-c", file.to_str().expect("UTF-8")]).success();
    bench.xdpctl(["reload"]).success();
    monitor.events(2);
    let events = monitor.end();
    assert_eq!(names(&events), ["attach", "reload"], "{events:#?}");
    assert!(events.iter().all(|event| event["interface"] == "out0"), "{events:#?}");
}

/// Whoever mistyped the name would wait forever.
#[test]
fn an_interface_that_is_not_there_is_waited_for_with_a_warning() {
    let mut bench = Bench::new();
    bench.attach("");
    let monitor = Monitor::start(&bench, &["in7"]);
    assert_eq!(
        monitor.0.stderr().lines().collect::<Vec<_>>(),
        [
            "warning: no interface `in7` in this network namespace: waiting for that; Ctrl-C ends",
            "  hint: did you mean `in0`?",
        ]
    );
    bench.xdpctl(["reload"]).success();
    bench.lab().ip("dut", ["link", "add", "in7", "type", "veth", "peer", "name", "in8"]).success();
    let file = bench.write("in7.toml", "");
    bench.xdpctl(["attach", "in7", "-c", file.to_str().expect("UTF-8")]).success();
    monitor.events(1);
    let events = monitor.end();
    assert_eq!(names(&events), ["attach"], "{events:#?}");
}

/// In text, an event is a line with its time.
#[test]
fn as_lines() {
    let mut bench = Bench::new();
    bench.attach("");
    let monitor = bench.lab().spawn_xdpctl("dut", ["monitor"]);
    let deadline = Instant::now() + patient(EVENT);
    while !monitor.stderr().contains("note: watching in0; Ctrl-C ends\n") {
        assert!(Instant::now() < deadline, "{}", monitor.stderr());
        thread::sleep(Duration::from_millis(2));
    }
    bench.xdpctl(["block", JUDGED, "10.0.0.1", "--for", "1h"]).success();
    let lines = monitor.lines(1, EVENT);
    let (time, rest) = lines[0].split_once(' ').expect("a time");
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
    let told = "in0: blocked 10.0.0.1/32 for 1h (owner cli), by ";
    assert!(rest.starts_with(told), "{rest}");
    assert!(rest.contains(" (xdpctl block, process "), "{rest}");
}

/// Anybody may send to the group, so it is looked at who did.
#[test]
fn others_cannot_tell_anything() {
    let mut bench = Bench::new();
    bench.attach("");
    let monitor = Monitor::start(&bench, &[]);
    let forged = br#"{"time":"2026-01-31T12:00:00Z","interface":"in0","ifindex":1,"event":"bypass","on":true,"by":null,"namespace":null}"#;
    let lab = bench.lab();
    lab.namespace("dut").enter(|| {
        // What is not ours is passed over.
        let mut socket = Socket::new(NETLINK_USERSOCK).expect("a socket");
        socket.bind_auto().expect("bound");
        for group in 0..32 {
            let _ = socket.send_to(b"xdpctl event\n{}", &SocketAddr::new(0, 1 << group), 0);
            let _ = socket.send_to(b"{}", &SocketAddr::new(0, 1 << group), 0);
        }
        // SAFETY: the call takes three numbers. It changes this thread alone, which ends afterwards.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0, "setresuid");
        events::send(forged);
    });
    // The same from root is taken.
    last(&bench);
    monitor.events(1);
    lab.namespace("dut").enter(|| events::send(forged));
    let events = monitor.events(2);
    assert_eq!(names(&events), ["reload", "bypass"]);
    assert_eq!(monitor.end().len(), 2);
}

#[test]
fn it_needs_root() {
    let bench = Bench::new();
    let mut command = bench.lab().command("dut", "setpriv");
    command.args(["--reuid=65534", "--clear-groups", env!("CARGO_BIN_EXE_xdpctl"), "monitor"]);
    let output = Background::start(command).wait(EVENT).expect("it ends");
    output.expect_status(1);
    assert!(output.stderr.starts_with("error: "), "{}", output.stderr);
    assert_eq!(output.stdout, "");
}
