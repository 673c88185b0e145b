//! Debian's CrowdSec with the bouncer of contrib/crowdsec: what the local API decides is what xdpctl
//! enforces, after restarts, after many decisions, and after one of the two was away.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::systemd::assert_allowed;
use crate::lab::bench::{Bench, JUDGED, Row, drop, pass};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

const KEY: &str = "0123456789abcdef";
/// Long enough for 100,000 decisions on a busy machine.
const MANY: Duration = Duration::from_secs(600);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// CrowdSec's local API and the bouncer in the namespace of the device under test, with all their
/// files in a directory of their own.
struct Crowdsec {
    // Before the directory, which they write to.
    api: Option<Background>,
    bouncer: Option<Background>,
    directory: TempDir,
    bench: Bench,
}

impl Crowdsec {
    /// Its files, a machine and a bouncer that it knows. Nothing is started.
    fn new() -> Self {
        let bench = Bench::new();
        bench.lab().ip("dut", ["link", "set", "lo", "up"]);
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["bin", "data", "etc", "hub"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        let link = directory.path().join("bin/xdpctl");
        symlink(env!("CARGO_BIN_EXE_xdpctl"), link).expect("a link");
        let crowdsec = Self { api: None, bouncer: None, directory, bench };
        for name in ["profiles.yaml", "simulation.yaml"] {
            let from = repository("target/programs/etc/crowdsec").join(name);
            fs::copy(&from, crowdsec.path("etc").join(name))
                .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        crowdsec.write_api_configuration("config.yaml", 8080);
        crowdsec.write_configuration("");
        crowdsec.cscli(&["bouncers", "add", "xdpctl", "--key", KEY]);
        let credentials = crowdsec.path("etc/credentials.yaml");
        fs::write(&credentials, "").expect("written");
        let credentials = credentials.to_str().expect("UTF-8");
        let machine = ["machines", "add", "tester", "--password", "x", "--force"];
        crowdsec.cscli(&[&machine[..], &["--file", credentials]].concat());
        crowdsec
    }

    /// The same, with xdpctl on the judged interface, the API and the bouncer started.
    fn started() -> Self {
        let mut crowdsec = Self::new();
        crowdsec.bench.attach("");
        crowdsec.start_api("config.yaml");
        crowdsec.start_bouncer();
        crowdsec
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration of CrowdSec: nothing but the local API, on that port.
    fn write_api_configuration(&self, name: &str, port: u16) {
        let text = format!(
            "common: {{daemonize: false, log_media: stdout, log_level: info}}\n\
             config_paths:\n  config_dir: DIR/etc\n  data_dir: DIR/data\n  hub_dir: DIR/hub\n  \
             index_path: DIR/hub/.index.json\n  simulation_path: DIR/etc/simulation.yaml\n\
             cscli: {{output: raw}}\n\
             db_config: {{type: sqlite, db_path: DIR/data/crowdsec.db, use_wal: true}}\n\
             api:\n  client: {{credentials_path: DIR/etc/credentials.yaml}}\n  \
             server:\n    listen_uri: 127.0.0.1:{port}\n    profiles_path: DIR/etc/profiles.yaml\n    \
             console_path: DIR/etc/console.yaml\n\
             prometheus: {{enabled: false}}\n"
        );
        let directory = self.directory.path().to_str().expect("UTF-8");
        fs::write(self.path(name), text.replace("DIR", directory)).expect("written");
    }

    /// The bouncer's configuration, with these lines behind the others.
    fn write_configuration(&self, more: &str) {
        let path = self.path("bouncer.toml");
        let key =
            if more.contains("api_key") { String::new() } else { format!("api_key = {KEY:?}\n") };
        fs::write(&path, format!("{key}poll = \"1s\"\n{more}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// One of CrowdSec's two programs, for its configuration `config`.
    fn crowdsec(&self, program: &str, config: &str) -> Command {
        let program = repository("target/programs/usr/bin").join(program);
        let mut command = self.bench.lab().command("dut", program);
        command.arg("-c").arg(self.path(config));
        command
    }

    #[track_caller]
    fn cscli_by(&self, config: &str, args: &[&str]) -> Output {
        let mut command = self.crowdsec("cscli", config);
        command.args(args);
        let output = Background::start(command).wait(MANY);
        let output = output.unwrap_or_else(|| panic!("cscli {args:?} does not end"));
        output.success();
        output
    }

    #[track_caller]
    fn cscli(&self, args: &[&str]) -> Output {
        self.cscli_by("config.yaml", args)
    }

    #[track_caller]
    fn ban(&self, address: &str, life: &str) {
        self.cscli(&["decisions", "add", "--ip", address, "--duration", life]);
    }

    #[track_caller]
    fn start_api(&mut self, config: &str) {
        let mut command = self.crowdsec("crowdsec", config);
        command.args(["-no-cs", "-no-capi"]);
        self.api = Some(Background::start(command));
        self.await_that("the API listens", |this| {
            let api = this.api.as_ref().expect("it was started");
            // It logs so before it does.
            api.stderr().contains("Local API listening")
                && this.bench.lab().namespace("dut").enter(|| {
                    [8080, 8081]
                        .iter()
                        .any(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
                })
        });
    }

    #[track_caller]
    fn stop_api(&mut self) {
        let mut api = self.api.take().expect("it was started");
        api.signal(Signal::SIGTERM);
        assert!(api.wait(EVENT).is_some(), "CrowdSec does not end\n{}", api.stderr());
    }

    fn bouncer_command(&self) -> Command {
        let program = repository("contrib/crowdsec/xdpctl-crowdsec-bouncer");
        let mut command = self.bench.lab().command("dut", program);
        let paths = [&*self.path("bin").to_string_lossy(), "/usr/bin", "/bin"].join(":");
        command.env("PATH", paths).env_remove("JOURNAL_STREAM");
        command.arg("-c").arg(self.path("bouncer.toml"));
        command
    }

    #[track_caller]
    fn start_bouncer(&mut self) {
        self.bouncer = Some(Background::start(self.bouncer_command()));
        self.await_said("follows http://127.0.0.1:8080\n", 1);
    }

    /// Stops the bouncer as systemd does.
    #[track_caller]
    fn stop_bouncer(&mut self) -> Output {
        let mut bouncer = self.bouncer.take().expect("it was started");
        bouncer.signal(Signal::SIGTERM);
        let ended = bouncer.wait(EVENT).expect("the bouncer ends");
        ended.success();
        ended
    }

    /// What the bouncer has said so far.
    fn said(&self) -> String {
        self.bouncer.as_ref().map(Background::stderr).unwrap_or_default()
    }

    #[track_caller]
    fn await_said(&self, what: &str, times: usize) {
        self.await_that(what, |this| this.said().matches(what).count() >= times);
    }

    #[track_caller]
    fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        self.await_long(what, EVENT, is_so);
    }

    #[track_caller]
    fn await_long(&self, what: &str, limit: Duration, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patient(limit);
        while !is_so(self) {
            let api = self.api.as_ref().map(Background::stderr).unwrap_or_default();
            let said = self.said();
            assert!(Instant::now() < deadline, "not so: {what}\n{said}\n--- the API\n{api}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn bans(&self) -> Vec<Value> {
        let listed = self.bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    }

    /// The prefixes that are blocked for CrowdSec.
    #[track_caller]
    fn enforced(&self) -> BTreeSet<String> {
        let bans = self.bans();
        let own = bans.iter().filter(|it| it["owner"] == "crowdsec" && it["kind"] == "block");
        own.map(|it| it["prefix"].as_str().expect("a prefix").to_owned()).collect()
    }

    #[track_caller]
    fn await_enforced(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|&it| it.to_owned()).collect();
        self.await_that(&format!("{expected:?}"), |this| this.enforced() == expected);
    }

    /// Seconds until the entry of that prefix ends.
    #[track_caller]
    fn life(&self, prefix: &str) -> Option<u64> {
        let bans = self.bans();
        let found = bans.iter().find(|it| it["prefix"] == prefix && it["owner"] == "crowdsec");
        found?["expires_in_seconds"].as_u64()
    }
}

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "2001:db8:ffff::1", 40_000, 22),
        false => udp4(source, "192.0.2.1", 40_000, 22),
    }
}

fn dropped(source: &str) -> Row {
    drop(source, from(source), "banned")
}

fn passed(source: &str) -> Row {
    pass(source, from(source), "default")
}

const HOUR: u64 = 3600;

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_is_decided_is_kept_out_until_it_is_lifted() {
    let crowdsec = Crowdsec::started();
    let bench = &crowdsec.bench;
    bench.run(&[passed("203.0.113.7"), passed("2001:db8::7"), passed("198.51.100.9")]);

    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.ban("2001:db8::7", "1h");
    crowdsec.cscli(&["decisions", "add", "--range", "198.51.100.0/24", "--duration", "4h"]);
    // Neither of these is for packets.
    crowdsec.cscli(&["decisions", "add", "--scope", "country", "--value", "XX"]);
    crowdsec.cscli(&["decisions", "add", "--ip", "203.0.113.9", "--type", "captcha"]);
    // Nor is this one anything that could be told from no filter at all.
    crowdsec.cscli(&["decisions", "add", "--range", "0.0.0.0/0", "--duration", "1h"]);
    let all = ["198.51.100.0/24", "2001:db8::7/128", "203.0.113.7/32"];
    crowdsec.await_enforced(&all);
    bench.run(&[
        dropped("203.0.113.7"),
        dropped("2001:db8::7"),
        dropped("198.51.100.9"),
        passed("203.0.113.8"),
        passed("203.0.113.9"),
        passed("2001:db8::8"),
    ]);
    let life = crowdsec.life("203.0.113.7/32").expect("it ends");
    assert!((3 * HOUR..=4 * HOUR + 60).contains(&life), "{life}");
    crowdsec.await_said("1 decision left out; the first: 0.0.0.0/0 is every address", 1);

    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.await_enforced(&all[..2]);
    crowdsec.cscli(&["decisions", "delete", "--range", "198.51.100.0/24"]);
    crowdsec.await_enforced(&all[1..2]);
    bench.run(&[passed("203.0.113.7"), passed("198.51.100.9"), dropped("2001:db8::7")]);
}

/// The API tells by itself only the longest of them, and nothing of the shorter when that is lifted.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn of_two_decisions_on_an_address_the_later_end_counts() {
    let crowdsec = Crowdsec::started();
    let prefix = "203.0.113.7/32";
    let lives = |from: u64, to: u64| {
        let is_so = move |this: &Crowdsec| {
            this.life(prefix).is_some_and(|life| (from * HOUR..=to * HOUR).contains(&life))
        };
        crowdsec.await_that(&format!("it lives {from} to {to} hours"), is_so);
    };
    crowdsec.ban("203.0.113.7", "2h");
    lives(1, 3);
    crowdsec.ban("203.0.113.7", "8h");
    lives(7, 9);
    crowdsec.ban("203.0.113.7", "30m");
    crowdsec.ban("203.0.113.8", "30m");
    crowdsec.await_enforced(&[prefix, "203.0.113.8/32"]);
    lives(7, 9);

    // The second of its database.
    crowdsec.cscli(&["decisions", "delete", "--id", "2"]);
    lives(1, 3);
    crowdsec.bench.run(&[dropped("203.0.113.7")]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_decision_that_is_over_is_over_for_packets() {
    let crowdsec = Crowdsec::started();
    crowdsec.ban("203.0.113.7", "1h");
    crowdsec.ban("203.0.113.8", "4s");
    crowdsec.await_that("it was there", |this| this.said().contains("put, 0 removed"));
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.bench.run(&[passed("203.0.113.8"), dropped("203.0.113.7")]);
}

/// A stop of the bouncer leaves what is in force; what was decided meanwhile is in force after its
/// start.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_bouncer_starts_again() {
    let mut crowdsec = Crowdsec::started();
    crowdsec.bench.xdpctl(["block", JUDGED, "198.51.100.1"]).success();
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    let said = crowdsec.stop_bouncer().stderr;
    assert!(said.ends_with("ends; the entries stay, each until its decision is over\n"), "{said}");
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8")]);

    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.ban("203.0.113.9", "4h");
    assert_eq!(crowdsec.enforced().len(), 2);
    crowdsec.start_bouncer();
    crowdsec.await_enforced(&["203.0.113.8/32", "203.0.113.9/32"]);
    // What is another owner's is none of its business.
    crowdsec.bench.run(&[passed("203.0.113.7"), dropped("203.0.113.9"), dropped("198.51.100.1")]);

    // A kill leaves it too.
    crowdsec.bouncer.as_ref().expect("it runs").signal(Signal::SIGKILL);
    crowdsec.bouncer = None;
    crowdsec.bench.run(&[dropped("203.0.113.9")]);
    crowdsec.start_bouncer();
    crowdsec.ban("203.0.113.10", "4h");
    crowdsec.await_enforced(&["203.0.113.10/32", "203.0.113.8/32", "203.0.113.9/32"]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_api_goes_and_comes_back() {
    let mut crowdsec = Crowdsec::started();
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    crowdsec.stop_api();
    crowdsec.await_said("gives no answer", 1);
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8")]);

    // Decided where the bouncer does not see it: lifted, and gone out of the database too.
    crowdsec.write_api_configuration("other.yaml", 8081);
    let credentials = crowdsec.path("etc/credentials.yaml");
    let usual = fs::read_to_string(&credentials).expect("credentials");
    fs::write(&credentials, usual.replace("8080", "8081")).expect("written");
    crowdsec.start_api("other.yaml");
    crowdsec.cscli_by("other.yaml", &["alerts", "delete", "--ip", "203.0.113.7"]);
    let add = ["decisions", "add", "--ip", "203.0.113.9", "--duration", "4h"];
    crowdsec.cscli_by("other.yaml", &add);
    crowdsec.stop_api();
    assert_eq!(crowdsec.enforced().len(), 2);

    fs::write(&credentials, usual).expect("written");
    crowdsec.start_api("config.yaml");
    crowdsec.await_enforced(&["203.0.113.8/32", "203.0.113.9/32"]);
    crowdsec.bench.run(&[passed("203.0.113.7"), dropped("203.0.113.8"), dropped("203.0.113.9")]);
    // Told once, however often it was asked.
    let said = crowdsec.said();
    assert_eq!(said.matches("gives no answer").count(), 1, "{said}");
    assert_eq!(said.matches("answers again").count(), 1, "{said}");
}

/// Where the API is away from the start, nothing is known, and nothing is changed.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn without_an_api_nothing_changes() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.bench.xdpctl(["block", JUDGED, "203.0.113.7", "--owner", "crowdsec"]).success();
    crowdsec.start_bouncer();
    crowdsec.await_said("gives no answer", 1);
    crowdsec.await_said("what is in force stays as it is", 1);
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.start_api("config.yaml");
    crowdsec.await_enforced(&[]);
}

/// What somebody else did to its entries, and what an interface lost.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_differs_is_mended() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.write_configuration("reconcile = \"2s\"");
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.start_bouncer();
    let all = ["203.0.113.7/32", "203.0.113.8/32"];
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&all);
    let owned = |args: &[&str]| {
        crowdsec.bench.xdpctl([args, &["--owner", "crowdsec"]].concat()).success();
    };
    owned(&["unblock", JUDGED, "203.0.113.7"]);
    crowdsec.await_enforced(&all);
    owned(&["block", JUDGED, "203.0.113.9", "--for", "1h"]);
    crowdsec.await_enforced(&all);
    // Other ends, and the opposite.
    let is_right = |this: &Crowdsec| {
        this.life(all[0]).is_some_and(|life| (3 * HOUR..=4 * HOUR + 60).contains(&life))
    };
    owned(&["block", JUDGED, "203.0.113.7", "--for", "1m"]);
    crowdsec.await_that("its end is right", is_right);
    owned(&["block", JUDGED, "203.0.113.7"]);
    crowdsec.await_that("it has an end", is_right);
    owned(&["allow", JUDGED, "203.0.113.7"]);
    crowdsec.await_enforced(&all);
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8"), passed("203.0.113.9")]);

    // Gone and attached anew.
    crowdsec.bench.xdpctl(["detach", JUDGED]).success();
    crowdsec.await_said("xdpctl is not attached to any interface", 1);
    let configuration = crowdsec.bench.write("in0.toml", "");
    let configuration = configuration.to_str().expect("UTF-8");
    crowdsec.bench.xdpctl(["attach", JUDGED, "-c", configuration, "--mode", "native"]).success();
    crowdsec.await_enforced(&all);
}

/// What xdpctl refuses, here because it would cut off the SSH connection that the bouncer was started
/// in, leaves the others in force.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_is_refused_keeps_nothing_else_out() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.bench.lab().ip("dut", ["address", "add", "192.0.2.1/24", "dev", JUDGED]);
    crowdsec.start_api("config.yaml");
    let mut lines = String::from("duration,scope,value\n");
    for nth in 1..=50 {
        let _ = writeln!(lines, "4h,ip,203.0.113.{nth}");
    }
    let path = crowdsec.path("decisions.csv");
    fs::write(&path, lines).expect("written");
    crowdsec.cscli(&["decisions", "import", "-i", path.to_str().expect("UTF-8")]);
    let mut command = crowdsec.bouncer_command();
    command.env("SSH_CONNECTION", "203.0.113.7 40000 192.0.2.1 22");
    crowdsec.bouncer = Some(Background::start(command));
    crowdsec.await_said("in0: 1 decision not put in force: on in0, a block of 203.0.113.7", 1);
    let but_one = (1..=50).filter(|nth| *nth != 7).map(|nth| format!("203.0.113.{nth}/32"));
    assert_eq!(crowdsec.enforced(), but_one.collect());
    crowdsec.bench.run(&[dropped("203.0.113.8"), passed("203.0.113.7")]);
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.8"]);
    crowdsec.await_that("it is lifted", |this| this.enforced().len() == 48);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_wrong_key_or_configuration_ends_it() {
    let mut crowdsec = Crowdsec::started();
    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.await_enforced(&["203.0.113.7/32"]);

    // While it runs: the key is taken from it.
    crowdsec.cscli(&["bouncers", "delete", "xdpctl"]);
    let mut bouncer = crowdsec.bouncer.take().expect("it runs");
    let ended = bouncer.wait(EVENT).expect("it ends");
    let said = &ended.expect_status(2).stderr;
    assert!(said.contains("error: the API refuses the key: `cscli bouncers list`"), "{said}");
    crowdsec.bench.run(&[dropped("203.0.113.7")]);

    let refused = |configuration: &str| {
        crowdsec.write_configuration(configuration);
        let mut bouncer = Background::start(crowdsec.bouncer_command());
        let ended = bouncer.wait(EVENT).expect("it ends");
        ended.expect_status(2);
        ended.stderr
    };
    let said = refused("api_key = \"wrong\"");
    assert!(said.contains("error: the API refuses the key"), "{said}");
    let said = refused("api_url = \"tcp://x\"\npol = \"1s\"\nipv6_aggregate = 129\ntypes = []");
    for mistake in [
        "api_url cannot be 'tcp://x': an address such as",
        "there is no key 'pol': those that there are are api_url, ",
        "ipv6_aggregate cannot be 129: the length of a prefix, 1 to 128",
        "types cannot be []: a list such as",
    ] {
        assert!(said.contains(mistake), "{mistake} in {said}");
    }
    assert!(refused("x").contains("bouncer.toml: "));
    crowdsec.bench.run(&[dropped("203.0.113.7")]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_hangup_has_the_configuration_read_again() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.write_configuration("interfaces = [\"in0\"]");
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.start_bouncer();
    crowdsec.ban("2001:db8::7", "4h");
    crowdsec.ban("2001:db8::8", "2h");
    let single = ["2001:db8::7/128", "2001:db8::8/128"];
    crowdsec.await_enforced(&single);

    let hang_up = |configuration: &str| {
        crowdsec.write_configuration(configuration);
        crowdsec.bouncer.as_ref().expect("it runs").signal(Signal::SIGHUP);
    };
    hang_up("interfaces = [\"in0\"]\nipv6_aggregate = 64");
    crowdsec.await_enforced(&["2001:db8::/64"]);
    let life = crowdsec.life("2001:db8::/64").expect("it ends");
    assert!(life > 3 * HOUR, "the longer one: {life}");
    crowdsec.bench.run(&[dropped("2001:db8::1234")]);
    // A mistake changes nothing.
    hang_up("interfaces = 7");
    crowdsec.await_said("what was read before stays in force", 1);
    crowdsec.await_enforced(&["2001:db8::/64"]);
    hang_up("");
    crowdsec.await_enforced(&single);
    // Another interface alone.
    hang_up("interfaces = [\"out0\"]");
    crowdsec.await_enforced(&[]);
    crowdsec.await_said("out0: xdpctl is not attached to it", 1);
    hang_up("");
    crowdsec.await_enforced(&single);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_hundred_thousand_decisions() {
    let mut crowdsec = Crowdsec::started();
    // From four to eight hours, and hardly two alike.
    let mut lines = String::from("duration,scope,value\n");
    let mut expected = BTreeSet::new();
    for nth in 0..100_000u32 {
        let life = 14_400 + nth / 7;
        if nth % 10 == 0 {
            let _ = writeln!(lines, "{life}s,ip,2001:db8:{:x}:{:x}::1", nth >> 8, nth & 0xff);
            let address: std::net::Ipv6Addr =
                format!("2001:db8:{:x}:{:x}::1", nth >> 8, nth & 0xff).parse().expect("an address");
            expected.insert(format!("{address}/128"));
        } else {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + nth * 7);
            let _ = writeln!(lines, "{life}s,ip,{address}");
            expected.insert(format!("{address}/32"));
        }
    }
    let path = crowdsec.path("decisions.csv");
    fs::write(&path, lines).expect("written");
    crowdsec.cscli(&["decisions", "import", "-i", path.to_str().expect("UTF-8")]);
    crowdsec
        .await_long("all are in force", MANY, |this| this.said().contains("100,000 in force\n"));
    assert!(crowdsec.enforced() == expected, "not those that were decided");
    let one = std::net::Ipv4Addr::from(0x0b00_0000 + 7 * 4321).to_string();
    crowdsec.bench.run(&[dropped(&one), passed("203.0.113.7")]);
    // No entry ends before its decision, or much later.
    let life = crowdsec.life(&format!("{one}/32")).expect("it ends");
    let longest = 14_400 + 4321 / 7;
    assert!((longest - 1800..=longest + longest / 10).contains(&life), "{life} of {longest}");

    // After a restart, nothing is to be done but for what changed meanwhile.
    crowdsec.stop_bouncer();
    let prefix = format!("{one}/32");
    crowdsec.cscli(&["decisions", "delete", "--ip", &one]);
    crowdsec.bench.xdpctl(["unblock", JUDGED, "2001:db8:0:a::1"]).success();
    crowdsec.start_bouncer();
    crowdsec.await_long("it has compared", MANY, |this| {
        this.said().contains("compared with all decisions: 1 put, 1 removed, 99,999 in force\n")
    });
    expected.remove(&prefix);
    assert!(crowdsec.enforced() == expected, "not those that were decided");
}

/// What its unit does not let it do, it need not do.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn it_does_nothing_that_its_unit_forbids() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.ban("203.0.113.8", "4h");
    let trace = crowdsec.path("trace");
    let bouncer = crowdsec.bouncer_command();
    let mut traced = crowdsec.bench.lab().command("dut", "strace");
    traced.args(["-f", "-qq", "-o"]).arg(&trace).arg(bouncer.get_program());
    traced.args(bouncer.get_args());
    traced.envs(bouncer.get_envs().filter_map(|(name, value)| Some((name, value?))));
    crowdsec.bouncer = Some(Background::start(traced));
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.await_enforced(&["203.0.113.8/32"]);
    // strace blocks signals and passes none on; each line of its begins with a process id.
    let so_far = fs::read_to_string(&trace).expect("a trace");
    let process = so_far.split_whitespace().next().and_then(|word| word.parse().ok());
    kill(Pid::from_raw(process.expect("a process id")), Signal::SIGTERM).expect("a signal");
    let mut bouncer = crowdsec.bouncer.take().expect("it runs");
    bouncer.wait(EVENT).expect("it ends").success();
    let trace = fs::read_to_string(&trace).expect("a trace");
    assert_allowed("xdpctl-crowdsec-bouncer.service", "xdpctl-crowdsec-bouncer", &trace);
}
