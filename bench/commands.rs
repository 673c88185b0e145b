//! What the command line costs: checking a large ruleset, putting it in force, and what a reload
//! does to the packets that come in the meantime ([`crate::reloads`]).
//!
//! The measured command has one processor, the one that packets are measured on. List files are in
//! the page cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::maps::{MapInfo, loaded_maps};
use serde::Serialize;

use crate::Result;
use crate::cases::million_v4;
use crate::lab::{GUEST, Lab};
use crate::prefixes::Prefixes;
use crate::process::{self, Cost};

/// The command line that was built together with the benchmark.
const XDPCTL: &str = env!("CARGO_BIN_EXE_xdpctl");
/// The name that `datapath::maps::image` gives to maps that hold images.
const IMAGE_NAME: &str = "xdpctl_image";
pub const MIB: f64 = (1 << 20) as f64;

/// One row of the table of commands.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// The median, where the value is the least of several rounds.
    pub median: Option<f64>,
    /// The goal: the most or the least that it should be.
    pub at_most: Option<f64>,
    pub at_least: Option<f64>,
    /// Whether the goal is reached; true without a goal.
    pub reached: bool,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        Self { name, value, unit, median: None, at_most: None, at_least: None, reached: true }
    }

    pub fn at_most(self, goal: f64) -> Self {
        Self { reached: self.value <= goal, at_most: Some(goal), ..self }
    }

    pub fn at_least(self, goal: f64) -> Self {
        Self { reached: self.value >= goal, at_least: Some(goal), ..self }
    }
}

/// A folder with rulesets for the commands.
pub struct Rulesets {
    folder: tempfile::TempDir,
}

impl Rulesets {
    pub fn create() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a ruleset with list files.
    pub fn write(&self, name: &str, policy: &str, lists: &[(&str, &str)]) -> Result<PathBuf> {
        let mut text = policy.to_owned();
        for (list, content) in lists {
            let file = format!("{name}-{list}.txt");
            fs::write(self.path(&file), content)?;
            text += &format!("[[blocklist]]\nname = \"{list}\"\nfiles = [\"{file}\"]\n");
        }
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// An attachment of the command line's to the guest interface; taken off when dropped.
pub struct Attached<'a>(&'a Lab);

impl<'a> Attached<'a> {
    pub fn with(lab: &'a Lab, ruleset: &Path) -> Result<Self> {
        let attached = Self(lab);
        attached.xdpctl(&["attach", GUEST, "--mode", "native", "-c", text(ruleset)?])?;
        Ok(attached)
    }

    /// Runs the command line in the device's namespace.
    pub fn xdpctl(&self, arguments: &[&str]) -> Result<Cost> {
        self.0.device.enter(|| process::measure(XDPCTL, arguments))
    }

    /// What a command prints as JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let output =
            self.0.device.enter(|| Ok(Command::new(XDPCTL).args(arguments).output()?))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub fn map_bytes(&self) -> Result<u64> {
        let status = self.json(&["status", GUEST, "--json"])?;
        status[0]["map_bytes"].as_u64().ok_or_else(|| "a status without map_bytes".into())
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // What is pinned would outlive the namespace.
        let _ =
            self.0.device.enter(|| Ok(Command::new(XDPCTL).args(["detach", GUEST]).output()?));
    }
}

pub fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "the folder for temporary files has a name beyond UTF-8".into())
}

/// Measures everything but reloads under load.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Figure>> {
    let rulesets = Rulesets::create()?;
    let v4 = million_v4().files(1).remove(0);
    let v6 = Prefixes::blocklist_v6(1_000_000, 0x13).files(1).remove(0);
    let mut figures = Vec::new();
    let ruleset = rulesets.write("million", "", &[("v4", &v4)])?;
    let list = rulesets.path("million-v4.txt");
    let name = "1,000,000 IPv4";
    Trial { lab, name, ruleset, list, rounds, goals: true }.run(&mut figures)?;
    let ruleset = rulesets.write("both", "", &[("v4", &v4), ("v6", &v6)])?;
    let list = rulesets.path("both-v4.txt");
    let name = "1,000,000 of each family";
    Trial { lab, name, ruleset, list, rounds, goals: false }.run(&mut figures)?;
    Ok(figures)
}

/// What is measured on one ruleset.
struct Trial<'a> {
    lab: &'a Lab,
    name: &'a str,
    ruleset: PathBuf,
    /// The list file in which a line changes.
    list: PathBuf,
    rounds: usize,
    /// Whether the goals are for this one.
    goals: bool,
}

impl Trial<'_> {
    fn run(&self, figures: &mut Vec<Figure>) -> Result<()> {
        let path = text(&self.ruleset)?;
        let check = repeat(self.rounds, |_| process::measure(XDPCTL, &["check", path]))?;
        let attached = Attached::with(self.lab, &self.ruleset)?;
        let reload = repeat(self.rounds, |_| attached.xdpctl(&["reload", GUEST]))?;
        let before = fs::read_to_string(&self.list)?;
        let (_, rest) = before.split_once('\n').ok_or("an empty list")?;
        let changed = repeat(self.rounds, |round| {
            // Another line each time, in place of the first.
            fs::write(&self.list, format!("192.0.2.{round}\n{rest}"))?;
            attached.xdpctl(&["reload", GUEST])
        })?;
        let at_rest = attached.map_bytes()?;
        let during = at_rest + most_during_reload(&attached)?;

        let mut time = |what: &str, costs: &[Cost], goal| {
            let mut figure = Figure::new(format!("{}: {what}", self.name), least(costs), "s");
            figure.median = Some(median(costs));
            figures.push(self.limit(figure, goal));
        };
        time("check", &check, 0.5);
        time("reload", &reload, 1.0);
        time("reload, one line changed", &changed, 0.3);
        let mut memory = |what: &str, amount: f64, unit, goal| {
            let figure = Figure::new(format!("{}: {what}", self.name), amount, unit);
            figures.push(self.limit(figure, goal));
        };
        memory("check, peak resident memory", megabytes(&check), "MB", 200.0);
        memory("reload, peak resident memory", megabytes(&reload), "MB", 200.0);
        memory("maps at rest", at_rest as f64 / MIB, "MiB", 32.0);
        memory("maps during a reload", during as f64 / MIB, "MiB", 64.0);
        Ok(())
    }

    fn limit(&self, figure: Figure, goal: f64) -> Figure {
        if self.goals { figure.at_most(goal) } else { figure }
    }
}

fn megabytes(costs: &[Cost]) -> f64 {
    let peak = costs.iter().map(|cost| cost.peak_kib).max().unwrap_or(0);
    peak as f64 * 1024.0 / 1e6
}

/// The most memory, in bytes, that a reload takes for images beside those that exist before. The
/// kernel's maps are looked at again and again while it runs.
fn most_during_reload(attached: &Attached<'_>) -> Result<u64> {
    let images = || loaded_maps().flatten().filter(|map| map.name_as_str() == Some(IMAGE_NAME));
    let known: Vec<u32> = images().map(|map| map.id()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                let new = images().filter(|map| !known.contains(&map.id()));
                most = most.max(new.map(|map| image_bytes(&map)).sum());
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let reloaded = attached.xdpctl(&["reload", GUEST]);
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().map_err(|_| "the thread that looks at maps panicked")?;
        reloaded?;
        Ok(most)
    })
}

fn image_bytes(map: &MapInfo) -> u64 {
    u64::from(map.value_size()) * u64::from(map.max_entries())
}

pub fn repeat(rounds: usize, mut run: impl FnMut(usize) -> Result<Cost>) -> Result<Vec<Cost>> {
    // Once without counting, so that files and the program itself are in the page cache.
    run(0)?;
    (1..=rounds).map(run).collect()
}

pub fn least(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| cost.seconds).fold(f64::INFINITY, f64::min)
}

pub fn median(costs: &[Cost]) -> f64 {
    let mut seconds: Vec<f64> = costs.iter().map(|cost| cost.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
