//! The call itself, and what goes into it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::c_long;

/// Calls bpf(2) with one command's attributes.
///
/// # Safety
///
/// `attributes` must be the kernel's structure for `command`, and the addresses in it must stay
/// valid, and writable where the command writes, during the call.
pub(in crate::datapath) unsafe fn bpf<T>(
    command: c_long,
    attributes: &mut T,
) -> io::Result<c_long> {
    let attributes: *mut T = attributes;
    // SAFETY: the caller answers for what the attributes hold; the kernel reads no more than the
    // size given and takes what is shorter than its own structure for zero-filled.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that return a descriptor.
///
/// # Safety
///
/// As [`bpf`].
pub(in crate::datapath) unsafe fn bpf_fd<T>(
    command: c_long,
    attributes: &mut T,
) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The number of a descriptor. It takes a reference, because an owned descriptor would be closed
/// before the call.
pub(in crate::datapath) fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

/// A name as the kernel takes it: at most 15 bytes and a terminating zero.
pub(in crate::datapath) fn kernel_name(name: &str) -> [u8; 16] {
    let mut kept = [0; 16];
    for (place, byte) in kept.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    kept
}

pub(super) fn text(name: &[u8; 16]) -> String {
    String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}
