//! A kernel that refuses one call: a command runs under a seccomp filter that hands its calls to
//! this process (seccomp_unotify(2)), which lets all of them go on but one.

use std::fs::{self, File};
use std::io;
use std::mem::{self, offset_of};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::slice;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xdpctl::datapath::sys::bpf;

use crate::lab::{Background, Output};

/// How long a command may take, however many of its calls are looked at.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What a call is about. Calls are counted for each kind separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// bpf(2).
    Bpf,
    /// Memory of a map.
    Memory,
    /// Sockets and what is asked through them: netlink, ethtool, the namespace's cookie.
    Network,
    /// Files and directories: bpffs, run-time state, configurations, /proc; mounts.
    Files,
}

/// After this time without a call it is checked whether the command has ended.
const GLANCE: Duration = Duration::from_millis(100);

/// The name of the call that asks the kernel for this host's addresses.
pub const ASKED_FOR_ADDRESSES: &str = "sendto for addresses";

/// In the place of an errno: the command is killed.
const KILL: i32 = 0;

/// One call of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: Kind,
    /// What it does and to what, without anything that differs between runs.
    pub name: String,
}

/// The call that is refused: the `nth` of its kind, from 0.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub kind: Kind,
    pub nth: usize,
    pub errno: i32,
}

/// Calls of a name before each of which the test does something.
struct Moment<'a> {
    kind: Kind,
    name: &'a str,
    act: &'a mut dyn FnMut() -> Option<i32>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub output: Output,
    /// All calls that were looked at; empty where one was to be refused.
    pub calls: Vec<Call>,
    /// The call that was refused, if the command came so far.
    pub refused: Option<Call>,
}

/// The calls that are looked at, by what they are about.
const BPF: &[libc::c_long] = &[libc::SYS_bpf];
const MEMORY: &[libc::c_long] = &[libc::SYS_mmap];
const NETWORK: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_ioctl,
];
const FILES: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchmod,
    libc::SYS_getdents64,
    libc::SYS_flock,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

impl Kind {
    pub const ALL: [Self; 4] = [Self::Bpf, Self::Memory, Self::Network, Self::Files];

    const fn calls(self) -> &'static [libc::c_long] {
        match self {
            Self::Bpf => BPF,
            Self::Memory => MEMORY,
            Self::Network => NETWORK,
            Self::Files => FILES,
        }
    }
}

/// Runs a command to its end; one of its calls may be refused.
#[track_caller]
pub fn run(command: Command, refusal: Option<Refusal>) -> Ran {
    supervise(command, refusal, None)
}

/// Runs a command to its end, and refuses the first call of that name, which has to come.
#[track_caller]
pub fn run_refusing(command: Command, kind: Kind, name: &str, errno: i32) -> Ran {
    let ran = supervise(command, None, Some(Moment { kind, name, act: &mut || Some(errno) }));
    assert!(ran.refused.is_some(), "no call {name} in {ran:#?}");
    ran
}

/// Runs a command to its end, and does something just before each call of that name.
#[track_caller]
pub fn run_with(command: Command, kind: Kind, name: &str, mut act: impl FnMut()) -> Ran {
    let mut done = false;
    let mut act = || {
        act();
        done = true;
        None
    };
    let ran = supervise(command, None, Some(Moment { kind, name, act: &mut act }));
    assert!(done, "no call {name} in {ran:#?}");
    ran
}

/// Runs a command, and kills it just before its call number `nth` of that name, from 0, which has to
/// come.
#[track_caller]
pub fn run_killed(command: Command, kind: Kind, name: &str, nth: usize) {
    let mut calls = 0..=nth;
    let mut act = || {
        calls.next();
        calls.is_empty().then_some(KILL)
    };
    let ran = supervise(command, None, Some(Moment { kind, name, act: &mut act }));
    assert!(ran.refused.is_some() && ran.output.status == 137, "no call {name} in {ran:#?}");
}

#[track_caller]
fn supervise(mut command: Command, refusal: Option<Refusal>, moment: Option<Moment<'_>>) -> Ran {
    // Cargo sets it, and with it the dynamic linker would search many directories.
    command.env_remove("LD_LIBRARY_PATH");
    let kinds = match (&refusal, &moment) {
        (Some(refusal), _) => slice::from_ref(&refusal.kind),
        (None, Some(moment)) => slice::from_ref(&moment.kind),
        (None, None) => &Kind::ALL[..],
    };
    let filter = filter(kinds);
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated: the filter
    // was made before. All that the closure uses is its own.
    unsafe {
        command.pre_exec(move || {
            let listener = install(&filter)?;
            send_descriptor(&theirs, &listener)
        });
    }
    let mut child = Background::start(command);
    let listener = receive_descriptor(&ours);
    let mut supervisor =
        Supervisor { listener, refusal, moment, calls: Vec::new(), refused: None, seen: 0 };
    let deadline = Instant::now() + TIMEOUT;
    while supervisor.next(&mut child, deadline) {}
    let output = child.wait(deadline.saturating_duration_since(Instant::now()));
    let Supervisor { calls, refused, .. } = supervisor;
    let output =
        output.unwrap_or_else(|| panic!("it hangs, with {refused:?} refused ({refusal:?})"));
    Ran { output, calls, refused }
}

/// A filter that returns `SECCOMP_RET_USER_NOTIF` for calls of these kinds and lets others go on,
/// among them large reads: aya reads the kernel's megabytes of type information in a thousand of
/// these.
fn filter(kinds: &[Kind]) -> Vec<libc::sock_filter> {
    const LARGE: u32 = 16 << 10;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset: usize| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32);
    let jump = |operation: u32, k: u32, yes: usize, no: usize| libc::sock_filter {
        code: (libc::BPF_JMP | operation | libc::BPF_K) as u16,
        jt: yes as u8,
        jf: no as u8,
        k,
    };
    // The lower half of the third argument: the size of a read.
    let size = offset_of!(libc::seccomp_data, args) + 16;
    let size = if cfg!(target_endian = "big") { size + 4 } else { size };
    let calls: Vec<libc::c_long> = kinds.iter().flat_map(|kind| kind.calls()).copied().collect();
    let mut filter = vec![load(offset_of!(libc::seccomp_data, nr))];
    let others = calls.iter().filter(|&&call| call != libc::SYS_read);
    let left = others.clone().count();
    if calls.contains(&libc::SYS_read) {
        filter.push(jump(libc::BPF_JEQ, libc::SYS_read as u32, 0, 2));
        filter.push(load(size));
        filter.push(jump(libc::BPF_JGT, LARGE, left, left + 1));
    }
    for (nth, &call) in others.enumerate() {
        filter.push(jump(libc::BPF_JEQ, call as u32, left - nth, 0));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    filter
}

/// Puts the calling thread, and all its children, under the filter.
fn install(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program, which is as long as it says, and writes nothing. What it
    // returns is a new descriptor, closed on exec.
    unsafe {
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(listener as i32))
    }
}

/// Room for one descriptor beside a message.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// Makes the call that sends or receives a message of one byte with a descriptor. sendmsg(2) must
/// not be among the calls that are looked at: it sends the descriptor on which they are answered.
fn with_message<T>(control: &mut Control, call: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: a msghdr of zeros is one without anything.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    call(&mut message)
}

fn send_descriptor(socket: &UnixStream, descriptor: &OwnedFd) -> io::Result<()> {
    let mut control = Control([0; 24]);
    with_message(&mut control, |message| {
        // SAFETY: the control buffer has room for a header and one descriptor; the message and what
        // it names live through the call.
        let sent = unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<i32>().write_unaligned(descriptor.as_raw_fd());
            libc::sendmsg(socket.as_raw_fd(), message, 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    })
}

fn receive_descriptor(socket: &UnixStream) -> OwnedFd {
    let mut control = Control([0; 24]);
    with_message(&mut control, |message| {
        // SAFETY: as in `send_descriptor`; a descriptor that is received is this process's own.
        unsafe {
            let received = libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC);
            let header = libc::CMSG_FIRSTHDR(message);
            assert!(received == 1 && !header.is_null(), "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
        }
    })
}

struct Supervisor<'a> {
    listener: OwnedFd,
    refusal: Option<Refusal>,
    moment: Option<Moment<'a>>,
    calls: Vec<Call>,
    refused: Option<Call>,
    /// Calls of the refusal's kind so far, up to the one that is refused.
    seen: usize,
}

impl Supervisor<'_> {
    /// Answers the next call; false where there are no more, or no time.
    fn next(&mut self, child: &mut Background, deadline: Instant) -> bool {
        let fd = self.listener.as_raw_fd();
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.min(GLANCE).as_millis() as i32) };
        if ready == 0 && !left.is_zero() {
            // Linux 6.1 reports that no process is left only after the command was waited for.
            return child.is_running();
        }
        if ready <= 0 || poll.revents & libc::POLLIN == 0 {
            return ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        }
        // SAFETY: structures of integers, which the kernel wants zeroed and fills; both live through
        // the calls.
        unsafe {
            let mut asked: libc::seccomp_notif = mem::zeroed();
            if libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut asked) < 0 {
                // Its thread has just ended.
                return true;
            }
            let refused = self.judge(&asked);
            if refused == Some(KILL) {
                child.signal(Signal::SIGKILL);
                return true;
            }
            let mut answer: libc::seccomp_notif_resp = mem::zeroed();
            answer.id = asked.id;
            match refused {
                Some(errno) => answer.error = -errno,
                None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            }
            libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw mut answer);
        }
        true
    }

    fn judge(&mut self, asked: &libc::seccomp_notif) -> Option<i32> {
        let process = Process(asked.pid);
        let Some(refusal) = self.refusal else {
            let call = process.describe(&asked.data)?;
            self.calls.push(call.clone());
            let moment = self.moment.as_mut().filter(|moment| moment.name == call.name)?;
            if self.refused.is_some() {
                return None;
            }
            let errno = (moment.act)()?;
            self.refused = Some(call);
            return Some(errno);
        };
        if self.seen > refusal.nth {
            return None;
        }
        // Describing a bpf(2) call takes longest, and is done only for the one that is refused.
        let counts = refusal.kind == Kind::Bpf || process.describe(&asked.data).is_some();
        self.seen += usize::from(counts);
        (counts && self.seen > refusal.nth).then(|| {
            self.refused = process.describe(&asked.data);
            refusal.errno
        })
    }
}

/// A thread that waits in a call.
struct Process(u32);

impl Process {
    /// What it calls; `None` for calls that are not looked at: those of the dynamic linker and the
    /// standard library before and after `main`, and those on pipes.
    fn describe(&self, data: &libc::seccomp_data) -> Option<Call> {
        let call = |kind, name: String| Some(Call { kind, name });
        let args = data.args;
        let path = |nth: usize| self.path(args[nth]);
        let at = |nth: usize| self.path_at(args[nth] as i32, args[nth + 1]);
        let file = |name: &str, path: Option<String>| {
            let path = path.filter(|path| is_looked_at(path))?;
            call(Kind::Files, format!("{name} {}", without_numbers(&path)))
        };
        match libc::c_long::from(data.nr) {
            libc::SYS_bpf => call(Kind::Bpf, self.bpf(args[0], args[1])),
            libc::SYS_mmap => {
                let what = self.descriptor(args[4] as i32)?;
                what.contains("bpf-map").then(|| Call {
                    kind: Kind::Memory,
                    name: format!("mmap {}", self.map_name(args[4] as u32)),
                })
            }
            libc::SYS_socket => {
                let family = match args[0] as i32 {
                    libc::AF_NETLINK => "netlink",
                    libc::AF_UNIX => "unix",
                    _ => "other",
                };
                call(Kind::Network, format!("socket {family}"))
            }
            libc::SYS_bind => call(Kind::Network, "bind".to_owned()),
            libc::SYS_sendto => call(Kind::Network, self.sent(args[1]).to_owned()),
            libc::SYS_recvfrom => call(Kind::Network, "recvfrom".to_owned()),
            libc::SYS_getsockopt => call(Kind::Network, "getsockopt".to_owned()),
            libc::SYS_getsockname => call(Kind::Network, "getsockname".to_owned()),
            // SIOCETHTOOL, include/uapi/linux/sockios.h.
            libc::SYS_ioctl if args[1] == 0x8946 => call(Kind::Network, "ethtool".to_owned()),
            libc::SYS_openat => file("open", at(0)),
            libc::SYS_mkdirat => file("mkdir", at(0)),
            libc::SYS_unlinkat => file("unlink", at(0)),
            libc::SYS_renameat | libc::SYS_renameat2 => file("rename", at(0)),
            libc::SYS_statx | libc::SYS_newfstatat => file("stat", at(0)),
            libc::SYS_readlinkat => file("readlink", at(0)),
            libc::SYS_fchmodat => file("chmod", at(0)),
            libc::SYS_fstat => file("stat", self.descriptor(args[0] as i32)),
            libc::SYS_fstatfs => file("statfs", self.descriptor(args[0] as i32)),
            libc::SYS_fchmod => file("chmod", self.descriptor(args[0] as i32)),
            libc::SYS_getdents64 => file("list", self.descriptor(args[0] as i32)),
            libc::SYS_flock => file("lock", self.descriptor(args[0] as i32)),
            libc::SYS_read => file("read", self.descriptor(args[0] as i32)),
            libc::SYS_write => file("write", self.descriptor(args[0] as i32)),
            libc::SYS_mount => file("mount", path(1)),
            libc::SYS_unshare => call(Kind::Files, "unshare".to_owned()),
            libc::SYS_setns => call(Kind::Files, "setns".to_owned()),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => file("open", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => file("mkdir", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rmdir | libc::SYS_unlink => file("unlink", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => file("rename", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat | libc::SYS_lstat => file("stat", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_readlink => file("readlink", path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chmod => file("chmod", path(0)),
            _ => None,
        }
    }

    /// What it sends: netlink's message type is behind the length (struct nlmsghdr, include/uapi/linux/netlink.h).
    fn sent(&self, message: u64) -> &'static str {
        const RTM_GETADDR: u16 = 22;
        let is_question = self.memory(message + 4, 2) == RTM_GETADDR.to_ne_bytes();
        if is_question { ASKED_FOR_ADDRESSES } else { "sendto" }
    }

    /// A bpf(2) command and what it is about. The offsets are those of `union bpf_attr`,
    /// include/uapi/linux/bpf.h.
    fn bpf(&self, command: u64, attributes: u64) -> String {
        let word = |offset: u64| {
            let bytes = self.memory(attributes + offset, 4);
            bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let text = |offset: u64| {
            let bytes = self.memory(attributes + offset, 16);
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let pinned = || {
            let bytes = self.memory(attributes, 8);
            let address = bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            without_numbers(&self.path(address).unwrap_or_default())
        };
        match command {
            0 => format!("MAP_CREATE {} ({})", text(28), word(0)),
            1 => format!("MAP_LOOKUP_ELEM {}", self.map_name(word(0))),
            2 => format!("MAP_UPDATE_ELEM {}", self.map_name(word(0))),
            3 => format!("MAP_DELETE_ELEM {}", self.map_name(word(0))),
            5 => format!("PROG_LOAD {}", text(48)),
            6 => format!("OBJ_PIN {}", pinned()),
            7 => format!("OBJ_GET {}", pinned()),
            13 => "PROG_GET_FD_BY_ID".to_owned(),
            14 => "MAP_GET_FD_BY_ID".to_owned(),
            15 => "OBJ_GET_INFO_BY_FD".to_owned(),
            18 => "BTF_LOAD".to_owned(),
            24 => format!("MAP_LOOKUP_BATCH {}", self.map_name(word(36))),
            26 => format!("MAP_UPDATE_BATCH {}", self.map_name(word(36))),
            27 => format!("MAP_DELETE_BATCH {}", self.map_name(word(36))),
            28 => format!("LINK_CREATE on {}", word(4)),
            29 => "LINK_UPDATE".to_owned(),
            34 => "LINK_DETACH".to_owned(),
            other => format!("command {other}"),
        }
    }

    /// The name of a map by one of the process's descriptors.
    fn map_name(&self, fd: u32) -> String {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.0));
        let info = info.unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok());
        let map = id.and_then(|id| bpf::map_by_id(id).ok());
        map.and_then(|map| bpf::map_info(map).ok()).map_or_else(String::new, |info| info.name)
    }

    fn memory(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let memory = File::open(format!("/proc/{}/mem", self.0));
        let read = memory.and_then(|memory| memory.read_at(&mut bytes, address));
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// A path in its memory.
    fn path(&self, address: u64) -> Option<String> {
        // Nothing may be mapped beyond the end of the page.
        let page = 4096 - address % 4096;
        let mut bytes = self.memory(address, page as usize);
        if !bytes.contains(&0) {
            bytes.extend(self.memory(address + page, 4096));
        }
        let end = bytes.iter().position(|&byte| byte == 0)?;
        String::from_utf8(bytes[..end].to_vec()).ok()
    }

    /// A path that may be below a directory, or be that of a descriptor itself.
    fn path_at(&self, directory: i32, address: u64) -> Option<String> {
        let path = self.path(address)?;
        if path.starts_with('/') || directory == libc::AT_FDCWD {
            return Some(path);
        }
        let directory = self.descriptor(directory)?;
        Some(if path.is_empty() { directory } else { format!("{directory}/{path}") })
    }

    fn descriptor(&self, fd: i32) -> Option<String> {
        if fd < 0 {
            return None;
        }
        let path = fs::read_link(format!("/proc/{}/fd/{fd}", self.0)).ok()?;
        Some(path.to_string_lossy().into_owned())
    }
}

/// Whether xdpctl itself uses the path, and not only the libraries below it.
fn is_looked_at(path: &str) -> bool {
    const LOOKED_AT: [&str; 5] =
        ["/tmp/", "/run", "/sys/fs/bpf", "/sys/devices", "/proc/sys/net/ipv4/tcp_syncookies"];
    let process = path.strip_prefix("/proc/").is_some_and(|rest| {
        rest.starts_with("self") || rest.starts_with(|first: char| first.is_ascii_digit())
    });
    let machinery = ["/maps", "/cgroup"].iter().any(|end| path.ends_with(end));
    (process && !machinery) || LOOKED_AT.iter().any(|start| path.starts_with(start))
}

/// A path without the numbers in it, and without the name of a temporary directory.
fn without_numbers(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        if part.starts_with(".tmp") {
            "DIR"
        } else if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            "N"
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == 80);
const _: () = assert!(BPF.len() + MEMORY.len() + NETWORK.len() + FILES.len() < 255);
