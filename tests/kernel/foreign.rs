//! A program in xdpctl's link that is not xdpctl's, or is of a version whose maps have the same
//! names and other sizes.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use xdp_common::maps::{Map, kind};
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};

const PROG_LOAD: libc::c_long = 5;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// union bpf_attr for BPF_PROG_LOAD, up to the attach type.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

/// A program that passes everything and holds these maps.
fn pass_with(maps: &[OwnedFd]) -> OwnedFd {
    let mut instructions = Vec::new();
    for map in maps {
        // r1 = map: two instructions, BPF_PSEUDO_MAP_FD as the source register.
        instructions.extend([0x1118 | (map.as_raw_fd() as u64) << 32, 0]);
    }
    // r0 = XDP_PASS; exit
    instructions.extend([0x0000_0002_0000_00b7, 0x95]);
    let mut load = Load {
        program_type: PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach_type: ATTACH_XDP,
        ..Load::default()
    };
    // SAFETY: BPF_PROG_LOAD takes these; instructions and license outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut load, size_of::<Load>()) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Once only the maps' names were checked, and the kernel wrote a larger value of such a map over a
/// number of four bytes.
#[test]
fn maps_of_other_shapes_are_another_versions() {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"all\"\nprefixes = [\"10.0.0.0/8\"]\n");
    let config = bench.write("new.toml", "policy.default = \"drop\"\n");
    let config = config.to_str().expect("UTF-8");
    let directory = bench.lab().pins("dut", bench.lab().ifindex("dut", JUDGED));
    let link = bpf::open_pin(&directory.join("link")).expect("the link");
    let large = |map: Map| bpf::create_map(kind::ARRAY, 1 << 20, 1, 0, map.name()).expect("a map");
    bpf::update_link(&link, pass_with(&Map::ALL.map(large))).expect("another program in the link");

    let status = bench.xdpctl(["status", "--json"]).statuses();
    let problem = status[0]["problems"][0].as_str().expect("a problem");
    assert!(problem.contains("another version of xdpctl"), "{problem}");
    for args in
        [&["stats", "--once"][..], &["reload"], &["block", JUDGED, "192.0.2.1"], &["bans", JUDGED]]
    {
        let output = bench.xdpctl(args);
        assert!(output.expect_status(1).stderr.contains("another version of xdpctl"), "{output:?}");
    }
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", config]).success();
    let status = bench.xdpctl(["status", "--json"]).statuses();
    assert_eq!(status[0]["problems"], serde_json::json!([]), "{status}");
    bench.xdpctl(["detach", JUDGED]).success();
    bench.lab().assert_nothing_kept("dut");
}
