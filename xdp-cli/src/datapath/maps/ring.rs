//! A ring buffer that a program writes records to, and that the command line reads through memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData, MapError, RingBuf};

/// The reading end of a ring buffer. There may be one only.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// Maps a ring buffer.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses that, or the map is none.
    pub fn open(map: OwnedFd) -> io::Result<Self> {
        let opened = MapData::from_fd(map).and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
        opened.map(Self).map_err(|error| match error {
            MapError::SyscallError(error) => error.io_error,
            error => io::Error::other(error),
        })
    }

    /// Hands over the oldest record, and gives its room back; `None` where there is none.
    pub fn take<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.0.next().map(|record| read(&record))
    }
}

/// Readable when a record came after all others had been taken.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
