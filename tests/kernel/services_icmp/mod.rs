//! ICMP about services, with hosts on the kernel's own stack: errors that backends, routers and the load
//! balancer send, and echoes.
//!
//! ```text
//! client (10.1.0.2) ── path0 hop far0 ── in0 dut out0 ── b1 (10.2.0.2)
//!                                           out1 ── b2 (10.3.0.2)
//! ```
//!
//! The link between client and hop can be made narrower than the others.

mod path_mtu;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::lab::frame::{icmp4, udp4};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Lab, MacAddr, Sample, Topology, end};

const SERVICE: &str = "192.0.2.10";
const SERVICE6: &str = "2001:db8:f::10";
const CLIENT: &str = "10.1.0.2";
const MACS: [MacAddr; 8] = [
    MacAddr(2, 0, 0, 0, 7, 1),
    MacAddr(2, 0, 0, 0, 7, 2),
    MacAddr(2, 0, 0, 0, 7, 3),
    MacAddr(2, 0, 0, 0, 7, 4),
    MacAddr(2, 0, 0, 0, 7, 5),
    MacAddr(2, 0, 0, 0, 7, 6),
    MacAddr(2, 0, 0, 0, 7, 7),
    MacAddr(2, 0, 0, 0, 7, 8),
];

struct Hosts {
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Hosts {
    fn new(configuration: &str) -> Self {
        let lab = Topology::empty()
            .link(end("client", "wire", MACS[0]), end("hop", "path0", MACS[1]))
            .link(end("hop", "far0", MACS[2]), end("dut", "in0", MACS[3]))
            .link(end("dut", "out0", MACS[4]), end("b1", "wire", MACS[5]))
            .link(end("dut", "out1", MACS[6]), end("b2", "wire", MACS[7]))
            .build();
        let hosts = Self { lab, directory: tempfile::tempdir().expect("a directory") };
        for role in ["client", "hop", "dut", "b1", "b2"] {
            for (name, value) in [
                ("ipv6/conf/all/disable_ipv6", "0"),
                ("ipv6/conf/default/disable_ipv6", "0"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ] {
                hosts.set(role, name, value);
            }
            hosts.ip(role, "link set lo up");
        }
        for [one, other] in hosts.lab.links() {
            for end in [one, other] {
                hosts.ip(end.namespace, &format!("link set {} arp on", end.interface));
                // Only then a veth takes what XDP sends it.
                let mut gro = hosts.lab.command(end.namespace, "ethtool");
                gro.args(["-K", end.interface, "gro", "on"]);
                assert!(gro.status().expect("ethtool").success());
            }
        }
        hosts.number();
        // A veth tells its peer of what XDP sends back only if the peer has a program too.
        let gate = hosts.directory.path().join("gate.toml");
        std::fs::write(&gate, "").expect("a file");
        let gate = gate.to_str().expect("UTF-8");
        hosts.lab.xdpctl("hop", ["attach", "far0", "-c", gate, "--mode", "native"]).success();
        let path = hosts.directory.path().join("services.toml");
        std::fs::write(&path, configuration).expect("a file");
        let path = path.to_str().expect("UTF-8");
        for interface in ["in0", "out0", "out1"] {
            let arguments = ["attach", interface, "-c", path, "--mode", "native"];
            hosts.lab.xdpctl("dut", arguments).success();
        }
        hosts
    }

    fn number(&self) {
        let addresses = [
            ("client", "wire", "10.1.0.2/24", "2001:db8:1::2/64"),
            ("hop", "path0", "10.1.0.1/24", "2001:db8:1::1/64"),
            ("hop", "far0", "10.0.0.1/24", "2001:db8:a::1/64"),
            ("dut", "in0", "10.0.0.2/24", "2001:db8:a::2/64"),
            ("dut", "out0", "10.2.0.1/24", "2001:db8:2::1/64"),
            ("dut", "out1", "10.3.0.1/24", "2001:db8:3::1/64"),
            ("b1", "wire", "10.2.0.2/24", "2001:db8:2::2/64"),
            ("b2", "wire", "10.3.0.2/24", "2001:db8:3::2/64"),
        ];
        for (role, interface, v4, v6) in addresses {
            self.ip(role, &format!("address add {v4} dev {interface}"));
            self.ip(role, &format!("address add {v6} dev {interface} nodad"));
        }
        for (role, v4, v6) in [
            ("client", "10.1.0.1", "2001:db8:1::1"),
            ("hop", "10.0.0.2", "2001:db8:a::2"),
            ("dut", "10.0.0.1", "2001:db8:a::1"),
            ("b1", "10.2.0.1", "2001:db8:2::1"),
            ("b2", "10.3.0.1", "2001:db8:3::1"),
        ] {
            self.ip(role, &format!("route add default via {v4}"));
            self.ip(role, &format!("-6 route add default via {v6}"));
        }
        for role in ["hop", "dut"] {
            self.set(role, "ipv4/ip_forward", "1");
            self.set(role, "ipv6/conf/all/forwarding", "1");
        }
        // The first packet is not to be the one that asks for its neighbour.
        for (interface, v4, v6, mac) in [
            ("in0", "10.0.0.1", "2001:db8:a::1", MACS[2]),
            ("out0", "10.2.0.2", "2001:db8:2::2", MACS[5]),
            ("out1", "10.3.0.2", "2001:db8:3::2", MACS[7]),
        ] {
            for address in [v4, v6] {
                self.ip("dut", &format!("neigh replace {address} lladdr {mac} dev {interface}"));
            }
        }
    }

    #[track_caller]
    fn ip(&self, role: &str, arguments: &str) -> String {
        self.lab.ip(role, arguments.split_whitespace()).stdout.clone()
    }

    fn set(&self, role: &str, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        let written = self.lab.namespace(role).enter(|| std::fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// A UDP socket of a host, which waits for an answer for a while.
    #[track_caller]
    fn udp(&self, role: &str, own: &str) -> UdpSocket {
        let socket = self.lab.namespace(role).bind(|| UdpSocket::bind(own)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        socket
    }

    /// A UDP socket of the client, connected to a service.
    #[track_caller]
    fn client(&self, to: &str) -> UdpSocket {
        let own = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = self.udp("client", own);
        socket.connect(to).expect("connected");
        socket
    }

    fn sample(&self) -> Sample {
        Sample::read(&self.lab, "dut", "in0")
    }

    /// What the route to a host takes, as far as the kernel has learned it.
    fn mtu(&self, role: &str, to: &str) -> Option<u32> {
        let route = self.ip(role, &format!("route get {to}"));
        let mut words = route.split_whitespace();
        words.find(|&word| word == "mtu")?;
        words.next()?.parse().ok()
    }
}

fn service(name: &str, address: &str, rest: &str, backends: &[(&str, &str)]) -> String {
    let mut text = format!("[[service]]\nname = \"{name}\"\naddress = \"{address}\"\n{rest}\n");
    for (address, rest) in backends {
        text += &format!("[[service.backend]]\naddress = \"{address}\"\n{rest}\n");
    }
    text
}

/// Both families by nat, to one backend or to two.
fn nat(rest: &str, backends: usize) -> String {
    let rest = format!("mode = \"nat\"\nprotocol = [\"udp\", \"tcp\"]\nport = 80\n{rest}");
    let v4 = [("10.2.0.2", "port = 8080"), ("10.3.0.2", "port = 8080")];
    let v6 = [("2001:db8:2::2", "port = 8080"), ("2001:db8:3::2", "port = 8080")];
    service("web", SERVICE, &rest, &v4[..backends])
        + &service("web6", SERVICE6, &rest, &v6[..backends])
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patient(EVENT);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
    }
}

/// Sends datagrams until the socket has that error.
#[track_caller]
fn expect_error(socket: &UdpSocket, bytes: usize, kind: i32) {
    until("an ICMP error reaches the socket", || {
        let sent = socket.send(&vec![7; bytes]);
        let error = sent.and_then(|_| socket.recv(&mut [0; 2048]));
        error.is_err_and(|error| error.raw_os_error() == Some(kind))
    });
}

fn services() -> [String; 2] {
    [format!("{SERVICE}:80"), format!("[{SERVICE6}]:80")]
}

/// Nobody listens at the backend, and its kernel says so: the client's socket is told, which only
/// knows the service.
#[test]
fn a_backends_error_reaches_the_clients_socket() {
    let hosts = Hosts::new(&nat("", 1));
    for to in services() {
        let before = hosts.sample();
        expect_error(&hosts.client(&to), 10, libc::ECONNREFUSED);
        let after = hosts.sample();
        assert!(after.reasons["service"].packets > before.reasons["service"].packets);
    }
    // The error itself came in from the backend, and was counted to the service there.
    let behind = Sample::read(&hosts.lab, "dut", "out0");
    for name in ["web", "web6"] {
        assert!(behind.rule(name).count.packets > 0, "{behind:#?}");
    }
}

/// What this host asks a backend itself, by its own address, is no service's: nor is the error about it.
#[test]
fn an_error_for_this_host_stays_as_it_is() {
    let hosts = Hosts::new(&nat("", 1));
    for (own, to) in [("10.2.0.1:0", "10.2.0.2:8080"), ("[::]:0", "[2001:db8:2::2]:8080")] {
        let socket = hosts.udp("dut", own);
        socket.connect(to).expect("connected");
        expect_error(&socket, 10, libc::ECONNREFUSED);
    }
}

/// A router between the service and the client cannot send a reply on, and says so to the service:
/// the backend that sent it hears of it, and no other.
#[test]
fn path_mtu_on_the_way_to_the_client_reaches_the_backend_of_the_flow() {
    let hosts = Hosts::new(&nat("", 2));
    hosts.ip("hop", "link set path0 mtu 1300");
    for (to, family) in services().iter().zip([4, 6]) {
        let own = if family == 4 { "0.0.0.0:8080" } else { "[::]:8080" };
        let [first, second] = ["b1", "b2"].map(|role| hosts.udp(role, own));
        let client = hosts.client(to);
        client.send(b"hello").expect("sent");
        let (mut server, mut role) = (&first, "b1");
        let mut peer = None;
        until("a backend gets the datagram", || {
            for (socket, name) in [(&first, "b1"), (&second, "b2")] {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                    (server, role, peer) = (socket, name, Some(from));
                }
            }
            peer.is_some()
        });
        let peer: SocketAddr = peer.expect("just seen");
        let host = peer.ip().to_string();
        until("the backend learns the path's MTU", || {
            let _ = server.send_to(&[7; 1400], peer);
            hosts.mtu(role, &host) == Some(1300)
        });
        let other = if role == "b1" { "b2" } else { "b1" };
        assert_eq!(hosts.mtu(other, &host), None, "the other one was not told");
    }
}

/// With DSR, the error goes to that backend whole, inside the tunnel.
#[test]
fn dsr_carries_an_error_whole_to_the_backend_of_the_flow() {
    let rest = "mode = \"dsr\"\nprotocol = \"udp\"\nport = 80";
    let both = [("10.2.0.2", ""), ("10.3.0.2", "")];
    let hosts = Hosts::new(&service("dns", SERVICE, rest, &both));
    let ports = ["b1", "b2"].map(|role| hosts.lab.port(role, "wire"));
    let sender = hosts.lab.port("hop", "far0");
    let mut seen = [0; 2];
    for from in 40_000..40_032 {
        let macs =
            |frame: crate::lab::frame::Frame| frame.source_mac(MACS[2]).destination_mac(MACS[3]);
        let request = macs(udp4(CLIENT, SERVICE, from, 80).payload(b"request")).build();
        let reply = udp4(SERVICE, CLIENT, 80, from).payload(b"reply").build();
        // Eight bytes of the transport header, and no more.
        let quoted = &reply[14..14 + 28];
        let error = macs(icmp4("10.1.0.1", SERVICE, 3)).code(4);
        let error = error.payload(quoted).build();
        for frame in [&request, &error] {
            sender.send(frame);
        }
        let mut got = [[0; 2]; 2];
        until("both arrive", || {
            for (at, port) in ports.iter().enumerate() {
                for frame in port.recv_all(Duration::from_millis(1)) {
                    for (which, inner) in [&request, &error].into_iter().enumerate() {
                        if frame.len() > 34 && frame[34..] == inner[14..] {
                            got[at][which] += 1;
                        }
                    }
                }
            }
            got[0][0] + got[1][0] == 1 && got[0][1] + got[1][1] == 1
        });
        assert_eq!(got[0][0], got[0][1], "the error follows the request: {got:?}");
        seen[usize::from(got[0][0] == 0)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// What does not fit with its outer header is answered with the size that does, which the client's
/// kernel takes.
#[test]
fn what_is_too_big_for_its_tunnel_is_answered_with_what_fits() {
    let rest = "mode = \"dsr\"\nprotocol = \"udp\"\nport = 80";
    let gue = format!("{rest}\nencapsulation = \"gue\"\ngue_port = 6080");
    let silent = format!("{rest}\ntoo_big = \"drop\"");
    let hosts = Hosts::new(&format!(
        "{}{}{}",
        service("ipip", SERVICE, rest, &[("10.2.0.2", "")]),
        service("gue6", SERVICE6, &gue, &[("2001:db8:2::2", "")]),
        service("silent", "192.0.2.11", &silent, &[("10.2.0.2", "")]),
    ));
    for (to, headers, fits) in [(&services()[0], 28, 1480), (&services()[1], 48, 1452)] {
        let client = hosts.client(to);
        expect_error(&client, 1500 - headers, libc::EMSGSIZE);
        let host = to.parse::<SocketAddr>().expect("an address").ip().to_string();
        assert_eq!(hosts.mtu("client", &host), Some(fits), "{to}");
        client.send(&vec![7; fits as usize - headers]).expect("what fits is sent");
    }
    let sender = hosts.lab.port("hop", "far0");
    let send = |to: &str, dont_fragment: bool, verdict: &str, name: &str| {
        let before = hosts.sample();
        let mut frame = udp4(CLIENT, to, 7, 80).payload(&[7; 1472]);
        if dont_fragment {
            frame = frame.dont_fragment();
        }
        let frame = frame.source_mac(MACS[2]).destination_mac(MACS[3]).build();
        sender.send(&frame);
        until("it is counted", || {
            let after = hosts.sample();
            let count = |of: &Sample| of.rule(name).count.packets;
            let decided = |of: &Sample| of.verdicts[verdict].packets;
            count(&after) == count(&before) + 1 && decided(&after) == decided(&before) + 1
        });
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = hosts.lab.xdpctl("dut", ["explain", "in0", "--packet", &hex, "--json"]);
        let said = said.success().json();
        assert_eq!((&said["verdict"], &said["reason"]), (&verdict.into(), &"service".into()));
    };
    send(SERVICE, true, "tx", "ipip");
    send(SERVICE, false, "drop", "ipip");
    send("192.0.2.11", true, "drop", "silent");
}

/// The kernel's route says how long a packet may be, behind a service by nat.
#[test]
fn what_is_too_big_for_its_route_is_answered_with_the_routes_mtu() {
    let hosts = Hosts::new(&nat("", 1));
    hosts.ip("dut", "route add 10.2.0.2/32 dev out0 mtu lock 1333");
    hosts.ip("dut", "-6 route add 2001:db8:2::2/128 dev out0 mtu lock 1333");
    for to in services() {
        expect_error(&hosts.client(&to), 1400, libc::EMSGSIZE);
        let host = to.parse::<SocketAddr>().expect("an address").ip().to_string();
        assert_eq!(hosts.mtu("client", &host), Some(1333), "{to}");
    }
}

#[test]
fn what_no_backend_takes_is_rejected() {
    let rest = "mode = \"nat\"\nprotocol = [\"udp\", \"tcp\"]\nport = 80\nno_backend = \"reject\"";
    let hosts = Hosts::new(&format!(
        "{}{}",
        service("web", SERVICE, rest, &[("10.2.0.2", "state = \"down\"")]),
        service("web6", SERVICE6, rest, &[("2001:db8:2::2", "state = \"down\"")]),
    ));
    for to in services() {
        expect_error(&hosts.client(&to), 10, libc::ECONNREFUSED);
        let to: SocketAddr = to.parse().expect("an address");
        let namespace = hosts.lab.namespace("client");
        let refused = namespace.enter(|| TcpStream::connect_timeout(&to, patient(EVENT)));
        assert_eq!(refused.expect_err("refused").kind(), ErrorKind::ConnectionRefused, "{to}");
    }
    // A flood is not answered packet by packet.
    let before = hosts.sample();
    let flood = udp4(CLIENT, SERVICE, 7, 80).source_mac(MACS[2]).destination_mac(MACS[3]).build();
    let sender = hosts.lab.port("hop", "far0");
    const FLOOD: u64 = 20_000;
    sender.send_many(std::iter::repeat_n(&flood, FLOOD as usize));
    let packets = |of: &Sample, verdict: &str| of.verdicts[verdict].packets;
    until("all are counted", || {
        let after = hosts.sample();
        after.rule("web").count.packets - before.rule("web").count.packets == FLOOD
    });
    let after = hosts.sample();
    let [answered, dropped] =
        ["tx", "drop"].map(|verdict| packets(&after, verdict) - packets(&before, verdict));
    assert_eq!(answered + dropped, FLOOD);
    assert!(answered > 0 && dropped > 0, "{answered} answered");
}

#[test]
fn pings_of_a_service_are_answered_while_a_backend_is_up() {
    let up = nat("echo = \"reply\"", 2);
    let rest = "mode = \"nat\"\nprotocol = \"udp\"\nport = 80\necho = \"reply\"";
    let down = service("down", "192.0.2.11", rest, &[("10.2.0.3", "state = \"down\"")]);
    let hosts = Hosts::new(&format!("{up}{down}"));
    let ping = |to: &str| {
        let mut ping = hosts.lab.command("client", "ping");
        ping.args(["-c", "3", "-i", "0.05", "-W", "2", "-s", "1000", to]);
        ping.output().expect("ping").status.success()
    };
    let before = hosts.sample();
    assert!(ping(SERVICE) && ping(SERVICE6));
    let after = hosts.sample();
    for name in ["web", "web6"] {
        let counted = after.rule(name).count.packets - before.rule(name).count.packets;
        assert_eq!(counted, 3, "{name}");
    }
    assert!(after.verdicts["tx"].packets - before.verdicts["tx"].packets >= 6);
    assert!(!ping("192.0.2.11"), "no backend is up");
    // Backends that drain are there for connections that they have, and nobody else.
    let say = |name: &str, state: &str| {
        let told = ["backend", "in0", "web", name, state];
        hosts.lab.xdpctl("dut", told).success();
    };
    say("10.2.0.2:8080", "drain");
    assert!(ping(SERVICE), "the other is up");
    say("10.3.0.2:8080", "drain");
    assert!(!ping(SERVICE), "both drain");
    say("10.2.0.2:8080", "auto");
    assert!(ping(SERVICE), "one is back");
}
