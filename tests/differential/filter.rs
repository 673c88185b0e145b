//! The real program in the kernel: given a configuration as a reload gives it one, run on a frame,
//! and asked what it counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use xdpctl::bans::Kind;
use xdpctl::config::prefix::{IpPrefix, masked_v4, masked_v6};
use xdpctl::datapath::attachment::{InForce, Maps};
use xdpctl::datapath::bans::{Order, Store};
use xdpctl::datapath::bpf::{self, Run};
use xdpctl::datapath::program::{self, Loaded};
use xdpctl::datapath::swap::{self, Occasion};
use xdpctl::datapath::{image_map, lifecycle};
use xdpctl::image::metadata::{Counted, Mode};

use crate::config::{Config, Prefix, RuntimeEntry};
use crate::counters::{Count, Counters};
use crate::judge::{Opinion, judge};
use crate::loading;

/// Frames below are refused by the kernel (ETH_HLEN).
pub const SHORTEST: usize = 14;

pub struct Filter {
    loaded: Loaded,
    maps: Maps,
    in_force: Option<InForce>,
    counters: Counters,
    /// Where notes of run-time entries would lie.
    state: TempDir,
    entries: Vec<IpPrefix>,
    out: Vec<u8>,
}

/// A frame, and how much of it is to lie in the first buffer.
#[derive(Clone, Copy, Debug)]
pub struct Given<'f> {
    pub frame: &'f [u8],
    pub first: Option<usize>,
}

/// What can be seen of what became of a frame.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    action: u32,
    cells: Vec<(&'static str, &'static str, Count)>,
    /// Kind and name, sorted; of what a redirect lost, the kind is `lost`.
    counted: Vec<(String, String, Count)>,
    frame: Vec<u8>,
}

impl Filter {
    /// Loads the program, with no ruleset.
    pub fn load() -> Self {
        let loaded = program::load_filter().unwrap_or_else(|error| panic!("{error}"));
        let maps = lifecycle::maps_of(&loaded).expect("the program's maps");
        Self {
            loaded,
            maps,
            in_force: None,
            counters: Counters::new(),
            state: TempDir::new().unwrap(),
            entries: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Puts a configuration in force, in the place of the one before. `Err` is the product's word
    /// why it does not.
    pub fn put(&mut self, config: &Config) -> Result<(), String> {
        let ruleset = loading::ruleset(config)?;
        let occasion = Occasion {
            interface: "lo",
            mode: Mode::Native,
            config: Path::new("/model.toml"),
            loaded_from: Path::new("/model.toml"),
            attached_at: 0,
            before: self.in_force.as_ref(),
        };
        let prepared = swap::prepare(&ruleset, &occasion).map_err(|error| error.to_string())?;
        let before = self.named_counts();
        swap::put_in_force(&self.maps, &prepared).map_err(|error| error.to_string())?;
        swap::drop_unused_counters(&self.maps, &prepared.metadata).unwrap();
        self.in_force = Some(InForce {
            map_id: image_map::slot_id(&self.maps.ruleset, 0).unwrap().expect("an image"),
            generation: prepared.generation,
            rules: ruleset.rules.len() as u32,
            metadata: prepared.metadata,
        });
        self.put_entries(&config.entries);
        self.counters.open(&self.maps);
        // "A rule keeps its counters as long as its name and kind stay", and a new one begins at 0.
        for (name, count) in self.named_counts() {
            let expected = before.get(&name).copied().unwrap_or_default();
            if count != expected {
                return Err(format!("{name:?} had {expected:?} before the swap, now {count:?}"));
            }
        }
        Ok(())
    }

    /// The entries of run time, in their order: of two for one prefix, the later stays.
    fn put_entries(&mut self, entries: &[RuntimeEntry]) {
        let mut store = Store::on(&self.maps.bans, self.state.path().to_owned()).unwrap();
        if !self.entries.is_empty() {
            store.remove(&self.entries).unwrap();
        }
        self.entries = entries.iter().map(|entry| masked(entry.prefix)).collect();
        let mut from = 0;
        while from < entries.len() {
            let RuntimeEntry { allow, live, .. } = entries[from];
            let alike = |entry: &&RuntimeEntry| entry.allow == allow && entry.live == live;
            let to = from + entries[from..].iter().take_while(alike).count();
            let kind = if allow { Kind::Allow } else { Kind::Block };
            let life = match live {
                false => Some(Duration::from_nanos(1)),
                true => (from % 2 == 0).then_some(Duration::from_secs(100_000)),
            };
            let order = Order { kind, life, note: None };
            store.put(&self.entries[from..to], &order).unwrap();
            from = to;
        }
    }

    /// The counters of lists and rules by kind and name, as they were when read last.
    fn named_counts(&self) -> BTreeMap<(String, String), Count> {
        let by_number = self.counters.by_number();
        let count = |number| by_number.get(&number).copied().unwrap_or_default();
        self.counted().iter().map(|it| (named(it), count(it.number))).collect()
    }

    fn counted(&self) -> &[Counted] {
        self.in_force.as_ref().map_or(&[], |in_force| &in_force.metadata.counted)
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, given: Given<'_>) -> std::io::Result<Run> {
        self.out.resize(given.frame.len() + 64, 0);
        let program = self.loaded.program()?;
        bpf::run_xdp(program, given.frame, given.first, &mut self.out)
    }

    fn see(&mut self, given: Given<'_>) -> Seen {
        let run = self.run(given).unwrap_or_else(|error| {
            panic!("test run of {} bytes, {:?}: {error}", given.frame.len(), given.first)
        });
        let moved = self.counters.moved(&self.maps);
        let name = |number| {
            for it in self.counted() {
                if it.number == number {
                    return named(it);
                }
                if it.lost == Some(number) {
                    return ("lost".to_owned(), it.name.clone());
                }
            }
            ("nothing".to_owned(), format!("number {number}"))
        };
        let counted = moved.numbers.iter().map(|(number, by)| {
            let (kind, name) = name(*number);
            (kind, name, *by)
        });
        let mut counted: Vec<_> = counted.collect();
        counted.sort();
        Seen {
            action: run.action,
            cells: moved.cells,
            counted,
            frame: self.out[..run.length].to_vec(),
        }
    }

    /// What the model and the program make of a frame, if they differ.
    pub fn differs(&mut self, config: &Config, given: Given<'_>) -> Option<String> {
        let opinion = judge(config, given.frame);
        let expected = expected(&opinion, given);
        let seen = self.see(given);
        (seen != expected).then(|| {
            format!("model   {opinion:?}\nexpected {expected:?}\nseen     {seen:?}\n{given:?}")
        })
    }
}

fn named(counted: &Counted) -> (String, String) {
    (counted.kind.as_str().to_owned(), counted.name.clone())
}

/// What an opinion comes to.
fn expected(opinion: &Opinion, given: Given<'_>) -> Seen {
    // enum xdp_action, include/uapi/linux/bpf.h.
    let action = match opinion.verdict {
        "drop" => 1,
        "pass" => 2,
        "tx" => 3,
        "redirect" => 4,
        other => panic!("{other}"),
    };
    let once = (1, given.frame.len() as u64);
    let mut counted: Vec<_> = opinion
        .counted
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), name.clone(), once))
        .collect();
    counted.sort();
    let mut frame = given.frame.to_vec();
    if let Some(sent) = &opinion.sent {
        if let Some(mac) = sent.destination_mac {
            frame[0..6].copy_from_slice(&mac);
        }
        if let Some(mac) = sent.source_mac {
            frame[6..12].copy_from_slice(&mac);
        }
    }
    Seen { action, cells: vec![(opinion.verdict, opinion.reason, once)], counted, frame }
}

fn masked(prefix: Prefix) -> IpPrefix {
    match prefix.address {
        std::net::IpAddr::V4(address) => {
            IpPrefix::V4(masked_v4(address.to_bits(), prefix.length).0)
        }
        std::net::IpAddr::V6(address) => {
            IpPrefix::V6(masked_v6(address.to_bits(), prefix.length).0)
        }
    }
}
