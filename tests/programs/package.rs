//! The Debian package: what is in it, and what installing, removing and purging it does. It is
//! installed into a root of its own, which has Debian's base and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::lab::{Background, Lab, Output};

/// Long enough for a build and a compressor on a busy machine.
const LONG: Duration = Duration::from_secs(1800);

fn run(mut command: Command, args: &[&str]) -> Output {
    command.args(args).env("LC_ALL", "C.UTF-8");
    let mut started = Background::start(command);
    started.wait(LONG).unwrap_or_else(|| panic!("{args:?} does not end"))
}

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("the repository")
}

/// The package of the binary under test.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_xdpctl"));
        let profile = match built.parent().and_then(Path::file_name) {
            Some(name) if name == "release" => "release",
            _ => "dev",
        };
        let mut command = Command::new(repository().join("scripts/package"));
        command.args(["--profile", profile]);
        let built = run(command, &[]);
        let path = built.success().stdout.lines().last().expect("a path").to_owned();
        PathBuf::from(path)
    })
}

/// The files of the package, with their modes.
fn contents() -> Vec<(String, String)> {
    let listed = run(Command::new("dpkg-deb"), &["--contents", package().to_str().expect("UTF-8")]);
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let mode = fields.next().expect("a mode").to_owned();
        let owner = fields.next().expect("an owner");
        assert!(["root/root", "0/0"].contains(&owner), "{line}");
        (mode, fields.nth(3).expect("a path").trim_start_matches('.').to_owned())
    };
    listed.success().stdout.lines().map(line).collect()
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn everything_is_in_its_place() {
    let contents = contents();
    let mode = |path: &str| contents.iter().find(|(_, it)| it == path).map(|(mode, _)| &**mode);
    for path in ["/usr/sbin/xdpctl", "/usr/sbin/xdpctl-crowdsec-bouncer"] {
        assert_eq!(mode(path), Some("-rwxr-xr-x"), "{path}");
    }
    for path in [
        "/usr/share/man/man8/xdpctl.8.gz",
        "/usr/share/man/man5/xdpctl.toml.5.gz",
        "/usr/share/bash-completion/completions/xdpctl",
        "/usr/share/zsh/vendor-completions/_xdpctl",
        "/usr/share/fish/vendor_completions.d/xdpctl.fish",
        "/etc/fail2ban/action.d/xdpctl.conf",
        "/usr/share/doc/xdpctl/examples/crowdsec/crowdsec-bouncer.toml",
        "/usr/share/doc/xdpctl/copyright",
        "/usr/share/doc/xdpctl/changelog.Debian.gz",
        "/usr/share/doc/xdpctl/examples/host.toml",
        "/usr/share/doc/xdpctl/examples/lists/bogons.netset",
    ] {
        assert_eq!(mode(path), Some("-rw-r--r--"), "{path} in {contents:#?}");
    }
    // Every example and every unit.
    let repository = repository();
    let examples = fs::read_dir(repository.join("configs")).expect("configs").flatten();
    for example in examples.filter(|it| it.path().extension().is_some_and(|it| it == "toml")) {
        let name = example.file_name().into_string().expect("UTF-8");
        assert!(mode(&format!("/usr/share/doc/xdpctl/examples/{name}")).is_some(), "{name}");
    }
    for unit in fs::read_dir(repository.join("contrib/systemd")).expect("units").flatten() {
        let name = unit.file_name().into_string().expect("UTF-8");
        assert!(mode(&format!("/lib/systemd/system/{name}")).is_some(), "{name}");
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn lintian_finds_no_error() {
    let package = package().to_str().expect("UTF-8");
    let args = ["--fail-on", "error", "--tag-display-limit", "0", "--allow-root", package];
    let found = run(Command::new("lintian"), &args);
    found.success();
    // Warnings are looked at too: each is overridden with its reason, or is none.
    assert_eq!(found.stdout, "", "{}", found.stdout);
}

/// Runs steps in a root of their own: what they write goes to a layer above the machine's files,
/// /run and bpffs are empty, the network is a lab's, and all of it ends with the last step. The
/// package is in /mnt. They have processes of their own, since xdpctl looks for the machine's
/// bpffs at the first of all processes. The machine's /var/lib/xdpctl is made before: a test beside this
/// one makes it too, and a layer does not expect what is below it to change. Returns what each step has
/// printed, on both of its outputs.
fn in_a_root(lab: &Lab, steps: &[(&str, &str)]) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["layers", "root"] {
        fs::create_dir(directory.path().join(name)).expect("made");
    }
    let script: String =
        steps.iter().map(|(name, step)| format!("echo '{MARK}{name}'\n{step}\n")).collect();
    fs::write(directory.path().join("script"), script).expect("written");
    let mut command = lab.command("dut", "unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
        "sh",
        "-ec",
    ]);
    command.arg(format!(
        "cd {own}\n\
         mkdir -p -m 700 /var/lib/xdpctl\n\
         mount -t tmpfs tmpfs layers\n\
         mkdir layers/upper layers/work\n\
         mount -t overlay overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work root\n\
         mount -t proc proc root/proc\n\
         mount --rbind /dev root/dev\n\
         mount --rbind /sys root/sys\n\
         mount -t bpf bpf root/sys/fs/bpf\n\
         mount -t tmpfs tmpfs root/run\n\
         mkdir root/run/netns\n\
         mount --rbind /run/netns root/run/netns\n\
         mount --bind {deb} root/mnt\n\
         cp script root/script\n\
         cd root\n\
         pivot_root . media\n\
         umount -l /media\n\
         exec chroot . sh -e /script 2>&1",
        own = directory.path().display(),
        deb = package().parent().expect("a folder").display(),
    ));
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let output = run(command, &[]);
    output.success();
    let parts = output.stdout.split(MARK).skip(1);
    let part = |part: &str| {
        let (name, printed) = part.split_once('\n').expect("a line");
        (name.to_owned(), printed.to_owned())
    };
    parts.map(part).collect()
}

/// The first step: what the machine has of xdpctl is not the package's.
const CLEAN: &str =
    "dpkg --purge xdpctl >/dev/null 2>&1 || true; rm -rf /etc/xdpctl /var/lib/xdpctl";

/// What begins the line that names a step.
const MARK: &str = "== step: ";

/// Every file that has to do with xdpctl, but for what dpkg keeps of each package that it ever had.
const FILES: &str =
    "find /etc /usr /var -xdev -path /var/lib/dpkg -prune -o -name '*xdpctl*' -print";

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn it_is_installed_removed_and_purged() {
    let lab = Lab::new();
    let install = format!("dpkg -i /mnt/{}", file_name());
    let printed = in_a_root(
        &lab,
        &[
            ("clean", CLEAN),
            ("before", FILES),
            ("install", &install),
            ("version", "xdpctl --version"),
            ("status", "dpkg-query -W -f '${db:Status-Status}' xdpctl"),
            ("folder", "stat -c %a:%U:%G /etc/xdpctl; ls -A /etc/xdpctl"),
            ("page", "man -w 8 xdpctl 5 xdpctl.toml"),
            ("verify", "dpkg --verify xdpctl"),
            ("attach", "echo | xdpctl attach in0 -c - --mode native && xdpctl detach in0"),
            ("again", &install),
            ("remove", "dpkg --remove xdpctl"),
            ("removed", "ls /usr/sbin/xdpctl || true"),
            ("purge", "dpkg --purge xdpctl"),
            ("after", FILES),
        ],
    );
    let said = |step: &str| printed[step].trim();
    assert_eq!(said("version"), format!("xdpctl {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(said("status"), "installed");
    assert_eq!(said("folder"), "755:root:root");
    assert!(said("page").contains("/usr/share/man/man8/xdpctl.8.gz"), "{}", said("page"));
    assert!(said("page").contains("/usr/share/man/man5/xdpctl.toml.5.gz"), "{}", said("page"));
    assert_eq!(said("verify"), "");
    assert!(said("removed").contains("No such file"), "{}", said("removed"));
    assert_eq!(said("after"), said("before"), "a purge leaves nothing");
    // Nothing is attached, so there is nothing to say.
    for step in ["install", "again", "remove", "purge"] {
        assert!(!said(step).contains("xdpctl:"), "{step}: {}", said(step));
        assert!(!said(step).contains("warning"), "{step}: {}", said(step));
    }
}

/// A removal says that it leaves the filter, and how to take it off; a purge leaves what the
/// administrator wrote.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_filters_goes_on_and_what_was_written_stays() {
    let lab = Lab::new();
    let install = format!("dpkg -i /mnt/{}", file_name());
    let carries = "ip -details link show in0 2>/dev/null | grep -o prog/xdp || echo nothing";
    let printed = in_a_root(
        &lab,
        &[
            ("clean", CLEAN),
            ("install", &install),
            ("configure", "cp -r /usr/share/doc/xdpctl/examples/lab.toml /etc/xdpctl/in0.toml"),
            ("attach", "echo >/etc/xdpctl/in0.toml; xdpctl attach in0 --mode native"),
            ("persist", "xdpctl block in0 203.0.113.7 --persist; ls /var/lib/xdpctl"),
            (
                "enable",
                "mkdir -p /etc/systemd/system/multi-user.target.wants; \
             ln -s /lib/systemd/system/xdpctl@.service \
             /etc/systemd/system/multi-user.target.wants/xdpctl@in0.service",
            ),
            ("upgrade", &install),
            ("upgraded", carries),
            ("remove", "dpkg --remove xdpctl"),
            ("removed", carries),
            ("kept", "ls /var/lib/xdpctl /etc/xdpctl"),
            ("purge", "dpkg --purge xdpctl"),
            ("purged", carries),
            (
                "left",
                "ls -A /etc/xdpctl; ls /var/lib/xdpctl || true; \
             ls -A /etc/systemd/system/multi-user.target.wants | grep xdpctl || true",
            ),
            ("off", "rm -r /sys/fs/bpf/xdpctl"),
            (
                "free",
                "for _ in $(seq 600); do ip -details link show in0 2>/dev/null | grep -q prog/xdp || break; \
             sleep 0.1; done; ip -details link show in0 2>/dev/null | grep -o prog/xdp || echo nothing",
            ),
        ],
    );
    let said = |step: &str| printed[step].trim();
    assert!(said("upgrade").contains("xdpctl attach --replace"), "{}", said("upgrade"));
    for step in ["upgraded", "removed", "purged"] {
        assert_eq!(said(step), "prog/xdp", "{step}");
    }
    let told = said("remove");
    assert!(told.contains("stays filtered") && told.contains("rm -r /sys/fs/bpf/xdpctl"), "{told}");
    assert!(said("kept").contains("in0.toml") && said("kept").contains("v1"), "{}", said("kept"));
    assert!(said("purge").contains("/etc/xdpctl holds configurations"), "{}", said("purge"));
    let left: Vec<&str> = said("left").lines().collect();
    assert_eq!(left[0], "in0.toml");
    assert!(left[1].contains("No such file"), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");
    // What the message says.
    assert_eq!(said("free"), "nothing");
}

fn file_name() -> String {
    package().file_name().expect("a file").to_string_lossy().into_owned()
}
