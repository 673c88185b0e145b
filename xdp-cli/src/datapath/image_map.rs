//! Images in the kernel: written through memory before they are in force, read back the same way.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::image::{
    Block, EXTENT_BLOCKS, EXTENT_LINES, Extent, LINE_WORDS, Lines, Span,
};

use super::bpf;

/// BPF_F_MMAPABLE | BPF_F_INNER_MAP, as the program's declaration has them.
const FLAGS: u32 = 0x1400;

/// Makes a map that holds an image.
pub fn create(blocks: &[Block]) -> io::Result<OwnedFd> {
    let extents = blocks.len().div_ceil(EXTENT_BLOCKS);
    let count = u32::try_from(extents).map_err(io::Error::other)?;
    let map = bpf::create_map(bpf::ARRAY, size_of::<Extent>(), count, FLAGS, "xdpctl_image")?;
    let mut memory = Memory::map(&map, extents, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    for (place, blocks) in memory.extents_mut().iter_mut().zip(blocks.chunks(EXTENT_BLOCKS)) {
        let words = blocks.as_flattened();
        place[..words.len()].copy_from_slice(words);
    }
    Ok(map)
}

/// An image in a map, readable in place.
pub struct Mapped {
    memory: Memory,
}

impl Mapped {
    /// Maps an image; what is not an array of extents is `InvalidData`.
    pub fn open(map: &OwnedFd) -> io::Result<Self> {
        let info = bpf::map_info(map)?;
        if info.kind != bpf::ARRAY || info.value_size as usize != size_of::<Extent>() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an image"));
        }
        let memory = Memory::map(map, info.max_entries as usize, ProtFlags::PROT_READ)?;
        Ok(Self { memory })
    }
}

impl Lines for Mapped {
    fn span(&self, line: u32) -> Option<&Span> {
        let extent = self.memory.extents().get((line / EXTENT_LINES) as usize)?;
        extent[(line % EXTENT_LINES) as usize * LINE_WORDS..].first_chunk()
    }
}

/// A map's values as memory, unmapped when dropped.
struct Memory {
    address: NonNull<Extent>,
    count: usize,
}

impl Memory {
    fn map(map: &OwnedFd, count: usize, protection: ProtFlags) -> io::Result<Self> {
        let length = NonZeroUsize::new(count * size_of::<Extent>())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new mapping at an address that the kernel chooses aliases nothing.
        let address =
            unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map.as_fd(), 0) }?;
        Ok(Self { address: address.cast(), count })
    }

    fn extents(&self) -> &[Extent] {
        // SAFETY: the mapping has `count` extents, page aligned, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.count) }
    }

    fn extents_mut(&mut self) -> &mut [Extent] {
        // SAFETY: as above; nobody else knows the map while it is written.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.count) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference to it outlives `self`.
        // That it cannot be undone would be no reason to stop.
        let _ = unsafe { munmap(self.address.cast(), self.count * size_of::<Extent>()) };
    }
}
