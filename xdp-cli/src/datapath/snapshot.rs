//! The ruleset in force, kept beside the pins: list files change, and later commands want to know
//! what the kernel was told, and from which line.
//!
//! One file a generation, written before the ruleset is put in force and removed when the next one
//! is, so that there is always one for the generation that the image names. Losing it loses no
//! verdict.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, Trying};
use crate::config::prefix::{masked_v4, masked_v6};
use crate::ruleset::{List, MAX_LISTS, MAX_RULES, Matches, Prefix, Prefixes, Ruleset, Vlan};

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
struct Out<W> {
    file: W,
    error: Option<io::Error>,
}

impl<W: io::Write> io::Write for Out<W> {
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
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        encode(snapshot, io::BufWriter::with_capacity(1 << 16, file))
    };
    write().trying(format_args!("keep the ruleset in {}", path.display()))
}

/// Writes what a snapshot's file holds.
pub fn encode(snapshot: &Borrowed<'_>, mut file: impl io::Write) -> io::Result<()> {
    file.write_all(MAGIC)?;
    let mut out = Out { file, error: None };
    match postcard::to_io(snapshot, &mut out) {
        Ok(_) => io::Write::flush(&mut out),
        Err(error) => Err(out.error.unwrap_or_else(|| io::Error::other(error))),
    }
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
    let snapshot = decode(&bytes)
        .map_err(|error| Error::new(format!("cannot {what}: it is damaged ({error})")))?;
    Ok(snapshot.filter(|snapshot| snapshot.loaded_at == loaded_at))
}

/// Why a file of this version is not one that this version wrote.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Form(#[from] postcard::Error),
    #[error("no configuration comes to such a ruleset")]
    Ruleset,
}

/// What a file of these bytes keeps; `None` where it is another version's.
pub fn decode(bytes: &[u8]) -> std::result::Result<Option<Snapshot>, Damage> {
    let Some(body) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let snapshot: Snapshot = postcard::from_bytes(body)?;
    if !is_possible(&snapshot.ruleset) {
        return Err(Damage::Ruleset);
    }
    Ok(Some(snapshot))
}

/// Whether the loader could have made this ruleset, as far as others count on it: no more than a
/// ruleset has room for, prefixes without bits beyond their length, ranges from low to high, and
/// origins in files that there are.
fn is_possible(ruleset: &Ruleset) -> bool {
    let lists = || ruleset.allowlists.iter().chain(&ruleset.blocklists);
    let origins = |list: &List| {
        let v4 = list.v4.iter().all(|it| is_v4(&it.prefix) && ruleset.files.len() > it.file.into());
        v4 && list.v6.iter().all(|it| is_v6(&it.prefix) && ruleset.files.len() > it.file.into())
    };
    lists().count() <= MAX_LISTS
        && ruleset.rules.len() <= MAX_RULES
        && lists().all(origins)
        && ruleset.rules.iter().all(|rule| can_ask(&rule.matches))
}

fn can_ask(matches: &Matches) -> bool {
    let prefixes = |prefixes: &Option<Prefixes>| {
        let mut prefixes = prefixes.iter();
        prefixes.all(|it| it.v4.iter().all(is_v4) && it.v6.iter().all(is_v6))
    };
    let ports = |ranges: &Option<Vec<(u16, u16)>>| {
        ranges.iter().flatten().all(|(first, last)| first <= last)
    };
    let vlan = match &matches.vlan {
        Some(Vlan::Ids(ids)) => ids.iter().all(|id| *id < 1 << 12),
        Some(Vlan::Untagged) | None => true,
    };
    prefixes(&matches.source)
        && prefixes(&matches.destination)
        && ports(&matches.source_port)
        && ports(&matches.destination_port)
        && vlan
}

fn is_v4(prefix: &Prefix<u32>) -> bool {
    prefix.length <= 32 && masked_v4(prefix.address, prefix.length).0 == *prefix
}

fn is_v6(prefix: &Prefix<u128>) -> bool {
    prefix.length <= 128 && masked_v6(prefix.address, prefix.length).0 == *prefix
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
