//! The headers at a frame's beginning, which were found to be there once, to be read and written.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;
use xdp_common::packet::rewrite::FrameMut;
use xdp_common::packet::tunnel::Grow;

use super::checked::Checked;
use super::writable::{CheckedMut, Writable};

/// The first `BYTES` of a frame. What lies behind them is asked for anew each time.
pub struct Headers<'a, const BYTES: usize> {
    ctx: &'a XdpContext,
    start: usize,
}

impl<'a, const BYTES: usize> Headers<'a, BYTES> {
    /// `None` where the driver's first buffer is shorter.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Option<Self> {
        // SAFETY: the context is the one that the kernel called the program with.
        let start = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).data) } as usize;
        // SAFETY: as above.
        let end = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).data_end) } as usize;
        (start + BYTES <= end).then_some(Self { ctx, start })
    }

    /// All of them, to be read.
    #[inline(always)]
    pub fn window(&self) -> Checked<BYTES> {
        Checked { start: self.start }
    }
}

impl<const BYTES: usize> FrameMut for Headers<'_, BYTES> {
    type WindowMut<'a, const N: usize>
        = CheckedMut<N>
    where
        Self: 'a;

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<CheckedMut<N>> {
        // Known when the program is compiled.
        if offset as usize + N <= BYTES {
            return Some(CheckedMut { start: self.start + offset as usize });
        }
        Writable::new(self.ctx).window_mut(offset)
    }
}

impl<const BYTES: usize> Grow for Headers<'_, BYTES> {
    #[inline(always)]
    fn grow(&mut self, bytes: u32) -> bool {
        // SAFETY: the context is the kernel's own; the pointer into the packet is taken anew before it is used.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) } != 0 {
            return false;
        }
        let Some(grown) = Self::new(self.ctx) else { return false };
        *self = grown;
        true
    }
}
