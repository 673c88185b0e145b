//! The notes of entries, in a file beside the ruleset in force. A record holds the number of its
//! note. No verdict depends on the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::datapath::error::{Context, Error, Result};
use crate::datapath::sys::private_dir;

const FILE: &str = "notes";
/// Name of the new file while it is written.
const NEW: &str = "notes.new";
/// Marks a file of this version.
const MAGIC: &[u8; 8] = b"xdpnote\x01";

/// Texts by their numbers.
pub(super) struct Notes {
    directory: PathBuf,
    texts: BTreeMap<u32, String>,
    /// Why the file could not be read, if so: then it may hold notes that are not in `texts`.
    unreadable: Option<Error>,
}

impl Notes {
    /// Reads the notes; there are none where there is no file, or where this version did not write
    /// it.
    pub(super) fn read(directory: PathBuf) -> Self {
        let (texts, unreadable) = match private_dir::read_file(&directory, FILE) {
            Ok(bytes) => (bytes.and_then(|bytes| decode(&bytes)).unwrap_or_default(), None),
            Err(error) => (BTreeMap::new(), Some(error.into())),
        };
        Self { directory, texts, unreadable }
    }

    /// Why the notes cannot be read, if so. Then none is written either, which would remove those
    /// in the file.
    pub(super) fn unreadable(&self) -> Option<&Error> {
        self.unreadable.as_ref()
    }

    /// The text of the note with that number.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(&number).map(String::as_str)
    }

    /// How many notes there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of a text. A new text is written to the file.
    pub(super) fn number(&mut self, text: &str) -> Result<u32> {
        // The number is a hash of the text. If the file is lost and begun anew, other texts do not
        // get the numbers that entries in force still hold.
        let mut number = hashed(text).max(1);
        loop {
            match self.texts.get(&number) {
                Some(known) if known == text => return Ok(number),
                Some(_) => number = number.wrapping_add(1).max(1),
                None => break,
            }
        }
        self.texts.insert(number, text.to_owned());
        self.write()?;
        Ok(number)
    }

    /// Forgets all notes but those with these numbers.
    pub(super) fn keep(&mut self, numbers: &BTreeSet<u32>) -> Result<()> {
        let before = self.texts.len();
        self.texts.retain(|number, _| numbers.contains(number));
        if self.texts.len() == before { Ok(()) } else { self.write() }
    }

    /// Replaces the file as a whole.
    fn write(&self) -> Result<()> {
        if let Some(error) = &self.unreadable {
            return Err(error.clone());
        }
        let (path, new) = (self.directory.join(FILE), self.directory.join(NEW));
        let what = format!("keep the notes in {}", path.display());
        let mut file = private_dir::create_file(&self.directory, NEW).context(&what)?;
        let mut write = || -> io::Result<()> {
            file.write_all(MAGIC)?;
            file.write_all(&postcard::to_stdvec(&self.texts).map_err(io::Error::other)?)?;
            fs::rename(&new, &path)
        };
        write().context(&what)
    }
}

/// The notes in a file of these bytes; `None` where this version did not write it.
pub fn decode(bytes: &[u8]) -> Option<BTreeMap<u32, String>> {
    postcard::from_bytes(bytes.strip_prefix(MAGIC)?).ok()
}

/// FNV-1a.
fn hashed(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_as_long_as_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("7");
        let mut notes = Notes::read(directory.clone());
        let first = notes.number("scanned us").unwrap();
        let second = notes.number("écouté").unwrap();
        assert_ne!(first, second);
        assert_eq!(notes.number("scanned us").unwrap(), first);

        let mut notes = Notes::read(directory.clone());
        assert_eq!((notes.text(first), notes.text(0)), (Some("scanned us"), None));
        notes.keep(&BTreeSet::from([0, second])).unwrap();
        let notes = Notes::read(directory.clone());
        assert_eq!((notes.text(first), notes.text(second)), (None, Some("écouté")));

        fs::write(directory.join(FILE), "nonsense").unwrap();
        assert_eq!(Notes::read(directory.clone()).text(second), None);
        // The same number as before, for entries that still hold it.
        assert_eq!(Notes::read(directory).number("écouté").unwrap(), second);
    }
}
