//! Which network namespace the caller is in.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The kernel did not give the network namespace's cookie.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell which network namespace this is: {0}")]
pub struct Error(#[from] io::Error);

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        (self.0.raw_os_error() == Some(libc::ENOPROTOOPT))
            .then(|| "the kernel is too old: it needs to be 6.1 or newer".to_owned())
    }
}

/// A name for the caller's network namespace that it has after a restart too: `host` for the
/// machine's own, or for that of a container's first process; `netns-NAME` for one that ip-netns(8)
/// named; `None` for any other.
pub fn lasting_name() -> Result<Option<String>, Error> {
    /// The machine's own network namespace is the first to get a cookie (`net_ns_init` in
    /// net/core/net_namespace.c).
    const FIRST_COOKIE: u64 = 1;
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    let own = identity(Path::new("/proc/thread-self/ns/net"))?;
    // Process 1 is asked by a file that each network namespace has one of: few may look at another
    // process's /proc/PID/ns/net, and a unit with only the privileges that xdpctl needs may not.
    let device_list = |process: &str| identity(&Path::new("/proc").join(process).join("net/dev"));
    let is_of_first_process = || {
        let lists = (device_list("1"), device_list("thread-self"));
        matches!(lists, (Ok(its), Ok(own)) if its == own)
    };
    if cookie()? == FIRST_COOKIE || is_of_first_process() {
        return Ok(Some("host".to_owned()));
    }
    let entries = match fs::read_dir(NAMED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        // A name whose namespace is gone has another inode number, or none.
        if identity(&entry.path()).ok() == Some(own)
            && let Some(name) = entry.file_name().to_str()
        {
            return Ok(Some(format!("netns-{name}")));
        }
    }
    Ok(None)
}

/// What to call the caller's network namespace: [`lasting_name`], or its cookie where it has none;
/// `None` where the kernel tells neither.
pub fn name() -> Option<String> {
    let lasting = lasting_name().ok().flatten();
    lasting.or_else(|| cookie().ok().map(|cookie| cookie.to_string()))
}

/// Where ip-netns(8) keeps the names of network namespaces.
const NAMED: &str = "/run/netns";

/// The cookie of the caller's network namespace, a number that the kernel gives out only once
/// between two boots. The inode number of `/proc/self/ns/net` would not do, because the kernel
/// gives it to a later namespace again: then what a removed namespace left in `/run` would be taken
/// for the new one's.
pub fn cookie() -> Result<u64, Error> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which is that long, and both
    // outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(cookie)
}

/// include/uapi/asm-generic/socket.h
const SO_NETNS_COOKIE: libc::c_int = 71;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_stays() {
        let first = cookie().unwrap();
        assert_ne!(first, 0);
        assert_eq!(cookie().unwrap(), first);
    }
}
