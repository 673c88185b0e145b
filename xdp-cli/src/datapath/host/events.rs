//! How commands tell a running `xdpctl monitor` what they did: by multicast between processes of one
//! network namespace (NETLINK_USERSOCK, netlink(7)).
//!
//! The kernel hands each message to those that listen, and drops it where nobody does. So nothing
//! lies in a file, nothing is left behind by whoever is killed, and nobody waits for anybody. Any
//! process may send; the kernel says of each message whose it is, and only root's are taken. Only
//! those that may administer the network namespace can listen.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use netlink_sys::protocols::NETLINK_USERSOCK;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, NetlinkAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use nix::unistd::Uid;

/// One of the 32 groups of NETLINK_USERSOCK, none of which belongs to anybody.
const GROUP: u32 = 27;
/// What our messages begin with, since others may use that group too.
const MAGIC: &[u8] = b"xdpctl event\n";
/// Most bytes of a message: more than an event can have.
const LARGEST: usize = 256 << 10;
/// Bytes that the kernel keeps for a listener that does something else, such as waiting for a reader
/// of its own.
const KEPT: usize = 4 << 20;

/// Sends a message to all that listen in this network namespace. Does not wait. If it cannot be sent,
/// listeners find what happened by themselves, and later.
pub fn send(message: &[u8]) {
    let sent = || -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_USERSOCK)?;
        socket.bind_auto()?;
        let to = SocketAddr::new(0, 1 << (GROUP - 1));
        let message = [MAGIC, message].concat();
        match socket.send_to(&message, &to, libc::MSG_DONTWAIT) {
            // The message went to the group; but no process has the port of the address, which is
            // the kernel's.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(|_| ()),
        }
    };
    if let Err(error) = sent() {
        log::debug!("nothing was told to `xdpctl monitor`: {error}");
    }
}

/// Listens to what commands in this network namespace tell.
pub struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Listener {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it: it takes the right to administer the network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_USERSOCK)?;
        socket.bind_auto()?;
        setsockopt(&borrowed(&socket), sockopt::PassCred, &true)?;
        // Larger than the limit for all is a privilege.
        let _ = setsockopt(&borrowed(&socket), sockopt::RcvBufForce, &KEPT);
        socket.add_membership(GROUP)?;
        Ok(Self { socket, buffer: vec![0; LARGEST] })
    }

    /// The messages that have come since the last call.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to read.
    pub fn take(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(messages),
                // Some were lost, since nobody read them in time.
                Err(Errno::ENOBUFS) => log::warn!("some events were lost"),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next message; `None` where it is not one of ours.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let mut space = nix::cmsg_space!(UnixCredentials);
        let flags = MsgFlags::MSG_DONTWAIT;
        let descriptor = self.socket.as_raw_fd();
        let received = recvmsg::<NetlinkAddr>(descriptor, &mut parts, Some(&mut space), flags)?;
        let is_whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
        let is_trusted = received.cmsgs()?.any(|control| match control {
            ControlMessageOwned::ScmCredentials(sender) => {
                sender.uid() == 0 || sender.uid() == Uid::effective().as_raw()
            }
            _ => false,
        });
        let length = received.bytes;
        let ours = self.buffer[..length].strip_prefix(MAGIC);
        Ok(ours.filter(|_| is_whole && is_trusted).map(<[u8]>::to_vec))
    }
}

fn borrowed(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket keeps its descriptor open as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrowed(&self.socket)
    }
}
