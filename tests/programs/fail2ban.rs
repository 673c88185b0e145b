//! Debian's fail2ban with the action of contrib/fail2ban: log lines become bans, and bans keep
//! packets out.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::bench::{Bench, JUDGED, Row, drop, pass};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

/// Where Debian's package has its configuration.
const DEBIAN: &str = "/etc/fail2ban";

/// Failures after which both jails ban.
const RETRIES: usize = 3;

/// A fail2ban in the namespace of the device under test, with all its files in a directory of its
/// own.
struct Fail2ban {
    // Before the directory, which it writes to.
    server: Option<Background>,
    directory: TempDir,
    bench: Bench,
}

impl Fail2ban {
    /// Its files, with these jails. Jails are Debian's own, and these lines are their
    /// `jail.local`. Nothing is started.
    fn new(jails: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["fail2ban.conf", "jail.conf", "filter.d", "paths-common.conf"] {
            symlink(Path::new(DEBIAN).join(name), path(name)).expect("a link");
        }
        symlink(Path::new(DEBIAN).join("paths-debian.conf"), path("paths-debian.conf"))
            .expect("a link");
        // The action alone, which includes no other file.
        let action = "contrib/fail2ban/action.d/xdpctl.conf";
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::create_dir(path("action.d")).expect("a directory");
        symlink(repository.join(action), path("action.d/xdpctl.conf")).expect("a link");
        fs::create_dir(path("bin")).expect("a directory");
        symlink(env!("CARGO_BIN_EXE_xdpctl"), path("bin/xdpctl")).expect("a link");
        let own = format!(
            "[DEFAULT]\nallowipv6 = yes\nlogtarget = {0}/log\nsocket = {0}/socket\n\
             pidfile = {0}/pid\ndbfile = {0}/database\n",
            directory.path().display()
        );
        fs::write(path("fail2ban.local"), own).expect("written");
        let jails = format!(
            "[DEFAULT]\nbanaction = xdpctl\nbanaction_allports = xdpctl\nbackend = polling\n\
             usedns = no\nmaxretry = {RETRIES}\nfindtime = 1h\nignoreself = false\n\n{}",
            jails.replace("DIR", directory.path().to_str().expect("UTF-8"))
        );
        fs::write(path("jail.local"), jails).expect("written");
        for name in ["auth.log", "nginx.log"] {
            fs::write(path(name), "").expect("written");
        }
        Self { server: None, directory, bench: Bench::new() }
    }

    /// The same, attached to the judged interface and started.
    fn started(jails: &str) -> Self {
        let mut fail2ban = Self::new(jails);
        fail2ban.bench.attach("");
        fail2ban.start();
        fail2ban
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.bench.lab().command("dut", program);
        let paths = [&*self.path("bin").to_string_lossy(), "/usr/bin", "/bin"].join(":");
        command.env("PATH", paths).env("TZ", "UTC");
        command.arg("-c").arg(self.directory.path()).args(args);
        command
    }

    /// Starts the server, and waits until all jails run.
    #[track_caller]
    fn start(&mut self) {
        self.server = Some(Background::start(self.command("fail2ban-server", &["-f", "start"])));
        self.await_that("the jails run", |this| {
            this.log().matches("Jail 'nginx-http-auth' started").count() > 0
                && this.log().matches("Jail 'sshd' started").count() > 0
        });
    }

    /// Stops the server as systemd does.
    #[track_caller]
    fn stop(&mut self) {
        let mut server = self.server.take().expect("it was started");
        server.signal(Signal::SIGTERM);
        assert!(server.wait(EVENT).is_some(), "fail2ban does not end\n{}", self.log());
    }

    /// Asks the server by its client.
    #[track_caller]
    fn client(&self, args: &[&str]) -> Output {
        let mut client = Background::start(self.command("fail2ban-client", args));
        client.wait(EVENT).unwrap_or_else(|| panic!("fail2ban-client {args:?} does not end"))
    }

    /// What the server has logged so far.
    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patient(EVENT);
        while !is_so(self) {
            let server = self.server.as_ref().map(Background::stderr).unwrap_or_default();
            assert!(Instant::now() < deadline, "not so: {what}\n{}\n{server}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn append(&self, name: &str, line: &str) {
        let opened = OpenOptions::new().append(true).open(self.path(name));
        let mut file = opened.expect("a log file");
        for _ in 0..RETRIES {
            writeln!(file, "{line}").expect("written");
        }
    }

    /// As many failed logins from there as it takes, as sshd logs them.
    fn attack_ssh(&self, source: &str) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        // To fail2ban, one process is one session, which has one address.
        let process: u32 = 1000 + source.bytes().map(u32::from).sum::<u32>();
        let line = format!(
            "{now} host sshd[{process}]: Failed password for invalid user admin from {source} port \
             40000 ssh2"
        );
        self.append("auth.log", &line);
    }

    /// As many as nginx logs them.
    fn attack_web(&self, source: &str) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let now = now.trim_end_matches('Z').replace('-', "/").replace('T', " ");
        let line = format!(
            "{now} [error] 4242#0: *7 user \"admin\": password mismatch, client: {source}, server: \
             www.example.org, request: \"GET / HTTP/1.1\", host: \"www.example.org\""
        );
        self.append("nginx.log", &line);
    }

    #[track_caller]
    fn bans(&self) -> Vec<Value> {
        let listed = self.bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    }

    /// Prefix and owner of each entry.
    #[track_caller]
    fn entries(&self) -> Vec<String> {
        let line = |entry: &Value| format!("{} {}", entry["prefix"], entry["owner"]);
        self.bans().iter().map(|entry| line(entry).replace('"', "")).collect()
    }

    #[track_caller]
    fn await_entries(&self, expected: &[&str]) {
        self.await_that(&format!("entries {expected:?}"), |this| this.entries() == expected);
    }

    /// Nothing that fail2ban did has failed.
    #[track_caller]
    fn assert_no_errors(&self) {
        let log = self.log();
        let is_wrong = |line: &&str| ["ERROR", "CRITICAL"].iter().any(|it| line.contains(it));
        let wrong: Vec<&str> = log.lines().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}\n{log}");
    }
}

const JAILS: &str = "
[sshd]
enabled = true
logpath = DIR/auth.log
bantime = 10m

[nginx-http-auth]
enabled = true
logpath = DIR/nginx.log
banaction = xdpctl[interface=in0]
bantime = 1h
";

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

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_fails_in_a_log_is_kept_out() {
    let fail2ban = Fail2ban::started(JAILS);
    fail2ban.bench.run(&[passed("203.0.113.7"), passed("2001:db8::7")]);

    fail2ban.attack_ssh("203.0.113.7");
    fail2ban.await_entries(&["203.0.113.7/32 fail2ban-sshd"]);
    fail2ban.attack_ssh("2001:db8::7");
    fail2ban.await_entries(&["203.0.113.7/32 fail2ban-sshd", "2001:db8::7/128 fail2ban-sshd"]);
    fail2ban.bench.run(&[
        dropped("203.0.113.7"),
        dropped("2001:db8::7"),
        passed("203.0.113.8"),
        passed("2001:db8::8"),
    ]);
    let bans = fail2ban.bans();
    assert_eq!(bans[0]["note"], "fail2ban sshd: 3 failures");
    let left = bans[0]["expires_in_seconds"].as_u64().expect("it ends");
    assert!(left <= 600, "{left}");

    let unbanned = fail2ban.client(&["set", "sshd", "unbanip", "2001:db8::7"]);
    assert_eq!(unbanned.success().stdout.trim(), "1");
    fail2ban.await_entries(&["203.0.113.7/32 fail2ban-sshd"]);
    fail2ban.bench.run(&[passed("2001:db8::7"), dropped("203.0.113.7")]);
    fail2ban.assert_no_errors();
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn two_jails_ban_one_address_and_each_lifts_its_own_ban() {
    let fail2ban = Fail2ban::started(JAILS);
    let [web, ssh] = ["203.0.113.7/32 fail2ban-nginx-http-auth", "203.0.113.7/32 fail2ban-sshd"];
    fail2ban.attack_ssh("203.0.113.7");
    fail2ban.await_entries(&[ssh]);
    fail2ban.attack_web("203.0.113.7");
    fail2ban.await_entries(&[web, ssh]);
    fail2ban.bench.run(&[dropped("203.0.113.7")]);

    // The earlier end first, and the other way round.
    for (first, owner, other) in
        [("sshd", web, "nginx-http-auth"), ("nginx-http-auth", ssh, "sshd")]
    {
        fail2ban.client(&["set", first, "unbanip", "203.0.113.7"]).success();
        fail2ban.await_entries(&[owner]);
        fail2ban.bench.run(&[dropped("203.0.113.7")]);
        fail2ban.client(&["set", other, "unbanip", "203.0.113.7"]).success();
        fail2ban.await_entries(&[]);
        fail2ban.bench.run(&[passed("203.0.113.7")]);
        for jail in ["sshd", "nginx-http-auth"] {
            fail2ban.client(&["set", jail, "banip", "203.0.113.7"]).success();
        }
        fail2ban.await_entries(&[web, ssh]);
    }
    fail2ban.assert_no_errors();
}

/// One ban is over while the other goes on, and the end that fail2ban lifts is in the data plane
/// already, or is not: neither is an error.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_ban_ends_and_the_later_one_counts() {
    let fail2ban = Fail2ban::started(&JAILS.replace("bantime = 10m", "bantime = 2"));
    let web = "203.0.113.7/32 fail2ban-nginx-http-auth";
    fail2ban.attack_web("203.0.113.7");
    fail2ban.await_entries(&[web]);
    fail2ban.attack_ssh("203.0.113.7");
    fail2ban
        .await_that("sshd's ban is over", |this| this.log().contains("[sshd] Unban 203.0.113.7"));
    fail2ban.await_entries(&[web]);
    fail2ban.bench.run(&[dropped("203.0.113.7")]);

    // Somebody removed the entry by hand.
    fail2ban.bench.xdpctl(["unblock", JUDGED, "203.0.113.7"]).success();
    fail2ban.client(&["set", "nginx-http-auth", "unbanip", "203.0.113.7"]).success();
    fail2ban.await_that("it is lifted", |this| {
        this.log().contains("[nginx-http-auth] Unban 203.0.113.7")
    });
    fail2ban.bench.run(&[passed("203.0.113.7")]);
    fail2ban.assert_no_errors();
}

/// A stop removes the jails' entries and nobody else's, and a start puts them back with what is left
/// of their time.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_restart_bans_again_for_the_rest_of_the_time() {
    let jails = JAILS.replace("bantime = 10m", "bantime = -1");
    let mut fail2ban = Fail2ban::started(&jails);
    fail2ban.bench.xdpctl(["block", JUDGED, "198.51.100.1"]).success();
    fail2ban.attack_ssh("203.0.113.7");
    fail2ban.attack_web("203.0.113.8");
    let all = [
        "198.51.100.1/32 cli",
        "203.0.113.7/32 fail2ban-sshd",
        "203.0.113.8/32 fail2ban-nginx-http-auth",
    ];
    fail2ban.await_entries(&all);
    let life = |fail2ban: &Fail2ban, nth: usize| fail2ban.bans()[nth]["expires_in_seconds"].clone();
    assert_eq!(life(&fail2ban, 1), Value::Null, "a ban without end");
    let before = life(&fail2ban, 2).as_u64().expect("it ends");

    fail2ban.stop();
    assert_eq!(fail2ban.entries(), ["198.51.100.1/32 cli"]);
    fail2ban.bench.run(&[passed("203.0.113.7"), passed("203.0.113.8"), dropped("198.51.100.1")]);

    fs::remove_file(fail2ban.path("log")).expect("a log");
    fail2ban.start();
    fail2ban.await_entries(&all);
    assert_eq!(life(&fail2ban, 1), Value::Null);
    let after = life(&fail2ban, 2).as_u64().expect("it ends");
    assert!(after <= before, "{after} seconds are left, and {before} were before");
    fail2ban.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8")]);
    fail2ban.assert_no_errors();
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_is_not_attached_is_said_at_the_start() {
    let mut fail2ban = Fail2ban::new(JAILS);
    fail2ban.start();
    let said = "xdpctl is not attached to";
    fail2ban.await_that("it says so", |this| this.log().matches(said).count() >= 2);
    fail2ban.bench.attach("");
    fail2ban.attack_ssh("203.0.113.7");
    fail2ban.await_entries(&["203.0.113.7/32 fail2ban-sshd"]);
    fail2ban.bench.run(&[dropped("203.0.113.7")]);
}
