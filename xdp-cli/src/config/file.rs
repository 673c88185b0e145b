//! Reads files from disk: only regular ones, and only up to a size.
//!
//! Whoever writes a configuration names list files, which are often fetched from elsewhere. So a
//! FIFO must not hang the command, a device must not even be opened, and a file must not fill the
//! memory.

use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use xdp_common::capacity::MAX_FILE_SIZE;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}", describe(.0))]
    Io(io::Error),
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it has {0} bytes, {MAX_FILE_SIZE} are the most")]
    TooLarge(u64),
    #[error("it is being written")]
    Changing,
}

impl FileError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::NotFound => "create the file, or correct the path",
                io::ErrorKind::PermissionDenied => "let the caller read it",
                _ => "the file must exist and be readable",
            },
            Self::NotRegular(_) => "name a regular file, or a symbolic link to one",
            Self::TooLarge(_) => "split the file",
            Self::Changing => "whoever writes it should write another file, and rename that",
        }
    }
}

/// The system's error message, without the number that the standard library adds.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// The name of standard input in the place of a file's.
pub const STDIN: &str = "<stdin>";

/// Whether a path given on the command line means standard input.
pub fn means_stdin(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// All of standard input. It can be read only once, but a command may ask for it again, such as for
/// each interface, so what was read is kept. Fails if it cannot be read or is larger than
/// [`MAX_FILE_SIZE`].
pub fn stdin() -> Result<Vec<u8>, FileError> {
    static READ: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read.clone());
    }
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(FileError::Io)?;
    let size = bytes.len() as u64;
    if size > MAX_FILE_SIZE {
        return Err(FileError::TooLarge(size));
    }
    Ok(READ.get_or_init(|| bytes).clone())
}

/// Where a configuration and its list files come from.
pub trait Files {
    /// The content of a file.
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError>;

    /// An identity that is the same whatever path names the file; `None` if nothing is known but
    /// the path.
    fn identity(&self, _path: &Path) -> Option<FileId> {
        None
    }
}

/// A function that makes up files as they are asked for.
impl<F: Fn(&Path) -> Result<Vec<u8>, FileError>> Files for F {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        self(path)
    }
}

/// The files of this machine.
#[derive(Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        read(path)
    }

    fn identity(&self, path: &Path) -> Option<FileId> {
        let metadata = fs::metadata(path).ok()?;
        Some(FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Identifies a file, whatever path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// Last change of its inode, in seconds since 1970 and nanoseconds. When a list is replaced,
    /// the next file may get the same inode number; this tells the two apart.
    changed: (i64, i64),
}

impl FileId {
    /// Last change of its inode, in seconds since 1970 and nanoseconds.
    pub fn changed(self) -> (i64, i64) {
        self.changed
    }
}

/// Tells a file from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileKey {
    Id(FileId),
    /// For a file that does not exist, or is not on a disk.
    Path(PathBuf),
}

impl FileKey {
    pub(super) fn of(files: &dyn Files, path: &Path) -> Self {
        files.identity(path).map_or_else(|| Self::Path(path.to_owned()), Self::Id)
    }
}

/// How often to read a file that changes while it is read.
const ATTEMPTS: u32 = 3;

/// Reads a whole regular file; symbolic links are followed. A file that changed while it was read
/// is read again: half a list would let through what the other half blocks.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    log::debug!("reading {}", path.display());
    for _ in 0..ATTEMPTS {
        if let Some(bytes) = read_once(path)? {
            return Ok(bytes);
        }
    }
    Err(FileError::Changing)
}

/// Reads a file once; `None` if it changed meanwhile.
fn read_once(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    // Check before opening, since opening a device can already have an effect, and again after,
    // since the path may name another file by then.
    check_kind(fs::metadata(path).map_err(FileError::Io)?.file_type())?;
    // The standard library adds O_CLOEXEC.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(FileError::Io)?;
    let before = file.metadata().map_err(FileError::Io)?;
    check_kind(before.file_type())?;
    if before.len() > MAX_FILE_SIZE {
        return Err(FileError::TooLarge(before.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    // The file may grow while it is read.
    (&file).take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(FileError::Io)?;
    let size = bytes.len() as u64;
    if size > MAX_FILE_SIZE {
        return Err(FileError::TooLarge(size));
    }
    // Files in /proc and /sys are made while they are read, and have a size of 0.
    let after = file.metadata().map_err(FileError::Io)?;
    let whole = size == before.len() || before.len() == 0;
    let same = after.len() == before.len() && after.modified().ok() == before.modified().ok();
    Ok((whole && same).then_some(bytes))
}

fn check_kind(kind: FileType) -> Result<(), FileError> {
    if kind.is_file() {
        return Ok(());
    }
    Err(FileError::NotRegular(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let link = folder.path().join("link");
        let fifo = folder.path().join("fifo");
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        assert_eq!(read(&link).unwrap(), b"text");
        for (path, message) in [
            (fifo.as_path(), "it is a FIFO, not a regular file"),
            (folder.path(), "it is a directory, not a regular file"),
            (socket.as_path(), "it is a socket, not a regular file"),
            (Path::new("/dev/null"), "it is a device, not a regular file"),
            (&folder.path().join("none"), "No such file or directory"),
        ] {
            assert_eq!(read(path).unwrap_err().to_string(), message, "{}", path.display());
        }
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        fs::File::create(&path).unwrap().set_len(MAX_FILE_SIZE).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MAX_FILE_SIZE);
        fs::File::create(&path).unwrap().set_len(MAX_FILE_SIZE + 1).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            "it has 1073741825 bytes, 1073741824 are the most"
        );
    }
}
