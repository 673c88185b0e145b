//! Hosts around a load balancer: a client, backends, and between them the device under test.
//!
//! ```text
//!  Shape::Stick                              Shape::Arms
//!
//!   client ─┐                                 client ─── in0 dut out0 ─┐
//!      b1 ──┼── in0 dut                                          b1 ───┼─ (a switch)
//!      b2 ──┘                                                    b2 ───┘
//! ```
//!
//! The client is in 10.1.0.0/24 and 2001:db8:1::/64, backends are in 10.2.0.0/24 and 2001:db8:2::/64, and
//! the device under test, [`DUT`], is the first host of each and forwards. Services have addresses of:
//!
//! - [`NAT`] and [`NAT6`], to which the client's route leads over the device under test. Backends reply
//!   over it.
//! - [`DSR`] and [`DSR6`], likewise. Each backend has those addresses too, and answers from them over the
//!   wire between, past the device under test (on a stick only, where it has such a wire).

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use pnet_base::MacAddr;
use tempfile::TempDir;

use super::frame::{Frame, tcp4, tcp6, udp4, udp6};
use super::port::Port;
use super::server::{Client, Connection, Server};
use super::{End, Lab, Output, Sample, Topology, end};

pub const CLIENT: &str = "10.1.0.2";
pub const CLIENT6: &str = "2001:db8:1::2";
/// Two addresses of a service for each prefix.
pub const NAT: &str = "192.0.2.1";
pub const NAT_TOO: &str = "192.0.2.2";
pub const NAT6: &str = "2001:db8:f::1";
pub const DSR: &str = "192.0.2.129";
pub const DSR6: &str = "2001:db8:d::1";
pub const CLIENT_MAC: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 1);
pub const IN_MAC: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 2);
pub const OUT_MAC: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 3);
pub const B1_MAC: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 11);
pub const B2_MAC: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 12);
pub const BACKENDS: [&str; 2] = ["b1", "b2"];

/// The device under test's role, and its interface that clients' packets come in by.
const DUT: &str = "dut";
pub const IN: &str = "in0";
pub const OUT: &str = "out0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One interface for all.
    Stick,
    /// One for the client, and one for the backends.
    Arms,
}

/// The hosts, for as long as this value lives.
#[derive(Debug)]
pub struct Balancer {
    // Before the lab, so that they are gone before its interfaces.
    far_programs: Vec<OwnedFd>,
    lab: Lab,
    directory: TempDir,
    shape: Shape,
    attached: bool,
}

impl Balancer {
    pub fn new(shape: Shape) -> Self {
        Self::with(shape, false)
    }

    /// The same where the device under test has NICs of scripts/machine, not veth pairs.
    pub fn on_nics(shape: Shape) -> Self {
        Self::with(shape, true)
    }

    fn with(shape: Shape, on_nics: bool) -> Self {
        let port = |number: u8| MacAddr(0x02, 0, 0, 0, 8, number);
        let mut topology = Topology::empty().of_hosts();
        let input = end(DUT, IN, IN_MAC);
        topology = match shape {
            Shape::Stick => topology
                .link(end("switch", "port0", port(0)), input)
                .link(end("switch", "port1", port(1)), end("client", "wire", CLIENT_MAC)),
            Shape::Arms => topology
                .link(end("client", "wire", CLIENT_MAC), input)
                .link(end("switch", "port0", port(0)), end(DUT, OUT, OUT_MAC)),
        };
        if on_nics {
            topology = topology.first_on_nics(if shape == Shape::Stick { 1 } else { 2 });
        }
        let lab = topology
            .link(end("switch", "port2", port(2)), end("b1", "wire", B1_MAC))
            .link(end("switch", "port3", port(3)), end("b2", "wire", B2_MAC))
            .build();
        // The other ends of what frames are sent out of: see the head of this room.
        let is_far = |[_, end]: &&[End; 2]| end.namespace == DUT && !on_nics;
        let far = lab.links().iter().filter(is_far);
        let far_programs =
            far.map(|[end, _]| lab.pass_program(end.namespace, end.interface)).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let balancer = Self { far_programs, lab, directory, shape, attached: false };
        balancer.make_switch();
        balancer.make_dut();
        balancer.make_client();
        for backend in BACKENDS {
            balancer.make_backend(backend);
        }
        balancer
    }

    fn make_switch(&self) {
        let bridge = ["link", "add", "switch0", "type", "bridge", "mcast_snooping", "0"];
        self.lab.ip("switch", bridge);
        for [one, _] in self.lab.links().iter().filter(|[one, _]| one.namespace == "switch") {
            self.lab.ip("switch", ["link", "set", "dev", one.interface, "master", "switch0"]);
        }
        self.lab.ip("switch", ["link", "set", "dev", "switch0", "up"]);
        // Where the kernel has firewalls for bridges, they would look into packets, and cut off padding.
        for family in ["iptables", "ip6tables"] {
            let file = format!("bridge/bridge-nf-call-{family}");
            if Path::new("/proc/sys/net").join(&file).exists() {
                self.lab.namespace("switch").set(&file, "0");
            }
        }
    }

    fn make_dut(&self) {
        let inner = if self.shape == Shape::Stick { IN } else { OUT };
        self.addresses(DUT, IN, ["10.1.0.1/24", "2001:db8:1::1/64"]);
        self.addresses(DUT, inner, ["10.2.0.1/24", "2001:db8:2::1/64"]);
        let namespace = self.lab.namespace(DUT);
        // On a stick, the stack would tell hosts of the shorter way.
        for interface in ["all", IN] {
            namespace.set(&format!("ipv4/conf/{interface}/send_redirects"), "0");
        }
        namespace.set("ipv4/ip_forward", "1");
        namespace.set("ipv6/conf/all/forwarding", "1");
    }

    fn make_client(&self) {
        self.addresses("client", "wire", ["10.1.0.2/24", "2001:db8:1::2/64"]);
        for to in ["192.0.2.0/24", "10.2.0.0/24"] {
            self.lab.ip("client", ["route", "add", to, "via", "10.1.0.1"]);
        }
        for to in ["2001:db8:f::/64", "2001:db8:d::/64", "2001:db8:2::/64"] {
            self.lab.ip("client", ["route", "add", to, "via", "2001:db8:1::1"]);
        }
    }

    fn make_backend(&self, role: &'static str) {
        let ip = |arguments: &str| self.lab.ip(role, arguments.split_whitespace());
        let (v4, v6) = (self.address(role), self.address6(role));
        self.addresses(role, "wire", [&format!("{v4}/24"), &format!("{v6}/64")]);
        ip("link set lo up");
        ip("route add default via 10.2.0.1");
        ip("route add default via 2001:db8:2::1");
        // What leaves from an address of DSR goes to the client at once.
        ip(&format!("address add {DSR}/32 dev lo"));
        ip(&format!("address add {DSR6}/128 dev lo"));
        if self.shape == Shape::Stick {
            // Room for what the load balancer puts before a packet: the client is told by the SYN-ACK.
            ip("route add 10.1.0.0/24 dev wire advmss 1380 table 100");
            ip(&format!("rule add from {DSR} lookup 100"));
            ip("-6 route add 2001:db8:1::/64 dev wire advmss 1380 table 100");
            ip(&format!("-6 rule add from {DSR6} lookup 100"));
        }
        let namespace = self.lab.namespace(role);
        for group in ["all", "wire"] {
            namespace.set(&format!("ipv4/conf/{group}/rp_filter"), "0");
            namespace.set(&format!("ipv4/conf/{group}/arp_ignore"), "1");
            namespace.set(&format!("ipv4/conf/{group}/arp_announce"), "2");
        }
        namespace.set("ipv4/conf/default/rp_filter", "0");
    }

    fn addresses(&self, role: &str, interface: &str, addresses: [&str; 2]) {
        for address in addresses {
            self.lab.ip(role, ["address", "add", address, "dev", interface, "nodad"]);
        }
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A backend's address.
    pub fn address(&self, role: &str) -> String {
        format!("10.2.0.1{}", number(role))
    }

    pub fn address6(&self, role: &str) -> String {
        format!("2001:db8:2::1{}", number(role))
    }

    /// The interfaces that the program is attached to.
    fn interfaces(&self) -> &'static [&'static str] {
        match self.shape {
            Shape::Stick => &[IN],
            Shape::Arms => &[IN, OUT],
        }
    }

    /// Runs xdpctl in the namespace of the device under test.
    pub fn xdpctl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.lab.xdpctl(DUT, args)
    }

    /// A command that will run there, such as one that is no part of xdpctl.
    pub fn command(&self, program: &str) -> Command {
        self.lab.command(DUT, program)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a configuration for [`xdpctl`](Self::xdpctl) to name.
    pub fn write(&self, text: &str) -> PathBuf {
        let path = self.directory().join("services.toml");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Puts a configuration in force on all its interfaces: by `attach` the first time, then by
    /// `reload`.
    #[track_caller]
    pub fn attach(&mut self, configuration: &str) {
        let path = self.write(configuration);
        let path = path.to_str().expect("a path in UTF-8");
        if self.attached {
            self.xdpctl(["reload"]).success();
            return;
        }
        for interface in self.interfaces() {
            self.xdpctl(["attach", interface, "-c", path, "--mode", "native"]).success();
        }
        self.attached = true;
    }

    /// Exchanges the program too, by `attach --replace` of the configuration that was written last.
    #[track_caller]
    pub fn replace(&self) {
        let path = self.directory().join("services.toml");
        let path = path.to_str().expect("a path in UTF-8");
        for interface in self.interfaces() {
            let arguments = ["attach", interface, "--replace", "-c", path, "--mode", "native"];
            self.xdpctl(arguments).success();
        }
    }

    /// The counters of an interface.
    #[track_caller]
    pub fn sample(&self, interface: &str) -> Sample {
        Sample::read(&self.lab, DUT, interface)
    }

    /// A server on every backend, for TCP; `addresses` may contain `{4}` and `{6}` for the backend's own.
    #[track_caller]
    pub fn serve_tcp(&self, address: &str) -> Vec<Server> {
        self.serve(address, Server::tcp)
    }

    #[track_caller]
    pub fn serve_udp(&self, address: &str) -> Vec<Server> {
        self.serve(address, Server::udp)
    }

    fn serve(
        &self,
        address: &str,
        start: impl Fn(&super::Namespace, &str) -> Server,
    ) -> Vec<Server> {
        let one = |role: &&'static str| {
            let address = address.replace("{4}", &self.address(role));
            let address = address.replace("{6}", &format!("[{}]", self.address6(role)));
            start(self.lab.namespace(role), &address)
        };
        BACKENDS.iter().map(one).collect()
    }

    /// Connects from the client.
    #[track_caller]
    pub fn connect(&self, to: &str) -> Connection {
        Connection::open(self.lab.namespace("client"), None, to)
    }

    /// Whether somebody answers within a moment.
    pub fn can_connect(&self, to: &str) -> bool {
        let moment = std::time::Duration::from_millis(700);
        Connection::try_open(self.lab.namespace("client"), None, to, moment).is_ok()
    }

    /// Connects from that address of the client.
    #[track_caller]
    pub fn connect_from(&self, from: &str, to: &str) -> Connection {
        Connection::open(self.lab.namespace("client"), Some(from), to)
    }

    /// A UDP socket at the client.
    #[track_caller]
    pub fn client(&self, from: &str) -> Client {
        Client::bind(self.lab.namespace("client"), from)
    }

    /// What arrives at a host's wire.
    pub fn port(&self, role: &str) -> Port {
        self.lab.port(role, "wire")
    }

    /// Has each side know where the others are, so that the first packet is not the one that asks.
    pub fn meet(&self) {
        let inner = if self.shape == Shape::Stick { IN } else { OUT };
        let hosts = [
            (IN, CLIENT.to_owned(), CLIENT_MAC),
            (IN, CLIENT6.to_owned(), CLIENT_MAC),
            (inner, self.address("b1"), B1_MAC),
            (inner, self.address6("b1"), B1_MAC),
            (inner, self.address("b2"), B2_MAC),
            (inner, self.address6("b2"), B2_MAC),
        ];
        for (interface, address, mac) in hosts {
            let mac = mac.to_string();
            self.lab.ip(DUT, ["neigh", "replace", &address, "lladdr", &mac, "dev", interface]);
        }
    }
}

fn number(role: &str) -> &str {
    role.strip_prefix('b').expect("a backend")
}

/// Frames from the client to the device under test.
pub fn client_udp4(to: &str, source_port: u16, port: u16) -> Frame {
    from_client(udp4(CLIENT, to, source_port, port))
}

pub fn client_udp6(to: &str, source_port: u16, port: u16) -> Frame {
    from_client(udp6(CLIENT6, to, source_port, port))
}

pub fn client_tcp4(to: &str, source_port: u16, port: u16) -> Frame {
    from_client(tcp4(CLIENT, to, source_port, port))
}

pub fn client_tcp6(to: &str, source_port: u16, port: u16) -> Frame {
    from_client(tcp6(CLIENT6, to, source_port, port))
}

pub fn from_client(frame: Frame) -> Frame {
    frame.source_mac(CLIENT_MAC).destination_mac(IN_MAC)
}

/// A service with these backends.
pub fn service(name: &str, address: &str, rest: &str, backends: &[(&str, &str)]) -> String {
    let mut text = format!("[[service]]\nname = \"{name}\"\naddress = \"{address}\"\n{rest}\n");
    for (address, rest) in backends {
        text += &format!("[[service.backend]]\naddress = \"{address}\"\n{rest}\n");
    }
    text
}

/// Connects until each backend has answered, and returns the last connection to each.
#[track_caller]
pub fn to_each(lab: &Balancer, to: &str) -> [Connection; 2] {
    let mut found = [None, None];
    for _ in 0..64 {
        let connection = lab.connect(to);
        let at = usize::from(connection.greeting.server == "b2");
        found[at] = Some(connection);
        if found.iter().all(Option::is_some) {
            return found.map(|found| found.expect("just seen"));
        }
    }
    panic!("of 64 connections to {to}, all went to one backend");
}
