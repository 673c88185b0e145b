//! Whether the caller has the privileges that xdpctl needs, and whether the running kernel is new
//! enough.

use std::{fs, io};

/// Major and minor version of the oldest kernel that xdpctl supports.
pub const MINIMUM_KERNEL: (u32, u32) = (6, 1);

const STATUS: &str = "/proc/self/status";
const USER_NAMESPACE: &str = "/proc/self/ns/user";
/// The initial user namespace's inode, the same on every machine: PROC_USER_INIT_INO in
/// include/uapi/linux/nsfs.h.
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// One thing that xdpctl does, and the capabilities that the kernel asks for it.
struct Need {
    /// Any one of these is enough.
    any_of: &'static [Capability],
    purpose: &'static str,
}

/// A capability as include/uapi/linux/capability.h names and numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability {
    name: &'static str,
    bit: u32,
}

const CAP_NET_ADMIN: Capability = Capability { name: "CAP_NET_ADMIN", bit: 12 };
const CAP_SYS_ADMIN: Capability = Capability { name: "CAP_SYS_ADMIN", bit: 21 };
const CAP_BPF: Capability = Capability { name: "CAP_BPF", bit: 39 };

const NEEDS: [Need; 3] = [
    Need { any_of: &[CAP_BPF, CAP_SYS_ADMIN], purpose: "to load the program and its maps" },
    Need { any_of: &[CAP_NET_ADMIN], purpose: "to attach to an interface" },
    Need { any_of: &[CAP_SYS_ADMIN], purpose: "to open maps by id and to mount a bpffs" },
];

/// Why nothing can be done to the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not permitted: this process lacks {}", .0.join(" and "))]
    Missing(Vec<String>),
    #[error(
        "not permitted: this process is in a user namespace, whose root the kernel lets load no \
         program"
    )]
    UserNamespace,
    #[error(
        "kernel {running} is too old: {}.{} or newer is needed",
        MINIMUM_KERNEL.0,
        MINIMUM_KERNEL.1
    )]
    OldKernel { running: String },
    #[error("cannot tell the kernel's version from `{0}`")]
    UnknownKernel(String),
    #[error("cannot read this process's capabilities from {STATUS}: {0}")]
    Unreadable(io::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("run it as root: `sudo xdpctl ...`".to_owned()),
            Self::UserNamespace => {
                Some("run it as root of the machine, outside the container".to_owned())
            }
            Self::OldKernel { .. } => {
                Some("boot a newer kernel; Debian 12, Ubuntu 24.04 and RHEL 10 have one".to_owned())
            }
            Self::Unreadable(_) => Some("is /proc mounted?".to_owned()),
            Self::UnknownKernel(_) => None,
        }
    }
}

/// Checks that the process has every capability that attaching, reloading and detaching need.
pub fn require() -> Result<(), Error> {
    let status = fs::read_to_string(STATUS).map_err(Error::Unreadable)?;
    let effective = effective_capabilities(&status).ok_or_else(|| {
        Error::Unreadable(io::Error::new(io::ErrorKind::InvalidData, "no CapEff line"))
    })?;
    let missing = missing(effective);
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    // Root of a container's own user namespace seems to have all capabilities, but they do not
    // count.
    match fs::read_link(USER_NAMESPACE) {
        Ok(link) if link.as_os_str() != INITIAL_USER_NAMESPACE => Err(Error::UserNamespace),
        _ => Ok(()),
    }
}

/// Checks that the running kernel is not older than [`MINIMUM_KERNEL`].
pub fn require_kernel() -> Result<(), Error> {
    let release = nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    check_kernel(&release)
}

fn check_kernel(release: &str) -> Result<(), Error> {
    match kernel_version(release) {
        Some(version) if version >= MINIMUM_KERNEL => Ok(()),
        Some(_) => Err(Error::OldKernel { running: release.to_owned() }),
        None => Err(Error::UnknownKernel(release.to_owned())),
    }
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

/// The effective set in the text of `/proc/PID/status`.
fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Each need that the set does not meet, as `CAP_A or CAP_B (purpose)`.
fn missing(effective: u64) -> Vec<String> {
    NEEDS
        .iter()
        .filter(|need| need.any_of.iter().all(|capability| effective & (1 << capability.bit) == 0))
        .map(|need| {
            let names: Vec<_> = need.any_of.iter().map(|capability| capability.name).collect();
            format!("{} ({})", names.join(" or "), need.purpose)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(capabilities: &[Capability]) -> u64 {
        capabilities.iter().map(|capability| 1 << capability.bit).sum()
    }

    #[test]
    fn capabilities_are_read_from_status() {
        let status = "Name:\txdpctl\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective_capabilities(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective_capabilities("Name:\txdpctl\n"), None);
        assert_eq!(effective_capabilities("CapEff:\tnone\n"), None);
    }

    #[test]
    fn root_lacks_nothing() {
        assert!(missing(0x1ff_ffff_ffff).is_empty());
        assert!(missing(set(&[CAP_SYS_ADMIN, CAP_NET_ADMIN])).is_empty());
    }

    #[test]
    fn each_lack_is_named_with_its_purpose() {
        assert_eq!(
            Error::Missing(missing(0)).to_string(),
            "not permitted: this process lacks CAP_BPF or CAP_SYS_ADMIN (to load the program and \
             its maps) and CAP_NET_ADMIN (to attach to an interface) and CAP_SYS_ADMIN (to open \
             maps by id and to mount a bpffs)"
        );
        assert_eq!(
            missing(set(&[CAP_BPF, CAP_NET_ADMIN])),
            ["CAP_SYS_ADMIN (to open maps by id and to mount a bpffs)"]
        );
    }

    #[test]
    fn releases_of_several_distributions_are_read() {
        for (release, version) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("6.18.44", Some((6, 18))),
            ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
            ("6.12-rc3", Some((6, 12))),
            ("7.0+", Some((7, 0))),
            ("6", None),
            ("six.one", None),
            ("", None),
        ] {
            assert_eq!(kernel_version(release), version, "{release}");
        }
    }

    #[test]
    fn an_old_kernel_is_named_with_the_needed_one() {
        assert!(check_kernel("6.1.0").is_ok());
        assert_eq!(
            check_kernel("5.15.0-100-generic").unwrap_err().to_string(),
            "kernel 5.15.0-100-generic is too old: 6.1 or newer is needed"
        );
    }
}
