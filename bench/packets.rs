//! What a packet costs: the packet filter under different rulesets and traffic, as a ratio to a
//! program that does nothing but return the same verdict. docs/performance.md has the method.
//!
//! A generator, itself an XDP program, sends frames into one end of a veth pair ([`lab`]); the
//! filter sits at the other end, the floor on a second pair ([`testbed`]). They take turns in one
//! thread on one processor ([`measure`], [`clock`]), under rulesets and traffic that are the same
//! in every run ([`cases`]).

mod balancer;
mod case;
mod cases;
mod clock;
mod commands;
mod flips;
mod lab;
mod limits;
mod machine;
mod measure;
mod names;
mod peers;
mod prefixes;
mod process;
mod prototype;
mod random;
mod reloads;
mod replies;
mod report;
mod rules;
mod ruleset;
mod services;
mod sockets;
#[path = "../xdp-ebpf/src/bench/structure.rs"]
mod structure;
mod testbed;
mod traffic;
mod two_cpus;

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::datapath::sys::privilege;

use case::{Case, Extent, Group, Subject};
use clock::Clock;
use machine::Machine;
use measure::{FRAMES, Measured};
use report::Report;
use ruleset::Compiled;
use testbed::{Device, Floor, Testbed, Verdicts};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// Measure what a packet costs, in ratio to a bare XDP program. Needs root.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
struct Arguments {
    /// Only the cases of the short table: no rules, 10 and 10,000 prefixes, 1 and 1,000 rules
    #[arg(long, conflicts_with = "all")]
    quick: bool,
    /// More cases than the usual ones
    #[arg(long)]
    all: bool,
    /// Only cases with this text in their names, whichever run they belong to
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only what the commands cost, and reloads under load
    #[arg(long, conflicts_with_all = ["quick", "all", "filter", "compare"])]
    commands: bool,
    /// Beside the filter, what is installed of nftables, ipset with iptables, and xdp-filter
    #[arg(long)]
    compare: bool,
    /// How often the floor and the filter take turns
    #[arg(long, value_name = "N", default_value_t = 11)]
    #[arg(value_parser = clap::value_parser!(u16).range(7..=1000))]
    rounds: u16,
    /// Write everything to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The processor to run on [default: the last one]
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Whether commands belong to this run: with chosen cases, only if they are asked for.
    const fn wants_commands(&self) -> bool {
        self.commands || !self.quick && self.filter.is_none()
    }

    fn wants(&self, case: &Case) -> bool {
        if self.commands {
            return false;
        }
        if let Some(text) = &self.filter {
            return case.name.contains(text.as_str());
        }
        let extent = match (self.quick, self.all) {
            (true, _) => Extent::Quick,
            (_, true) => Extent::All,
            _ => Extent::Usual,
        };
        case.extent <= extent
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == process::OPTION) {
        return process::stand_between(arguments);
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut groups = cases::groups();
    for group in &mut groups {
        group.cases.retain(|case| arguments.wants(case));
    }
    groups.retain(|group| !group.cases.is_empty());
    let only_peers = arguments.compare && arguments.filter.is_some();
    let has_balancer = arguments.wants(&balancer::case());
    let is_empty = groups.is_empty() && !has_balancer;
    if is_empty && !arguments.commands && !only_peers {
        return Err("no case has that in its name".into());
    }
    privilege::require().map_err(|error| {
        format!(
            "the benchmark attaches programs, in namespaces of its own: run it as root ({error})"
        )
    })?;

    let clock = Clock::pin(arguments.cpu)?;
    let machine = Machine::this(clock.cpu);
    let rounds = usize::from(arguments.rounds);
    let out = &mut stdout();
    report::print_machine(&machine, rounds, out)?;
    let mut report = Report::new(machine, rounds);

    let mut testbed = Testbed::set_up(clock)?;
    if !is_empty {
        report::print_heading(out)?;
    }
    for group in &groups {
        run_group(&mut testbed, group, &mut report)?;
    }
    if has_balancer {
        let row = balancer::measure(&mut testbed, rounds)?;
        report::print_row(&row, out)?;
        out.flush()?;
        report.rows.push(row);
    }
    if arguments.compare {
        peers::measure(&mut testbed, &mut report, arguments.filter.as_deref())?;
    }
    report::print_builds(&report.builds, out)?;
    if arguments.wants_commands() {
        report.commands = commands::measure(&testbed.lab, rounds)?;
        report.commands.extend(reloads::measure(&mut testbed)?);
        report.commands.extend(flips::measure(&mut testbed, rounds)?);
        report.commands.extend(two_cpus::measure(&mut testbed, rounds)?);
        report::print_commands(&report.commands, out)?;
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn run_group(testbed: &mut Testbed, group: &Group, report: &mut Report) -> Result<()> {
    let subject = match group.subject {
        Some((name, make)) => {
            let subject = make();
            match subject.prototype {
                Some(prototype) => prototype.put(testbed, &subject)?,
                None => {
                    let compiled =
                        Compiled::new(&subject).map_err(|error| format!("{name}: {error}"))?;
                    let start = Instant::now();
                    testbed.put_in_force(compiled.image())?;
                    testbed.block(&subject.banned, &subject.ended)?;
                    report.builds.push(compiled.build(name, start.elapsed()));
                }
            }
            testbed.put_beside(subject.beside)?;
            subject
        }
        None => {
            testbed.replace_filter(Floor::Drop)?;
            Subject::default()
        }
    };
    for case in &group.cases {
        let traffic = (case.traffic)(&subject);
        testbed.load_traffic(&traffic)?;
        testbed.set_floor(case.floor)?;
        let before = Counted::of(testbed)?;
        let measured = Measured {
            name: case.name,
            floor: case.floor,
            device: Device::Filter,
            frame: &traffic.frame,
            frames: FRAMES,
        };
        let mut row = measure::measure(testbed, &measured, report.rounds)
            .map_err(|error| format!("{}: {error}", case.name))?;
        row.judge(case.goal, &report.rows);
        let after = Counted::of(testbed)?;
        if subject.prototype.is_some() {
            prototype::expect(case, after.prototype, before.prototype)?;
        } else if group.subject.is_some() {
            expect_verdicts(case, after.verdicts.since(&before.verdicts))?;
        }
        let out = &mut stdout();
        report::print_row(&row, out)?;
        out.flush()?;
        report.rows.push(row);
    }
    Ok(())
}

/// What the filter and the prototypes have counted.
struct Counted {
    verdicts: Verdicts,
    prototype: [u64; 2],
}

impl Counted {
    fn of(testbed: &Testbed) -> Result<Self> {
        Ok(Self { verdicts: testbed.verdicts()?, prototype: testbed.prototype_counted()? })
    }
}

/// A figure for packets that were judged otherwise than the case says would be worse than none.
fn expect_verdicts(
    case: &Case,
    counted: impl Iterator<Item = (Verdict, Reason, u64)>,
) -> Result<()> {
    let mut expected = 0;
    let mut others = String::new();
    for (verdict, reason, packets) in counted {
        if verdict == case.verdict() && case.reason.is_none_or(|wanted| wanted == reason) {
            expected += packets;
        } else {
            others += &format!(" {packets} {} by {},", verdict.as_str(), reason.as_str());
        }
    }
    if expected == 0 || !others.is_empty() {
        let (verdict, others) = (case.verdict().as_str(), others.trim_end_matches(','));
        return Err(format!(
            "{}: {expected} frames were counted as they should ({verdict}), but{others}",
            case.name
        )
        .into());
    }
    Ok(())
}
