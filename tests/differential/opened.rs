//! The sockets that the model is told of, opened in the caller's network namespace.

use std::any::Any;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::bench::ip;
use crate::config::Socket;
use crate::sockets::all;

/// Sockets that are open for as long as this value lives.
pub struct Opened {
    pub sockets: Vec<Socket>,
    held: Vec<Box<dyn Any>>,
}

impl Opened {
    pub fn open() -> Self {
        ip(&["link", "set", "lo", "up"]);
        for address in ["10.0.0.1/32", "10.0.0.2/32", "2001:db8::1/128"] {
            ip(&["address", "add", address, "dev", "lo", "nodad"]);
        }
        let mut opened = Self { sockets: all(), held: Vec::new() };
        for socket in opened.sockets.clone() {
            opened.open_one(socket);
        }
        opened
    }

    fn open_one(&mut self, socket: Socket) {
        let Socket { tcp, own, peer } = socket;
        match (tcp, peer) {
            (false, peer) => {
                let udp = UdpSocket::bind(own).expect("a UDP socket");
                if let Some(peer) = peer {
                    udp.connect(peer).expect("a connected UDP socket");
                }
                self.held.push(Box::new(udp));
            }
            (true, None) => {
                self.held.push(Box::new(TcpListener::bind(own).expect("a listener")));
            }
            // The listener's end of a connection comes by accepting it.
            (true, Some(peer)) => match self.listener(own) {
                Some(listener) => {
                    let (stream, from) = listener.accept().expect("a connection");
                    assert_eq!(from, peer);
                    self.held.push(Box::new(stream));
                }
                None => self.held.push(Box::new(connected(own, peer))),
            },
        }
    }

    fn listener(&self, own: SocketAddr) -> Option<&TcpListener> {
        let mut listeners = self.held.iter().filter_map(|held| held.downcast_ref::<TcpListener>());
        listeners.find(|listener| listener.local_addr().expect("an address") == own)
    }
}

/// On a busy machine, addresses may not be in the kernel's routes at once.
fn connected(own: SocketAddr, peer: SocketAddr) -> TcpStream {
    const PATIENCE: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_connected(own, peer) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{own} to {peer}: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn try_connected(own: SocketAddr, peer: SocketAddr) -> nix::Result<TcpStream> {
    let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(own))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(peer))?;
    // SAFETY: the descriptor is a connected TCP socket that nobody else has.
    Ok(unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) })
}
