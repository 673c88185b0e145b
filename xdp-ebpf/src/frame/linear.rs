//! A frame's first buffer, read directly.

use aya_ebpf::programs::XdpContext;
use xdp_common::packet::PacketBytes;
use xdp_common::verifier::black_box;

use super::checked::Checked;
use super::length::length;

/// Headers beyond this offset, in bytes, are not looked for. The verifier wants a bound, and eight
/// IPv6 extension headers of full length end before it.
const FARTHEST: u32 = 0x7fff;

/// The part of a frame that lies in the driver's first buffer.
pub struct Linear {
    data: usize,
    data_end: usize,
    /// Length of the frame with all its buffers, in bytes.
    whole: u32,
    /// `xdp_common::filter::order::Scratch::zero`.
    zero: u32,
}

/// Bytes. A frame whose first buffer is no longer than this is taken to have no other, unless it
/// seems to be cut short: asking the kernel is a call, and its return costs more than reading the
/// frame. The price: if such a frame had a second buffer with nothing but padding, its bytes would
/// not be counted.
const SHORT: usize = 128;

impl Linear {
    /// Reads the pointers from the context anew. After parsing, the verifier knows how far the old
    /// ones reach, on each way through the parser another distance. These are different states to
    /// it, and it would follow each through all that comes after.
    #[inline(always)]
    pub fn new(ctx: &XdpContext, zero: u32) -> Self {
        // SAFETY: the context is the one that the kernel called the program with.
        let data = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).data) };
        // SAFETY: as above.
        let data_end = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).data_end) };
        let (data, data_end) = (data as usize, data_end as usize);
        let here = data_end - data;
        let whole = if here <= SHORT { here as u32 } else { length(ctx) };
        Self { data, data_end, whole, zero }
    }

    /// Length of the first buffer, in bytes.
    #[inline(always)]
    pub fn here(&self) -> u32 {
        (self.data_end - self.data) as u32
    }

    /// Writes a MAC address at `offset`. The verifier wants a check of the length; every Ethernet
    /// frame is long enough.
    #[inline(always)]
    pub fn write_mac(&self, offset: usize, mac: &[u8; 6]) {
        let start = self.data + offset;
        if start + 6 > self.data_end {
            return;
        }
        let [a, b, c, d, e, f] = *mac;
        let upper = black_box(u32::from_ne_bytes([a, b, c, d]).into()) as u32;
        let lower = black_box(u16::from_ne_bytes([e, f]).into()) as u16;
        // SAFETY: the six bytes lie before `data_end`, as just checked.
        unsafe { core::ptr::write_unaligned(start as *mut u32, upper) };
        // SAFETY: as above.
        unsafe { core::ptr::write_unaligned((start + 4) as *mut u16, lower) };
    }
}

impl PacketBytes for Linear {
    type Window<const N: usize> = Checked<N>;

    #[inline(always)]
    fn length(&self) -> u32 {
        self.whole
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: u32) -> Option<Checked<N>> {
        // Two black boxes. Without them, LLVM checks one register and goes on with another that it
        // knows to be equal, which the verifier does not know.
        let offset = black_box(u64::from(offset));
        if offset > u64::from(FARTHEST) {
            return None;
        }
        let start = black_box((self.data + offset as usize) as u64) as usize;
        if start + N > self.data_end {
            return None;
        }
        Some(Checked { start })
    }

    #[inline(always)]
    fn widen(&self, number: u32) -> u32 {
        number.wrapping_add(self.zero)
    }
}
