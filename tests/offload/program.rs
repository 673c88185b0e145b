//! The NIC's program in the kernel: what becomes of a frame, and what is counted.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use xdp_common::capacity::MAX_NIC_LISTS;
use xdp_common::nic::OUTCOMES;
use xdp_common::stats::verdict::Verdict;
use xdpctl::datapath::attached::nic::{clear, counters, fill, of_list, select};
use xdpctl::datapath::program::nic::{Loaded, load};
use xdpctl::datapath::sys::bpf;
use xdpctl::image::counters::assign;
use xdpctl::image::metadata::Counted;
use xdpctl::image::nic::compile;
use xdpctl::ruleset::Ruleset;

use crate::config::{self, Config, List, ListAction, Prefix, Side};
use crate::dice::Dice;
use crate::frames::{Edges, frame, to_cut};
use crate::judge::judge;
use crate::lab::Lab;
use crate::lab::frame::{arp_request, udp4, udp6};
use crate::lab::patience::EVENT;
use crate::rulesets::{ipv4, ipv6};

/// The kernel's own test runs take no shorter frames, and this program none in several buffers.
const LENGTHS: std::ops::Range<usize> = 14..3000;
const FRAMES_PER_CONFIG: usize = 200;

/// `XDPCTL_MODEL_PAIRS` configurations and frames, of which fewer are taken here.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("XDPCTL_MODEL_SEED").unwrap_or_else(now);
    println!("XDPCTL_MODEL_SEED={seed} makes this run again");
    seed
}

/// The program with a ruleset.
struct Nic {
    loaded: Loaded,
    generation: u64,
    counted: Vec<Counted>,
}

/// What a test run of one frame came to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    verdict: &'static str,
    reason: &'static str,
    counted: Vec<(&'static str, String)>,
}

impl Nic {
    fn new() -> Self {
        let loaded = load(0, 0).unwrap_or_else(|error| panic!("root is needed: {error}"));
        clear(&loaded.maps).unwrap();
        Self { loaded, generation: 0, counted: Vec::new() }
    }

    /// Puts a configuration in force, in the bank that the one before has not.
    fn take(&mut self, config: &Config) {
        let ruleset = loaded(config);
        self.counted = assign(&ruleset, &self.counted, &[]).counted;
        let tables = compile(&ruleset, &self.counted).unwrap();
        self.generation += 1;
        fill(&self.loaded.maps, self.generation, &tables).unwrap();
        select(&self.loaded.maps, self.generation, &tables).unwrap();
    }

    /// Runs the program on a frame, and looks at each counter that moved.
    fn run(&self, frame: &[u8]) -> Seen {
        let maps = &self.loaded.maps;
        let before = counters(maps).unwrap();
        let mut out = vec![0; frame.len()];
        let run = bpf::run_xdp(&self.loaded.program, frame, None, &mut out).unwrap();
        assert_eq!(out, frame);
        let after = counters(maps).unwrap();
        let moved = |(before, after): ((u64, u64), (u64, u64))| {
            let by = (after.0 - before.0, after.1 - before.1);
            assert!(by == (0, 0) || by == (1, frame.len() as u64), "{by:?}");
            by.0 == 1
        };
        let outcomes = OUTCOMES.iter().zip(before.into_iter().zip(after));
        let outcomes: Vec<_> =
            outcomes.filter(|(_, counters)| moved(*counters)).map(|(outcome, _)| outcome).collect();
        let [(verdict, reason)] = outcomes[..] else { panic!("counted as {outcomes:?}") };
        let expected = if *verdict == Verdict::Pass { 2 } else { 1 };
        assert_eq!(run.action, expected, "XDP_PASS is 2, XDP_DROP is 1");
        // Every list's, also those that are not in force.
        let mut lists = 0;
        for number in 0..2 * MAX_NIC_LISTS as u32 {
            lists += usize::from(moved((of_list(&before, number), of_list(&after, number))));
        }
        let of = |counted: &&Counted| {
            moved((of_list(&before, counted.number), of_list(&after, counted.number)))
        };
        let counted: Vec<_> = self
            .counted
            .iter()
            .filter(of)
            .map(|counted| (counted.kind.as_str(), counted.name.clone()))
            .collect();
        assert_eq!(lists, counted.len(), "a list was counted that is not in force");
        Seen { verdict: verdict.as_str(), reason: reason.as_str(), counted }
    }

    /// Holds what becomes of a frame against the contract; what it came to.
    fn compare(&self, config: &Config, frame: &[u8]) -> Seen {
        let seen = self.run(frame);
        let opinion = judge(config, frame);
        let expected =
            Seen { verdict: opinion.verdict, reason: opinion.reason, counted: opinion.counted };
        assert_eq!(seen, expected, "{}\n{frame:02x?}", config.to_toml().0);
        seen
    }
}

fn loaded(config: &Config) -> Ruleset {
    let (text, files) = config.to_toml();
    assert!(files.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("NIC.toml");
    fs::write(&path, &text).unwrap();
    let loaded = xdpctl::config::load(&path);
    loaded.ruleset.unwrap_or_else(|| panic!("{text}: {:?}", loaded.diagnostics))
}

/// A configuration that a NIC can hold.
fn config(dice: &mut Dice) -> Config {
    let verdict = |dice: &mut Dice| dice.pick(&[config::Verdict::Pass, config::Verdict::Drop]);
    let mut config = Config {
        default: dice.maybe(2, verdict),
        malformed: dice.maybe(2, verdict),
        fragments: dice.maybe(2, verdict),
        arp: dice.maybe(2, verdict),
        ..Config::default()
    };
    config.arp_allow = dice.some(0, 3, |dice| match ipv4(dice) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!(),
    });
    config.arp_allow.sort();
    config.arp_allow.dedup();
    let number = dice.below(MAX_NIC_LISTS + 1);
    for nth in 0..number {
        // Few names, so that some are there again in the next one.
        let name = format!("list-{}", nth * 2 + dice.below(2));
        let list = list(dice, name);
        if dice.one_in(4) {
            config.allowlists.push(List { side: None, action: None, ..list });
        } else {
            config.blocklists.push(list);
        }
    }
    config
}

fn list(dice: &mut Dice, name: String) -> List {
    let prefixes = dice.some(1, 4, |dice| {
        let address = if dice.one_in(2) { ipv4(dice) } else { ipv6(dice) };
        Prefix::new(address, if address.is_ipv4() { 32 } else { 128 })
    });
    let side = dice.maybe(2, |dice| dice.pick(&[Side::Source, Side::Destination, Side::Either]));
    let action = dice.maybe(2, |dice| dice.pick(&[ListAction::Drop, ListAction::Count]));
    List { name, prefixes, side, action, ..List::default() }
}

#[test]
fn the_program_judges_as_the_contract_says() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(100_000) as usize;
    let mut dice = Dice::new(seed());
    let mut nic = Nic::new();
    let mut met: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut only_counted = 0;
    for _ in 0..pairs.div_ceil(FRAMES_PER_CONFIG) {
        let config = config(&mut dice);
        nic.take(&config);
        let edges = Edges::of(&config);
        for _ in 0..FRAMES_PER_CONFIG {
            let frame = frame(&mut dice, &edges);
            if !LENGTHS.contains(&frame.len()) {
                continue;
            }
            let seen = nic.compare(&config, &frame);
            only_counted += usize::from(seen.reason == "default" && !seen.counted.is_empty());
            *met.entry((seen.reason, seen.verdict)).or_default() += 1;
        }
    }
    println!("{pairs} pairs, {only_counted} by a list that only counts: {met:?}");
    if pairs < 50_000 {
        return;
    }
    // A run that met only some of this has compared nothing.
    for (verdict, reason) in OUTCOMES {
        let times = met.get(&(reason.as_str(), verdict.as_str())).copied().unwrap_or(0);
        assert!(times * 1000 > pairs, "{reason:?} {verdict:?} only {times} times");
    }
    assert!(only_counted * 1000 > pairs);
}

#[test]
fn frames_cut_at_each_byte_are_judged_as_the_contract_says() {
    let mut dice = Dice::new(seed());
    let mut nic = Nic::new();
    let mut compared = 0;
    for _ in 0..10 {
        let config = config(&mut dice);
        nic.take(&config);
        let edges = Edges::of(&config);
        for _ in 0..10 {
            let frame = to_cut(&mut dice, &edges);
            for end in LENGTHS.start..=frame.len() {
                nic.compare(&config, &frame[..end]);
                compared += 1;
            }
        }
    }
    println!("{compared} pairs");
}

/// The same on live traffic, with the program on a veth in native mode.
#[test]
fn the_program_filters_what_a_device_receives() {
    let lab = Lab::new();
    let mut nic = Nic::new();
    let prefix = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        Prefix::new(address, if address.is_ipv4() { 32 } else { 128 })
    };
    let blocked = List {
        name: "blocked".into(),
        prefixes: vec![prefix("10.0.0.1"), prefix("2001:db8::1")],
        side: Some(Side::Either),
        ..List::default()
    };
    let mut config = Config { blocklists: vec![blocked], ..Config::default() };
    config.arp = Some(config::Verdict::Drop);
    config.arp_allow = vec!["10.0.0.7".parse().unwrap()];
    nic.take(&config);

    /// XDP_FLAGS_DRV_MODE.
    const NATIVE: u32 = 1 << 2;
    let ifindex = lab.ifindex("dut", "in0");
    let _link = lab
        .namespace("dut")
        .enter(|| bpf::create_xdp_link(&nic.loaded.program, ifindex, NATIVE).unwrap());
    let (sender, receiver) = (lab.port("src", "src0"), lab.port("dut", "in0"));
    let frames = [
        (udp4("10.0.0.1", "192.0.2.1", 1, 2).build(), false),
        (udp4("10.0.0.2", "192.0.2.1", 1, 2).build(), true),
        (udp4("10.0.0.2", "10.0.0.1", 1, 2).build(), false),
        (udp4("10.0.0.2", "10.0.0.1", 1, 2).vlan(7).build(), false),
        (udp6("2001:db8::1", "2001:db8::2", 1, 2).build(), false),
        (udp6("2001:db8::3", "2001:db8::2", 1, 2).build(), true),
        (udp4("10.0.0.2", "192.0.2.1", 1, 2).truncate(20).build(), false),
        (arp_request("10.0.0.2", "10.0.0.3").build(), false),
        (arp_request("10.0.0.7", "10.0.0.3").build(), true),
    ];
    let before = counters(&nic.loaded.maps).unwrap();
    for (frame, passes) in &frames {
        sender.send(frame);
        if *passes {
            assert_eq!(receiver.recv(EVENT).as_ref(), Some(frame));
        }
    }
    receiver.expect_silence();
    let after = counters(&nic.loaded.maps).unwrap();
    let packets: u64 =
        after[..OUTCOMES.len()].iter().zip(&before).map(|(after, before)| after.0 - before.0).sum();
    assert_eq!(packets, frames.len() as u64);
    assert_eq!(of_list(&after, nic.counted[0].number).0, 4);
}
