//! The program's hands: a frame's bytes and an image's lines, where the kernel keeps them.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use xdp_common::image::{Block, EXTENT_LINES, Extent, Header, LINE_WORDS, Lines, Span};
use xdp_common::opaque::opaque;
use xdp_common::packet::{PacketBytes, Window};

use crate::maps::RULESET;
use crate::window::Checked;

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

/// Length of the frame with all its buffers, as the kernel knows it.
#[inline(always)]
pub fn length(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called the program with.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as u32 }
}

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
        let upper = opaque(u32::from_ne_bytes([a, b, c, d]).into()) as u32;
        let lower = opaque(u16::from_ne_bytes([e, f]).into()) as u16;
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
        // Opaque, both, or LLVM checks one register and goes on with another that it takes for
        // equal, which the verifier does not.
        let offset = opaque(u64::from(offset));
        if offset > u64::from(FARTHEST) {
            return None;
        }
        let start = opaque((self.data + offset as usize) as u64) as usize;
        if start + N > self.data_end {
            return None;
        }
        Some(Checked { start })
    }

    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number | self.zero
    }
}

/// A frame in several buffers, read through the kernel.
pub struct Scattered<'a> {
    pub ctx: &'a XdpContext,
    pub whole: u32,
    /// 0, from a map.
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
        // SAFETY: the context is the kernel's, and the buffer has the length that is given.
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
        // SAFETY: the helper filled it.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number | self.zero
    }
}

/// `N` bytes, copied. Aligned, because the verifier allows no other access to the stack.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Copied<const N: usize>([u8; N]);

impl<const N: usize> Copied<N> {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> T {
        // Constant, so that nothing is left of it.
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

/// The image of the ruleset in force: looked up once a packet.
pub struct Image {
    /// The first extent, with the header and, in all but large rulesets, everything else.
    first: &'static Extent,
}

impl Image {
    #[inline(always)]
    pub fn in_force() -> Option<Self> {
        Some(Self { first: RULESET.get(0)?.get(0)? })
    }

    /// The header: block 0.
    #[inline(always)]
    pub fn header(&self) -> &'static Header {
        // SAFETY: an extent begins with a block, and has its alignment.
        Header::of(unsafe { &*self.first.as_ptr().cast::<Block>() })
    }
}

impl Lines for Image {
    #[inline(always)]
    fn span(&self, line: u32) -> Option<&Span> {
        let mut extent = self.first;
        if line >= EXTENT_LINES {
            let slot = self.header().more_extents.wrapping_add(line / EXTENT_LINES - 1);
            extent = RULESET.get(slot)?.get(0)?;
        }
        let inside = opaque(u64::from(line)) as usize & (EXTENT_LINES as usize - 1);
        // SAFETY: `inside` is a line of the extent, and an extent's slack makes whole what begins
        // on any of its lines.
        Some(unsafe { &*extent.as_ptr().add(inside * LINE_WORDS).cast::<Span>() })
    }
}
