//! A frame in several buffers, read through the kernel's copying helper.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::{PacketBytes, Window};

/// A frame in several buffers.
pub struct Scattered<'a> {
    pub ctx: &'a XdpContext,
    /// Length of the frame with all its buffers, in bytes.
    pub whole: u32,
    /// `xdp_common::filter::order::Scratch::zero`.
    pub zero: u32,
}

impl PacketBytes for Scattered<'_> {
    type Window<const N: usize> = Copied<N>;

    #[inline(always)]
    fn length(&self) -> u32 {
        self.whole
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: u32) -> Option<Copied<N>> {
        let mut bytes = MaybeUninit::<Copied<N>>::uninit();
        // SAFETY: the context is the one that the kernel called the program with, and the buffer
        // has the length that is given.
        let failed = unsafe {
            bpf_xdp_load_bytes(
                self.ctx.as_ptr().cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        if failed != 0 {
            return None;
        }
        // SAFETY: the helper did not fail, so it has filled all `N` bytes.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn widen(&self, number: u32) -> u32 {
        number.wrapping_add(self.zero)
    }
}

/// `N` bytes, copied to the stack. Aligned, because the verifier allows only aligned access there.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Copied<const N: usize>([u8; N]);

impl<const N: usize> Copied<N> {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> T {
        // Known when the program is compiled: nothing of it is left there.
        assert!(at + size_of::<T>() <= N);
        // SAFETY: the bytes are inside the array, and any bytes are an integer.
        unsafe { core::ptr::read_unaligned(self.0.as_ptr().add(at).cast::<T>()) }
    }
}

impl<const N: usize> Window for Copied<N> {
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
