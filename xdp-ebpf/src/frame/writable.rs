//! A frame's first buffer, to be written.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::Window;
use xdp_common::packet::rewrite::{FrameMut, WindowMut};
use xdp_common::packet::tunnel::Grow;
use xdp_common::verifier::black_box;

/// A frame's first buffer, which may be written.
pub struct Writable<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Writable<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    #[inline(always)]
    pub fn ctx(&self) -> &'a XdpContext {
        self.ctx
    }
}

impl FrameMut for Writable<'_> {
    type WindowMut<'a, const N: usize>
        = CheckedMut<N>
    where
        Self: 'a;

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<CheckedMut<N>> {
        // SAFETY: the context is the one that the kernel called the program with.
        let data = unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ctx).data) };
        // SAFETY: as above.
        let end = unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ctx).data_end) };
        let offset = black_box(u64::from(offset));
        if offset > 0x7fff {
            return None;
        }
        let start = black_box(u64::from(data) + offset) as usize;
        if start + N > end as usize {
            return None;
        }
        Some(CheckedMut { start })
    }
}

impl Grow for Writable<'_> {
    #[inline(always)]
    fn grow(&mut self, bytes: u32) -> bool {
        // SAFETY: the context is the kernel's own; no pointer into the packet is used afterwards.
        unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) == 0 }
    }
}

/// `N` bytes of a packet that lie before its end, to be written.
pub struct CheckedMut<const N: usize> {
    pub(super) start: usize,
}

impl<const N: usize> CheckedMut<N> {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> T {
        assert!(at + size_of::<T>() <= N);
        // SAFETY: the bytes are inside the window, which was checked to be inside the packet, and any bytes
        // are an integer.
        unsafe { core::ptr::read_unaligned((self.start + at) as *const T) }
    }

    #[inline(always)]
    fn write<T>(&mut self, at: usize, value: T) {
        assert!(at + size_of::<T>() <= N);
        // SAFETY: as above.
        unsafe { core::ptr::write_unaligned((self.start + at) as *mut T, value) }
    }
}

impl<const N: usize> Window for CheckedMut<N> {
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

impl<const N: usize> WindowMut for CheckedMut<N> {
    #[inline(always)]
    fn put_u8(&mut self, at: usize, value: u8) {
        self.write(at, value);
    }
    #[inline(always)]
    fn put_u16(&mut self, at: usize, value: u16) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn put_u32(&mut self, at: usize, value: u32) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn put_u64(&mut self, at: usize, value: u64) {
        self.write(at, value.to_be());
    }
}
