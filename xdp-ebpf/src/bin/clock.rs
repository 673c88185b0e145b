//! A program that tells the time of the clock by which run-time entries end: it writes the result
//! of `bpf_ktime_get_ns` over the first eight bytes of the frame. It is never attached; the command
//! line runs it (BPF_PROG_TEST_RUN), because its own clock may differ: in a time namespace
//! (time_namespaces(7)), CLOCK_MONOTONIC is not the kernel's.

#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp]
pub fn xdpctl_clock(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + size_of::<u64>() > end {
        return XDP_ABORTED;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the eight bytes lie before the frame's end, as just checked.
    unsafe { core::ptr::write_unaligned(start as *mut u64, now) };
    XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
