//! ICMP and ICMPv6: an echo request (RFC 792; RFC 4443, section 4.1).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, recv,
    send, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::fault::Fault;
use super::through::set_mark;

/// A request: type, code, checksum, identifier, sequence number, and what comes back with it.
const HEADER: usize = 8;
const LENGTH: usize = HEADER + MARK.len() + size_of::<u64>();
/// By this and a number of its own, an answer is known to be one to this request.
const MARK: &[u8; 8] = b"xdpctl\0\0";

struct Family {
    family: AddressFamily,
    protocol: SockProtocol,
    request: u8,
    reply: u8,
}

pub(super) async fn check(address: IpAddr, mark: Option<u32>) -> Result<(), Fault> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let family = match address {
        IpAddr::V4(_) => Family {
            family: AddressFamily::Inet,
            protocol: SockProtocol::Icmp,
            request: 8,
            reply: 0,
        },
        IpAddr::V6(_) => Family {
            family: AddressFamily::Inet6,
            protocol: SockProtocol::IcmpV6,
            request: 128,
            reply: 129,
        },
    };
    let (socket, is_raw) = open(&family)?;
    set_mark(&socket, mark)?;
    let place = SockaddrStorage::from(SocketAddr::new(address, 0));
    // Connected, it takes packets of that backend alone, and the errors that come back for it.
    connect(socket.as_raw_fd(), &place).map_err(io::Error::from)?;
    // SAFETY: the descriptor is open, is this value's alone, and stays so until that is dropped.
    let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
    let request = request(family.request, number);
    socket
        .async_io(Interest::WRITABLE, |it| {
            Ok(send(it.as_raw_fd(), &request, MsgFlags::MSG_NOSIGNAL)?)
        })
        .await?;
    let mut packet = [0; 2048];
    loop {
        let length = socket
            .async_io(Interest::READABLE, |it| {
                Ok(recv(it.as_raw_fd(), &mut packet, MsgFlags::empty())?)
            })
            .await?;
        // A raw socket of IPv4 has the IP header too (raw(7)).
        let header = match (is_raw && address.is_ipv4(), packet.first()) {
            (true, Some(first)) => usize::from(first & 15) * 4,
            _ => 0,
        };
        let message = packet.get(header..length).unwrap_or_default();
        if message.first() == Some(&family.reply)
            && message.get(HEADER..) == Some(&request[HEADER..])
        {
            return Ok(());
        }
    }
}

/// A socket for echo requests alone, which anybody may have where `net.ipv4.ping_group_range`
/// allows it, or else one for all of ICMP. Returns whether it is the latter.
fn open(family: &Family) -> Result<(OwnedFd, bool), Fault> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = |kind| socket(family.family, kind, flags, family.protocol);
    match open(SockType::Datagram) {
        Ok(socket) => Ok((socket, false)),
        Err(_) => match open(SockType::Raw) {
            Ok(socket) => Ok((socket, true)),
            Err(Errno::EPERM | Errno::EACCES) => Err(Fault::unknown(
                "no echo request may be sent: it takes CAP_NET_RAW, or a group in \
                 net.ipv4.ping_group_range",
            )),
            Err(errno) => Err(io::Error::from(errno).into()),
        },
    }
}

fn request(kind: u8, number: u64) -> [u8; LENGTH] {
    let mut request = [0; LENGTH];
    request[0] = kind;
    let identifier = (std::process::id() as u16).to_be_bytes();
    request[4..6].copy_from_slice(&identifier);
    request[6..8].copy_from_slice(&(number as u16).to_be_bytes());
    request[HEADER..HEADER + MARK.len()].copy_from_slice(MARK);
    request[HEADER + MARK.len()..].copy_from_slice(&number.to_be_bytes());
    // That of ICMPv6 is the kernel's to fill in (RFC 3542, section 3.1).
    let sum = pnet_packet::util::checksum(&request, 1);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    request
}
