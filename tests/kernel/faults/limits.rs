//! Limits of the process (descriptors, memory, file sizes), and file systems that are full,
//! read-only or missing.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};

use super::shim::{self, Kind};
use super::state::{State, topology};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::EVENT;
use crate::lab::{Background, Output};

const BLOCKED: &str = "[[blocklist]]\nname = \"old\"\nprefixes = [\"10.1.0.0/16\"]\n";
const NEXT: &str = "[policy]\ndefault = \"drop\"\n[[blocklist]]\nname = \"new\"\nprefixes = \
    [\"10.1.0.1\"]\n";

/// The lab, with rulesets to attach and to reload.
struct Stand {
    bench: Bench,
    old: String,
    new: String,
}

impl Stand {
    fn new() -> Self {
        let bench = Bench::on(topology());
        let path = |name, text| bench.write(name, text).to_str().expect("UTF-8").to_owned();
        let (old, new) = (path("old.toml", BLOCKED), path("new.toml", NEXT));
        Self { bench, old, new }
    }

    fn attached() -> Self {
        let stand = Self::new();
        stand.bench.xdpctl(["attach", JUDGED, "-c", &stand.old]).success();
        stand
    }

    fn attach(&self) -> [&str; 4] {
        ["attach", JUDGED, "-c", &self.old]
    }

    fn reload(&self) -> [&str; 4] {
        ["reload", JUDGED, "-c", &self.new]
    }

    fn command(&self, args: &[&str]) -> Command {
        self.bench.lab().xdpctl_command("dut", args)
    }

    /// Runs a command that may lack what it needs. If it fails, its error has these words, and
    /// everything is as it was.
    #[track_caller]
    fn try_run(&self, command: Command, said: &str) -> Output {
        let before = State::of(&self.bench);
        let output = finish(command);
        assert!(matches!(output.status, 0 | 1), "{output:?}");
        if output.status == 1 {
            assert!(output.stderr.contains("error: "), "{output:?}");
            assert!(output.stderr.contains(said), "{output:?}");
            assert_eq!(State::of(&self.bench), before, "{output:?}");
        }
        output
    }
}

#[track_caller]
fn finish(command: Command) -> Output {
    Background::start(command).wait(EVENT).expect("it ends")
}

/// A command with a limit of its own.
fn limited(mut command: Command, resource: Resource, most: u64) -> Command {
    // Cargo sets it, and with it the dynamic linker would search many directories.
    command.env_remove("LD_LIBRARY_PATH");
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    unsafe { command.pre_exec(move || setrlimit(resource, most, most).map_err(io::Error::from)) };
    command
}

/// A command in a mount namespace of its own, after these mounts: source, target, type, flags, data.
fn mounted(mut command: Command, mounts: &[Mount]) -> Command {
    let mounts = mounts.to_vec();
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated: paths of
    // this length lie on the stack.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            for Mount { source, target, kind, flags, data } in &mounts {
                mount(*source, *target, *kind, *flags, *data)?;
            }
            Ok(())
        });
    }
    command
}

#[derive(Clone, Copy)]
struct Mount {
    source: Option<&'static str>,
    target: &'static str,
    kind: Option<&'static str>,
    flags: MsFlags,
    data: Option<&'static str>,
}

const fn tmpfs(target: &'static str, data: &'static str) -> Mount {
    let (source, kind) = (Some("tmpfs"), Some("tmpfs"));
    Mount { source, target, kind, flags: MsFlags::empty(), data: Some(data) }
}

#[test]
fn few_descriptors() {
    let stand = Stand::attached();
    // With fewer, the dynamic linker itself gives up.
    let mut failed = 0;
    for most in 4..40 {
        let command = limited(stand.command(&stand.reload()), Resource::RLIMIT_NOFILE, most);
        let output = finish_within(&stand, command);
        if output.status == 0 {
            break;
        }
        failed += 1;
        assert!(
            output.stderr.contains("Too many open files"),
            "{most} descriptors: {}",
            output.stderr
        );
    }
    assert!(failed > 3, "{failed}");
    // An attach needs more descriptors.
    stand.bench.xdpctl(["detach", "--all"]).success();
    for most in [4, 8, 12, 16, 20, 24] {
        let command = limited(stand.command(&stand.attach()), Resource::RLIMIT_NOFILE, most);
        let output = finish_within(&stand, command);
        if output.status == 0 {
            break;
        }
        stand.bench.xdpctl(["detach", "--all"]).expect_status(1);
        stand.bench.lab().assert_nothing_kept("dut");
    }
}

/// As [`Stand::try_run`], for where a file of the configuration may be what cannot be opened.
#[track_caller]
fn finish_within(stand: &Stand, command: Command) -> Output {
    let before = State::of(&stand.bench);
    let output = finish(command);
    assert!(matches!(output.status, 0..=2), "{output:?}");
    if output.status > 0 {
        assert!(output.stderr.contains("error: "), "{output:?}");
        assert_eq!(State::of(&stand.bench), before, "{output:?}");
    }
    output
}

#[test]
fn little_memory() {
    let stand = Stand::attached();
    // A list that takes memory: with the lowest limits the list fails, with higher ones the maps.
    let list: String = (0..200_000u32)
        .map(|number| format!("10.{}.{}.{}\n", number >> 16, number >> 8 & 255, number & 255))
        .collect();
    stand.bench.write("list.txt", &list);
    let file = stand.bench.write("large.toml", &format!("{NEXT}files = [\"list.txt\"]\n"));
    let file = file.to_str().expect("UTF-8");
    let version = |most: u64| {
        finish(limited(stand.command(&["--version"]), Resource::RLIMIT_AS, most << 20)).status == 0
    };
    // How much the program itself takes depends on how it was built.
    let base = (1..1024).find(|&most| version(most)).expect("it runs with 1 GiB");
    let (mut failed, mut done) = (0, false);
    for more in (0..400).step_by(4) {
        let args = ["reload", JUDGED, "-c", file];
        let command = limited(stand.command(&args), Resource::RLIMIT_AS, (base + more) << 20);
        let output = stand.try_run(command, "");
        if output.status == 0 {
            done = true;
            break;
        }
        let words = ["out of memory", "Cannot allocate memory", "Out of memory"];
        assert!(words.iter().any(|words| output.stderr.contains(words)), "{output:?}");
        failed += 1;
    }
    println!("{base} MiB for the program; {failed} runs with too little above it");
    assert!(failed > 0 && done);
}

/// The kernel charges maps to control groups, and not to the limit of locked memory.
#[test]
fn no_locked_memory() {
    let stand = Stand::new();
    finish(limited(stand.command(&stand.attach()), Resource::RLIMIT_MEMLOCK, 0)).success();
    finish(limited(stand.command(&stand.reload()), Resource::RLIMIT_MEMLOCK, 0)).success();
}

/// A file that may not grow ends a process by SIGXFSZ, unless that is ignored.
#[test]
fn files_that_may_not_grow() {
    let stand = Stand::attached();
    for most in [0, 1, 64] {
        let command = limited(stand.command(&stand.reload()), Resource::RLIMIT_FSIZE, most);
        let output = stand.try_run(command, "cannot keep the ruleset in /run/xdpctl/v1/");
        assert!(output.expect_status(1).stderr.contains("File too large"), "{output:?}");
    }
    let args = ["block", JUDGED, "10.1.0.1", "--note", "scanner"];
    let command = limited(stand.command(&args), Resource::RLIMIT_FSIZE, 0);
    stand.try_run(command, "cannot keep the notes in /run/xdpctl/v1/").expect_status(1);
    // Without a note there is nothing to write.
    let args = ["block", JUDGED, "10.1.0.1"];
    finish(limited(stand.command(&args), Resource::RLIMIT_FSIZE, 0)).success();
    stand.bench.xdpctl(["detach", "--all"]).success();
    let command = limited(stand.command(&stand.attach()), Resource::RLIMIT_FSIZE, 0);
    stand.try_run(command, "cannot keep the ruleset in /run/xdpctl/v1/").expect_status(1);
    stand.bench.xdpctl(["detach", "--all"]).expect_status(1);
    stand.bench.lab().assert_nothing_kept("dut");
}

#[test]
fn a_full_run_directory() {
    let stand = Stand::attached();
    let text = format!("{NEXT}# {}\n", "long ".repeat(2000));
    let long = stand.bench.write("long.toml", &text);
    let args = ["reload", JUDGED, "-c", long.to_str().expect("UTF-8")];
    // No room for a file's text, and then none for a file at all.
    let command = mounted(stand.command(&args), &[tmpfs("/run", "size=4k")]);
    let output = stand.try_run(command, "cannot keep the ruleset in /run/xdpctl/v1/");
    assert!(output.expect_status(1).stderr.contains("No space left on device"), "{output:?}");
    for inodes in [
        &[tmpfs("/run", "nr_inodes=1")],
        &[tmpfs("/run", "nr_inodes=2")],
        &[tmpfs("/run", "nr_inodes=4")],
        &[tmpfs("/run", "nr_inodes=5")],
    ] {
        let command = mounted(stand.command(&stand.reload()), inodes);
        stand.try_run(command, "No space left on device").expect_status(1);
    }
    let command = mounted(
        stand.command(&["attach", "out0", "-c", &stand.old]),
        &[tmpfs("/run", "nr_inodes=5")],
    );
    stand.try_run(command, "No space left on device").expect_status(1);
    assert_eq!(stand.bench.lab().programs("dut", "out0"), []);
    // What is attached can be shown and detached without room for any file.
    let looks = mounted(stand.command(&["stats", "--once"]), &[tmpfs("/run", "nr_inodes=1")]);
    finish(looks).success();
    // The mount hides the kept ruleset.
    let looks = mounted(stand.command(&["status"]), &[tmpfs("/run", "nr_inodes=1")]);
    assert!(finish(looks).expect_status(1).stdout.contains("is not kept under /run/xdpctl"));
    stand.bench.xdpctl(["detach", JUDGED]).success();
    stand.bench.lab().assert_nothing_kept("dut");
}

#[test]
fn a_read_only_run_directory() {
    let stand = Stand::attached();
    const READ_ONLY: &[Mount] = &[Mount {
        source: Some("tmpfs"),
        target: "/run",
        kind: Some("tmpfs"),
        flags: MsFlags::MS_RDONLY,
        data: None,
    }];
    for args in [&stand.reload()[..], &["detach", JUDGED], &["block", JUDGED, "10.1.0.1"]] {
        let command = mounted(stand.command(args), READ_ONLY);
        let output = stand.try_run(command, "cannot make /run/xdpctl: Read-only file system");
        output.expect_status(1);
    }
    let looks = finish(mounted(stand.command(&["status"]), READ_ONLY));
    assert!(looks.expect_status(1).stdout.contains("is not kept under /run/xdpctl"));
}

/// The machine's bpffs, as a container may show it.
const READ_ONLY_BPFFS: &[Mount] = &[
    Mount {
        source: Some("/sys/fs/bpf"),
        target: "/sys/fs/bpf",
        kind: None,
        flags: MsFlags::MS_BIND,
        data: None,
    },
    Mount {
        source: None,
        target: "/sys/fs/bpf",
        kind: None,
        flags: MsFlags::MS_REMOUNT.union(MsFlags::MS_BIND).union(MsFlags::MS_RDONLY),
        data: None,
    },
];

#[test]
fn a_read_only_bpffs() {
    let stand = Stand::attached();
    let said = "Read-only file system";
    let command = mounted(stand.command(&["detach", JUDGED]), READ_ONLY_BPFFS);
    stand.try_run(command, said).expect_status(1);
    let command = mounted(stand.command(&["attach", "out0", "-c", &stand.old]), READ_ONLY_BPFFS);
    stand.try_run(command, said).expect_status(1);
    assert_eq!(stand.bench.lab().programs("dut", "out0"), []);
    // A ruleset needs no pin.
    finish(mounted(stand.command(&stand.reload()), READ_ONLY_BPFFS)).success();
    stand.bench.xdpctl(["status", JUDGED]).success();
    stand.bench.xdpctl(["detach", JUDGED]).success();
    stand.bench.lab().assert_nothing_kept("dut");
}

/// In namespaces of its own, where no bpffs is mounted yet, and mounting one fails.
#[test]
fn a_bpffs_that_cannot_be_mounted() {
    let stand = Stand::new();
    for errno in [libc::EPERM, libc::ENODEV, libc::ENOMEM] {
        let mut command = stand.bench.lab().command("dut", "unshare");
        let script = "umount /sys/fs/bpf; exec \"$0\" attach in0 -c \"$1\"";
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ]);
        command.args([env!("CARGO_BIN_EXE_xdpctl"), &stand.old]);
        let ran = shim::run_refusing(command, Kind::Files, "mount /sys/fs/bpf", errno);
        let said = "error: cannot mount a bpffs on /sys/fs/bpf: ";
        assert!(ran.output.expect_status(1).stderr.contains(said), "{ran:?}");
        assert_eq!(stand.bench.lab().programs("dut", JUDGED), []);
    }
    // There is not even a mount point.
    let mut command = stand.bench.lab().command("dut", "unshare");
    let script = "mount -t tmpfs tmpfs /sys/fs; exec \"$0\" attach in0 -c \"$1\"";
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
    ]);
    command.args([env!("CARGO_BIN_EXE_xdpctl"), &stand.old]);
    let output = finish(command);
    assert!(output.expect_status(1).stderr.contains("error: /sys/fs/bpf does not exist"));
    assert!(output.stderr.contains("hint: is sysfs mounted"), "{}", output.stderr);
    stand.bench.xdpctl(["detach", "--all"]).expect_status(1);
    stand.bench.lab().assert_nothing_kept("dut");
}
