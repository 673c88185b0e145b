//! `health`: what checks find is in the kernel, and stays there or does not, whatever ends the
//! process.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use xdp_common::filter::tracking::Said;
use xdpctl::agent::health::report::{self, Report};
use xdpctl::datapath::attached::found::BackendStates;
use xdpctl::datapath::attached::namespace::Namespace;

use crate::lab::Background;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};

/// Where the backends are, all of them in the namespace of the device under test.
const BACKENDS: [(&str, &str); 3] =
    [("b1", "10.9.0.11"), ("b2", "10.9.0.12"), ("b3", "2001:db8:9::13")];
const QUICK: &str = "interval = \"50ms\"\ntimeout = \"40ms\"\n";

/// A service of some of the backends, of one family, with this check.
fn service(name: &str, address: &str, check: &str, backends: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"tcp\"\nport = 80\n\
         mode = \"nat\"\n{check}\n"
    );
    for (name, address) in backends {
        text.push_str(&format!(
            "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n\
             next_hop = \"02:00:00:00:00:01\"\n"
        ));
    }
    text
}

fn configuration(check: &str, backends: &[(&str, &str)]) -> String {
    let seed = "[services]\nseed = \"DFTTgNYuodmggDl6\"\n";
    format!("{seed}{}", service("web", "192.0.2.10", check, backends))
}

fn tcp(more: &str) -> String {
    format!("[service.check]\ntype = \"tcp\"\n{QUICK}{more}\n")
}

struct Setup(Bench);

impl Setup {
    fn new(configuration: &str) -> Self {
        let mut bench = Bench::new();
        // A lab's interfaces do without IPv6.
        let enabled = || std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
        bench.lab().namespace("dut").enter(enabled).unwrap();
        bench.lab().ip("dut", ["link", "set", "lo", "up"]);
        for (_, address) in BACKENDS {
            // At once, without looking for others who have it.
            let address =
                if address.contains(':') { [address, "nodad"] } else { [address, "noprefixroute"] };
            bench
                .lab()
                .ip("dut", [&["addr", "add", address[0], "dev", "lo"], &address[1..]].concat());
        }
        bench.attach(configuration);
        Self(bench)
    }

    /// A backend that answers on port 80.
    fn listen(&self, backend: usize) -> TcpListener {
        let address = BACKENDS[backend].1;
        self.0.lab().namespace("dut").enter(|| {
            TcpListener::bind((address, 80)).unwrap_or_else(|error| panic!("{address}: {error}"))
        })
    }

    /// What the kernel was told of a backend, and whether that ends by itself.
    fn said(&self, service: &str, backend: &str) -> (Said, bool) {
        self.0.lab().namespace("dut").enter(|| {
            let attached = Namespace::look().unwrap().unwrap().attachments().unwrap();
            let mut states = BackendStates::new(attached.into_required(JUDGED).unwrap());
            let word = states.said(service, backend).unwrap().expect("that backend");
            (word.said, word.until != 0)
        })
    }

    fn report(&self) -> Option<Report> {
        self.0.lab().namespace("dut").enter(|| {
            let namespace = Namespace::look().unwrap().unwrap();
            let attached = namespace.attachments().unwrap();
            let key = attached.require(JUDGED).unwrap().key();
            report::read(&namespace.notes_directory(key).unwrap()?).unwrap()
        })
    }

    /// Starts the daemon, and waits until it says this.
    #[track_caller]
    fn start(&self, said: &str) -> Background {
        let daemon = self.0.lab().spawn_xdpctl("dut", ["health"]);
        says(&daemon, said);
        daemon
    }

    #[track_caller]
    fn until_said(&self, backend: &str, expected: (Said, bool)) {
        until(&format!("{backend} {expected:?}"), || self.said("web", backend) == expected);
    }
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + patient(EVENT);
    while !is() {
        assert!(Instant::now() < deadline, "not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn says(process: &Background, line: &str) {
    let deadline = Instant::now() + patient(EVENT);
    while !process.stderr().contains(line) {
        assert!(Instant::now() < deadline, "not: {line}\n{}", process.stderr());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a daemon by SIGTERM.
#[track_caller]
fn end(mut daemon: Background) {
    daemon.signal(Signal::SIGTERM);
    daemon.wait(EVENT).expect("it ends").success();
}

#[test]
fn once() {
    let setup = Setup::new(&configuration(&tcp(""), &BACKENDS[..2]));
    let first = setup.listen(0);
    assert_eq!(setup.report(), None);
    let output = setup.0.xdpctl(["health", "--once"]);
    output.success();
    let lines: Vec<Vec<&str>> =
        output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SERVICE", "BACKEND", "CHECK", "STATE", "TIME", "WHY"]);
    assert_eq!(lines[1][..5], ["web", "b1", "tcp", "10.9.0.11:80", "up"]);
    assert_eq!(lines[2][..5], ["web", "b2", "tcp", "10.9.0.12:80", "down"]);
    assert!(output.stdout.ends_with("connection refused\n"), "{}", output.stdout);
    assert_eq!(setup.said("web", "b1"), (Said::Up, false));
    assert_eq!(setup.said("web", "b2"), (Said::Down, false));
    let report = setup.report().unwrap();
    assert_eq!(report.of("web", "b1").unwrap().is_up, Some(true));
    assert_eq!(report.of("web", "b2").unwrap().is_up, Some(false));
    let shown = |arguments: &[&str]| {
        let output = setup.0.xdpctl([&["services", JUDGED, "--json"], arguments].concat());
        output.success();
        let lines = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    // Twice the same.
    for services in shown(&["--watch", "--count", "2", "--interval", "20ms"]) {
        for (backend, last) in [(0, "ok"), (1, "failed")] {
            let check = &services[0]["backends"][backend]["check"];
            assert_eq!(check["last"], last, "{services}");
            assert!(check["since"].as_str().is_some_and(|it| it.ends_with('Z')), "{services}");
            assert!(check["rtt_ms"].as_f64().is_some_and(|it| it > 0.0), "{services}");
            assert!(check["at"].as_str() >= check["since"].as_str(), "{services}");
        }
    }
    assert_eq!(shown(&["--watch", "--count", "2", "--interval", "20ms"]).len(), 2);
    drop(first);
    let output = setup.0.xdpctl(["health", JUDGED, "--once"]);
    output.expect_status(1);
    assert!(output.stderr.ends_with("error: web: no backend is up\n"), "{}", output.stderr);
    assert_eq!(setup.said("web", "b1"), (Said::Down, false));
    let output = setup.0.xdpctl(["health", "nosuch", "--once"]);
    output.expect_status(1);
    // A reload that takes the check away gives the backends back.
    setup.0.write("in0.toml", &configuration("", &BACKENDS[..2]));
    setup.0.xdpctl(["reload", JUDGED]).success();
    setup.0.xdpctl(["health", "--once"]).success();
    assert_eq!(setup.said("web", "b1"), (Said::Nothing, false));
    setup.0.xdpctl(["detach", JUDGED]).success();
    setup.0.xdpctl(["health", "--once"]).expect_status(1);
}

/// A check that this host cannot make decides nothing, and the program takes the backend to be up.
#[test]
fn once_without_a_decision() {
    let check = "[service.check]\ntype = \"exec\"\ncommand = [\"/nonexistent/check\"]\n";
    let setup = Setup::new(&configuration(&format!("{check}{QUICK}"), &BACKENDS[..2]));
    let output = setup.0.xdpctl(["health", "--once"]);
    output.success();
    assert!(output.stderr.contains("b1 could not be checked"), "{}", output.stderr);
    assert!(!output.stderr.contains("no backend is up"), "{}", output.stderr);
    assert_eq!(output.stdout.matches("undecided").count(), 2, "{}", output.stdout);
    assert_eq!(setup.said("web", "b1"), (Said::Nothing, false));
    let up = setup.0.xdpctl(["services", JUDGED, "--up", "web"]);
    assert_eq!(up.success().stdout, "web: 2 of 2 backends are up\n");
}

/// A backend goes and comes back; the process ends, is killed, and is started anew.
#[test]
fn the_daemon() {
    let setup = Setup::new(&configuration(&tcp(""), &BACKENDS[..2]));
    let (first, second) = (setup.listen(0), setup.listen(1));
    let monitor = setup.0.lab().spawn_xdpctl("dut", ["monitor", "--json"]);
    says(&monitor, "Ctrl-C ends");
    let daemon = setup.start("checking 2 backends of 1 service; Ctrl-C ends");
    setup.until_said("b1", (Said::Up, false));
    setup.until_said("b2", (Said::Up, false));
    drop(first);
    says(&daemon, "warning: web: b1 is down: connection refused (3 in a row)\n");
    assert_eq!(setup.said("web", "b1"), (Said::Down, false));
    let event: Value = serde_json::from_str(&monitor.lines(1, EVENT)[0]).expect("JSON");
    for (key, value) in [
        ("event", json!("health")),
        ("interface", json!(JUDGED)),
        ("service", json!("web")),
        ("backend", json!("b1")),
        ("up", json!(false)),
        ("why", json!("connection refused")),
        ("in_a_row", json!(3)),
    ] {
        assert_eq!(event[key], value, "{event}");
    }
    let first = setup.listen(0);
    says(&daemon, "note: web: b1 is up (2 in a row)\n");
    assert_eq!(setup.said("web", "b1"), (Said::Up, false));
    drop(second);
    says(&daemon, "web: b2 is down");
    // What it has found stays.
    end(daemon);
    assert_eq!(setup.said("web", "b2"), (Said::Down, false));
    let report = setup.report().unwrap();
    assert_eq!(report.of("web", "b2").unwrap().is_up, Some(false));
    // The next one goes on with that, and what is still so is no news.
    let daemon = setup.start("checking 2 backends");
    until("both are checked", || {
        let report = setup.report().unwrap();
        report.pid == daemon.id() && report.checks.iter().all(|it| it.last.is_some())
    });
    daemon.signal(Signal::SIGKILL);
    assert!(!daemon.stderr().contains("is down"), "{}", daemon.stderr());
    assert_eq!(setup.said("web", "b1"), (Said::Up, false));
    assert_eq!(setup.said("web", "b2"), (Said::Down, false));
    drop(first);
}

/// Reloads are noticed, and so is what is attached and detached.
#[test]
fn what_there_is_to_check_changes() {
    let check = tcp("");
    let setup = Setup::new(&configuration("", &BACKENDS[..1]));
    let daemon =
        setup.start("there is nothing to check: no service has [service.check]; Ctrl-C ends");
    let reload = |text: &str| {
        setup.0.write("in0.toml", text);
        setup.0.xdpctl(["reload", JUDGED]).success();
    };
    reload(&configuration(&check, &BACKENDS[..1]));
    says(&daemon, "checking 1 backend of 1 service");
    setup.until_said("b1", (Said::Down, false));
    let other = service("v6", "2001:db8::10", &check, &BACKENDS[2..]);
    let both = configuration(&check, &BACKENDS[..2]) + &other;
    reload(&both);
    says(&daemon, "checking 3 backends of 2 services");
    until("b3 is down", || setup.said("v6", "b3") == (Said::Down, false));
    // b1 was down before, and is told apart from it.
    assert_eq!(setup.said("web", "b1"), (Said::Down, false));
    reload(&(configuration("", &BACKENDS[..2]) + &other));
    says(&daemon, "checking 1 backend of 1 service");
    setup.until_said("b1", (Said::Nothing, false));
    setup.0.xdpctl(["detach", JUDGED]).success();
    says(&daemon, "there is nothing to check");
    setup.0.xdpctl(["attach", JUDGED, "-c", setup.0.write("in0.toml", &both).to_str().unwrap()]);
    until("it is down again", || daemon.stderr().matches("web: b2 is down").count() == 2);
    assert_eq!(setup.said("web", "b2"), (Said::Down, false));
    end(daemon);
}

/// With `if_unwatched = "up"`, what was found ends by itself once nobody says it any more.
#[test]
fn without_a_daemon() {
    let setup = Setup::new(&configuration(&tcp("if_unwatched = \"up\""), &BACKENDS[..1]));
    let daemon = setup.start("web: b1 is down");
    assert_eq!(setup.said("web", "b1"), (Said::Down, true));
    let until_of = || {
        setup.0.lab().namespace("dut").enter(|| {
            let attached = Namespace::look().unwrap().unwrap().attachments().unwrap();
            let mut states = BackendStates::new(attached.into_required(JUDGED).unwrap());
            states.said("web", "b1").unwrap().expect("that backend").until
        })
    };
    let first = until_of();
    until("it is renewed", || until_of() > first);
    end(daemon);
}

/// Checks that nobody makes are told by whoever asks for them, as long as nobody makes them.
#[test]
fn checks_that_nobody_makes_are_told() {
    let setup = Setup::new(&configuration("", &BACKENDS[..1]));
    let nobody =
        "note: no `xdpctl health` runs here, so nobody checks the backends of service \"web\"";
    let other = service("v6", "2001:db8::10", &tcp(""), &BACKENDS[2..]);
    let checked = configuration(&tcp(""), &BACKENDS[..1]);
    let both = checked.clone() + &other;
    #[track_caller]
    fn told(setup: &Setup, command: &[&str], text: &str) -> String {
        let file = setup.0.write("in0.toml", text);
        let file = ["-c", file.to_str().unwrap()];
        let file = if command[0] == "attach" { &file[..] } else { &[] };
        let output = setup.0.xdpctl([command, file].concat());
        output.success();
        output.stderr
    }
    let reload = ["reload", JUDGED];
    assert!(!told(&setup, &reload, &configuration("", &BACKENDS[..1])).contains("health"));
    let said = told(&setup, &reload, &checked);
    assert!(said.contains(&format!("{nobody}: one that fails still gets packets")), "{said}");
    let said = told(&setup, &reload, &both);
    assert!(said.contains(&format!("{nobody} and of another service: one")), "{said}");
    // To check once is not to go on checking, and a monitor checks nothing.
    let monitor = setup.0.lab().spawn_xdpctl("dut", ["monitor"]);
    says(&monitor, "Ctrl-C ends");
    setup.0.xdpctl(["health", "--once"]);
    assert!(told(&setup, &reload, &both).contains(nobody));
    let replace = ["attach", JUDGED, "--replace"];
    assert!(told(&setup, &replace, &both).contains(nobody));

    let daemon = setup.start("checking 2 backends of 2 services");
    assert!(!told(&setup, &reload, &both).contains("health"));
    assert!(!told(&setup, &replace, &both).contains("health"));
    // Killed, it is gone at once.
    daemon.signal(Signal::SIGKILL);
    until("it is told again", || told(&setup, &reload, &both).contains(nobody));
    setup.0.xdpctl(["detach", JUDGED]).success();
    assert!(told(&setup, &["attach", JUDGED], &both).contains(nobody));
}

/// Echo requests, over both families; nobody answers for an address that nobody has.
#[test]
fn echo_requests() {
    let check = format!("[service.check]\ntype = \"icmp\"\n{QUICK}");
    let backends = [BACKENDS[0], ("gone", "10.9.0.99")];
    let other = service("v6", "2001:db8::10", &check, &BACKENDS[2..]);
    let setup = Setup::new(&(configuration(&check, &backends) + &other));
    // Frames to it go out, and nothing comes back.
    setup.0.lab().ip("dut", ["route", "add", "10.9.0.99", "dev", JUDGED, "src", "10.9.0.11"]);
    let output = setup.0.xdpctl(["health", "--once"]);
    output.success();
    let states: Vec<(&str, &str)> = output
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|words| (words[1], words[4]))
        .collect();
    assert_eq!(states, [("b1", "up"), ("gone", "down"), ("b3", "up")]);
    assert!(output.stdout.contains("no answer within 40ms"), "{}", output.stdout);
}
