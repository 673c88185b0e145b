//! Small servers in a namespace, which say who they are and whom they see, and clients for them.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Linger, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};

use super::namespace::Namespace;
use super::patience::{EVENT, patient};

/// How often a server looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// What a server says of itself and of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub server: String,
    /// The client, as the server sees it.
    pub client: SocketAddr,
    /// Where the client sent to, as the server sees it.
    pub local: SocketAddr,
}

impl Greeting {
    #[track_caller]
    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [server, client, local] = words[..] else { panic!("a server says {text:?}") };
        let address = |word: &str| word.parse().unwrap_or_else(|_| panic!("{word} in {text:?}"));
        Self { server: server.to_owned(), client: address(client), local: address(local) }
    }
}

/// A thread that serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs `step` over and over, which waits for something to do for no longer than [`TICK`].
    pub(super) fn of(mut step: impl FnMut(Duration) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    step(TICK);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Greets whoever connects, with a line, and gives back every byte that comes, all bits turned
    /// round, until there are no more.
    #[track_caller]
    pub fn tcp(namespace: &Namespace, address: &str) -> Self {
        let listener = namespace
            .bind(|| TcpListener::bind(address))
            .unwrap_or_else(|error| panic!("TCP {address} in {}: {error}", namespace.name));
        listener.set_nonblocking(true).expect("a listener that does not block");
        let name = namespace.role;
        Self::of(move |tick| match listener.accept() {
            Ok((stream, _)) => {
                // It ends with its connection, which ends with the test's.
                thread::spawn(move || greet_and_echo(stream, name));
            }
            Err(_) => thread::sleep(tick.min(Duration::from_millis(1))),
        })
    }

    /// Answers each datagram with a greeting.
    #[track_caller]
    pub fn udp(namespace: &Namespace, address: &str) -> Self {
        let socket = namespace
            .bind(|| UdpSocket::bind(address))
            .unwrap_or_else(|error| panic!("UDP {address} in {}: {error}", namespace.name));
        socket.set_read_timeout(Some(TICK)).expect("a time-out");
        let (name, local) = (namespace.role, socket.local_addr().expect("an address"));
        Self::of(move |_| {
            let mut datagram = [0; 2048];
            if let Ok((length, client)) = socket.recv_from(&mut datagram) {
                let mut answer = format!("{name} {client} {local}\n").into_bytes();
                answer.extend(&datagram[..length]);
                // A client that is gone is told by nobody.
                let _ = socket.send_to(&answer, client);
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic is in the output; a test may be panicking already.
            let _ = thread.join();
        }
    }
}

fn greet_and_echo(mut stream: TcpStream, name: &str) {
    let greet = |stream: &mut TcpStream| -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(patient(EVENT)))?;
        stream.set_write_timeout(Some(patient(EVENT)))?;
        let (client, local) = (stream.peer_addr()?, stream.local_addr()?);
        stream.write_all(format!("{name} {client} {local}\n").as_bytes())
    };
    let mut buffer = vec![0; 1 << 16];
    let mut go_on = greet(&mut stream).is_ok();
    // The client notices a connection that ends too early.
    while go_on {
        go_on = match stream.read(&mut buffer) {
            Ok(length) if length > 0 => {
                buffer[..length].iter_mut().for_each(|byte| *byte = !*byte);
                stream.write_all(&buffer[..length]).is_ok()
            }
            _ => false,
        };
    }
}

/// A connection to a server of [`Server::tcp`].
#[derive(Debug)]
pub struct Connection {
    pub greeting: Greeting,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from a namespace, and has the server greet.
    #[track_caller]
    pub fn open(namespace: &Namespace, from: Option<&str>, to: &str) -> Self {
        Self::try_open(namespace, from, to, EVENT)
            .unwrap_or_else(|error| panic!("TCP from {} to {to}: {error}", namespace.name))
    }

    /// The same, for no longer than `timeout`.
    pub fn try_open(
        namespace: &Namespace,
        from: Option<&str>,
        to: &str,
        timeout: Duration,
    ) -> io::Result<Self> {
        let timeout = patient(timeout);
        let to: SocketAddr = to.parse().expect("an address");
        let stream = namespace.enter(|| match from {
            None => TcpStream::connect_timeout(&to, timeout),
            Some(from) => connect_from(from.parse().expect("an address"), to),
        })?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { greeting: Greeting::parse(&line), stream })
    }

    /// Sends so many bytes and reads them back at the same time. Panics where one is another.
    #[track_caller]
    pub fn exchange(self, bytes: usize, seed: u64) {
        let reader = self.stream;
        let mut writer = reader.get_ref().try_clone().expect("dup");
        thread::scope(|scope| {
            let sending = scope.spawn(move || {
                let sent = contents(seed, bytes);
                writer.write_all(&sent).expect("all is taken");
                writer.shutdown(std::net::Shutdown::Write).expect("an end");
            });
            let mut back = Vec::with_capacity(bytes);
            { reader }.read_to_end(&mut back).expect("all comes back");
            sending.join().expect("the sending thread");
            assert_eq!(back.len(), bytes, "bytes that came back");
            back.iter_mut().for_each(|byte| *byte = !*byte);
            let sent = contents(seed, bytes);
            let differs = back.iter().zip(&sent).position(|(back, sent)| back != sent);
            assert_eq!(differs, None, "the first byte that came back wrong");
        });
    }

    /// Ends it at once, by a RST: its ports can be used again.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(self.stream.get_ref(), Linger, &linger).expect("SO_LINGER");
    }

    /// Whether it still works: a byte there and back.
    pub fn answers(&mut self) -> bool {
        self.ask() && self.is_answered()
    }

    /// Sends a byte. Asking many connections before the first answer is read is quicker.
    pub fn ask(&mut self) -> bool {
        self.stream.get_mut().write_all(&[0x35]).is_ok()
    }

    /// Waits for the byte that comes back.
    pub fn is_answered(&mut self) -> bool {
        let mut back = [0];
        self.stream.read_exact(&mut back).is_ok() && back == [!0x35]
    }
}

fn connect_from(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if from.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
    bind(raw, &SockaddrStorage::from(from))?;
    match connect(raw, &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    // SAFETY: the descriptor is a connected TCP socket that nobody else has.
    Ok(unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) })
}

/// A client of servers of [`Server::udp`].
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
}

impl Client {
    /// A socket of its own, with that address.
    #[track_caller]
    pub fn bind(namespace: &Namespace, from: &str) -> Self {
        let socket = namespace.bind(|| UdpSocket::bind(from));
        let socket =
            socket.unwrap_or_else(|error| panic!("UDP {from} in {}: {error}", namespace.name));
        Self { socket }
    }

    /// Sends a datagram, and again each second until it is answered by the address that it was sent to.
    #[track_caller]
    pub fn ask(&self, to: &str) -> Greeting {
        let to: SocketAddr = to.parse().expect("an address");
        let deadline = Instant::now() + patient(EVENT);
        self.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
        let sent = [0x5a; 700];
        loop {
            self.socket.send_to(&sent, to).expect("a datagram is taken");
            let mut answer = [0; 2048];
            if let Ok((length, from)) = self.socket.recv_from(&mut answer) {
                assert_eq!(from, to, "who answers");
                let line = answer[..length].iter().position(|&byte| byte == b'\n').expect("a line");
                assert_eq!(answer[line + 1..length], sent, "what is given back");
                return Greeting::parse(&String::from_utf8_lossy(&answer[..line]));
            }
            assert!(Instant::now() < deadline, "{to} does not answer {:?}", self.socket);
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }
}

/// Bytes that look like nothing in particular, the same for the same seed.
fn contents(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut contents = Vec::with_capacity(bytes + 8);
    while contents.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        contents.extend(state.to_le_bytes());
    }
    contents.truncate(bytes);
    contents
}
