//! Facts, asked of the kernel and of the file system, not of xdpctl's commands.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};

use xdpctl::datapath::host::interface::{AttachedXdp, Interface};
use xdpctl::datapath::sys::bpf;

use super::Lab;
use super::patience::{EVENT, patient};

impl Lab {
    /// The interface as the kernel has it now.
    #[track_caller]
    pub fn interface(&self, role: &str, name: &str) -> Interface {
        let found = self.namespace(role).enter(|| Interface::by_name(name));
        found.unwrap_or_else(|error| panic!("{name} in {role}: {error}"))
    }

    /// The XDP programs on an interface.
    #[track_caller]
    pub fn programs(&self, role: &str, name: &str) -> Vec<AttachedXdp> {
        self.interface(role, name).xdp
    }

    /// What is at the egress of an interface: programs by links (TCX), by their names, and lines about traffic
    /// control's filters and the qdisc that they are in.
    #[track_caller]
    pub fn at_egress(&self, role: &str, name: &str) -> Vec<String> {
        // Kernels before 6.6 have no such links.
        let linked = self
            .namespace(role)
            .enter(|| SchedClassifier::query_tcx(name, TcAttachType::Egress).ok());
        let linked = linked.into_iter().flat_map(|(_, programs)| programs);
        let mut found: Vec<String> =
            linked.map(|program| program.name_as_str().unwrap_or("?").to_owned()).collect();
        for args in
            [&["filter", "show", "dev", name, "egress"][..], &["qdisc", "show", "dev", name]]
        {
            let mut command = self.command(role, "tc");
            command.args(args);
            let output = super::process::run(command, patient(EVENT));
            // Without the qdisc, filters cannot be asked for.
            let lines =
                output.stdout.lines().filter(|line| args[0] == "filter" || line.contains("clsact"));
            found.extend(lines.map(str::to_owned));
        }
        found
    }

    /// All words in which it is noted what an interface has sent; none where there is no room for it.
    #[track_caller]
    pub fn remembered(&self, role: &str, name: &str) -> Vec<u64> {
        let pin = self.pins(role, self.ifindex(role, name)).join("SENT");
        let slots = bpf::open_pin(&pin).expect("the pin");
        let mut words = Vec::new();
        for slot in 0.. {
            let mut id = [0; 4];
            let found = bpf::lookup(&slots, slot, &mut id);
            // Beyond the last slot, that is an error.
            let Ok(Some(())) = found else { break };
            let map = bpf::map_by_id(u32::from_ne_bytes(id)).expect("a slot's map");
            let mut bytes = vec![0; 1 << 20];
            bpf::lookup(&map, 0, &mut bytes).expect("read").expect("its element");
            words.extend(bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)));
        }
        words
    }

    /// Waits until an interface carries no program. A link whose pin is removed by hand ends when
    /// the kernel frees the pin's inode, which can be later.
    #[track_caller]
    pub fn await_no_program(&self, role: &str, name: &str) {
        let deadline = Instant::now() + patient(EVENT);
        while !self.programs(role, name).is_empty() {
            assert!(Instant::now() < deadline, "{:?} on {name}", self.programs(role, name));
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where xdpctl keeps the pins of an interface.
    pub fn pins(&self, role: &str, ifindex: u32) -> PathBuf {
        self.namespace(role).xdpctl_directories()[0].join(ifindex.to_string())
    }

    /// Everything that xdpctl keeps for a namespace, its directories themselves included.
    pub fn kept(&self, role: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in self.namespace(role).xdpctl_directories() {
            if directory.exists() {
                walk(&directory, &mut found);
            }
        }
        found.sort();
        found
    }

    /// Fails if xdpctl keeps anything for that namespace, pins or files.
    #[track_caller]
    pub fn assert_nothing_kept(&self, role: &str) {
        let kept = self.kept(role);
        assert!(kept.is_empty(), "left behind in {role}: {kept:#?}");
    }
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    found.push(path.to_owned());
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_directory {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), found);
        }
    }
}

/// The ids of the link, of the program and of the maps that are pinned in a directory, by the names
/// of the pins. The kernel is asked for them.
#[track_caller]
pub fn pinned(directory: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let object = bpf::open_pin(&entry.path());
            let object = object.unwrap_or_else(|error| panic!("{name}: {error}"));
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()));
            let info = info.expect("the descriptor's information");
            let id = |key: &str| {
                info.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
            };
            let id = ["link_id:", "map_id:", "prog_id:"].into_iter().find_map(id);
            (name.clone(), id.unwrap_or_else(|| panic!("{name} has no id in\n{info}")))
        })
        .collect()
}
