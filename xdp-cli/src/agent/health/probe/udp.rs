//! UDP: a datagram, and the one that comes back.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

use super::fault::{Fault, holds, shown};
use super::through::set_mark;
use crate::ruleset::services::check::Probe;

/// Whether a backend passes that says nothing at all.
pub(super) fn may_be_silent(probe: &Probe) -> bool {
    matches!(probe, Probe::Udp { expect: None, .. })
}

pub(super) async fn check(
    place: SocketAddr,
    mark: Option<u32>,
    send: Option<&str>,
    expect: Option<&str>,
) -> Result<(), Fault> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(place.ip()), 0)).await?;
    set_mark(&socket, mark)?;
    // Connected, it takes datagrams of that backend alone, and the errors that come back for it.
    socket.connect(place).await?;
    socket.send(send.unwrap_or_default().as_bytes()).await.map_err(unreachable)?;
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer).await.map_err(unreachable)?;
    match expect {
        Some(expected) if !holds(&answer[..length], expected) => Err(Fault::failed(format!(
            "not the answer that is expected, but {:?}",
            shown(&answer[..length])
        ))),
        _ => Ok(()),
    }
}

/// An ICMP port unreachable comes back as a refused connection.
fn unreachable(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::failed("port unreachable"),
        _ => Fault::from(error),
    }
}

/// The address that a socket is bound to that may send anywhere of this family.
fn unspecified(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
