//! Rules with `action = "syncookie"`: hosts on the kernel's own stack, real listeners, and SYNs that somebody has
//! forged.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde_json::{Value, json};

use crate::explain::explain_frames;
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::tagged::Tagged;
use crate::lab::{IN0, Lab, SRC0, Topology, end};

const HOST: &str = "192.0.2.1";
const HOST6: &str = "2001:db8::1";
const PEER: &str = "192.0.2.9";
const PEER6: &str = "2001:db8::9";
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Answers all but the first SYN of an hour.
const ALL: &str = r#"
    [[rule]]
    name             = "flood"
    destination_port = [80, 81]
    over             = "1/h"
    action           = "syncookie"
"#;
const SETTING: &str = "ipv4/tcp_syncookies";

fn unfiltered() -> Bench {
    let topology =
        Topology::empty().link(end("src", "src0", SRC0), end("dut", JUDGED, IN0)).of_hosts();
    let bench = Bench::on(topology);
    number(bench.lab(), ["src0", JUDGED], "192.0.2", "2001:db8:");
    bench
}

/// Gives two hosts addresses of both families.
fn number(lab: &Lab, interfaces: [&str; 2], v4: &str, v6: &str) {
    for ((role, interface), nth) in ["src", "dut"].into_iter().zip(interfaces).zip([9, 1]) {
        lab.ip(role, ["link", "set", "lo", "up"]);
        lab.ip(role, ["address", "add", &format!("{v4}.{nth}/24"), "dev", interface]);
        let v6 = format!("{v6}:{nth}/64");
        lab.ip(role, ["address", "add", &v6, "dev", interface, "nodad"]);
    }
}

/// How many SYNs became a cookie, and how many were dropped.
fn answered(bench: &Bench) -> (u64, u64) {
    let sample = bench.sample();
    (sample.verdicts["tx"].packets, sample.verdicts["drop"].packets)
}

#[track_caller]
fn connect(bench: &Bench, to: &str) {
    let source = bench.lab().namespace("src");
    Connection::open(source, None, to).exchange(200_000, 7);
}

fn completes(mode: &str) {
    let mut bench = unfiltered();
    bench.lab().namespace("dut").set(SETTING, "2");
    let dut = bench.lab().namespace("dut");
    let servers = [
        Server::tcp(dut, &format!("{HOST}:80")),
        Server::tcp(dut, &format!("[{HOST6}]:80")),
        // A listener of both families.
        Server::tcp(dut, "[::]:81"),
    ];
    let to = [
        format!("{HOST}:80"),
        format!("[{HOST6}]:80"),
        format!("{HOST}:81"),
        format!("[{HOST6}]:81"),
    ];
    bench.attach_in_mode(ALL, mode);
    // A veth sends back only to an end that takes it.
    bench.open_gates();
    connect(&bench, &to[0]);
    assert_eq!(answered(&bench), (0, 0), "under the rate");
    for to in to.iter().cycle().take(20) {
        connect(&bench, to);
    }
    assert_eq!(answered(&bench), (20, 0));
    assert_eq!(bench.sample().rule("flood").count.packets, 20);
    // Whatever is no SYN is not the rule's.
    let before = bench.sample();
    for flags in [ACK, SYN | ACK, 0x04, 0x11] {
        bench.port("src0").send(&tcp4(PEER, HOST, 7, 80).flags(flags).build());
    }
    let after = bench.await_count(before.total().packets + 4);
    assert_eq!(after.rule("flood").count.packets, 20);
    drop(servers);
}

#[test]
fn connections_complete_while_every_syn_is_over() {
    completes("native");
}

#[test]
fn in_generic_mode_too() {
    completes("generic");
}

#[test]
fn tags_stay_on_what_is_answered() {
    let mut bench = unfiltered();
    bench.lab().namespace("dut").set(SETTING, "2");
    let _ends = [("src", ("src0", SRC0)), ("dut", (JUDGED, IN0))]
        .map(|(role, wire)| Tagged::open(bench.lab(), role, wire, 7, "tagged"));
    number(bench.lab(), ["tagged", "tagged"], "198.51.100", "2001:db8:7:");
    bench.attach(ALL);
    bench.open_gates();
    let _servers = ["198.51.100.1:80", "[2001:db8:7::1]:80"]
        .map(|address| Server::tcp(bench.lab().namespace("dut"), address));
    for nth in 0..6 {
        connect(&bench, ["198.51.100.1:80", "[2001:db8:7::1]:80"][nth % 2]);
    }
    assert_eq!(answered(&bench), (5, 0));
}

/// A SYN of a client that says nothing in options, to be made longer, and one with data behind.
#[test]
fn the_answer_is_what_a_host_would_send() {
    let mut bench = unfiltered();
    bench.lab().namespace("dut").set(SETTING, "2");
    let _server = Server::tcp(bench.lab().namespace("dut"), &format!("{HOST}:80"));
    bench.attach(&ALL.replace("over             = \"1/h\"", ""));
    bench.open_gates();
    let syn = tcp4(PEER, HOST, 4_000, 80).flags(SYN).build();
    bench.port("src0").send(&syn);
    let answer = (0..20)
        .find_map(|_| {
            let frame = bench.port("src0").recv(EVENT)?;
            (frame.len() > 47 && frame[47] == SYN | ACK).then_some(frame)
        })
        .expect("a SYN-ACK");
    assert_eq!((&answer[..6], &answer[6..12]), (&syn[6..12], &syn[..6]));
    assert_eq!((&answer[26..30], &answer[30..34]), (&syn[30..34], &syn[26..30]));
    assert_eq!((answer[14], answer[22], answer[46] >> 4), (0x45, 64, 6));
    assert_eq!(answer[54..58], [2, 4, 5, 180], "a segment that fits into 1,500 bytes");
    let acknowledged = u32::from_be_bytes([syn[38], syn[39], syn[40], syn[41]]).wrapping_add(1);
    assert_eq!(answer[42..46], acknowledged.to_be_bytes());
}

/// What `explain` says.
fn told(answer: &Value) -> Value {
    json!([answer["verdict"], answer["reason"], answer["rule"], answer["syn_cookie"]])
}

#[test]
fn explain_says_what_becomes_of_a_syn() {
    let mut bench = unfiltered();
    bench.attach(&ALL.replace("over             = \"1/h\"", ""));
    let dut = bench.lab().namespace("dut");
    let _server = Server::tcp(dut, &format!("{HOST}:80"));
    let frames = [
        tcp4(PEER, HOST, 4_000, 80).flags(SYN).build(),
        tcp4(PEER, HOST, 4_000, 81).flags(SYN).build(),
        tcp6(PEER6, HOST6, 4_000, 80).flags(SYN).build(),
        tcp4(PEER, HOST, 4_000, 80).flags(SYN | 1).build(),
        tcp4(PEER, HOST, 4_000, 80).flags(ACK).build(),
    ];
    dut.set(SETTING, "2");
    let answers = explain_frames(&bench, &frames).map(|answer| told(&answer));
    assert_eq!(
        answers,
        [
            json!(["tx", "rule", "flood", "answered"]),
            json!(["drop", "rule", "flood", "no_listener"]),
            json!(["drop", "rule", "flood", "no_listener"]),
            json!(["drop", "rule", "flood", "odd"]),
            json!(["pass", "default", null, null]),
        ]
    );
    // The kernel makes cookies once a queue is full.
    dut.set(SETTING, "1");
    let answer = explain_frames(&bench, &[&frames[0]])[0].clone();
    assert_eq!(told(&answer), json!(["pass", "rule", "flood", "not_needed"]));
}

#[test]
fn where_the_kernel_makes_no_cookies_such_a_rule_is_refused() {
    let mut bench = unfiltered();
    let dut = bench.lab().namespace("dut");
    dut.set(SETTING, "0");
    let file = bench.write("next.toml", ALL);
    let file = file.to_str().expect("a name of ours").to_owned();
    let refused = bench.xdpctl(["attach", JUDGED, "-c", &file]);
    refused.expect_status(1);
    assert!(refused.stderr.contains("net.ipv4.tcp_syncookies = 0"), "{}", refused.stderr);
    bench.attach("");
    bench.xdpctl(["reload", JUDGED, "-c", &file]).expect_status(1);
    assert_eq!(bench.sample().rules.len(), 0);
    let dut = bench.lab().namespace("dut");
    dut.set(SETTING, "1");
    bench.xdpctl(["reload", JUDGED, "-c", &file]).success();
    bench.xdpctl(["status", JUDGED]).success();
    dut.set(SETTING, "0");
    let status = bench.xdpctl(["status", JUDGED, "--json"]);
    status.expect_status(1);
    assert!(status.stdout.contains("tcp_syncookies = 0"), "{}", status.stdout);
}

/// What becomes of SYNs to these, sent to a port of a listener that is bound to no address.
fn told_of<const N: usize>(bench: &Bench, to: [&str; N]) -> [String; N] {
    let frames = to.map(|to| match to.contains(':') {
        true => tcp6(PEER6, to, 4_000, 81).flags(SYN).build(),
        false => tcp4(PEER, to, 4_000, 81).flags(SYN).build(),
    });
    explain_frames(bench, &frames).map(|it| format!("{} {}", it["verdict"], it["syn_cookie"]))
}

/// A listener that is bound to no address is found for every address. The answers are the same whether this host
/// forwards or not.
#[test]
fn only_this_hosts_addresses_are_answered() {
    const ANSWERED: &str = "\"tx\" \"answered\"";
    const UNKNOWN: &str = "\"pass\" \"unknown_address\"";
    const NOBODY: &str = "\"drop\" \"no_listener\"";
    let mut bench = unfiltered();
    bench.lab().namespace("dut").set(SETTING, "2");
    let _server = Server::tcp(bench.lab().namespace("dut"), "[::]:81");
    bench.lab().ip("dut", ["address", "add", "203.0.113.7/32", "dev", "lo"]);
    bench.attach(&ALL.replace("over             = \"1/h\"", ""));
    bench.open_gates();
    for forwards in ["0", "1"] {
        let dut = bench.lab().namespace("dut");
        dut.set("ipv4/ip_forward", forwards);
        dut.set("ipv6/conf/all/forwarding", forwards);
        bench.lab().ip("dut", ["route", "replace", "default", "via", PEER]);
        bench.lab().ip("dut", ["-6", "route", "replace", "default", "via", PEER6]);
        // What goes to another host is that host's to answer, as the documentation says.
        let elsewhere = if forwards == "0" { UNKNOWN } else { NOBODY };
        let to = [HOST, HOST6, "203.0.113.7", "198.51.100.1", "2001:db8:9::1", "192.0.2.255"];
        let expected = [ANSWERED, ANSWERED, ANSWERED, elsewhere, elsewhere, UNKNOWN];
        assert_eq!(told_of(&bench, to), expected, "forwarding is {forwards}");
        assert_eq!(told_of(&bench, ["127.0.0.1"]), [UNKNOWN], "forwarding is {forwards}");
    }
    bench.xdpctl(["status", JUDGED]).success();
    // One that comes later is taken over by a reload, and its SYNs are not lost until then.
    bench.lab().ip("dut", ["address", "add", "192.0.2.77/24", "dev", JUDGED]);
    assert_eq!(told_of(&bench, ["192.0.2.77"]), [UNKNOWN]);
    connect(&bench, "192.0.2.77:81");
    let status = bench.xdpctl(["status", JUDGED, "--json"]);
    status.expect_status(1);
    assert!(status.stdout.contains("has got 192.0.2.77 since"), "{}", status.stdout);
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(told_of(&bench, ["192.0.2.77"]), [ANSWERED]);
    bench.xdpctl(["status", JUDGED]).success();
    // To a rule for one address, others are none of its business.
    let to_one = format!("destination      = \"{HOST}\"");
    bench.attach(&ALL.replace("over             = \"1/h\"", &to_one));
    bench.lab().ip("dut", ["address", "add", "192.0.2.78/24", "dev", JUDGED]);
    bench.xdpctl(["status", JUDGED]).success();
}

/// Every connection is opened while forged SYNs come as fast as one thread sends them.
#[test]
fn genuine_clients_connect_beside_a_flood() {
    const CLIENTS: usize = 100;
    let mut bench = unfiltered();
    let dut = bench.lab().namespace("dut");
    // A forged source without a route is dropped before the kernel queues it.
    bench.lab().ip("dut", ["route", "add", "default", "via", PEER]);
    dut.set(SETTING, "1");
    dut.set("core/somaxconn", "16");
    dut.set("ipv4/tcp_max_syn_backlog", "16");
    let listener = dut.enter(|| TcpListener::bind(format!("{HOST}:80"))).expect("a listener");
    let accepting = std::thread::spawn(move || {
        for _ in 0..CLIENTS {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut asked = [0];
            stream.read_exact(&mut asked).expect("a byte");
            stream.write_all(&[!asked[0]]).expect("its answer");
        }
    });
    bench.attach(
        r#"
        [[rule]]
        name             = "flood"
        destination_port = 80
        over             = "50/s"
        action           = "syncookie"
        "#,
    );
    bench.open_gates();
    let forged = (0..4_096_u32).map(|nth| {
        let [_, _, a, b] = nth.to_be_bytes();
        tcp4(&format!("10.9.{a}.{b}"), HOST, 1_024 + nth as u16, 80).flags(SYN).build()
    });
    let forged: Vec<Vec<u8>> = forged.collect();
    let (port, is_over) = (bench.lab().port("src", "src0"), Arc::new(AtomicBool::new(false)));
    let flood = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let until_over = forged.iter().cycle().take_while(|_| !is_over.load(Relaxed));
            // What the queue of the sending end does not take is no part of the flood.
            until_over.filter(|frame| port.try_send(frame)).count()
        }
    });
    let deadline = Instant::now() + patient(EVENT);
    while answered(&bench).0 < 1_000 {
        assert!(Instant::now() < deadline, "the flood is not answered");
    }
    // A client speaks first, as of HTTP: an acknowledgement that is lost beside the flood comes again with it.
    let to: SocketAddr = format!("{HOST}:80").parse().expect("an address");
    bench.lab().namespace("src").enter(|| {
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect_timeout(&to, patient(EVENT)).expect("connected");
            client.set_read_timeout(Some(patient(EVENT))).expect("a time-out");
            client.write_all(&[0x35]).expect("taken");
            let mut answer = [0];
            client.read_exact(&mut answer).expect("answered");
            assert_eq!(answer, [!0x35]);
        }
    });
    is_over.store(true, Relaxed);
    let sent = flood.join().expect("the flood");
    accepting.join().expect("the listener");
    let (cookies, _) = answered(&bench);
    println!(
        "{CLIENTS} of {CLIENTS} clients connected beside {sent} forged SYNs; {cookies} cookies"
    );
    assert!(cookies > 1_000, "{cookies} of {sent}");
}
