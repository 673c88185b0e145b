//! What gzip compressed (RFC 1952), read as gzip(1) does: its members one behind the other, and what
//! follows the last and is none left aside.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

/// The first bytes of a member (section 2.3.1).
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether something was left aside: asked by whoever gave the reader away.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<AtomicBool>);

impl Tail {
    pub(super) fn was_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The data of all members.
pub(super) struct Members<R> {
    /// `None` behind the last.
    member: Option<GzDecoder<R>>,
    tail: Tail,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(source: R, tail: Tail) -> Self {
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
            // A buffer may end within the two bytes.
            let another = rest.starts_with(&MAGIC) || rest == &MAGIC[..1];
            // Zeros are how tapes and disks fill a block up.
            if !another && rest.iter().any(|&byte| byte != 0) {
                self.tail.0.store(true, Ordering::Relaxed);
            }
            let ended = self.member.take();
            self.member = ended.filter(|_| another).map(|it| GzDecoder::new(it.into_inner()));
        }
        Ok(0)
    }
}
