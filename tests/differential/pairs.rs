//! Configurations and frames out of chance, in numbers.
//!
//! `XDPCTL_MODEL_PAIRS` says how many, or `XDPCTL_MODEL_MINUTES` how long; `XDPCTL_MODEL_SEED`
//! makes a run again. `scripts/differential` sets them.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench;
use crate::config::Config;
use crate::dice::{Dice, seed, setting};
use crate::disagreement::tell;
use crate::filter::{Filter, Given, SHORTEST};
use crate::frames::{Edges, frame, to_cut};
use crate::judge::judge;
use crate::kinds::{ALL, ENDS, Kind, look};
use crate::opened::Opened;
use crate::ordinary;
use crate::rulesets;
use crate::sockets;
use crate::structured;
use crate::table::Table;

/// How many are at work side by side, each with a program and a network namespace of its own. The
/// number is part of what a seed means.
const WORKERS: u64 = 2;
const FRAMES_PER_CONFIG: usize = 600;
/// Beyond, there are few headers.
const HEADERS: usize = 160;

struct Worker {
    dice: Dice,
    filter: Filter,
    /// Whether a test run can be told where the first buffer ends.
    ends: bool,
    table: Table,
    short: usize,
    /// Those that the way of ordinary packets is open to.
    ordinary: usize,
    opened: Opened,
}

impl Worker {
    fn new(seed: u64) -> Self {
        let mut filter = Filter::load();
        let ends = filter.ends_can_be_told();
        filter.remember_nothing();
        let (dice, table) = (Dice::new(seed), Table::default());
        Self { dice, filter, ends, table, short: 0, ordinary: 0, opened: Opened::open() }
    }

    /// One configuration and its frames.
    fn round(&mut self, number: usize) {
        let dice = &mut self.dice;
        let is_short = dice.one_in(6);
        let mut config = match dice.one_in(12) {
            _ if is_short => ordinary::config(dice),
            true => structured::config(dice),
            false => rulesets::config(dice),
        };
        config.sockets.clone_from(&self.opened.sockets);
        self.filter.put(&config).unwrap_or_else(|error| panic!("{error}\n{}", config.to_toml().0));
        let edges = Edges::of(&config);
        for nth in 0..FRAMES_PER_CONFIG {
            // What an error quotes is read in the first buffer alone.
            if config.replies.is_some() && self.dice.one_in(6) {
                let frame = sockets::frame(&mut self.dice, &config.sockets);
                self.pair(&config, &frame, None, nth % 8 == 0);
                continue;
            }
            let frame = match is_short && self.dice.one_in(2) {
                true => ordinary::frame(&mut self.dice, &edges),
                false => frame(&mut self.dice, &edges),
            };
            let first = self.first(&frame);
            self.pair(&config, &frame, first, nth % 8 == 0);
        }
        if number.is_multiple_of(4) {
            let frame = to_cut(&mut self.dice, &edges);
            for end in 0..=frame.len() {
                self.pair(&config, &frame[..end], None, false);
            }
        }
        if self.ends && number % 4 == 2 {
            let frame = to_cut(&mut self.dice, &edges);
            for first in SHORTEST..=frame.len().min(HEADERS) {
                self.pair(&config, &frame, Some(first), false);
            }
        }
    }

    /// Now and then, an end of the first buffer among the headers.
    fn first(&mut self, frame: &[u8]) -> Option<usize> {
        if !self.ends || frame.len() < SHORTEST || !self.dice.one_in(6) {
            return None;
        }
        Some(SHORTEST + self.dice.below(frame.len().min(HEADERS) - SHORTEST + 1))
    }

    fn pair(&mut self, config: &Config, frame: &[u8], first: Option<usize>, ask: bool) {
        let opinion = judge(config, frame);
        if frame.len() < SHORTEST || ask && frame.len() <= 65_535 {
            if self.filter.explained_differs(&opinion, frame).is_some() {
                println!("they differ at pair number {}", self.table.pairs);
                let filter = &mut self.filter;
                tell(config, frame, &mut |config, frame| {
                    filter.put(config).ok()?;
                    filter.explained_differs(&judge(config, frame), frame)
                });
            }
            if frame.len() < SHORTEST {
                self.short += 1;
                return;
            }
        }
        if self.filter.compare(&opinion, Given { frame, first }).is_some() {
            println!("they differ at pair number {}", self.table.pairs);
            let filter = &mut self.filter;
            tell(config, frame, &mut |config, frame| {
                if frame.len() < SHORTEST {
                    return None;
                }
                filter.put(config).ok()?;
                let first = first.map(|first| first.min(frame.len()));
                filter.compare(&judge(config, frame), Given { frame, first })
            });
        }
        let here = first.map_or(frame, |first| &frame[..first.min(frame.len())]);
        self.ordinary += usize::from(self.filter.is_ordinary(here, frame.len()));
        let seen = look(frame);
        let end = first.map(|first| seen.end(first));
        self.table.add(seen.kinds.into_iter().chain(end), opinion.verdict, opinion.reason);
    }
}

/// Tells the other workers to stop where this one failed.
struct Tell<'f>(&'f AtomicBool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn model_and_program_judge_alike() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(300_000) as usize;
    let minutes = setting("XDPCTL_MODEL_MINUTES");
    let deadline = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let seed = seed();
    let failed = AtomicBool::new(false);
    let work = |nth: u64| {
        bench::within(|| {
            let _guard = Tell(&failed);
            let mut worker = Worker::new(seed.wrapping_add(nth << 32));
            let share = pairs / WORKERS as usize;
            let mut rounds = 0;
            while !failed.load(Ordering::Relaxed)
                && match deadline {
                    Some(deadline) => Instant::now() < deadline,
                    None => worker.table.pairs < share,
                }
            {
                worker.round(rounds);
                rounds += 1;
            }
            let explained = worker.filter.explained();
            (worker.table, rounds, explained, worker.short, worker.ends, worker.ordinary)
        })
    };
    let done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|nth| scope.spawn(move || work(nth))).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut table = Table::default();
    let (mut rulesets, mut explained, mut short, mut ends, mut ordinary) = (0, 0, 0, false, 0);
    for (part, rounds, asked, below, told, by_headers) in done {
        table.merge(part);
        rulesets += rounds;
        explained += asked;
        short += below;
        ends |= told;
        ordinary += by_headers;
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    println!(
        "Linux {}: {} pairs, {rulesets} rulesets swapped in, seed {seed}; {explained} frames were \
         asked about as `explain` does, {short} of them shorter than a test run takes; {ordinary} frames \
         had the way of ordinary packets open\n{table}",
        kernel.trim(),
        table.pairs,
    );
    if !ends {
        println!("this kernel does not let a test run say where the first buffer ends");
    }
    if table.pairs >= 100_000 {
        let kinds: Vec<Kind> = ALL.iter().chain(if ends { ENDS } else { &[] }).copied().collect();
        let missing = table.missing(&kinds);
        assert!(missing.is_empty(), "never met: {missing:#?}");
        assert!(ordinary > table.pairs / 100, "{ordinary} ordinary packets");
    }
}
