//! Replies to what is forwarded, under a default that drops: the filter is on the outer interface of a router.
//!
//! ```text
//! src (10.0.0.2) src0 ── inner dut in0 (192.0.2.1) ── dst0 dst (192.0.2.9)
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::explain::explain_frame;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::{Frame, icmp4, icmp6, sctp4, tcp4, tcp6, udp4, udp6};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::{DST0, IN0, OUT0, SRC0, Sample, Topology, end};

const INSIDE: &str = "10.0.0.2";
const INSIDE6: &str = "2001:db8:a::2";
const OUTSIDE: &str = "192.0.2.9";
const OUTSIDE6: &str = "2001:db8:b::9";
/// A host outside that is not there.
const SILENT: &str = "192.0.2.66";
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
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

/// The router, without the filter.
fn router() -> Bench {
    let topology = Topology::empty()
        .link(end("src", "src0", SRC0), end("dut", "inner", OUT0))
        .link(end("dst", "dst0", DST0), end("dut", JUDGED, IN0))
        .of_hosts();
    let bench = Bench::on(topology);
    let lab = bench.lab();
    for (role, interface, v4, v6) in [
        ("src", "src0", INSIDE, INSIDE6),
        ("dut", "inner", "10.0.0.1", "2001:db8:a::1"),
        ("dut", JUDGED, "192.0.2.1", "2001:db8:b::1"),
        ("dst", "dst0", OUTSIDE, OUTSIDE6),
    ] {
        lab.ip(role, ["address", "add", &format!("{v4}/24"), "dev", interface]);
        lab.ip(role, ["address", "add", &format!("{v6}/64"), "dev", interface]);
    }
    for (role, v4, v6) in
        [("src", "10.0.0.1", "2001:db8:a::1"), ("dst", "192.0.2.1", "2001:db8:b::1")]
    {
        lab.ip(role, ["link", "set", "lo", "up"]);
        lab.ip(role, ["route", "add", "default", "via", v4]);
        lab.ip(role, ["-6", "route", "add", "default", "via", v6]);
    }
    let silent = ["neighbour", "replace", SILENT, "lladdr", "02:00:00:00:00:66", "dev", JUDGED];
    lab.ip("dut", silent);
    lab.namespace("dut").set("ipv4/conf/all/forwarding", "1");
    lab.namespace("dut").set("ipv6/conf/all/forwarding", "1");
    bench
}

fn attached(configuration: &str) -> Bench {
    let mut bench = router();
    bench.attach(configuration);
    bench
}

/// Sends frames that come in from outside, and counts which of them are replies. Whatever else comes in meanwhile is
/// dropped by default too.
#[track_caller]
fn replies_among(bench: &Bench, frames: &[Vec<u8>]) -> u64 {
    let before = bench.sample();
    let more = |after: &Sample, reason: &str| {
        after.reasons[reason].packets - before.reasons[reason].packets
    };
    let port = bench.lab().port("dst", "dst0");
    let mut sent = 0;
    for burst in frames.chunks(1_000) {
        port.send_many(burst);
        sent += burst.len() as u64;
        let deadline = Instant::now() + patient(EVENT);
        loop {
            let now = bench.sample();
            if more(&now, "reply") + more(&now, "default") >= sent {
                break;
            }
            assert!(Instant::now() < deadline, "not all frames were judged");
        }
    }
    more(&bench.sample(), "reply")
}

/// Sends a frame that comes in from outside, which has to be a reply, or must not.
#[track_caller]
fn expect(bench: &Bench, frame: &Frame, is_reply: bool) {
    let before = bench.sample().reasons["reply"].packets;
    let found = replies_among(bench, &[frame.build()]);
    if !is_reply {
        assert_eq!(found, 0, "{frame:?}");
        return;
    }
    let deadline = Instant::now() + patient(EVENT);
    while bench.sample().reasons["reply"].packets == before {
        assert!(Instant::now() < deadline, "{frame:?}");
    }
}

fn told(bench: &Bench, frame: Frame) -> Value {
    let answer = explain_frame(bench, frame);
    let reply = &answer["reply"];
    json!([answer["reason"], reply["about"], reply["why"], reply["sent_seconds_ago"].is_u64()])
}

/// All that the interface is known to have sent.
fn remembered(bench: &Bench) -> Vec<u64> {
    bench.lab().remembered("dut", JUDGED)
}

#[test]
fn what_is_forwarded_is_answered() {
    let bench = attached(REPLIES);
    let lab = bench.lab();
    for to in [format!("{OUTSIDE}:80"), format!("[{OUTSIDE6}]:80")] {
        let _server = Server::tcp(lab.namespace("dst"), &to);
        Connection::open(lab.namespace("src"), None, &to).exchange(300_000, 7);
    }
    for (to, any) in
        [(format!("{OUTSIDE}:53"), "0.0.0.0:0"), (format!("[{OUTSIDE6}]:53"), "[::]:0")]
    {
        let _server = Server::udp(lab.namespace("dst"), &to);
        let socket = lab.namespace("src").enter(|| UdpSocket::bind(any)).expect("a socket");
        socket.set_read_timeout(Some(patient(EVENT))).expect("a time-out");
        let to: SocketAddr = to.parse().expect("an address");
        socket.send_to(b"who", to).expect("sent");
        socket.recv(&mut [0; 512]).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
    for to in [OUTSIDE, OUTSIDE6] {
        let mut ping = lab.command("src", "ping");
        ping.args(["-n", "-c", "2", "-i", "0.2", "-W", "5", to]);
        let said = crate::lab::Background::start(ping).wait(EVENT).expect("it ends");
        assert!(said.success().stdout.contains(" 0% packet loss"), "{said:?}");
    }
    // Nobody gets in that way, to the router or to who is behind it.
    let short = Duration::from_millis(300);
    for to in [format!("{INSIDE}:22"), "192.0.2.1:22".to_owned()] {
        let role = if to.starts_with(INSIDE) { "src" } else { "dut" };
        let _server = Server::tcp(lab.namespace(role), &to);
        let opened = Connection::try_open(lab.namespace("dst"), None, &to, short);
        assert!(opened.is_err(), "{to}");
    }
}

/// A connection that was there before the filter.
#[test]
fn what_is_open_stays_open() {
    let mut bench = router();
    let to = format!("{OUTSIDE}:80");
    let _server = Server::tcp(bench.lab().namespace("dst"), &to);
    let mut connection = Connection::open(bench.lab().namespace("src"), None, &to);
    bench.attach(REPLIES);
    assert!(connection.answers());
    // The filter is exchanged, with what it knows, and goes on after a reload that changes something else.
    bench.xdpctl(["attach", "--replace", JUDGED]).success();
    let answer = tcp4(OUTSIDE, INSIDE, 80, 9).flags(ACK);
    expect(&bench, &answer, false);
    bench.attach(&REPLIES.replace("\"neighbours\"", "\"others\""));
    assert!(connection.answers());
}

/// A frame is an answer only to what has gone out, by its kind.
#[test]
fn forged_answers_do_not_pass() {
    let bench = attached(REPLIES);
    let inside = bench.port("src0");
    let out = |frame: &Frame| {
        // From a host inside, through the router.
        let before = remembered(&bench);
        inside.send(&frame.build());
        let deadline = Instant::now() + patient(EVENT);
        while remembered(&bench) == before {
            assert!(Instant::now() < deadline, "it does not go out");
        }
    };
    let flows = [
        tcp4(INSIDE, SILENT, 40_000, 443).flags(SYN),
        udp4(INSIDE, SILENT, 40_000, 53),
        icmp4(INSIDE, SILENT, 8),
        sctp4(INSIDE, SILENT, 40_000, 443),
    ]
    .map(|frame| frame.destination_mac(OUT0));
    flows.iter().for_each(out);
    let tcp = |from, to, flags| tcp4(SILENT, INSIDE, from, to).flags(flags);
    let udp = |from, to| udp4(SILENT, INSIDE, from, to);
    let quoted = |frame: Frame| {
        let ip = &frame.build()[14..];
        icmp4("203.0.113.5", INSIDE, 3).payload(&ip[..28.min(ip.len())])
    };
    let yes = |about: &str| json!(["reply", about, null, true]);
    let no = |about: &str, why: &str| json!(["default", about, why, false]);
    for (frame, expected) in [
        (tcp(443, 40_000, SYN_ACK), yes("tcp")),
        (tcp(443, 40_000, ACK), yes("tcp")),
        (tcp(443, 40_000, RST | ACK), yes("tcp")),
        (tcp(443, 40_000, SYN), no("tcp", "opens")),
        (tcp(444, 40_000, SYN_ACK), no("tcp", "no_socket")),
        (tcp(443, 40_001, SYN_ACK), no("tcp", "no_socket")),
        (udp(53, 40_000), yes("udp")),
        (udp(54, 40_000), no("udp", "no_socket")),
        (udp4("192.0.2.67", INSIDE, 53, 40_000), no("udp", "no_socket")),
        (icmp4(SILENT, INSIDE, 0), yes("echo")),
        (icmp4("192.0.2.67", INSIDE, 0), no("echo", "not_sent")),
        (sctp4(SILENT, INSIDE, 443, 40_000), yes("other")),
        (sctp4(SILENT, INSIDE, 443, 40_001), no("other", "not_sent")),
        (quoted(tcp4(INSIDE, SILENT, 40_000, 443).flags(SYN)), yes("tcp")),
        (quoted(udp4(INSIDE, SILENT, 40_000, 53)), yes("udp")),
        (quoted(udp4(INSIDE, SILENT, 40_000, 54)), no("udp", "no_socket")),
        (quoted(icmp4(INSIDE, SILENT, 8)), yes("echo")),
        (quoted(icmp4(INSIDE, "192.0.2.67", 8)), no("echo", "not_sent")),
    ] {
        // A slow machine takes longer for all of this than they are remembered.
        flows.iter().for_each(|frame| inside.send(&frame.build()));
        assert_eq!(told(&bench, frame.clone()), expected, "{frame:?}");
        flows.iter().for_each(|frame| inside.send(&frame.build()));
        expect(&bench, &frame, expected[0] == "reply");
    }
}

/// Nothing that comes in is remembered, nor what it makes the router send.
#[test]
fn a_flood_from_outside_writes_nothing() {
    let bench = attached(REPLIES);
    let _listener = Server::tcp(bench.lab().namespace("dut"), "192.0.2.1:22");
    let before = remembered(&bench);
    let mut frames = Vec::new();
    for nth in 0..25_000_u32 {
        let from = format!("198.18.{}.{}", nth >> 8 & 0xff, nth & 0xff);
        let port = 1024 + nth as u16;
        let flags = [SYN_ACK, ACK, RST, SYN][nth as usize % 4];
        frames.push(tcp4(&from, "192.0.2.1", port, 22).flags(flags).build());
        frames.push(udp4(&from, INSIDE, port, 40_000).build());
        frames.push(icmp4(&from, "192.0.2.1", 0).build());
        let from6 = format!("2001:db8:b::{nth:x}");
        frames.push(tcp6(&from6, INSIDE6, port, 22).flags(flags).build());
    }
    assert_eq!((replies_among(&bench, &frames), frames.len()), (0, 100_000));
    assert_eq!(remembered(&bench), before);
    // Where a rule lets it in, answers begin nothing either.
    let mut bench = bench;
    bench.attach(&format!(
        "{REPLIES}[[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\ndestination_port = [22, 23]\n\
         action = \"pass\"\n[[rule]]\nname = \"ping\"\nprotocol = \"icmp\"\nicmp_type = 8\n\
         action = \"pass\"\n"
    ));
    let before = remembered(&bench);
    let port = bench.lab().port("dst", "dst0");
    let sent = bench.sample().total().packets;
    for nth in 0..200_u32 {
        for (to, flags) in [(22, SYN), (23, SYN), (22, ACK), (23, ACK)] {
            let frame = tcp4(OUTSIDE, "192.0.2.1", 1024 + nth as u16, to).flags(flags);
            port.send(&frame.build());
        }
        port.send(&icmp4(OUTSIDE, "192.0.2.1", 8).build());
    }
    bench.await_count(sent + 1_000);
    assert_eq!(remembered(&bench), before);
}

/// What the router itself sends and no socket is known for, in both families.
#[test]
fn pings_of_ipv6_and_udp_of_the_router() {
    let bench = attached(REPLIES);
    let socket = bench.lab().namespace("dut").enter(|| UdpSocket::bind("[::]:5353"));
    let socket = socket.expect("a socket");
    let answer = udp6(OUTSIDE6, "2001:db8:b::1", 5353, 5353);
    assert_eq!(told(&bench, answer.clone()), json!(["default", "udp", "not_sent", false]));
    socket.send_to(b"who", format!("[{OUTSIDE6}]:5353")).expect("sent");
    let deadline = Instant::now() + patient(EVENT);
    while told(&bench, answer.clone()) != json!(["reply", "udp", null, true]) {
        assert!(Instant::now() < deadline, "{}", told(&bench, answer));
    }
    let echo = icmp6(OUTSIDE6, "2001:db8:b::1", 129);
    assert_eq!(told(&bench, echo), json!(["default", "echo", "not_sent", false]));
}

/// The program at the egress is there exactly as long as a ruleset wants it.
#[test]
fn the_egress_is_left_as_it_was() {
    let mut bench = router();
    let judge = REPLIES.replace("\"pass\"\n    [[rule]]", "\"judge\"\n    [[rule]]");
    assert_ne!(judge, REPLIES);
    let at_egress = |bench: &Bench| bench.lab().at_egress("dut", JUDGED);
    let none: Vec<String> = Vec::new();
    assert_eq!(at_egress(&bench), none);
    bench.attach(&judge);
    assert_eq!(at_egress(&bench), none);
    bench.attach(REPLIES);
    let there = at_egress(&bench);
    assert!(there.iter().any(|line| line.contains("xdpctl_egress")), "{there:?}");
    for command in [&["reload", JUDGED][..], &["attach", "--replace", JUDGED]] {
        bench.xdpctl(command).success();
        let now = at_egress(&bench);
        assert_eq!(now.len(), there.len(), "{command:?}: {now:?}");
    }
    bench.attach(&judge);
    assert_eq!(at_egress(&bench), none);
    assert!(remembered(&bench).is_empty(), "the room is given back");
    bench.attach(REPLIES);
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(at_egress(&bench), none);
    bench.lab().assert_nothing_kept("dut");

    // A qdisc of somebody else's stays, with what is in it.
    let tc = |args: &[&str]| {
        let mut command = bench.lab().command("dut", "tc");
        command.args(args);
        crate::lab::Background::start(command).wait(EVENT).expect("it ends").success();
    };
    tc(&["qdisc", "add", "dev", JUDGED, "clsact"]);
    let before = at_egress(&bench);
    let path = bench.write("again.toml", REPLIES);
    let attach = ["attach", JUDGED, "-c", path.to_str().expect("UTF-8")];
    bench.xdpctl(attach).success();
    bench.xdpctl(["detach", JUDGED]).success();
    assert_eq!(at_egress(&bench), before);
    tc(&["qdisc", "del", "dev", JUDGED, "clsact"]);
}

/// Whoever takes it off, `status` says so, and a reload puts it back.
#[test]
fn what_somebody_took_off_is_put_back() {
    let bench = attached(REPLIES);
    let pin = bench.lab().pins("dut", bench.lab().ifindex("dut", JUDGED)).join("egress");
    std::fs::remove_file(&pin).expect("the pin");
    let mut command = bench.lab().command("dut", "tc");
    command.args(["qdisc", "del", "dev", JUDGED, "clsact"]);
    crate::lab::Background::start(command).wait(EVENT).expect("it ends");
    let status = bench.xdpctl(["status", JUDGED, "--json"]).expect_status(1).json();
    let problem = status[0]["problems"][0].as_str().expect("a problem");
    assert!(problem.starts_with("the program at the egress of in0 is gone"), "{problem}");
    assert_eq!(status[0]["replies"]["sent"], Value::Null);
    bench.xdpctl(["reload", JUDGED]).success();
    bench.xdpctl(["status", JUDGED]).success();
    assert!(!bench.lab().at_egress("dut", JUDGED).is_empty());
}

/// An attachment that is not confirmed takes everything with it, and one that is keeps it.
#[test]
fn until_it_is_confirmed() {
    let bench = router();
    let path = bench.write("in0.toml", REPLIES);
    let args = ["attach", JUDGED, "-c", path.to_str().expect("UTF-8"), "--confirm", "10m"];
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + patient(EVENT);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
        }
    };
    let is_there = || !bench.lab().at_egress("dut", JUDGED).is_empty();
    let waiting = bench.lab().spawn_xdpctl("dut", args);
    wait("it comes", &is_there);
    wait("it is attached", &|| !bench.lab().programs("dut", JUDGED).is_empty());
    drop(waiting);
    bench.lab().await_no_program("dut", JUDGED);
    // Without a link, the filter of traffic control stays until the next command.
    bench.xdpctl(["detach", "--all"]);
    wait("it goes", &|| !is_there());
    let mut waiting = bench.lab().spawn_xdpctl("dut", args);
    wait("it is attached", &|| !bench.lab().programs("dut", JUDGED).is_empty());
    wait("it can be confirmed", &|| bench.xdpctl(["confirm", JUDGED]).status == 0);
    waiting.wait(EVENT).expect("it ends").success();
    assert!(is_there());
    let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
    assert!(status[0]["replies"]["sent"].is_string(), "{status}");
    bench.xdpctl(["detach", JUDGED]).success();
    assert!(!is_there());
}

/// What a ruleset on trial has put there goes with it.
#[test]
fn a_ruleset_on_trial() {
    let mut bench = router();
    bench.attach("[policy]\ndefault = \"drop\"\n");
    let path = bench.write("replies.toml", REPLIES);
    let path = path.to_str().expect("UTF-8");
    let args = ["reload", JUDGED, "-c", path, "--confirm", "10m"];
    let is_there = |bench: &Bench| !bench.lab().at_egress("dut", JUDGED).is_empty();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + patient(EVENT);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
        }
    };
    let generation = || bench.sample().generation;
    let before = generation();
    let waiting = bench.lab().spawn_xdpctl("dut", args);
    wait("it is in force", &|| generation() != before);
    assert!(is_there(&bench));
    waiting.signal(nix::sys::signal::Signal::SIGINT);
    wait("it is taken back", &|| generation() == before && !is_there(&bench));
    drop(waiting);
}
