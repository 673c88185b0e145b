//! The owners of run-time entries: names and their numbers, in the kernel beside the records that
//! hold these numbers.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use xdp_common::capacity::{MAX_OWNER_NAME, MAX_OWNERS};
use xdp_common::maps::OwnerName;

use crate::datapath::sys::bpf;

/// Names by their numbers.
pub(super) struct Owners {
    names: Vec<Option<String>>,
}

impl Owners {
    pub(super) fn read(map: &OwnedFd) -> io::Result<Self> {
        let mut bytes = vec![0; MAX_OWNERS as usize * size_of::<OwnerName>()];
        bpf::lookup_batch(map, MAX_OWNERS, &mut bytes)?;
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
        };
        Ok(Self { names: bytes.chunks_exact(size_of::<OwnerName>()).map(name).collect() })
    }

    /// The name of a number.
    pub(super) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize)?.as_deref()
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let found = self.names.iter().position(|known| known.as_deref() == Some(name));
        found.map(|number| number as u32)
    }

    /// All numbers that have a name.
    pub(super) fn numbers(&self) -> Vec<u32> {
        (0..MAX_OWNERS).filter(|number| self.name(*number).is_some()).collect()
    }

    /// Gives a name a number, before any record holds it; `None` where no number is left.
    pub(super) fn add(&mut self, map: &OwnedFd, name: &str) -> io::Result<Option<u32>> {
        let Some(free) = self.names.iter().position(Option::is_none) else { return Ok(None) };
        let mut bytes: OwnerName = [0; MAX_OWNER_NAME];
        let room = bytes.get_mut(..name.len());
        let room = room.ok_or_else(|| io::Error::other("an owner's name is too long"))?;
        room.copy_from_slice(name.as_bytes());
        bpf::update(map, free as u32, &bytes)?;
        self.names[free] = Some(name.to_owned());
        Ok(Some(free as u32))
    }

    /// Forgets the owners whose numbers are not in `used`.
    pub(super) fn keep(&mut self, map: &OwnedFd, used: &BTreeSet<u32>) -> io::Result<()> {
        for number in self.numbers() {
            if !used.contains(&number) {
                bpf::update(map, number, &[0; size_of::<OwnerName>()])?;
                self.names[number as usize] = None;
            }
        }
        Ok(())
    }
}
