//! CrowdSec and the bouncer, started for a test alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

pub const KEY: &str = "0123456789abcdef";
/// Long enough for 100,000 decisions on a busy machine.
pub const MANY: Duration = Duration::from_secs(600);

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// CrowdSec's local API and the bouncer in the namespace of the device under test, with all their
/// files in a directory of their own.
pub struct Crowdsec {
    // Before the directory, which they write to.
    pub api: Option<Background>,
    pub bouncer: Option<Background>,
    directory: TempDir,
    pub bench: Bench,
}

impl Crowdsec {
    /// Its files, a machine and a bouncer that it knows. Nothing is started.
    pub fn new() -> Self {
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
    pub fn started() -> Self {
        let mut crowdsec = Self::new();
        crowdsec.bench.attach("");
        crowdsec.start_api("config.yaml");
        crowdsec.start_bouncer();
        crowdsec
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration of CrowdSec: nothing but the local API, on that port.
    pub fn write_api_configuration(&self, name: &str, port: u16) {
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
    pub fn write_configuration(&self, more: &str) {
        let path = self.path("bouncer.toml");
        let key =
            if more.contains("api_key") { String::new() } else { format!("api_key = {KEY:?}\n") };
        fs::write(&path, format!("{key}poll = \"1s\"\n{more}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// One of CrowdSec's two programs, for its configuration `config`.
    pub fn crowdsec(&self, program: &str, config: &str) -> Command {
        let program = repository("target/programs/usr/bin").join(program);
        let mut command = self.bench.lab().command("dut", program);
        command.arg("-c").arg(self.path(config));
        command
    }

    #[track_caller]
    pub fn cscli_by(&self, config: &str, args: &[&str]) -> Output {
        let mut command = self.crowdsec("cscli", config);
        command.args(args);
        let output = Background::start(command).wait(MANY);
        let output = output.unwrap_or_else(|| panic!("cscli {args:?} does not end"));
        output.success();
        output
    }

    #[track_caller]
    pub fn cscli(&self, args: &[&str]) -> Output {
        self.cscli_by("config.yaml", args)
    }

    #[track_caller]
    pub fn ban(&self, address: &str, life: &str) {
        self.cscli(&["decisions", "add", "--ip", address, "--duration", life]);
    }

    #[track_caller]
    pub fn start_api(&mut self, config: &str) {
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
    pub fn stop_api(&mut self) {
        let mut api = self.api.take().expect("it was started");
        api.signal(Signal::SIGTERM);
        assert!(api.wait(EVENT).is_some(), "CrowdSec does not end\n{}", api.stderr());
    }

    pub fn bouncer_command(&self) -> Command {
        let program = repository("contrib/crowdsec/xdpctl-crowdsec-bouncer");
        let mut command = self.bench.lab().command("dut", program);
        let paths = [&*self.path("bin").to_string_lossy(), "/usr/bin", "/bin"].join(":");
        command.env("PATH", paths).env_remove("JOURNAL_STREAM");
        command.arg("-c").arg(self.path("bouncer.toml"));
        command
    }

    #[track_caller]
    pub fn start_bouncer(&mut self) {
        self.bouncer = Some(Background::start(self.bouncer_command()));
        self.await_said("follows http://127.0.0.1:8080\n", 1);
    }

    /// Stops the bouncer as systemd does.
    #[track_caller]
    pub fn stop_bouncer(&mut self) -> Output {
        let mut bouncer = self.bouncer.take().expect("it was started");
        bouncer.signal(Signal::SIGTERM);
        let ended = bouncer.wait(EVENT).expect("the bouncer ends");
        ended.success();
        ended
    }

    /// What the bouncer has said so far.
    pub fn said(&self) -> String {
        self.bouncer.as_ref().map(Background::stderr).unwrap_or_default()
    }

    #[track_caller]
    pub fn await_said(&self, what: &str, times: usize) {
        self.await_that(what, |this| this.said().matches(what).count() >= times);
    }

    #[track_caller]
    pub fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        self.await_long(what, EVENT, is_so);
    }

    #[track_caller]
    pub fn await_long(&self, what: &str, limit: Duration, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patient(limit);
        while !is_so(self) {
            let api = self.api.as_ref().map(Background::stderr).unwrap_or_default();
            let said = self.said();
            assert!(Instant::now() < deadline, "not so: {what}\n{said}\n--- the API\n{api}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn bans(&self) -> Vec<Value> {
        let listed = self.bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    }

    /// The prefixes that are blocked for CrowdSec.
    #[track_caller]
    pub fn enforced(&self) -> BTreeSet<String> {
        let bans = self.bans();
        let own = bans.iter().filter(|it| it["owner"] == "crowdsec" && it["kind"] == "block");
        own.map(|it| it["prefix"].as_str().expect("a prefix").to_owned()).collect()
    }

    #[track_caller]
    pub fn await_enforced(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|&it| it.to_owned()).collect();
        self.await_that(&format!("{expected:?}"), |this| this.enforced() == expected);
    }

    /// Seconds until the entry of that prefix ends.
    #[track_caller]
    pub fn life(&self, prefix: &str) -> Option<u64> {
        let bans = self.bans();
        let found = bans.iter().find(|it| it["prefix"] == prefix && it["owner"] == "crowdsec");
        found?["expires_in_seconds"].as_u64()
    }
}
