//! Sockets that clients connect to.

use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {place}: {source}")]
    Io { place: String, source: io::Error },
    #[error("cannot listen on unix:{}: another process listens there", .0.display())]
    InUse(PathBuf),
    #[error("cannot listen on unix:{}: what is there is no socket", .0.display())]
    NotASocket(PathBuf),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { place, source } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(
                    "another process listens there (`ss -ltnp` names it): end it, or choose another \
                     port"
                    .to_owned(),
                ),
                io::ErrorKind::AddrNotAvailable => Some(
                    "no interface of this network namespace has that address: `ip address` lists \
                     those there are"
                        .to_owned(),
                ),
                io::ErrorKind::NotFound => Some(format!("does the directory of {place} exist?")),
                _ => None,
            },
            Self::InUse(_) => Some("end it (`ss -lxp` names it), or choose another path".to_owned()),
            Self::NotASocket(path) => {
                Some(format!("choose another path, or remove it: `rm {}`", path.display()))
            }
        }
    }
}

/// A socket that accepts clients.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Of a Unix socket, its file.
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket's file, removed at the end if it is still the same.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there meanwhile. If it cannot be removed, the next
        // one that listens there does it.
        if fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Listener {
    pub fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = bind().map_err(|source| Error::Io { place: address.to_string(), source })?;
        Ok(Self { socket: Socket::Tcp(listener), file: None })
    }

    /// Listens on a path, which the owner and the group may connect to. A socket that a process left
    /// there when it was killed is replaced; nothing else is.
    pub fn unix(path: &Path) -> Result<Self, Error> {
        let told = |source| Error::Io { place: format!("unix:{}", path.display()), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(told(error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(Error::NotASocket(path.to_owned()));
            }
            Ok(_) if is_listened_on(path).map_err(told)? => {
                return Err(Error::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(told)?,
        }
        // The file is made with its mode: at no time may others connect. No other thread makes files
        // meanwhile, the mask being the process's.
        let before = umask(Mode::from_bits_truncate(0o117));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(told)?;
        let file = fs::symlink_metadata(path).map_err(told)?;
        let file = Some(SocketFile { path: path.to_owned(), identity: identity(&file) });
        listener.set_nonblocking(true).map_err(told)?;
        Ok(Self { socket: Socket::Unix(listener), file })
    }

    /// Where it listens, as `curl` takes it. The port is the one that was got where 0 was asked for.
    pub fn place(&self) -> String {
        match (&self.socket, &self.file) {
            (Socket::Tcp(listener), _) => match listener.local_addr() {
                Ok(address) => format!("http://{address}/metrics"),
                Err(_) => "TCP".to_owned(),
            },
            (Socket::Unix(_), Some(file)) => format!("unix:{}", file.path.display()),
            (Socket::Unix(_), None) => "a Unix socket".to_owned(),
        }
    }

    /// The next client; `WouldBlock` where none waits.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(Stream::Tcp(listener.accept()?.0)),
            Socket::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Whether a process accepts connections there. Never waits: where too many clients wait already,
/// there is one.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(client.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A connection with a client.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends a connection, or one direction of it, for all who hold it. It may have ended already.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Reads what has come, waiting up to `limit`, which is not zero.
    pub fn read(&self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(limit))?;
                let mut stream = stream;
                stream.read(bytes)
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(limit))?;
                let mut stream = stream;
                stream.read(bytes)
            }
        }
    }

    /// Writes what the client takes within `limit`, which is not zero.
    pub fn write(&self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                stream.set_write_timeout(Some(limit))?;
                let mut stream = stream;
                stream.write(bytes)
            }
            Self::Unix(stream) => {
                stream.set_write_timeout(Some(limit))?;
                let mut stream = stream;
                stream.write(bytes)
            }
        }
    }
}
