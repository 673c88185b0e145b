//! Where pins go: a bpffs that stays mounted after the command has ended.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{BPF_FS_MAGIC, fstatfs};

use crate::datapath::host::lock::{self, Lock};
use crate::datapath::host::mount_namespace::{self, Outer};
use crate::datapath::host::run_dir::RunDir;
use crate::datapath::host::waiting::{Patience, Say};
use crate::datapath::sys::private_dir;

/// Where every distribution mounts it.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// The directories below it: the product, and the version of the layout of its pins.
const PRODUCT: &str = "xdpctl";
const LAYOUT: &str = "v1";

/// There is no place for pins.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{MOUNT_POINT} does not exist")]
    NoMountPoint,
    #[error("cannot {action} {MOUNT_POINT}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("cannot tell whether this mount namespace will last: {0}")]
    Namespace(io::Error),
    #[error("cannot mount or use {MOUNT_POINT} of the machine's own mount namespace: {0}")]
    Enter(io::Error),
    #[error(
        "/sys belongs to `ip netns exec {0}` and ends with it, which would remove the pins and \
         the program with them; the machine's own mount namespace cannot be reached from here"
    )]
    Transient(String),
    #[error(transparent)]
    Directory(#[from] private_dir::Error),
    #[error(transparent)]
    Lock(#[from] lock::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoMountPoint => Some(
                "is sysfs mounted (`mount -t sysfs sysfs /sys`), and is the kernel built with \
                 CONFIG_BPF_SYSCALL?"
                    .to_owned(),
            ),
            Self::Transient(name) => Some(format!(
                "keep the mount namespace: `nsenter --net=/run/netns/{name} xdpctl ...`"
            )),
            Self::Namespace(_) => Some("is /proc mounted?".to_owned()),
            Self::Enter(_) => Some(
                "run it there; for a network namespace: `nsenter --net=/run/netns/NAME xdpctl ...`"
                    .to_owned(),
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("mounting takes CAP_SYS_ADMIN: `sudo xdpctl ...`".to_owned())
            }
            Self::Io { .. } => None,
            Self::Directory(error) => error.hint(),
            Self::Lock(error) => error.hint(),
        }
    }
}

/// The bpffs that pins are made on.
#[derive(Debug)]
pub struct PinRoot {
    base: PathBuf,
    /// The directory that `base` leads through, where the caller's own mount namespace does not
    /// show it.
    held: Option<OwnedFd>,
}

/// What to do where no bpffs is mounted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    Mount,
    Leave,
}

impl PinRoot {
    /// The bpffs, mounted if it is not there yet.
    pub fn open() -> Result<Self, Error> {
        // `IfMissing::Mount` gives a bpffs or an error.
        Self::find(IfMissing::Mount)?.ok_or(Error::NoMountPoint)
    }

    /// The bpffs if it is there, for commands that only look.
    pub fn existing() -> Result<Option<Self>, Error> {
        match Self::find(IfMissing::Leave) {
            // Where none can be mounted, there is none.
            Err(Error::NoMountPoint) => Ok(None),
            other => other,
        }
    }

    fn find(if_missing: IfMissing) -> Result<Option<Self>, Error> {
        let visible = || Self { base: PathBuf::from(MOUNT_POINT), held: None };
        match mount_namespace::outer().map_err(Error::Namespace)? {
            Outer::Same => {
                // A container that was started under `ip netns exec`. A bpffs that its owner
                // mounted here is used; one that xdpctl mounted unasked would be a surprise.
                if if_missing == IfMissing::Mount
                    && bpffs(IfMissing::Leave)?.is_none()
                    && let Some(name) = mount_namespace::made_by_ip_netns()
                {
                    return Err(Error::Transient(name));
                }
                Ok(bpffs(if_missing)?.map(|_| visible()))
            }
            Outer::Unseen => match mount_namespace::made_by_ip_netns() {
                // A bpffs that is mounted here nevertheless ends with /sys.
                Some(name) => Err(Error::Transient(name)),
                None => Ok(bpffs(if_missing)?.map(|_| visible())),
            },
            Outer::Other(mounts) => {
                let outer = mount_namespace::inside(&mounts, || bpffs(if_missing))
                    .map_err(Error::Enter)??;
                let Some(outer) = outer else { return Ok(None) };
                // A service with private mounts usually sees the very same bpffs.
                if let Ok(Some(own)) = bpffs(IfMissing::Leave)
                    && device(&own)? == device(&outer)?
                {
                    return Ok(Some(visible()));
                }
                let base = PathBuf::from(format!("/proc/self/fd/{}", outer.as_raw_fd()));
                Ok(Some(Self { base, held: Some(outer) }))
            }
        }
    }

    /// The path of the bpffs. Where [`Self::transient`] is true, it is valid in this process only.
    pub fn path(&self) -> &Path {
        &self.base
    }

    /// Whether pins go to the machine's bpffs and not to what the caller sees as /sys/fs/bpf.
    pub fn transient(&self) -> bool {
        self.held.is_some()
    }

    /// The path as it is in the machine's own mount namespace, for messages.
    pub fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.base) {
            Ok(rest) => Path::new(MOUNT_POINT).join(rest),
            Err(_) => path.to_owned(),
        }
    }

    /// The directory for pins of the network namespace with that cookie, with what is `below` it,
    /// made if it is not there yet.
    pub fn create_dir(&self, cookie: u64, below: &[&str]) -> Result<PathBuf, Error> {
        let cookie = cookie.to_string();
        private_dir::create(&self.base, &names(&cookie, below)).map_err(|e| self.told(e))
    }

    /// The same directory if it is there.
    pub fn existing_dir(&self, cookie: u64, below: &[&str]) -> Result<Option<PathBuf>, Error> {
        let cookie = cookie.to_string();
        private_dir::existing(&self.base, &names(&cookie, below)).map_err(|e| self.told(e))
    }

    /// Removes the directories `below` that one, from the innermost outwards, as far as they are
    /// empty. The directory itself is removed with its lock.
    pub fn remove_dir(&self, cookie: u64, below: &[&str]) -> Result<(), Error> {
        let Some(directory) = self.existing_dir(cookie, &[])? else { return Ok(()) };
        private_dir::remove_if_empty(&directory, below).map_err(|e| self.told(e))
    }

    /// Takes the lock of that directory, which is made if it is not there. It waits while another
    /// command has the lock, and tells `say` after a while which command that is.
    ///
    /// Commands of a network namespace exclude each other here, and not under `/run`: two of them
    /// may see different `/run`s, as in containers, and change pins on the same bpffs.
    pub fn lock(&self, cookie: u64, patience: Patience, say: &mut Say<'_>) -> Result<Lock, Error> {
        let cookie = cookie.to_string();
        let lock = Lock::acquire(&self.base, &names(&cookie, &[]), patience, say);
        lock.map_err(|error| self.not_locked(error))
    }

    /// As [`Self::lock`], without waiting; `None` where another command has it or there is no
    /// directory.
    pub fn try_lock(&self, cookie: u64) -> Result<Option<Lock>, Error> {
        let cookie = cookie.to_string();
        Lock::try_acquire(&self.base, &names(&cookie, &[])).map_err(|error| self.not_locked(error))
    }

    /// Ends a lock of [`Self::lock`], and removes the directory if it is empty.
    pub fn release(&self, lock: Lock) -> Result<(), Error> {
        lock.release().map_err(|e| self.told(e))
    }

    /// The cookies of the network namespaces that have a directory.
    pub fn cookies(&self) -> Result<Vec<u64>, Error> {
        let above = private_dir::existing(&self.base, &[PRODUCT, LAYOUT]);
        let Some(above) = above.map_err(|e| self.told(e))? else { return Ok(Vec::new()) };
        let read = || -> io::Result<Vec<u64>> {
            let mut cookies = Vec::new();
            for entry in fs::read_dir(&above)? {
                cookies
                    .extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
            }
            Ok(cookies)
        };
        match read() {
            // Another command has just removed it, as it was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => {
                let path = self.shown(&above);
                Err(private_dir::Error::Io { action: "read", path, source }.into())
            }
            Ok(cookies) => Ok(cookies),
        }
    }

    fn not_locked(&self, error: lock::Error) -> Error {
        match error {
            lock::Error::Directory(error) => self.told(error),
            lock::Error::Held { path, holder, waited } => {
                lock::Error::Held { path: self.shown(&path), holder, waited }.into()
            }
        }
    }

    fn told(&self, error: private_dir::Error) -> Error {
        Error::Directory(error.shown_under(&self.base, Path::new(MOUNT_POINT)))
    }
}

fn names<'a>(cookie: &'a str, below: &[&'a str]) -> Vec<&'a str> {
    [&[PRODUCT, LAYOUT, cookie], below].concat()
}

/// The directory at the mount point, of the mount namespace that the calling thread is in, if it
/// is a bpffs.
fn bpffs(if_missing: IfMissing) -> Result<Option<OwnedFd>, Error> {
    let directory = open_mount_point()?;
    if is_bpffs(&directory)? {
        return Ok(Some(directory));
    }
    if if_missing == IfMissing::Leave {
        return Ok(None);
    }
    // Two commands at once would mount over each other, and the later mount would hide the earlier
    // command's pins.
    let _lock = RunDir::lock_mounting()?;
    let directory = open_mount_point()?;
    if is_bpffs(&directory)? {
        return Ok(Some(directory));
    }
    // As systemd mounts it.
    mount(
        Some("bpf"),
        MOUNT_POINT,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME,
        Some("mode=700"),
    )
    .map_err(|errno| Error::Io { action: "mount a bpffs on", source: errno.into() })?;
    log::info!("mounted a bpffs on {MOUNT_POINT}");
    Ok(Some(open_mount_point()?))
}

fn open_mount_point() -> Result<OwnedFd, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(MOUNT_POINT, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => Error::NoMountPoint,
        errno => Error::Io { action: "open", source: errno.into() },
    })
}

fn is_bpffs(directory: &OwnedFd) -> Result<bool, Error> {
    let statfs = fstatfs(directory)
        .map_err(|errno| Error::Io { action: "look at", source: errno.into() })?;
    Ok(statfs.filesystem_type() == BPF_FS_MAGIC)
}

/// The device number of the file system that the directory is on, which all its mounts share.
fn device(directory: &OwnedFd) -> Result<u64, Error> {
    let stat =
        fstat(directory).map_err(|errno| Error::Io { action: "look at", source: errno.into() })?;
    Ok(stat.st_dev)
}
