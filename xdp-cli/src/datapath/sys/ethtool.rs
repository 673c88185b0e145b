//! What only the ethtool ioctls say about an interface: its driver and its offloads.
//!
//! It uses the ioctls and not ethtool's netlink family, because a kernel may be built without that.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::datapath::sys::netlink::read_string;

// include/uapi/linux/sockios.h and include/uapi/linux/ethtool.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    expansion_rom: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// The offloads that disturb XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::datapath) struct Offloads {
    pub(in crate::datapath) rx_vlan: bool,
    pub(in crate::datapath) lro: bool,
}

/// A socket to send the ioctls through, in the caller's network namespace.
pub(in crate::datapath) struct Ethtool(OwnedFd);

impl Ethtool {
    pub(in crate::datapath) fn open() -> io::Result<Self> {
        // Any kind of socket will do. A Unix socket exists in every kernel.
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self(socket))
    }

    /// The driver's name, where the interface has a driver.
    pub(in crate::datapath) fn driver(&self, interface: &str) -> Option<String> {
        let mut info = DriverInfo {
            command: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            version: [0; 32],
            firmware: [0; 32],
            bus: [0; 32],
            expansion_rom: [0; 32],
            reserved: [0; 12],
            counts: [0; 5],
        };
        // SAFETY: DriverInfo is laid out as struct ethtool_drvinfo, which is all that the kernel
        // writes for ETHTOOL_GDRVINFO.
        unsafe { self.ioctl(interface, (&raw mut info).cast()) }.ok()?;
        Some(read_string(&info.driver)).filter(|driver| !driver.is_empty())
    }

    /// The offloads; none where the interface does not say.
    pub(in crate::datapath) fn offloads(&self, interface: &str) -> Offloads {
        let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
        // SAFETY: Value is laid out as struct ethtool_value, which is all that the kernel writes
        // for ETHTOOL_GFLAGS.
        match unsafe { self.ioctl(interface, (&raw mut value).cast()) } {
            Ok(()) => Offloads {
                rx_vlan: value.data & ETH_FLAG_RXVLAN != 0,
                lro: value.data & ETH_FLAG_LRO != 0,
            },
            Err(_) => Offloads::default(),
        }
    }

    /// # Safety
    ///
    /// `data` points to the structure that its first field, the command, asks for.
    unsafe fn ioctl(&self, interface: &str, data: *mut libc::c_char) -> io::Result<()> {
        let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
        // One byte less: the kernel wants the NUL.
        if interface.len() >= name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data },
        };
        // SAFETY: `request` lives through the call, its name is terminated, and `data` is what
        // the command needs by this function's own contract.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
