//! Maps of one element as memory: the switches and the filters. They are written word by word,
//! because the program reads them meanwhile.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xdp_common::filter::dynamic::{COUNTERS_PER_PAGE, EntryTable, NEVER, Skip, Switches as Raw};
use xdp_common::maps::{MapSignature, kind};

use crate::datapath::sys::bpf;

/// A map's only value as memory, unmapped when dropped.
pub struct MappedValue<T> {
    address: NonNull<T>,
}

impl<T> MappedValue<T> {
    /// Maps the value of an array of one element that was made with BPF_F_MMAPABLE.
    pub fn open(map: &OwnedFd) -> io::Result<Self> {
        if bpf::map_info(map)?.signature != MapSignature::new(kind::ARRAY, 4, size_of::<T>()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a map of that kind"));
        }
        let length = NonZeroUsize::new(size_of::<T>())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses aliases nothing.
        let address =
            unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map.as_fd(), 0) }?;
        Ok(Self { address: address.cast() })
    }

    /// The value's address, valid as long as `self`.
    pub fn as_ptr(&self) -> *mut T {
        self.address.as_ptr()
    }
}

impl<T> Drop for MappedValue<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no reference to it outlives `self`.
        // A failed munmap(2) would be no reason to stop.
        let _ = unsafe { munmap(self.address.cast(), size_of::<T>()) };
    }
}

/// Reads the switches once, without a mapping.
pub(super) fn read(map: &OwnedFd) -> io::Result<Raw> {
    let mut bytes = [0; size_of::<Raw>()];
    bpf::lookup(map, 0, &mut bytes)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // SAFETY: the structure is made of integers, and has the array's length.
    Ok(unsafe { std::mem::transmute::<[u8; size_of::<Raw>()], Raw>(bytes) })
}

/// Which counters of a page are free, or which are used: a bit for each.
pub(super) type PageBits = [u64; COUNTERS_PER_PAGE / 64];

/// The switches, to be changed.
pub(super) struct Switches {
    memory: MappedValue<Raw>,
}

/// A field of the switches as an atomic: others read and write it too.
macro_rules! field {
    ($switches:expr, $field:ident $([$index:expr])?, $atomic:ty) => {{
        let raw = $switches.memory.as_ptr();
        // SAFETY: the field lies in the mapping, which lives as long as `self`; it is aligned, and
        // all that access it do so atomically, in this process and in the program.
        unsafe { <$atomic>::from_ptr(&raw mut (*raw).$field $([$index])?) }
    }};
}

impl Switches {
    /// Opens them as they are: what is good without the lock.
    pub(super) fn open_as_they_are(map: &OwnedFd) -> io::Result<Self> {
        Ok(Self { memory: MappedValue::open(map)? })
    }

    /// Opens them. New ones get their multipliers, before there is any filter.
    pub(super) fn open(map: &OwnedFd) -> io::Result<Self> {
        let switches = Self::open_as_they_are(map)?;
        if switches.multipliers().contains(&0) {
            for number in [0, 1] {
                let multiplier = field!(switches, multipliers[number], AtomicU64);
                multiplier.store(random()? | 1, Ordering::Relaxed);
            }
            switches.set_deadline(NEVER);
        }
        Ok(switches)
    }

    pub(super) fn read(&self) -> Raw {
        // SAFETY: the mapping holds the structure, made of integers. Others write it only under the
        // lock that the caller has.
        unsafe { self.memory.as_ptr().read_volatile() }
    }

    /// Switches bypass on or off, and returns whether it was on before.
    pub(super) fn set_bypass(&self, on: bool) -> bool {
        field!(self, bypass, AtomicU64).swap(on.into(), Ordering::SeqCst) != 0
    }

    /// Marks the tables as being changed. While the mark is there the program skips nothing.
    pub(super) fn begin(&self) {
        field!(self, changing, AtomicU64).store(1, Ordering::SeqCst);
        field!(self, epoch, AtomicU32).store(0, Ordering::SeqCst);
    }

    /// Removes the mark, and begins a new epoch. If the last epoch is used up, no new one begins
    /// until [`Self::renew_epochs`]: meanwhile the program is slower, not wrong.
    pub(super) fn end(&self) {
        let last = field!(self, last_epoch, AtomicU64);
        let next = last.load(Ordering::Relaxed) as u32 + 1;
        if next <= Skip::LAST_EPOCH {
            last.store(next.into(), Ordering::Relaxed);
            field!(self, epoch, AtomicU32).store(next, Ordering::SeqCst);
        }
        field!(self, changing, AtomicU64).store(0, Ordering::SeqCst);
    }

    /// Begins again with the first epoch. Before, the caller has removed the skips of all epochs
    /// but the last few from the entries.
    pub(super) fn renew_epochs(&self) {
        field!(self, last_epoch, AtomicU64).store(0, Ordering::Relaxed);
    }

    pub(super) fn multipliers(&self) -> [u64; 2] {
        [0, 1].map(|number| field!(self, multipliers[number], AtomicU64).load(Ordering::Relaxed))
    }

    pub(super) fn set_flags(&self, flags: u32) {
        field!(self, flags, AtomicU32).fetch_or(flags, Ordering::SeqCst);
    }

    pub(super) fn clear_flags(&self, flags: u32) {
        field!(self, flags, AtomicU32).fetch_and(!flags, Ordering::SeqCst);
    }

    pub(super) fn set_deadline(&self, deadline: u64) {
        field!(self, next_deadline, AtomicU64).store(deadline, Ordering::Relaxed);
    }

    pub(super) fn lower_deadline(&self, deadline: u64) {
        field!(self, next_deadline, AtomicU64).fetch_min(deadline, Ordering::Relaxed);
    }

    pub(super) fn entries(&self, table: EntryTable) -> u32 {
        field!(self, entries[table as usize], AtomicU32).load(Ordering::Relaxed)
    }

    pub(super) fn set_entries(&self, table: EntryTable, entries: u32) {
        field!(self, entries[table as usize], AtomicU32).store(entries, Ordering::Relaxed);
    }

    /// The page from which the next counters are taken, and which of its counters are free.
    pub(super) fn free_counters(&self) -> (u32, PageBits) {
        let page = field!(self, counter_page, AtomicU64).load(Ordering::Relaxed) as u32;
        let free = std::array::from_fn(|at| {
            field!(self, free_counters[at], AtomicU64).load(Ordering::Relaxed)
        });
        (page, free)
    }

    /// Sets the page from which the next counters are taken. It writes zeros first: a command that
    /// is killed in between leaves free counters that are found again later, and none that two
    /// entries could get.
    pub(super) fn set_free_counters(&self, page: u32, free: &PageBits) {
        for at in 0..free.len() {
            field!(self, free_counters[at], AtomicU64).store(0, Ordering::SeqCst);
        }
        field!(self, counter_page, AtomicU64).store(page.into(), Ordering::SeqCst);
        for (at, word) in free.iter().enumerate() {
            field!(self, free_counters[at], AtomicU64).store(*word, Ordering::SeqCst);
        }
    }

    /// Notes that no counter is known to be free.
    pub(super) fn forget_free_counters(&self) {
        self.set_free_counters(0, &[0; COUNTERS_PER_PAGE / 64]);
    }

    pub(super) fn add_stale(&self, table: EntryTable, weight: u64) {
        let stale = field!(self, stale[table as usize], AtomicU32);
        let sum = u64::from(stale.load(Ordering::Relaxed)) + weight;
        stale.store(u32::try_from(sum).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn clear_stale(&self, table: EntryTable) {
        field!(self, stale[table as usize], AtomicU32).store(0, Ordering::Relaxed);
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer has the length that is given.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match count {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}
