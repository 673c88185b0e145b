//! The benchmark's programs: the generator, and the floors and the bare programs that the packet
//! filter is compared with.
//!
//! Only `bench/packets.rs` loads them, into network namespaces of its own. The floors do nothing
//! but decide; they do not even count, the interface that they are attached to does.

#![no_std]
#![no_main]

mod balancer;
mod frame;
mod generate;
mod limit;
mod lookup;
mod prototype;
mod structure;
mod traffic;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::DevMap;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Where [`bench_redirect`] redirects to: its only element. Written by the benchmark.
#[btf_map]
static FLOOR_TARGET: DevMap<1> = DevMap::new();

/// Drops: what a frame costs at least that is dropped.
#[xdp(frags)]
pub fn bench_drop(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Passes: what a frame costs at least that goes on into the stack.
#[xdp(frags)]
pub fn bench_pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Sends back: what a frame costs at least that leaves by the interface that it came in by.
#[xdp(frags)]
pub fn bench_tx(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Redirects: what a frame costs at least that goes out of another interface.
#[xdp(frags)]
pub fn bench_redirect(_: XdpContext) -> u32 {
    FLOOR_TARGET.redirect(0, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
