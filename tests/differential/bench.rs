//! A network namespace for one thread, with the interfaces that rules redirect to.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::config::Target;

/// Pairs of interfaces, each end with its name and its index: those that `rulesets.rs` names, by
/// name or by index, are all different ones.
const PAIRS: [[(&str, u32); 2]; 3] = [
    [("eth1", 11), ("eth2", 12)],
    [("br-lan.7", 13), ("last", 2_147_483_647)],
    [("second", 2), ("third", 3)],
];

/// Runs `work` on a thread of its own, in a namespace that ends with it.
pub fn within<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests load a program into the kernel: run them as root, or leave this target out"
    );
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("within".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            for pair in PAIRS {
                add(pair);
            }
            work()
        });
        let joined = thread.expect("a thread").join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes a veth pair.
pub fn add([one, other]: [(&str, u32); 2]) {
    let [(a, a_index), (b, b_index)] = [one, other].map(|(name, index)| (name, index.to_string()));
    ip(&[
        "link", "add", a, "index", &a_index, "type", "veth", "peer", "name", b, "index", &b_index,
    ]);
}

/// Runs ip(8) in the caller's namespace.
pub fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip");
    assert!(status.success(), "ip {arguments:?}: {status}");
}

/// The index of a target of `rulesets.rs`.
pub fn index_of(target: &Target) -> u32 {
    match target {
        Target::Index(index) => *index,
        Target::Name(name) => {
            let ends = PAIRS.iter().flatten();
            ends.copied().find(|(it, _)| it == name).expect("a target has an interface").1
        }
    }
}
