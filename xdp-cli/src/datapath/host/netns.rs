//! Which network namespace the caller is in.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The cookie could not be asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell which network namespace this is (SO_NETNS_COOKIE): {0}")]
pub struct Error(#[from] io::Error);

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        (self.0.raw_os_error() == Some(libc::ENOPROTOOPT))
            .then(|| "the kernel is too old: it needs to be 6.1 or newer".to_owned())
    }
}

/// The number of the caller's network namespace.
///
/// The kernel gives it out once since boot and never again, while the inode number of
/// `/proc/self/ns/net` is taken over by the next namespace: what a removed namespace left in
/// `/run` would be mistaken for the new one's.
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
