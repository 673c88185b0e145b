//! Directories that are root's alone.
//!
//! Pins and run-time state are trusted when they are read back. So nobody but root may make or
//! replace the files, nor make, replace or look into the directories that they are in.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};

/// Permissions of every directory made here.
const MODE: u32 = 0o700;

/// A directory cannot be made or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("only root may make {}", .0.display())]
    NotRoot(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotFile(PathBuf),
    #[error("{} belongs to user {owner}, not to root, and is not trusted", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("{} is open to others (mode {mode:04o}) and is not trusted", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot(_) => Some("run it as root: `sudo xdpctl ...`".to_owned()),
            Self::NotDirectory(path)
            | Self::NotFile(path)
            | Self::Owner { path, .. }
            | Self::Open { path, .. } => Some(format!(
                "xdpctl did not make it like that: see who did, and remove it (`ls -la {}`)",
                path.display()
            )),
            Self::Io { .. } => None,
        }
    }

    /// The same error, with paths under `base` shown as paths under `shown`.
    pub(in crate::datapath) fn shown_under(mut self, base: &Path, shown: &Path) -> Self {
        let (Self::NotRoot(path)
        | Self::NotDirectory(path)
        | Self::NotFile(path)
        | Self::Owner { path, .. }
        | Self::Open { path, .. }
        | Self::Io { path, .. }) = &mut self;
        if let Ok(rest) = path.strip_prefix(base) {
            // `shown.join("")` would end with a slash.
            *path = shown.components().chain(rest.components()).collect();
        }
        self
    }
}

/// Makes `base`/`names[0]`/`names[1]`/…, each directory private to root, and returns the path.
///
/// A directory that exists already is made private if only root can write to it, and refused
/// otherwise. `base` itself is taken as it is.
pub fn create(base: &Path, names: &[&str]) -> Result<PathBuf, Error> {
    // A command in another network namespace may remove a directory that is still empty before the
    // next one is made in it. Then this begins again.
    for _ in 0..100 {
        match create_once(base, names) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    create_once(base, names)
}

fn create_once(base: &Path, names: &[&str]) -> Result<PathBuf, Error> {
    let (mut path, mut directory) = open_base(base)?;
    for name in names {
        path.push(name);
        // A directory that another user made would be refused below, and from then on by root's
        // commands too.
        if !Uid::effective().is_root() {
            return Err(Error::NotRoot(path));
        }
        match mkdirat(&directory, *name, Mode::from_bits_truncate(MODE)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(io_error("make", &path, errno)),
        }
        directory = open_private(&directory, name, &path)?;
        close_to_others(&directory, &path)?;
    }
    Ok(path)
}

/// Takes from others all permissions for a directory of root's.
fn close_to_others(directory: &OwnedFd, path: &Path) -> Result<(), Error> {
    let stat = fstat(directory).map_err(|errno| io_error("look at", path, errno))?;
    if stat.st_mode & 0o077 == 0 {
        return Ok(());
    }
    // fchmod(2) does not take an `O_PATH` descriptor, but chmod(2) takes its name in /proc.
    let by_descriptor = format!("/proc/self/fd/{}", directory.as_raw_fd());
    fs::set_permissions(by_descriptor, fs::Permissions::from_mode(MODE))
        .map_err(|source| Error::Io { action: "make private", path: path.to_owned(), source })
}

/// The path that [`create`] would return, if all of it is there.
pub fn existing(base: &Path, names: &[&str]) -> Result<Option<PathBuf>, Error> {
    let (mut path, mut directory) = open_base(base)?;
    for name in names {
        path.push(name);
        directory = match open_private(&directory, name, &path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
    }
    Ok(Some(path))
}

/// Reads a file in a directory that is root's alone; `None` where there is none. Symbolic links are
/// not followed, and a file that another user could have written is refused.
pub fn read_file(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.join(name);
    let missing = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
    let parent = match open_own(directory, OFlag::O_PATH) {
        Err(error) if missing(&error) => return Ok(None),
        other => other?,
    };
    // Without `O_NONBLOCK` the open would wait for a FIFO's writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(&parent, name, flags, Mode::empty()) {
        Ok(file) => fs::File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP | Errno::ENXIO) => return Err(Error::NotFile(path)),
        Err(errno) => return Err(io_error("open", &path, errno)),
    };
    let told = |action, source| Error::Io { action, path: path.clone(), source };
    let metadata = file.metadata().map_err(|source| told("look at", source))?;
    judge_file(&path, &metadata)?;
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).map_err(|source| told("read", source))?;
    Ok(Some(bytes))
}

/// Makes an empty file, in the place of one that is there, in a directory that is root's alone. The
/// directory is made if it is not there.
pub fn create_file(directory: &Path, name: &str) -> Result<fs::File, Error> {
    let path = directory.join(name);
    match fs::DirBuilder::new().mode(MODE).create(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::Io { action: "make", path: directory.to_owned(), source });
        }
        _ => {}
    }
    let parent = open_own(directory, OFlag::O_PATH)?;
    match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(io_error("remove", &path, errno)),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    openat(&parent, name, flags, Mode::from_bits_truncate(0o600))
        .map(fs::File::from)
        .map_err(|errno| io_error("make", &path, errno))
}

/// Opens a directory that [`create`] or [`existing`] returned, so that it can be locked. Those open
/// it with `O_PATH` only, for which flock(2) is EBADF.
pub fn open_to_lock(path: &Path) -> Result<fs::File, Error> {
    open_own(path, OFlag::O_RDONLY).map(fs::File::from)
}

/// Opens a directory that belongs to the caller, who is root except in tests, without following a
/// symbolic link.
fn open_own(path: &Path, access: OFlag) -> Result<OwnedFd, Error> {
    let flags = access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = match open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(Error::NotDirectory(path.to_owned())),
        Err(errno) => return Err(io_error("open", path, errno)),
    };
    let stat = fstat(&directory).map_err(|errno| io_error("look at", path, errno))?;
    judge_own(path, stat.st_uid, stat.st_mode & 0o7777)?;
    Ok(directory)
}

/// Refuses anything but a regular file that no other user could have written.
pub fn judge_file(path: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    if !metadata.is_file() {
        return Err(Error::NotFile(path.to_owned()));
    }
    judge_own(path, metadata.uid(), metadata.mode() & 0o7777)
}

fn judge_own(path: &Path, owner: u32, mode: u32) -> Result<(), Error> {
    let owner = if owner == Uid::effective().as_raw() { 0 } else { owner };
    judge(path, owner, mode)
}

/// Removes the directories of `base`/`names[0]`/…, from the innermost outwards, as far as they are
/// empty and nothing is mounted on them. `base` itself stays.
pub fn remove_if_empty(base: &Path, names: &[&str]) -> Result<(), Error> {
    for count in (1..=names.len()).rev() {
        let (outer, name) = (&names[..count - 1], names[count - 1]);
        let Some(parent) = existing(base, outer)? else { continue };
        let (parent, directory) = match open_base(&parent) {
            // A command in another network namespace has removed it meanwhile.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        match unlinkat(&directory, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // EBUSY: somebody mounted something there.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY) => return Ok(()),
            Err(errno) => return Err(io_error("remove", &parent.join(name), errno)),
        }
    }
    Ok(())
}

fn open_base(base: &Path) -> Result<(PathBuf, OwnedFd), Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory =
        open(base, flags, Mode::empty()).map_err(|errno| io_error("open", base, errno))?;
    Ok((base.to_owned(), directory))
}

/// Opens a directory by name without following a symbolic link, and checks that only root can write
/// to it.
fn open_private(parent: impl AsFd, name: &str, path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(Error::NotDirectory(path.to_owned())),
        Err(errno) => return Err(io_error("open", path, errno)),
    };
    let stat = fstat(&directory).map_err(|errno| io_error("look at", path, errno))?;
    judge(path, stat.st_uid, stat.st_mode & 0o7777)?;
    Ok(directory)
}

fn judge(path: &Path, owner: u32, mode: u32) -> Result<(), Error> {
    if owner != 0 {
        return Err(Error::Owner { path: path.to_owned(), owner });
    }
    // Others may be able to read it, but what only root can write can be trusted.
    if mode & 0o022 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Io { action, path: path.to_owned(), source: errno.into() }
}

/// Removes whatever has that name, if anything. Somebody may have put a directory where a pin was,
/// or a file where a directory was, and that must not be in the way forever.
pub fn remove(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => gone(fs::remove_dir_all(path)),
        other => gone(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_roots_alone_is_trusted() {
        let path = Path::new("/run/xdpctl");
        assert!(judge(path, 0, 0o700).is_ok());
        assert!(judge(path, 0, 0o500).is_ok());
        assert!(judge(path, 0, 0o755).is_ok());
        assert_eq!(
            judge(path, 1000, 0o700).unwrap_err().to_string(),
            "/run/xdpctl belongs to user 1000, not to root, and is not trusted"
        );
        assert_eq!(
            judge(path, 0, 0o775).unwrap_err().to_string(),
            "/run/xdpctl is open to others (mode 0775) and is not trusted"
        );
    }

    #[test]
    fn an_error_tells_the_path_that_the_reader_knows() {
        let error = judge(Path::new("/proc/self/fd/5/xdpctl"), 0, 0o757).unwrap_err();
        let shown = error.shown_under(Path::new("/proc/self/fd/5"), Path::new("/sys/fs/bpf"));
        assert!(shown.to_string().starts_with("/sys/fs/bpf/xdpctl is open"), "{shown}");
    }

    #[test]
    fn what_is_not_there_is_not_an_error() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(existing(base.path(), &["xdpctl", "v1"]).unwrap(), None);
        remove_if_empty(base.path(), &["xdpctl", "v1"]).unwrap();
    }
}
