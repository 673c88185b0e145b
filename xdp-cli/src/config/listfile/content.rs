//! Finds out what a list file is before any line of it is read: text, text compressed by gzip, or
//! something else. The latter is reported as a whole, not as a mistake on every line.

use xdp_common::capacity::MAX_FILE_SIZE;

use crate::gzip::{self, Damage, Unpacked};

/// The first bytes of files that are no lists, what such files are, and what to do about them.
const FORMATS: [(&[u8], &str, &str); 15] = [
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"\xfd7zXZ\0", "compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", UNPACK),
    (b"\x04\x22\x4d\x18", "compressed by lz4", UNPACK),
    (b"\x1f\x9d", "compressed by compress", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"BZh", "compressed by bzip2", UNPACK),
    (&gzip::MAGIC, "compressed by gzip twice", "unpack it once"),
    (b"%PDF-", "a PDF document", "find the list as plain text"),
    (b"SQLite format 3\0", "an SQLite database", "export the list as plain text"),
    (b"\x7fELF", "a program", "correct the path"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
];
/// The line ends of classic Mac OS: to a reader of lines, such a file is a single one.
const CARRIAGE_RETURNS: (&str, &str) = (
    "text whose lines end with carriage returns alone",
    "have its lines end with line feeds: `tr '\\r' '\\n'` does that",
);
const UNPACK: &str = "unpack it: of what is compressed, gzip alone is read";

/// The offset of the magic of a tar archive, and the magic (POSIX.1-2017, pax, ustar interchange
/// format).
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Why a file's content cannot be a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoList {
    /// It is a file of another kind.
    Is { what: &'static str, hint: &'static str },
    /// It is compressed, but cannot be unpacked.
    Damaged(Damage),
}

/// A hosts file (hosts(5)): each line has names behind its address, for the resolver.
pub(crate) const HOSTS: NoList = NoList::Is {
    what: "a hosts file, whose lines name hosts",
    hint: "name a list of addresses, prefixes or ranges",
};

impl NoList {
    /// What is wrong, worded to follow the file's name. `entries` is what the list is of.
    pub(crate) fn message(&self, entries: &str) -> String {
        match self {
            Self::Is { what, .. } => format!("is {what}, not a list of {entries}"),
            Self::Damaged(damage) => format!("cannot be read: {damage}"),
        }
    }

    /// A hint that says what to do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Is { hint, .. } => hint,
            Self::Damaged(Damage::TooLarge(_)) => "split the file",
            Self::Damaged(_) => "fetch it again; `gzip -t` says whether a file is whole",
        }
    }
}

/// The text of a list file, unpacked if it was compressed. Fails if the content is no list, or
/// cannot be unpacked.
pub(crate) fn read(bytes: Vec<u8>) -> Result<Unpacked, NoList> {
    let text = match bytes.starts_with(&gzip::MAGIC) {
        false => Unpacked { data: bytes, tail: false },
        true => gzip::unpack(&bytes, MAX_FILE_SIZE).map_err(NoList::Damaged)?,
    };
    match format(&text.data) {
        Some((what, hint)) => Err(NoList::Is { what, hint }),
        None => Ok(text),
    }
}

/// The kind of a file by its first bytes, and a hint; `None` if they could be a list's.
fn format(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let known = FORMATS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    if let Some((_, what, hint)) = known {
        return Some((what, hint));
    }
    if bytes.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Some(("a tar archive", "unpack it, and name the lists in it"));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    match text {
        [b'<', b'!' | b'?' | b'/' | b'a'..=b'z' | b'A'..=b'Z', ..] => Some((
            "an HTML or XML page",
            "look into it: an error or a login page may have been downloaded in the list's place",
        )),
        _ if has_carriage_returns_alone(text) => Some(CARRIAGE_RETURNS),
        _ => None,
    }
}

/// Whether a text ends lines with carriage returns, and none with a line feed.
fn has_carriage_returns_alone(text: &[u8]) -> bool {
    !text.contains(&b'\n') && text.trim_ascii_end().contains(&b'\r')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn what(bytes: &[u8]) -> Option<&'static str> {
        match read(bytes.to_vec()) {
            Ok(_) => None,
            Err(NoList::Is { what, .. }) => Some(what),
            Err(NoList::Damaged(_)) => Some("damaged"),
        }
    }

    #[test]
    fn what_no_list_begins_like_is_named() {
        let mut tar = vec![b'a'; 257];
        tar.extend_from_slice(b"ustar\0");
        for (bytes, expected) in [
            (&b"<!DOCTYPE html>\n"[..], "an HTML or XML page"),
            (b"\xef\xbb\xbf\r\n\t<html>", "an HTML or XML page"),
            (b"<?xml version=\"1.0\"?>", "an HTML or XML page"),
            (b"PK\x03\x04\x14", "a zip archive"),
            (b"\xfd7zXZ\0\0", "compressed by xz"),
            (b"BZh91AY", "compressed by bzip2"),
            (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd"),
            (b"\xff\xfe1\0", "UTF-16 text"),
            (b"1.2.3.4\r5.6.7.8\r", "text whose lines end with carriage returns alone"),
            (b"# all\r10.0.0.1", "text whose lines end with carriage returns alone"),
            (&tar, "a tar archive"),
            (&gzipped(&tar), "a tar archive"),
            (&gzipped(b"<html>"), "an HTML or XML page"),
            (&gzipped(&gzipped(b"10.0.0.1")), "compressed by gzip twice"),
            (b"\x1f\x8b", "damaged"),
        ] {
            assert_eq!(what(bytes), Some(expected), "{bytes:?}");
        }
        for text in [
            &b""[..],
            b"10.0.0.1",
            b"# <html>",
            b"<",
            b"10.0.0.1\r",
            b"10.0.0.1\r\n",
            b"{\"cidr\":\"10.0.0.0/8\"}",
            b"\xff",
        ] {
            assert_eq!(what(text), None, "{text:?}");
            assert_eq!(read(gzipped(text)).unwrap().data, text);
        }
    }
}
