//! The ruleset in force, kept beside the pins: list files change, and later commands want to know
//! what the kernel was told, and from which line.
//!
//! One file a generation, written before the ruleset is put in force and removed when the next one
//! is, so that there is always one for the generation that the image names. Losing it loses no
//! verdict.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, Trying};
use crate::ruleset::Ruleset;

const PREFIX: &str = "ruleset-";
/// Marks a file of this version.
const MAGIC: &[u8; 8] = b"xdpctl\x00\x01";

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// As in the image's metadata: a file of another boot has another.
    pub loaded_at: u64,
    /// The configuration's text.
    pub text: String,
    pub ruleset: Ruleset,
}

/// The same, for writing, without a copy. Field by field as [`Snapshot`].
#[derive(Serialize)]
pub struct Borrowed<'a> {
    pub loaded_at: u64,
    pub text: &'a str,
    pub ruleset: &'a Ruleset,
}

fn path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{generation}"))
}

/// A file that keeps why it could not be written: postcard does not.
struct Out {
    file: io::BufWriter<fs::File>,
    error: Option<io::Error>,
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes).map(|()| bytes.len()).map_err(|error| {
            let told = io::Error::from(error.kind());
            self.error.get_or_insert(error);
            told
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the snapshot of a generation.
pub fn write(directory: &Path, generation: u64, snapshot: &Borrowed<'_>) -> Result<()> {
    let path = path(directory, generation);
    let write = || -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(MAGIC)?;
        let mut out = Out { file: io::BufWriter::with_capacity(1 << 16, file), error: None };
        match postcard::to_io(snapshot, &mut out) {
            Ok(_) => out.file.flush(),
            Err(error) => Err(out.error.unwrap_or_else(|| io::Error::other(error))),
        }
    };
    write().trying(format_args!("keep the ruleset in {}", path.display()))
}

/// Reads the snapshot of a generation; `None` where there is none of that ruleset.
pub fn read(directory: &Path, generation: u64, loaded_at: u64) -> Result<Option<Snapshot>> {
    let path = path(directory, generation);
    let mut bytes = Vec::new();
    let what = format!("read the ruleset kept in {}", path.display());
    match fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.trying(&what)?.read_to_end(&mut bytes).trying(&what)?,
    };
    let Some(body) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let snapshot: Snapshot = postcard::from_bytes(body)
        .map_err(|error| Error::new(format!("cannot {what}: it is damaged ({error})")))?;
    Ok((snapshot.loaded_at == loaded_at).then_some(snapshot))
}

/// Removes the snapshots of all other generations.
pub fn keep_only(directory: &Path, generation: u64) {
    let kept = path(directory, generation);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Beside them lie the notes of entries added at run time.
        let snapshot = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if snapshot && entry.path() != kept {
            let _ = fs::remove_file(entry.path());
        }
    }
}
