//! Builds the eBPF programs, a package of its own for another target, and leaves the objects in
//! OUT_DIR for `include_bytes!`.
//!
//! The toolchain is one that can compile `core` for BPF: Debian's (rustc-web, cargo-web and
//! rust-web-src, in /usr/bin) if its `core` is there in source, else rustup's nightly with
//! rust-src. `XDPCTL_BPF_CARGO` and `XDPCTL_BPF_RUSTC` name another.
//!
//! Each profile and each workspace has an OUT_DIR, and so compiles them again. Builds of one source tree
//! that are given the same `XDPCTL_BPF_TARGET_DIR`, an absolute path, compile them once. A folder that two
//! trees share could put the programs of one into the binary of the other.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const PROGRAMS: [&str; 7] = ["xdpctl", "pass", "clock", "capture", "egress", "nic", "bench"];
/// The environment variable with the folder to compile them in.
const TARGET_DIR: &str = "XDPCTL_BPF_TARGET_DIR";
const INSTALL: &str = "scripts/setup installs what is missing";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = crate_dir.parent().expect("the package lies in the workspace").to_path_buf();
    let ebpf = root.join("xdp-ebpf");
    for watched in ["xdp-ebpf/src", "xdp-ebpf/Cargo.toml", "xdp-ebpf/Cargo.lock", "xdp-common/src"]
    {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo:rerun-if-env-changed=XDPCTL_BPF_CARGO");
    println!("cargo:rerun-if-env-changed=XDPCTL_BPF_RUSTC");
    println!("cargo:rerun-if-env-changed={TARGET_DIR}");

    let toolchain = Toolchain::find();
    require_linker();
    let target_dir = target_dir(&out);
    let status = toolchain
        .command()
        .current_dir(&ebpf)
        .args(["build", "--release", "--locked", "-Z", "build-std=core"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target_dir)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("the eBPF programs do not build ({status})")),
        Err(error) => fail(&format!("cannot run {}: {error}", toolchain.cargo.display())),
    }
    for program in PROGRAMS {
        let from = target_dir.join("bpfel-unknown-none/release").join(program);
        let to = out.join(format!("{program}.bpf"));
        if let Err(error) = std::fs::copy(&from, &to) {
            fail(&format!("cannot copy {}: {error}", from.display()));
        }
    }
}

/// Where the programs are compiled. Those for other registers (ARM64) have other flags, and a folder
/// of their own: a build that copies from here never finds what one beside it has put there.
fn target_dir(out: &Path) -> PathBuf {
    let Some(shared) = env::var_os(TARGET_DIR).filter(|shared| !shared.is_empty()) else {
        return out.join("ebpf");
    };
    let shared = PathBuf::from(shared);
    if shared.is_relative() {
        fail(&format!("{TARGET_DIR}={}: has to be an absolute path", shared.display()));
    }
    shared.join(architecture())
}

/// The architecture whose registers the programs know.
fn architecture() -> String {
    env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it")
}

struct Toolchain {
    cargo: PathBuf,
    /// Without it, `cargo` chooses.
    rustc: Option<PathBuf>,
    /// Whether unstable options need to be unlocked.
    bootstrap: bool,
    nightly: bool,
}

impl Toolchain {
    fn find() -> Self {
        if let Some(cargo) = env::var_os("XDPCTL_BPF_CARGO") {
            return Self {
                cargo: cargo.into(),
                rustc: env::var_os("XDPCTL_BPF_RUSTC").map(Into::into),
                bootstrap: true,
                nightly: false,
            };
        }
        let debian = Path::new("/usr/bin/rustc");
        if debian.exists() && has_core_source(Command::new(debian)) {
            return Self {
                cargo: "/usr/bin/cargo".into(),
                rustc: Some(debian.into()),
                bootstrap: true,
                nightly: false,
            };
        }
        let mut nightly = Command::new("rustup");
        nightly.args(["run", "nightly", "rustc"]);
        if has_core_source(nightly) {
            return Self { cargo: "rustup".into(), rustc: None, bootstrap: false, nightly: true };
        }
        fail(
            "no Rust toolchain with the source of `core`, which the eBPF programs need.\n\
             On Debian 12: apt-get install rustc-web cargo-web rust-web-src\n\
             elsewhere:    rustup toolchain install nightly --component rust-src",
        )
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        if self.nightly {
            command.args(["run", "nightly", "cargo"]);
        }
        // This script's own cargo speaks to the other through the environment: its flags, wrappers
        // and targets are not meant for it. Where crates come from is.
        let kept = |name: &str| {
            name == "CARGO_HOME"
                || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        };
        let cleared = |name: &str| {
            ["CARGO", "RUST", "DEP_"].iter().any(|prefix| name.starts_with(prefix))
                || matches!(
                    name,
                    "TARGET"
                        | "HOST"
                        | "OUT_DIR"
                        | "PROFILE"
                        | "OPT_LEVEL"
                        | "DEBUG"
                        | "NUM_JOBS"
                        | "MAKEFLAGS"
                        | "LD_LIBRARY_PATH"
                )
        };
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if cleared(&text) && !kept(&text) && !(self.nightly && text.starts_with("RUSTUP_")) {
                command.env_remove(&name);
            }
        }
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if self.bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        let flags = [
            format!("--cfg=bpf_target_arch=\"{}\"", architecture()),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            // 32-bit arithmetic; the newest set that Linux 6.1 has.
            "-Ctarget-cpu=v3".to_owned(),
            // Else every number in a packet is read byte by byte.
            "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
        ];
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command.env("PATH", path_with_cargo_bin());
        command
    }
}

/// Whether the compiler has `core` in source.
fn has_core_source(mut rustc: Command) -> bool {
    let Ok(output) = rustc.args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
    output.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").exists()
}

/// Where `cargo install` puts programs may not be in PATH.
fn path_with_cargo_bin() -> OsString {
    let mut paths: Vec<PathBuf> =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    paths.extend(home.map(|home| home.join("bin")));
    env::join_paths(paths).unwrap_or_default()
}

fn require_linker() {
    let found =
        env::split_paths(&path_with_cargo_bin()).any(|path| path.join("bpf-linker").exists());
    if !found {
        fail(
            "bpf-linker is not in PATH: cargo install bpf-linker (CONTRIBUTING.md says with what)",
        );
    }
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo:warning={line}");
    }
    println!("cargo:warning={INSTALL}");
    exit(1);
}
