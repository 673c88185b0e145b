//! One command at a time changes what is attached in a network namespace.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::datapath::host::run_dir::RunDir;
use crate::datapath::sys::private_dir;

const FILE: &str = "lock";

/// The lock could not be taken, or its directory not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Directory(#[from] private_dir::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lock { .. } => None,
            Self::Directory(error) => error.hint(),
        }
    }
}

/// The lock, held until this is dropped or the process ends, however it ends: the kernel lets go
/// of it with the file, so there is nothing stale to clean up.
#[derive(Debug)]
pub struct Lock {
    _file: Held,
    directory: RunDir,
}

/// A locked file, which is let go of when this is dropped. What nix does then panics where the kernel
/// refuses it.
#[derive(Debug)]
pub(super) struct Held(Option<Flock<File>>);

impl Held {
    pub(super) fn new(file: Flock<File>) -> Self {
        Self(Some(file))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(file) = self.0.take()
            && let Err((file, _)) = file.unlock()
        {
            // Still locked, and never dropped: the lock ends with the process.
            mem::forget(file);
        }
    }
}

impl Lock {
    /// Takes the lock of that directory's network namespace, and waits for it where another
    /// command has it.
    pub fn acquire(directory: &RunDir) -> Result<Self, Error> {
        let path = directory.path().join(FILE);
        let told = |source| Error::Lock { path: path.clone(), source };
        loop {
            let file = match open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    directory.make()?;
                    continue;
                }
                other => other.map_err(told)?,
            };
            let file = lock(file, &path).map_err(told)?;
            // The command that was waited for may have removed the file along with what it
            // detached last; a lock on that would keep nobody out.
            if is_current(&file, &path).map_err(told)? {
                return Ok(Self { _file: Held::new(file), directory: directory.clone() });
            }
        }
    }

    /// Ends the lock and removes the directory, if nothing else is in it: for the command that
    /// detached the network namespace's last interface.
    pub fn retire(self) -> Result<(), Error> {
        let path = self.directory.path().join(FILE);
        let told = |source| Error::Lock { path: path.clone(), source };
        let mut others = false;
        for entry in fs::read_dir(self.directory.path()).map_err(told)? {
            others |= entry.map_err(told)?.file_name() != FILE;
        }
        if !others {
            fs::remove_file(&path).map_err(told)?;
            self.directory.remove_if_empty()?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    // As everything that std opens, not for child processes, which would keep the lock.
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn lock(file: File, path: &Path) -> io::Result<Flock<File>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((file, Errno::EWOULDBLOCK)) => {
            log::info!("waiting for another xdpctl to finish ({} is locked)", path.display());
            wait(file)
        }
        other => other.map_err(|(_, errno)| errno.into()),
    }
}

fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(current) => Ok((current.dev(), current.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn wait(mut file: File) -> io::Result<Flock<File>> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Err((again, Errno::EINTR)) => file = again,
            other => return other.map_err(|(_, errno)| errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_waits_until_the_first_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let first = lock(open(&path).unwrap(), &path).unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = lock(open(&path).unwrap(), &path).unwrap();
                sender.send(()).unwrap();
            });
            assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
            drop(first);
            receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        });
    }

    #[test]
    fn a_removed_or_replaced_file_is_not_the_current_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let file = open(&path).unwrap();
        assert!(is_current(&file, &path).unwrap());
        fs::rename(&path, directory.path().join("old")).unwrap();
        assert!(!is_current(&file, &path).unwrap());
        open(&path).unwrap();
        assert!(!is_current(&file, &path).unwrap());
    }
}
