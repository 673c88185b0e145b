//! Where the commands of the table run: the lab, with the files that they name, and the states that
//! they begin with.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::shim::{self, Ran, Refusal};
use super::state::{self, State, topology};
use crate::lab::Background;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::{udp4, udp6};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::Server;

/// The ruleset before, with a redirect to an interface that needs a pass program, so that putting it may
/// fail or be cut off too.
pub const OLD: &str = r#"
    [[blocklist]]
    name = "old"
    prefixes = ["10.1.0.0/16"]
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;
const NEW: &str = r#"
    [policy]
    default = "drop"
    [[blocklist]]
    name = "new"
    prefixes = ["10.1.0.1"]
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const NAMES: &str = r#"
    [policy]
    default = "drop"
    [[domains]]
    name = "names"
    names = ["drop.example"]
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const BLOCKING: &str = r#"
    [policy]
    default = "drop"
    [[rule]]
    name = "trap"
    protocol = "udp"
    destination_port = 23
    action = "block"
    for = "1h"
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const LIMITED: &str = r#"
    [policy]
    default = "drop"
    [[rule]]
    name = "flood"
    over = "1000000/s"
    per = "source"
    action = "drop"
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const REPLIES: &str = r#"
    [policy]
    default = "drop"
    replies = "pass"
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

const SYN_COOKIES: &str = r#"
    [policy]
    default = "drop"
    [[rule]]
    name = "syns"
    destination_port = 80
    action = "syncookie"
    [[rule]]
    name = "on"
    destination_port = 7
    action = "redirect"
    to = "out0"
"#;

/// What the frame of [`super::state`] that is for it tells: whether the backend is up.
const SERVICES: &str = r#"
    [services]
    seed = "b3duIHNlZWQgb2YgdGVzdHM="
    next_hop = "02:00:00:00:00:01"
    [[service]]
    name = "web"
    address = "10.5.0.1"
    protocol = "tcp"
    port = 80
    mode = "nat"
    [service.check]
    type = "exec"
    command = ["/bin/true"]
    rise = 1
    [[service.backend]]
    name = "b1"
    address = "10.9.0.1"
"#;

/// The lab, with the files that the commands name.
pub struct Stand {
    pub bench: Bench,
    /// Holds an attachment that is not confirmed.
    waiting: RefCell<Option<Background>>,
    /// Whether a frame comes in now and then while the command runs.
    sends: bool,
    /// Whom SYNs are for.
    _server: Option<Server>,
}

impl Stand {
    pub fn new() -> Self {
        let bench = Bench::on(topology());
        bench.write("old.toml", OLD);
        bench.write("new.toml", NEW);
        bench.write("names.toml", NAMES);
        bench.write("limited.toml", LIMITED);
        bench.write("blocking.toml", BLOCKING);
        bench.write("replies.toml", REPLIES);
        bench.write("syn_cookies.toml", SYN_COOKIES);
        bench.write("services.toml", SERVICES);
        let through = "type = \"exec\"\nthrough = \"service\"";
        let through = SERVICES.replace("\"nat\"", "\"dsr\"").replace("type = \"exec\"", through);
        bench.write("through.toml", &through);
        Self { bench, waiting: RefCell::default(), sends: false, _server: None }
    }

    /// With a listener, for which the frame of [`super::state`] that is a SYN is answered where such a rule is in
    /// force, and all that it needs.
    #[track_caller]
    pub fn with_listener() -> Self {
        let mut stand = Self::new();
        let lab = stand.bench.lab();
        lab.ip("dut", ["address", "add", "10.5.0.1/32", "dev", JUDGED]);
        lab.namespace("dut").set("ipv4/tcp_syncookies", "2");
        stand._server = Some(Server::tcp(lab.namespace("dut"), "10.5.0.1:80"));
        stand.xdpctl(&["attach", JUDGED, "-c", "SYN_COOKIES", "--mode", "native"]);
        let judged = State::of(&stand.bench).judged;
        assert!(judged.contains(&"tx rule syns".to_owned()), "{judged:?}");
        stand
    }

    pub fn with_traffic() -> Self {
        Self { sends: true, ..Self::new() }
    }

    /// Arguments, in which `OLD`, `NEW`, `NAMES`, `SERVICES`, `THROUGH`, `LIMITED`, `BLOCKING`, `REPLIES`,
    /// `SYN_COOKIES` and `METRICS` are files.
    pub fn args(&self, args: &[&str]) -> Vec<String> {
        let path = |name: &str| self.bench.directory().join(name).display().to_string();
        let arg = |arg: &&str| match *arg {
            "OLD" => path("old.toml"),
            "NEW" => path("new.toml"),
            "NAMES" => path("names.toml"),
            "LIMITED" => path("limited.toml"),
            "BLOCKING" => path("blocking.toml"),
            "REPLIES" => path("replies.toml"),
            "SYN_COOKIES" => path("syn_cookies.toml"),
            "SERVICES" => path("services.toml"),
            "THROUGH" => path("through.toml"),
            "METRICS" => path("in0.prom"),
            other => other.to_owned(),
        };
        args.iter().map(arg).collect()
    }

    #[track_caller]
    fn xdpctl(&self, args: &[&str]) {
        self.bench.xdpctl(self.args(args)).success();
    }

    pub fn detached(&self) {
        // Status 1 where nothing was attached.
        self.bench.xdpctl(["detach", "--all"]);
        self.assert_nothing_left();
    }

    /// Attached with the old ruleset, and a run-time entry.
    fn attached_in(&self, mode: &str) {
        if self.bench.lab().programs("dut", JUDGED).is_empty() {
            self.xdpctl(&["attach", JUDGED, "-c", "OLD", "--mode", mode]);
        } else {
            self.xdpctl(&["reload", JUDGED, "-c", "OLD"]);
        }
        self.xdpctl(&["block", JUDGED, "10.9.0.1", "--note", "scanner"]);
    }

    pub fn attached(&self) {
        self.attached_in("native");
    }

    /// Attached with a service, of whose backend no command says anything.
    pub fn serving(&self) {
        if self.bench.lab().programs("dut", JUDGED).is_empty() {
            self.xdpctl(&["attach", JUDGED, "-c", "SERVICES", "--mode", "native"]);
        }
        self.xdpctl(&["backend", JUDGED, "web", "b1", "auto"]);
    }

    /// As [`Self::serving`], and checked through the service.
    pub fn serving_through(&self) {
        if self.bench.lab().programs("dut", JUDGED).is_empty() {
            self.xdpctl(&["attach", JUDGED, "-c", "THROUGH", "--mode", "native"]);
        }
        self.xdpctl(&["backend", JUDGED, "web", "b1", "auto"]);
    }

    /// As [`Self::attached`], by an attach: nothing is loaded that only other rulesets need.
    pub fn attached_anew(&self) {
        self.detached();
        self.attached();
    }

    /// As [`Self::attached`], without the entries that the command adds.
    pub fn without_entries(&self) {
        self.attached();
        // Status 1 where they were not there.
        for prefix in ["10.9.1.0/24", "2001:db8:9::1"] {
            self.bench.xdpctl(["unblock", JUDGED, prefix]);
        }
    }

    /// As [`Self::attached`], with entries of both families.
    pub fn with_entries(&self) {
        self.attached();
        self.xdpctl(&["block", JUDGED, "10.9.1.0/24", "2001:db8:9::1", "--for", "1h"]);
    }

    /// As [`Self::attached`], with a rule that has a limit.
    pub fn with_limits(&self) {
        self.attached();
        self.xdpctl(&["reload", JUDGED, "-c", "LIMITED"]);
    }

    /// As [`Self::attached`], with a rule that has blocked a source of each family.
    pub fn with_caught(&self) {
        self.attached();
        if self.caught() == 0 {
            self.xdpctl(&["reload", JUDGED, "-c", "BLOCKING"]);
        }
        for frame in [udp4("10.7.7.7", "10.0.0.2", 9, 23), udp6("2001:db8:7::7", "::2", 9, 23)] {
            self.bench.port("src0").send(&frame.build());
        }
        let deadline = Instant::now() + patient(EVENT);
        while self.caught() < 2 {
            assert!(Instant::now() < deadline, "nobody is blocked");
        }
    }

    fn caught(&self) -> usize {
        let listed = self.bench.xdpctl(["bans", JUDGED, "--owner", "rule:trap", "--json"]);
        listed.success().json().as_array().map_or(0, Vec::len)
    }

    /// As [`Self::attached`], with a program at the egress.
    pub fn with_replies(&self) {
        self.attached();
        self.xdpctl(&["reload", JUDGED, "-c", "REPLIES"]);
    }

    pub fn bypassed(&self) {
        self.attached();
        self.xdpctl(&["bypass", JUDGED, "on"]);
    }

    pub fn not_bypassed(&self) {
        self.attached();
        self.xdpctl(&["bypass", JUDGED, "off"]);
    }

    /// Starts a command that waits for a confirmation.
    #[track_caller]
    fn wait_to_be_confirmed(&self, args: &[&str]) -> Background {
        let args = [&self.args(args)[..], &["--confirm", "1h"].map(str::to_owned)].concat();
        let waiting = self.bench.lab().spawn_xdpctl("dut", args);
        let deadline = Instant::now() + patient(EVENT);
        while !waiting.stdout().contains("`xdpctl confirm in0`") {
            assert!(Instant::now() < deadline, "{} {}", waiting.stdout(), waiting.stderr());
            thread::sleep(Duration::from_millis(1));
        }
        waiting
    }

    pub fn attached_unconfirmed(&self) {
        // The command that waited before has ended before anything is detached.
        drop(self.waiting.borrow_mut().take());
        self.detached();
        let args = ["attach", JUDGED, "-c", "OLD", "--mode", "native"];
        *self.waiting.borrow_mut() = Some(self.wait_to_be_confirmed(&args));
    }

    /// On trial, of which only the program knows: the command was killed.
    pub fn tried(&self) {
        // Status 1 where nothing waits for that.
        self.bench.xdpctl(["confirm", JUDGED]);
        self.attached();
        let mut waiting = self.wait_to_be_confirmed(&["reload", JUDGED, "-c", "NEW"]);
        waiting.signal(Signal::SIGKILL);
        waiting.wait(EVENT).expect("it ends");
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        let lab = self.bench.lab();
        lab.assert_nothing_kept("dut");
        for interface in [JUDGED, "far0", "out0"] {
            assert_eq!(lab.programs("dut", interface), [], "{interface}");
        }
        assert_eq!(lab.at_egress("dut", JUDGED), [""; 0]);
    }

    pub fn run(&self, args: &[String], refusal: Option<Refusal>) -> Ran {
        let command = self.bench.lab().xdpctl_command("dut", args);
        if !self.sends {
            return shim::run(command, refusal);
        }
        let before = state::counted(&self.bench);
        let has_ended = AtomicBool::new(false);
        let port = self.bench.port("src0");
        let send = || {
            let mut sent = 0;
            while !has_ended.load(Ordering::Relaxed) {
                let frame = udp4("10.2.0.1", "192.0.2.1", 1024, 9).build();
                port.send(&frame);
                sent += 1;
                thread::sleep(Duration::from_millis(5));
            }
            sent
        };
        let (ran, sent): (Ran, u64) = thread::scope(|scope| {
            let sender = scope.spawn(send);
            let ran = shim::run(command, refusal);
            has_ended.store(true, Ordering::Relaxed);
            (ran, sender.join().expect("frames are sent"))
        });
        let deadline = Instant::now() + patient(EVENT);
        while state::counted(&self.bench) < before + sent {
            assert!(Instant::now() < deadline, "frames were not counted");
            thread::yield_now();
        }
        ran
    }
}
