//! Images in the kernel: written through memory before they are in force, read back the same way.
//!
//! Each extent of an image is a map with one element. The first is in slot 0 of the map of maps
//! `RULESET`. The others are in the half of its further slots that the image's header names, and
//! the image before uses the other half. So one write to slot 0 exchanges the whole image.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::capacity::MORE_EXTENTS;
use xdp_common::image::{
    Block, EXTENT_BLOCKS, EXTENT_LINES, Extent, FIRST_MORE, Header, LINE_WORDS, Lines, Span,
};

use crate::datapath::maps::handles;
use crate::datapath::sys::bpf;
use xdp_common::maps::EXTENT;

/// Makes the maps that hold an image.
pub fn create(blocks: &[Block]) -> io::Result<Vec<OwnedFd>> {
    blocks.chunks(EXTENT_BLOCKS).map(create_extent).collect()
}

fn create_extent(blocks: &[Block]) -> io::Result<OwnedFd> {
    let map = handles::create(EXTENT, "xdpctl_image")?;
    let mut memory = MappedExtent::map(&map, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    let words = blocks.as_flattened();
    memory.extent_mut()[..words.len()].copy_from_slice(words);
    Ok(map)
}

/// Puts an image in force, or fails with the one before still in force. `more` is the slot of its
/// second extent, as its header says.
///
/// Each step returns when no packet is judged any more by what it replaced: Linux waits for the
/// readers of a map of maps (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
pub fn activate(outer: &OwnedFd, extents: &[OwnedFd], more: u32) -> io::Result<()> {
    let (Some(first), Some(others)) = (extents.first(), extents.get(1..)) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let slots: Vec<u32> = (more..).take(others.len()).collect();
    let fds: Vec<u32> = others.iter().map(|map| map.as_raw_fd() as u32).collect();
    bpf::update_batch(outer, &slots, &fds)?;
    bpf::update(outer, 0, &first.as_raw_fd().to_ne_bytes())
}

/// Releases what the image before the one in force held. Its slots are not emptied. They are all
/// given the first extent, which is there anyway: that takes one call, and thus one wait, for all
/// of them (on Linux before 6.8, a wait for each).
pub fn release(outer: &OwnedFd, extents: &[OwnedFd], more: u32) -> io::Result<()> {
    let Some(first) = extents.first() else { return Ok(()) };
    let left = left_behind(outer, more, extents.len() as u32 - 1)?;
    bpf::update_batch(outer, &left, &vec![first.as_raw_fd() as u32; left.len()])
}

/// Slots that hold extents of another image than the one in force: of the image before, or of one
/// that a killed command did not put in force any more. The slots of a half are filled from its
/// first on.
fn left_behind(outer: &OwnedFd, more: u32, used: u32) -> io::Result<Vec<u32>> {
    let mut left = Vec::new();
    for half in FIRST_MORE {
        let skip = if half == more { used } else { 0 };
        for slot in half + skip..half + MORE_EXTENTS {
            if slot_id(outer, slot)?.is_none() {
                break;
            }
            left.push(slot);
        }
    }
    Ok(left)
}

/// The id of the map in a slot.
pub fn slot_id(outer: &OwnedFd, slot: u32) -> io::Result<Option<u32>> {
    let mut id = [0; 4];
    Ok(bpf::lookup(outer, slot, &mut id)?.map(|()| u32::from_ne_bytes(id)))
}

/// The ids of all maps in the slots, each once.
pub fn ids(outer: &OwnedFd) -> io::Result<Vec<u32>> {
    let mut ids: Vec<u32> = slot_id(outer, 0)?.into_iter().collect();
    for slot in left_behind(outer, 0, 0)? {
        ids.extend(slot_id(outer, slot)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The image in force, readable in place.
pub struct Mapped {
    /// Id of the first extent's map, to see later whether it is still the same.
    pub id: u32,
    extents: Vec<MappedExtent>,
}

impl Mapped {
    /// Maps the image in force; `None` where there is none. The error is `InvalidData` where the
    /// maps are not extents.
    pub fn in_force(outer: &OwnedFd) -> io::Result<Option<Self>> {
        // Another command may replace and release it while it is being opened.
        for _ in 0..100 {
            let Some(id) = slot_id(outer, 0)? else { return Ok(None) };
            let opened = Self::open(outer, id);
            if slot_id(outer, 0)? == Some(id) {
                return opened.map(Some);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the ruleset changes too fast to be read"))
    }

    fn open(outer: &OwnedFd, id: u32) -> io::Result<Self> {
        let first = open_extent(id)?;
        let mut mapped = Self { id, extents: vec![first] };
        let header = mapped.block(0).map(Header::of).copied();
        let (blocks, more) = header.map_or((0, 0), |header| (header.blocks, header.more_extents));
        let others = (blocks as usize).div_ceil(EXTENT_BLOCKS).saturating_sub(1);
        // Both numbers come from the image, and may be anything.
        for place in 0..(others as u32).min(MORE_EXTENTS) {
            let slot = more.checked_add(place).ok_or(io::ErrorKind::InvalidData)?;
            let id = slot_id(outer, slot)?.ok_or(io::ErrorKind::InvalidData)?;
            mapped.extents.push(open_extent(id)?);
        }
        Ok(mapped)
    }
}

fn open_extent(id: u32) -> io::Result<MappedExtent> {
    MappedExtent::map(&handles::open(id, EXTENT)?, ProtFlags::PROT_READ)
}

impl Lines for Mapped {
    fn span(&self, line: u32) -> Option<&Span> {
        let extent = self.extents.get((line / EXTENT_LINES) as usize)?.extent();
        extent[(line % EXTENT_LINES) as usize * LINE_WORDS..].first_chunk()
    }
}

/// An extent as memory, unmapped when dropped.
struct MappedExtent {
    address: NonNull<Extent>,
}

impl MappedExtent {
    const LENGTH: NonZeroUsize = NonZeroUsize::new(size_of::<Extent>()).unwrap();

    fn map(map: &OwnedFd, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses aliases nothing.
        let address =
            unsafe { mmap(None, Self::LENGTH, protection, MapFlags::MAP_SHARED, map.as_fd(), 0) }?;
        Ok(Self { address: address.cast() })
    }

    fn extent(&self) -> &Extent {
        // SAFETY: the mapping is an extent, page aligned, and lives as long as `self`.
        unsafe { self.address.as_ref() }
    }

    fn extent_mut(&mut self) -> &mut Extent {
        // SAFETY: as above; nobody else knows the map while it is written.
        unsafe { self.address.as_mut() }
    }
}

impl Drop for MappedExtent {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference to it outlives `self`.
        // A failed munmap(2) would be no reason to stop.
        let _ = unsafe { munmap(self.address.cast(), Self::LENGTH.get()) };
    }
}
