//! Where and when the figures were taken, without which they mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    /// The processor that everything ran on.
    pub pinned_to: usize,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
    pub memory_mib: u64,
    pub kernel: String,
    pub date: String,
    /// With a plus sign if files differ from it.
    pub commit: String,
}

impl Machine {
    pub fn this(pinned_to: usize) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = processors.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| "unknown".to_owned(),
            |names| {
                let part = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
                format!("{} {}", part(names.release()), part(names.machine()))
            },
        );
        Self {
            // Arm processors have no name there.
            processor: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
            pinned_to,
            virtual_machine: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_mib: memory_mib(),
            kernel,
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = total.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) / 1024
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("git").current_dir(directory).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { commit + "+" })
}
