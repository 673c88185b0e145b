//! Checks of servers on the loopback interface that answer, refuse, hang, and say something else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Outcome, Roots, Through, Verdict, check};
use crate::agent::health::plan::Target;
use crate::ruleset::services::check::{self as checks, Check, Http, IfUnwatched, Probe, Tls};

const LONG: Duration = Duration::from_secs(30);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(200);

fn outcome(place: SocketAddr, probe: Probe, timeout: Duration) -> Outcome {
    let check_of = Check {
        probe,
        through: checks::Through::Backend,
        port: None,
        interval: LONG,
        timeout,
        fall: 1,
        rise: 1,
        if_unwatched: IfUnwatched::Keep,
    };
    let target = Target {
        service: "web".to_owned(),
        backend: "b1".to_owned(),
        address: place.ip(),
        port: place.port(),
        way: None,
        check: Arc::new(check_of),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check(&target, &Roots::default(), &Through::default()))
}

fn verdict(place: SocketAddr, probe: Probe, timeout: Duration) -> Verdict {
    outcome(place, probe, timeout).verdict
}

fn failed(message: &str) -> Verdict {
    Verdict::Failed(message.to_owned())
}

/// A listener, and its address.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let place = listener.local_addr().unwrap();
    (listener, place)
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    listener().1
}

/// A server that answers one connection, once it has read `end`. Returns what it read.
fn server(end: &'static str, answer: impl Into<Vec<u8>>) -> (SocketAddr, Receiver<String>) {
    let (listener, place) = listener();
    let (answer, (heard, hears)) = (answer.into(), channel());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            read.push(byte[0]);
        }
        // The check may have gone when it has seen enough.
        let _ = stream.write_all(&answer);
        let _ = heard.send(String::from_utf8(read).unwrap());
    });
    (place, hears)
}

fn tcp(send: Option<&str>, expect: Option<&str>) -> Probe {
    Probe::Tcp { send: send.map(str::to_owned), expect: expect.map(str::to_owned) }
}

fn udp(send: Option<&str>, expect: Option<&str>) -> Probe {
    Probe::Udp { send: send.map(str::to_owned), expect: expect.map(str::to_owned) }
}

#[test]
fn tcp_connections() {
    let (_listener, place) = listener();
    assert_eq!(verdict(place, tcp(None, None), LONG), Verdict::Ok);
    assert_eq!(verdict(nobody(), tcp(None, None), LONG), failed("connection refused"));
}

#[test]
fn tcp_answers() {
    let (place, heard) = server("ping\n", "+PONG\r\n");
    assert_eq!(verdict(place, tcp(Some("ping\n"), Some("PONG")), LONG), Verdict::Ok);
    assert_eq!(heard.recv().unwrap(), "ping\n");
    let (place, _heard) = server("ping\n", "-ERR \u{1b}[31m\r\nx");
    let said = "not the answer that is expected, but \"-ERR \\\\u{1b}[31m\"";
    assert_eq!(verdict(place, tcp(Some("ping\n"), Some("PONG")), LONG), failed(said));
    let (place, _heard) = server("", "");
    let said = "the connection was closed without an answer";
    assert_eq!(verdict(place, tcp(None, Some("220")), LONG), failed(said));
    // The kernel takes the connection, and nobody ever answers.
    let (_listener, place) = listener();
    let said = "no answer within 200ms";
    assert_eq!(verdict(place, tcp(Some("ping\n"), Some("PONG")), SHORT), failed(said));
}

#[test]
fn udp_answers() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let place = socket.local_addr().unwrap();
    // Two datagrams lie there until they are answered below.
    let said = "no answer within 200ms";
    assert_eq!(verdict(place, udp(Some("ping"), Some("pong")), SHORT), failed(said));
    assert_eq!(verdict(place, udp(Some("ping"), None), SHORT), Verdict::Ok);
    let answers = thread::spawn(move || {
        for answer in ["", "", "pong 1", "gone"] {
            let mut datagram = [0; 64];
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            assert_eq!(&datagram[..length], b"ping");
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    });
    assert_eq!(verdict(place, udp(Some("ping"), Some("pong")), LONG), Verdict::Ok);
    let said = "not the answer that is expected, but \"gone\"";
    assert_eq!(verdict(place, udp(Some("ping"), Some("pong")), LONG), failed(said));
    answers.join().unwrap();
    // Now nobody has that port.
    for expect in [None, Some("pong")] {
        assert_eq!(verdict(place, udp(Some("ping"), expect), LONG), failed("port unreachable"));
    }
}

fn page(http: Http) -> Probe {
    Probe::Http(http)
}

fn plain() -> Http {
    Http {
        tls: None,
        host: None,
        path: "/healthz".to_owned(),
        status: vec![(200, 299)],
        body: None,
    }
}

fn with_body(body: &str) -> Http {
    Http { body: Some(body.to_owned()), ..plain() }
}

#[test]
fn http_requests() {
    let (place, heard) = server("\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(verdict(place, page(plain()), LONG), Verdict::Ok);
    let request = heard.recv().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /healthz http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: {place}\r\n")), "{request}");
    assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
    let (place, heard) = server("\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let http = Http { host: Some("www.example.org".to_owned()), ..plain() };
    assert_eq!(verdict(place, page(http), LONG), Verdict::Ok);
    let request = heard.recv().unwrap().to_ascii_lowercase();
    assert!(request.contains("\r\nhost: www.example.org\r\n"), "{request}");
}

#[test]
fn http_answers() {
    let answered = |http: Http, answer: &str| {
        let (place, _heard) = server("\r\n\r\n", answer);
        verdict(place, page(http), LONG)
    };
    let says = |answer| answered(plain(), answer);
    let error = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\noff";
    assert_eq!(says(error), failed("status 503 Service Unavailable"));
    let moved = "HTTP/1.0 302 Found\r\nlocation: /x\r\n\r\n";
    assert_eq!(says(moved), failed("status 302 Found"));
    let http = Http { status: vec![(200, 200), (302, 302)], ..plain() };
    assert_eq!(answered(http, moved), Verdict::Ok);
    assert_eq!(says(""), failed("HTTP: connection closed before message completed"));
    let said = says("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    assert!(matches!(&said, Verdict::Failed(why) if why.starts_with("HTTP: ")), "{said:?}");
    // Headers without an end.
    let said = says(&"HTTP/1.1 200 OK\r\nx: y\r\n".repeat(100_000));
    assert!(matches!(&said, Verdict::Failed(why) if why.starts_with("HTTP: ")), "{said:?}");
}

#[test]
fn http_pages() {
    let answered = |body: &str, answer: String| {
        let (place, _heard) = server("\r\n\r\n", answer);
        verdict(place, page(with_body(body)), LONG)
    };
    let sized = |body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    assert_eq!(answered("\"ok\"", sized("{\"state\":\"ok\"}")), Verdict::Ok);
    let said = failed("status 200, and the page has no \"ok\"");
    assert_eq!(answered("ok", sized("")), said);
    assert_eq!(answered("ok", sized("KO")), said);
    // In pieces, with the word over two of them; and to the end of the connection.
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    assert_eq!(answered("ok", chunked.to_owned()), Verdict::Ok);
    assert_eq!(answered("ok", "HTTP/1.0 200 OK\r\n\r\nall is ok".to_owned()), Verdict::Ok);
    let said = failed("status 200, and the page has no \"ok\" in its first 64 KiB");
    assert_eq!(answered("ok", sized(&("x".repeat(64 << 10) + "ok"))), said);
    // It ends before it is whole.
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_owned();
    let said = answered("ok", cut);
    assert!(matches!(&said, Verdict::Failed(why) if why.starts_with("HTTP: ")), "{said:?}");
}

#[test]
fn http_without_an_answer() {
    assert_eq!(verdict(nobody(), page(plain()), LONG), failed("connection refused"));
    let (_listener, place) = listener();
    assert_eq!(verdict(place, page(plain()), SHORT), failed("no answer within 200ms"));
    // The status comes, and the page does not.
    let (listener, place) = listener();
    let hangs = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let said = verdict(place, page(with_body("ok")), SHORT);
    assert_eq!(said, failed("no answer within 200ms"));
    hangs.join().unwrap();
}

/// A server that speaks TLS for `backend.example`, with a certificate that nobody trusts. Returns
/// the name that it was asked for.
fn tls_server() -> (SocketAddr, Receiver<Option<String>>) {
    let made = rcgen::generate_simple_self_signed(["backend.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (listener, place) = listener();
    let (heard, hears) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            // A check that does not trust the certificate goes away.
            let Ok(1) = stream.read(&mut byte) else { return };
            read.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let _ = heard.send(stream.conn.server_name().map(str::to_owned));
    });
    (place, hears)
}

fn encrypted(verify: bool, host: Option<&str>) -> Http {
    Http { tls: Some(Tls { verify }), host: host.map(str::to_owned), ..with_body("ok") }
}

#[test]
fn https() {
    let (place, heard) = tls_server();
    assert_eq!(verdict(place, page(encrypted(false, None)), LONG), Verdict::Ok);
    assert_eq!(heard.recv().unwrap(), None, "an address is no name to ask for");
    let (place, heard) = tls_server();
    let http = encrypted(false, Some("backend.example:8443"));
    assert_eq!(verdict(place, page(http), LONG), Verdict::Ok);
    assert_eq!(heard.recv().unwrap().as_deref(), Some("backend.example"));
    // Nobody has signed it; or this host trusts nobody at all, which is no fault of the backend's.
    let (place, _heard) = tls_server();
    let said = verdict(place, page(encrypted(true, Some("backend.example"))), LONG);
    match &said {
        Verdict::Failed(why) => assert!(why.contains("invalid peer certificate"), "{why}"),
        Verdict::Unknown(why) => assert!(why.contains("ca-certificates"), "{why}"),
        Verdict::Ok => panic!("a certificate that nobody trusts"),
    }
}

#[test]
fn https_of_what_speaks_no_tls() {
    assert_eq!(verdict(nobody(), page(encrypted(false, None)), LONG), failed("connection refused"));
    let (_listener, place) = listener();
    let said = verdict(place, page(encrypted(false, None)), SHORT);
    assert_eq!(said, failed("no answer within 200ms"));
    let (place, _heard) = server("", "HTTP/1.1 400 Bad Request\r\n\r\n");
    let said = verdict(place, page(encrypted(false, None)), LONG);
    assert!(matches!(&said, Verdict::Failed(why) if why.starts_with("TLS: ")), "{said:?}");
}

/// Without the right to send them, the check says so and does not count.
#[test]
fn echo_requests() {
    let place = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
    match verdict(place, Probe::Icmp, LONG) {
        Verdict::Ok => {}
        Verdict::Unknown(why) if !nix::unistd::geteuid().is_root() => {
            assert!(why.contains("CAP_NET_RAW"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

fn script(text: &str) -> Probe {
    Probe::Exec { command: ["/bin/sh", "-c", text].map(str::to_owned).into() }
}

#[test]
fn programs() {
    let place: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let run = |text| verdict(place, script(text), LONG);
    assert_eq!(run("exit 0"), Verdict::Ok);
    assert_eq!(run("exit 3"), failed("/bin/sh ended with exit status: 3"));
    assert_eq!(run("echo; echo no"), Verdict::Ok);
    assert_eq!(run("echo not yet; exit 1"), failed("/bin/sh ended with exit status: 1: not yet"));
    let asked = "test \"$XDPCTL_SERVICE $XDPCTL_BACKEND $XDPCTL_ADDRESS $XDPCTL_PORT\" = \
                 \"web b1 192.0.2.1 80\"";
    assert_eq!(run(asked), Verdict::Ok);
    // More than a pipe holds.
    let said = run("yes | head -c 1000000; exit 1");
    assert_eq!(said, failed("/bin/sh ended with exit status: 1: y"));
    // Its end counts, though something that it has started still holds its output.
    assert_eq!(run("sleep 2 & exit 0"), Verdict::Ok);
    let none = Probe::Exec { command: vec!["/nonexistent/check".to_owned()] };
    let said = "cannot run /nonexistent/check: no such file or directory";
    assert_eq!(verdict(place, none, LONG), Verdict::Unknown(said.to_owned()));
}

/// A program that takes too long ends, with all that it has started.
#[test]
fn programs_that_hang() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let text = format!("sleep 1000 & echo $! $$ > {}; wait", file.display());
    let place: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let timeout = Duration::from_secs(1);
    assert_eq!(verdict(place, script(&text), timeout), failed("no answer within 1s"));
    let pids = fs::read_to_string(&file).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    let end = Instant::now() + LONG;
    for pid in pids.split_whitespace() {
        // Nobody may have waited for it yet.
        let runs = || {
            let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
            status.is_ok_and(|it| !it.contains(") Z "))
        };
        while runs() {
            assert!(Instant::now() < end, "process {pid} runs");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
