//! Reads data compressed by gzip (RFC 1952) as gzip(1) does: all members one after the other, and
//! whatever follows the last one is ignored.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

/// The first bytes of a member (section 2.3.1).
pub(crate) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Tells whether something after the last member was ignored. It can still be asked when the reader
/// has been given away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(Arc<AtomicBool>);

impl Tail {
    pub(crate) fn was_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A reader of the data of all members.
pub(crate) struct Members<R> {
    /// `None` after the last one.
    member: Option<GzDecoder<R>>,
    tail: Tail,
}

impl<R: BufRead> Members<R> {
    pub(crate) fn new(source: R, tail: Tail) -> Self {
        Self { member: Some(GzDecoder::new(source)), tail }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let length = member.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            let rest = member.get_mut().fill_buf()?;
            // The buffer may end between the two bytes.
            let another = rest.starts_with(&MAGIC) || rest == &MAGIC[..1];
            // Zeros are padding: tapes and disks fill blocks up with them.
            if !another && rest.iter().any(|&byte| byte != 0) {
                self.tail.0.store(true, Ordering::Relaxed);
            }
            let ended = self.member.take();
            self.member = ended.filter(|_| another).map(|it| GzDecoder::new(it.into_inner()));
        }
        Ok(0)
    }
}

/// Unpacked data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) data: Vec<u8>,
    /// Whether bytes after the last member that are not gzip's were ignored.
    pub(crate) tail: bool,
}

/// Why data cannot be unpacked. A place is a byte of the compressed data, from 0, and a line of the
/// unpacked data, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("its gzip data ends too early, at byte {at}, in line {line} of what is compressed")]
    CutShort { at: usize, line: usize },
    #[error(
        "its gzip data is damaged at byte {at} or before, in line {line} of what is compressed"
    )]
    Corrupt { at: usize, line: usize },
    #[error("it has more than {0} bytes once it is unpacked, which are the most")]
    TooLarge(u64),
}

/// Unpacks all members, up to `most` bytes: a file of a megabyte may well unpack to a gigabyte.
/// Fails if the data is damaged, breaks off, or is larger than that.
pub(crate) fn unpack(bytes: &[u8], most: u64) -> Result<Unpacked, Damage> {
    let tail = Tail::default();
    let mut members = Members::new(bytes, tail.clone());
    let mut data = Vec::new();
    match members.by_ref().take(most + 1).read_to_end(&mut data) {
        Ok(_) if data.len() as u64 > most => Err(Damage::TooLarge(most)),
        Ok(_) => Ok(Unpacked { data, tail: tail.was_left() }),
        Err(error) => {
            let rest = members.member.as_ref().map_or(0, |member| member.get_ref().len());
            let at = bytes.len() - rest;
            let line = 1 + data.iter().filter(|byte| **byte == b'\n').count();
            Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => Damage::CutShort { at, line },
                _ => Damage::Corrupt { at, line },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_unpacked_one_behind_the_other() {
        let both = [packed(b"a\n"), packed(b"b\n")].concat();
        assert_eq!(unpack(&both, 4), Ok(Unpacked { data: b"a\nb\n".into(), tail: false }));
        let followed = [both.as_slice(), b"\0\0"].concat();
        assert_eq!(unpack(&followed, 4), Ok(Unpacked { data: b"a\nb\n".into(), tail: false }));
        let followed = [both.as_slice(), b"more"].concat();
        assert_eq!(unpack(&followed, 4), Ok(Unpacked { data: b"a\nb\n".into(), tail: true }));
    }

    #[test]
    fn more_than_the_most_is_refused() {
        assert_eq!(unpack(&packed(b"12345"), 4), Err(Damage::TooLarge(4)));
        assert!(unpack(&packed(b"1234"), 4).is_ok());
    }

    #[test]
    fn damage_has_a_place() {
        let lines: String = (0..2000u32).map(|number| format!("{}\n", number * 7919)).collect();
        let whole = packed(lines.as_bytes());
        for length in 0..whole.len() {
            let Err(Damage::CutShort { at, line }) = unpack(&whole[..length], 1 << 20) else {
                panic!("taken: {length} bytes of {}", whole.len());
            };
            assert_eq!(at, length);
            assert!((1..=2001).contains(&line));
        }
        // Damages a byte of the data, and then one of the checksum after it.
        for at in [whole.len() / 2, whole.len() - 8] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let Err(Damage::Corrupt { at: found, line }) = unpack(&damaged, 1 << 20) else {
                panic!("taken: byte {at} changed");
            };
            assert!(found <= whole.len() && line <= 2001);
        }
    }
}
