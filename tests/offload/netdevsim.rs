//! Offload mode around the program: attaching, reloading, reading, taking off, on a device that
//! takes programs and maps, two keys a map, and can be told to refuse each
//! (drivers/net/netdevsim/bpf.c).

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use xdp_common::nic::{COUNTERS, OUTCOMES};
use xdpctl::datapath::host::interface::{AttachedXdp, Interface, Mode};
use xdpctl::datapath::host::netns;
use xdpctl::datapath::sys::bpf;

use crate::lab::patience::{EVENT, patient};

const BUS: &str = "/sys/bus/netdevsim";
const SWITCHES: &str = "/sys/kernel/debug/netdevsim";

/// Two addresses of each family, and ARP's policy.
const OLD: &str = r#"
    arp = { action = "drop", allow = ["192.0.2.9"] }
    [[blocklist]]
    name = "old"
    prefixes = ["192.0.2.1", "2001:db8::1", "2001:db8::2"]
    [[allowlist]]
    name = "both"
    prefixes = ["192.0.2.1"]
"#;
const NEW: &str = r#"
    policy = { default = "drop" }
    [[blocklist]]
    name = "new"
    prefixes = ["192.0.2.2", "192.0.2.3"]
    match = "either"
    [[allowlist]]
    name = "both"
    prefixes = ["2001:db8::3"]
"#;
const PREFIX: &str =
    "[[blocklist]]\nname = \"wide\"\nprefixes = [\"192.0.2.0/24\", \"192.0.2.1\"]\n";
const RULES: &str = "[[rule]]\nname = \"one\"\naction = \"drop\"\n\
                     [[rule]]\nname = \"two\"\naction = \"pass\"\n";
const THREE: &str = "[[blocklist]]\nname = \"three\"\n\
                     prefixes = [\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.3\"]\n";

/// One at a time: they share a network namespace, and what xdpctl keeps for it.
static TURN: Mutex<()> = Mutex::new(());

/// A device of its own, which goes with it.
struct Device {
    number: u32,
    interface: Interface,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Device {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (100..200).find(|number| !Path::new(&at(*number)).exists()).unwrap();
        fs::write(format!("{BUS}/new_device"), format!("{number} 1"))
            .unwrap_or_else(|error| panic!("no netdevsim here: {error}"));
        let name = await_some(|| {
            let entry = fs::read_dir(format!("{}/net", at(number))).ok()?.next()?.ok()?;
            Some(entry.file_name().into_string().unwrap())
        });
        let up = Command::new("ip").args(["link", "set", &name, "up"]).status().unwrap();
        assert!(up.success());
        let interface = Interface::by_name(&name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { number, interface, folder, _turn: turn }
    }

    fn name(&self) -> &str {
        &self.interface.name
    }

    fn file(&self, text: &str) -> String {
        let path = self.folder.path().join("NIC.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn attach(&self, text: &str, mode: &str) -> Said {
        let file = self.file(text);
        run(&["attach", self.name(), "-c", &file, "--mode", mode])
    }

    fn reload(&self, text: &str) -> Said {
        self.file(text);
        run(&["reload", self.name()])
    }

    fn json(&self, command: &str) -> Value {
        let args: &[&str] = match command {
            "stats" => &["stats", self.name(), "--once", "--json"],
            _ => &["status", self.name(), "--json"],
        };
        let said = run(args);
        let value: Value = serde_json::from_str(&said.out).unwrap();
        let problems = command != "stats" && value[0]["problems"] != serde_json::json!([]);
        assert_eq!(said.status, i32::from(problems), "{said:?}");
        value
    }

    fn status(&self) -> Value {
        self.json("status")[0].clone()
    }

    fn attached(&self) -> Vec<Mode> {
        let interface = Interface::by_index(self.interface.index).unwrap();
        interface.xdp.iter().map(|AttachedXdp { mode, .. }| *mode).collect()
    }

    fn pins(&self) -> PathBuf {
        let cookie = netns::cookie().unwrap();
        format!("/sys/fs/bpf/xdpctl/v1/{cookie}/{}", self.interface.index).into()
    }

    fn pinned(&self, name: &str) -> OwnedFd {
        bpf::open_pin(&self.pins().join(name)).unwrap()
    }

    /// The values of these addresses in a bank.
    fn values<const N: usize>(&self, map: &str, keys: [Vec<u8>; N]) -> [Option<u64>; N] {
        let map = self.pinned(map);
        keys.map(|key| {
            let mut value = [0; 8];
            bpf::lookup_keyed(&map, &key, &mut value).unwrap()?;
            Some(u64::from_le_bytes(value))
        })
    }

    /// What the device counted, as it will never do by itself.
    fn count(&self, counters: &[(usize, u64)]) {
        let mut bytes = [0; COUNTERS * 16];
        for (at, packets) in counters {
            bytes[16 * at..][..8].copy_from_slice(&packets.to_le_bytes());
            bytes[16 * at + 8..][..8].copy_from_slice(&(100 * packets).to_le_bytes());
        }
        bpf::update(self.pinned("COUNTERS"), 0, &bytes).unwrap();
    }

    /// Which ruleset the NIC has.
    fn in_force(&self) -> &'static str {
        if !self.pins().join("link").exists() {
            // The kernel takes the program off a moment after the last descriptor is gone.
            await_some(|| self.attached().is_empty().then_some(()));
            return "none";
        }
        let generation = self.status()["generation"].as_u64().unwrap();
        let bank = ["FIRST_V4", "SECOND_V4"][(generation % 2) as usize];
        let found = self.values(bank, [v4([192, 0, 2, 9]), v4([192, 0, 2, 3])]);
        let counted: Vec<Value> = self.json("stats")["rules"].as_array().unwrap().clone();
        let names: Vec<&str> = counted.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
        match (found.map(|value| value.is_some()), &names[..]) {
            ([true, false], ["both", "old"]) => "old",
            ([false, true], ["both", "new"]) => "new",
            other => panic!("neither: {other:?}"),
        }
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.attached(), []);
        assert!(!self.pins().exists());
        let cookie = netns::cookie().unwrap();
        let index = self.interface.index;
        assert!(!Path::new(&format!("/run/xdpctl/v1/{cookie}/{index}")).exists());
        // The kernel gives programs back a moment after their last descriptor is gone.
        let programs = format!("{SWITCHES}/netdevsim{}/bpf_bound_progs", self.number);
        await_some(|| fs::read_dir(&programs).unwrap().next().is_none().then_some(()));
    }

    /// Turns a switch, which is the device's or its port's.
    fn turn(&self, switch: &str, on: bool) {
        let device = format!("{SWITCHES}/netdevsim{}", self.number);
        let places = [format!("{device}/{switch}"), format!("{device}/ports/0/{switch}")];
        let place = places.iter().find(|place| Path::new(place).exists()).unwrap();
        fs::write(place, if on { "Y" } else { "N" }).unwrap();
    }

    fn remove(&self) {
        fs::write(format!("{BUS}/del_device"), self.number.to_string()).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if Path::new(&at(self.number)).exists() {
            self.remove();
        }
        // What a test that failed left; that there is nothing is as well.
        run(&["detach", self.name()]);
    }
}

fn at(number: u32) -> String {
    format!("{BUS}/devices/netdevsim{number}")
}

fn await_some<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patient(EVENT);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn v4(address: [u8; 4]) -> Vec<u8> {
    Ipv4Addr::from(address).to_bits().to_le_bytes().to_vec()
}

fn v6(address: &str) -> Vec<u8> {
    let bits = address.parse::<Ipv6Addr>().unwrap().to_bits();
    let halves = [(bits >> 64) as u64, bits as u64];
    halves.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    /// It could not be done, and says this.
    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        assert_eq!((self.status, self.out.as_str()), (1, ""), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in: {}", self.err);
        }
    }

    #[track_caller]
    fn done(&self) {
        assert_eq!(self.status, 0, "{}", self.err);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdpctl"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn run(args: &[&str]) -> Said {
    let Output { status, stdout, stderr } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn attaching_takes_program_and_entries_to_the_nic() {
    let device = Device::new();
    let said = device.attach(OLD, "offload");
    said.done();
    let name = device.name();
    assert_eq!(said.out, format!("attached to {name} in offload mode, generation 1\n"));
    assert_eq!(device.attached(), [Mode::Offload]);
    let shown = Command::new("ip").args(["link", "show", name]).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains("xdpoffload"));

    // The allowlist has the first counter and rank 0 among its kind, the blocklist the second.
    let [both, old, arp] = [0xf0, 0xf1 << 8, 1 << 40];
    let keys = [v4([192, 0, 2, 1]), v4([192, 0, 2, 9]), v4([192, 0, 2, 2])];
    assert_eq!(device.values("SECOND_V4", keys.clone()), [Some(both | old), Some(arp), None]);
    assert_eq!(device.values("FIRST_V4", keys), [None; 3]);
    let keys = [v6("2001:db8::1"), v6("2001:db8::2"), v6("2001:db8::3")];
    assert_eq!(device.values("SECOND_V6", keys.clone()), [Some(old), Some(old), None]);
    assert_eq!(device.values("FIRST_V6", keys), [None; 3]);

    let status = device.status();
    assert_eq!(status["mode"], "offload");
    assert_eq!(status["link"], "up");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["problems"], Value::Array(Vec::new()));
    let entries = serde_json::json!({"ipv4": 2, "ipv6": 2, "domains": 0, "rules": 0, "bans": 0, "services": 0, "backends": 0});
    assert_eq!(status["entries"], entries);
    assert!(status["map_bytes"].as_u64().unwrap() > 0);
    let interface = Interface::by_index(device.interface.index).unwrap();
    assert_eq!(status["program_id"], interface.xdp[0].program_id);

    run(&["detach", name]).done();
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn a_reload_changes_the_entries_and_goes_on_counting() {
    let device = Device::new();
    device.attach(OLD, "offload").done();
    // Dropped by default, by the blocklist, passed by the allowlist.
    let outcome = |verdict: &str, reason: &str| {
        let is =
            |(v, r): &(xdp_common::stats::verdict::Verdict, xdp_common::stats::verdict::Reason)| {
                (v.as_str(), r.as_str()) == (verdict, reason)
            };
        OUTCOMES.iter().position(is).unwrap()
    };
    let (both, old, new) = (OUTCOMES.len(), OUTCOMES.len() + 1, OUTCOMES.len() + 2);
    let mut counted = vec![
        (outcome("drop", "default"), 7),
        (outcome("drop", "blocklist"), 5),
        (outcome("pass", "allowlist"), 3),
        (both, 3),
        (old, 5),
        // As if a NIC had counted there for a list that is gone.
        (new, 1000),
    ];
    device.count(&counted);
    let packets = |value: &Value| value["packets"].as_u64().unwrap();
    let rules = |stats: &Value| -> Vec<(String, u64)> {
        let rules = stats["rules"].as_array().unwrap().iter();
        rules.map(|rule| (rule["name"].as_str().unwrap().to_owned(), packets(rule))).collect()
    };
    let named = |name: &str, packets| (name.to_owned(), packets);
    let stats = device.json("stats");
    assert_eq!(stats["mode"], "offload");
    assert_eq!(stats["verdicts"]["drop"], serde_json::json!({"packets": 12, "bytes": 1200}));
    assert_eq!(packets(&stats["verdicts"]["pass"]), 3);
    assert_eq!(packets(&stats["reasons"]["allowlist"]), 3);
    assert_eq!(rules(&stats), [named("both", 3), named("old", 5)]);

    let said = device.reload(NEW);
    said.done();
    let reloaded = format!("reloaded {}, generation 2\n", device.name());
    assert!(said.out.starts_with(&reloaded), "{}", said.out);
    let keys = [v4([192, 0, 2, 1]), v4([192, 0, 2, 2]), v4([192, 0, 2, 3])];
    let new_either = 0xf2 << 8 | 0xf2 << 24;
    let values = device.values("FIRST_V4", keys.clone());
    assert_eq!(values, [None, Some(new_either), Some(new_either)]);
    assert_eq!(device.values("FIRST_V6", [v6("2001:db8::3")]), [Some(0xf0)]);
    let stats = device.json("stats");
    assert_eq!(stats["generation"], 2);
    assert_eq!(packets(&stats["verdicts"]["drop"]), 12);
    assert_eq!(rules(&stats), [named("both", 3), named("new", 0)]);
    counted[5].1 += 4;
    device.count(&counted);
    assert_eq!(rules(&device.json("stats")), [named("both", 3), named("new", 4)]);

    // Back in the first bank, of which nothing is left; and what is kept in /run can be lost.
    fs::remove_dir_all("/run/xdpctl").unwrap();
    device.reload(OLD).done();
    let values = device.values("SECOND_V4", keys);
    assert_eq!(values, [Some(0xf0 | 0xf1 << 8), None, None]);
    assert_eq!(rules(&device.json("stats")), [named("both", 3), named("old", 0)]);
    run(&["detach", device.name()]).done();
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn what_does_not_fit_is_refused_and_what_was_in_force_stays() {
    let device = Device::new();
    let cases: [(&str, &[&str]); 3] = [
        (PREFIX, &["blocklist \"wide\"", "192.0.2.0/24", "native mode takes"]),
        (RULES, &["rules \"one\", \"two\"", "native mode takes"]),
        (THREE, &["room for 2 addresses of a family", "has 3", "native mode takes"]),
    ];
    for (text, parts) in cases {
        device.attach(text, "offload").refused(parts);
        device.assert_nothing_left();
    }
    device.attach(OLD, "offload").done();
    for (text, parts) in cases {
        device.reload(text).refused(parts);
        assert_eq!(device.in_force(), "old");
        assert_eq!(device.status()["generation"], 1);
    }
    run(&["detach", device.name()]).done();

    // By itself it takes the next best mode, and says why.
    let said = device.attach(RULES, "auto");
    said.done();
    assert_eq!(device.attached(), [Mode::Native]);
    assert!(said.err.contains("not in offload mode: a NIC cannot hold rules"), "{}", said.err);
    run(&["detach", device.name()]).done();
    device.attach(OLD, "auto").done();
    assert_eq!(device.attached(), [Mode::Offload]);
    run(&["detach", device.name()]).done();
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn a_device_that_refuses_a_step_is_left_as_it_was() {
    let device = Device::new();
    let cases = [
        ("bpf_map_accept", "Operation not supported"),
        ("bpf_bind_accept", "the NIC does not take the program"),
        ("bpf_xdpoffload_accept", "the device does not take the program into service"),
    ];
    for (switch, part) in cases {
        device.turn(switch, false);
        let said = device.attach(OLD, "offload");
        // Linux before 6.3 is asked by making a map.
        let seems_able = !said.err.contains("the device does not offer it");
        let seems_able = seems_able || switch != "bpf_map_accept";
        if seems_able {
            said.refused(&["in offload mode", part, "native"]);
        } else {
            said.refused(&["in offload mode", "native"]);
        }
        device.assert_nothing_left();
        let said = device.attach(OLD, "auto");
        said.done();
        // Nothing is said of a mode that no device of its kind has.
        assert_eq!(said.err.contains("not in offload mode: "), seems_able, "{}", said.err);
        assert_eq!(device.attached(), [Mode::Native]);
        run(&["detach", device.name()]).done();
        device.turn(switch, true);
    }
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn what_a_nic_cannot_do_is_said() {
    let device = Device::new();
    device.attach(OLD, "offload").done();
    let name = device.name();
    let file = device.file(OLD);
    let native = format!("xdpctl attach {name} --mode native");
    for args in [
        &["block", name, "192.0.2.7"][..],
        &["allow", name, "192.0.2.7"],
        &["unblock", name, "192.0.2.7"],
        &["bans", name],
        &["explain", name, "--packet", "ffffffffffff0200000000010806"],
        &["explain", name, "--source", "192.0.2.1", "--destination", "192.0.2.2"],
    ] {
        run(args).refused(&["offload mode", &native]);
    }
    // What its lists hold is known all the same.
    let said = run(&["lookup", name, "192.0.2.1", "--json"]);
    said.done();
    let lists: Value = serde_json::from_str(&said.out).unwrap();
    let lists: Vec<&Value> = lists.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(lists, ["both", "old"]);
    run(&["attach", name, "-c", &file]).refused(&["attached to", "already"]);
    run(&["attach", name, "--replace"]).refused(&["on its NIC", "xdpctl detach"]);
    assert_eq!(device.in_force(), "old");
    run(&["detach", name]).done();
    run(&["detach", name]).refused(&["not attached"]);
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn a_device_that_is_gone_leaves_what_can_be_removed() {
    let device = Device::new();
    device.attach(OLD, "offload").done();
    let name = device.name();
    device.remove();
    let status = device.status();
    assert_eq!((&status["link"], &status["mode"]), (&"gone".into(), &"offload".into()));
    for args in [&["stats", name, "--once"][..], &["reload", name], &["reload"]] {
        run(args).refused(&[&format!("{name} is gone"), "xdpctl detach"]);
    }
    run(&["detach", "--all"]).done();
    assert!(!device.pins().exists());
    run(&["detach", "--all"]).refused(&["not attached"]);
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn a_program_that_was_taken_off_by_other_means_is_missed() {
    let device = Device::new();
    device.attach(OLD, "offload").done();
    bpf::detach_link(device.pinned("link")).unwrap();
    assert_eq!(device.attached(), []);
    let name = device.name();
    let problems = device.status()["problems"].to_string();
    assert!(problems.contains("not on the interface"), "{problems}");
    run(&["reload", name]).refused(&["not on", "xdpctl detach"]);
    // Its counters are there until then.
    device.count(&[(OUTCOMES.len(), 3)]);
    assert_eq!(device.json("stats")["rules"][0]["packets"], 3);
    run(&["detach", name]).done();
    device.assert_nothing_left();
}

#[test]
#[ignore = "needs netdevsim: scripts/kernels runs it"]
fn killed_commands_leave_what_was_or_what_was_asked_for() {
    /// From the start of a command to its end.
    const ROUNDS: u32 = 6;
    let device = Device::new();
    let mut met = std::collections::BTreeSet::new();
    // How long a command takes here.
    let started = Instant::now();
    device.attach(OLD, "offload").done();
    let longest = started.elapsed();
    run(&["detach", device.name()]).done();
    for round in 0..ROUNDS {
        for (step, may_be) in
            [("attach", ["none", "old"]), ("reload", ["old", "new"]), ("detach", ["new", "none"])]
        {
            let file = device.file(if step == "attach" { OLD } else { NEW });
            let args: &[&str] = match step {
                "attach" => &["attach", device.name(), "-c", &file, "--mode", "offload"],
                _ => &[step, device.name()],
            };
            let silent = || Stdio::null();
            let mut child = command(args).stdout(silent()).stderr(silent()).spawn().unwrap();
            thread::sleep(longest * 3 * round / (2 * (ROUNDS - 1)));
            child.kill().unwrap();
            child.wait().unwrap();
            let found = device.in_force();
            assert!(may_be.contains(&found), "{step} left {found}");
            met.insert((step, found));
            // The same again does it, whatever is there.
            let said = run(args);
            if found != may_be[1] || step == "reload" {
                said.done();
            }
            assert_eq!(device.in_force(), may_be[1]);
        }
        device.assert_nothing_left();
    }
    println!("{met:?}");
    // In the first round nothing has time to be done.
    for early in [("attach", "none"), ("reload", "old"), ("detach", "new")] {
        assert!(met.contains(&early), "{met:?}");
    }
}
