//! A host's interface on a VLAN: the kernel's own device where it has them, and a tap device elsewhere.

use std::time::Duration;

use super::server::Server;
use super::{COMMAND_TIMEOUT, Lab, MacAddr, Port, Tun, process};

/// ARPHRD_ETHER (include/uapi/linux/if_arp.h)
const ETHERNET: u16 = 1;
/// Where a tag stands in a frame, and how long it is.
const TAG: std::ops::Range<usize> = 12..16;

/// What takes tags off frames, and puts them on.
#[derive(Debug)]
pub enum Tagged {
    Kernel,
    /// A tap device and a socket on the wire, between which frames go.
    Socket(#[expect(dead_code, reason = "it runs until it is dropped")] Server),
}

impl Tagged {
    /// Makes `interface` for a VLAN on `wire`, with that address of its own, and switches it on.
    pub fn open(lab: &Lab, role: &str, (wire, mac): (&str, MacAddr), id: u16, name: &str) -> Self {
        let mut add = lab.command(role, "ip");
        add.args(["link", "add", "link", wire, "name", name, "type", "vlan"]);
        add.args(["id", &id.to_string()]);
        let tap = match process::run(add, COMMAND_TIMEOUT).status {
            0 => None,
            _ => Some(Tun::create_tap(lab.namespace(role), name, ETHERNET)),
        };
        lab.ip(role, ["link", "set", name, "address", &mac.to_string(), "up"]);
        match tap {
            None => Self::Kernel,
            Some(tap) => Self::between(lab.port(role, wire), tap, id),
        }
    }

    fn between(port: Port, tap: Tun, id: u16) -> Self {
        let tag = [0x81, 0x00, (id >> 8) as u8, id as u8];
        Self::Socket(Server::of(move |tick| {
            wait(&port, &tap, tick);
            while let Some(mut frame) = port.recv(Duration::ZERO) {
                if frame.get(TAG) == Some(&tag[..]) {
                    frame.drain(TAG);
                    tap.send(&frame);
                }
            }
            while let Some(mut frame) = tap.recv(Duration::ZERO) {
                frame.splice(TAG.start..TAG.start, tag);
                // A queue that is full loses frames, as queues do.
                port.try_send(&frame);
            }
        }))
    }
}

/// Waits until one of them has something to read, at most for `timeout`.
fn wait(port: &Port, tap: &Tun, timeout: Duration) {
    let mut polled = [port.descriptor(), tap.descriptor()].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to two live structures, as the count says.
    unsafe { libc::poll(polled.as_mut_ptr(), 2, milliseconds) };
}
