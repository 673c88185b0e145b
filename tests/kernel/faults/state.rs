//! What is in force, as the kernel says and as packets are judged.

use std::thread;
use std::time::Instant;

use xdp_common::stages;
use xdp_common::stats::counter::Matrix;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::datapath::attached::attachment::Attachment;
use xdpctl::datapath::attached::in_force::Reading;
use xdpctl::datapath::attached::namespace::Namespace;
use xdpctl::datapath::host::interface::{Interface, Mode};
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::EVENT;
use crate::lab::{DST0, IN0, OUT0, SRC0, Topology, end};

/// `in0` as always, and a pair with both ends beside it, where redirected frames need a pass program
/// at `far0`.
pub fn topology() -> Topology {
    Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", JUDGED, IN0))
        .link(end("dut", "far0", DST0), end("dut", "out0", OUT0))
}

/// What is attached, and what it does with packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The interfaces that carry a program.
    pub programs: Vec<(String, Mode)>,
    /// Id of the program on `in0`. Where there is none, the other fields are empty.
    pub program: Option<u32>,
    pub generation: u64,
    /// Whether the attachment or its ruleset waits to be confirmed.
    pub is_unconfirmed: bool,
    /// What is decided of each frame of [`frames`].
    pub judged: Vec<String>,
}

impl State {
    #[track_caller]
    pub fn of(bench: &Bench) -> Self {
        let namespace = bench.lab().namespace("dut");
        let interfaces = namespace.enter(Interface::all).expect("interfaces");
        let mut programs = Vec::new();
        let mut program = None;
        for interface in &interfaces {
            for xdp in &interface.xdp {
                programs.push((interface.name.clone(), xdp.mode));
                if interface.name == JUDGED {
                    program = Some(xdp.program_id);
                }
            }
        }
        let mut state =
            Self { programs, program, generation: 0, is_unconfirmed: false, judged: Vec::new() };
        let Some(program) = program else { return state };
        let attachment = attachment(bench);
        assert_eq!(attachment.program_id(), program, "the link has another program");
        let mut before = attachment.read().expect("counters");
        state.generation = before.in_force.generation;
        let on_trial = attachment.trial().is_some_and(|trial| trial.left.is_some());
        state.is_unconfirmed = on_trial || attachment.pending().is_some();
        for frame in frames() {
            bench.port("src0").send(&frame.build());
            let after = next(&attachment, &before);
            state.judged.push(difference(&before, &after));
            before = after;
        }
        state
    }

    /// Whether `in0` carries the program.
    pub fn is_attached(&self) -> bool {
        self.program.is_some()
    }

    /// Whether the change from `before` to this state is the same as that from `from` to `to` in
    /// another run.
    pub fn came_like(&self, before: &Self, from: &Self, to: &Self) -> bool {
        let exchanged = |one: &Self, other: &Self| one.program != other.program;
        self.programs == to.programs
            && self.is_unconfirmed == to.is_unconfirmed
            && self.judged == to.judged
            && exchanged(before, self) == exchanged(from, to)
            && self.generation.wrapping_sub(before.generation)
                == to.generation.wrapping_sub(from.generation)
    }
}

/// Of the places for programs that the filter on `in0` goes on with, those that are filled.
pub fn stages(bench: &Bench) -> Vec<bool> {
    if bench.lab().programs("dut", JUDGED).is_empty() {
        return Vec::new();
    }
    let attachment = attachment(bench);
    let (maps, _) = attachment.readable().expect("maps");
    let places = 0..stages::COUNT as u32;
    let filled = places.map(|place| bpf::lookup(&maps.stages, place, &mut [0; 4]));
    filled.map(|found| found.expect("a lookup").is_some()).collect()
}

/// What is attached to `in0`, in this process.
#[track_caller]
pub fn attachment(bench: &Bench) -> Attachment {
    let found = bench.lab().namespace("dut").enter(|| {
        let namespace = Namespace::look().expect("a namespace").expect("a bpffs");
        namespace.attachments()?.into_required(JUDGED)
    });
    found.unwrap_or_else(|error| panic!("{error}"))
}

/// Frames from a listed source, from one with a run-time entry, from two that may get one (one of
/// each family), and from another source; and one for a service, where there is one.
fn frames() -> [Frame; 8] {
    [
        udp4("10.1.0.1", "192.0.2.1", 1024, 9),
        udp4("10.9.0.1", "192.0.2.1", 1024, 9),
        udp4("10.9.1.1", "192.0.2.1", 1024, 9),
        udp6("2001:db8:9::1", "2001:db8::1", 1024, 9),
        udp4("10.2.0.1", "192.0.2.1", 1024, 9),
        tcp4("10.2.0.1", "10.5.0.1", 1024, 80),
        udp4("10.7.7.7", "192.0.2.1", 1024, 9),
        udp6("2001:db8:7::8", "2001:db8::1", 1024, 9),
    ]
}

/// Packets that the program on `in0` has counted.
#[track_caller]
pub fn counted(bench: &Bench) -> u64 {
    packets(&attachment(bench).read().expect("counters").matrix)
}

fn packets(matrix: &Matrix) -> u64 {
    matrix.cells.iter().map(|cell| cell.packets).sum()
}

#[track_caller]
fn next(attachment: &Attachment, before: &Reading) -> Reading {
    let deadline = Instant::now() + EVENT;
    loop {
        let reading = attachment.read().expect("counters");
        if packets(&reading.matrix) > packets(&before.matrix) {
            return reading;
        }
        assert!(Instant::now() < deadline, "a packet was not counted");
        thread::yield_now();
    }
}

/// Verdict, reason and list of the one packet between two readings.
fn difference(before: &Reading, after: &Reading) -> String {
    let mut found = Vec::new();
    for &verdict in Verdict::ALL {
        for &reason in Reason::ALL {
            let cell = Matrix::cell(verdict, reason);
            if after.matrix.cells[cell].packets > before.matrix.cells[cell].packets {
                found.push(format!("{} {}", verdict.as_str(), reason.as_str()));
            }
        }
    }
    let names = after.in_force.metadata.counted.iter();
    for (nth, counted) in names.enumerate() {
        if after.counted[nth].own.packets > before.counted[nth].own.packets {
            found.push(counted.name.clone());
        }
    }
    found.join(" ")
}
