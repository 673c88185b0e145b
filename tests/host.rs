//! What xdpctl learns from the host and does to it, on a live kernel: needs root.
//!
//! Interfaces are in network namespaces that each test makes, and mounts in mount namespaces that
//! end with the test, so that nothing of the machine's own changes.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use aya::maps::MapData;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use xdp_common::packet::LinkType;
use xdpctl::datapath::host::bpffs::PinRoot;
use xdpctl::datapath::host::interface::{self, AttachedXdp, Interface, Mode, xdp_feature};
use xdpctl::datapath::host::netns;
use xdpctl::datapath::sys::private_dir::Error as DirError;
use xdpctl::datapath::sys::{private_dir, privilege};

#[path = "host/locks.rs"]
mod locks;
#[path = "host/per_cpu.rs"]
mod per_cpu;

/// Set for the copies of this program that tests run elsewhere.
const ROLE: &str = "XDPCTL_HOST_TEST_ROLE";

fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make network namespaces and mounts: run them as root"
    );
}

/// Runs a shell line and returns its output, which must be a success.
fn sh(line: &str) -> String {
    let output = try_sh(line);
    assert!(
        output.status.success(),
        "{line}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn try_sh(line: &str) -> Output {
    Command::new("sh").args(["-ec", line]).output().unwrap()
}

/// Gives the calling thread mounts of its own, which end with it.
fn unshare_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn mount_tmpfs(path: &Path) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// A network namespace that is removed with this value.
struct Netns {
    name: String,
}

impl Netns {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("xdpctl-host-{}-{count}", std::process::id());
        sh(&format!("ip netns add {name}"));
        Self { name }
    }

    fn ip(&self, arguments: &str) {
        sh(&format!("ip -n {} {arguments}", self.name));
    }

    /// Runs `work` in the namespace, on a thread of its own.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn interface(&self, name: &str) -> Interface {
        self.inside(|| Interface::by_name(name).unwrap())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = try_sh(&format!("ip netns del {}", self.name));
    }
}

// Commands, types and flags of bpf(2), include/uapi/linux/bpf.h and if_link.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// bpf(2) with an attribute made of 32-bit words.
///
/// # Safety
///
/// Pointers in `words` point to what the command reads and writes.
unsafe fn bpf(command: libc::c_long, words: &mut [u32]) -> io::Result<i32> {
    // SAFETY: the attribute is as long as is said; what it points to is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size_of_val(words)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn low_high<T>(pointer: *const T) -> [u32; 2] {
    let address = pointer as u64;
    if cfg!(target_endian = "big") {
        [(address >> 32) as u32, address as u32]
    } else {
        [address as u32, (address >> 32) as u32]
    }
}

/// `return XDP_PASS`.
struct PassProgram {
    fd: OwnedFd,
    id: u32,
}

impl PassProgram {
    fn load() -> Self {
        // r0 = 2; exit
        let instructions = [0x0000_0002_0000_00b7_u64, 0x95];
        let [code_low, code_high] = low_high(instructions.as_ptr());
        let [license_low, license_high] = low_high(c"GPL".as_ptr());
        let mut load = [0_u32; 18];
        load[..6].copy_from_slice(&[
            BPF_PROG_TYPE_XDP,
            instructions.len() as u32,
            code_low,
            code_high,
            license_low,
            license_high,
        ]);
        load[17] = BPF_XDP;
        // SAFETY: the instructions and the license outlive the call.
        let fd = unsafe { bpf(BPF_PROG_LOAD, &mut load) }.expect("BPF_PROG_LOAD");
        // SAFETY: the kernel has just given this descriptor to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };

        let mut info = [0_u32; 2];
        let [info_low, info_high] = low_high(info.as_mut_ptr());
        let mut query = [fd.as_raw_fd() as u32, size_of_val(&info) as u32, info_low, info_high];
        // SAFETY: `info` is as long as is said and outlives the call.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }.expect("BPF_OBJ_GET_INFO_BY_FD");
        Self { fd, id: info[1] }
    }

    /// Attaches until the returned link is dropped.
    fn attach(&self, index: u32, flags: u32) -> Link {
        let mut create = [self.fd.as_raw_fd() as u32, index, BPF_XDP, flags];
        // SAFETY: the attribute has no pointers.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &mut create) }.expect("BPF_LINK_CREATE");
        // SAFETY: the kernel has just given this descriptor to nobody else.
        Link(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Detaches when dropped. Closing the descriptor is not enough for that: a child process that
/// another test is just starting has a copy of it until it execs.
struct Link(OwnedFd);

impl Drop for Link {
    fn drop(&mut self) {
        // SAFETY: the attribute has no pointers.
        let _ = unsafe { bpf(BPF_LINK_DETACH, &mut [self.0.as_raw_fd() as u32]) };
    }
}

#[test]
fn this_machine_will_do() {
    require_root();
    privilege::require().unwrap();
    privilege::require_kernel().unwrap();
}

#[test]
fn a_veth_pair_in_one_namespace_knows_its_ends() {
    let netns = Netns::new();
    netns.ip("link add va mtu 1400 address 02:00:00:00:00:0a type veth peer name vb");
    let (a, b) = (netns.interface("va"), netns.interface("vb"));
    assert_eq!(a.kind.as_deref(), Some("veth"));
    assert_eq!(a.driver.as_deref(), Some("veth"));
    assert_eq!(a.mac, Some([2, 0, 0, 0, 0, 0x0a]));
    assert_eq!(a.mtu, 1400);
    assert_eq!((a.link, b.link), (Some(b.index), Some(a.index)));
    assert_eq!((a.link_netns, b.link_netns), (None, None));
    assert_eq!(a.link_type(), Ok(LinkType::Ethernet));
    assert!(a.xdp.is_empty());
    assert_eq!(netns.inside(|| Interface::by_index(a.index).unwrap()), a);
    let all = netns.inside(|| Interface::all().unwrap());
    assert_eq!(all.len(), 3);
    assert!(all.contains(&a) && all.contains(&b));
}

#[test]
fn a_veth_pair_across_namespaces_knows_that_its_peer_is_elsewhere() {
    let (here, there) = (Netns::new(), Netns::new());
    here.ip(&format!("link add va type veth peer name vb netns {}", there.name));
    let (a, b) = (here.interface("va"), there.interface("vb"));
    assert_eq!((a.link, b.link), (Some(b.index), Some(a.index)));
    assert!(a.link_netns.is_some() && b.link_netns.is_some());
}

#[test]
fn up_means_that_frames_can_come_in() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    let state = || {
        let a = netns.interface("va");
        (a.admin_up, a.carrier, a.up)
    };
    assert_eq!(state(), (false, false, false));
    netns.ip("link set va up");
    assert_eq!(state(), (true, false, false));
    netns.ip("link set vb up");
    assert_eq!(state(), (true, true, true));
    netns.ip("link set lo up");
    assert!(netns.interface("lo").up);
}

#[test]
fn a_macvlan_and_a_bridge_know_what_they_stand_on() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    netns.ip("link add over link va type macvlan");
    netns.ip("link add bridge0 type bridge");
    netns.ip("link set vb master bridge0");
    netns.ip("tuntap add tun0 mode tun");
    let over = netns.interface("over");
    assert_eq!(over.kind.as_deref(), Some("macvlan"));
    assert_eq!(over.link, Some(netns.interface("va").index));
    let bridge = netns.interface("bridge0");
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    assert_eq!(netns.interface("vb").master, Some(bridge.index));
    assert_eq!(bridge.link_type(), Ok(LinkType::Ethernet));
    netns.ip("tuntap add tap0 mode tap");
    assert_eq!(netns.interface("tun0").link_type(), Ok(LinkType::Raw));
    assert_eq!(netns.interface("tap0").link_type(), Ok(LinkType::Ethernet));
}

#[test]
fn offloads_follow_ethtool() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    assert!(netns.interface("va").rx_vlan_offload);
    sh(&format!("ip netns exec {} ethtool -K va rxvlan off", netns.name));
    assert!(!netns.interface("va").rx_vlan_offload);
    assert!(!netns.interface("va").lro);
}

#[test]
fn an_attached_program_is_seen_with_its_mode() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    let program = PassProgram::load();
    let index = netns.interface("va").index;
    for (flags, mode) in [(XDP_FLAGS_DRV_MODE, Mode::Native), (XDP_FLAGS_SKB_MODE, Mode::Generic)] {
        let link = netns.inside(|| program.attach(index, flags));
        let expected = AttachedXdp { mode, program_id: program.id };
        assert_eq!(netns.interface("va").xdp, [expected]);
        drop(link);
        assert_eq!(netns.interface("va").xdp, []);
    }
}

#[test]
fn a_veth_can_be_redirected_to_once_its_peer_has_a_program() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    let a = netns.interface("va");
    let Some(features) = a.xdp_features else {
        // Linux 6.1 has no way to ask.
        assert_eq!(a.has_xdp_feature(xdp_feature::BASIC), None);
        return;
    };
    assert_ne!(features & xdp_feature::BASIC, 0);
    assert_eq!(a.has_xdp_feature(xdp_feature::NDO_XMIT), Some(false));
    let program = PassProgram::load();
    let b = netns.interface("vb").index;
    let _link = netns.inside(|| program.attach(b, XDP_FLAGS_DRV_MODE));
    assert_eq!(netns.interface("va").has_xdp_feature(xdp_feature::NDO_XMIT), Some(true));
}

#[test]
fn a_name_that_is_not_there_comes_with_those_that_are() {
    let netns = Netns::new();
    netns.ip("link add uplink0 type veth peer name vb");
    let error = netns.inside(|| Interface::by_name("uplink1").unwrap_err());
    assert!(matches!(&error, interface::Error::NotFound { available, .. } if available.len() == 3));
    assert_eq!(error.to_string(), "no interface `uplink1` in this network namespace");
    assert_eq!(error.hint().unwrap(), "did you mean `uplink0`?");
}

#[test]
fn an_alternative_name_leads_to_the_name_proper() {
    let netns = Netns::new();
    netns.ip("link add va type veth peer name vb");
    netns.ip("link property add dev va altname short altname much-longer-than-a-name");
    assert_eq!(netns.interface("short").name, "va");
    assert_eq!(netns.interface("much-longer-than-a-name").name, "va");
}

#[test]
fn every_namespace_has_a_cookie_of_its_own() {
    let (one, two) = (Netns::new(), Netns::new());
    let cookies = [&one, &two].map(|netns| netns.inside(|| netns::cookie().unwrap()));
    assert_ne!(cookies[0], cookies[1]);
    assert!(!cookies.contains(&netns::cookie().unwrap()));
}

#[test]
fn directories_are_roots_alone() {
    require_root();
    let base = tempfile::tempdir().unwrap();
    let path = private_dir::create(base.path(), &["xdpctl", "v1"]).unwrap();
    assert_eq!(path, base.path().join("xdpctl/v1"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    // Again, and only to look.
    assert_eq!(private_dir::create(base.path(), &["xdpctl", "v1"]).unwrap(), path);
    assert_eq!(private_dir::existing(base.path(), &["xdpctl", "v1"]).unwrap(), Some(path.clone()));

    fs::write(path.join("file"), "").unwrap();
    private_dir::remove_if_empty(base.path(), &["xdpctl", "v1"]).unwrap();
    assert!(path.exists());
    fs::remove_file(path.join("file")).unwrap();
    private_dir::remove_if_empty(base.path(), &["xdpctl", "v1"]).unwrap();
    assert!(!base.path().join("xdpctl").exists());
}

#[test]
fn what_somebody_else_prepared_is_refused() {
    require_root();
    let base = tempfile::tempdir().unwrap();
    let create = |name: &str| private_dir::create(base.path(), &[name, "v1"]).unwrap_err();

    symlink("/tmp", base.path().join("link")).unwrap();
    assert!(matches!(create("link"), DirError::NotDirectory(_)));

    fs::write(base.path().join("file"), "").unwrap();
    assert!(matches!(create("file"), DirError::NotDirectory(_)));

    fs::DirBuilder::new().mode(0o700).create(base.path().join("open")).unwrap();
    fs::set_permissions(base.path().join("open"), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(create("open"), DirError::Open { mode: 0o770, .. }));

    fs::DirBuilder::new().mode(0o700).create(base.path().join("theirs")).unwrap();
    std::os::unix::fs::chown(base.path().join("theirs"), Some(65534), None).unwrap();
    assert!(matches!(create("theirs"), DirError::Owner { owner: 65534, .. }));
    let looked = private_dir::existing(base.path(), &["theirs"]).unwrap_err();
    assert!(matches!(looked, DirError::Owner { .. }));
}

#[test]
fn a_mount_point_is_not_removed() {
    require_root();
    let base = tempfile::tempdir().unwrap();
    let path = private_dir::create(base.path(), &["xdpctl", "v1"]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            unshare_mounts();
            mount_tmpfs(&path);
            private_dir::remove_if_empty(base.path(), &["xdpctl", "v1"]).unwrap();
            assert!(path.exists());
        });
    });
}

/// What runs in the places that [`elsewhere`] makes; on its own it does nothing.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("pin") => match PinRoot::open() {
            Ok(root) => {
                let cookie = netns::cookie().unwrap();
                let path = root.create_dir(cookie, &["7"]).unwrap().join("map");
                let array = aya_obj::Map::new_from_params(2, 4, 8, 1, 0);
                MapData::create(array, "host_test", None).unwrap().pin(&path).unwrap();
                MapData::from_pin(&path).unwrap();
                println!("transient {}", root.transient());
                println!("pinned {}", root.shown(&path).display());
            }
            Err(error) => println!("refused {error}\nhint {}", error.hint().unwrap_or_default()),
        },
        Ok("open") => drop(PinRoot::open().unwrap()),
        Ok("look") => println!("found {}", PinRoot::existing().unwrap().is_some()),
        Ok(role) => panic!("no role {role}"),
        Err(_) => {}
    }
}

/// Runs a shell script as PID 1 of a small machine: with PID and mount namespaces of its own, and
/// no bpffs yet. `$pin`, `$open` and `$look` are the commands for those roles.
fn machine(script: &str) -> String {
    require_root();
    let program = std::env::current_exe().unwrap();
    let role = |role| format!("env {ROLE}={role} {} --exact role --nocapture", program.display());
    sh(&format!(
        "unshare --mount --pid --fork --mount-proc sh -ec '\
             pin=\"{}\"; open=\"{}\"; look=\"{}\"
             while [ \"$(stat -f -c %t /sys/fs/bpf)\" = cafe4a11 ]; do umount /sys/fs/bpf; done
             {script}'",
        role("pin"),
        role("open"),
        role("look"),
    ))
}

/// The rest of the line that begins with `word`.
fn line<'a>(output: &'a str, word: &str) -> &'a str {
    output
        .lines()
        .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no line begins with {word}:\n{output}"))
}

#[test]
fn a_bpffs_is_mounted_where_there_is_none_and_only_once() {
    let output = machine(
        "$look
         $pin | sed s/^pinned/first/
         rm -r /sys/fs/bpf/xdpctl
         $pin
         grep -c /sys/fs/bpf /proc/self/mountinfo | sed \"s/^/mounts /\"
         stat -c \"mode %a\" /sys/fs/bpf
         $look | sed s/^found/after/",
    );
    assert_eq!(line(&output, "found"), "false");
    assert_eq!(line(&output, "transient"), "false");
    assert_eq!(line(&output, "mounts"), "1");
    // Some kernels keep the sticky bit that a bpffs has by default.
    assert!(line(&output, "mode").ends_with("700"), "{output}");
    assert_eq!(line(&output, "after"), "true");
    let cookie = netns::cookie().unwrap();
    assert_eq!(line(&output, "first"), format!("/sys/fs/bpf/xdpctl/v1/{cookie}/7/map"));
    assert_eq!(line(&output, "pinned"), line(&output, "first"));
}

#[test]
fn commands_that_start_at_once_mount_one_bpffs() {
    let netns = Netns::new();
    let output = machine(&format!(
        "for i in 1 2 3 4 5 6 7 8; do
             $open & ip netns exec {} $open &
         done > /dev/null
         wait
         grep -c /sys/fs/bpf /proc/self/mountinfo | sed \"s/^/mounts /\"",
        netns.name
    ));
    assert_eq!(line(&output, "mounts"), "1");
}

/// Without a bpffs the mount point is a directory of sysfs, which everybody can open and lock.
#[test]
fn a_users_lock_on_the_mount_point_keeps_no_command_waiting() {
    let output = machine(
        "setpriv --reuid=65534 --clear-groups flock -o /sys/fs/bpf sleep 1000 &
         while flock -n /sys/fs/bpf true; do sleep 0.01; done
         timeout 20 $pin",
    );
    assert_eq!(line(&output, "transient"), "false");
}

#[test]
fn a_container_under_ip_netns_exec_gets_no_bpffs_unasked() {
    let netns = Netns::new();
    let output = machine(&format!(
        "ip netns exec {} unshare --mount --pid --fork --mount-proc sh -ec \"
             $pin
             mount -t bpf bpf /sys/fs/bpf
             $pin\"",
        netns.name
    ));
    assert!(line(&output, "refused").contains(&netns.name), "{output}");
    assert_eq!(line(&output, "transient"), "false");
}

#[test]
fn pins_made_under_ip_netns_exec_outlive_it() {
    let netns = Netns::new();
    let output = machine(&format!(
        "ip netns exec {0} $pin
         find /sys/fs/bpf -name map | sed \"s/^/seen /\"
         ip netns exec {0} $look",
        netns.name
    ));
    assert_eq!(line(&output, "transient"), "true");
    let cookie = netns.inside(|| netns::cookie().unwrap());
    assert_eq!(line(&output, "pinned"), format!("/sys/fs/bpf/xdpctl/v1/{cookie}/7/map"));
    assert_eq!(line(&output, "seen"), line(&output, "pinned"));
    assert_eq!(line(&output, "found"), "true");
}

/// The machine's mounts are those below the first process's root, which need not be its mount
/// namespace's own.
#[test]
fn where_the_first_process_is_under_chroot_pins_are_made_there() {
    let netns = Netns::new();
    let root = tempfile::tempdir().unwrap();
    let output = machine(&format!(
        "mount --rbind / {1}
         exec chroot {1} sh -ec \"
             ip netns exec {0} $pin
             echo seen \\$(find /sys/fs/bpf -name map)\"",
        netns.name,
        root.path().display()
    ));
    assert_eq!(line(&output, "transient"), "true");
    assert_eq!(line(&output, "seen"), line(&output, "pinned"));
}

#[test]
fn a_bpffs_mounted_by_hand_under_ip_netns_exec_is_not_used() {
    let netns = Netns::new();
    let output = machine(&format!(
        "ip netns exec {} sh -ec \"mount -t bpf bpf /sys/fs/bpf; $pin\"
         find /sys/fs/bpf -name map | sed \"s/^/seen /\"",
        netns.name
    ));
    assert_eq!(line(&output, "transient"), "true");
    assert_eq!(line(&output, "seen"), line(&output, "pinned"));
}

#[test]
fn private_mounts_that_show_the_machines_bpffs_are_fine_as_they_are() {
    let output = machine("$pin > /dev/null; rm -r /sys/fs/bpf/xdpctl; unshare --mount $pin");
    assert_eq!(line(&output, "transient"), "false");
}

#[test]
fn nsenter_keeps_the_machines_mounts() {
    let netns = Netns::new();
    let output = machine(&format!("nsenter --net=/run/netns/{} $pin", netns.name));
    assert_eq!(line(&output, "transient"), "false");
    let cookie = netns.inside(|| netns::cookie().unwrap());
    assert_eq!(line(&output, "pinned"), format!("/sys/fs/bpf/xdpctl/v1/{cookie}/7/map"));
}

#[test]
fn where_the_machine_cannot_be_seen_a_transient_sys_is_refused() {
    let netns = Netns::new();
    // Without CAP_SYS_PTRACE, processes that have it may not be looked at.
    let output =
        machine(&format!("ip netns exec {} setpriv --bounding-set=-sys_ptrace $pin", netns.name));
    assert!(line(&output, "refused").contains(&netns.name), "{output}");
    assert_eq!(
        line(&output, "hint"),
        format!("keep the mount namespace: `nsenter --net=/run/netns/{} xdpctl ...`", netns.name)
    );
}
