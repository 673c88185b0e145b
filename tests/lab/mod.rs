//! The test lab: network namespaces joined by veth pairs, in which the real `xdpctl` filters real
//! frames.
//!
//! Every [`Lab`] has its own namespaces, and xdpctl keeps pins and run-time state for each
//! namespace separately, so tests run side by side. Nothing outside the lab's namespaces is
//! touched, and dropping the lab removes everything, also when a test panics.
//!
//! The standard topology has the device under test in the middle:
//!
//! ```text
//!  netns src          netns dut           netns dst
//!    src0 ────────────── in0
//!                        out0 ─────────────── dst0
//!                        out1 ─────────────── dst1    (Topology::two_outputs)
//! ```
//!
//! Links have fixed MAC addresses, see [`SRC0`] and its neighbours. They carry nothing but what the
//! test sends: IPv6 and ARP are off, and so is every offload that would change bytes on the way.
//!
//! A frame that XDP *redirects or bounces* into a veth is lost unless the other end of the pair
//! carries an XDP program as well. A test that expects such frames attaches xdpctl with an empty
//! configuration there ([`bench::Bench::open_gates`]).
#![allow(dead_code, unused_imports, reason = "every test target uses its own part of the lab")]

pub mod balancer;
pub mod bench;
pub mod capture;
pub mod checksum;
pub mod dns;
pub mod facts;
pub mod frame;
mod namespace;
mod nics;
pub mod patience;
mod port;
mod process;
pub mod program;
mod sample;
pub mod server;
pub mod tagged;
mod traffic;
mod tun;
pub mod tunnel;

use std::ffi::OsStr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

pub use namespace::Namespace;
pub use pnet_base::MacAddr;
pub use port::{Port, hex};
pub use process::{Background, Output};
pub use sample::{Count, Difference, Sample};
pub use traffic::Traffic;
pub use tun::Tun;

/// Has this thread send from one CPU, where the frames are judged too.
pub fn stay_on_this_cpu() {
    let mut cpu = CpuSet::new();
    cpu.set(sched_getcpu().expect("a CPU")).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &cpu).expect("set");
}

/// The first link: `src0` in `src`, `in0` in `dut`.
pub const SRC0: MacAddr = MacAddr(0x02, 0, 0, 0, 1, 1);
pub const IN0: MacAddr = MacAddr(0x02, 0, 0, 0, 1, 2);
/// The second link: `dst0` in `dst`, `out0` in `dut`.
pub const DST0: MacAddr = MacAddr(0x02, 0, 0, 0, 2, 1);
pub const OUT0: MacAddr = MacAddr(0x02, 0, 0, 0, 2, 2);
/// The third link, where there is one: `dst1` in `dst`, `out1` in `dut`.
pub const DST1: MacAddr = MacAddr(0x02, 0, 0, 0, 3, 1);
pub const OUT1: MacAddr = MacAddr(0x02, 0, 0, 0, 3, 2);

/// How long a command may take before it is killed and the test fails.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub namespace: &'static str,
    pub interface: &'static str,
    pub mac: MacAddr,
}

pub const fn end(namespace: &'static str, interface: &'static str, mac: MacAddr) -> End {
    End { namespace, interface, mac }
}

/// What a lab consists of: links, and the namespaces that they name.
#[derive(Clone, Debug)]
pub struct Topology {
    links: Vec<[End; 2]>,
    mtu: u16,
    /// Of the links, how many are cables between NICs: the first ones.
    on_nics: usize,
    hosts: bool,
}

impl Topology {
    /// No link at all, to which a test adds its own.
    pub fn empty() -> Self {
        Self { links: Vec::new(), mtu: 1500, on_nics: 0, hosts: false }
    }

    /// `src0`–`in0` and `dst0`–`out0`.
    pub fn standard() -> Self {
        Self::empty()
            .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
            .link(end("dst", "dst0", DST0), end("dut", "out0", OUT0))
    }

    /// The standard topology and `dst1`–`out1`.
    pub fn two_outputs() -> Self {
        Self::standard().link(end("dst", "dst1", DST1), end("dut", "out1", OUT1))
    }

    pub fn link(mut self, one: End, other: End) -> Self {
        self.links.push([one, other]);
        self
    }

    /// The MTU of all links, 1500 unless said otherwise.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Uses cables between NICs as links, in a machine of scripts/machine.
    pub fn on_nics(self) -> Self {
        self.first_on_nics(usize::MAX)
    }

    /// Uses such cables as the first `count` links, and veth pairs as the others.
    pub fn first_on_nics(mut self, count: usize) -> Self {
        self.on_nics = count;
        self
    }

    /// Has hosts at the ends, which speak IPv6 and ARP.
    pub fn of_hosts(mut self) -> Self {
        self.hosts = true;
        self
    }

    /// Makes the namespaces and the links.
    pub fn build(self) -> Lab {
        Lab::build(self)
    }
}

/// Namespaces and links, for as long as this value lives.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    // Before the namespaces, so that the NICs are given back before the namespaces are removed.
    nics: Option<nics::Nics>,
    namespaces: Vec<Namespace>,
}

impl Lab {
    /// The standard topology.
    pub fn new() -> Self {
        Topology::standard().build()
    }

    fn build(topology: Topology) -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);

        assert!(
            nix::unistd::geteuid().is_root(),
            "kernel tests need root (network namespaces, XDP): run them as root, or leave this \
             test target out; they are never skipped"
        );
        namespace::sweep();

        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let mut roles: Vec<&'static str> = Vec::new();
        for end in topology.links.iter().flatten() {
            if !roles.contains(&end.namespace) {
                roles.push(end.namespace);
            }
        }
        // From here on, a panic drops the lab with everything that was made until then.
        let mut lab = Self { topology, nics: None, namespaces: Vec::new() };
        for role in roles {
            let name = format!("{}{}-{number}-{role}", namespace::PREFIX, std::process::id());
            lab.namespaces.push(Namespace::create(role, name));
        }
        if lab.topology.hosts {
            lab.namespaces.iter().for_each(Namespace::speak_ipv6);
        }
        if lab.topology.on_nics != 0 {
            lab.cable();
        }
        lab.make_pairs();
        lab.bring_up();
        lab
    }

    fn cable(&mut self) {
        let Self { topology, nics, namespaces } = self;
        let nics = nics.insert(nics::Nics::take());
        let on_nics = topology.links.iter().take(topology.on_nics);
        for (number, end) in on_nics.flatten().enumerate() {
            let namespace = namespaces.iter().find(|namespace| namespace.role == end.namespace);
            nics.lend(number, namespace.expect("made for the links"), end);
        }
    }

    fn make_pairs(&self) {
        let mtu = self.topology.mtu;
        for [one, other] in self.topology.links.iter().skip(self.topology.on_nics) {
            // Made inside the namespaces from the start: no link ever shows among the machine's
            // own.
            let mut add = Command::new("ip");
            add.args(["link", "add", "name", one.interface]);
            add.args(["netns", &self.namespace(one.namespace).name]);
            add.args(["mtu", &mtu.to_string(), "address", &one.mac.to_string()]);
            add.args(["type", "veth", "peer", "name", other.interface]);
            add.args(["netns", &self.namespace(other.namespace).name]);
            add.args(["mtu", &mtu.to_string(), "address", &other.mac.to_string()]);
            process::run(add, COMMAND_TIMEOUT).success();
        }
    }

    fn bring_up(&self) {
        for end in self.topology.links.iter().flatten() {
            let mut offloads = self.command(end.namespace, "ethtool");
            offloads.args(["-K", end.interface]);
            for feature in ["tx", "gso", "tso", "gro", "rxvlan", "txvlan"] {
                offloads.args([feature, "off"]);
            }
            for feature in ["rx-vlan-stag-hw-parse", "tx-vlan-stag-hw-insert"] {
                offloads.args([feature, "off"]);
            }
            let output = process::run(offloads, COMMAND_TIMEOUT);
            // NICs do not have all of these offloads: then ethtool fails, after it has switched off
            // the others.
            if self.topology.on_nics == 0 {
                output.success();
            }
            let mtu = self.topology.mtu.to_string();
            let arp = if self.topology.hosts { "on" } else { "off" };
            self.ip(end.namespace, ["link", "set", end.interface, "mtu", &mtu, "arp", arp, "up"]);
        }
        let deadline = Instant::now() + patience::patient(patience::EVENT);
        for end in self.topology.links.iter().flatten() {
            while !self.namespace(end.namespace).is_running(end.interface) {
                assert!(Instant::now() < deadline, "{} does not come up", end.interface);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The namespace of that role (`dut`, `src`, `dst`).
    pub fn namespace(&self, role: &str) -> &Namespace {
        let found = self.namespaces.iter().find(|namespace| namespace.role == role);
        found.unwrap_or_else(|| panic!("this lab has no namespace {role}"))
    }

    /// The links, as they were asked for.
    pub fn links(&self) -> &[[End; 2]] {
        &self.topology.links
    }

    /// A command that will run inside a namespace, with the machine's mounts (not under
    /// `ip netns exec`, which gives each command a fresh /sys and with it no bpffs).
    pub fn command(&self, role: &str, program: impl AsRef<OsStr>) -> Command {
        self.namespace(role).command(program)
    }

    /// Runs `ip` inside a namespace; it has to succeed.
    pub fn ip<S: AsRef<OsStr>>(&self, role: &str, args: impl IntoIterator<Item = S>) -> Output {
        let mut command = self.command(role, "ip");
        command.args(args);
        let output = process::run(command, COMMAND_TIMEOUT);
        output.success();
        output
    }

    /// Runs xdpctl inside a namespace to its end, whatever its status. After [`COMMAND_TIMEOUT`] it
    /// is killed, and the test fails.
    pub fn xdpctl<S: AsRef<OsStr>>(&self, role: &str, args: impl IntoIterator<Item = S>) -> Output {
        process::run(self.xdpctl_command(role, args), COMMAND_TIMEOUT)
    }

    /// Starts xdpctl inside a namespace; it is killed when the value is dropped.
    pub fn spawn_xdpctl<S: AsRef<OsStr>>(
        &self,
        role: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Background {
        Background::start(self.xdpctl_command(role, args))
    }

    /// A command that will run xdpctl inside a namespace.
    pub fn xdpctl_command<S: AsRef<OsStr>>(
        &self,
        role: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.command(role, env!("CARGO_BIN_EXE_xdpctl"));
        command.args(args);
        command
    }

    /// A socket that sends and receives whole frames on an interface.
    pub fn port(&self, role: &str, interface: &str) -> Port {
        Port::open(self.namespace(role), interface)
    }

    /// A tun device of that name in a namespace, switched on.
    pub fn tun(&self, role: &str, interface: &str) -> Tun {
        let tun = Tun::create(self.namespace(role), interface);
        self.ip(role, ["link", "set", interface, "up"]);
        tun
    }

    /// The interface's index in its namespace.
    pub fn ifindex(&self, role: &str, interface: &str) -> u32 {
        self.namespace(role).ifindex(interface)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Only where xdpctl keeps something: it never ran in most namespaces.
            if namespace.xdpctl_directories().iter().any(|directory| directory.exists()) {
                let command = self.xdpctl_command(namespace.role, ["detach", "--all"]);
                process::try_run(command, COMMAND_TIMEOUT);
            }
        }
        // The namespaces remove themselves when dropped, and with them what the detach left.
    }
}
