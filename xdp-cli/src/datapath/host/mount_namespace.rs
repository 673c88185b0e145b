//! Which mount namespace outlives the caller, and how to act inside it.
//!
//! `ip netns exec` runs its command in a mount namespace of its own, with a fresh sysfs on /sys.
//! What is mounted there ends with the command, so pins have to be made in the mount namespace that
//! the machine itself runs in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chroot, fchdir};

/// Where iproute2 keeps the names of network namespaces.
const NAMED_NETWORK_NAMESPACES: &str = "/run/netns";

/// The machine's mount namespace, as seen from the caller's.
#[derive(Debug)]
pub(super) enum Outer {
    /// The caller is in it.
    Same,
    /// It is another one.
    Other(Mounts),
    /// It is not known: none of the processes that could show it may be looked at.
    Unseen,
}

/// What a process sees as its file systems, held open.
#[derive(Debug)]
pub(super) struct Mounts {
    namespace: File,
    /// The process's root directory. Entering the mount namespace leads to the namespace's own
    /// root, which is another one where the process runs under chroot(8), perhaps along with all
    /// other processes.
    root: File,
}

/// Finds the machine's mount namespace.
///
/// The first of these that may be looked at decides: PID 1, the kernel's own threads (which never
/// leave the first mount namespace), and the outermost of the caller's ancestors. A security module
/// or a container may keep even root from looking at PID 1.
pub(super) fn outer() -> io::Result<Outer> {
    let own = identity(&fs::metadata("/proc/self/ns/mnt")?);
    for pid in [Some(1), kernel_thread()].into_iter().flatten() {
        if let Some(mounts) = mounts_of(pid) {
            let same = identity(&mounts.namespace.metadata()?) == own;
            return Ok(if same { Outer::Same } else { Outer::Other(mounts) });
        }
    }
    for pid in ancestors(parent_of).into_iter().rev() {
        if let Some(mounts) = mounts_of(pid) {
            let same = identity(&mounts.namespace.metadata()?) == own;
            // An ancestor in the caller's own mount namespace proves nothing: the whole session may
            // have been started inside a transient one.
            return Ok(if same { Outer::Unseen } else { Outer::Other(mounts) });
        }
    }
    Ok(Outer::Unseen)
}

/// The name of the network namespace that `ip netns exec` made the caller's /sys for: it leaves
/// that name as the mount's source.
pub(super) fn made_by_ip_netns() -> Option<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = sysfs_source(&mountinfo)?;
    let named = !source.contains('/') && Path::new(NAMED_NETWORK_NAMESPACES).join(source).exists();
    (named && source != "sysfs").then(|| source.to_owned())
}

/// Does `work` inside that mount namespace, below that root, on a thread of its own that ends
/// afterwards.
///
/// A thread may enter another mount namespace once it shares its root and working directory with no
/// other thread; the file descriptors that it opens there still belong to the whole process.
pub(super) fn inside<T: Send>(mounts: &Mounts, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        // `Builder`, because `scope.spawn` panics where there is no memory for a thread.
        let worker = thread::Builder::new().spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_FS)?;
            setns(&mounts.namespace, CloneFlags::CLONE_NEWNS)?;
            fchdir(&mounts.root)?;
            chroot(".")?;
            Ok(work())
        })?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Device and inode: two links in /proc/PID/ns with the same pair are the same namespace.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn mounts_of(pid: u32) -> Option<Mounts> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).ok()?;
    let mut as_directory = File::options();
    as_directory.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    let root = as_directory.open(format!("/proc/{pid}/root")).ok()?;
    Some(Mounts { namespace, root })
}

/// PID 2 where that is the parent of all kernel threads, as in the first PID namespace.
fn kernel_thread() -> Option<u32> {
    let status = fs::read_to_string("/proc/2/status").ok()?;
    (field(&status, "Name:")? == "kthreadd" && field(&status, "PPid:")? == "0").then_some(2)
}

fn parent_of(pid: Option<u32>) -> Option<u32> {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    field(&status, "PPid:")?.parse().ok().filter(|&parent| parent != 0)
}

/// The caller's parent, its parent and so on. Bounded, because the tree may change meanwhile.
fn ancestors(parent_of: impl Fn(Option<u32>) -> Option<u32>) -> Vec<u32> {
    let mut found = Vec::new();
    while found.len() < 1024
        && let Some(parent) = parent_of(found.last().copied())
    {
        found.push(parent);
    }
    found
}

/// A line's value in /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The source of the sysfs that is mounted last, and so visible, on /sys. The format is in
/// proc_pid_mountinfo(5): the fifth field is the mount point; after a lone `-` come type and source.
fn sysfs_source(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().rev().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let on_sys = mount.split(' ').nth(4)? == "/sys";
        (on_sys && filesystem.next()? == "sysfs").then(|| filesystem.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_nearest_first() {
        let parents = [(40, 30), (30, 1)];
        let parent_of = |pid: Option<u32>| match pid {
            None => Some(40),
            Some(pid) => parents.iter().find(|(child, _)| *child == pid).map(|(_, parent)| *parent),
        };
        assert_eq!(ancestors(parent_of), [40, 30, 1]);
    }

    #[test]
    fn a_loop_of_ancestors_ends() {
        assert_eq!(ancestors(|_| Some(7)).len(), 1024);
    }

    #[test]
    fn the_source_of_sys_is_the_last_mount_on_it() {
        let mountinfo = "\
            23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n\
            31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n\
            48 45 0:39 / /sys rw,relatime master:2 propagate_from:1 - sysfs blue rw\n";
        assert_eq!(sysfs_source(mountinfo), Some("blue"));
        assert_eq!(sysfs_source("27 1 254:0 / / rw - ext4 /dev/vda rw\n"), None);
        assert_eq!(sysfs_source("nonsense"), None);
    }
}
