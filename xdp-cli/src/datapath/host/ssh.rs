//! The SSH connections that a command runs in.
//!
//! `SSH_CONNECTION` names one. sudo(8) strips it, so the environments of the processes above are
//! read too. If one of those is an sshd, its sockets are read as well: these connections certainly
//! exist now.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

const VARIABLE: &str = "SSH_CONNECTION";
/// At most as many processes above this one are looked at.
const MOST_PROCESSES: usize = 256;
/// At most as many bytes of an environment are read. Linux allows 6 MiB for arguments and
/// environment.
const MOST_ENVIRONMENT: u64 = 8 << 20;
/// TCP_ESTABLISHED and TCP_LISTEN, include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// A connection, as seen from this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub peer: SocketAddr,
    pub own: SocketAddr,
    pub evidence: Evidence,
}

/// How it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    Environment,
    EnvironmentOf { pid: u32 },
    SocketOf { pid: u32 },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "{VARIABLE}"),
            Self::EnvironmentOf { pid } => write!(f, "{VARIABLE} of process {pid}"),
            Self::SocketOf { pid } => write!(f, "the socket of sshd, process {pid}"),
        }
    }
}

/// The connections that this command runs in, each once. What cannot be read is left out.
pub fn connections() -> Vec<Connection> {
    let own = std::env::var_os(VARIABLE).and_then(|text| parse(text.to_str()?));
    let own = own.map(|(peer, own)| Connection { peer, own, evidence: Evidence::Environment });
    let mut from_sockets = Vec::new();
    let mut above = None;
    let mut elsewhere = Vec::new();
    for pid in ancestors() {
        if above.is_none() {
            above = environment(pid).map(|(peer, own)| Connection {
                peer,
                own,
                evidence: Evidence::EnvironmentOf { pid },
            });
        }
        if is_sshd(pid) {
            let sockets = established(pid).into_iter();
            if is_here(pid) {
                let evidence = Evidence::SocketOf { pid };
                from_sockets.extend(sockets.map(|(peer, own)| Connection { peer, own, evidence }));
            } else {
                elsewhere.extend(sockets);
            }
        }
    }
    each_once(own.or(above).into_iter().chain(from_sockets), &elsewhere)
}

/// Leaves out connections that were found twice, and those of another network namespace: their
/// packets come in by none of the interfaces here.
fn each_once(
    found: impl Iterator<Item = Connection>,
    elsewhere: &[(SocketAddr, SocketAddr)],
) -> Vec<Connection> {
    let mut all: Vec<Connection> = Vec::new();
    for connection in found {
        let ends = (connection.peer, connection.own);
        let known = all.iter().any(|other| (other.peer, other.own) == ends);
        if !known && !elsewhere.contains(&ends) {
            all.push(connection);
        }
    }
    all
}

/// The processes above this one, the nearest first.
fn ancestors() -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = parent(std::process::id());
    while let Some(pid) = next
        && pid > 1
        && all.len() < MOST_PROCESSES
    {
        all.push(pid);
        next = parent(pid);
    }
    all
}

/// A process's parent: the second field behind its name in /proc/PID/stat. The name may hold
/// anything, and ends with the line's last `)`.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// OpenSSH's server, including what its newer versions call the process of a session, or dropbear.
fn is_sshd(pid: u32) -> bool {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_ascii_end();
    name == b"sshd" || name.starts_with(b"sshd-") || name == b"dropbear"
}

fn environment(pid: u32) -> Option<(SocketAddr, SocketAddr)> {
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    let mut all = Vec::new();
    file.take(MOST_ENVIRONMENT).read_to_end(&mut all).ok()?;
    let value = all
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    parse(std::str::from_utf8(value).ok()?)
}

/// "The client's address, its port, the server's address, its port", ssh(1).
fn parse(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut fields = text.split_ascii_whitespace();
    let mut end = || {
        // The zone of a link-local address (`%eth0`) is left out: the server's own address tells
        // the interface as well.
        let address = fields.next()?.split('%').next()?;
        Some(SocketAddr::new(plain(address.parse().ok()?), fields.next()?.parse().ok()?))
    };
    let (peer, own) = (end()?, end()?);
    fields.next().is_none().then_some((peer, own))
}

/// Turns the IPv4-mapped IPv6 address that a socket for both families has into the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether a process is in this thread's network namespace.
fn is_here(pid: u32) -> bool {
    let identity = |path: String| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let own = identity("/proc/thread-self/ns/net".to_owned());
    own.is_some() && identity(format!("/proc/{pid}/ns/net")) == own
}

/// The connections of a process that came in to a port on which somebody listens; where there is
/// none, all its connections.
fn established(pid: u32) -> Vec<(SocketAddr, SocketAddr)> {
    let inodes = sockets(pid);
    let (mut held, mut listened) = (Vec::new(), Vec::new());
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for socket in text.lines().skip(1).filter_map(Socket::of) {
            match socket.state {
                LISTEN => listened.push(socket.own.port()),
                ESTABLISHED if inodes.contains(&socket.inode) => {
                    held.push((socket.peer, socket.own));
                }
                _ => {}
            }
        }
    }
    let incoming = |(_, own): &&(SocketAddr, SocketAddr)| listened.contains(&own.port());
    let came: Vec<_> = held.iter().filter(incoming).copied().collect();
    if came.is_empty() { held } else { came }
}

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> Vec<u64> {
    let number = |path: PathBuf| -> Option<u64> {
        let link = fs::read_link(path).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let opened = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    opened.filter_map(|entry| number(entry.path())).collect()
}

/// A line of /proc/net/tcp, Documentation/networking/proc_net_tcp.rst.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    own: SocketAddr,
    peer: SocketAddr,
    state: u8,
    inode: u64,
}

impl Socket {
    fn of(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let own = end(fields.next()?)?;
        let peer = end(fields.next()?)?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self { own, peer, state, inode })
    }
}

/// Reads an address and a port. The address is in words of four bytes, each printed as a number in
/// this machine's byte order.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(8 * at..8 * at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(plain(address), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_variable() {
        let ends = |peer, own| Some((at(peer), at(own)));
        let v4 = "198.51.100.7 50000 192.0.2.1 22";
        assert_eq!(parse(v4), ends("198.51.100.7:50000", "192.0.2.1:22"));
        let v6 = "2001:db8::7 50000 2001:db8::1 2222";
        assert_eq!(parse(v6), ends("[2001:db8::7]:50000", "[2001:db8::1]:2222"));
        let zone = "fe80::7%eth0 50000 fe80::1%eth0 22";
        assert_eq!(parse(zone), ends("[fe80::7]:50000", "[fe80::1]:22"));
        let mapped = "::ffff:198.51.100.7 50000 ::ffff:192.0.2.1 22";
        assert_eq!(parse(mapped), ends("198.51.100.7:50000", "192.0.2.1:22"));
        for wrong in
            ["", "UNKNOWN 65535 UNKNOWN 65535", "1.2.3.4 5 6.7.8.9", "1.2.3.4 5 6.7.8.9 70000"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_the_kernel() {
        let line = "   1: 010200C0:0016 076433C6:C350 01 00000000:00000000 02:0009E1A5 00000000     \
                    0        0 91234 2 ffff888100000000 20 4 31 10 -1";
        let socket = Socket::of(line).unwrap();
        assert_eq!((socket.own, socket.peer), (at("192.0.2.1:22"), at("198.51.100.7:50000")));
        assert_eq!((socket.state, socket.inode), (ESTABLISHED, 91234));
        let line = "   0: B80D0120000000000000000001000000:0016 0000000000000000FFFF0000076433C6:C350 0A \
                    00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0";
        let socket = Socket::of(line).unwrap();
        assert_eq!((socket.own, socket.peer), (at("[2001:db8::1]:22"), at("198.51.100.7:50000")));
        assert_eq!((socket.state, socket.inode), (LISTEN, 17));
        assert_eq!(Socket::of("sl local_address rem_address st"), None);
    }

    #[test]
    fn each_is_told_once_and_those_of_other_namespaces_never() {
        let connection =
            |peer: &str, evidence| Connection { peer: at(peer), own: at("192.0.2.1:22"), evidence };
        let (a, b) = ("198.51.100.7:1", "198.51.100.7:2");
        let found = [
            connection(a, Evidence::Environment),
            connection(a, Evidence::SocketOf { pid: 7 }),
            connection(b, Evidence::SocketOf { pid: 7 }),
        ];
        let told = each_once(found.clone().into_iter(), &[]);
        assert_eq!(told, [found[0].clone(), found[2].clone()]);
        let told = each_once(found.clone().into_iter(), &[(at(a), at("192.0.2.1:22"))]);
        assert_eq!(told, [found[2].clone()]);
    }

    #[test]
    fn the_processes_above_this_one() {
        assert_eq!(ancestors().first().copied(), parent(std::process::id()));
    }
}
