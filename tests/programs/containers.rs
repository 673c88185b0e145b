//! A host with containers, as Docker makes it, that drops by default: a bridge, masquerade on the way out, a published
//! port, and a name server of the host's own that others ask through it.
//!
//! ```text
//! src eth0 (172.17.0.2) ── veth1 docker0 (172.17.0.1) dut in0 (192.0.2.1) ── far dst (192.0.2.9)
//! ```

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::{Background, Lab, MacAddr, Output, Sample, Topology, end};

const HOST: &str = "192.0.2.1";
const HOST6: &str = "2001:db8:b::1";
const FAR: &str = "192.0.2.9";
const FAR6: &str = "2001:db8:b::9";
const CONTAINER: &str = "172.17.0.2";
const CONTAINER6: &str = "fd00:17::2";
/// How much is fetched, in bytes.
const BULK: usize = 3 << 20;

/// What Docker has iptables do, in nftables.
const NAT: &str = r#"
table ip docker {
    chain out { type nat hook postrouting priority 100;
        ip saddr 172.17.0.0/16 oifname "in0" masquerade
    }
    chain in { type nat hook prerouting priority -100;
        iifname "in0" tcp dport 8080 dnat to 172.17.0.2:80
    }
}
table ip6 docker {
    chain out { type nat hook postrouting priority 100;
        ip6 saddr fd00:17::/64 oifname "in0" masquerade
    }
}
"#;

/// Neighbours, and the published port.
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

struct Containers {
    // Before the lab, whose namespaces they are in.
    _servers: Vec<Background>,
    lab: Lab,
    folder: TempDir,
}

impl Containers {
    fn new() -> Self {
        let mac = |last| MacAddr(2, 0, 0, 0, 13, last);
        let lab = Topology::empty()
            .link(end("src", "eth0", mac(1)), end("dut", "veth1", mac(2)))
            .link(end("dst", "far", mac(3)), end("dut", "in0", mac(4)))
            .of_hosts()
            .build();
        lab.ip("dut", ["link", "add", "docker0", "type", "bridge"]);
        lab.ip("dut", ["link", "set", "veth1", "master", "docker0"]);
        lab.ip("dut", ["link", "set", "docker0", "up"]);
        for (role, interface, addresses) in [
            ("src", "eth0", [format!("{CONTAINER}/16"), format!("{CONTAINER6}/64")]),
            ("dut", "docker0", ["172.17.0.1/16".to_owned(), "fd00:17::1/64".to_owned()]),
            ("dut", "in0", [format!("{HOST}/24"), format!("{HOST6}/64")]),
            ("dst", "far", [format!("{FAR}/24"), format!("{FAR6}/64")]),
        ] {
            lab.ip(role, ["link", "set", "lo", "up"]);
            for address in addresses {
                let args = ["address", "add", &address, "dev", interface];
                let no_dad = if address.contains(':') { &["nodad"][..] } else { &[] };
                lab.ip(role, [&args[..], no_dad].concat());
            }
        }
        lab.ip("src", ["route", "add", "default", "via", "172.17.0.1"]);
        lab.ip("src", ["-6", "route", "add", "default", "via", "fd00:17::1"]);
        let folder = tempfile::tempdir().expect("a folder");
        let it = Self { _servers: Vec::new(), lab, folder };
        let nat = it.file("nat.nft", NAT);
        it.run("dut", "nft", &["-f", &nat]);
        let configuration = it.file("in0.toml", CONFIGURATION);
        it.lab.xdpctl("dut", ["attach", "in0", "-c", &configuration]).success();
        // As Docker does: only now.
        it.lab.namespace("dut").set("ipv4/conf/all/forwarding", "1");
        it.lab.namespace("dut").set("ipv6/conf/all/forwarding", "1");
        it
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

    /// Runs a program to its success.
    #[track_caller]
    fn run(&self, role: &str, program: &str, args: &[&str]) -> Output {
        let output = Background::start(self.command(role, program, args)).wait(EVENT);
        let output = output.expect("it ends");
        output.success();
        output
    }

    /// Starts a server, and waits until its port is open.
    #[track_caller]
    fn serve(&mut self, role: &str, program: &str, args: &[&str], port: u16) {
        let mut server = Background::start(self.command(role, program, args));
        let deadline = Instant::now() + patient(EVENT);
        while self.run(role, "ss", &["-Hlnut", &format!("sport = :{port}")]).stdout.is_empty() {
            assert!(server.is_running(), "{program}: {}{}", server.stdout(), server.stderr());
            assert!(Instant::now() < deadline, "{program} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        self._servers.push(server);
    }

    /// Something was let in as a reply while `work` was done.
    #[track_caller]
    fn replied<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let replies = || Sample::read(&self.lab, "dut", "in0").reasons["reply"].packets;
        let before = replies();
        let done = work();
        assert!(replies() > before, "{what}: no reply was counted");
        done
    }

    /// A name server at the other end.
    fn serve_names(&mut self) {
        let zone = self.file(
            "unbound.conf",
            format!(
                "server:\n  interface: {FAR}\n  interface: {FAR6}\n  access-control: 0.0.0.0/0 allow\n  \
                 access-control: ::/0 allow\n  username: \"\"\n  chroot: \"\"\n  directory: \"/\"\n  \
                 pidfile: \"\"\n  use-syslog: no\n  module-config: \"iterator\"\n  local-zone: \".\" static\n  \
                 local-data: \"www.far.example. A {FAR}\"\n\
                 remote-control:\n  control-enable: no\n"
            ),
        );
        self.serve("dst", "unbound", &["-d", "-c", &zone], 53);
    }
}

/// What a container asks goes out under the host's address, and comes back.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_a_container_asks() {
    let mut it = Containers::new();
    let bulk: Vec<u8> = (0..BULK).map(|at| (at * 7 % 251) as u8).collect();
    it.file("bulk", &bulk);
    it.serve("dst", "python3", &["-m", "http.server", "--bind", "::", "80"], 80);
    it.serve_names();
    for address in [FAR.to_owned(), format!("[{FAR6}]")] {
        let url = format!("http://{address}/bulk");
        it.replied("curl", || it.run("src", "curl", &["-sS", "-o", "got", &url]));
        let got = fs::read(it.folder.path().join("got")).expect("fetched");
        assert!(got == bulk, "curl from {address}");
    }
    for server in [FAR, FAR6] {
        for how in ["+notcp", "+tcp"] {
            let at = format!("@{server}");
            let args = ["+short", "+tries=1", "+time=5", how, &at, "www.far.example", "A"];
            let said = it.replied("dig", || it.run("src", "dig", &args));
            assert_eq!(said.stdout.trim(), FAR, "dig {how} {at}");
        }
        let args = ["-n", "-c", "3", "-i", "0.2", "-W", "5", server];
        let said = it.replied("ping", || it.run("src", "ping", &args));
        assert!(said.stdout.contains(" 0% packet loss"), "{said:?}");
        let args = ["-n", "-q", "1", "-w", "3", server];
        let said = it.replied("traceroute", || it.run("src", "traceroute", &args));
        let hops: Vec<&str> = said.stdout.lines().skip(1).collect();
        assert!(hops.len() == 2 && hops[1].contains(server), "{said:?}");
    }
    let status = it.lab.xdpctl("dut", ["status", "in0", "--json"]).success().json();
    assert!(status[0]["replies"]["sent"].is_string(), "{status}");
}

/// The published port is open by a rule, and nothing else is.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn who_asks_a_container() {
    let it = Containers::new();
    let _web = Server::tcp(it.lab.namespace("src"), &format!("{CONTAINER}:80"));
    let _other = Server::tcp(it.lab.namespace("src"), &format!("{CONTAINER}:81"));
    let published = format!("{HOST}:8080");
    Connection::open(it.lab.namespace("dst"), None, &published).exchange(300_000, 3);
    let short = Duration::from_millis(500);
    it.lab.ip("dst", ["route", "add", "172.17.0.0/16", "via", HOST]);
    for to in [format!("{CONTAINER}:80"), format!("{CONTAINER}:81")] {
        let opened = Connection::try_open(it.lab.namespace("dst"), None, &to, short);
        assert!(opened.is_err(), "{to}");
    }
    // A connection that is open stays open where the rule goes.
    let mut open = Connection::open(it.lab.namespace("dst"), None, &published);
    assert!(open.answers());
    let (head, _) = CONFIGURATION.split_once("[[rule]]\nname = \"published\"").expect("the rule");
    let without = it.file("without.toml", head);
    it.lab.xdpctl("dut", ["reload", "in0", "-c", &without]).success();
    assert!(open.answers());
    assert!(Connection::try_open(it.lab.namespace("dst"), None, &published, short).is_err());
}

/// dnsmasq asks from sockets that are not connected, at ports that it chooses itself.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn dnsmasq_of_the_host() {
    let mut it = Containers::new();
    it.serve_names();
    for (port, server, ports) in
        [("5301", FAR, "--query-port=5353"), ("5302", FAR, "--min-port=1024"), ("5303", FAR6, "")]
    {
        let mut args = vec!["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv"];
        args.extend(["--no-hosts", "--pid-file=", "--user=root", "--cache-size=0"]);
        let (port_option, server_option) = (format!("--port={port}"), format!("--server={server}"));
        args.extend([&port_option, &server_option].map(String::as_str));
        args.extend(Some(ports).filter(|ports| !ports.is_empty()));
        it.serve("dut", "dnsmasq", &args, port.parse().expect("a port"));
        for asker in ["dut", "src"] {
            let at = if asker == "dut" { "@127.0.0.1" } else { "@172.17.0.1" };
            let args = ["+short", "+tries=1", "+time=5", "-p", port, at, "www.far.example", "A"];
            let said = it.replied("dnsmasq", || it.run(asker, "dig", &args));
            assert_eq!(said.stdout.trim(), FAR, "{asker} {ports}");
        }
    }
}
