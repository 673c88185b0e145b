//! Images in the kernel: written through memory before they are in force, read back the same way.
//!
//! Each extent of an image is a map with one element. The first is in slot 0 of the map of maps
//! `RULESET`. The others are in the half of its further slots that the image's header names, and
//! the image before uses the other half. So one write to slot 0 exchanges the whole image. An extent that is
//! the same in both is one map, in a slot of each half: nobody writes to an extent once its image is in
//! force, but for the deadline in the first.
//!
//! An image that has to be confirmed carries a deadline, and slot `BEFORE` the one that comes back
//! then: the program goes by these two alone. So whoever asks here which image is in force is told
//! by the program's clock.

use std::io;
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::capacity::MORE_EXTENTS;
use xdp_common::image::{
    BEFORE, Block, EXTENT_BLOCKS, EXTENT_LINES, Extent, FIRST_MORE, Header, LINE_WORDS, Lines,
};

use crate::datapath::maps::handles;
use crate::datapath::program::clock;
use crate::datapath::sys::bpf;
use xdp_common::maps::EXTENT;

/// Makes the maps that hold an image. Of its extents behind the first, those that the image in force has too
/// are not made again.
pub fn create(outer: &OwnedFd, blocks: &[Block]) -> io::Result<Vec<OwnedFd>> {
    // What cannot be read is made anew.
    let before = further_in_force(outer).ok().flatten();
    let extent = |(number, blocks): (usize, &[Block])| {
        let same = before.and_then(|further| same(outer, further, number, blocks));
        same.map_or_else(|| create_extent(blocks), Ok)
    };
    blocks.chunks(EXTENT_BLOCKS).enumerate().map(extent).collect()
}

/// How many extents of an image [`create`] would not make, for the image in force has them.
pub fn kept(outer: &OwnedFd, blocks: &[Block]) -> usize {
    let Some(further) = further_in_force(outer).ok().flatten() else { return 0 };
    let extents = blocks.chunks(EXTENT_BLOCKS).enumerate();
    extents.filter(|(number, blocks)| same(outer, further, *number, blocks).is_some()).count()
}

/// The slots of the extents behind the first of the image in force: the first slot, and how many.
fn further_in_force(outer: &OwnedFd) -> io::Result<Option<(u32, u32)>> {
    let Some(id) = Current::of(outer).id()? else { return Ok(None) };
    let (blocks, more) = open_extent(id)?.further();
    Ok(Some((more, further_extents(blocks))))
}

/// The map of an extent in such slots, if these blocks and zeros are all that is in it.
fn same(
    outer: &OwnedFd,
    (first, count): (u32, u32),
    number: usize,
    blocks: &[Block],
) -> Option<OwnedFd> {
    let place = u32::try_from(number).ok()?.checked_sub(1).filter(|place| *place < count)?;
    let id = slot_id(outer, first.checked_add(place)?).ok()??;
    let map = handles::open(id, EXTENT).ok()?;
    let memory = MappedExtent::map(&map, ProtFlags::PROT_READ).ok()?;
    let words = blocks.as_flattened();
    let (used, slack) = memory.extent().split_at_checked(words.len())?;
    (used == words && slack.iter().all(|word| *word == 0)).then_some(map)
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

/// Has the image in force come back once `life` is over, if the one of these extents is activated
/// before that and not confirmed until then.
pub fn limit(outer: &OwnedFd, extents: &[OwnedFd], life: Duration) -> io::Result<()> {
    let (Some(first), Some(id)) = (extents.first(), slot_id(outer, 0)?) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let before = handles::open(id, EXTENT)?;
    bpf::update(outer, BEFORE, &before.as_raw_fd().to_ne_bytes())?;
    let life = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
    let deadline = now()?.saturating_add(life);
    MappedExtent::map(first, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?.set_deadline(deadline);
    Ok(())
}

/// Has the image in slot 0 stay, if it is in force. The error is `TimedOut` where its time is over:
/// then the image before it is in force.
pub fn confirm(outer: &OwnedFd) -> io::Result<()> {
    let id = slot_id(outer, 0)?.ok_or(io::ErrorKind::NotFound)?;
    let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let mut first = MappedExtent::map(&handles::open(id, EXTENT)?, writable)?;
    let deadline = first.deadline();
    if deadline != 0 && now()? >= deadline {
        return Err(io::Error::from(io::ErrorKind::TimedOut));
    }
    first.set_deadline(0);
    Ok(())
}

/// Puts the image back in slot 0 that was there before one that is not confirmed. Does nothing where
/// the one there needs no confirmation.
pub fn take_back(outer: &OwnedFd) -> io::Result<()> {
    let id = slot_id(outer, 0)?.ok_or(io::ErrorKind::NotFound)?;
    if open_extent(id)?.deadline() == 0 {
        return Ok(());
    }
    let before = slot_id(outer, BEFORE)?.ok_or(io::ErrorKind::NotFound)?;
    let before = handles::open(before, EXTENT)?;
    bpf::update(outer, 0, &before.as_raw_fd().to_ne_bytes())
}

/// Releases what is held of all images but the one in slot 0. Their slots are not emptied. They are
/// all given that one's first extent, which is there anyway: that takes one call, and thus one
/// wait, for all of them (on Linux before 6.8, a wait for each).
pub fn release(outer: &OwnedFd) -> io::Result<()> {
    let Some(id) = slot_id(outer, 0)? else { return Ok(()) };
    let first = handles::open(id, EXTENT)?;
    let (blocks, more) = MappedExtent::map(&first, ProtFlags::PROT_READ)?.further();
    let mut left = left_behind(outer, more, further_extents(blocks))?;
    if slot_id(outer, BEFORE)?.is_some_and(|before| before != id) {
        left.push(BEFORE);
    }
    bpf::update_batch(outer, &left, &vec![first.as_raw_fd() as u32; left.len()])
}

/// How many extents an image of so many blocks has beside its first.
fn further_extents(blocks: u32) -> u32 {
    // The number comes from the image, and may be anything.
    (blocks.div_ceil(EXTENT_BLOCKS as u32).saturating_sub(1)).min(MORE_EXTENTS)
}

/// The time by which images end.
fn now() -> io::Result<u64> {
    clock::now().map_err(|error| io::Error::other(error.message))
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
    ids.extend(slot_id(outer, BEFORE)?);
    for slot in left_behind(outer, 0, 0)? {
        ids.extend(slot_id(outer, slot)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Which image is in force: asked again and again, it reads little.
pub struct Current<'m> {
    outer: &'m OwnedFd,
    /// The image in slot 0 when it was looked at last.
    first: Option<(u32, MappedExtent)>,
}

/// Of the image in slot 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in force, and stays.
    Settled,
    /// It is in force for so long, unless it is confirmed.
    Tried(Duration),
    /// It was not confirmed in time, and the one before it is in force.
    Over,
}

impl<'m> Current<'m> {
    /// Of the map of maps `RULESET`.
    pub fn of(outer: &'m OwnedFd) -> Self {
        Self { outer, first: None }
    }

    /// The id of the first map of the image in force; `None` where there is none.
    pub fn id(&mut self) -> io::Result<Option<u32>> {
        Ok(self.look()?.map(|(id, _)| id))
    }

    /// As [`Self::id`], and how the image in slot 0 stands.
    pub fn look(&mut self) -> io::Result<Option<(u32, Standing)>> {
        // Another command may release it while it is being opened.
        for _ in 0..100 {
            let Some(id) = slot_id(self.outer, 0)? else { return Ok(None) };
            if self.first.as_ref().is_none_or(|(seen, _)| *seen != id) {
                match open_extent(id) {
                    Ok(extent) => self.first = Some((id, extent)),
                    Err(_) if slot_id(self.outer, 0)? != Some(id) => continue,
                    Err(error) => return Err(error),
                }
            }
            let deadline = self.first.as_ref().map_or(0, |(_, extent)| extent.deadline());
            if deadline == 0 {
                return Ok(Some((id, Standing::Settled)));
            }
            let left = deadline.saturating_sub(now()?);
            if left > 0 {
                return Ok(Some((id, Standing::Tried(Duration::from_nanos(left)))));
            }
            return Ok(slot_id(self.outer, BEFORE)?.map(|before| (before, Standing::Over)));
        }
        Err(changes_too_fast())
    }
}

fn changes_too_fast() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the ruleset changes too fast to be read")
}

/// An image, readable in place.
pub struct Mapped {
    /// Id of the first extent's map, to see later whether it is still the same.
    pub id: u32,
    extents: Vec<MappedExtent>,
}

impl Mapped {
    /// Maps the image in force; `None` where there is none. The error is `InvalidData` where the
    /// maps are not extents.
    pub fn in_force(outer: &OwnedFd) -> io::Result<Option<Self>> {
        let mut current = Current::of(outer);
        // Another command may replace and release it while it is being opened.
        for _ in 0..100 {
            let Some(id) = current.id()? else { return Ok(None) };
            let opened = Self::open(outer, id);
            if current.id()? == Some(id) {
                return opened.map(Some);
            }
        }
        Err(changes_too_fast())
    }

    /// Maps the image that comes back if the one in force is not confirmed. `None` where there is
    /// none; where the one in force is confirmed already, it may be any.
    pub fn before(outer: &OwnedFd) -> io::Result<Option<Self>> {
        slot_id(outer, BEFORE)?.map(|id| Self::open(outer, id)).transpose()
    }

    fn open(outer: &OwnedFd, id: u32) -> io::Result<Self> {
        let first = open_extent(id)?;
        let (blocks, more) = first.further();
        let mut mapped = Self { id, extents: vec![first] };
        for place in 0..further_extents(blocks) {
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
    fn words(&self, line: u32) -> Option<&[u64]> {
        let extent = self.extents.get((line / EXTENT_LINES) as usize)?.extent();
        Some(&extent[(line % EXTENT_LINES) as usize * LINE_WORDS..])
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

    /// The header of the image whose first extent this is.
    fn header(&self) -> &Header {
        // SAFETY: an extent begins with a block, and has its alignment.
        Header::of(unsafe { self.address.cast::<Block>().as_ref() })
    }

    fn deadline(&self) -> u64 {
        self.header().deadline()
    }

    /// How many blocks the image has, and the slot of its second extent.
    fn further(&self) -> (u32, u32) {
        (self.header().blocks, self.header().more_extents)
    }

    /// Writes the deadline of the image whose first extent this is, in one store: packets may be
    /// judged by it. The mapping has to be writable.
    fn set_deadline(&mut self, deadline: u64) {
        let word = self.address.as_ptr().cast::<u8>().wrapping_add(offset_of!(Header, deadline));
        // SAFETY: the word lies in the header, with which the extent begins, aligned as the header
        // is; the mapping is writable, and no reference to it is alive.
        unsafe { word.cast::<u64>().write_volatile(deadline) };
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
