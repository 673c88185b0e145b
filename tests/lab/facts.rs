//! Facts, asked of the kernel and of the file system, not of xdpctl's commands.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

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
