//! Checks with `through = "service"`: what they ask is addressed to the service, and reaches the backend that
//! is checked the way that the service's packets go.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{GUE, service};
use crate::lab::balancer::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::Server;
use crate::lab::tunnel::Tunnels;
use crate::lab::{Background, Output};

const V4: [(&str, &str); 2] = [("10.2.0.11", "name = \"b1\""), ("10.2.0.12", "name = \"b2\"")];
const V6: [(&str, &str); 2] =
    [("2001:db8:2::11", "name = \"b1\""), ("2001:db8:2::12", "name = \"b2\"")];
const IPIP: &str = "mode = \"dsr\"";
const L2DSR: &str = "mode = \"l2dsr\"";

fn check(keys: &str) -> String {
    format!(
        "[service.check]\nthrough = \"service\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfall = 1\n\
         rise = 1\n{keys}"
    )
}

/// What one round of checks found: for each service and backend, the state, and why.
fn once(lab: &Balancer) -> BTreeMap<String, String> {
    read(&lab.xdpctl(["health", "--once"]))
}

fn read(output: &Output) -> BTreeMap<String, String> {
    assert!(output.status < 2, "{}{}", output.stdout, output.stderr);
    let row = |line: &str| {
        let cells: Vec<&str> =
            line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
        assert!(cells.len() >= 5 || cells[3] == "undecided", "{line}");
        let why = cells.get(5).map_or_else(String::new, |why| format!(": {why}"));
        (format!("{} {}", cells[0], cells[1]), format!("{}{why}", cells[3]))
    };
    output.stdout.lines().skip(1).map(row).collect()
}

#[track_caller]
fn assert_found(lab: &Balancer, expected: &[(&str, &str)]) {
    let found = once(lab);
    for (backend, state) in expected {
        let is = found.get(*backend).is_some_and(|found| found.starts_with(state));
        assert!(is, "{backend} is not {state}: {found:#?}");
    }
}

/// What a check through a service may not leave behind.
fn host(lab: &Balancer) -> String {
    let commands: [&[&str]; 5] = [
        &["rule"],
        &["-6", "rule"],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["-brief", "link"],
    ];
    commands.map(|arguments| lab.lab().ip("dut", arguments).stdout).concat()
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + patient(EVENT);
    while !is() {
        assert!(Instant::now() < deadline, "not: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn start(lab: &Balancer) -> Background {
    let daemon = lab.lab().spawn_xdpctl("dut", ["health"]);
    until("it checks", || daemon.stderr().contains("checking "));
    daemon
}

/// A way to backends: the name of a service, where it is, and its mode.
struct Way {
    name: &'static str,
    address: &'static str,
    port: u16,
    mode: String,
    backends: &'static [(&'static str, &'static str); 2],
}

impl Way {
    fn at(&self) -> String {
        match self.address {
            DSR6 => format!("[{DSR6}]:{}", self.port),
            v4 => format!("{v4}:{}", self.port),
        }
    }

    fn service(&self, keys: &str) -> String {
        let (port, mode) = (self.port, &self.mode);
        let check = check(keys);
        let rest = format!("protocol = [\"tcp\", \"udp\"]\nport = {port}\n{mode}\n{check}");
        service(self.name, self.address, &rest, self.backends)
    }
}

fn ways() -> [Way; 8] {
    let gue = format!("mode = \"dsr\"\nencapsulation = \"gue\"\ngue_port = {GUE}");
    let way = |name, address, port, mode: &str, backends| Way {
        name,
        address,
        port,
        mode: mode.to_owned(),
        backends,
    };
    [
        way("ipip", DSR, 80, IPIP, &V4),
        way("ipip-in-6", DSR, 81, IPIP, &V6),
        way("ip6ip6", DSR6, 81, IPIP, &V6),
        way("gue", DSR, 82, &gue, &V4),
        way("gue-in-6", DSR, 83, &gue, &V6),
        way("gue6-in-6", DSR6, 83, &gue, &V6),
        way("l2dsr", DSR, 84, L2DSR, &V4),
        way("l2dsr6", DSR6, 85, L2DSR, &V6),
    ]
}

/// All ways, by TCP, UDP and ICMP, under a default that drops. Only one backend has a server: it is up, and
/// the other is down.
#[test]
fn each_way_reaches_the_backend_that_is_checked() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let configuration = |kind: &str| {
        // Neighbours ask for this host, with IPv6 too.
        let policy = "[policy]\ndefault = \"drop\"\nreplies = \"pass\"\n[[rule]]\nname = \"nd\"\n\
                      protocol = \"icmpv6\"\nicmp_type = [135, 136]\naction = \"pass\"\n"
            .to_owned();
        ways().iter().fold(policy, |text, way| {
            let keys = match kind {
                "icmp" => "type = \"icmp\"".to_owned(),
                // Servers say where they were asked.
                _ => format!("type = \"{kind}\"\nsend = \"x\"\nexpect = \" {}\"", way.at()),
            };
            text + &way.service(&keys)
        })
    };
    lab.attach(&configuration("icmp"));
    let before = host(&lab);
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let found = once(&lab);
    assert!(found.len() == 16 && found.values().all(|state| state == "up"), "{found:#?}");
    for (has, other) in [("b1", "b2"), ("b2", "b1")] {
        let namespace = lab.lab().namespace(has);
        let _servers = ways()
            .map(|way| (Server::tcp(namespace, &way.at()), Server::udp(namespace, &way.at())));
        for (kind, refused) in [("tcp", "connection refused"), ("udp", "port unreachable")] {
            lab.attach(&configuration(kind));
            let found = once(&lab);
            for Way { name, .. } in ways() {
                assert_eq!(found[&format!("{name} {has}")], "up", "{kind}: {found:#?}");
                let down = &found[&format!("{name} {other}")];
                assert_eq!(down, &format!("down: {refused}"), "{kind}, {name}: {found:#?}");
            }
        }
    }
    assert_eq!(host(&lab), before, "nothing is left");
}

/// What only one of the two checks can see: a backend that answers at its own address, and does not take the
/// service's packets; and one that answers at the service's address alone.
#[test]
fn what_the_backends_own_address_does_not_show() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let configuration = |through: &str| {
        let all = [("ipip", 80, IPIP), ("l2dsr", 84, L2DSR)].map(|(name, port, mode)| {
            let keys = check("type = \"tcp\"").replace("\"service\"", &format!("\"{through}\""));
            let rest = format!("protocol = \"tcp\"\nport = {port}\n{mode}\n{keys}");
            service(name, DSR, &rest, &V4)
        });
        all.concat()
    };
    lab.attach(&configuration("backend"));
    // At b1 all addresses answer, at b2 the service's alone.
    let _servers: Vec<Server> = [("b1", "0.0.0.0"), ("b2", DSR)]
        .into_iter()
        .flat_map(|(role, address)| {
            let namespace = lab.lab().namespace(role);
            [80, 84].map(|port| Server::tcp(namespace, &format!("{address}:{port}")))
        })
        .collect();
    // Only b2 takes packets out of packets, and b1 does not have the service's address.
    let _tunnel = Tunnels::open(lab.lab(), "b2", GUE);
    lab.lab().ip("b1", ["address", "del", &format!("{DSR}/32"), "dev", "lo"]);
    let [own, refused, silent] = ["up", "down: connection refused", "down: no answer within 2s"];
    for (through, b1, b2) in [("backend", own, refused), ("service", silent, own)] {
        lab.attach(&configuration(through));
        let found = once(&lab);
        for name in ["ipip", "l2dsr"] {
            assert_eq!(found[&format!("{name} b1")], b1, "{through}: {found:#?}");
            assert_eq!(found[&format!("{name} b2")], b2, "{through}: {found:#?}");
        }
    }
    // The line of a check says which way it goes.
    let shown = lab.xdpctl(["health", "--once"]).stdout;
    assert!(shown.contains("tcp 192.0.2.129:80 through the service"), "{shown}");
}

/// A page, and programs of one's own, which are told which mark takes their packets there; by a fixed next hop.
#[test]
fn pages_programs_and_fixed_next_hops() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let backends = |mac: &str| [("10.2.0.11", mac.to_owned())];
    let macs = format!("next_hop = \"{B1_MAC}\"\nname = \"b1\"");
    let one = |name: &str, port: u16, mode: &str, keys: &str| {
        let rest = format!("protocol = \"tcp\"\nport = {port}\n{mode}\n{}", check(keys));
        let backends = backends(&macs);
        service(name, DSR, &rest, &backends.each_ref().map(|(at, rest)| (*at, rest.as_str())))
    };
    let script = "[ \"$XDPCTL_ADDRESS $XDPCTL_BACKEND_ADDRESS $XDPCTL_PORT\" = \"$0\" ] && \
                  ip route get \"$XDPCTL_ADDRESS\" mark \"$XDPCTL_CHECK_MARK\" | \
                  grep -q \"dev xdpctl-checks0\"";
    let program = format!(
        "type = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", '{script}', \"{DSR} 10.2.0.11 82\"]"
    );
    let text = [
        one("page", 80, IPIP, "type = \"http\"\nbody = \"of b1\""),
        one("page-l2", 81, L2DSR, "type = \"http\"\nbody = \"of b1\""),
        one("program", 82, IPIP, &program),
        one("encrypted", 83, IPIP, "type = \"https\"\nverify = false\nbody = \"of b1\""),
    ];
    lab.attach(&text.concat());
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let pages = [80, 81, 83].map(|port| page(&lab, port));
    let found = once(&lab);
    assert!(found.len() == 4 && found.values().all(|state| state == "up"), "{found:#?}");
    drop(pages);
}

/// Answers one request at b1; at port 83, over TLS.
fn page(lab: &Balancer, port: u16) -> thread::JoinHandle<()> {
    let bind = || TcpListener::bind((DSR, port));
    let listener = lab.lab().namespace("b1").enter(bind).expect("a listener");
    thread::spawn(move || {
        // A check that is over is enough.
        let (stream, _) = listener.accept().expect("a connection");
        match port {
            83 => answer(StreamOwned::new(encrypted(), stream)),
            _ => answer(stream),
        }
    })
}

fn answer(mut stream: impl Read + Write) {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npage of b1");
}

/// The server's end of a connection, with a certificate that nobody trusts.
fn encrypted() -> ServerConnection {
    let made = rcgen::generate_simple_self_signed(["b1.example".to_owned()]).expect("a key");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate");
    ServerConnection::new(Arc::new(config)).expect("an end")
}

/// The daemon has a device, rules and routes as long as it checks through services. What a killed one left is
/// removed by the next, and by a detach; what one uses, nobody removes.
#[test]
fn what_a_daemon_has_on_the_host() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let rest = |through: &str| {
        let keys = check("type = \"tcp\"").replace("\"service\"", through);
        service("ipip", DSR, &format!("protocol = \"tcp\"\nport = 80\n{IPIP}\n{keys}"), &V4)
    };
    lab.attach(&rest("\"service\""));
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let _servers = lab.serve_tcp(&format!("{DSR}:80"));
    let before = host(&lab);
    let daemon = start(&lab);
    until("a rule", || host(&lab).contains("fwmark 0x78600000/0xffff0000 lookup 78600"));
    let with_daemon = host(&lab);
    assert!(
        with_daemon.contains(&format!("{DSR} dev xdpctl-checks0 table 78600")),
        "{with_daemon}"
    );
    // Another one beside it has another place.
    assert_found(&lab, &[("ipip b1", "up"), ("ipip b2", "up")]);
    assert_eq!(host(&lab), with_daemon);
    // Somebody flushes the rules: they are put back.
    lab.lab().ip("dut", ["rule", "del", "priority", "7860"]);
    until("the rule is back", || host(&lab) == with_daemon);
    // Without such a check it has nothing.
    lab.attach(&rest("\"backend\""));
    until("nothing", || host(&lab) == before);
    lab.attach(&rest("\"service\""));
    until("all again", || host(&lab) == with_daemon);

    daemon.signal(Signal::SIGKILL);
    until("no device", || !host(&lab).contains("xdpctl-checks0"));
    assert!(host(&lab).contains("lookup 78600"), "a kill leaves the rule");
    // The next one removes it, even if it checks nothing through services.
    lab.attach(&rest("\"backend\""));
    once(&lab);
    assert_eq!(host(&lab), before);
    lab.attach(&rest("\"service\""));

    let daemon = start(&lab);
    until("a rule", || host(&lab).contains("lookup 78600"));
    daemon.signal(Signal::SIGKILL);
    until("no device", || !host(&lab).contains("xdpctl-checks0"));
    lab.xdpctl(["detach", IN]).success();
    let rules = lab.lab().ip("dut", ["rule"]).stdout + &lab.lab().ip("dut", ["-6", "rule"]).stdout;
    assert!(!rules.contains("7860"), "{rules}");
}

/// What cannot be checked is said, and decides nothing.
#[test]
fn what_stands_in_the_way() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let configuration = service(
        "ipip",
        DSR,
        &format!("protocol = \"tcp\"\nport = 80\n{IPIP}\n{}", check("type = \"tcp\"")),
        &V4,
    );
    lab.attach(&configuration);
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let _servers = lab.serve_tcp(&format!("{DSR}:80"));
    let ip = |arguments: &str| lab.lab().ip("dut", arguments.split_whitespace());
    let once = || {
        let output = lab.xdpctl(["health", "--once"]);
        (read(&output), output.stderr)
    };

    // Somebody else uses these marks. A rule about single bits is none of ours.
    ip("rule add fwmark 0x4000/0x4000 lookup 7 priority 100");
    ip("rule add fwmark 0x78600000/0xfff00000 lookup 7 priority 101");
    let (found, said) = once();
    assert!(found.values().all(|state| state.starts_with("undecided")), "{found:#?}");
    let why = "nothing is checked through services: a rule of another program has fwmark \
               0x78600000/0xfff00000";
    assert!(said.contains(why) && said.contains("take these out of other use"), "{said}");
    ip("rule del priority 101");
    // Or one of the places, and there are others.
    ip("rule add fwmark 0x78600001 lookup 7 priority 101");
    let (found, said) = once();
    assert_eq!(found["ipip b1"], "up", "{said}");
    ip("rule del priority 101");
    // A rule that comes first, whatever the mark is. What was known before stays.
    ip("route add unreachable default table 7");
    ip("rule add priority 101 lookup 7");
    let (found, said) = once();
    assert!(found["ipip b1"].starts_with("up: packets to 192.0.2.129 with mark 0x7860"), "{said}");
    assert!(said.contains("another rule comes first"), "{said}");
    ip("rule del priority 101");

    // Answers are dropped where no route leads back; and where it leads another way.
    let namespace = lab.lab().namespace("dut");
    namespace.set("ipv4/conf/in0/rp_filter", "1");
    let (found, said) = once();
    assert_eq!(found["ipip b1"], "down: no answer within 2s");
    let why =
        format!("warning: checks through {DSR} are not answered: net/ipv4/conf/in0/rp_filter");
    assert!(said.contains(&why), "{said}");
    ip(&format!("route add {DSR}/32 dev in0"));
    let (found, said) = once();
    assert_eq!(found["ipip b1"], "up", "{said}");
    assert!(!said.contains("rp_filter"), "{said}");
    ip(&format!("route del {DSR}/32 dev in0"));
    namespace.set("ipv4/conf/in0/rp_filter", "0");

    // The address is this host's own.
    ip(&format!("address add {DSR}/32 dev in0"));
    let (found, said) = once();
    assert!(found["ipip b1"].starts_with("up: 192.0.2.129 is an address"), "{found:#?}");
    let why = format!("ipip: b1 could not be checked: {DSR} is an address of this host");
    assert!(said.contains(&why), "{said}");
}
