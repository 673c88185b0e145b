//! A host under `configs/host.toml`, which drops by default, and the programs that ask others from there.
//!
//! ```text
//! dut (192.0.2.1) in0 ── near hop far ── src0 src (198.51.100.9)
//! ```
//!
//! What `hop` sends to `src` may have 1,300 bytes and no more.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::{Background, Lab, MacAddr, Output, Sample, Topology, end};

const HOST: &str = "192.0.2.1";
const HOST6: &str = "2001:db8:a::1";
const HOP: &str = "192.0.2.254";
const HOP6: &str = "2001:db8:a::fe";
const FAR: &str = "198.51.100.9";
const FAR6: &str = "2001:db8:b::9";
/// How much is fetched, in bytes.
const BULK: usize = 3 << 20;

/// The host, the way, and what it asks.
struct Hosts {
    // Before the lab, whose namespaces they are in.
    _servers: Vec<Background>,
    lab: Lab,
    folder: TempDir,
}

impl Hosts {
    fn new() -> Self {
        let mac = |last| MacAddr(2, 0, 0, 0, 12, last);
        let lab = Topology::empty()
            .link(end("hop", "near", mac(1)), end("dut", "in0", mac(2)))
            .link(end("src", "src0", mac(3)), end("hop", "far", mac(4)))
            .of_hosts()
            .build();
        for (role, interface, addresses) in [
            ("dut", "in0", [format!("{HOST}/24"), format!("{HOST6}/64")]),
            ("hop", "near", [format!("{HOP}/24"), format!("{HOP6}/64")]),
            ("hop", "far", ["198.51.100.254/24".to_owned(), "2001:db8:b::fe/64".to_owned()]),
            ("src", "src0", [format!("{FAR}/24"), format!("{FAR6}/64")]),
        ] {
            lab.ip(role, ["link", "set", "lo", "up"]);
            for address in addresses {
                lab.ip(role, ["address", "add", &address, "dev", interface]);
            }
        }
        lab.ip("dut", ["route", "add", "default", "via", HOP]);
        lab.ip("dut", ["-6", "route", "add", "default", "via", HOP6]);
        // It sends no more than the link takes, and says that it takes more.
        let back =
            ["route", "add", "default", "via", "198.51.100.254", "mtu", "1300", "advmss", "1460"];
        lab.ip("src", back);
        let back = ["-6", "route", "add", "default", "via", "2001:db8:b::fe", "mtu", "1300"];
        lab.ip("src", [&back[..], &["advmss", "1440"]].concat());
        for (name, value) in [
            ("ipv4/conf/all/forwarding", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
        ] {
            lab.namespace("hop").set(name, value);
        }
        lab.ip("hop", ["link", "set", "far", "mtu", "1300"]);
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = Self { _servers: Vec::new(), lab, folder };
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/host.toml");
        let example = example.to_str().expect("UTF-8");
        let args = ["attach", "in0", "-c", example, "--mode", "native"];
        hosts.lab.xdpctl("dut", args).success();
        hosts
    }

    /// Writes a file into the folder, and returns its path.
    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, contents).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn command(&self, role: &str, program: &str, args: &[&str]) -> Command {
        let mut command = self.lab.command(role, program);
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// Runs a program on the host, to its success.
    #[track_caller]
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let command = self.command("dut", program, args);
        let output = Background::start(command).wait(EVENT).expect("it ends");
        output.success();
        output
    }

    /// Starts a server at the other end, and waits until its port is open.
    #[track_caller]
    fn serve(&mut self, program: &str, args: &[&str], port: u16) {
        let mut server = Background::start(self.command("src", program, args));
        let deadline = Instant::now() + patient(EVENT);
        loop {
            let ss = self.command("src", "ss", &["-Hlnut", &format!("sport = :{port}")]);
            let listening = Background::start(ss).wait(EVENT).expect("it ends").stdout;
            if !listening.is_empty() {
                break;
            }
            assert!(server.is_running(), "{program}: {}{}", server.stdout(), server.stderr());
            assert!(Instant::now() < deadline, "{program} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        self._servers.push(server);
    }

    fn replies(&self) -> u64 {
        Sample::read(&self.lab, "dut", "in0").reasons["reply"].packets
    }

    /// Something was let in as a reply while `work` was done.
    #[track_caller]
    fn replied<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let before = self.replies();
        let done = work();
        assert!(self.replies() > before, "{what}: no reply was counted");
        done
    }
}

/// Fetching, names and time.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn clients_of_servers() {
    let mut hosts = Hosts::new();
    let bulk: Vec<u8> = (0..BULK).map(|at| (at * 7 % 251) as u8).collect();
    hosts.file("bulk", &bulk);
    // A mirror with one package.
    let packages =
        "Package: nothing\nVersion: 1\nArchitecture: all\nFilename: nothing.deb\nSize: 1\n";
    hosts.file("Packages", packages);
    let sum = hosts.run("sha256sum", &["Packages"]).stdout;
    let (sum, length) = (sum.split(' ').next().expect("a sum"), packages.len());
    let date = "Date: Mon, 30 Nov 2026 00:00:00 UTC";
    hosts.file("Release", format!("{date}\nSHA256:\n {sum} {length} Packages\n"));
    hosts.serve("python3", &["-m", "http.server", "--bind", "::", "80"], 80);
    let zone = hosts.file(
        "unbound.conf",
        "server:\n  interface: 198.51.100.9\n  interface: 2001:db8:b::9\n  access-control: 0.0.0.0/0 allow\n  \
         access-control: ::/0 allow\n  username: \"\"\n  chroot: \"\"\n  directory: \"/\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  module-config: \"iterator\"\n  local-zone: \".\" static\n  \
         local-data: \"www.far.example. A 198.51.100.9\"\n\
         remote-control:\n  control-enable: no\n",
    );
    hosts.serve("unbound", &["-d", "-c", &zone], 53);
    for address in [FAR.to_owned(), format!("[{FAR6}]")] {
        hosts.replied("curl", || {
            hosts.run("curl", &["-sS", "-o", "got", &format!("http://{address}/bulk")])
        });
        let got = fs::read(hosts.folder.path().join("got")).expect("fetched");
        assert!(got == bulk, "curl from {address}");
    }
    for server in [FAR, FAR6] {
        for how in ["+notcp", "+tcp"] {
            let at = format!("@{server}");
            let args = ["+short", "+tries=1", "+time=5", how, &at, "www.far.example", "A"];
            let said = hosts.replied("dig", || hosts.run("dig", &args));
            assert_eq!(said.stdout.trim(), FAR, "dig {how} {at}");
        }
    }
    let sources = hosts.file("sources.list", format!("deb [trusted=yes] http://{FAR}/ ./\n"));
    let state = hosts.folder.path().join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(part)).expect("made");
    }
    let said = hosts.replied("apt-get", || {
        let options = [
            format!("Dir::Etc::sourcelist={sources}"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", state.join("lists").display()),
            format!("Dir::Cache={}", state.join("cache").display()),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::http::Proxy=DIRECT".to_owned(),
            "Debug::NoLocking=1".to_owned(),
        ];
        let mut args = vec!["update"];
        args.extend(options.iter().flat_map(|option| ["-o", option]));
        hosts.run("apt-get", &args)
    });
    assert!(!said.stdout.contains("Err:") && !said.stderr.contains("W:"), "{said:?}");
    let time = hosts.lab.namespace("src").enter(|| UdpSocket::bind(format!("{FAR}:123")));
    let time = time.expect("a socket");
    time.set_read_timeout(Some(patient(EVENT))).expect("a time-out");
    let served = thread::spawn(move || tell_the_time(&time));
    let said = hosts.replied("ntpdig", || hosts.run("ntpdig", &["-t", "5", FAR]));
    served.join().expect("it was asked");
    assert!(said.stdout.contains(FAR), "{said:?}");
    // And nobody gets in.
    let _service = Server::tcp(hosts.lab.namespace("dut"), &format!("{HOST}:3306"));
    let curl = ["-sS", "--max-time", "1", &format!("http://{HOST}:3306/")];
    let refused = Background::start(hosts.command("src", "curl", &curl)).wait(EVENT);
    assert_eq!(refused.expect("it ends").status, 28, "it takes too long");
}

/// Answers one request (RFC 5905, section 7.3).
fn tell_the_time(socket: &UdpSocket) {
    let mut asked = [0; 512];
    let (length, from) = socket.recv_from(&mut asked).expect("a request");
    assert!(length >= 48);
    let since_1900 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
        + 2_208_988_800;
    let now = [&(since_1900 as u32).to_be_bytes()[..], &[0; 4]].concat();
    // A server of version 4, at stratum 1, by GPS.
    let head = [0x24, 1, 6, 0xec, 0, 0, 0, 0, 0, 0, 0, 1, b'G', b'P', b'S', 0];
    let answer = [&head[..], &now, &asked[40..48], &now, &now].concat();
    socket.send_to(&answer, from).expect("answered");
}

/// Ways to others: pings, traces, and packets that are too big for a link.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn ways_are_found() {
    let hosts = Hosts::new();
    for (address, hop) in [(FAR, HOP), (FAR6, HOP6)] {
        let said = hosts.replied("ping", || {
            hosts.run("ping", &["-n", "-c", "3", "-i", "0.2", "-W", "5", address])
        });
        assert!(said.stdout.contains(" 0% packet loss"), "{said:?}");
        for how in [&[][..], &["-I"]] {
            let args = [&["-n", "-q", "1", "-w", "3"][..], how, &[address]].concat();
            let said = hosts.replied("traceroute", || hosts.run("traceroute", &args));
            let hops: Vec<&str> = said.stdout.lines().skip(1).collect();
            assert_eq!(hops.len(), 2, "{said:?}");
            assert!(hops[0].contains(hop) && hops[1].contains(address), "{said:?}");
        }
        let said = hosts.replied("tracepath", || hosts.run("tracepath", &["-n", address]));
        assert!(said.stdout.contains("pmtu 1300"), "{said:?}");
    }
    // The kernel forgets what tracepath has found out.
    hosts.lab.ip("dut", ["route", "flush", "cache"]);
    hosts.lab.ip("dut", ["-6", "route", "flush", "cache"]);
    for address in [format!("{FAR}:7"), format!("[{FAR6}]:7")] {
        let _server = Server::tcp(hosts.lab.namespace("src"), &address);
        Connection::open(hosts.lab.namespace("dut"), None, &address).exchange(300_000, 5);
    }
    let cached = hosts.lab.ip("dut", ["route", "get", FAR]).stdout;
    assert!(cached.contains("mtu 1300"), "{cached}");
}

/// A client whose socket is not connected.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn quic() {
    let mut hosts = Hosts::new();
    let bulk: Vec<u8> = (0..BULK).map(|at| (at * 11 % 253) as u8).collect();
    hosts.file("bulk", &bulk);
    let request = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=far.example";
    hosts.run("openssl", &request.split(' ').collect::<Vec<_>>());
    for (address, port) in [(FAR, 4433), (FAR6, 4434)] {
        let number = port.to_string();
        hosts.serve(
            "gtlsserver",
            &["-q", "-d", ".", address, &number, "key.pem", "cert.pem"],
            port,
        );
        let into = hosts.folder.path().join(&number);
        fs::create_dir(&into).expect("made");
        let into = format!("--download={}", into.display());
        let args = ["-q", "--exit-on-all-streams-close", &into, address, &number];
        let args = [&args[..], &["https://far.example/bulk"]].concat();
        hosts.replied("QUIC", || hosts.run("gtlsclient", &args));
        let got = fs::read(hosts.folder.path().join(&number).join("bulk")).expect("fetched");
        assert!(got == bulk, "QUIC from {address}");
    }
}

/// An end of a tunnel, by WireGuard in user space: not every kernel has it.
struct Tunnel {
    interface: String,
    role: &'static str,
    public_key: String,
    process: Background,
}

impl Tunnel {
    /// The interface is up, with that address. Without a port, the kernel assigns one.
    #[track_caller]
    fn new(hosts: &Hosts, role: &'static str, port: Option<u16>, address: &str) -> Self {
        // Its socket lies where all of the machine's do.
        let interface = format!("wg{}{role}", std::process::id());
        let process = Background::start(hosts.command(role, "wireguard-go", &["-f", &interface]));
        let mut tunnel = Self { interface, role, public_key: String::new(), process };
        let deadline = Instant::now() + patient(EVENT);
        while !Path::new(&tunnel.socket()).exists() {
            let process = &mut tunnel.process;
            assert!(process.is_running(), "{}{}", process.stdout(), process.stderr());
            assert!(Instant::now() < deadline, "wireguard-go does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        let key = tunnel.run(hosts, "wg", &["genkey"]);
        let key = hosts.file(&format!("{role}.key"), key.stdout);
        let public = format!("wg pubkey < {key}");
        tunnel.public_key = tunnel.run(hosts, "sh", &["-c", &public]).stdout.trim().to_owned();
        let port = port.map(|port| port.to_string());
        let port = port.iter().flat_map(|port| ["listen-port", port]);
        let set = ["set", &tunnel.interface, "private-key", &key];
        tunnel.run(hosts, "wg", &set.into_iter().chain(port).collect::<Vec<_>>());
        hosts.lab.ip(role, ["address", "add", address, "dev", &tunnel.interface]);
        // With what is around it, a packet goes over the narrow link. IPv6 inside would take more.
        hosts.lab.ip(role, ["link", "set", &tunnel.interface, "mtu", "1200", "up"]);
        tunnel
    }

    fn socket(&self) -> String {
        format!("/var/run/wireguard/{}.sock", self.interface)
    }

    #[track_caller]
    fn run(&self, hosts: &Hosts, program: &str, args: &[&str]) -> Output {
        let output = Background::start(hosts.command(self.role, program, args)).wait(EVENT);
        let output = output.expect("it ends");
        output.success();
        output
    }

    /// Tells it of the other end, and where that is.
    #[track_caller]
    fn knows(&self, hosts: &Hosts, other: &Self, endpoint: Option<&str>) {
        let of = ["set", &self.interface, "peer", &other.public_key];
        let ways = ["allowed-ips", "10.9.0.0/24"];
        let endpoint = endpoint.iter().flat_map(|at| ["endpoint", at]);
        let args: Vec<&str> = of.into_iter().chain(ways).chain(endpoint).collect();
        self.run(hosts, "wg", &args);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let _ = self.process.wait(EVENT);
        // It does so itself, unless it was killed.
        let _ = fs::remove_file(self.socket());
    }
}

/// A tunnel from the host, whose port the kernel has assigned: its socket is not connected either.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn wireguard() {
    let hosts = Hosts::new();
    let far = Tunnel::new(&hosts, "src", Some(51_820), "10.9.0.2/24");
    for endpoint in [format!("{FAR}:51820"), format!("[{FAR6}]:51820")] {
        let near = Tunnel::new(&hosts, "dut", None, "10.9.0.1/24");
        far.knows(&hosts, &near, None);
        near.knows(&hosts, &far, Some(&endpoint));
        let said = hosts.replied("WireGuard", || {
            hosts.run("ping", &["-n", "-c", "3", "-i", "0.2", "-W", "5", "10.9.0.2"])
        });
        assert!(said.stdout.contains(" 0% packet loss"), "{said:?}");
        let _server = Server::tcp(hosts.lab.namespace("src"), "10.9.0.2:7");
        let before = hosts.replies();
        Connection::open(hosts.lab.namespace("dut"), None, "10.9.0.2:7").exchange(BULK, 13);
        // What comes back has that many bytes.
        assert!(hosts.replies() - before > BULK as u64 / 1_200, "by {endpoint}");
    }
}
