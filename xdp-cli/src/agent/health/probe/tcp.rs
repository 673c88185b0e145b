//! TCP: a connection, and what is said on it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::fault::{Fault, LARGEST, holds, shown};
use super::through::set_mark;

pub(super) async fn check(
    place: SocketAddr,
    mark: Option<u32>,
    send: Option<&str>,
    expect: Option<&str>,
) -> Result<(), Fault> {
    let mut stream = connect(place, mark).await?;
    if let Some(text) = send {
        stream.write_all(text.as_bytes()).await?;
    }
    let Some(expected) = expect else { return Ok(()) };
    let mut answer = Vec::new();
    while answer.len() < LARGEST {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
        if holds(&answer, expected) {
            return Ok(());
        }
    }
    Err(Fault::failed(match answer.is_empty() {
        true => "the connection was closed without an answer".to_owned(),
        false => format!("not the answer that is expected, but {:?}", shown(&answer)),
    }))
}

pub(super) async fn connect(place: SocketAddr, mark: Option<u32>) -> Result<TcpStream, Fault> {
    let socket = match place {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    set_mark(&socket, mark)?;
    let stream = socket.connect(place).await?;
    // A port that is one's own may be given to the connection to it, which then speaks with itself.
    if stream.local_addr().is_ok_and(|own| own == place) {
        return Err(Fault::failed("connection refused"));
    }
    Ok(stream)
}
