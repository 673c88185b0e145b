//! The program at the egress of an interface: it notes what goes out, so that the filter knows what answers it
//! (`xdp_common::filter::sent`). It changes no packet and stops none, and what comes behind it at the egress is
//! asked as if it were not there.
//!
//! The kernel calls it where the packet is as it will leave, behind netfilter's translation of addresses.

#![no_std]
#![no_main]

#[path = "../frame/checked.rs"]
mod checked;
#[path = "../maps.rs"]
mod maps;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_pull_data};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TcContext;
use checked::Checked;
use xdp_common::capacity::{LINES_PER_SENT_SLOT, SENT_SLOTS};
use xdp_common::egress::Scratch;
use xdp_common::filter::sent::{Memory, read, remember};
use xdp_common::image::{LINE_WORDS, Line};
use xdp_common::packet::{LinkType, PacketBytes, parse};
use xdp_common::verifier::{black_box, launder};

use maps::{SENT, SWITCHES};

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The command line makes it, as `xdp_common::egress` declares it.
#[map]
static EGRESS: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// TC_ACT_UNSPEC, which is TCX_NEXT too (include/uapi/linux): whatever is behind this program decides.
const NEXT: i32 = -1;
/// What is pulled into a packet's first buffer where its headers are not there: bytes.
const HEADERS: u32 = 256;

/// For links whose frames have Ethernet headers.
#[classifier]
#[inline(always)]
pub fn xdpctl_egress(ctx: TcContext) -> i32 {
    note(&ctx, LinkType::Ethernet);
    NEXT
}

/// For links whose frames begin with IP.
#[classifier]
#[inline(always)]
pub fn xdpctl_egr_raw(ctx: TcContext) -> i32 {
    note(&ctx, LinkType::Raw);
    NEXT
}

#[inline(always)]
fn note(ctx: &TcContext, link_type: LinkType) -> Option<()> {
    // SAFETY: the value is this CPU's own, and nothing interrupts the program on its CPU that would use it.
    let scratch = unsafe { &mut *EGRESS.get_ptr_mut(0)? };
    let frame = Frame::new(ctx, scratch.zero);
    scratch.malformed = u32::from(parse(link_type, &frame, &mut scratch.packet).is_err());
    let scratch = launder(scratch);
    if scratch.malformed != 0 {
        // Its headers may lie behind the first buffer.
        let whole = frame.length();
        if frame.here() >= whole || frame.here() >= HEADERS {
            return None;
        }
        let wanted = if whole < HEADERS { whole } else { HEADERS };
        // SAFETY: the context is the kernel's own. The frame is looked at anew.
        if unsafe { bpf_skb_pull_data(ctx.as_ptr().cast(), wanted) } != 0 {
            return None;
        }
        let frame = Frame::new(ctx, scratch.zero);
        if parse(link_type, &frame, &mut scratch.packet).is_err() {
            return None;
        }
    }
    let Scratch { packet, work, zero, .. } = launder(scratch);
    let frame = Frame::new(ctx, *zero);
    read(&Sent, &frame, packet, is_of_socket(ctx), work)?;
    remember(&mut Sent, packet.protocol, work);
    Some(())
}

/// Whether a socket of this host has sent the packet, or the kernel itself. What came in by another interface, as
/// from a container on a bridge, may still carry the socket that sent it there.
#[inline(always)]
fn is_of_socket(ctx: &TcContext) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's own.
    let socket = unsafe { core::ptr::read_volatile(&raw const (*skb).__bindgen_anon_2.sk) };
    // SAFETY: as above.
    let came_by = unsafe { core::ptr::read_volatile(&raw const (*skb).ingress_ifindex) };
    !socket.is_null() && came_by == 0
}

/// What the interface has sent.
struct Sent;

impl Memory for Sent {
    #[inline(always)]
    fn line(&mut self, number: u32) -> Option<&mut Line> {
        let memory = SENT.get(number / LINES_PER_SENT_SLOT % SENT_SLOTS)?.get(0)?;
        let place = black_box(u64::from(number)) as usize & (LINES_PER_SENT_SLOT as usize - 1);
        // SAFETY: masked to the map's lines. Other CPUs may write there too: words are read and written whole, and
        // any bits are a line.
        Some(unsafe { &mut *memory.as_ptr().cast_mut().add(place * LINE_WORDS).cast::<Line>() })
    }

    #[inline(always)]
    fn secrets(&self) -> [u64; 2] {
        SWITCHES.get(0).map_or([0; 2], |switches| switches.multipliers)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

/// A packet's first buffer.
struct Frame {
    data: usize,
    data_end: usize,
    /// Bytes in all.
    whole: u32,
    zero: u32,
}

/// Headers beyond this offset, in bytes, are not looked for, as in the filter: the verifier wants a
/// bound.
const FARTHEST: u64 = 0x7fff;

impl Frame {
    /// Reads the pointers from the context anew, see `Linear::new` in frame/linear.rs.
    #[inline(always)]
    fn new(ctx: &TcContext, zero: u32) -> Self {
        let skb = ctx.skb.skb;
        // SAFETY: the context is the kernel's own.
        let data = unsafe { core::ptr::read_volatile(&raw const (*skb).data) };
        // SAFETY: as above.
        let data_end = unsafe { core::ptr::read_volatile(&raw const (*skb).data_end) };
        // SAFETY: as above.
        let whole = unsafe { core::ptr::read_volatile(&raw const (*skb).len) };
        Self { data: data as usize, data_end: data_end as usize, whole, zero }
    }

    /// Length of the first buffer, in bytes.
    #[inline(always)]
    fn here(&self) -> u32 {
        (self.data_end - self.data) as u32
    }
}

impl PacketBytes for Frame {
    type Window<const N: usize> = Checked<N>;

    #[inline(always)]
    fn length(&self) -> u32 {
        self.whole
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: u32) -> Option<Checked<N>> {
        // As in the filter, see `Linear` in frame/linear.rs.
        let offset = black_box(u64::from(offset));
        if offset > FARTHEST {
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

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: if anything here could panic, the verifier would refuse this loop.
    loop {}
}
