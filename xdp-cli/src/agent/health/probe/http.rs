//! HTTP/1.1, with TLS or without: a page, its status, and what stands on it.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::fault::{Fault, LARGEST, holds, said};
use super::tcp::connect;
use super::tls::{self, Roots};
use crate::ruleset::services::check::Http;

pub(super) async fn check(
    place: SocketAddr,
    mark: Option<u32>,
    http: &Http,
    roots: &Roots,
) -> Result<(), Fault> {
    let stream = connect(place, mark).await?;
    match http.tls {
        None => ask(stream, place, http).await,
        Some(tls) => {
            let name = http.host.as_deref().map(without_port);
            ask(tls::encrypt(stream, name, place.ip(), tls, roots).await?, place, http).await
        }
    }
}

/// A host without the port that may follow it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.trim_start_matches('[').trim_end_matches(']')
        }
        _ => host,
    }
}

/// Whom a request is for, as its header says.
fn host(place: SocketAddr, http: &Http) -> String {
    let usual = if http.tls.is_some() { 443 } else { 80 };
    match (&http.host, place.ip()) {
        (Some(host), _) => host.clone(),
        (None, _) if place.port() != usual => place.to_string(),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => format!("[{address}]"),
    }
}

async fn ask<S>(stream: S, place: SocketAddr, http: &Http) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(&http.path)
        .header(HOST, host(place, http))
        .header(USER_AGENT, concat!("xdpctl/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Fault::unknown(format!("no request can be made: {error}")))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(not_http)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(not_http)?;
        judge(response, http).await
    };
    // The connection carries the answer, so both go on at once; it may end before the answer is
    // read.
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        judged = &mut answer => judged,
        _ = &mut connection => answer.await,
    }
}

async fn judge(response: Response<Incoming>, http: &Http) -> Result<(), Fault> {
    let code = response.status().as_u16();
    if !http.status.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
        return Err(Fault::failed(format!("status {}", response.status())));
    }
    let Some(expected) = &http.body else { return Ok(()) };
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < LARGEST && !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(not_http)?.into_data() {
            read.extend_from_slice(&data[..data.len().min(LARGEST - read.len())]);
        }
        if holds(&read, expected) {
            return Ok(());
        }
    }
    let cut = if read.len() == LARGEST { " in its first 64 KiB" } else { "" };
    Err(Fault::failed(format!("status {code}, and the page has no {expected:?}{cut}")))
}

/// An error with its causes.
fn not_http(error: hyper::Error) -> Fault {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = match error.downcast_ref::<std::io::Error>() {
            Some(error) => said(error),
            None => format!("{message}: {error}"),
        };
        cause = error.source();
    }
    Fault::failed(format!("HTTP: {message}"))
}
