//! Whether a network namespace is gone, told from outside of it and for certain.
//!
//! Beside what is pinned for a network namespace lies a device map that holds its loopback interface.
//! The kernel takes an interface out of every device map as it unregisters it (`dev_map_notification`,
//! kernel/bpf/devmap.c), and the loopback interface is unregistered only as its namespace is taken
//! apart: it cannot be deleted, nor be moved to another namespace. So an empty map means that the
//! namespace is gone, and its cookie is never given again.
//!
//! Other signs mislead. A link on no interface says that an interface went, and its namespace may live.
//! That no name in /run/netns and no process in /proc leads to a namespace says little: a descriptor or
//! a mount in another mount namespace holds one as well, and a PID namespace shows its own processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use xdp_common::maps::{MapSignature, kind};

use crate::datapath::sys::bpf;

/// The map's pin, in the directory of the network namespace.
pub const PIN: &str = "loopback";

/// An interface index for its value.
const SIGNATURE: MapSignature = MapSignature::new(kind::DEVMAP, 4, 4);
/// LOOPBACK_IFINDEX, include/net/net_namespace.h: the same in each network namespace.
const IFINDEX: u32 = 1;

/// Pins the caller's loopback interface in the directory of its network namespace, where nothing is
/// pinned under that name.
pub fn pin(directory: &Path) -> io::Result<()> {
    let map = bpf::create_map(SIGNATURE.kind, 4, 1, 0, "xdpctl_loopback")?;
    // Before it is pinned, for an empty one would have the namespace taken for gone.
    bpf::update(&map, 0, &IFINDEX.to_ne_bytes())?;
    bpf::pin(&map, &directory.join(PIN))
}

/// Whether the loopback interface is pinned in that directory.
pub fn is_pinned(directory: &Path) -> bool {
    matches!(held(&directory.join(PIN)), Ok(Some(_)))
}

/// Whether the network namespace of that directory is gone. Where nothing tells, it is not.
pub fn is_gone(directory: &Path) -> bool {
    matches!(held(&directory.join(PIN)), Ok(None))
}

/// The interface that is held; `NotFound` where nothing is pinned, `InvalidData` where something else
/// is.
fn held(path: &Path) -> io::Result<Option<u32>> {
    let map: OwnedFd = bpf::open_pin(path)?;
    let info = bpf::map_info(&map)?;
    if info.signature != SIGNATURE || info.max_entries != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a map of one interface"));
    }
    let mut ifindex = [0; 4];
    Ok(bpf::lookup(&map, 0, &mut ifindex)?.map(|()| u32::from_ne_bytes(ifindex)))
}
