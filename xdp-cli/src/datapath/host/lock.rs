//! Locks by which commands exclude each other: flock(2) on directories that are root's alone.
//!
//! Whoever may open a file can hold its lock for as long as they like (flock(2) asks for no permission
//! beyond that). So the locked file is one that others cannot open: a directory of mode 0700, in
//! directories that only root can write to. It is removed with its lock, if it is empty by then.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::datapath::host::waiting::{self, Holder, Patience, Say, Waiting, named};
use crate::datapath::sys::private_dir;

/// A lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Directory(#[from] private_dir::Error),
    #[error(
        "waited {} seconds for {}, which has {} locked",
        waited.as_secs(), named(holder.as_ref()), path.display()
    )]
    Held { path: PathBuf, holder: Option<Holder>, waited: Duration },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Held { holder: Some(Holder { pid, .. }), .. } => Some(format!(
                "run it again when that has ended; if it never does, `kill {pid}` ends it, and what \
                 it was to change is done as a whole or not at all"
            )),
            Self::Held { path, .. } => Some(format!(
                "`fuser -v {}` shows which; run it again when that has ended",
                path.display()
            )),
        }
    }
}

/// The lock of a directory, held until this is dropped or the process ends, however it ends: the
/// kernel releases it with the descriptor, so no stale lock is ever left to clean up.
///
/// Only its holder may remove the directory, and does so last: a lock on a removed directory keeps
/// nobody out.
#[derive(Debug)]
pub struct Lock {
    base: PathBuf,
    names: Vec<String>,
    _held: Held,
}

/// A locked directory, unlocked when this is dropped. `Flock` itself would panic on drop where the
/// kernel refuses to unlock.
#[derive(Debug)]
struct Held(Option<Flock<File>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take()
            && let Err((directory, _)) = directory.unlock()
        {
            // Still locked, and never dropped: the lock ends with the process.
            mem::forget(directory);
        }
    }
}

impl Lock {
    /// Takes the lock of `base`/`names[0]`/`names[1]`/…, which is made if it is not there. It waits
    /// while another command has the lock, and tells `say` after a while which command that is.
    pub fn acquire(
        base: &Path,
        names: &[&str],
        patience: Patience,
        say: &mut Say<'_>,
    ) -> Result<Self, Error> {
        let mut waiting = Waiting::begin(patience, say);
        loop {
            let path = private_dir::create(base, names)?;
            if let Some(lock) = Self::of_existing(base, names, &path, |it| waiting.lock(it))? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock of a directory; `None` where it is not there or another process has locked
    /// it.
    pub fn try_acquire(base: &Path, names: &[&str]) -> Result<Option<Self>, Error> {
        let Some(path) = private_dir::existing(base, names)? else { return Ok(None) };
        let now = FlockArg::LockExclusiveNonblock;
        let lock = |directory| {
            Flock::lock(directory, now).map_err(|(_, errno)| waiting::Error::Io(errno.into()))
        };
        Self::of_existing(base, names, &path, lock)
    }

    /// `None` where the directory was removed meanwhile, or `lock` would have to wait.
    fn of_existing(
        base: &Path,
        names: &[&str],
        path: &Path,
        lock: impl FnOnce(File) -> Result<Flock<File>, waiting::Error>,
    ) -> Result<Option<Self>, Error> {
        let told =
            |source| private_dir::Error::Io { action: "lock", path: path.to_owned(), source };
        let directory = match private_dir::open_to_lock(path) {
            Err(private_dir::Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let held = match lock(directory) {
            Ok(directory) => Held(Some(directory)),
            Err(waiting::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(None);
            }
            Err(waiting::Error::Io(error)) => return Err(told(error).into()),
            Err(waiting::Error::Held { holder, waited }) => {
                return Err(Error::Held { path: path.to_owned(), holder, waited });
            }
        };
        // The command that had the lock may have removed the directory after its last detach, and
        // another one may have made the directory anew and locked that.
        let is_current = match &held.0 {
            Some(directory) => is_current(directory, path).map_err(told)?,
            None => false,
        };
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Ok(is_current.then(|| Self { base: base.to_owned(), names, _held: held }))
    }

    /// Removes the directory and those above it as far as they are empty, then ends the lock.
    pub fn release(mut self) -> Result<(), private_dir::Error> {
        let removed = self.remove();
        // So that `drop` does not try it again.
        self.names.clear();
        removed
    }

    fn remove(&self) -> Result<(), private_dir::Error> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        private_dir::remove_if_empty(&self.base, &names)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty directory that cannot be removed does no harm: the next command uses it.
        let _ = self.remove();
    }
}

fn is_current(directory: &File, path: &Path) -> io::Result<bool> {
    let held = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(current) => Ok((current.dev(), current.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_or_replaced_directory_is_not_the_current_one() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("locked");
        fs::create_dir(&path).unwrap();
        let directory = File::open(&path).unwrap();
        assert!(is_current(&directory, &path).unwrap());
        fs::remove_dir(&path).unwrap();
        assert!(!is_current(&directory, &path).unwrap());
        fs::create_dir(&path).unwrap();
        assert!(!is_current(&directory, &path).unwrap());
    }

    #[test]
    fn who_gives_up_says_what_to_do() {
        let path = PathBuf::from("/sys/fs/bpf/xdpctl/v1/7");
        let waited = Duration::from_secs(30);
        let holder = Holder { command: "xdpctl reload".to_owned(), pid: 4242 };
        let error = Error::Held { path: path.clone(), holder: Some(holder), waited };
        insta::assert_snapshot!(error, @"waited 30 seconds for xdpctl reload, process 4242, which has /sys/fs/bpf/xdpctl/v1/7 locked");
        assert!(error.hint().unwrap().contains("`kill 4242`"));
        let error = Error::Held { path, holder: None, waited };
        insta::assert_snapshot!(error, @"waited 30 seconds for another command, which has /sys/fs/bpf/xdpctl/v1/7 locked");
        assert!(error.hint().unwrap().contains("`fuser -v /sys/fs/bpf/xdpctl/v1/7`"));
    }
}
