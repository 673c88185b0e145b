//! `attach --replace` exchanges the program in its link: without a gap, with the counters, and over
//! another version's maps.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::image::{Block, LAYOUT};
use xdp_common::maps::Map;
use xdpctl::datapath::sys::bpf;

use crate::lab::Traffic;
use crate::lab::bench::{Bench, JUDGED, drop};
use crate::lab::facts::pinned;
use crate::lab::frame::*;

const PINS: [&str; 23] = [
    "BACKEND_STATES",
    "BAN_FILTERS",
    "BAN_HOSTS_V4",
    "BAN_HOSTS_V6",
    "BAN_PREFIXES_V4",
    "BAN_PREFIXES_V6",
    "CAUGHT",
    "CAUGHT_COUNTERS",
    "CONNECTIONS",
    "COUNTERS",
    "ENTRY_COUNTERS",
    "LIMITS",
    "NAMES",
    "OWNERS",
    "RECORDS",
    "REDIRECTS",
    "RULESET",
    "RULE_COUNTERS",
    "SENT",
    "STAGES",
    "SWITCHES",
    "link",
    "program",
];
const BLOCKED: &str = "[[blocklist]]\nname = \"all\"\nprefixes = [\"10.0.0.0/8\"]\n";

fn pins(bench: &Bench) -> PathBuf {
    bench.lab().pins("dut", bench.lab().ifindex("dut", JUDGED))
}

#[track_caller]
fn replace(bench: &Bench) {
    let output = bench.xdpctl(["attach", "--replace", JUDGED]);
    let said = "replaced the program on in0 in native mode";
    assert!(output.success().stdout.starts_with(said), "{}", output.stdout);
}

#[test]
fn no_packet_goes_by_meanwhile() {
    const TIMES: u64 = 30;
    let mut bench = Bench::new();
    bench.attach(BLOCKED);
    let before = bench.sample();
    let link = pinned(&pins(&bench))["link"];
    let frames = [udp4("10.1.0.1", "192.0.2.1", 1, 1), tcp4("10.2.0.1", "192.0.2.1", 1, 80)];
    let traffic = Traffic::start(bench.lab().port("src", "src0"), frames);
    let mut programs = vec![bench.lab().programs("dut", JUDGED)[0].program_id];
    let mut last = before.total().packets;
    for _ in 0..TIMES {
        replace(&bench);
        let now = pinned(&pins(&bench));
        assert!(now.keys().eq(PINS.iter()), "{now:?}");
        assert_eq!(now["link"], link);
        let program = bench.lab().programs("dut", JUDGED)[0].program_id;
        assert_eq!(now["program"], u64::from(program));
        assert!(!programs.contains(&program), "the same program as before");
        programs.push(program);
        let sample = bench.sample();
        assert!(sample.total().packets >= last, "counters began anew");
        last = sample.total().packets;
    }
    let sent = traffic.stop();
    let lost = bench.lab().dropped_at("src", "src0");
    let after = bench.await_count(before.total().packets + sent - lost);
    println!("{sent} packets sent, {lost} lost on the way in");
    assert_eq!(after.generation, before.generation + TIMES);
    assert_eq!(after.verdicts["drop"].packets, sent - lost, "{after:#?}");
    assert_eq!(after.rule("all").count.packets, sent - lost, "{after:#?}");
    let arrived = bench.port(JUDGED).recv_all(Duration::from_millis(20));
    assert!(arrived.is_empty(), "{} packets went by", arrived.len());
}

#[test]
fn another_configuration_comes_with_it() {
    let mut bench = Bench::new();
    bench.attach(BLOCKED);
    let other = bench.write("other.toml", &BLOCKED.replace("all", "other"));
    let other = other.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", other]).success();
    assert_eq!(bench.sample().rules.len(), 1);
    assert_eq!(bench.sample().rule("other").count.packets, 0);
    // Given at attach: the file that reloads read.
    let status = bench.xdpctl(["status", "--json"]).statuses();
    assert_eq!(status[0]["config"], other, "{status}");

    // A wrong one changes nothing.
    let wrong = bench.write("wrong.toml", "[[blocklist]]\nname = 1\n");
    let before = bench.lab().programs("dut", JUDGED);
    let wrong = wrong.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", wrong]).expect_status(2);
    bench.xdpctl(["attach", "--replace", JUDGED, "--mode", "generic"]).expect_status(1);
    bench.xdpctl(["attach", "--replace", "src1"]).expect_status(1);
    assert_eq!(bench.lab().programs("dut", JUDGED), before);
    assert_eq!(bench.sample().generation, 2);
}

#[test]
fn pins_that_somebody_removed_come_back() {
    let mut bench = Bench::new();
    bench.attach(BLOCKED);
    let directory = pins(&bench);
    let whole = pinned(&directory);
    for pin in PINS.iter().filter(|pin| **pin != "link") {
        fs::remove_file(directory.join(pin)).expect("a pin");
    }
    // Nothing that judges depends on them.
    let blocked = udp4("10.1.0.1", "192.0.2.1", 1, 1).build();
    bench.port("src0").send(&blocked);
    assert_eq!(bench.await_count(1).verdicts["drop"].packets, 1);
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(pinned(&directory), whole);

    // One map under another's name, too.
    fs::remove_file(directory.join("RULESET")).expect("a pin");
    fs::rename(directory.join("COUNTERS"), directory.join("RULESET")).expect("a pin");
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(pinned(&directory), whole);

    // Replacing needs the pinned counters, and puts them back before.
    fs::remove_file(directory.join("COUNTERS")).expect("a pin");
    replace(&bench);
    assert_eq!(bench.sample().verdicts["drop"].packets, 1, "counters go on");
    assert!(pinned(&directory).keys().eq(PINS.iter()));
}

/// Makes the image in force another version's, as far as its header tells.
fn write_layout(bench: &Bench, layout: u32) {
    let ruleset = bpf::open_pin(&pins(bench).join("RULESET")).expect("a pin");
    let mut id = [0; 4];
    bpf::lookup(&ruleset, 0, &mut id).expect("a lookup").expect("an image");
    let image = bpf::map_by_id(u32::from_ne_bytes(id)).expect("the image");
    let length = NonZeroUsize::new(size_of::<Block>()).expect("a length");
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of the image's first block, at an address that the kernel chooses; the
    // layout stands behind the magic number, 8 bytes from its start.
    unsafe {
        let memory = mmap(None, length, protection, MapFlags::MAP_SHARED, &image, 0).expect("mmap");
        memory.cast::<u32>().add(2).write_volatile(layout);
        munmap(memory, length.get()).expect("munmap");
    }
}

#[test]
fn another_versions_maps_are_left_alone() {
    let mut bench = Bench::new();
    bench.attach(BLOCKED);
    let config = bench.write("new.toml", BLOCKED);
    let config = config.to_str().expect("UTF-8");
    let link = pinned(&pins(&bench))["link"];
    bench.xdpctl(["block", JUDGED, "198.51.100.0/24", "2001:db8::7", "--note", "kept"]).success();
    write_layout(&bench, LAYOUT + 1);

    let status = bench.xdpctl(["status", "--json"]).statuses();
    let problem = status[0]["problems"][0].as_str().expect("a problem");
    assert!(problem.contains("another version of xdpctl"), "{problem}");
    assert!(problem.contains("`xdpctl attach --replace in0`"), "{problem}");
    assert_eq!(status[0]["link"], "up");
    let text = bench.xdpctl(["status"]);
    assert!(text.expect_status(1).stdout.contains("! problem:"), "{}", text.stdout);
    for args in [&["stats", "--once"][..], &["reload"], &["reload", JUDGED, "-c", config]] {
        let output = bench.xdpctl(args);
        assert!(output.expect_status(1).stderr.contains("another version of xdpctl"), "{output:?}");
        assert!(output.stderr.contains("attach --replace in0"), "{output:?}");
    }
    let already = bench.xdpctl(["attach", JUDGED, "-c", config]);
    assert!(already.expect_status(1).stderr.contains("attached to in0 already"), "{already:?}");

    // Its program finds no image that it knows, and drops everything.
    let replaced = bench.xdpctl(["attach", "--replace", JUDGED, "-c", config]);
    assert!(replaced.success().stderr.contains("the counters begin anew"), "{replaced:?}");
    assert!(!replaced.stderr.contains("run-time entries"), "{replaced:?}");
    assert_eq!(pinned(&pins(&bench))["link"], link, "the same link");
    assert!(pinned(&pins(&bench)).keys().eq(PINS.iter()));
    let entries = bench.xdpctl(["bans", JUDGED, "--json"]).success().json();
    assert_eq!(entries.as_array().expect("an array").len(), 2, "run-time entries are kept");
    bench.run(&[drop("kept", udp4("198.51.100.9", "192.0.2.1", 1, 1), "banned")]);
    let before = bench.sample();
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    let after = bench.await_count(before.total().packets + 1);
    assert_eq!(after.rule("all").count.packets, 1);
    let status = bench.xdpctl(["status", "--json"]).statuses();
    assert_eq!(status[0]["problems"], serde_json::json!([]), "{status}");
    assert_eq!(status[0]["config"], config);

    // A map of run-time entries is another version's too.
    write_layout(&bench, LAYOUT + 1);
    let pin = pins(&bench).join("SWITCHES");
    fs::remove_file(&pin).expect("a pin");
    let other = bpf::create_map(Map::SWITCHES.definition().signature.kind, 8, 1, 0, "other");
    bpf::pin(other.expect("a map"), &pin).expect("pinned");
    let replaced = bench.xdpctl(["attach", "--replace", JUDGED, "-c", config]);
    assert!(replaced.success().stderr.contains("run-time entries are not kept"), "{replaced:?}");
    bench.run(&[drop("by the list", udp4("10.1.0.1", "192.0.2.1", 1, 1), "blocklist").by("all")]);
    assert_eq!(bench.xdpctl(["bans", JUDGED, "--json"]).success().json(), serde_json::json!([]));

    write_layout(&bench, LAYOUT + 1);
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
    bench.lab().assert_nothing_kept("dut");
}

/// As `ip route replace` adds a route that was not there.
#[test]
fn where_nothing_is_attached_it_attaches() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", BLOCKED).display().to_string();
    let args = ["attach", "--replace", JUDGED, "-c", &file, "--mode", "native"];
    let output = bench.xdpctl(args);
    assert_eq!(output.success().stdout, "attached to in0 in native mode, generation 1\n");
    let output = bench.xdpctl(args);
    assert_eq!(
        output.success().stdout,
        "replaced the program on in0 in native mode, generation 2\n"
    );
    // What is wrong with the configuration is said first as before.
    bench.xdpctl(["detach", JUDGED]).success();
    let wrong = bench.write("in0.toml", "x = 1").display().to_string();
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", &wrong]).expect_status(2);
    bench.lab().assert_nothing_kept("dut");
}
