//! Values of per-CPU maps: each element has a share for every possible CPU.
//!
//! The kernel reads and writes as many shares as it has possible CPUs, however small the buffer is.
//! No call says how many CPUs that are. /sys/devices/system/cpu/possible does, but something else
//! can be mounted over that file, as some container runtimes do, and then a buffer could be too
//! short. So the kernel is made to write a value, and the bytes are counted ([`possible_cpus`]).
//! Every access to a per-CPU map goes through [`PerCpuValues`], which compares its buffer with the
//! map's sizes first.

use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::datapath::sys::bpf::call::{bpf, raw};
use crate::datapath::sys::bpf::maps::{
    Element, MAP_LOOKUP_ELEM, create_map, lookup, lookup_batch, map_info, update,
};
use xdp_common::maps::kind;

/// A share is rounded up to a multiple of this many bytes (`bpf_map_value_size`,
/// kernel/bpf/syscall.c).
const WORD: usize = size_of::<u64>();

/// Elements of a per-CPU array, each with a share for every possible CPU.
#[derive(Clone, Debug)]
pub struct PerCpuValues {
    value_size: usize,
    cpus: usize,
    bytes: Vec<u8>,
}

impl PerCpuValues {
    /// Room for `elements` values of `value_size` bytes, all of it zero.
    pub fn zeroed(value_size: usize, elements: u32) -> io::Result<Self> {
        assert!(value_size > 0);
        let cpus = possible_cpus()?;
        let size = value_size.next_multiple_of(WORD) * cpus * elements as usize;
        Ok(Self { value_size, cpus, bytes: vec![0; size] })
    }

    /// Reads one element; `None` where there is no such element. There has to be room for exactly
    /// one.
    pub fn lookup(&mut self, map: impl AsFd, key: u32) -> io::Result<Option<()>> {
        self.require(&map, 1)?;
        lookup(map, key, &mut self.bytes)
    }

    /// Reads all elements of a map in one call. There has to be room for exactly as many.
    pub fn lookup_all(&mut self, map: impl AsFd) -> io::Result<()> {
        let elements = map_info(&map)?.max_entries;
        self.require(&map, elements)?;
        lookup_batch(map, elements, &mut self.bytes)
    }

    /// Writes one element. There has to be room for exactly one.
    pub fn update(&self, map: impl AsFd, key: u32) -> io::Result<()> {
        self.require(&map, 1)?;
        update(map, key, &self.bytes)
    }

    /// Sets the word at an offset of every share, in bytes.
    pub fn set_word(&mut self, offset: usize, word: u32) {
        let share = self.share();
        for share in self.bytes.chunks_exact_mut(share) {
            share[offset..offset + size_of::<u32>()].copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Every element's shares.
    pub fn elements(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        self.bytes.chunks_exact(self.share() * self.cpus).map(|element| self.cut(element))
    }

    /// All shares, by element and CPU, each of the value's size.
    pub fn shares(&self) -> impl Iterator<Item = &[u8]> {
        self.cut(&self.bytes)
    }

    fn cut<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let value_size = self.value_size;
        bytes.chunks_exact(self.share()).map(move |share| &share[..value_size])
    }

    fn share(&self) -> usize {
        self.value_size.next_multiple_of(WORD)
    }

    /// Refuses a map of which that many elements do not take exactly the room that there is.
    fn require(&self, map: impl AsFd, elements: u32) -> io::Result<()> {
        let signature = map_info(map)?.signature;
        let size = self.share() * self.cpus * elements as usize;
        if signature.kind == kind::PERCPU_ARRAY
            && signature.value_size as usize == self.value_size
            && size == self.bytes.len()
        {
            return Ok(());
        }
        let message = "a map of another kind or size than its values are read into";
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// How many CPUs the kernel keeps a value for. It is asked once for each process: the number stays
/// the same from boot on.
pub fn possible_cpus() -> io::Result<usize> {
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(&count) = COUNT.get() {
        return Ok(count);
    }
    let map = create_map(kind::PERCPU_ARRAY, WORD, 1, 0, "xdpctl_cpus")?;
    let counted = count(|room| {
        let key = 0u32;
        let mut attributes = Element {
            map_fd: raw(&map),
            padding: 0,
            key: (&raw const key) as u64,
            value: room.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: BPF_MAP_LOOKUP_ELEM takes these, and the key outlives the call. The kernel writes
        // the value from its beginning on, as much as it has: where that is more than the room, it comes
        // to the page behind it, which nobody may write to, and stops with EFAULT.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) }.map(drop)
    })?;
    Ok(*COUNT.get_or_init(|| counted))
}

/// How many words `read` fills with zeros, in room that grows until it does not end with EFAULT.
fn count(mut read: impl FnMut(&mut Guarded) -> io::Result<()>) -> io::Result<usize> {
    /// Enough for 8,192 CPUs, the most that any architecture can be built for.
    const LEAST: usize = 64 << 10;
    const MOST: usize = 64 << 20;
    /// What no word of the map holds: nobody has written to the map, so all are zero.
    const UNTOUCHED: u8 = 0xff;
    let mut size = LEAST;
    while size <= MOST {
        let mut room = Guarded::new(size)?;
        room.fill(UNTOUCHED);
        match read(&mut room) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => size *= 2,
            other => {
                other?;
                let written = room.iter().take_while(|&&byte| byte == 0).count();
                let rest = &room[written..];
                if written > 0
                    && written.is_multiple_of(WORD)
                    && rest.iter().all(|&byte| byte == UNTOUCHED)
                {
                    return Ok(written / WORD);
                }
                break;
            }
        }
    }
    Err(io::Error::other("the kernel does not show how many CPUs it keeps values for"))
}

/// Memory with a guard behind it that can be neither read nor written.
struct Guarded {
    start: NonNull<u8>,
    size: usize,
}

/// A multiple of every page size.
const GUARD: usize = 64 << 10;

impl Guarded {
    /// `size` bytes, a multiple of [`GUARD`].
    fn new(size: usize) -> io::Result<Self> {
        assert!(size > 0 && size.is_multiple_of(GUARD));
        let length = NonZeroUsize::MIN.saturating_add(size + GUARD - 1);
        let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory at a place that the kernel chooses, which nothing else is at.
        let start = unsafe { mmap_anonymous(None, length, writable, MapFlags::MAP_PRIVATE) }?;
        // Its `drop` unmaps the memory, also where the guard cannot be made.
        let guarded = Self { start: start.cast(), size };
        // SAFETY: the last part of that memory, which nothing refers to.
        unsafe { mprotect(start.byte_add(size), GUARD, ProtFlags::PROT_NONE) }?;
        Ok(guarded)
    }
}

impl Deref for Guarded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `size` bytes from `start` on are this value's own, readable, and zero or written to.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and writable; the borrow is the only one.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole of what `new` mapped, and nothing refers to it any more.
        let unmapped: Result<(), Errno> = unsafe { munmap(self.start.cast(), self.size + GUARD) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaves as a kernel with that many CPUs.
    fn kernel(cpus: usize) -> impl FnMut(&mut Guarded) -> io::Result<()> {
        move |room| {
            let end = (cpus * WORD).min(room.len());
            room[..end].fill(0);
            if end < cpus * WORD { Err(Errno::EFAULT.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn the_room_grows_until_all_shares_fit() {
        for cpus in [1, 2, 8191, 8192, 8193, 100_000] {
            assert_eq!(count(kernel(cpus)).unwrap(), cpus);
        }
    }

    #[test]
    fn an_answer_that_cannot_be_is_none() {
        assert!(count(kernel(0)).is_err());
        assert!(count(kernel(1 << 30)).is_err());
        let refused = count(|_| Err(Errno::EPERM.into())).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        // Zeros that are not a whole number of words, or do not start at the beginning.
        assert!(
            count(|room| {
                room[..12].fill(0);
                Ok(())
            })
            .is_err()
        );
        assert!(
            count(|room| {
                room[WORD] = 0;
                Ok(())
            })
            .is_err()
        );
    }
}
