//! An attachment that waits to be confirmed. Its link is pinned nowhere: the command that made it holds
//! it, and however that command ends, the kernel takes the program off. Until then other commands find
//! the link by its id, which is noted beside the attachment's state.
//!
//! The note alone means nothing: where the link that it names is gone, it is a leftover.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::datapath::attached::key::Key;
use crate::datapath::error::{Context, Result};
use crate::datapath::sys::{bpf, private_dir};

const FILE: &str = "pending";
/// Marks a note of this version.
const MAGIC: &[u8; 8] = b"xdppend\x01";

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The kernel's id of the link, which stays the same as long as the link exists.
    pub link_id: u32,
    /// When it is taken off, in milliseconds since 1970. This is only shown to people: the command
    /// that waits goes by a clock that nobody sets.
    pub until: u64,
}

/// An attachment that ends with this value, unless it was confirmed.
pub struct Held {
    pub key: Key,
    /// The kernel's id of the link.
    pub link_id: u32,
    /// Where its state lies.
    pub state: PathBuf,
    /// Nothing else keeps the program on its interface.
    pub link: OwnedFd,
    /// The program at the egress, if there is one and a link holds it.
    pub egress: Option<OwnedFd>,
}

/// Writes the note, in the directory of an attachment's state.
pub fn write(directory: &Path, pending: &Pending) -> Result<()> {
    let what = "note that the attachment is not confirmed yet";
    let mut file = private_dir::create_file(directory, FILE).context(what)?;
    let body = postcard::to_stdvec(pending).map_err(io::Error::other).context(what)?;
    file.write_all(&[MAGIC, &body[..]].concat()).context(what)
}

/// Removes the note, if it is there.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context("remove the note that the attachment is not confirmed yet"),
    }
}

/// Whether the note is still there.
pub fn is_noted(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join(FILE)).is_ok()
}

/// The link that the note in `state` names, if it still exists and belongs to the program that is
/// pinned at `program`.
pub(super) fn open(state: &Path, program: &Path) -> Result<Option<(Pending, OwnedFd)>> {
    let Some(bytes) = private_dir::read_file(state, FILE)? else { return Ok(None) };
    // Another version's note, or one cut short: then the command that wrote it was killed before it
    // held a link.
    let body = bytes.strip_prefix(MAGIC);
    let Some(pending) = body.and_then(|body| postcard::from_bytes::<Pending>(body).ok()) else {
        return Ok(None);
    };
    let what = "open the link that is not confirmed yet";
    let link = match bpf::link_by_id(pending.link_id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(what)?,
    };
    let is_ours = || -> io::Result<bool> {
        let program = bpf::program_info(bpf::open_pin(program)?)?.id;
        Ok(bpf::link_info(&link)?.program_id == program)
    };
    match is_ours() {
        Ok(true) => Ok(Some((pending, link))),
        Ok(false) => Ok(None),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context(what),
    }
}
