//! The tun device that marked packets are routed to (Documentation/networking/tuntap.rst in Linux), and a
//! packet socket that sees them there with their marks, which the device's file does not tell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::send::link_address;
use crate::datapath::error::{Context as _, Error, Result};
use crate::datapath::sys::netlink::{Netlink, Request, attribute_bytes};

const TUN: &str = "/dev/net/tun";
// include/uapi/linux/if_tun.h
const TUNSETIFF: libc::Ioctl = 0x4004_54ca_u32 as libc::Ioctl;
const IFF_TUN: libc::c_short = 0x0001;
/// Packets without the four bytes of flags and protocol before them.
const IFF_NO_PI: libc::c_short = 0x1000;
// include/uapi/linux/rtnetlink.h and include/uapi/linux/if_link.h
const RTM_SETLINK: u16 = 19;
/// struct ifinfomsg: family, padding, type, the interface's index, flags, and which of them change.
const IFINFOMSG_LEN: usize = 16;
const IFLA_MTU: u16 = 4;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// The least that IPv6 takes (RFC 8200, section 5). Any Ethernet has room for it inside another packet.
const MTU: u32 = 1280;

/// A device, for as long as this value lives.
pub(super) struct Device {
    file: File,
    packets: OwnedFd,
    pub(super) ifindex: u32,
    name: String,
}

/// A packet that was handed over: its bytes in the buffer, and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    pub length: usize,
    pub mark: u32,
}

impl Device {
    /// Makes the device of that name; `None` where there is such an interface already.
    pub(super) fn take(name: &str) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = match options.open(TUN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let told = Error::new(format!("cannot open {TUN}: {error}"));
                return Err(told.hint("`modprobe tun`, or a kernel with CONFIG_TUN"));
            }
            file => file.context(format_args!("open {TUN}"))?,
        };
        // SAFETY: the structure is plain integers and a union of such, for which all zeroes are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI;
        // SAFETY: the kernel reads and writes one such structure, which outlives the call.
        if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) } < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // Another process has it; or it is an interface of another kind.
                Some(libc::EBUSY | libc::EINVAL) => Ok(None),
                _ => Err(error).context(format_args!("make {name}")),
            };
        }
        let see = || {
            let ifindex = if_nametoindex(name)?;
            Ok::<_, io::Error>((ifindex, packets(ifindex)?))
        };
        let (ifindex, packets) = see().context(format_args!("read packets of {name}"))?;
        Ok(Some(Self { file, packets, ifindex, name: name.to_owned() }))
    }

    /// Has the kernel send packets there.
    pub(super) fn bring_up(&self) -> Result<()> {
        let header = |flags: u32| {
            let mut header = [0; IFINFOMSG_LEN];
            header[4..8].copy_from_slice(&self.ifindex.to_ne_bytes());
            header[8..12].copy_from_slice(&flags.to_ne_bytes());
            // Which of them change: all that are set.
            header[12..].copy_from_slice(&flags.to_ne_bytes());
            header
        };
        let change = |flags| Request::change(RTM_SETLINK, &header(flags), false);
        let set = || {
            let mut netlink = Netlink::route()?;
            // Nobody is there to be told of an address. Without IPv6, it gets none anyway.
            let none = attribute_bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
            let of_v6 = attribute_bytes(libc::AF_INET6 as u16, &none);
            let _ = netlink.ask(change(0).attribute(IFLA_AF_SPEC, &of_v6));
            netlink.ask(change(0).attribute(IFLA_MTU, &MTU.to_ne_bytes()))?;
            netlink.ask(change(libc::IFF_UP as u32))?;
            Ok::<_, io::Error>(())
        };
        set().context(format_args!("bring {} up", self.name))
    }

    /// Has it carry IPv6 where new interfaces do not. Without that, no route can be put.
    pub(super) fn enable_v6(&self) {
        let setting = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name);
        if fs::read(&setting).is_ok_and(|value| value.first() == Some(&b'1')) {
            let _ = fs::write(setting, "0");
        }
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Handed>> {
        // The same packets, without their marks.
        while (&self.file).read(&mut [0; 64]).is_ok() {}
        loop {
            match receive(&self.packets, buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                answer => return answer.map(Some),
            }
        }
    }

    pub(super) fn readable(&self) -> [BorrowedFd<'_>; 2] {
        [self.packets.as_fd(), self.file.as_fd()]
    }
}

/// A socket that gets what is sent out of an interface, without headers of its link, with their marks.
fn packets(ifindex: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // Of no protocol, it gets nothing before it is bound.
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one integer, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVMARK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    let address = link_address(ifindex, libc::ETH_P_ALL as u16, None);
    // SAFETY: the kernel reads one such structure, which outlives the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Handed> {
    /// Room for one control message with the mark, aligned as such.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the structure is pointers and integers, for which all zeroes are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the kernel writes to the buffer and to the control message at most as much as the message
    // says that they have room for; all of them outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut mark = 0;
    // SAFETY: the message is one that the kernel filled in, and its control message still lives. The mark is
    // read where the kernel wrote one, by its length.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(it) = header.as_ref() {
            let is_mark = it.cmsg_level == libc::SOL_SOCKET && it.cmsg_type == libc::SO_MARK;
            if is_mark && it.cmsg_len >= libc::CMSG_LEN(size_of::<u32>() as u32) as _ {
                mark = libc::CMSG_DATA(header).cast::<u32>().read_unaligned();
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Handed { length, mark })
}
