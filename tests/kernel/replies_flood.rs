//! A thousand connections of a host that drops by default, beside a flood of forged frames.
//!
//! None of these frames is between the ends of a connection: such a frame looks like an answer, and it is TCP that
//! throws it away. Echo replies are not among them either: those pass at a pace, see `replies`.

use std::env;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::dice::Dice;
use crate::lab::bench::Bench;
use crate::lab::frame::{Frame, icmp4, tcp4, tcp6, udp4, udp6};
use crate::lab::server::{Connection, Server};
use crate::lab::{Port, Sample};
use crate::replies::{ACK, HOST, HOST6, PEER, PEER6, RST, SYN, SYN_ACK, hosts};

/// The environment variable that says how many frames are forged.
const FORGED: &str = "XDPCTL_TEST_FORGED";
const FORGED_BY_DEFAULT: u64 = 1_000_000;
/// Frames that are made, and sent over and over.
const DIFFERENT: usize = 40_000;
const CONNECTIONS: usize = 1_000;
/// Descriptors of both ends of all of them, and of what else the tests of this process have open.
const DESCRIPTORS: u64 = 8_192;
/// A port that the kernel does not assign, where a UDP socket waits for anybody.
const SERVICE: u16 = 5_000;
/// What a network needs beside IPv4, so that nothing but what is forged ends at the default.
const DEFAULT_DROP: &str = r#"
    [policy]
    default = "drop"
    replies = "pass"
    [[rule]]
    name = "icmpv6"
    protocol = "icmpv6"
    action = "pass"
"#;

/// The host's ports.
struct Open {
    /// Of connections to port 80 of the other host.
    tcp: Vec<u16>,
    /// Of UDP sockets that are connected to its port 53.
    udp: Vec<u16>,
}

/// A frame that nobody has asked for.
fn forged(dice: &mut Dice, open: &Open) -> Frame {
    let anyone = Ipv4Addr::from_bits(0x0b00_0000 | dice.below(1 << 24) as u32).to_string();
    let anyone6 = Ipv6Addr::from_bits(0x2001_0db8_ffff << 80 | u128::from(dice.word())).to_string();
    let (tcp, udp) = (dice.pick(&open.tcp), dice.pick(&open.udp));
    // Below those that the kernel assigns.
    let closed = 1_024 + dice.below(20_000) as u16;
    let any = 1_024 + dice.below(60_000) as u16;
    let flags = dice.pick(&[SYN_ACK, ACK, RST, RST | ACK, ACK | 0x01, 0x18]);
    match dice.below(14) {
        0 => tcp4(&anyone, HOST, any, 22).flags(SYN),
        1 => tcp4(&anyone, HOST, 80, tcp).flags(SYN),
        2 => tcp4(PEER, HOST, 80, tcp).flags(SYN),
        3 => tcp4(&anyone, HOST, 80, tcp).flags(flags),
        4 => tcp4(PEER, HOST, 80, closed).flags(flags),
        5 => tcp4(PEER, HOST, 81, tcp).flags(flags),
        6 => tcp4(&anyone, HOST, any, 22).flags(flags),
        7 => udp4(&anyone, HOST, 53, udp),
        8 => udp4(PEER, HOST, 54, udp),
        9 => udp4(&anyone, HOST, any, SERVICE),
        10 => about(&anyone, &tcp4(HOST, &anyone, tcp, 80)),
        11 => about(&anyone, &udp4(HOST, PEER, closed, 53)),
        12 => icmp4(&anyone, HOST, dice.pick(&[5, 8, 13, 17])),
        _ if dice.one_in(2) => tcp6(PEER6, HOST6, 80, closed).flags(flags),
        _ => udp6(&anyone6, HOST6, 53, udp),
    }
}

/// An ICMP error of which some router says that this host has sent what it quotes.
fn about(router: &str, quoted: &Frame) -> Frame {
    icmp4(router, HOST, 3).payload(&quoted.build()[14..][..28])
}

/// Sends so many of the frames, and returns how many arrive.
fn flood(port: &Port, frames: &[Vec<u8>], count: u64) -> u64 {
    let mut arrived = 0;
    for frame in frames.iter().cycle() {
        // The other end of a veth takes what it has room for.
        arrived += u64::from(port.try_send(frame));
        if arrived == count {
            break;
        }
    }
    arrived
}

fn more(before: &Sample, after: &Sample, reason: &str) -> u64 {
    after.reasons[reason].packets - before.reasons[reason].packets
}

#[track_caller]
fn assert_all_live(connections: &mut [Connection]) {
    let asked: Vec<bool> = connections.iter_mut().map(Connection::ask).collect();
    for (connection, asked) in connections.iter_mut().zip(asked) {
        assert!(asked && connection.is_answered(), "lost: {:?}", connection.greeting);
    }
}

/// The samples before and behind `work`, after which so many frames more have been counted by the default.
#[track_caller]
fn counted(bench: &Bench, dropped: u64, work: impl FnOnce()) -> (Sample, Sample) {
    let before = bench.sample();
    work();
    let wanted = before.total().packets + dropped;
    let mut after = bench.await_count(wanted);
    // Answers count too.
    while more(&before, &after, "default") < dropped {
        let next = bench.await_count(after.total().packets + 1);
        after = next;
    }
    (before, after)
}

#[test]
fn a_thousand_connections_outlive_a_flood_of_forged_frames() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < DESCRIPTORS {
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard).expect("more descriptors");
    }
    let count: u64 = match env::var(FORGED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{FORGED} is a number, not {text:?}")),
        Err(_) => FORGED_BY_DEFAULT,
    };
    let bench = hosts(DEFAULT_DROP);
    let (src, dut) = (bench.lab().namespace("src"), bench.lab().namespace("dut"));
    let _server = Server::tcp(src, &format!("{PEER}:80"));
    let mut live: Vec<Connection> =
        (0..CONNECTIONS).map(|_| Connection::open(dut, None, &format!("{PEER}:80"))).collect();
    let listener = dut.enter(|| TcpListener::bind(format!("{HOST}:22"))).expect("a listener");
    listener.set_nonblocking(true).expect("a listener that does not block");
    let udp = |at: &str| {
        let socket = dut.enter(|| UdpSocket::bind(at)).expect("a UDP socket");
        socket.set_nonblocking(true).expect("a socket that does not block");
        socket
    };
    let mut sockets: Vec<UdpSocket> = (0..20).map(|_| udp("0.0.0.0:0")).collect();
    for socket in &sockets {
        dut.enter(|| socket.connect(format!("{PEER}:53"))).expect("connected");
    }
    let port = |socket: &UdpSocket| socket.local_addr().expect("an address").port();
    let open = Open {
        tcp: live.iter().map(|connection| connection.greeting.client.port()).collect(),
        udp: sockets.iter().map(port).collect(),
    };
    sockets.push(udp(&format!("0.0.0.0:{SERVICE}")));
    let mut dice = Dice::new(13);
    let frames: Vec<Vec<u8>> = (0..DIFFERENT).map(|_| forged(&mut dice, &open).build()).collect();
    assert_all_live(&mut live);

    // While nobody says anything, nothing passes.
    let flooding = Port::open(src, "src0");
    let (before, after) = counted(&bench, count / 2, || {
        assert_eq!(flood(&flooding, &frames, count / 2), count / 2);
    });
    assert_eq!(more(&before, &after, "reply"), 0, "{after:#?}");
    assert_eq!(more(&before, &after, "default"), count / 2, "{after:#?}");
    assert_all_live(&mut live);

    // While the connections are used, all of them go on, and of the flood nothing passes.
    let rest = count - count / 2;
    let mut used = 0;
    let (before, after) = counted(&bench, rest, || {
        thread::scope(|scope| {
            let flooding = scope.spawn(|| flood(&flooding, &frames, rest));
            while !flooding.is_finished() {
                assert_all_live(&mut live);
                used += 1;
            }
            assert_eq!(flooding.join().expect("the flood"), rest);
        });
    });
    assert!(used > 0);
    assert_eq!(more(&before, &after, "default"), rest, "{after:#?}");
    assert!(more(&before, &after, "reply") >= used * CONNECTIONS as u64, "{after:#?}");
    assert_all_live(&mut live);
    for socket in sockets {
        let got = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(got, Err(ErrorKind::WouldBlock), "{socket:?}");
    }
    let accepted = listener.accept().map(|(_, from)| from).map_err(|error| error.kind());
    assert_eq!(accepted, Err(ErrorKind::WouldBlock));
    println!("{count} forged frames, and {CONNECTIONS} connections that were used {used} times");
}
