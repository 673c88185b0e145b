//! Network namespaces and the veth pairs between them. The namespaces have no names and live by
//! this process's descriptors alone: however it ends, nothing is left.
//!
//! ```text
//!   generator         device            behind
//!     gen0 ──────────── dut0                        the packet filter
//!     gen1 ──────────── dut1                        the floor
//!     gen2 ──────────── dut2                        nothing, or what is measured beside the filter
//!                       out0 ──────────── end0      where both redirect to
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Command;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns, unshare};
use xdpctl::datapath::sys::bpf;

use crate::Result;

/// A network namespace without a name.
pub struct Namespace(File);

impl Namespace {
    /// The one that the calling thread is in.
    fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    fn create() -> Result<Self> {
        let made = std::thread::spawn(|| -> io::Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            // Interfaces that come later inherit this before they can say anything.
            for group in ["all", "default"] {
                match fs::write(format!("/proc/sys/net/ipv6/conf/{group}/disable_ipv6"), "1") {
                    // A kernel without IPv6 is as quiet as can be.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Self::current()
        });
        Ok(made.join().map_err(|_| "the thread that makes a network namespace panicked")??)
    }

    /// What a descriptor of it is called by other processes.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does `work` inside, on this thread.
    pub fn enter<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = Self::current()?;
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let done = work();
        setns(home.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
        done
    }
}

/// The namespaces, joined.
pub struct Lab {
    pub generator: Namespace,
    pub device: Namespace,
    behind: Namespace,
}

impl Lab {
    pub fn create() -> Result<Self> {
        let lab = Self {
            generator: Namespace::create()?,
            device: Namespace::create()?,
            behind: Namespace::create()?,
        };
        lab.join((&lab.generator, "gen0"), (&lab.device, "dut0"))?;
        lab.join((&lab.generator, "gen1"), (&lab.device, "dut1"))?;
        lab.join((&lab.generator, "gen2"), (&lab.device, GUEST))?;
        lab.join((&lab.device, "out0"), (&lab.behind, "end0"))?;
        Ok(lab)
    }

    /// Made inside the namespaces at once: no interface ever shows among the machine's own.
    fn join(&self, one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
        let path = other.0.path();
        one.0.enter(|| {
            ip(&["link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", &path])
        })?;
        for (namespace, name) in [one, other] {
            namespace.enter(|| ip(&["link", "set", name, "arp", "off", "up"]))?;
        }
        Ok(())
    }

    /// Has the device send packets to these networks on by a router at `dut0`.
    pub fn route(&self, networks: &[&str]) -> Result<()> {
        const ROUTER: &str = "10.255.0.2";
        self.device.enter(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            ip(&["addr", "replace", "10.255.0.1/24", "dev", "dut0"])?;
            let mac = "02:00:00:00:00:09";
            ip(&["neigh", "replace", ROUTER, "lladdr", mac, "dev", "dut0", "nud", "permanent"])?;
            networks
                .iter()
                .try_for_each(|to| ip(&["route", "replace", to, "via", ROUTER, "dev", "dut0"]))
        })
    }

    /// Puts a program on the interface behind the redirect target, without which it takes no
    /// frames.
    pub fn attach_behind(&self, program: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.behind.enter(|| attach(program, "end0"))
    }
}

/// An interface for others' programs.
pub const GUEST: &str = "dut2";

pub fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run ip, which iproute2 has: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ip {}: {}", arguments.join(" "), said.trim_end()).into());
    }
    Ok(())
}

/// The index of an interface of the namespace that the calling thread is in.
pub fn index(interface: &str) -> Result<u32> {
    Ok(if_nametoindex(interface).map_err(|error| format!("{interface}: {error}"))?)
}

/// Attaches a program, in the driver, to an interface of the namespace that the thread is in.
pub fn attach(program: BorrowedFd<'_>, interface: &str) -> Result<OwnedFd> {
    /// XDP_FLAGS_DRV_MODE
    const IN_DRIVER: u32 = 1 << 2;
    bpf::create_xdp_link(program, index(interface)?, IN_DRIVER)
        .map_err(|error| format!("cannot attach to {interface}: {error}").into())
}

/// What the interfaces of one namespace have counted.
pub struct InterfaceCounters(File);

impl InterfaceCounters {
    /// Of the namespace that the calling thread is in: the file stays with that one.
    pub fn open() -> Result<Self> {
        Ok(Self(File::open("/proc/thread-self/net/dev")?))
    }

    /// Frames that came in, those that an XDP program dropped among them.
    pub fn received(&mut self, interface: &str) -> Result<u64> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == interface)
            .and_then(|(_, numbers)| numbers.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| format!("no counters of {interface}").into())
    }
}
