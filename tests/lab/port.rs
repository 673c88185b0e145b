//! A packet socket on an interface: whole frames in, whole frames out.
//!
//! The kernel takes the outer VLAN tag out of a frame before packet sockets see it, and gives it
//! beside the frame (packet(7), `PACKET_AUXDATA`). [`Port::recv`] puts it back, so what was sent
//! and what arrives can be compared byte for byte.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

use super::namespace::Namespace;
use super::patience::{EVENT, patient};

/// How long [`Port::expect_silence`] listens.
const SILENCE: Duration = Duration::from_millis(100);
/// Bytes of the longest frame.
const LONGEST: usize = 65536;
/// Bytes of the receive buffer, enough for what tests send before they read.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;
/// Byte at which a VLAN tag begins: after both MAC addresses.
const TAG_OFFSET: usize = 12;

/// A packet socket bound to one interface. It sees what arrives there, not what is sent.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    interface: String,
}

impl Port {
    /// Opens the interface of that name inside a namespace.
    #[track_caller]
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        let socket = namespace.enter(|| open_socket(interface));
        let socket = socket.unwrap_or_else(|error| {
            panic!("packet socket on {interface} in {}: {error}", namespace.name)
        });
        Self { socket, interface: interface.to_owned() }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Sends a frame as it stands; the kernel neither pads it nor computes a checksum.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = self.try_send(frame);
        assert!(sent, "sending {} bytes on {}: it is full", frame.len(), self.interface);
    }

    /// The same; `false` where the other end's queue is full.
    #[track_caller]
    pub fn try_send(&self, frame: &[u8]) -> bool {
        // SAFETY: the pointer and the length are those of one live slice, which the kernel only
        // reads.
        let sent =
            unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        let error = io::Error::last_os_error();
        if sent < 0 && error.raw_os_error() == Some(libc::ENOBUFS) {
            return false;
        }
        assert!(
            usize::try_from(sent) == Ok(frame.len()),
            "sending {} bytes on {}: {error}",
            frame.len(),
            self.interface,
        );
        true
    }

    #[track_caller]
    pub fn send_many<F: AsRef<[u8]>>(&self, frames: impl IntoIterator<Item = F>) {
        for frame in frames {
            self.send(frame.as_ref());
        }
    }

    /// The next frame, as it was on the wire; `None` when none comes within `timeout`.
    #[track_caller]
    pub fn recv(&self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patient(timeout);
        loop {
            if let Some(frame) = self.receive_now() {
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.wait(left);
        }
    }

    /// All frames until none has come for the time `quiet`.
    #[track_caller]
    pub fn recv_all(&self, quiet: Duration) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.recv(quiet)).collect()
    }

    /// The next frame has to be this one.
    #[track_caller]
    pub fn expect(&self, frame: &[u8]) {
        match self.recv(EVENT) {
            None => panic!("nothing arrived on {}, expected\n{}", self.interface, hex(frame)),
            Some(arrived) => assert!(
                arrived == frame,
                "on {} arrived\n{}\nbut expected was\n{}",
                self.interface,
                hex(&arrived),
                hex(frame)
            ),
        }
    }

    /// Nothing may arrive within 100 ms.
    #[track_caller]
    pub fn expect_silence(&self) {
        if let Some(arrived) = self.recv(SILENCE) {
            panic!("on {} arrived, but nothing should have\n{}", self.interface, hex(&arrived));
        }
    }

    /// How many frames did not fit into this socket's buffer since the last call.
    pub fn overflows(&self) -> u32 {
        // SAFETY: the struct is plain integers, for which all zeroes are valid.
        let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, the size of `statistics`, and both
        // outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        assert_eq!(result, 0, "PACKET_STATISTICS: {}", io::Error::last_os_error());
        statistics.tp_drops
    }

    /// Waits until a frame is there, at most for `timeout`; a signal may end it earlier.
    fn wait(&self, timeout: Duration) {
        // Rounded up: poll(2) knows whole milliseconds only.
        let milliseconds =
            libc::c_int::try_from(timeout.as_millis() + 1).unwrap_or(libc::c_int::MAX);
        let mut ready =
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one live pollfd, as the count says.
        let result = unsafe { libc::poll(&raw mut ready, 1, milliseconds) };
        if result < 0 {
            let error = io::Error::last_os_error();
            assert!(error.kind() == io::ErrorKind::Interrupted, "poll: {error}");
        }
    }

    fn receive_now(&self) -> Option<Vec<u8>> {
        /// Aligned as control messages have to be.
        #[repr(C, align(8))]
        struct Control([u8; 128]);

        let mut frame = vec![0u8; LONGEST];
        let mut control = Control([0; 128]);
        let mut vector = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: the struct is integers and pointers, for which all zeroes are valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;

        // SAFETY: every pointer in `message` is to a live buffer of the length beside it.
        let received =
            unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(length) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return None,
                _ => panic!("receiving on {}: {error}", self.interface),
            }
        };
        frame.truncate(length);
        if let Some((tpid, tci)) = stripped_tag(&message) {
            let [tpid, tci] = [tpid.to_be_bytes(), tci.to_be_bytes()];
            frame.splice(TAG_OFFSET..TAG_OFFSET, [tpid, tci].concat());
        }
        Some(frame)
    }
}

/// The tag that the kernel took out of the frame, if it did.
fn stripped_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: `message` was filled by a successful recvmsg(2) and its control buffer is alive; the
    // kernel's messages are whole, and the auxiliary data may be unaligned, so it is copied out.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_PACKET
                && (*header).cmsg_type == libc::PACKET_AUXDATA
            {
                let data = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>();
                let auxiliary = ptr::read_unaligned(data);
                if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                    return None;
                }
                let tpid = match auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
                    0 => 0x8100,
                    _ => auxiliary.tp_vlan_tpid,
                };
                return Some((tpid, auxiliary.tp_vlan_tci));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// Runs on a thread inside the namespace. The socket stays there when the thread has ended.
fn open_socket(interface: &str) -> io::Result<OwnedFd> {
    let index = if_nametoindex(interface)?;
    let index = libc::c_int::try_from(index).expect("an interface index");
    // No protocol yet: nothing is to arrive before the socket is bound.
    // SAFETY: a call without pointers.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };

    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
    let on: libc::c_int = 1;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)?;
    let promiscuous = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;

    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a live sockaddr_ll, and the length is its size.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn set_option<T>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live `T`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A frame as text: its length, and at most its first 256 bytes in hex.
pub fn hex(frame: &[u8]) -> String {
    let mut text = format!("    {} bytes", frame.len());
    for (number, line) in frame.chunks(16).take(16).enumerate() {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("\n    {:04x}  {}", number * 16, bytes.join(" ")));
    }
    text
}
