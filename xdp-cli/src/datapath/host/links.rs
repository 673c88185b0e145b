//! What happens to interfaces, as the kernel tells it (RTNLGRP_LINK, rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::datapath::host::interface::{self, Interface};

// include/uapi/linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;

/// Listens to changes of the interfaces of the caller's network namespace.
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// The interfaces that have changed since the last call, each as it was after its change, in
    /// order. Those that are gone are left out. So is what the kernel could not keep for this
    /// listener: only all interfaces together say what became of them.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to read.
    pub fn take(&mut self) -> io::Result<Vec<Interface>> {
        let mut changed = Vec::new();
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => changed.extend(interfaces(&datagram)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The interfaces of the RTM_NEWLINK messages in a datagram.
fn interfaces(datagram: &[u8]) -> Vec<Interface> {
    let (mut rest, mut all) = (datagram, Vec::new());
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        let payload = message.payload();
        // Bridges tell of their ports in messages of their own, with another family.
        let is_link = payload.first() == Some(&(libc::AF_UNSPEC as u8));
        if message.message_type() == RTM_NEWLINK && is_link {
            all.extend(interface::parse(payload));
        }
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    all
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket keeps its descriptor open as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_link_is_left_out() {
        let message = |kind: u16, family: u8| {
            let mut bytes = vec![0; 16 + 16];
            bytes[16] = family;
            bytes[20..24].copy_from_slice(&7u32.to_ne_bytes());
            let mut buffer = NetlinkBuffer::new(&mut bytes);
            buffer.set_length(32);
            buffer.set_message_type(kind);
            bytes
        };
        const RTM_DELLINK: u16 = 17;
        let bridge = libc::AF_BRIDGE as u8;
        let all = [
            message(RTM_NEWLINK, bridge),
            message(RTM_DELLINK, 0),
            message(RTM_NEWLINK, 0),
            vec![9, 0, 0, 0],
        ];
        let found = interfaces(&all.concat());
        assert_eq!(found.iter().map(|interface| interface.index).collect::<Vec<_>>(), [7]);
    }
}
