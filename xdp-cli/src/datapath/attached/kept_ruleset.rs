//! The ruleset in force, kept beside the pins: list files change, and later commands want to know
//! what the kernel was told, and from which line.
//!
//! One file a generation. It is written before its ruleset is put in force, and removed once the
//! next one is in force, so there is always a file for the generation that the image names. No
//! verdict depends on it.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::prefix::{masked_v4, masked_v6};
use crate::config::sources::Source;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::sys::private_dir;
use crate::ruleset::domains::{DomainList, DomainName, LONGEST_LABEL, LONGEST_NAME, ListedName};
use crate::ruleset::{List, Matches, Prefix, Prefixes, Ruleset, Vlan};
use xdp_common::capacity::{MAX_LISTS, MAX_NAMES, MAX_RULES};

const PREFIX: &str = "ruleset-";
/// Marks a file of this version. Behind it comes the snapshot, then the snapshot's CRC-32, lowest
/// byte first.
const MAGIC: &[u8; 8] = b"xdpctl\x00\x09";

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Milliseconds since 1970, as in the image's metadata. A file that another boot left has
    /// another time.
    pub loaded_at: u64,
    /// The configuration's text.
    pub text: String,
    /// The files that it was read from.
    pub sources: Vec<Source>,
    pub ruleset: Ruleset,
}

/// The same, for writing without a copy. Its fields are those of [`Snapshot`], in the same order.
#[derive(Serialize)]
pub struct Borrowed<'a> {
    pub loaded_at: u64,
    pub text: &'a str,
    pub sources: &'a [Source],
    pub ruleset: &'a Ruleset,
}

fn name(generation: u64) -> String {
    format!("{PREFIX}{generation}")
}

/// A file that remembers the error of a write, which postcard drops, and the checksum of what was
/// written.
struct Out<W> {
    file: W,
    checksum: crc32fast::Hasher,
    error: Option<io::Error>,
}

impl<W: io::Write> Out<W> {
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let told = io::Error::from(error.kind());
            self.error.get_or_insert(error);
            told
        })
    }
}

impl<W: io::Write> io::Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        let length = self.keep(written)?;
        self.checksum.update(bytes.get(..length).unwrap_or(bytes));
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.keep(flushed)
    }
}

/// Writes the snapshot of a generation.
pub fn write(directory: &Path, generation: u64, snapshot: &Borrowed<'_>) -> Result<()> {
    let name = name(generation);
    let what = format!("keep the ruleset in {}", directory.join(&name).display());
    let file = private_dir::create_file(directory, &name).context(&what)?;
    encode(snapshot, io::BufWriter::with_capacity(1 << 16, file)).context(&what)
}

/// Writes what a snapshot's file holds.
pub fn encode(snapshot: &Borrowed<'_>, mut file: impl io::Write) -> io::Result<()> {
    file.write_all(MAGIC)?;
    let mut out = Out { file, checksum: crc32fast::Hasher::new(), error: None };
    let written = postcard::to_io(snapshot, &mut out).map(drop);
    let Out { mut file, checksum, error } = out;
    written.map_err(|other| error.unwrap_or_else(|| io::Error::other(other)))?;
    file.write_all(&checksum.finalize().to_le_bytes())?;
    file.flush()
}

/// Reads the snapshot of a generation; `None` where there is none of that ruleset, or another
/// version wrote it. A file that another user could have written is an error.
pub fn read(directory: &Path, generation: u64, loaded_at: u64) -> Result<Option<Snapshot>> {
    let snapshot = read_with(directory, generation, decode)?;
    Ok(snapshot.filter(|snapshot| snapshot.loaded_at == loaded_at))
}

/// Reads which files a generation was read from, without the ruleset, which may be large.
pub fn read_sources(
    directory: &Path,
    generation: u64,
    loaded_at: u64,
) -> Result<Option<Vec<Source>>> {
    /// The first fields of [`Snapshot`].
    #[derive(Deserialize)]
    struct Front<'a> {
        loaded_at: u64,
        #[serde(borrow)]
        _text: &'a str,
        sources: Vec<Source>,
    }

    let decode = |bytes: &[u8]| -> std::result::Result<_, Damage> {
        let Some(body) = whole(bytes)? else { return Ok(None) };
        let (front, _) = postcard::take_from_bytes::<Front<'_>>(body)?;
        Ok(Some((front.loaded_at, front.sources)))
    };
    let found = read_with(directory, generation, decode)?;
    Ok(found.filter(|(at, _)| *at == loaded_at).map(|(_, sources)| sources))
}

fn read_with<T>(
    directory: &Path,
    generation: u64,
    decode: impl FnOnce(&[u8]) -> std::result::Result<Option<T>, Damage>,
) -> Result<Option<T>> {
    let Some(bytes) = private_dir::read_file(directory, &name(generation))? else {
        return Ok(None);
    };
    decode(&bytes).map_err(|error| {
        let path = directory.join(name(generation));
        Error::new(format!(
            "cannot read the ruleset kept in {}: it is damaged ({error})",
            path.display()
        ))
        .hint("`xdpctl reload` writes it anew")
    })
}

/// Why a file that has this version's mark is not what this version wrote.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error("its checksum is another")]
    Checksum,
    #[error(transparent)]
    Form(#[from] postcard::Error),
    #[error("no configuration comes to such a ruleset")]
    Ruleset,
}

/// The snapshot in a file of these bytes; `None` where another version wrote it.
pub fn decode(bytes: &[u8]) -> std::result::Result<Option<Snapshot>, Damage> {
    whole(bytes)?.map(decode_body).transpose()
}

/// What stands between the mark and the checksum, if the checksum is right; `None` where another
/// version wrote the file.
fn whole(bytes: &[u8]) -> std::result::Result<Option<&[u8]>, Damage> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let (body, checksum) = rest.split_last_chunk().ok_or(Damage::Checksum)?;
    // Without it, `explain` would name a prefix with a flipped bit as the entry that decides.
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err(Damage::Checksum);
    }
    Ok(Some(body))
}

/// The snapshot in these bytes, which stand between the mark and the checksum of a file.
///
/// # Errors
///
/// Where they are no snapshot, or hold a ruleset that the loader cannot have made.
pub fn decode_body(body: &[u8]) -> std::result::Result<Snapshot, Damage> {
    let snapshot: Snapshot = postcard::from_bytes(body)?;
    if !is_possible(&snapshot.ruleset) {
        return Err(Damage::Ruleset);
    }
    Ok(snapshot)
}

/// Whether the loader could have made this ruleset, as far as other code relies on it: no more than
/// a ruleset has room for, prefixes without bits beyond their length, names in the form of a
/// message, ranges from low to high, and origins in files that the snapshot lists.
fn is_possible(ruleset: &Ruleset) -> bool {
    let lists = || ruleset.allowlists.iter().chain(&ruleset.blocklists);
    let is_there = |file: u16| ruleset.files.len() > file.into();
    let names = |list: &DomainList| {
        let possible = |it: ListedName<'_>| is_name(it.name) && is_there(it.file);
        is_there(list.file) && list.names.is_whole() && list.names.iter().all(possible)
    };
    let origins = |list: &List| {
        let v4 = list.v4.iter().all(|it| is_v4(&it.prefix) && is_there(it.file));
        is_there(list.file) && v4 && list.v6.iter().all(|it| is_v6(&it.prefix) && is_there(it.file))
    };
    lists().count() + ruleset.domains.len() <= MAX_LISTS
        && ruleset.domains.iter().map(|list| list.names.len()).sum::<usize>() <= MAX_NAMES
        && ruleset.domains.iter().all(names)
        && ruleset.rules.len() <= MAX_RULES
        && lists().all(origins)
        && ruleset.rules.iter().all(|rule| is_there(rule.file) && can_ask(&rule.matches))
}

fn can_ask(matches: &Matches) -> bool {
    let prefixes = |prefixes: &Option<Prefixes>| {
        let mut prefixes = prefixes.iter();
        prefixes.all(|it| it.v4.iter().all(is_v4) && it.v6.iter().all(is_v6))
    };
    let vlan = |vlan: &Option<Vlan>| match vlan {
        Some(Vlan::Ids(ids)) => ids.iter().all(|id| *id < 1 << 12),
        Some(Vlan::Untagged) | None => true,
    };
    let not = &matches.not;
    let ranges = [
        &matches.source_port,
        &matches.destination_port,
        &matches.length,
        &not.source_port,
        &not.destination_port,
        &not.length,
    ];
    [&matches.source, &matches.destination, &not.source, &not.destination].into_iter().all(prefixes)
        && ranges.into_iter().flatten().flatten().all(|(first, last)| first <= last)
        && [&matches.ttl, &not.ttl]
            .into_iter()
            .flatten()
            .flatten()
            .all(|(first, last)| first <= last)
        && [&matches.vlan, &not.vlan].into_iter().all(vlan)
}

/// Whether a name's labels are all there and not too long, and no letter is a capital.
fn is_name(name: DomainName<'_>) -> bool {
    let wire = name.wire();
    let labelled: usize = name.labels().map(|label| 1 + label.len()).sum();
    wire.len() <= LONGEST_NAME
        && labelled == wire.len()
        && name.labels().all(|label| {
            (1..=LONGEST_LABEL).contains(&label.len()) && !label.iter().any(u8::is_ascii_uppercase)
        })
}

fn is_v4(prefix: &Prefix<u32>) -> bool {
    prefix.length <= 32 && masked_v4(prefix.address, prefix.length).0 == *prefix
}

fn is_v6(prefix: &Prefix<u128>) -> bool {
    prefix.length <= 128 && masked_v6(prefix.address, prefix.length).0 == *prefix
}

/// Removes the snapshots of all other generations.
pub fn keep_only(directory: &Path, generation: u64) {
    let kept = directory.join(name(generation));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // The notes of run-time entries lie in the same directory.
        let snapshot = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if snapshot && entry.path() != kept {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::file::{Disk, Files as _};
    use crate::config::sources::Recorded;

    fn written(directory: &Path) -> Snapshot {
        let ruleset = Ruleset::default();
        let files = Recorded::new(&Disk);
        let file = directory.with_file_name("x.toml");
        fs::write(&file, "# text").unwrap();
        files.read(&file).unwrap();
        let sources = files.into_sources();
        assert_eq!(sources.len(), 1);
        let text = "# text";
        let kept = Borrowed { loaded_at: 7, text, sources: &sources, ruleset: &ruleset };
        write(directory, 3, &kept).unwrap();
        Snapshot { loaded_at: 7, text: text.to_owned(), sources, ruleset }
    }

    #[test]
    fn what_is_written_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("7");
        assert_eq!(read(&directory, 3, 7).unwrap(), None);
        let snapshot = written(&directory);
        assert_eq!(read_sources(&directory, 3, 7).unwrap(), Some(snapshot.sources.clone()));
        assert_eq!(read_sources(&directory, 3, 8).unwrap(), None);
        assert_eq!(read(&directory, 3, 7).unwrap(), Some(snapshot));
        // Another generation, and a file of another boot.
        assert_eq!(read(&directory, 4, 7).unwrap(), None);
        assert_eq!(read(&directory, 3, 8).unwrap(), None);
    }

    #[test]
    fn what_another_version_or_nobody_wrote_is_none_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("7");
        written(&directory);
        let file = directory.join("ruleset-3");
        let whole = fs::read(&file).unwrap();
        let mut newer = whole.clone();
        newer[7] += 1;
        for other in [&newer[..], b"nonsense", b"xdp", b""] {
            fs::write(&file, other).unwrap();
            assert_eq!(read(&directory, 3, 7).unwrap(), None);
        }
        // Cut short anywhere, it is an error and never a panic.
        for length in MAGIC.len()..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(read_sources(&directory, 3, 7).is_err());
            let error = read(&directory, 3, 7).unwrap_err();
            assert!(error.message.contains("ruleset-3: it is damaged"), "{error}");
            assert_eq!(error.hint.as_deref(), Some("`xdpctl reload` writes it anew"));
        }
        fs::write(&file, [MAGIC, &[0xff; 100][..]].concat()).unwrap();
        assert!(read(&directory, 3, 7).is_err());
    }

    /// A flipped bit of an address or of a line number makes another ruleset that is possible: only
    /// the checksum tells it from the true one.
    #[test]
    fn a_flipped_bit_anywhere_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("7");
        written(&directory);
        let file = directory.join("ruleset-3");
        let whole = fs::read(&file).unwrap();
        for bit in MAGIC.len() * 8..whole.len() * 8 {
            let mut other = whole.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, other).unwrap();
            let error = read(&directory, 3, 7).unwrap_err();
            assert!(error.message.contains("its checksum is another"), "bit {bit}: {error}");
        }
    }

    /// Bytes with a right checksum can still be no ruleset: then whoever wrote them was wrong.
    #[test]
    fn a_right_checksum_is_not_enough() {
        let body = [0xff; 100];
        let checksum = crc32fast::hash(&body).to_le_bytes();
        let file = [MAGIC, &body[..], &checksum].concat();
        assert!(matches!(decode(&file), Err(Damage::Form(_))));
    }

    #[test]
    fn what_others_can_write_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("7");
        written(&directory);
        let file = directory.join("ruleset-3");
        let refused = |why: &str| {
            let error = read(&directory, 3, 7).unwrap_err();
            assert!(error.message.contains(why), "{error}");
            assert!(error.hint.is_some());
        };
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&file, 0o620);
        refused("ruleset-3 is open to others (mode 0620) and is not trusted");
        mode(&file, 0o600);
        mode(&directory, 0o777);
        refused("/7 is open to others (mode 0777) and is not trusted");
        mode(&directory, 0o700);
        // A symbolic link, whatever it leads to, and a file whose reading would never end.
        fs::rename(&file, directory.join("elsewhere")).unwrap();
        symlink(directory.join("elsewhere"), &file).unwrap();
        refused("ruleset-3 is not a regular file");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("ruleset-3 is not a regular file");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        refused("ruleset-3 is not a regular file");
        fs::remove_dir(&file).unwrap();
        let other = folder.path().join("other");
        fs::rename(&directory, &other).unwrap();
        symlink(&other, &directory).unwrap();
        refused("/7 is not a directory");
    }
}
