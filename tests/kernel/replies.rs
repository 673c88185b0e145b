//! Replies under a default that drops: hosts on the kernel's own stack, real sockets, and frames that
//! somebody has forged.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockname, socket,
};
use serde_json::{Value, json};

use crate::explain::{explain_frame, explain_frames};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::dns::{A, query};
use crate::lab::frame::{Frame, icmp4, icmp6, other4, sctp4, tcp4, tcp6, udp4, udp6};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::{DST0, IN0, Lab, OUT0, Output, SRC0, Sample, Topology, end};

pub const HOST: &str = "192.0.2.1";
pub const HOST6: &str = "2001:db8::1";
pub const PEER: &str = "192.0.2.9";
pub const PEER6: &str = "2001:db8::9";
/// A host on the link that does not answer.
const SILENT: &str = "192.0.2.66";
/// Flags of TCP.
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
pub const SYN_ACK: u8 = 0x12;
/// Without neighbour discovery there is no IPv6.
const REPLIES: &str = r#"
    [policy]
    default = "drop"
    replies = "pass"
    [[rule]]
    name = "neighbours"
    protocol = "icmpv6"
    icmp_type = [135, 136]
    action = "pass"
"#;

/// By port, whether or not it is known what the interface has sent.
fn ephemeral() -> String {
    REPLIES.replace("[[rule]]", "replies_udp = \"ephemeral\"\n[[rule]]")
}

/// Sends a frame out of the interface.
fn out(bench: &Bench, frame: &Frame) {
    bench.port(JUDGED).send(&frame.build());
}

/// How it is noted what the interface sends, as `status` says.
fn noted(bench: &Bench) -> String {
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    status[0]["replies"]["sent"].as_str().expect("it is noted").to_owned()
}

/// `src` and `dut` on one link, with addresses of both families.
pub fn hosts(configuration: &str) -> Bench {
    let mut bench = unfiltered();
    bench.attach(configuration);
    bench
}

fn unfiltered() -> Bench {
    let topology = Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", JUDGED, IN0))
        .link(end("dst", "dst0", DST0), end("dut", "out0", OUT0))
        .of_hosts();
    let bench = Bench::on(topology);
    number(bench.lab());
    bench
}

fn number(lab: &Lab) {
    for (role, interface, v4, v6) in [("dut", JUDGED, HOST, HOST6), ("src", "src0", PEER, PEER6)] {
        lab.ip(role, ["link", "set", "lo", "up"]);
        lab.ip(role, ["address", "add", &format!("{v4}/24"), "dev", interface]);
        lab.ip(role, ["address", "add", &format!("{v6}/64"), "dev", interface]);
    }
    let silent = ["neighbour", "replace", SILENT, "lladdr", "02:00:00:00:00:66", "dev", JUDGED];
    lab.ip("dut", silent);
}

fn counted(bench: &Bench, reason: &str) -> u64 {
    bench.sample().reasons[reason].packets
}

/// Sends a frame, and says under which reason it was counted.
#[track_caller]
fn sent(bench: &Bench, frame: &Frame) -> &'static str {
    let reasons = ["reply", "default", "service", "rule"];
    let before = bench.sample();
    bench.port("src0").send(&frame.build());
    let deadline = Instant::now() + patient(EVENT);
    loop {
        let now = bench.sample();
        let more =
            |reason: &&&str| now.reasons[**reason].packets > before.reasons[**reason].packets;
        if let Some(reason) = reasons.iter().find(more) {
            return reason;
        }
        assert!(Instant::now() < deadline, "the frame is not counted");
    }
}

/// What `explain` says: verdict, reason, and of the socket its state and why it is no reply.
fn told(answer: &Value) -> Value {
    let reply = &answer["reply"];
    json!([answer["verdict"], answer["reason"], reply["about"], reply["state"], reply["why"]])
}

fn reply(about: &str, state: &str) -> Value {
    json!(["pass", "reply", about, state, null])
}

fn none(about: Option<&str>, state: Option<&str>, why: &str) -> Value {
    json!(["drop", "default", about, state, why])
}

fn text(bench: &Bench, frame: &Frame) -> String {
    let hex: String = frame.build().iter().map(|byte| format!("{byte:02x}")).collect();
    bench.xdpctl(["explain", JUDGED, "--packet", &hex]).success().stdout.clone()
}

fn bound(bench: &Bench, to: &str) -> UdpSocket {
    bench.lab().namespace("dut").enter(|| UdpSocket::bind(to)).expect("a UDP socket")
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("an address").port()
}

/// A connection that is being opened, to a host that does not answer.
fn opening(bench: &Bench) -> (OwnedFd, u16) {
    bench.lab().namespace("dut").enter(|| {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let opening = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
        let to: SocketAddr = format!("{SILENT}:80").parse().expect("an address");
        let begun = connect(opening.as_raw_fd(), &SockaddrStorage::from(to));
        assert_eq!(begun, Err(Errno::EINPROGRESS));
        let own: SockaddrStorage = getsockname(opening.as_raw_fd()).expect("its address");
        let port = own.as_sockaddr_in().expect("IPv4").port();
        (opening, port)
    })
}

#[test]
fn what_the_host_asks_over_tcp_is_answered() {
    let bench = hosts(REPLIES);
    let lab = bench.lab();
    let _v4 = Server::tcp(lab.namespace("src"), &format!("{PEER}:80"));
    let _v6 = Server::tcp(lab.namespace("src"), &format!("[{PEER6}]:80"));
    for to in [format!("{PEER}:80"), format!("[{PEER6}]:80")] {
        let before = counted(&bench, "reply");
        Connection::open(lab.namespace("dut"), None, &to).exchange(200_000, 7);
        assert!(counted(&bench, "reply") > before, "{to}");
    }
    // Nobody gets in that way, not even to a listener.
    let _listener = Server::tcp(lab.namespace("dut"), &format!("{HOST}:22"));
    let short = Duration::from_millis(300);
    let error = Connection::try_open(lab.namespace("src"), None, &format!("{HOST}:22"), short);
    assert!(error.is_err(), "a SYN came in");
    for flags in [SYN, ACK, SYN_ACK, RST, FIN_ACK, 0] {
        let frame = tcp4(PEER, HOST, 40_000, 22).flags(flags);
        assert_eq!(sent(&bench, &frame), "default", "{flags:#x}");
    }
}

#[test]
fn explain_says_of_each_state_of_tcp_why() {
    let bench = hosts(REPLIES);
    let (src, dut) = (bench.lab().namespace("src"), bench.lab().namespace("dut"));
    let listener = src.enter(|| TcpListener::bind(format!("{PEER}:80"))).expect("a listener");
    let connected = || {
        let to: SocketAddr = format!("{PEER}:80").parse().expect("an address");
        let near = dut
            .enter(|| TcpStream::connect_timeout(&to, patient(EVENT)))
            .expect("the connection opens");
        let port = near.local_addr().expect("an address").port();
        (near, listener.accept().expect("it comes").0, port)
    };
    let (_near, _far, open) = connected();
    let (near, _far_of_closing, closing) = connected();
    near.shutdown(Shutdown::Write).expect("closed on this side");
    let (near_waiting, far, waiting) = connected();
    far.shutdown(Shutdown::Write).expect("closed on that side");
    let end = near_waiting.try_clone().expect("dup").read(&mut [0; 1]);
    assert_eq!(end.expect("the end is read"), 0);
    let (gone, far_of_gone, ended) = connected();
    gone.shutdown(Shutdown::Write).expect("closed on this side");
    assert_eq!((&far_of_gone).read(&mut [0; 1]).expect("the end is read"), 0);
    drop((far_of_gone, gone));
    let (_opening, half) = opening(&bench);
    let _listener = dut.enter(|| TcpListener::bind(format!("{HOST}:22"))).expect("a listener");
    let from_peer = |port: u16, flags| tcp4(PEER, HOST, 80, port).flags(flags);
    // The last segments of a connection are on their way for a moment.
    let deadline = Instant::now() + patient(EVENT);
    while told(&explain_frame(&bench, from_peer(ended, FIN_ACK))) != reply("tcp", "time-wait") {
        assert!(Instant::now() < deadline, "no TIME-WAIT");
    }
    let expected = [
        (from_peer(open, ACK), reply("tcp", "established")),
        // A segment that opens the same connection again, and one that was late.
        (from_peer(open, SYN), none(Some("tcp"), None, "opens")),
        (from_peer(open, SYN_ACK), reply("tcp", "established")),
        (from_peer(closing, FIN_ACK), reply("tcp", "fin-wait-2")),
        (from_peer(waiting, ACK), reply("tcp", "close-wait")),
        (from_peer(ended, FIN_ACK), reply("tcp", "time-wait")),
        (from_peer(ended, SYN), none(Some("tcp"), None, "opens")),
        (tcp4(SILENT, HOST, 80, half).flags(SYN_ACK), reply("tcp", "syn-sent")),
        (tcp4(SILENT, HOST, 81, half).flags(SYN_ACK), none(Some("tcp"), None, "no_socket")),
        (tcp4(PEER, HOST, 81, open).flags(ACK), none(Some("tcp"), None, "no_socket")),
        (tcp4("192.0.2.8", HOST, 80, open).flags(ACK), none(Some("tcp"), None, "no_socket")),
        (tcp4(PEER, HOST, 40_000, 22).flags(ACK), none(Some("tcp"), Some("listen"), "listener")),
        (tcp6(PEER6, HOST6, 80, open).flags(ACK), none(Some("tcp"), None, "no_socket")),
        (sctp4(PEER, HOST, 80, open), none(Some("other"), None, "not_sent")),
        (other4(PEER, HOST, 47), none(Some("other"), None, "not_sent")),
        (from_peer(open, ACK).fragment(100, false), none(None, None, "fragment")),
        (icmp4(PEER, HOST, 13), none(None, None, "message")),
    ];
    let frames = expected.each_ref().map(|(frame, _)| frame.build());
    for ((frame, expected), answer) in expected.iter().zip(explain_frames(&bench, &frames)) {
        assert_eq!(told(&answer), *expected, "{frame:?}");
    }
    assert_eq!(
        text(&bench, &from_peer(open, ACK)),
        format!("pass: reply: tcp socket {HOST}:{open} established\n")
    );
    assert_eq!(
        text(&bench, &tcp4(PEER, HOST, 9, 9).flags(ACK)),
        format!(
            "drop: default: no reply: no tcp socket {HOST}:9 has asked {PEER}:9, and the interface has sent \
             nothing from there\n"
        )
    );
    // Somebody opens a connection that a rule has let in: rules decide about that until it is open.
    let seen = sent(&bench, &tcp4(SILENT, HOST, 80, half).flags(RST | ACK));
    assert_eq!(seen, "reply");
}

/// A rule lets SYNs in, and no more: the connection is the host's once it is open, and a handshake's last
/// ACK is not a reply.
#[test]
fn who_opens_a_connection_is_judged_by_rules() {
    let rule = |flags: &str| {
        format!(
            "{REPLIES}[[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\ndestination_port = 22\n{flags}\
             action = \"pass\"\n"
        )
    };
    let mut bench = hosts(&rule("tcp_flags = \"syn,!ack\"\n"));
    let (src, dut) = ("src", "dut");
    let _server = Server::tcp(bench.lab().namespace(dut), &format!("{HOST}:22"));
    let short = Duration::from_millis(500);
    let to = format!("{HOST}:22");
    let opened = Connection::try_open(bench.lab().namespace(src), None, &to, short);
    assert!(opened.is_err(), "its last ACK is no reply");
    bench.attach(&rule(""));
    let mut connection = Connection::open(bench.lab().namespace(src), None, &to);
    assert!(connection.answers());
    // Without the rule, what is open stays open, and nobody else gets in.
    bench.attach(REPLIES);
    assert!(connection.answers());
    let another = Connection::try_open(bench.lab().namespace(src), None, &to, short);
    assert!(another.is_err());
}

#[test]
fn what_the_host_asks_over_udp_is_answered() {
    let mut bench = hosts(REPLIES);
    let (src, dut) = ("src", "dut");
    let _v4 = Server::udp(bench.lab().namespace(src), &format!("{PEER}:53"));
    let _v6 = Server::udp(bench.lab().namespace(src), &format!("[{PEER6}]:53"));
    for (to, any) in [(format!("{PEER}:53"), "0.0.0.0:0"), (format!("[{PEER6}]:53"), "[::]:0")] {
        for connects in [true, false] {
            let socket = bound(&bench, any);
            socket.set_read_timeout(Some(patient(EVENT))).expect("a time-out");
            let to: SocketAddr = to.parse().expect("an address");
            if connects {
                bench.lab().namespace(dut).enter(|| socket.connect(to)).expect("connected");
            }
            socket.send_to(b"who", to).or_else(|_| socket.send(b"who")).expect("sent");
            let mut answer = [0; 512];
            socket.recv(&mut answer).unwrap_or_else(|error| panic!("{to} {connects}: {error}"));
        }
    }
    let connected = bound(&bench, "0.0.0.0:0");
    bench
        .lab()
        .namespace(dut)
        .enter(|| connected.connect(format!("{PEER}:53")))
        .expect("connected");
    let (unconnected, service) = (bound(&bench, "0.0.0.0:0"), bound(&bench, "0.0.0.0:5353"));
    let ports = [port(&connected), port(&unconnected), port(&service)];
    let asked = |bench: &Bench| {
        let from = |from, to| udp4(PEER, HOST, from, to).build();
        let frames = [
            from(53, ports[0]),
            from(54, ports[0]),
            from(53, ports[1]),
            from(53, ports[2]),
            udp4(PEER, "224.0.0.251", 53, ports[1]).build(),
            udp6(PEER6, HOST6, 53, ports[1]).build(),
        ];
        explain_frames(bench, &frames).map(|answer| told(&answer))
    };
    let no_socket = none(Some("udp"), None, "no_socket");
    let not_sent = none(Some("udp"), Some("unconnected"), "not_sent");
    let other_port = none(Some("udp"), Some("unconnected"), "port");
    // What was sent says who answers.
    let unasked = [
        reply("udp", "connected"),
        no_socket.clone(),
        not_sent.clone(),
        not_sent.clone(),
        no_socket.clone(),
        no_socket.clone(),
    ];
    let elsewhere = asked(&bench)[4].clone();
    assert_eq!(asked(&bench)[..4], unasked[..4]);
    assert_eq!(elsewhere, none(Some("udp"), Some("unconnected"), "not_sent"));
    for socket in [&unconnected, &service] {
        socket.send_to(b"who", format!("{PEER}:53")).expect("sent");
    }
    assert_eq!(asked(&bench)[2..4], [reply("udp", "unconnected"), reply("udp", "unconnected")]);
    let answer = udp4(PEER, HOST, 53, ports[2]);
    assert!(
        text(&bench, &answer)
            .starts_with(&format!("pass: reply: sent {HOST}:5353 -> {PEER}:53 udp, up to ")),
        "{}",
        text(&bench, &answer)
    );
    assert_eq!(sent(&bench, &answer), "reply");
    assert_eq!(sent(&bench, &udp4(PEER, HOST, 54, ports[2])), "default");
    let (unconnected, service) = (bound(&bench, "0.0.0.0:0"), bound(&bench, "0.0.0.0:5354"));
    let ports = [ports[0], port(&unconnected), port(&service)];
    let asked = |bench: &Bench| {
        let from = |from, to| udp4(PEER, HOST, from, to).build();
        let frames = [
            from(53, ports[0]),
            from(54, ports[0]),
            from(53, ports[1]),
            from(53, ports[2]),
            udp4(PEER, "224.0.0.251", 53, ports[1]).build(),
            udp6(PEER6, HOST6, 53, ports[1]).build(),
        ];
        explain_frames(bench, &frames).map(|answer| told(&answer))
    };
    bench.attach(&ephemeral());
    assert_eq!(
        asked(&bench),
        [
            reply("udp", "connected"),
            no_socket.clone(),
            reply("udp", "unconnected"),
            other_port.clone(),
            none(Some("udp"), Some("unconnected"), "elsewhere"),
            no_socket.clone(),
        ]
    );
    assert_eq!(sent(&bench, &udp4(PEER, HOST, 53, ports[1])), "reply");
    assert_eq!(sent(&bench, &udp4(PEER, HOST, 53, ports[2])), "default");
    // For this host alone, and not for others whose packets it forwards.
    bench.lab().namespace(dut).set("ipv4/conf/all/forwarding", "1");
    bench.lab().ip(dut, ["route", "add", "198.51.100.0/24", "dev", "out0"]);
    let through = udp4(PEER, "198.51.100.7", 53, ports[1]);
    assert_eq!(
        told(&explain_frame(&bench, through.clone())),
        none(Some("udp"), Some("unconnected"), "elsewhere")
    );
    assert_eq!(sent(&bench, &through), "default");
    assert_eq!(
        told(&explain_frame(&bench, udp4(PEER, HOST, 53, ports[1]))),
        reply("udp", "unconnected")
    );
    bench.lab().namespace(dut).set("ipv4/conf/all/forwarding", "0");

    // Ports that are kept for services, and sockets that have to be connected.
    bench.lab().namespace(dut).set("ipv4/ip_local_reserved_ports", &ports[1].to_string());
    let status = bench.xdpctl(["status", JUDGED, "--json"]).expect_status(1).json();
    let problem = status[0]["problems"][0].as_str().expect("a problem").to_owned();
    assert!(problem.contains("the ports that the kernel assigns have changed"), "{problem}");
    bench.attach(&ephemeral());
    assert_eq!(asked(&bench)[2], other_port);
    assert_eq!(asked(&bench)[0], reply("udp", "connected"));
    bench.lab().namespace(dut).set("ipv4/ip_local_reserved_ports", "");
    bench.attach(&REPLIES.replace("[[rule]]", "replies_udp = \"connected\"\n[[rule]]"));
    assert_eq!(asked(&bench)[2], not_sent);
    assert_eq!(asked(&bench)[0], reply("udp", "connected"));
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    let by = noted(&bench);
    assert_eq!(status[0]["replies"], json!({"by": "sockets", "sent": by, "udp_ports": []}));
}

/// An error quotes what the host has sent, or what somebody says that it has.
#[test]
fn errors_about_what_the_host_has_sent() {
    let bench = hosts(REPLIES);
    let dut = bench.lab().namespace("dut");
    let (_opening, tcp) = opening(&bench);
    let unconnected = bound(&bench, "0.0.0.0:0");
    let service = bound(&bench, "0.0.0.0:5353");
    let udp6_socket = dut.enter(|| UdpSocket::bind(format!("[{HOST6}]:0"))).expect("a socket");
    dut.enter(|| udp6_socket.connect(format!("[{PEER6}]:53"))).expect("connected");
    let _listener = dut.enter(|| TcpListener::bind(format!("{HOST}:22"))).expect("a listener");
    let (udp, udp6_port) = (port(&unconnected), port(&udp6_socket));
    const ROUTER: &str = "203.0.113.5";
    // A quotation is IP and eight bytes at least.
    let about = |kind: u8, quoted: &Frame, length: usize| {
        let ip = &quoted.build()[14..];
        icmp4(ROUTER, HOST, kind).payload(&ip[..length.min(ip.len())])
    };
    let about6 = |kind: u8, quoted: &Frame| {
        icmp6("2001:db8:5::5", HOST6, kind).payload(&quoted.build()[14..])
    };
    let syn = tcp4(HOST, SILENT, tcp, 80).flags(SYN);
    let ping = icmp4(HOST, PEER, 8);
    let not_here = tcp4("192.0.2.2", SILENT, tcp, 80);
    let echo = |bytes: Value| json!(["pass", "reply", "echo", null, bytes]);
    unconnected.send_to(b"far", format!("{PEER}:33434")).expect("sent");
    out(&bench, &ping);
    out(&bench, &icmp6(HOST6, PEER6, 128));
    let expected = [
        (about(3, &syn, 28), reply("tcp", "syn-sent")),
        (about(11, &syn, 548), reply("tcp", "syn-sent")),
        (about(3, &tcp4(HOST, SILENT, tcp, 81), 28), none(Some("tcp"), None, "no_socket")),
        (about(3, &tcp4(HOST, PEER, 22, 9), 28), none(Some("tcp"), Some("listen"), "listener")),
        (about(11, &udp4(HOST, PEER, udp, 33_434), 28), reply("udp", "unconnected")),
        (
            about(3, &udp4(HOST, PEER, 5353, 9), 28),
            none(Some("udp"), Some("unconnected"), "not_sent"),
        ),
        (about(11, &icmp4(HOST, SILENT, 8), 28), none(Some("echo"), None, "not_sent")),
        (about(11, &ping, 28), echo(Value::Null)),
        (about(11, &icmp4(HOST, PEER, 0), 28), none(None, None, "quotation")),
        (about(3, &not_here, 28), none(None, None, "quotation")),
        (about(3, &syn, 27), none(None, None, "quotation")),
        (about(3, &sctp4(HOST, PEER, 1, 2), 28), none(Some("other"), None, "not_sent")),
        // A redirect is about a way.
        (about(5, &syn, 28), none(None, None, "message")),
        (about6(2, &udp6(HOST6, PEER6, udp6_port, 53)), reply("udp", "connected")),
        (about6(1, &udp6(HOST6, PEER6, udp6_port, 54)), none(Some("udp"), None, "no_socket")),
        (about6(3, &icmp6(HOST6, PEER6, 128)), echo(Value::Null)),
        (icmp4(PEER, HOST, 0), echo(Value::Null)),
        (icmp6(PEER6, HOST6, 129), echo(Value::Null)),
        (icmp4(PEER, HOST, 8), none(None, None, "message")),
    ];
    let frames = expected.each_ref().map(|(frame, _)| frame.build());
    for ((frame, expected), answer) in expected.iter().zip(explain_frames(&bench, &frames)) {
        assert_eq!(told(&answer), *expected, "{frame:?}");
    }
    assert_eq!(
        text(&bench, &about(3, &syn, 28)),
        format!("pass: reply: an error about tcp socket {HOST}:{tcp} syn-sent\n")
    );
    assert_eq!(sent(&bench, &about(11, &syn, 28)), "reply");
    assert_eq!(sent(&bench, &about(3, &not_here, 28)), "default");
    drop(service);
}

/// Echo replies pass to whoever has pinged, and no others.
#[test]
fn only_pings_that_are_out_are_answered() {
    let bench = hosts(REPLIES);
    let frame = icmp4(PEER, HOST, 0).build();
    let more = |before: &Sample, after: &Sample, reason: &str| {
        after.reasons[reason].packets - before.reasons[reason].packets
    };
    let before = bench.sample();
    bench.port("src0").send_many(std::iter::repeat_n(&frame, 1_000));
    let after = bench.await_count(before.total().packets + 1_000);
    assert_eq!(more(&before, &after, "reply"), 0);
    out(&bench, &icmp4(HOST, SILENT, 8));
    bench.port("src0").send_many(std::iter::repeat_n(&frame, 1_000));
    let before = bench.await_count(before.total().packets + 2_000);
    assert_eq!(more(&after, &before, "reply"), 0);
    out(&bench, &icmp4(HOST, PEER, 8));
    bench.port("src0").send_many(std::iter::repeat_n(&frame, 1_000));
    let after = bench.await_count(before.total().packets + 1_000);
    assert_eq!(more(&before, &after, "reply"), 1_000);
}

/// Replies come behind services and lists of names, which are asked in programs of their own.
#[test]
fn replies_come_last() {
    let configuration = format!(
        "{REPLIES}\n[[domains]]\nname = \"names\"\nnames = [\"bad.example\"]\n\
         [[service]]\nname = \"web\"\naddress = \"192.0.2.200\"\nprotocol = \"tcp\"\nport = 80\n\
         mode = \"nat\"\n\
         [[service.backend]]\nname = \"b1\"\naddress = \"192.0.2.201\"\n\
         next_hop = \"02:00:00:00:00:77\"\n\
         [[rule]]\nname = \"not-9\"\nprotocol = \"udp\"\nsource_port = 9\naction = \"drop\"\n"
    );
    let bench = hosts(&configuration);
    let asker = bound(&bench, "0.0.0.0:0");
    for port in [53, 9] {
        asker.send_to(b"who", (PEER, port)).expect("sent");
    }
    out(&bench, &icmp4(HOST, PEER, 8));
    let (_opening, tcp) = opening(&bench);
    let answer = |name| udp4(PEER, HOST, 53, port(&asker)).payload(&query(name, A).build());
    let icmp = {
        let quoted = tcp4(HOST, SILENT, tcp, 80).build();
        icmp4(PEER, HOST, 3).payload(&quoted[14..42])
    };
    let frames = [
        answer("good.example").build(),
        answer("bad.example").build(),
        udp4(PEER, HOST, 9, port(&asker)).build(),
        tcp4(PEER, "192.0.2.200", 40_000, 80).flags(SYN).build(),
        tcp4(SILENT, HOST, 80, tcp).flags(SYN_ACK).build(),
        icmp.build(),
        icmp4(PEER, HOST, 0).build(),
    ];
    let answers = explain_frames(&bench, &frames);
    let reasons = answers.each_ref().map(|answer| answer["reason"].as_str().expect("a reason"));
    assert_eq!(reasons, ["reply", "domain", "rule", "service", "reply", "reply", "reply"]);
    assert_eq!(answers[1]["reply"], Value::Null);
    assert_eq!(answers[3]["reply"], Value::Null);
    assert_eq!(sent(&bench, &answer("good.example")), "reply");
    assert_eq!(sent(&bench, &icmp), "reply");
}

/// What this host asks a backend itself, as checks do, comes back from where a service's replies come from.
#[test]
fn what_the_host_asks_a_backend_is_answered() {
    let configuration = format!(
        "{REPLIES}\n[[service]]\nname = \"web\"\naddress = \"192.0.2.200\"\nprotocol = \"tcp\"\n\
         port = 80\nmode = \"nat\"\n[[service.backend]]\nname = \"b1\"\naddress = \"{SILENT}\"\n"
    );
    let mut bench = unfiltered();
    let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    bench.lab().namespace("dut").enter(forward).unwrap();
    bench.attach(&configuration);
    let (_opening, tcp) = opening(&bench);
    let answer = tcp4(SILENT, HOST, 80, tcp).flags(SYN_ACK);
    assert_eq!(explain_frame(&bench, answer.build())["reason"], "reply");
    assert_eq!(sent(&bench, &answer), "reply");
    assert_eq!(sent(&bench, &tcp4(SILENT, HOST, 80, 9).flags(SYN_ACK)), "default");
}

/// In generic mode, under VLAN tags, and on links without Ethernet headers.
#[test]
fn on_other_links_and_in_generic_mode() {
    let topology =
        Topology::empty().link(end("src", "src0", SRC0), end("dut", JUDGED, IN0)).of_hosts();
    let mut bench = Bench::on(topology);
    number(bench.lab());
    bench.attach_in_mode(REPLIES, "generic");
    let socket = bound(&bench, "0.0.0.0:0");
    let answer = udp4(PEER, HOST, 53, port(&socket));
    assert_eq!(sent(&bench, &answer), "default");
    socket.send_to(b"who", (PEER, 53)).expect("sent");
    assert_eq!(sent(&bench, &answer), "reply");
    assert_eq!(sent(&bench, &udp4(PEER, HOST, 53, 9)), "default");
    // The socket is found under a tag too, unless it is bound to the interface above.
    assert_eq!(told(&explain_frame(&bench, answer.vlan(7))), reply("udp", "unconnected"));
    let tun = bench.lab().tun("dut", "tun0");
    bench.lab().ip("dut", ["address", "add", "10.50.0.1/24", "dev", "tun0"]);
    let path = bench.write("tun.toml", REPLIES);
    bench.xdpctl(["attach", "tun0", "-c", path.to_str().expect("UTF-8")]).success();
    let packet = |to| udp4("10.50.0.9", "10.50.0.1", 53, to).build()[14..].to_vec();
    let reasons = || {
        let status = bench.xdpctl(["stats", "tun0", "--once", "--json"]).success().json();
        ["reply", "default"].map(|reason| status["reasons"][reason]["packets"].clone())
    };
    tun.send(&packet(port(&socket)));
    socket.send_to(b"who", "10.50.0.9:53").expect("sent");
    tun.send(&packet(port(&socket)));
    tun.send(&packet(9));
    let deadline = Instant::now() + patient(EVENT);
    while reasons() != [json!(1), json!(2)] {
        assert!(Instant::now() < deadline, "{:?}", reasons());
    }
}

/// What it cannot know is said at once, and what changes nothing too.
#[test]
fn what_is_said_of_it() {
    let bench = Bench::on(
        Topology::empty().link(end("src", "src0", SRC0), end("dut", JUDGED, IN0)).of_hosts(),
    );
    number(bench.lab());
    let path = bench.write("in0.toml", REPLIES);
    let path = path.to_str().expect("UTF-8").to_owned();
    let attach = |bench: &Bench| -> Output {
        let said = bench.xdpctl(["attach", JUDGED, "-c", &path]);
        said.success();
        said
    };
    assert!(!attach(&bench).stderr.contains("forwards"));
    let status = bench.xdpctl(["status", JUDGED]);
    let line = status.success().stdout.lines().find(|line| line.contains("replies:"));
    let by = noted(&bench);
    let expected =
        format!("replies:      to this host's sockets, and to what the interface has sent ({by})");
    assert_eq!(line.map(str::trim), Some(expected.as_str()));
    let judged = bench.write("judge.toml", "[policy]\ndefault = \"drop\"\n");
    bench.xdpctl(["reload", JUDGED, "-c", judged.to_str().expect("UTF-8")]).success();
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    assert_eq!(status[0]["replies"], Value::Null);
}
