//! Packets that are made already, and how they leave.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use crate::datapath::error::{Context as _, Result};

/// Sends whole IP packets.
pub struct Sender {
    v4: OwnedFd,
    /// `None` where the kernel has no IPv6.
    v6: Option<OwnedFd>,
    link: OwnedFd,
}

impl Sender {
    /// Opens the sockets.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses one.
    pub fn open() -> Result<Self> {
        let open = |family, kind, protocol| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, kind, flags, protocol).map_err(io::Error::from)
        };
        // Headers come with what is sent by such a socket, raw(7).
        let raw = |family| open(family, SockType::Raw, Some(SockProtocol::Raw));
        let what = "open a socket for packets to backends";
        let v6 = match raw(AddressFamily::Inet6) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            socket => Some(socket.context(what)?),
        };
        Ok(Self {
            v4: raw(AddressFamily::Inet).context(what)?,
            v6,
            link: open(AddressFamily::Packet, SockType::Datagram, None).context(what)?,
        })
    }

    /// Sends an IP packet by the kernel's routes to its destination.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it, or knows no route.
    pub fn by_route(&self, to: IpAddr, packet: &[u8]) -> io::Result<()> {
        let socket = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => {
                self.v6.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?
            }
        };
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// Sends an IP packet out of an interface, to a MAC address.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn by_link(&self, ifindex: u32, mac: [u8; 6], packet: &[u8]) -> io::Result<()> {
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let protocol = if is_v6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP };
        let address = link_address(ifindex, protocol as u16, Some(mac));
        // SAFETY: the kernel reads the packet and one such structure, both of which outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.link.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// An interface, or a host behind it, packet(7).
pub(super) fn link_address(ifindex: u32, protocol: u16, mac: Option<[u8; 6]>) -> libc::sockaddr_ll {
    // SAFETY: the structure is integers, for which all zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as libc::c_int;
    if let Some(mac) = mac {
        address.sll_halen = mac.len() as libc::c_uchar;
        address.sll_addr[..6].copy_from_slice(&mac);
    }
    address
}
