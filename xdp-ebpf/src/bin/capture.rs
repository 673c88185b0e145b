//! What shows frames to `xdpctl capture`: programs that the filter goes on with when it is done with a
//! packet (`../capture.rs`), for as long as the capture runs. They take from the CPU's scratch what
//! was read of the frame and what became of it, hand over what the settings ask for, and return the
//! filter's verdict.

#![no_std]
#![no_main]

#[path = "../action.rs"]
mod action;
#[path = "../capture.rs"]
mod capture;
#[allow(dead_code, reason = "the filter reads more of an image")]
#[path = "../image.rs"]
mod image;
#[path = "../frame/length.rs"]
mod length;
#[path = "../maps.rs"]
mod maps;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_ringbuf_output, bpf_xdp_load_bytes};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use image::Image;
use length::length;
use xdp_common::capacity::MAX_SNAPLEN;
use xdp_common::capture::{Buffer, Counts, RING_BYTES, Record, Settings};
use xdp_common::filter::order::Scratch;
use xdp_common::filter::services::Told;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::Reason;
use xdp_common::verifier::black_box;

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The command line makes these maps, as `xdp_common::capture::map` declares them.
#[map]
static CAPTURE_SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static CAPTURE_BUFFER: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CAPTURE_COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CAPTURE_RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// The program of the first capture: the second's follows it.
#[xdp(frags)]
pub fn xdpctl_capture(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return xdp_action::XDP_ABORTED };
    hand_over(&ctx, scratch);
    let action = action::of(scratch.effect.decision);
    capture::show_second(&ctx);
    action
}

/// The program of the second capture.
#[xdp(frags)]
pub fn xdpctl_capture2(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return xdp_action::XDP_ABORTED };
    hand_over(&ctx, scratch);
    action::of(scratch.effect.decision)
}

/// What the filter has left of the packet.
#[inline(always)]
fn scratch() -> Option<&'static Scratch> {
    // SAFETY: the value is this CPU's own, and the filter, which writes there, is done.
    maps::COUNTERS.get_ptr(0).map(|cpu| unsafe { &(*cpu).scratch })
}

#[inline(always)]
fn hand_over(ctx: &XdpContext, scratch: &Scratch) -> Option<()> {
    let settings = CAPTURE_SETTINGS.get(0)?;
    // SAFETY: the values are this CPU's own, and the filter does not interrupt itself there.
    let (counts, buffer) =
        unsafe { (&mut *CAPTURE_COUNTS.get_ptr_mut(0)?, &mut *CAPTURE_BUFFER.get_ptr_mut(0)?) };
    counts.seen += 1;
    if !is_asked_for(scratch, settings) {
        return None;
    }
    let number = counts.matched;
    counts.matched += 1;
    if number.checked_rem(settings.sample.into()) != Some(0) {
        return None;
    }
    let whole = length(ctx);
    // Linux 6.1 learns nothing from a comparison with 0: so that it sees that there is a byte at least,
    // one less is compared, in a black box, from which LLVM cannot take the one away.
    let less = black_box(u64::from(whole.min(settings.snaplen)).wrapping_sub(1));
    if less >= MAX_SNAPLEN.into() {
        return None;
    }
    let captured = less + 1;
    let to = buffer.data.as_mut_ptr().cast();
    // SAFETY: the context is the kernel's own, and the buffer has room for as many bytes.
    if unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, to, captured as u32) } != 0 {
        return None;
    }
    let record = &mut buffer.record;
    // SAFETY: a helper without arguments.
    record.time = unsafe { bpf_ktime_get_tai_ns() };
    record.generation = Image::in_force().map_or(0, |image| image.header().generation);
    record.length = whole;
    record.captured = captured as u32;
    // SAFETY: the context is the one that the kernel called the filter with.
    record.queue = unsafe { (*ctx.ctx).rx_queue_index };
    record.malformed = scratch.malformed;
    copy(&scratch.packet, &mut record.packet);
    copy(&scratch.effect, &mut record.effect);
    record.told = Told::of(&scratch.serving);
    let size = size_of::<Record>() as u64 + captured;
    let (ring, from) = (&raw const CAPTURE_RING, &raw mut buffer.record);
    // SAFETY: the first is a ring buffer; the record and the data behind it are that long.
    if unsafe { bpf_ringbuf_output(ring.cast_mut().cast(), from.cast(), size, 0) } != 0 {
        counts.lost += 1;
    }
    Some(())
}

/// Whether a frame is to be captured, by what became of it.
#[inline(always)]
fn is_asked_for(scratch: &Scratch, settings: &Settings) -> bool {
    let effect = &scratch.effect;
    let (verdict, reason) = (effect.decision.verdict(), effect.decision.reason());
    let counter = settings.counter;
    settings.verdicts >> (verdict & 31) & 1 != 0
        && settings.reasons >> (reason & 31) & 1 != 0
        && (counter == CounterId::NONE
            || counter == effect.list
            || counter == effect.rule
            || counter == effect.domain
            || reason == Reason::Service as u32 && counter == scratch.serving.service)
}

/// Copies a structure of whole words, word by word: LLVM makes a plain assignment a loop over
/// bytes.
#[inline(always)]
fn copy<T>(from: &T, to: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let (from, to) = ((&raw const *from).cast::<u64>(), (&raw mut *to).cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / size_of::<u64>() {
        // SAFETY: both structures have as many words, and a word is copied as it is.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        word += 1;
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: if anything here could panic, the verifier would refuse this loop.
    loop {}
}
