//! The units in contrib/systemd: systemd reads them, finds them confined, and what they start does
//! its work with no more than they allow. No systemd has to run: their command lines are run by hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::udp4;
use crate::lab::patience::EVENT;
use crate::lab::{Background, Output, Traffic};

const UNITS: [&str; 5] = [
    "xdpctl@.service",
    "xdpctl-virtual@.service",
    "xdpctl-metrics.service",
    "xdpctl-health.service",
    "xdpctl-crowdsec-bouncer.service",
];
/// Ten times the exposure that `systemd-analyze security` may find, of 100: 5 and less it calls "OK",
/// and most of what is left is root and its capabilities for bpf(2).
const EXPOSURE: &str = "35";

fn text(unit: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd").join(unit);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a key, in order, over all lines that have it.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = text(unit);
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

fn words(unit: &str, key: &str) -> BTreeSet<String> {
    values(unit, key).join(" ").split_whitespace().map(str::to_owned).collect()
}

fn run(command: Command) -> Output {
    Background::start(command).wait(Duration::from_secs(120)).expect("it ends")
}

/// A folder with the units as they are once xdpctl is installed where they look for it.
fn installed() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |unit: &str| {
        let binary = format!("={} ", env!("CARGO_BIN_EXE_xdpctl"));
        let bouncer = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../contrib/crowdsec/xdpctl-crowdsec-bouncer");
        let bouncer = format!("={}\n", bouncer.display());
        let text = text(unit).replace("=xdpctl ", &binary);
        let path = folder.path().join(unit);
        fs::write(&path, text.replace("=xdpctl-crowdsec-bouncer\n", &bouncer)).expect("written");
        path
    };
    let paths = UNITS.map(write).into();
    (folder, paths)
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn systemd_reads_them_and_finds_them_confined() {
    let (_folder, paths) = installed();
    for path in paths {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path);
        let verified = run(verify);
        assert_eq!(verified.success().stderr, "", "{}", path.display());

        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE]);
        run(security.arg_and(&path)).success();
    }
    // The one makes /sys/fs/bpf read-only, and the other does not undo that.
    for unit in UNITS {
        let tunables = words(unit, "ProtectKernelTunables").contains("yes");
        assert!(!(tunables && words(unit, "ReadWritePaths").contains("/sys/fs/bpf")), "{unit}");
    }
    // It does look.
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("xdpctl@.service");
    let bare = "[Service]\nType=oneshot\nExecStart=/bin/true\nProtectSysten=strict\n";
    fs::write(&wrong, bare).expect("written");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    assert!(run(verify.arg_and(&wrong)).stderr.contains("ProtectSysten"));
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE]);
    assert_ne!(run(security.arg_and(&wrong)).status, 0);
}

trait ArgAnd {
    fn arg_and(self, argument: &Path) -> Self;
}

impl ArgAnd for Command {
    fn arg_and(mut self, argument: &Path) -> Self {
        self.arg(argument);
        self
    }
}

/// What they start is the same, and so is what that may do.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn both_templates_have_the_same_service() {
    let service = |unit: &str| {
        let text = text(unit);
        let (_, rest) = text.split_once("\n[Service]\n").expect("a service");
        rest.split("\n[Install]\n").next().expect("its lines").to_owned()
    };
    assert_eq!(service(UNITS[0]), service(UNITS[1]));
    // Names that systemd escapes come back as they were.
    let mut escape = Command::new("systemd-escape");
    escape.args(["--template=xdpctl-virtual@.service", "br-lan"]);
    assert_eq!(run(escape).success().stdout, "xdpctl-virtual@br\\x2dlan.service\n");
    let mut unescape = Command::new("systemd-escape");
    unescape.args(["--unescape", "--instance", "xdpctl-virtual@br\\x2dlan.service"]);
    assert_eq!(run(unescape).success().stdout, "br-lan\n");
}

/// The command line of a unit's key, for an interface, in the namespace of the device under test and with
/// no capability but the unit's. The interface's configuration is in a /etc of its own.
fn command(bench: &Bench, unit: &str, key: &str, interface: &str, before: &[&str]) -> Command {
    let line = &values(unit, key)[0];
    let line = line.replace("%I", interface);
    let arguments = line.strip_prefix("xdpctl ").expect("what is started");
    let capabilities: Vec<String> = words(unit, "CapabilityBoundingSet")
        .iter()
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let mut command = bench.lab().command("dut", "unshare");
    command.args(["--mount", "sh", "-ec"]);
    command.arg(format!(
        "mount --bind {}/etc /etc\nexec setpriv --no-new-privs --inh-caps=-all \
         --bounding-set=-all,{} {} {} {arguments}",
        bench.directory().display(),
        capabilities.join(","),
        before.join(" "),
        env!("CARGO_BIN_EXE_xdpctl"),
    ));
    command
}

/// A bench with a configuration for `interface` that drops everything.
fn configured(interface: &str) -> Bench {
    let bench = Bench::new();
    let etc = bench.directory().join("etc/xdpctl");
    fs::create_dir_all(&etc).expect("a folder");
    fs::write(etc.join(format!("{interface}.toml")), "[policy]\ndefault = \"drop\"\n")
        .expect("written");
    bench
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_restart_leaves_no_packet_unfiltered() {
    let unit = UNITS[0];
    let bench = configured(JUDGED);
    run(command(&bench, unit, "ExecStart", JUDGED, &[])).success();
    let traffic = Traffic::start(
        bench.lab().port("src", "src0"),
        [udp4("10.1.0.1", "192.0.2.1", 1, 1).build()],
    );
    let mut generation = 1;
    for _ in 0..5 {
        // No command of it runs at a stop.
        assert_eq!(values(unit, "ExecStop"), Vec::<String>::new());
        run(command(&bench, unit, "ExecStart", JUDGED, &[])).success();
        run(command(&bench, unit, "ExecReload", JUDGED, &[])).success();
        generation += 2;
        assert_eq!(bench.sample().generation, generation);
    }
    let sent = traffic.stop();
    let lost = bench.lab().dropped_at("src", "src0");
    let after = bench.await_count(sent - lost);
    assert_eq!(after.verdicts["drop"].packets, sent - lost, "{after:#?}");
    assert_eq!(bench.port(JUDGED).recv_all(Duration::from_millis(20)), Vec::<Vec<u8>>::new());

    // A mistake in the configuration, and the filter stays.
    let file = bench.directory().join("etc/xdpctl/in0.toml");
    fs::write(&file, "[policy]\ndefault = \"dorp\"\n").expect("written");
    for key in ["ExecStart", "ExecReload"] {
        let failed = run(command(&bench, unit, key, JUDGED, &[]));
        assert!(failed.expect_status(2).stderr.contains("dorp"), "{failed:?}");
    }
    assert_eq!(bench.sample().generation, generation);

    // The interface goes and comes again.
    fs::write(&file, "").expect("written");
    bench.lab().ip("dut", ["link", "delete", JUDGED]);
    bench.lab().ip("dut", ["link", "add", JUDGED, "type", "veth", "peer", "name", "other"]);
    run(command(&bench, unit, "ExecStart", JUDGED, &[])).success();
    assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
}

/// A name that systemd escapes.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn an_interface_with_a_dash_in_its_name() {
    let bench = configured("br-lan");
    bench.lab().ip("dut", ["link", "add", "br-lan", "type", "bridge"]);
    run(command(&bench, UNITS[1], "ExecStart", "br-lan", &[])).success();
    assert_eq!(bench.lab().programs("dut", "br-lan").len(), 1);
    run(command(&bench, UNITS[1], "ExecReload", "br-lan", &[])).success();
    bench.xdpctl(["detach", "br-lan"]).success();
}

/// The system calls that a unit's filter allows, as this systemd knows its groups.
fn allowed_calls(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for value in values(unit, "SystemCallFilter") {
        let (is_allowed, names) = match value.strip_prefix('~') {
            Some(names) => (false, names.to_owned()),
            None => (true, value),
        };
        for call in names.split_whitespace().flat_map(expanded) {
            if is_allowed {
                allowed.insert(call);
            } else {
                allowed.remove(&call);
            }
        }
    }
    // What systemd lets through in any case.
    allowed.extend(expanded("@default"));
    allowed
}

fn expanded(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let mut list = Command::new("systemd-analyze");
    list.args(["syscall-filter", "--no-pager", name]);
    let listed = run(list);
    let lines = listed.success().stdout.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| !line.starts_with('#'));
    names.flat_map(|name| expanded(name.trim())).collect()
}

/// Holds what a traced command did, from the start of `program` on, against what its unit allows: system
/// calls, families of sockets, and where it wrote.
#[track_caller]
pub(super) fn assert_allowed(unit: &str, program: &str, trace: &str) {
    let allowed = allowed_calls(unit);
    // That it was read as systemd reads it.
    assert!(
        allowed.contains("bpf") && !["mount", "ptrace"].iter().any(|&call| allowed.contains(call))
    );
    let families = words(unit, "RestrictAddressFamilies");
    let directories: Vec<String> = words(unit, "ReadWritePaths")
        .into_iter()
        .chain(words(unit, "RuntimeDirectory").iter().map(|name| format!("/run/{name}")))
        .chain(words(unit, "StateDirectory").iter().map(|name| format!("/var/lib/{name}")))
        .collect();
    let (mut calls, mut sockets, mut elsewhere) = (BTreeSet::new(), 0, Vec::new());
    let mut lines = trace.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest));
    // What comes before is setpriv's.
    lines.by_ref().find(|line| line.contains("execve(") && line.contains(&format!("/{program}\"")));
    for line in lines {
        let line = line.trim_start();
        let Some((call, arguments)) = line.split_once('(') else { continue };
        if !call.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
            continue;
        }
        calls.insert(call.to_owned());
        if call == "socket" {
            let family = arguments.split([',', ')']).next().unwrap_or_default();
            assert!(families.contains(family), "{unit}: {line}");
            sockets += 1;
        }
        let writes = call == "openat"
            && ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| arguments.contains(flag))
            || ["mkdir", "unlink", "rename", "rmdir"].iter().any(|name| call.starts_with(name));
        let path = arguments.split('"').nth(1).unwrap_or_default();
        let inside = directories.iter().any(|directory| path.starts_with(directory.as_str()));
        // What it may not write to fails for the unit too, and whether it was needed is said by the
        // command's status. Paths in /proc/self/fd lead to what was opened before.
        let succeeded = !line.contains(" = -1 ");
        if writes
            && succeeded
            && path.starts_with('/')
            && !inside
            && !path.starts_with("/proc/self/fd/")
            && path != "/dev/null"
        {
            elsewhere.push(line.to_owned());
        }
    }
    assert!(calls.contains("bpf") && sockets > 0, "{unit}: nothing was traced\n{trace}");
    let refused: Vec<_> = calls.difference(&allowed).collect();
    assert_eq!(refused, Vec::<&String>::new(), "{unit}");
    assert_eq!(elsewhere, Vec::<String>::new(), "{unit}");
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn they_do_nothing_that_they_may_not() {
    let unit = UNITS[0];
    let bench = configured(JUDGED);
    let trace = bench.directory().join("trace");
    let traced = ["strace", "-f", "-qq", "-o", trace.to_str().expect("UTF-8")];
    // Attaching, replacing, reloading, with a list and a run-time entry that is kept over restarts.
    bench.write("etc/xdpctl/list", "10.1.0.0/16\n");
    let configuration = "[[blocklist]]\nname = \"bad\"\nfiles = [\"list\"]\n\
                         [[rule]]\nname = \"on\"\nprotocol = \"tcp\"\naction = \"redirect\"\nto = \"out0\"\n";
    bench.write("etc/xdpctl/in0.toml", configuration);
    for key in ["ExecStart", "ExecStart", "ExecReload"] {
        let output = run(command(&bench, unit, key, JUDGED, &traced));
        output.success();
        assert_allowed(unit, "xdpctl", &fs::read_to_string(&trace).expect("a trace"));
    }
    let unit = UNITS[2];
    bench.lab().ip("dut", ["link", "set", "lo", "up"]);
    let mut serving = Background::start(command(&bench, unit, "ExecStart", JUDGED, &traced));
    serving.lines(1, EVENT);
    let answer = bench.lab().namespace("dut").enter(|| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9920").expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("taken");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    });
    assert!(answer.contains("xdpctl_filtering{interface=\"in0\"} 1\n"), "{answer}");
    assert!(answer.contains("xdpctl_scrape_errors_total 0\n"), "{answer}");
    // strace blocks signals and passes none on; each line of its begins with a process id.
    let traced = fs::read_to_string(&trace).expect("a trace");
    let process = traced.split_whitespace().next().and_then(|word| word.parse().ok());
    kill(Pid::from_raw(process.expect("a process id")), Signal::SIGTERM).expect("a signal");
    serving.wait(EVENT).expect("it ends").success();
    assert_allowed(unit, "xdpctl", &fs::read_to_string(&trace).expect("a trace"));
}

/// With all of the file system read-only but for what the unit may write, as ProtectSystem=strict and
/// ReadOnlyPaths=/sys have it.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn they_write_only_where_they_may() {
    let bench = configured(JUDGED);
    let read_only = |unit: &str, key: &str| {
        let inner = command(&bench, unit, key, JUDGED, &[]);
        let mut words = inner.get_args().skip(3).map(|word| word.to_str().expect("UTF-8"));
        let script = words.next().expect("a script");
        let (bind, rest) = script.split_once('\n').expect("two lines");
        let writable: String = words_of_writable(unit)
            .iter()
            .map(|path| format!("mkdir -p {path}; mount --bind {path} {path}\n"))
            .collect();
        // Mounts of their own first: the flag is of a mount.
        let script = format!(
            "{bind}\nmount --make-rprivate /\n{writable}\
             mount -o remount,bind,ro /\nmount -o remount,bind,ro /sys\n\
             for place in /var /run /sys/fs; do\n\
             if mkdir $place/of-this-test 2>/dev/null; then exit 9; fi\ndone\n{rest}"
        );
        let mut command = bench.lab().command("dut", "unshare");
        command.args(["--mount", "sh", "-ec"]).arg(script);
        run(command)
    };
    read_only(UNITS[0], "ExecStart").success();
    read_only(UNITS[0], "ExecStart").success();
    read_only(UNITS[0], "ExecReload").success();
    assert_eq!(bench.sample().generation, 3);
}

fn words_of_writable(unit: &str) -> Vec<String> {
    let named = |key, base: &str| -> Vec<String> {
        words(unit, key).iter().map(|name| format!("{base}{name}")).collect()
    };
    [
        named("ReadWritePaths", ""),
        named("RuntimeDirectory", "/run/"),
        named("StateDirectory", "/var/lib/"),
    ]
    .concat()
}
