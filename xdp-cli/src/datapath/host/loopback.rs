//! How to know for certain, from outside, that a network namespace is gone.
//!
//! Beside what is pinned for a network namespace lies a device map that holds its loopback interface.
//! The kernel takes an interface out of every device map as it unregisters it (`dev_map_notification`,
//! kernel/bpf/devmap.c), and the loopback interface is unregistered only as its namespace is taken
//! apart: it cannot be deleted, nor be moved to another namespace. So an empty map means that the
//! namespace is gone, and its cookie is never given again.
//!
//! Other signs mislead. A link on no interface says that an interface is gone, but its namespace
//! may live. That no name in /run/netns and no process in /proc leads to a namespace proves
//! nothing: a descriptor or a mount in another mount namespace keeps one too, and a PID namespace
//! shows only its own processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use xdp_common::maps::{MapSignature, kind};

use crate::datapath::sys::bpf;

/// The map's pin, in the directory of the network namespace.
pub const PIN: &str = "loopback";

/// Key and value are 4 bytes each; the value is an interface index.
const SIGNATURE: MapSignature = MapSignature::new(kind::DEVMAP, 4, 4);
/// LOOPBACK_IFINDEX, include/net/net_namespace.h: the same in each network namespace.
const IFINDEX: u32 = 1;

/// Pins the caller's loopback interface in the directory of its network namespace, where nothing
/// may be pinned under that name yet.
pub fn pin(directory: &Path) -> io::Result<()> {
    let map = bpf::create_map(SIGNATURE.kind, 4, 1, 0, "xdpctl_loopback")?;
    // Before it is pinned: with an empty map the namespace would be taken for gone.
    bpf::update(&map, 0, &IFINDEX.to_ne_bytes())?;
    bpf::pin(&map, &directory.join(PIN))
}

/// Whether the loopback interface is pinned in that directory.
pub fn is_pinned(directory: &Path) -> bool {
    matches!(held(&directory.join(PIN)), Ok(Some(_)))
}

/// Whether the network namespace of that directory is gone. Where the map is missing or cannot be
/// read, it counts as alive.
pub fn is_gone(directory: &Path) -> bool {
    matches!(held(&directory.join(PIN)), Ok(None))
}

/// Index of the interface in the map; `None` where the map is empty. The error is `NotFound` where
/// nothing is pinned, and `InvalidData` where something else is.
fn held(path: &Path) -> io::Result<Option<u32>> {
    let map: OwnedFd = bpf::open_pin(path)?;
    let info = bpf::map_info(&map)?;
    if info.signature != SIGNATURE || info.max_entries != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a map of one interface"));
    }
    let mut ifindex = [0; 4];
    Ok(bpf::lookup(&map, 0, &mut ifindex)?.map(|()| u32::from_ne_bytes(ifindex)))
}
