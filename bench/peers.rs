//! What else filters packets: as much as is installed, under the same lists and the same traffic
//! as the packet filter, by turns with the same floor.
//!
//! They are on an interface without a program of the benchmark. nftables runs at netdev's
//! ingress hook, the first that there is; iptables in the table raw, before the routing; and
//! xdp-filter in the driver. They also drop everything that they do not list.

mod conntrack;
mod dnat;
mod limits;
mod nftables;
mod xdp_filter;
mod xtables;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Result;
use crate::cases::{both_v4, million_v4, thousand_rules};
use crate::lab::{GUEST, ip};
use crate::measure::{self, Measured, Row};
use crate::prefixes::{Family, Prefixes};
use crate::report::{self, Report};
use crate::services;
use crate::sockets;
use crate::testbed::{Device, Floor, Testbed};
use crate::traffic::{FLOWS_V4_COUNT, SOURCES_V4_COUNT, Traffic};

/// Frames of a turn: fewer, as each of them costs much.
const FRAMES: u32 = 50_000;
/// What the generator's frames have as their destination.
const GENERATED_MAC: &str = "02:00:00:00:00:be";

/// What there was to compare with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Peers {
    pub rows: Vec<Row>,
    pub loads: Vec<Load>,
    /// What was not measured, and why.
    pub left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Load {
    pub name: String,
    pub seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    pub name: String,
    pub why: String,
}

/// Another packet filter with something in force, which is taken off when this is dropped.
pub struct InForce {
    take_off: Option<Box<dyn FnOnce()>>,
    /// How long it took to put it in force.
    pub load: Duration,
}

impl InForce {
    pub fn new(load: Duration, take_off: impl FnOnce() + 'static) -> Self {
        Self { take_off: Some(Box::new(take_off)), load }
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        if let Some(take_off) = self.take_off.take() {
            take_off();
        }
    }
}

/// One ruleset of another packet filter, with the traffic to measure it under.
struct Peer<'a> {
    name: String,
    program: &'static str,
    package: &'static str,
    /// Inside the device's namespace.
    put_in_force: Box<dyn FnOnce() -> Result<InForce> + 'a>,
    traffic: Vec<(&'static str, Traffic)>,
    /// What it does with all frames.
    floor: Floor,
}

/// Measures everything that is installed.
pub fn measure(testbed: &mut Testbed, report: &mut Report, filter: Option<&str>) -> Result<()> {
    println!();
    testbed.lab.device.enter(|| {
        ip(&["link", "set", "dev", GUEST, "address", GENERATED_MAC])?;
        // Without, a veth that has no program takes no frames that were redirected to it.
        run("ethtool", &["-K", GUEST, "gro", "on"], "")
    })?;
    // What it sends back is dropped there, as it is where the filter sends it.
    let _before = testbed.drop_before_guest()?;
    let lists = [("10,000", Prefixes::blocklist_v4(10_000, 0x11)), ("1,000,000", million_v4())];
    for peer in peers(&lists) {
        if filter.is_some_and(|text| !peer.name.contains(text)) {
            continue;
        }
        if !installed(peer.program) {
            let why =
                format!("{} is not installed; Debian has it in {}", peer.program, peer.package);
            leave_out(report, peer.name, why);
            continue;
        }
        let lab = testbed.lab.clone();
        let in_force = match lab.device.enter(peer.put_in_force) {
            Ok(in_force) => in_force,
            Err(error) => {
                leave_out(report, peer.name, format!("cannot be put in force here: {error}"));
                continue;
            }
        };
        testbed.set_floor(peer.floor)?;
        let seconds = in_force.load.as_secs_f64();
        println!("{:46} put in force in {seconds:.2} s", peer.name);
        report.peers.loads.push(Load { name: peer.name.clone(), seconds });
        for (what, traffic) in &peer.traffic {
            let name = format!("{}, {what}", peer.name);
            testbed.load_traffic(traffic)?;
            let measured = Measured {
                name: &name,
                floor: peer.floor,
                device: Device::Guest,
                frame: &traffic.frame,
                frames: FRAMES,
            };
            let row = measure::measure(testbed, &measured, report.rounds)
                .map_err(|error| format!("{name}: {error}"))?;
            let out = &mut std::io::stdout();
            report::print_row(&row, out)?;
            out.flush()?;
            report.peers.rows.push(row);
        }
        // In the namespace where it was put in force.
        lab.device.enter(|| {
            drop(in_force);
            Ok(())
        })?;
    }
    Ok(())
}

fn leave_out(report: &mut Report, name: String, why: String) {
    println!("{name:46} left out: {why}");
    report.peers.left_out.push(LeftOut { name, why });
}

fn peers<'a>(lists: &'a [(&'static str, Prefixes); 2]) -> Vec<Peer<'a>> {
    let mut peers = Vec::new();
    let nft = |name: String, script: Box<dyn FnOnce() -> String + 'a>, traffic| Peer {
        name: format!("nftables, {name}"),
        program: "nft",
        package: "nftables",
        put_in_force: Box::new(move || nftables::put_in_force(&script())),
        traffic,
        floor: Floor::Drop,
    };
    let any = Traffic::from_sources(Family::V4, &lists[0].1.misses(SOURCES_V4_COUNT, 1));
    peers.push(nft(
        "drop policy alone".into(),
        Box::new(nftables::policy_alone),
        vec![("any", any)],
    ));
    for (count, prefixes) in lists {
        let addresses = prefixes.hosts();
        let traffic = both_v4(&addresses);
        peers.push(nft(
            format!("hash set of the addresses among {count}"),
            Box::new(move || nftables::hash_set(&addresses)),
            traffic,
        ));
    }
    for (count, prefixes) in lists {
        peers.push(nft(
            format!("interval set of {count}"),
            Box::new(|| nftables::interval_set(prefixes)),
            both_v4(prefixes),
        ));
    }
    for (count, prefixes) in lists {
        peers.push(Peer {
            name: format!("iptables-legacy, ipset hash:net of {count}"),
            program: "ipset",
            package: "ipset",
            put_in_force: Box::new(|| xtables::put_set_in_force(prefixes)),
            traffic: both_v4(prefixes),
            floor: Floor::Drop,
        });
    }
    for (kind, restore) in xtables::KINDS {
        peers.push(Peer {
            name: format!("{kind}, 1,000 rules"),
            program: restore,
            package: "iptables",
            put_in_force: Box::new(move || xtables::put_rules_in_force(restore, &thousand_rules())),
            traffic: vec![(
                "mixed",
                Traffic::from_flows(Family::V4, &thousand_rules().flows(FLOWS_V4_COUNT, 9)),
            )],
            floor: Floor::Drop,
        });
    }
    let addresses = Prefixes::hosts_v4(10_000, 0x15);
    for (policy, hits) in [("deny", false), ("allow", true)] {
        let of = addresses.clone();
        peers.push(Peer {
            name: format!("xdp-filter, 10,000 addresses, policy {policy}"),
            program: "xdp-filter",
            package: "xdp-tools",
            put_in_force: Box::new(move || xdp_filter::put_in_force(policy, &of)),
            traffic: both_v4(&addresses)
                .into_iter()
                .filter(|(what, _)| (*what == "hit") == hits)
                .collect(),
            floor: Floor::Drop,
        });
    }
    // Fewer than the kernel has room for, unless it is told otherwise.
    peers.push(Peer {
        name: "nftables, dnat to 100 backends, to bare tx".into(),
        program: "nft",
        package: "nftables",
        put_in_force: Box::new(dnat::put_in_force),
        traffic: vec![("65,536 connections", services::connections(65_536))],
        floor: Floor::Tx,
    });
    peers.extend(peers_of_limits());
    peers.extend(peers_of_replies());
    peers
}

/// Beside limits. What is under them is dropped by the policy.
fn peers_of_limits<'a>() -> Vec<Peer<'a>> {
    let of =
        |count| Traffic::from_sources(Family::V4, &Prefixes::blocklist_v4(0, 0).misses(count, 1));
    let thousand = || ("1,000 sources", of(1_000));
    let both = || vec![thousand(), ("a million sources", of(SOURCES_V4_COUNT))];
    let nft = |name: &str, put_in_force: fn() -> Result<InForce>, traffic| Peer {
        name: format!("nftables, {name}"),
        program: "nft",
        package: "nftables",
        put_in_force: Box::new(put_in_force),
        traffic,
        floor: Floor::Drop,
    };
    let mut peers = vec![
        nft("limit of all, under", limits::of_all, both()),
        nft(
            "limit of each source, under",
            || limits::of_each("100/second burst 100000 packets"),
            both(),
        ),
        nft(
            "limit of each source, over",
            || limits::of_each("1/hour burst 1 packets"),
            vec![thousand()],
        ),
    ];
    for (kind, restore) in xtables::KINDS {
        let rates = [
            ("under", "--hashlimit-above 100/sec --hashlimit-burst 100000", both()),
            ("over", "--hashlimit-above 1/hour --hashlimit-burst 1", vec![thousand()]),
        ];
        for (what, rate, traffic) in rates {
            peers.push(Peer {
                name: format!("{kind}, hashlimit of each source, {what}"),
                program: restore,
                package: "iptables",
                put_in_force: Box::new(move || limits::hashlimit(restore, rate)),
                traffic,
                floor: Floor::Drop,
            });
        }
    }
    peers
}

/// Beside replies.
fn peers_of_replies<'a>() -> Vec<Peer<'a>> {
    let peer = |what: &str, floor, traffic| Peer {
        name: format!("nftables, replies by ct state, {what}"),
        program: "nft",
        package: "nftables",
        put_in_force: Box::new(conntrack::put_in_force),
        traffic,
        floor,
    };
    vec![
        peer("to bare pass", Floor::Pass, vec![("UDP", sockets::replies_udp())]),
        peer(
            "forged",
            Floor::Drop,
            vec![("TCP", sockets::forged_tcp()), ("UDP", sockets::forged_udp())],
        ),
    ]
}

/// Whether a program is in PATH.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Runs a program that has to end well, with this on its standard input.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    // The program may end before it has read all: what it says then counts more.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        return Err(format!("{program} {}: {first}", arguments.join(" ")).into());
    }
    Ok(written?)
}

/// Runs what may fail, such as taking something off.
pub fn try_run(program: &str, arguments: &[&str]) {
    let _ = run(program, arguments, "");
}

/// Does something, and returns how long it took.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
