//! A tun device: packets written to it come in on its interface, and packets that the host sends
//! there are read from it (Documentation/networking/tuntap.rst in Linux).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::patience::patient;

// include/uapi/linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETLINK: libc::c_ulong = 0x4004_54cd;
const IFF_TUN: libc::c_short = 0x0001;
const IFF_TAP: libc::c_short = 0x0002;
/// Packets are read and written without the four bytes of flags and protocol before them.
const IFF_NO_PI: libc::c_short = 0x1000;

/// A device that exists for as long as this value lives.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes a device for IP packets. It is not switched on yet.
    pub fn create(namespace: &Namespace, interface: &str) -> Self {
        Self::open(namespace, interface, IFF_TUN)
    }

    /// Makes a device for frames, and gives it a hardware type (`ARPHRD_*`).
    pub fn create_tap(namespace: &Namespace, interface: &str, hardware_type: u16) -> Self {
        let tap = Self::open(namespace, interface, IFF_TAP);
        // SAFETY: the call takes a number, and no memory.
        let result = unsafe {
            libc::ioctl(tap.file.as_raw_fd(), TUNSETLINK, libc::c_ulong::from(hardware_type))
        };
        assert_eq!(result, 0, "TUNSETLINK: {}", io::Error::last_os_error());
        tap
    }

    fn open(namespace: &Namespace, interface: &str, kind: libc::c_short) -> Self {
        // The device is made in the namespace in which the file is opened.
        let file = namespace.enter(|| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")
        });
        let file = file.unwrap_or_else(|error| panic!("/dev/net/tun: {error}"));
        // SAFETY: the structure is plain integers and a union of such, for which all zeroes are
        // valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = kind | IFF_NO_PI;
        // SAFETY: the kernel reads and writes one such structure, which outlives the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "TUNSETIFF of {interface}: {}", io::Error::last_os_error());
        Self { file }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Has a packet come in.
    pub fn send(&self, packet: &[u8]) {
        let sent = (&self.file).write(packet);
        assert_eq!(sent.expect("a packet is taken"), packet.len());
    }

    /// The next packet that the host sends there; `None` when none is sent within `timeout`.
    pub fn recv(&self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patient(timeout);
        let mut packet = vec![0; 65_536];
        loop {
            match (&self.file).read(&mut packet) {
                Ok(length) => {
                    packet.truncate(length);
                    return Some(packet);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("reading what goes out: {error}"),
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
