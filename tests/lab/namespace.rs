//! A named network namespace, and doing work inside it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::patience::{EVENT, patient};
use super::process;

/// What the names of all lab namespaces begin with; the process id comes next.
pub const PREFIX: &str = "xc-";

/// Where iproute2 keeps named namespaces.
const NAMED: &str = "/run/netns";

/// A network namespace of the lab's own, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    /// Its part in the topology: `dut`, `src`, `dst`.
    pub role: &'static str,
    /// Its name for `ip netns`.
    pub name: String,
    /// The kernel's number for it (`SO_NETNS_COOKIE`), which it never gives out twice.
    pub cookie: u64,
    file: File,
}

impl Namespace {
    pub(super) fn create(role: &'static str, name: String) -> Self {
        let mut add = Command::new("ip");
        add.args(["netns", "add", &name]);
        process::run(add, EVENT).success();

        let opened = File::open(Path::new(NAMED).join(&name));
        let file = opened.unwrap_or_else(|error| panic!("netns {name}: {error}"));
        let mut namespace = Self { role, name, cookie: 0, file };
        namespace.cookie = namespace.enter(read_cookie);
        // Links that come later inherit this before they can send anything.
        namespace.enter(|| {
            for group in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{group}/disable_ipv6");
                match fs::write(&path, "1") {
                    // A kernel without IPv6 sends none anyway.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        panic!("{path}: {error}")
                    }
                    _ => {}
                }
            }
        });
        namespace
    }

    /// Has links that come later speak IPv6, at once: addresses are not asked about first.
    pub(super) fn speak_ipv6(&self) {
        for (name, value) in [("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "0")] {
            for group in ["all", "default"] {
                self.set(&format!("ipv6/conf/{group}/{name}"), value);
            }
        }
    }

    /// Writes a file of /proc/sys/net.
    #[track_caller]
    pub fn set(&self, file: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(file);
        let written = self.enter(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{} in {}: {error}", path.display(), self.name));
    }

    /// Runs `work` inside the namespace, on a thread of its own that ends afterwards, so that no
    /// other thread changes its namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes a socket inside the namespace, once its address is free: a command that another test starts meanwhile has
    /// a copy of each socket of this process until its program runs, those that were closed among them.
    pub fn bind<T: Send>(&self, make: impl Fn() -> io::Result<T> + Send) -> io::Result<T> {
        let deadline = Instant::now() + patient(EVENT);
        self.enter(move || {
            loop {
                match make() {
                    Err(error)
                        if error.kind() == io::ErrorKind::AddrInUse
                            && Instant::now() < deadline =>
                    {
                        thread::sleep(Duration::from_millis(5));
                    }
                    made => return made,
                }
            }
        })
    }

    /// A command that will run inside the namespace and keep the mounts of this process. Signals
    /// end it as they end a command in a terminal: SIGINT, SIGQUIT and SIGHUP are reset, because
    /// the tests may run as a shell's background job or under nohup(1), which ignore them, and
    /// children inherit that.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // The command owns a descriptor, as it may run after the lab is gone.
        let file = self.file.try_clone().expect("dup");
        let mut command = Command::new(program);
        command.env("NO_COLOR", "1").env("LC_ALL", "C");
        // SAFETY: between fork and exec the closure only makes system calls, which are
        // async-signal-safe: setns(2) on a descriptor that the closure owns, and sigaction(2)
        // without a handler. It allocates nothing.
        unsafe {
            command.pre_exec(move || {
                for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
                    signal(ignored, SigHandler::SigDfl)?;
                }
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
            });
        }
        command
    }

    pub fn ifindex(&self, interface: &str) -> u32 {
        self.enter(|| if_nametoindex(interface))
            .unwrap_or_else(|error| panic!("{interface} in {}: {error}", self.name))
    }

    /// Whether the interface is up and so is its peer.
    pub(super) fn is_running(&self, interface: &str) -> bool {
        self.enter(|| {
            let addresses = nix::ifaddrs::getifaddrs().expect("getifaddrs");
            let running = nix::net::if_::InterfaceFlags::IFF_RUNNING;
            addresses
                .filter(|address| address.interface_name == interface)
                .any(|address| address.flags.contains(running))
        })
    }

    /// Where xdpctl keeps its pins and its state for this namespace.
    pub fn xdpctl_directories(&self) -> [PathBuf; 2] {
        xdpctl_directories(self.cookie)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name, self.cookie);
    }
}

fn xdpctl_directories(cookie: u64) -> [PathBuf; 2] {
    ["/sys/fs/bpf/xdpctl/v1", "/run/xdpctl/v1"].map(|base| Path::new(base).join(cookie.to_string()))
}

/// Removes a namespace and what xdpctl may have left for it. Best effort: the test may be panicking
/// already.
fn remove(name: &str, cookie: u64) {
    for directory in xdpctl_directories(cookie) {
        if directory.exists()
            && let Err(error) = fs::remove_dir_all(&directory)
        {
            eprintln!("{}: {error}", directory.display());
        }
    }
    let mut delete = Command::new("ip");
    delete.args(["netns", "delete", name]);
    process::try_run(delete, EVENT);
}

/// The cookie of the namespace that the calling thread is in.
fn read_cookie() -> u64 {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .expect("a socket to ask for the namespace's cookie");
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `cookie`, and both outlive the
    // call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "SO_NETNS_COOKIE: {}", io::Error::last_os_error());
    cookie
}

/// Removes the namespaces that killed test processes left. Does so once in each test process.
pub fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(entries) = fs::read_dir(NAMED) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(process) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next())
            else {
                continue;
            };
            let is_number = process.parse::<u32>().is_ok();
            if !is_number || Path::new("/proc").join(process).exists() {
                continue;
            }
            if let Ok(file) = File::open(entry.path()) {
                // A namespace that was left half made cannot be entered, but its name is removed.
                let cookie = thread::spawn(move || {
                    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).ok().map(|()| read_cookie())
                });
                remove(&name, cookie.join().ok().flatten().unwrap_or(0));
            }
        }
    });
}
