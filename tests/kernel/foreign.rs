//! A program in xdpctl's link that is not xdpctl's, or is of a version whose maps have the same
//! names and other sizes.

use xdp_common::maps::{Map, kind};
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::program::pass_with;

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
