//! Where run-time state goes: one directory for each network namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::datapath::host::lock::{self, Lock};
use crate::datapath::host::waiting::Patience;
use crate::datapath::sys::private_dir;

/// Where every machine keeps run-time state.
const BASE: &str = "/run";
/// The directories below it: the product, and the version of the layout of its state.
const PRODUCT: &str = "xdpctl";
const LAYOUT: &str = "v1";
/// The lock's directory, beside `LAYOUT`; it exists only while a command mounts a bpffs.
const MOUNTING: &str = "mounting";

/// `/run/xdpctl/v1/COOKIE`, private to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    base: PathBuf,
    cookie: String,
    path: PathBuf,
}

impl RunDir {
    /// The directory of the network namespace with that cookie, made if it is not there yet.
    pub fn create(cookie: u64) -> Result<Self, private_dir::Error> {
        Self::create_under(Path::new(BASE), cookie)
    }

    /// The same directory if it is there, for commands that only look.
    pub fn existing(cookie: u64) -> Result<Option<Self>, private_dir::Error> {
        let directory = Self::named(Path::new(BASE), cookie);
        Ok(private_dir::existing(&directory.base, &directory.names())?.map(|_| directory))
    }

    /// As [`Self::create`], below `base` instead of `/run`.
    pub fn create_under(base: &Path, cookie: u64) -> Result<Self, private_dir::Error> {
        let directory = Self::named(base, cookie);
        directory.make()?;
        Ok(directory)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it, and the directories above it as far as they are empty.
    pub fn remove(&self) -> Result<(), private_dir::Error> {
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let path = self.path.clone();
                Err(private_dir::Error::Io { action: "remove", path, source })
            }
            _ => self.remove_if_empty(),
        }
    }

    fn make(&self) -> Result<(), private_dir::Error> {
        private_dir::create(&self.base, &self.names()).map(|_| ())
    }

    /// Removes it and the directories above it, as far as they are empty.
    pub fn remove_if_empty(&self) -> Result<(), private_dir::Error> {
        private_dir::remove_if_empty(&self.base, &self.names())
    }

    /// Takes the lock for mounting a bpffs, in the mount namespace of the calling thread. The mount
    /// point itself cannot be the lock: without a bpffs it is a directory of sysfs, which anybody
    /// can open and so keep locked forever.
    pub(super) fn lock_mounting() -> Result<Lock, lock::Error> {
        // A mount takes no time, so nobody has to be told of the wait.
        Lock::acquire(Path::new(BASE), &[PRODUCT, MOUNTING], Patience::COMMAND, &mut |_| {})
    }

    fn named(base: &Path, cookie: u64) -> Self {
        let cookie = cookie.to_string();
        let path = base.join(PRODUCT).join(LAYOUT).join(&cookie);
        Self { base: base.to_owned(), cookie, path }
    }

    fn names(&self) -> [&str; 3] {
        [PRODUCT, LAYOUT, &self.cookie]
    }
}
