//! A host that drops by default, with containers of Docker itself: what these ask others, and who reaches the
//! ports that they publish. (containers.rs has the same host without Docker, and more of what containers ask by.)
//!
//! ```text
//! containers eth0 ── docker0 dut in0 (192.0.2.1) ── far dst (192.0.2.9)
//! ```

mod daemon;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::frame::{ACK, Frame, SYN, tcp4};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::Connection;
use crate::lab::{Background, IN0, Lab, Output, SRC0, Sample, Topology, end};

use daemon::Docker;

const HOST: &str = "192.0.2.1";
const HOST6: &str = "2001:db8:b::1";
const FAR: &str = "192.0.2.9";
const FAR6: &str = "2001:db8:b::9";
/// The first container's, and that of its bridge.
const CONTAINER: &str = "172.17.0.2";
const GATEWAY: &str = "172.17.0.1";
/// How much is fetched, in bytes.
const BULK: usize = 3 << 20;
/// How long is waited for what does not come.
const SHORT: Duration = Duration::from_millis(500);

/// Neighbours, and one of the published ports.
const CONFIGURATION: &str = r#"
[policy]
default = "drop"
replies = "pass"
[[rule]]
name = "neighbours"
protocol = "icmpv6"
icmp_type = [135, 136]
action = "pass"
[[rule]]
name = "published"
protocol = "tcp"
destination_port = 8080
action = "pass"
"#;

/// Greets whoever connects to one of these ports, and gives back every byte with all bits turned round, as
/// `lab::server` does.
const SERVER: &str = r#"
import socket, sys, threading
turned = bytes(range(255, -1, -1))
def name(address):
    host = address[0].removeprefix("::ffff:")
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
def greet(stream, client):
    stream.sendall(f"web {name(client)} {name(stream.getsockname())}\n".encode())
    while received := stream.recv(65536):
        stream.sendall(received.translate(turned))
    stream.close()
def serve(port):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=greet, args=listener.accept()).start()
for port in sys.argv[1:]:
    threading.Thread(target=serve, args=[int(port)]).start()
"#;

/// Connects to a port of each of these, and gives back every byte.
const CLIENT: &str = r#"for to; do { exec 3<>"/dev/tcp/$to/7000"; cat <&3 >&3; } & done; wait"#;

/// IPv6 for containers of Docker's own bridge, with masquerade and published ports as for IPv4.
fn both_families() -> Value {
    json!({ "ipv6": true, "fixed-cidr-v6": "fd00:17::/64", "experimental": true, "ip6tables": true })
}

struct Host {
    // Both before the lab, whose namespaces they are in.
    docker: Docker,
    _servers: Vec<Background>,
    lab: Lab,
    folder: TempDir,
}

impl Host {
    /// With xdpctl from the start: Docker switches forwarding on later.
    fn filtered(settings: &Value) -> Self {
        Self::new(settings, true)
    }

    fn new(settings: &Value, is_filtered: bool) -> Self {
        let lab = Topology::empty()
            .link(end("dst", "far", SRC0), end("dut", "in0", IN0))
            .of_hosts()
            .build();
        for (role, interface, addresses) in [
            ("dut", "in0", [format!("{HOST}/24"), format!("{HOST6}/64")]),
            ("dst", "far", [format!("{FAR}/24"), format!("{FAR6}/64")]),
        ] {
            lab.ip(role, ["link", "set", "lo", "up"]);
            for address in addresses {
                lab.ip(role, ["address", "add", &address, "dev", interface]);
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        if is_filtered {
            attach(&lab, &folder, CONFIGURATION);
        }
        let docker = Docker::start(&lab, folder.path(), settings);
        Self { docker, _servers: Vec::new(), lab, folder }
    }

    fn reload(&self, configuration: &str) {
        let path = file(&self.folder, "in0.toml", configuration);
        self.lab.xdpctl("dut", ["reload", "in0", "-c", &path]).success();
    }

    fn packets(&self, reason: &str) -> u64 {
        Sample::read(&self.lab, "dut", "in0").reasons[reason].packets
    }

    /// Runs a program in a namespace to its success.
    #[track_caller]
    fn run(&self, role: &str, program: &str, args: &[&str]) -> Output {
        let mut command = self.lab.command(role, program);
        command.args(args);
        let output = Background::start(command).wait(EVENT).expect("it ends");
        output.success();
        output
    }

    /// Starts a server at the other end, and waits until its port is open.
    #[track_caller]
    fn serve(&mut self, program: &str, args: &[&str], port: u16) {
        let mut command = self.lab.command("dst", program);
        command.args(args).current_dir(self.folder.path());
        let mut server = Background::start(command);
        let deadline = Instant::now() + patient(EVENT);
        while self.run("dst", "ss", &["-Hlnut", &format!("sport = :{port}")]).stdout.is_empty() {
            assert!(server.is_running(), "{program}: {}{}", server.stdout(), server.stderr());
            assert!(Instant::now() < deadline, "{program} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        self._servers.push(server);
    }

    /// A container fetches the bulk.
    #[track_caller]
    fn fetch(&self, container: &str, from: &str, connect_timeout: Duration) -> Output {
        let url = format!("http://{from}/bulk");
        let limit = patient(connect_timeout).as_secs_f64().to_string();
        let curl = ["curl", "-sS", "--connect-timeout", &limit, "-o", "/folder/got", &url];
        let _ = fs::remove_file(self.folder.path().join("got"));
        self.docker.try_docker(&[&["exec", container][..], &curl].concat())
    }

    /// It gets all of it.
    #[track_caller]
    fn fetches(&self, container: &str, from: &str) {
        let replies = self.packets("reply");
        self.fetch(container, from, EVENT / 2).success();
        let got = fs::read(self.folder.path().join("got")).expect("fetched");
        assert!(got == bulk(), "{container} from {from}");
        assert!(self.packets("reply") > replies, "{container} from {from}: no reply was counted");
    }

    /// Opens a connection from the other end, as soon as the server in the container listens.
    #[track_caller]
    fn open(&self, to: &str) -> Connection {
        let deadline = Instant::now() + patient(EVENT);
        loop {
            match Connection::try_open(self.lab.namespace("dst"), None, to, EVENT) {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "{to}: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nobody says anything to whoever connects to these from the other end: what he sends is dropped.
    #[track_caller]
    fn assert_silent(&self, all: &[String]) {
        let dropped = self.packets("default");
        let from = self.lab.namespace("dst");
        let opened: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = all
                .iter()
                .map(|to| scope.spawn(move || Connection::try_open(from, None, to, SHORT)))
                .collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        for (to, opened) in all.iter().zip(opened) {
            match opened {
                Ok(connection) => panic!("{to} says {:?}", connection.greeting),
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{to}: {error}"),
            }
        }
        assert!(self.packets("default") >= dropped + all.len() as u64, "{all:?}: not dropped");
    }

    /// Verdict and reason of a frame that comes in, as `explain` says.
    #[track_caller]
    fn explain(&self, frame: &Frame) -> [String; 2] {
        let hex: String = frame.build().iter().map(|byte| format!("{byte:02x}")).collect();
        let said = self.lab.xdpctl("dut", ["explain", "in0", "--packet", &hex, "--json"]);
        let said = said.success().json();
        ["verdict", "reason"].map(|key| said[key].as_str().expect("a word").to_owned())
    }
}

fn attach(lab: &Lab, folder: &TempDir, configuration: &str) {
    let path = file(folder, "in0.toml", configuration);
    lab.xdpctl("dut", ["attach", "in0", "-c", &path, "--mode", "native"]).success();
}

/// Writes a file into the folder, and returns its path.
fn file(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn bulk() -> Vec<u8> {
    (0..BULK).map(|at| (at * 7 % 251) as u8).collect()
}

/// Whoever connects next, and with what address.
#[track_caller]
fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).expect("a listener that does not block");
    let deadline = Instant::now() + patient(EVENT);
    loop {
        if let Ok((stream, client)) = listener.accept() {
            stream.set_nonblocking(false).expect("a stream that blocks");
            stream.set_read_timeout(Some(patient(EVENT))).expect("a limit");
            return (stream, SocketAddr::new(client.ip().to_canonical(), client.port()));
        }
        assert!(Instant::now() < deadline, "nobody connects");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The container gives back a byte.
#[track_caller]
fn assert_answers(stream: &mut TcpStream) {
    let mut back = [0];
    stream.write_all(&[0x35]).expect("a byte is taken");
    stream.read_exact(&mut back).expect("a byte comes back");
    assert_eq!(back, [0x35]);
}

/// What containers ask goes out under the host's address and comes back, names that they ask Docker's own
/// resolver for included. Under `replies = "judge"` nothing of it does.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_containers_ask() {
    let mut it = Host::filtered(&both_families());
    file(&it.folder, "bulk", bulk());
    it.serve("python3", &["-m", "http.server", "--bind", "::", "80"], 80);
    let zone = format!(
        "server:\n  interface: {FAR}\n  access-control: 0.0.0.0/0 allow\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"/\"\n  pidfile: \"\"\n  use-syslog: no\n  module-config: \"iterator\"\n  \
         local-zone: \".\" static\n  local-data: \"www.far.example. A {FAR}\"\n  \
         local-data: \"www6.far.example. AAAA {FAR6}\"\nremote-control:\n  control-enable: no\n"
    );
    let zone = file(&it.folder, "unbound.conf", zone);
    it.serve("unbound", &["-d", "-c", &zone], 53);

    // Containers of Docker's bridge ask name servers themselves; for those of other networks Docker does.
    it.docker.docker(&["network", "create", "--ipv6", "--subnet", "fd00:18::/64", "other"]);
    for network in ["bridge", "other"] {
        let options = ["--network", network, "--dns", FAR];
        it.docker.run(network, &options, &["sleep", "infinity"]);
        let resolvers = it.docker.docker(&["exec", network, "cat", "/etc/resolv.conf"]).stdout;
        let resolver = if network == "bridge" { FAR } else { "127.0.0.11" };
        assert!(resolvers.contains(&format!("nameserver {resolver}\n")), "{resolvers}");
        for from in [FAR, &format!("[{FAR6}]"), "www.far.example", "www6.far.example"] {
            it.fetches(network, from);
        }
        for server in [FAR, FAR6] {
            let ping = ["exec", network, "ping", "-n", "-c", "1", "-W", "5", server];
            it.docker.docker(&ping);
        }
    }

    it.reload(&CONFIGURATION.replace("replies = \"pass\"", "replies = \"judge\""));
    for from in [FAR, &format!("[{FAR6}]")] {
        let (dropped, replies) = (it.packets("default"), it.packets("reply"));
        // Could not connect in time.
        it.fetch("bridge", from, Duration::from_secs(1)).expect_status(28);
        assert!(it.packets("default") > dropped, "{from}");
        assert_eq!(it.packets("reply"), replies, "{from}");
    }
    it.reload(CONFIGURATION);
    for from in [FAR, &format!("[{FAR6}]")] {
        it.fetches("bridge", from);
    }
}

/// A connection of a container goes on while rulesets are loaded and another container is started again. What
/// is forged beside it is dropped.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_connection_of_a_container() {
    let it = Host::filtered(&both_families());
    let listener = it.lab.namespace("dst").enter(|| TcpListener::bind("[::]:7000"));
    let listener = listener.expect("a listener");
    it.docker.run("asker", &[], &["bash", "-c", CLIENT, "bash", FAR, FAR6]);
    it.docker.run("web", &["--publish", "8080:80"], &["python3", "-c", SERVER, "80"]);
    it.open(&format!("{HOST}:8080"));

    let connections = |what: &str| {
        let mut both = [accept(&listener), accept(&listener)];
        both.sort_by_key(|(_, client)| client.is_ipv6());
        let from = both.each_ref().map(|(_, client)| client.ip());
        let hosts: [IpAddr; 2] = [HOST, HOST6].map(|host| host.parse().expect("an address"));
        assert_eq!(from, hosts, "{what}: whom the other end sees");
        both
    };
    let mut both = connections("at first");
    both.iter_mut().for_each(|(stream, _)| assert_answers(stream));

    let port = both[0].1.port();
    let answer = |source, from, to| tcp4(source, HOST, from, to).flags(ACK);
    let words = |verdict: &str, reason: &str| [verdict.to_owned(), reason.to_owned()];
    assert_eq!(it.explain(&answer(FAR, 7000, port)), words("pass", "reply"));
    assert_eq!(it.explain(&answer(FAR, 7000, port).flags(SYN)), words("drop", "default"));
    let forged =
        [answer(FAR, 7000, port ^ 1), answer(FAR, 7001, port), answer("192.0.2.8", 7000, port)];
    let dropped = it.packets("default");
    let far = it.lab.port("dst", "far");
    for frame in &forged {
        assert_eq!(it.explain(frame), words("drop", "default"), "{frame:?}");
        far.send(&frame.build());
    }
    let deadline = Instant::now() + patient(EVENT);
    while it.packets("default") < dropped + 3 {
        assert!(Instant::now() < deadline, "what is forged is not dropped");
    }

    for number in 0..3 {
        it.reload(&CONFIGURATION.replace("8080", &format!("[8080, {number}]")));
        both.iter_mut().for_each(|(stream, _)| assert_answers(stream));
    }
    it.docker.restart("web");
    it.open(&format!("{HOST}:8080"));
    both.iter_mut().for_each(|(stream, _)| assert_answers(stream));
    it.docker.restart("asker");
    let mut both = connections("after a restart");
    both.iter_mut().for_each(|(stream, _)| assert_answers(stream));
}

/// A published port is open by a rule for the host's port, and nothing else is that Docker would let in. Docker
/// forwards to it (and those that come by IPv6 are served by its proxy, unless it has IPv6 for containers).
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn who_reaches_a_published_port() {
    let mut without_proxy = both_families();
    without_proxy["userland-proxy"] = json!(false);
    for (settings, has_proxy) in [(json!({}), true), (without_proxy, false)] {
        let it = Host::new(&settings, false);
        let ports = ["--publish", "8080:80", "--publish", "8081:81"];
        it.docker.run("web", &ports, &["python3", "-c", SERVER, "80", "81"]);
        // Who listens there without it is Docker, which takes the port.
        let listens = it.run("dut", "ss", &["-Hlntp", "sport = :8080"]).stdout;
        assert_eq!(listens.contains("docker-proxy"), has_proxy, "{settings}: {listens}");
        it.lab.ip("dst", ["route", "add", "172.17.0.0/16", "via", HOST]);

        let published = [format!("{HOST}:8080"), format!("[{HOST6}]:8080")];
        let others = [
            format!("{HOST}:8081"),
            format!("[{HOST6}]:8081"),
            format!("{CONTAINER}:80"),
            format!("{CONTAINER}:81"),
        ];
        for to in published.iter().chain(&others) {
            it.open(to);
        }
        attach(&it.lab, &it.folder, CONFIGURATION);
        let clients = [FAR, if has_proxy { GATEWAY } else { FAR6 }];
        for (to, client) in published.iter().zip(clients) {
            let connection = it.open(to);
            assert_eq!(connection.greeting.client.ip().to_string(), client, "{settings}: {to}");
            connection.exchange(300_000, 3);
        }
        it.assert_silent(&others);

        // The rule judges packets as they come in, before Docker changes their addresses and ports.
        let mut both = published.each_ref().map(|to| it.open(to));
        it.reload(&CONFIGURATION.replace("8080", "80"));
        assert!(both.iter_mut().all(Connection::answers), "{settings}");
        it.assert_silent(&published);
        it.reload(CONFIGURATION);
        assert!(both.iter_mut().all(Connection::answers), "{settings}");
        it.docker.restart("web");
        for to in &published {
            it.open(to).exchange(300_000, 5);
        }
        it.assert_silent(&others);
    }
}
