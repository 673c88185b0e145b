//! A frame's first buffer, read directly.

use aya_ebpf::programs::XdpContext;
use xdp_common::packet::PacketBytes;
use xdp_common::verifier::black_box;

use super::checked::Checked;
use super::length::length;

/// Headers beyond this are not looked for: eight IPv6 extension headers of full length end
/// before it, and the verifier wants a bound.
const FARTHEST: u32 = 0x7fff;

/// What of a frame lies in the driver's first buffer, which can be read directly.
pub struct Linear {
    data: usize,
    data_end: usize,
    /// Length of the frame with all its buffers.
    whole: u32,
    /// 0, from a map.
    zero: u32,
}

/// Frames whose first buffer is no longer are taken to have no other, until they turn out to be cut
/// short: asking the kernel is a call, and its return costs more than reading the frame. What would
/// go unseen is a second buffer behind such a one that holds nothing but padding: its bytes would
/// not be counted.
const SHORT: usize = 128;

impl Linear {
    /// Asks the context anew: pointers into the packet that are known to reach farther or less
    /// far, as they are after parsing, are different states to the verifier, and it would follow
    /// each through all that comes after.
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

    /// Length of what can be read here.
    #[inline(always)]
    pub fn here(&self) -> u32 {
        (self.data_end - self.data) as u32
    }

    /// Writes a MAC address at `offset`, if the frame is that long, which every frame is.
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
        // Black boxes, both, or LLVM checks one register and goes on with another that it takes for
        // equal, which the verifier does not.
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
