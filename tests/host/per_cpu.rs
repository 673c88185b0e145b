//! Per-CPU values have the room that the kernel writes to.

use std::fs;
use std::io;

use xdp_common::maps::kind;
use xdpctl::datapath::sys::bpf::{PerCpuValues, create_map, possible_cpus};

use super::require_root;

/// The kernel's own count and the machine's file agree, where nobody mounted anything over that.
#[test]
fn the_kernel_tells_how_many_cpus_it_keeps_values_for() {
    require_root();
    let file = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let number = |text: &str| text.parse::<usize>().unwrap();
    let counts = file.trim().split(',').map(|range| match range.split_once('-') {
        Some((first, last)) => number(last) - number(first) + 1,
        None => 1,
    });
    assert_eq!(possible_cpus().unwrap(), counts.sum::<usize>());
}

#[test]
fn what_is_not_a_per_cpu_map_is_not_read_as_one() {
    require_root();
    let map = |kind, size| create_map(kind, size, 2, 0, "host_test").unwrap();
    let mut values = PerCpuValues::zeroed(12, 1).unwrap();
    let right = map(kind::PERCPU_ARRAY, 12);
    assert!(values.lookup(&right, 1).unwrap().is_some());
    assert!(values.lookup(&right, 2).unwrap().is_none());
    values.update(&right, 1).unwrap();
    assert_eq!(values.shares().map(<[u8]>::len).sum::<usize>(), 12 * possible_cpus().unwrap());
    for wrong in [map(kind::PERCPU_ARRAY, 16), map(kind::ARRAY, 12)] {
        let refused = [values.lookup(&wrong, 0).map(drop), values.update(&wrong, 0)];
        for error in refused.map(Result::unwrap_err) {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
    // Two elements, and room for one.
    assert_eq!(values.lookup_all(&right).unwrap_err().kind(), io::ErrorKind::InvalidData);
    PerCpuValues::zeroed(12, 2).unwrap().lookup_all(&right).unwrap();
}
