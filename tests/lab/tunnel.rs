//! The backend's end of tunnels: the kernel's own devices where it has them, and sockets elsewhere.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use super::server::Server;
use super::{COMMAND_TIMEOUT, Lab, Tun, process};

/// IP protocol numbers of a packet in a packet.
const IPV4: libc::c_int = 4;
const IPV6: libc::c_int = 41;
/// include/uapi/linux/udp.h
const UDP_NO_CHECK6_RX: libc::c_int = 102;

/// What takes packets out of packets that are sent to a backend.
#[derive(Debug)]
pub enum Tunnels {
    /// `ipip`, `ip6tnl` and `fou`.
    Kernel,
    /// Sockets, from which the inner packets go to the host by a tun device.
    Sockets(#[expect(dead_code, reason = "it runs until it is dropped")] Server),
}

impl Tunnels {
    /// Opens those for IP in IP, and for Generic UDP Encapsulation on a port.
    pub fn open(lab: &Lab, role: &str, gue: u16) -> Self {
        if has_devices(lab, role, gue) {
            return Self::Kernel;
        }
        let namespace = lab.namespace(role);
        let tun = lab.tun(role, "inner0");
        let raw = [(libc::AF_INET, IPV4), (libc::AF_INET6, IPV4), (libc::AF_INET6, IPV6)];
        let sockets = namespace.enter(|| -> io::Result<_> {
            let raw: io::Result<Vec<_>> =
                raw.iter().map(|&(family, protocol)| raw_socket(family, protocol)).collect();
            let udp = UdpSocket::bind(SocketAddr::from(([0_u16; 8], gue)))?;
            // SAFETY: the kernel reads one integer, which outlives the call.
            let set = unsafe {
                let on: libc::c_int = 1;
                let length = size_of::<libc::c_int>() as libc::socklen_t;
                let on = (&raw const on).cast();
                libc::setsockopt(udp.as_raw_fd(), libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, on, length)
            };
            if set < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut sockets = raw?;
            sockets.push(udp.into());
            Ok(sockets)
        });
        let sockets = sockets.unwrap_or_else(|error| panic!("tunnels in {role}: {error}"));
        // The kernel gives IPv4's header along with what a raw socket reads.
        let skipped = [20, 0, 0, 0];
        Self::Sockets(Server::of(move |tick| {
            for at in ready(&sockets, tick) {
                if let Some(packet) = receive(&sockets[at])
                    && packet.len() > skipped[at]
                {
                    tun.send(&packet[skipped[at]..]);
                }
            }
        }))
    }
}

/// Whether the kernel has the devices, which are there then.
fn has_devices(lab: &Lab, role: &str, gue: u16) -> bool {
    // The kernel loads the devices when they are asked for, and these not.
    let mut modprobe = lab.command(role, "modprobe");
    modprobe.args(["-q", "-a", "fou", "fou6"]);
    process::try_run(modprobe, COMMAND_TIMEOUT);
    let gue = gue.to_string();
    let commands: [&[&str]; 6] = [
        &["link", "add", "ipip0", "type", "ipip", "external"],
        &["link", "add", "ipip60", "type", "ip6tnl", "external"],
        &["link", "set", "ipip0", "up"],
        &["link", "set", "ipip60", "up"],
        &["fou", "add", "port", &gue, "gue"],
        &["-6", "fou", "add", "port", &gue, "gue"],
    ];
    for (number, arguments) in commands.into_iter().enumerate() {
        let mut command = lab.command(role, "ip");
        command.args(arguments);
        let output = process::run(command, COMMAND_TIMEOUT);
        if output.status != 0 {
            assert_eq!(number, 0, "{}: {}", output.command, output.stderr);
            return false;
        }
    }
    true
}

fn raw_socket(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a call without pointers.
    let raw = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Which sockets have something to read.
fn ready(sockets: &[OwnedFd], timeout: Duration) -> Vec<usize> {
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to as many live structures as the count says.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) };
    (0..polled.len()).filter(|&at| polled[at].revents != 0).collect()
}

fn receive(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut packet = vec![0; 65_536];
    // SAFETY: the kernel writes at most as many bytes as the buffer has, which outlives the call.
    let received = unsafe {
        let buffer = packet.as_mut_ptr().cast();
        libc::recv(socket.as_raw_fd(), buffer, packet.len(), libc::MSG_DONTWAIT)
    };
    packet.truncate(usize::try_from(received).ok()?);
    Some(packet)
}
