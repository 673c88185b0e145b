//! Where captures join the filter: two places, which are free again however a capture ends.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xdpctl::datapath::sys::bpf;

use super::{attached, blocked, capture, interrupt, other};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};

/// The id of the ring buffer that a process has open, as the kernel says in /proc.
fn ring_of(process: u32) -> u32 {
    let entries = fs::read_dir(format!("/proc/{process}/fdinfo")).expect("its descriptors");
    let found = entries.flatten().find_map(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        // BPF_MAP_TYPE_RINGBUF.
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok();
        id.filter(|_| text.contains("map_type:\t27\n"))
    });
    found.expect("a ring buffer")
}

/// How many programs use a map.
fn users_of(map: u32) -> usize {
    let uses = |program: &aya::programs::ProgramInfo| {
        program.map_ids().is_ok_and(|ids| ids.is_some_and(|ids| ids.contains(&map)))
    };
    aya::programs::loaded_programs().flatten().filter(uses).count()
}

fn is_loaded(map: u32) -> bool {
    aya::maps::loaded_maps().flatten().any(|info| info.id() == map)
}

/// The places for captures in the attached program, opened.
fn places(bench: &Bench) -> Vec<OwnedFd> {
    let programs = bench.lab().programs("dut", JUDGED);
    let program = bpf::program_by_id(programs[0].program_id).expect("the program");
    let ids = bpf::program_info(program).expect("its maps").map_ids;
    let maps = ids.into_iter().map(|id| bpf::map_by_id(id).expect("a map"));
    let is_place =
        |map: &OwnedFd| bpf::map_info(map).is_ok_and(|info| info.name.starts_with("CAPTURE_"));
    let places: Vec<OwnedFd> = maps.filter(is_place).collect();
    assert_eq!(places.len(), 2);
    places
}

/// The id of the program in a place.
fn occupant(place: &OwnedFd) -> Option<u32> {
    let mut id = [0; 4];
    bpf::lookup(place, 0, &mut id).expect("the place").map(|()| u32::from_ne_bytes(id))
}

#[test]
fn two_captures_do_not_disturb_each_other() {
    let bench = attached();
    let (one, two) = (capture(&bench, &[]), capture(&bench, &["--verdict", "drop"]));
    let third = bench.xdpctl(["capture", JUDGED]);
    third.expect_status(1);
    assert!(third.stderr.contains("two captures run on in0 already"), "{}", third.stderr);
    bench.port("src0").send(&other().build());
    one.lines(1, EVENT);
    bench.port("src0").send(&blocked().build());
    assert!(one.lines(2, EVENT)[1].contains("drop: blocklist"));
    assert!(two.lines(1, EVENT)[0].contains("drop: blocklist"));
    // One is killed: the other goes on, and there is room again.
    let ring = ring_of(one.id());
    one.signal(Signal::SIGKILL);
    let deadline = Instant::now() + patient(EVENT);
    while users_of(ring) > 0 {
        assert!(Instant::now() < deadline, "its program is still there");
        thread::sleep(Duration::from_millis(1));
    }
    bench.port("src0").send(&blocked().build());
    two.lines(2, EVENT);
    let one = capture(&bench, &[]);
    bench.port("src0").send(&blocked().build());
    one.lines(1, EVENT);
    two.lines(3, EVENT);
    interrupt(one);
    interrupt(two);
    // What is decided stays the same through both.
    assert_eq!(bench.sample().total().packets, 4);
}

#[test]
fn a_killed_capture_leaves_nothing() {
    let bench = attached();
    let kept = bench.lab().kept("dut");
    let before = bench.lab().programs("dut", JUDGED);
    let mut following = capture(&bench, &[]);
    let ring = ring_of(following.id());
    assert_eq!(users_of(ring), 1);
    following.signal(Signal::SIGKILL);
    following.wait(EVENT).expect("it ends");
    let deadline = Instant::now() + patient(EVENT);
    while users_of(ring) > 0 || is_loaded(ring) {
        assert!(Instant::now() < deadline, "its program or its ring buffer is still there");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.lab().kept("dut"), kept);
    assert_eq!(bench.lab().programs("dut", JUDGED), before);
    // Packets are judged as before, and a capture can begin anew.
    let following = capture(&bench, &[]);
    bench.port("src0").send(&blocked().build());
    following.lines(1, EVENT);
    interrupt(following);
}

/// A process that has the filter's maps open, as one that looks at all maps of the system, keeps the
/// kernel from emptying the places of captures. Then a capture begins all the same, one after another.
#[test]
fn another_process_has_the_places_open() {
    let bench = attached();
    let places = places(&bench);
    for turn in 1..=2 {
        let following = capture(&bench, &[]);
        bench.port("src0").send(&blocked().build());
        following.lines(1, EVENT);
        let output = interrupt(following);
        assert!(output.stderr.contains("1 frame captured"), "turn {turn}: {}", output.stderr);
    }
    // Nor does it disturb one that runs when it is closed.
    let following = capture(&bench, &[]);
    drop(places);
    bench.port("src0").send(&blocked().build());
    following.lines(1, EVENT);
    interrupt(following);
}

/// Whoever empties the place of a capture, its program is put back.
#[test]
fn an_emptied_place_is_taken_again() {
    let bench = attached();
    let following = capture(&bench, &[]);
    let ring = ring_of(following.id());
    let places = places(&bench);
    let mut taken = places.iter().filter_map(|place| Some((place, occupant(place)?)));
    let (place, program) = taken.next().expect("it has a place");
    assert_eq!(taken.count(), 0);
    let info = bpf::program_by_id(program).and_then(bpf::program_info).expect("its program");
    assert!(info.map_ids.contains(&ring));
    let is_in = |place: &OwnedFd| occupant(place) == Some(program);
    bpf::delete(place, 0).expect("emptied");
    let deadline = Instant::now() + patient(EVENT);
    while !is_in(place) {
        assert!(Instant::now() < deadline, "the program is not put back");
        thread::sleep(Duration::from_millis(1));
    }
    // The array has it before the jump to it stands in the filter's machine code.
    let port = bench.port("src0");
    while following.stdout().is_empty() {
        assert!(Instant::now() < deadline, "nothing is captured");
        port.send(&blocked().build());
        thread::sleep(Duration::from_millis(20));
    }
    interrupt(following);
}

/// What runs for long holds nothing that captures need.
#[test]
fn one_after_the_other_beside_what_runs_for_long() {
    let bench = attached();
    let socket = bench.directory().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let lab = bench.lab();
    let metrics = lab.spawn_xdpctl("dut", ["metrics", "--listen", &listen]);
    let monitor = lab.spawn_xdpctl("dut", ["monitor"]);
    let stats = lab.spawn_xdpctl("dut", ["stats", JUDGED, "--interval", "10ms", "--json"]);
    let deadline = Instant::now() + patient(EVENT);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "metrics do not listen: {}", metrics.stderr());
        thread::sleep(Duration::from_millis(1));
    }
    let beside = capture(&bench, &["--verdict", "pass"]);
    for turn in 1..=5 {
        let following = capture(&bench, &["--count", "1"]);
        bench.port("src0").send(&blocked().build());
        following.lines(1, EVENT);
        stats.lines(turn, EVENT);
    }
    bench.port("src0").send(&other().build());
    beside.lines(1, EVENT);
    interrupt(beside);
    drop((metrics, monitor, stats));
}
