//! Bytes of a packet that were found to be there.

use xdp_common::packet::Window;

/// `N` bytes of a packet that lie before its end.
#[derive(Clone, Copy)]
pub struct Checked<const N: usize> {
    pub start: usize,
}

impl<const N: usize> Checked<N> {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> T {
        // Known when the program is compiled: nothing of it is left there.
        assert!(at + size_of::<T>() <= N);
        // SAFETY: the bytes are inside the window, which was checked to be inside the packet, and
        // any bytes are an integer.
        unsafe { core::ptr::read_unaligned((self.start + at) as *const T) }
    }
}

impl<const N: usize> Window for Checked<N> {
    #[inline(always)]
    fn u8(&self, at: usize) -> u8 {
        self.read(at)
    }

    #[inline(always)]
    fn u16(&self, at: usize) -> u16 {
        u16::from_be(self.read(at))
    }

    #[inline(always)]
    fn u32(&self, at: usize) -> u32 {
        u32::from_be(self.read(at))
    }

    #[inline(always)]
    fn u64(&self, at: usize) -> u64 {
        u64::from_be(self.read(at))
    }
}
