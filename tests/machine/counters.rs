//! Counters where several processors count at a time.

use std::mem::offset_of;

use xdp_common::maps::Map;
use xdp_common::stats::counter::Matrix;
use xdp_common::stats::per_cpu::PerCpu;
use xdpctl::datapath::sys::bpf::{self, PerCpuValues};

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::udp4;
use crate::lab::{Lab, Sample, Topology};

/// As scripts/kernels gives the NICs.
const QUEUES: usize = 4;
const FLOWS: u16 = 64;
const ROUNDS: u64 = 16;

/// How many packets each processor has counted, by the map itself.
#[track_caller]
pub fn by_processor(lab: &Lab, interface: &str) -> Vec<u64> {
    let pins = lab.pins("dut", lab.ifindex("dut", interface));
    let map = bpf::open_pin(&pins.join(Map::COUNTERS.name())).expect("the counters' pin");
    let mut values = PerCpuValues::zeroed(size_of::<PerCpu>(), 1).expect("the processors");
    values.lookup(map, 0).expect("the counters").expect("their one element");
    let matrix = offset_of!(PerCpu, matrix);
    let packets = |share: &[u8]| {
        let cells = share[matrix..matrix + size_of::<Matrix>()].as_chunks::<16>().0;
        let first =
            |cell: &[u8; 16]| cell.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
        cells.iter().map(first).sum()
    };
    values.shares().map(packets).collect()
}

#[test]
#[ignore = "runs inside a machine of scripts/kernels"]
fn virtio_queues_count_apart_and_add_up() {
    let mut bench = Bench::on(Topology::standard().on_nics());
    let mut channels = bench.lab().command("dut", "ethtool");
    let output = channels.args(["-l", JUDGED]).output().expect("ethtool");
    let text = String::from_utf8_lossy(&output.stdout);
    let in_use = text.lines().rfind(|line| line.starts_with("Combined:")).unwrap_or_default();
    assert!(in_use.ends_with(&format!("\t{QUEUES}")), "{text}");

    bench.attach(
        r#"
        [[rule]]
        name = "drop"
        destination_port = [1, 2]
        action = "drop"
        [[rule]]
        name = "on"
        destination_port = 3
        action = "redirect"
        to = "out0"
        [[rule]]
        name = "back"
        destination_port = 4
        action = "bounce"
        "#,
    );
    // Each flow from a port of its own, so that they spread over the queues; five ports in turn,
    // of which the last passes.
    let frames: Vec<Vec<u8>> = (0..FLOWS)
        .map(|flow| udp4("10.0.0.1", "192.0.2.1", 1024 + flow, 1 + flow % 5).build())
        .collect();
    let to = |port: u16| (0..FLOWS).filter(|flow| 1 + flow % 5 == port).count() as u64 * ROUNDS;
    for round in 1..=ROUNDS {
        bench.port("src0").send_many(&frames);
        // Not more at a time than any queue on the way holds.
        bench.await_count(round * u64::from(FLOWS));
    }

    let sample: Sample = bench.sample();
    let sent = u64::from(FLOWS) * ROUNDS;
    let bytes = frames.iter().map(|frame| frame.len() as u64).sum::<u64>() * ROUNDS;
    assert_eq!((sample.total().packets, sample.total().bytes), (sent, bytes), "{sample:#?}");
    assert_eq!(sample.verdicts["pass"].packets, to(5), "{sample:#?}");
    assert_eq!(sample.rule("drop").count.packets, to(1) + to(2), "{sample:#?}");
    assert_eq!(sample.rule("on").count.packets, to(3), "{sample:#?}");
    assert_eq!(sample.rule("back").count.packets, to(4), "{sample:#?}");

    let counted = by_processor(bench.lab(), JUDGED);
    println!("counted by each processor: {counted:?}");
    assert_eq!(counted.iter().sum::<u64>(), sent, "{counted:?}");
    let at_work = counted.iter().filter(|&&packets| packets > 0).count();
    assert!(at_work > 1, "one processor counted them all: {counted:?}");
}
