//! Packet tests as tables: a row is a frame and everything that has to happen to it.
//!
//! ```ignore
//! let mut bench = Bench::new();
//! bench.attach(r#"[policy]
//! default = "drop""#);
//! bench.run(&[
//!     pass("ARP is judged apart", arp_request("10.0.0.1", "10.0.0.2"), "arp"),
//!     drop("by default", udp4("10.0.0.1", "10.0.0.2", 1, 2), "default"),
//! ]);
//! ```
//!
//! Frames go in at `src0`; `in0` judges them. A frame that passes has to show on `in0` in the
//! device's own stack, a redirected one at the other end of its output, a bounced one at `src0`, and
//! nothing anywhere else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::patience::{EVENT, patient};
use super::port::{Port, hex};
use super::{Difference, Lab, Output, Sample, Topology};

/// Where the program under test is attached.
pub const JUDGED: &str = "in0";
/// Where the frames are sent from.
const INJECTED: &str = "src0";
/// How long to listen for frames that should not come, once for each table.
const QUIET: Duration = Duration::from_millis(50);
/// After that many rows one after the other of which nothing was counted, the table is given up.
const LOST_CAUSE: usize = 3;

/// One frame, and everything that has to happen to it.
#[derive(Clone, Debug)]
pub struct Row {
    description: String,
    frame: Vec<u8>,
    verdict: &'static str,
    reason: &'static str,
    rules: Vec<&'static str>,
    /// The interface where the frame arrives, and the bytes that arrive; `None` where it arrives
    /// nowhere.
    arrival: Option<(&'static str, Vec<u8>)>,
}

fn row(
    description: &str,
    frame: impl Into<Vec<u8>>,
    verdict: &'static str,
    reason: &'static str,
    arrives_at: Option<&'static str>,
) -> Row {
    let frame = frame.into();
    let arrival = arrives_at.map(|interface| (interface, frame.clone()));
    Row { description: description.to_owned(), frame, verdict, reason, rules: Vec::new(), arrival }
}

/// Passes, and shows unchanged in the stack behind `in0`.
pub fn pass(description: &str, frame: impl Into<Vec<u8>>, reason: &'static str) -> Row {
    row(description, frame, "pass", reason, Some(JUDGED))
}

/// Is dropped, and shows nowhere.
pub fn drop(description: &str, frame: impl Into<Vec<u8>>, reason: &'static str) -> Row {
    row(description, frame, "drop", reason, None)
}

/// Is sent out of `out0` by that rule, and arrives at `dst0` unchanged.
pub fn redirect(description: &str, frame: impl Into<Vec<u8>>, rule: &'static str) -> Row {
    row(description, frame, "redirect", "rule", Some("dst0")).by(rule)
}

/// Is sent back by that rule, and arrives at `src0` unchanged.
pub fn bounce(description: &str, frame: impl Into<Vec<u8>>, rule: &'static str) -> Row {
    row(description, frame, "tx", "rule", Some(INJECTED)).by(rule)
}

/// Is answered in the server's place by that list, with a frame that arrives at `src0`.
pub fn answer(
    description: &str,
    frame: impl Into<Vec<u8>>,
    list: &'static str,
    answer: impl Into<Vec<u8>>,
) -> Row {
    row(description, frame, "tx", "domain", None).arrives(INJECTED, answer).by(list)
}

impl Row {
    pub fn description(&self) -> &str {
        &self.description
    }

    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Verdict, reason, and the lists and rules that count it.
    pub fn judgement(&self) -> (&'static str, &'static str, &[&'static str]) {
        (self.verdict, self.reason, &self.rules)
    }

    /// Whether the frame is to show in the stack behind `in0`.
    pub fn passes(&self) -> bool {
        self.arrival.as_ref().is_some_and(|(interface, _)| *interface == JUDGED)
    }

    /// Is counted under this list or rule too.
    pub fn by(mut self, rule: &'static str) -> Self {
        self.rules.push(rule);
        self
    }

    /// Arrives at that interface, with these bytes.
    pub fn arrives(mut self, interface: &'static str, frame: impl Into<Vec<u8>>) -> Self {
        self.arrival = Some((interface, frame.into()));
        self
    }

    /// Shows nowhere, although its verdict is to go on: the kernel throws it away afterwards.
    pub fn lost(mut self) -> Self {
        self.arrival = None;
        self
    }

    /// The same row under VLAN tags, the outer first.
    pub fn tagged(&self, tags: &[(u16, u16)]) -> Self {
        let bytes: Vec<u8> = tags
            .iter()
            .flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat())
            .collect();
        let under_tags = |frame: &[u8]| {
            let (addresses, rest) = frame.split_at(12);
            [addresses, &bytes, rest].concat()
        };
        let mut tagged = self.clone();
        tagged.frame = under_tags(&self.frame);
        tagged.arrival =
            self.arrival.as_ref().map(|(interface, frame)| (*interface, under_tags(frame)));
        let names: Vec<String> =
            tags.iter().map(|(tpid, tci)| format!("{tpid:04x}/{}", tci & 0x0fff)).collect();
        tagged.description = format!("{} (under {})", self.description, names.join(" in "));
        tagged
    }
}

/// The rows as they are, under an 802.1Q tag, under an 802.1ad tag with an 802.1Q tag inside, and
/// under two 802.1Q tags with a priority: a packet under up to two tags is judged like the same
/// packet without tags.
pub fn under_all_tags(rows: &[Row]) -> Vec<Row> {
    let stacks: [&[(u16, u16)]; 4] =
        [&[], &[(0x8100, 100)], &[(0x88a8, 10), (0x8100, 20)], &[(0x8100, 0xa00a), (0x8100, 0)]];
    let tagged = |row: &Row, tags: &[(u16, u16)]| match tags {
        [] => row.clone(),
        tags => row.tagged(tags),
    };
    stacks.iter().flat_map(|&tags| rows.iter().map(move |row| tagged(row, tags))).collect()
}

/// A lab with ports on every interface, and xdpctl on `in0`.
#[derive(Debug)]
pub struct Bench {
    // Before the lab, so that the sockets are closed before the lab is dropped.
    ports: BTreeMap<&'static str, Port>,
    lab: Lab,
    directory: TempDir,
    attached: bool,
}

impl Bench {
    /// A bench on the standard topology.
    pub fn new() -> Self {
        Self::on(Topology::standard())
    }

    /// A bench on a topology that has `in0` in `dut` and `src0` at its other end.
    pub fn on(topology: Topology) -> Self {
        let lab = topology.build();
        let mut ports = BTreeMap::new();
        for [far, near] in lab.links() {
            ports.insert(far.interface, lab.port(far.namespace, far.interface));
            if near.interface == JUDGED {
                ports.insert(near.interface, lab.port(near.namespace, near.interface));
            }
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { ports, lab, directory, attached: false }
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn port(&self, interface: &str) -> &Port {
        self.ports.get(interface).unwrap_or_else(|| panic!("no port on {interface}"))
    }

    /// Runs xdpctl in the namespace of the device under test.
    pub fn xdpctl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.lab.xdpctl("dut", args)
    }

    /// A directory for configurations and lists.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file for the configuration to name, such as a list.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Puts a configuration in force on `in0`: by `attach` the first time, then by `reload`.
    #[track_caller]
    pub fn attach(&mut self, configuration: &str) {
        self.attach_in_mode(configuration, "native");
    }

    #[track_caller]
    pub fn attach_in_mode(&mut self, configuration: &str, mode: &str) {
        let path = self.write("in0.toml", configuration);
        let path = path.to_str().expect("a path in UTF-8");
        if self.attached {
            self.xdpctl(["reload", JUDGED, "-c", path]).success();
        } else {
            self.xdpctl(["attach", JUDGED, "-c", path, "--mode", mode]).success();
        }
        self.attached = true;
    }

    /// Attaches xdpctl with an empty configuration to every far end, without which the kernel loses
    /// the frames that are redirected or bounced towards it.
    #[track_caller]
    pub fn open_gates(&self) {
        let empty = self.write("empty.toml", "");
        let empty = empty.to_str().expect("a path in UTF-8");
        for [far, _] in self.lab.links() {
            let args = ["attach", far.interface, "-c", empty, "--mode", "native"];
            self.lab.xdpctl(far.namespace, args).success();
        }
    }

    /// The counters of `in0`.
    #[track_caller]
    pub fn sample(&self) -> Sample {
        Sample::read(&self.lab, "dut", JUDGED)
    }

    /// Sends every row's frame, and compares what happens to it with the row. Panics at the end
    /// with all rows that failed.
    #[track_caller]
    pub fn run(&self, rows: &[Row]) {
        let mut failures = Vec::new();
        let mut uncounted = 0;
        let mut before = self.sample();
        for row in rows {
            self.port(INJECTED).send(&row.frame);
            let after = self.await_count(before.total().packets + 1);
            let mut problems = self.judge(row, &before, &after);
            problems.extend(self.arrivals(row));
            if !problems.is_empty() {
                failures.push(format!("{}\n  {}", row.description, problems.join("\n  ")));
            }
            uncounted = if after.total() == before.total() { uncounted + 1 } else { 0 };
            before = after;
            if uncounted == LOST_CAUSE {
                failures.push(format!("{LOST_CAUSE} rows in a row not counted: gave up here"));
                break;
            }
        }
        for (interface, port) in &self.ports {
            for frame in port.recv_all(QUIET) {
                failures.push(format!("arrived late on {interface}\n{}", hex(&frame)));
            }
        }
        report(&failures, rows.len());
    }

    /// Reads the counters until they have seen that many packets.
    #[track_caller]
    pub fn await_count(&self, packets: u64) -> Sample {
        let deadline = Instant::now() + patient(EVENT);
        loop {
            let sample = self.sample();
            if sample.total().packets >= packets || Instant::now() >= deadline {
                return sample;
            }
        }
    }

    fn judge(&self, row: &Row, before: &Sample, after: &Sample) -> Vec<String> {
        let expected = Difference::of_one(row.frame.len(), row.verdict, row.reason, &row.rules);
        let counted = Difference::between(before, after);
        if counted == expected {
            return Vec::new();
        }
        vec![format!("expected: {expected}"), format!("counted:  {counted}")]
    }

    fn arrivals(&self, row: &Row) -> Vec<String> {
        let mut problems = Vec::new();
        // The expected frame first: once it has arrived, so have any that should not.
        if let Some((interface, expected)) = &row.arrival {
            match self.port(interface).recv(EVENT) {
                None => problems.push(format!("nothing arrived on {interface}")),
                Some(frame) if frame == *expected => {}
                Some(frame) => problems.push(format!(
                    "arrived on {interface}\n{}\n  expected there\n{}",
                    hex(&frame),
                    hex(expected)
                )),
            }
        }
        for (interface, port) in &self.ports {
            for frame in port.recv_all(Duration::ZERO) {
                problems.push(format!("arrived on {interface}, unexpected\n{}", hex(&frame)));
            }
        }
        problems
    }
}

#[track_caller]
fn report(failures: &[String], rows: usize) {
    let mut text = String::new();
    for failure in failures {
        let _ = write!(text, "\n\n- {failure}");
    }
    assert!(failures.is_empty(), "{} failures in {rows} rows{text}\n", failures.len());
}

/// Reads JSON objects one after the other, or arrays of them.
fn objects(text: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value.unwrap_or_else(|error| panic!("{error} in\n{text}")) {
            Value::Array(values) => objects.extend(values),
            value => objects.push(value),
        }
    }
    objects
}
