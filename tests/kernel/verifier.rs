//! How many instructions the kernel's verifier processes for each program: above a limit it refuses
//! it.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use xdp_common::capacity::MAX_VERIFIED_INSTRUCTIONS;
use xdp_common::capture::{map, slot};
use xdp_common::egress;
use xdp_common::packet::LinkType;
use xdp_common::stages::Needs;
use xdpctl::datapath::maps::handles::{self, Maps};
use xdpctl::datapath::program::load::{self, Loaded};
use xdpctl::datapath::program::nic;
use xdpctl::datapath::sys::bpf;

/// Prints a line past the test harness, which hides the output of tests that pass: a number that
/// grows towards the limit has to be seen before it is reached.
#[track_caller]
fn say(line: &str) {
    writeln!(io::stdout(), "{line}").expect("written");
}

#[track_caller]
fn verified(name: &str, program: impl AsFd) -> (String, u32) {
    let processed = bpf::verified_instructions(program);
    let processed = processed.unwrap_or_else(|error| panic!("{name}: {error}"));
    (name.to_owned(), processed)
}

/// Loads a capture's program on the maps of a filter, and on maps of its own.
#[track_caller]
fn capture(name: &str, filter: &Loaded) -> OwnedFd {
    let shared = Maps::of_loaded(filter).expect("the filter's maps");
    let created = map::ALL.into_iter().chain(slot::ALL.map(|(slot, _)| (slot, slot::DEFINITION)));
    let own: Vec<(&str, OwnedFd)> = created
        .map(|(name, map)| (name, handles::create(map, "xdpctl_test").expect("a map")))
        .collect();
    let shared = shared.iter().map(|(map, handle)| (map.name(), handle.as_fd()));
    let own = own.iter().map(|(name, map)| (*name, map.as_fd()));
    let maps: Vec<_> = shared.chain(own).collect();
    load::load_capture(name, &maps).expect("the capture's program loads")
}

/// Loads the program for the egress, in the same way.
#[track_caller]
fn at_egress(link_type: LinkType, filter: &Loaded) -> OwnedFd {
    let shared = Maps::of_loaded(filter).expect("the filter's maps");
    let own = handles::create(egress::SCRATCH_DEFINITION, "xdpctl_test").expect("a map");
    let shared = shared.iter().map(|(map, handle)| (map.name(), handle.as_fd()));
    let maps: Vec<_> = shared.chain([(egress::SCRATCH, own.as_fd())]).collect();
    load::load_egress(link_type, &maps).expect("the program for the egress loads")
}

#[test]
fn every_program_stays_below_its_limit_of_verified_instructions() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let filter = load::load_filter(LinkType::Ethernet, Needs::ALL).expect("the filter loads");
    let raw =
        load::load_filter(LinkType::Raw, Needs::NONE).expect("the filter for other links loads");
    let pass = load::load_pass().expect("the pass program loads");
    let nic = nic::load(0, 0).expect("the NIC's program loads");
    let captures = slot::ALL.map(|(_, name)| verified(name, capture(name, &filter)));
    let egress = LinkType::ALL
        .map(|link_type| verified(egress::program_name(link_type), at_egress(link_type, &filter)));
    let programs = [
        verified("xdpctl", filter.program().expect("loaded")),
        verified("xdpctl_raw", raw.program().expect("loaded")),
        verified("xdpctl_pass", &pass),
        verified("xdpctl_nic", &nic.program),
    ];
    let others = Needs::ALL
        .programs()
        .map(|(_, name)| verified(name, filter.program_named(name).expect("loaded")));
    let programs =
        programs.into_iter().chain(others).chain(captures).chain(egress).collect::<Vec<_>>();
    for (name, processed) in &programs {
        say(&format!(
            "verifier: Linux {}, {name}: {processed} instructions processed, at most \
             {MAX_VERIFIED_INSTRUCTIONS}",
            release.trim_end()
        ));
    }
    for (name, processed) in programs {
        assert!(processed > 0, "{name}: the kernel does not tell");
        assert!(processed <= MAX_VERIFIED_INSTRUCTIONS, "{name}: {processed}");
    }
}
