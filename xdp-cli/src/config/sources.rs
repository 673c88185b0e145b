//! Records the files that a ruleset was read from, as they were then, so that a later command can
//! tell whether one of them has changed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::file::{FileError, FileId, Files};
use crate::ruleset::path_bytes;

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    #[serde(with = "path_bytes")]
    pub path: PathBuf,
    /// Which file it was and when its inode last changed, asked before it was read. `None` if it
    /// had changed just before: another change right after could have the same time.
    id: Option<FileId>,
    size: u64,
    /// Finds changes that happen, not those of somebody who wants two files to have the same.
    crc32: u32,
}

/// File systems keep times in steps of up to two seconds (FAT).
const STEP: Duration = Duration::from_secs(2);

/// What has happened to a file since it was read.
#[derive(Debug)]
pub enum Since {
    Same,
    /// Its content is different.
    Changed,
    /// It cannot be read any more.
    Unreadable(FileError),
    /// Not known yet: its file system does not answer.
    Unanswered,
}

impl Source {
    fn of(path: &Path, id: FileId, bytes: &[u8], now: SystemTime) -> Self {
        Self {
            path: path.to_owned(),
            id: is_settled(id, now).then_some(id),
            size: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        }
    }

    /// Compares the file with what is there now. If its inode is another or has changed, its
    /// content is read and compared.
    pub fn since(&self, files: &dyn Files, compared: &mut Compared) -> Since {
        let id = files.identity(&self.path);
        if id.is_some() && id == self.id {
            return Since::Same;
        }
        let content = (self.size, self.crc32);
        let same = match (id, compared.0.get(&self.path)) {
            (Some(id), Some(before)) if before.id == id && before.with == content => before.same,
            _ => {
                let now = SystemTime::now();
                let bytes = match files.read(&self.path) {
                    Err(error) => return Since::Unreadable(error),
                    Ok(bytes) => bytes,
                };
                let same = (bytes.len() as u64, crc32fast::hash(&bytes)) == content;
                if let Some(id) = id.filter(|id| is_settled(*id, now)) {
                    let comparison = Comparison { id, with: content, same };
                    compared.0.insert(self.path.clone(), comparison);
                }
                same
            }
        };
        if same { Since::Same } else { Since::Changed }
    }
}

/// What comparing contents gave, by path. Whoever asks again and again with it reads a file that has
/// changed once, and not each time.
#[derive(Debug, Default)]
pub struct Compared(HashMap<PathBuf, Comparison>);

impl Compared {
    /// What is known of one file.
    pub(super) fn of(&self, path: &Path) -> Self {
        Self(self.0.get_key_value(path).map(|(path, it)| (path.clone(), *it)).into_iter().collect())
    }

    /// Takes what another one has found out.
    pub(super) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

#[derive(Clone, Copy, Debug)]
struct Comparison {
    id: FileId,
    /// The size and the CRC that its content was compared with.
    with: (u64, u32),
    same: bool,
}

/// Whether a file's inode changed so long ago that a change from now on gives it another time.
fn is_settled(id: FileId, now: SystemTime) -> bool {
    let since = changed_at(id).and_then(|at| now.duration_since(at).ok());
    since.is_some_and(|since| since > STEP)
}

fn changed_at(id: FileId) -> Option<SystemTime> {
    let (seconds, nanos) = id.changed();
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// Reads files, and records each one.
pub struct Recorded<'f> {
    files: &'f dyn Files,
    sources: RefCell<Vec<Source>>,
}

impl<'f> Recorded<'f> {
    pub fn new(files: &'f dyn Files) -> Self {
        Self { files, sources: RefCell::default() }
    }

    /// The files that were read, in that order.
    pub fn into_sources(self) -> Vec<Source> {
        self.sources.into_inner()
    }
}

impl Files for Recorded<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        let id = self.files.identity(path);
        let bytes = self.files.read(path)?;
        // A file without an identity is not on a disk, and files in /dev and /proc can be different
        // ones for each process.
        let own = ["/dev", "/proc"].iter().any(|directory| path.starts_with(directory));
        if let Some(id) = id.filter(|_| !own) {
            let source = Source::of(path, id, &bytes, SystemTime::now());
            self.sources.borrow_mut().push(source);
        }
        Ok(bytes)
    }

    fn identity(&self, path: &Path) -> Option<FileId> {
        self.files.identity(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::file::Disk;
    use crate::config::load_with;

    /// Writes a configuration with a list file into a folder, and returns the record of both.
    fn read(folder: &Path) -> Vec<Source> {
        let file = folder.join("x.toml");
        fs::write(&file, "[[blocklist]]\nname = 'x'\nfiles = ['list', 'list']").unwrap();
        fs::write(folder.join("list"), "10.0.0.1\n").unwrap();
        let recorded = Recorded::new(&Disk);
        assert!(load_with(&file, &recorded).ruleset.is_some());
        recorded.into_sources()
    }

    fn since(source: &Source) -> Since {
        source.since(&Disk, &mut Compared::default())
    }

    fn is_same(source: &Source) -> bool {
        matches!(since(source), Since::Same)
    }

    /// A disk whose files may be looked up, but not read.
    struct Unread;

    impl Files for Unread {
        fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
            panic!("{} is read", path.display())
        }

        fn identity(&self, path: &Path) -> Option<FileId> {
            Disk.identity(path)
        }
    }

    #[test]
    fn every_file_that_was_read_is_taken_down_once() {
        let folder = tempfile::tempdir().unwrap();
        let sources = read(folder.path());
        let paths: Vec<_> = sources.iter().map(|source| source.path.clone()).collect();
        assert_eq!(paths, [folder.path().join("x.toml"), folder.path().join("list")]);
        assert!(sources.iter().all(is_same));
    }

    #[test]
    fn what_holds_something_else_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let sources = read(folder.path());
        // The same number of bytes, written at nearly the same time.
        fs::write(&list, "10.0.0.2\n").unwrap();
        assert!(matches!(since(&sources[1]), Since::Changed));
        assert!(is_same(&sources[0]));
        fs::remove_file(&list).unwrap();
        assert!(matches!(since(&sources[1]), Since::Unreadable(FileError::Io(_))));
        fs::create_dir(&list).unwrap();
        assert!(matches!(since(&sources[1]), Since::Unreadable(FileError::NotRegular(_))));
    }

    #[test]
    fn what_was_touched_or_replaced_by_the_same_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let sources = read(folder.path());
        fs::OpenOptions::new().append(true).open(&list).unwrap().set_modified(UNIX_EPOCH).unwrap();
        assert!(is_same(&sources[1]));
        fs::write(folder.path().join("other"), "10.0.0.1\n").unwrap();
        fs::rename(folder.path().join("other"), &list).unwrap();
        assert!(is_same(&sources[1]));
        fs::rename(&list, folder.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &list).unwrap();
        assert!(is_same(&sources[1]));
    }

    /// An unchanged file is not read again, unless it had changed just before it was read: another
    /// change right after may have the same time.
    #[test]
    fn only_what_may_have_changed_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "10.0.0.1\n").unwrap();
        let id = Disk.identity(&list).unwrap();
        let at = changed_at(id).unwrap();
        let source = |later| Source::of(&list, id, b"10.0.0.1\n", at + later);
        assert!(matches!(source(2 * STEP).since(&Unread, &mut Compared::default()), Since::Same));
        assert_eq!(source(STEP).id, None);
        assert_eq!(Source::of(&list, id, b"", at - STEP).id, None);
    }

    /// Somebody who asks again and again does not read a large list each time.
    #[test]
    fn what_has_changed_is_compared_once() {
        // A file that did not change just now.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let id = Disk.identity(&file).unwrap();
        let source = |content: &[u8]| Source::of(&file, id, content, UNIX_EPOCH);
        let (same, other) = (source(&fs::read(&file).unwrap()), source(b"other"));
        let mut compared = Compared::default();
        assert!(matches!(other.since(&Disk, &mut compared), Since::Changed));
        assert!(matches!(other.since(&Unread, &mut compared), Since::Changed));
        // With something else, it is another question.
        assert!(matches!(same.since(&Disk, &mut compared), Since::Same));
        assert!(matches!(same.since(&Unread, &mut compared), Since::Same));
    }

    #[test]
    fn what_is_on_no_disk_is_not_taken_down() {
        let files = |_: &Path| -> Result<Vec<u8>, FileError> { Ok(Vec::new()) };
        let recorded = Recorded::new(&files);
        recorded.read(Path::new("-")).unwrap();
        assert_eq!(recorded.into_sources(), []);
        let recorded = Recorded::new(&Disk);
        recorded.read(Path::new("/proc/self/status")).unwrap();
        assert_eq!(recorded.into_sources(), []);
    }
}
