//! The program that the filter goes on with where a rule answers SYNs: it asks the kernel for a cookie of the
//! listener that the SYN is for, and sends that back.

use core::mem::size_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_sock_tuple, xdp_action};
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie, bpf_xdp_adjust_tail,
    bpf_xdp_load_bytes,
};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve::before;
use xdp_common::filter::syn_cookie::{Outcome, size};
use xdp_common::lookup::services;
use xdp_common::packet::syn_ack::{
    IPV4, IPV6, LONGEST_TCP, Resize, SHORTEST_TCP, is_answerable, tcp_length, turn_around,
};
use xdp_common::packet::{Network, Packet};
use xdp_common::verifier::{black_box, launder};

use crate::capture;
use crate::exit::{exit, this_cpu};
use crate::frame::{Linear, Writable};
use crate::image::Image;
use crate::next_hop::Way;
use crate::replies::{OF_THE_INTERFACE, tuple_of};
use crate::stages::{broken, same_image};

/// The state of a listener (TCP_LISTEN in include/net/tcp_states.h).
const LISTEN: u32 = 10;

/// Answers the SYN, or says why not.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_syn_cookie(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let Some(outcome) = answer(&ctx, &image, &cpu.scratch) else { return broken(cpu) };
    let cpu = launder(cpu);
    cpu.scratch.effect.answer = outcome as u32;
    cpu.scratch.effect.decision = outcome.decision();
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// What becomes of the SYN, which may have become its answer. `None` is a corrupt image.
#[inline(always)]
fn answer(ctx: &XdpContext, image: &Image, scratch: &Scratch) -> Option<Outcome> {
    let Scratch { packet, length, effect, zero, .. } = scratch;
    if !is_answerable(packet, before(&Linear::new(ctx, *zero), packet)) {
        return Some(Outcome::Odd);
    }
    let way = Way::of(packet, 0);
    // A listener that is bound to no address is found for every address, those of other hosts too. The kernel's
    // routes do not tell them apart where nothing is forwarded, nor an address of this host from the broadcast
    // address of its network: so the image has the host's own addresses. The routes are asked as well, for an
    // address may have moved to another host since.
    if !way.ends_here(ctx) {
        return Some(Outcome::NoListener);
    }
    if !services::is_own(image, image.header(), packet)? {
        return Some(Outcome::UnknownAddress);
    }
    let cookie = match cookie(ctx, packet) {
        Ok(cookie) => cookie,
        Err(outcome) => return Some(outcome),
    };
    let size = size(&effect.action, packet.network == Network::IPV6);
    match turn_around(&mut Writable::new(ctx), packet, *length, cookie, size) {
        Some(()) => Some(Outcome::Answered),
        // It may be half an answer.
        None => Some(Outcome::Odd),
    }
}

/// The kernel's cookie for a SYN, or why there is none.
#[inline(always)]
fn cookie(ctx: &XdpContext, packet: &Packet) -> Result<u32, Outcome> {
    // The headers as the kernel wants them, wherever the driver has left them.
    let mut ip = [0_u32; IPV6 as usize / 4];
    let mut tcp = [0_u32; LONGEST_TCP as usize / 4];
    let raw = ctx.as_ptr();
    let is_v6 = packet.network == Network::IPV6;
    let ip_length = if is_v6 { IPV6 } else { IPV4 };
    let at = packet.parts.l3;
    // SAFETY: the context is the kernel's own, and the buffer has room for as many bytes.
    if unsafe { bpf_xdp_load_bytes(raw.cast(), at, ip.as_mut_ptr().cast(), ip_length) } != 0 {
        return Err(Outcome::Odd);
    }
    // As in the programs of names: Linux 6.1 learns nothing from a comparison with a smaller bound.
    let more = black_box(u64::from(tcp_length(packet).wrapping_sub(SHORTEST_TCP)));
    if more > u64::from(LONGEST_TCP - SHORTEST_TCP) {
        return Err(Outcome::Odd);
    }
    let tcp_length = more as u32 + SHORTEST_TCP;
    let at = packet.parts.l4;
    // SAFETY: as above.
    if unsafe { bpf_xdp_load_bytes(raw.cast(), at, tcp.as_mut_ptr().cast(), tcp_length) } != 0 {
        return Err(Outcome::Odd);
    }
    // SAFETY: zeros are a tuple.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let length = tuple_of(packet, &mut tuple);
    // SAFETY: the tuple has as many bytes, and the context is the kernel's own.
    let socket = unsafe { bpf_skc_lookup_tcp(raw, &raw mut tuple, length, OF_THE_INTERFACE, 0) };
    if socket.is_null() {
        return Err(Outcome::NoListener);
    }
    // SAFETY: the helper returned a socket, which stays until it is released.
    let state = unsafe { core::ptr::read_volatile(&raw const (*socket).state) };
    let mut found = -1;
    if state == LISTEN {
        let (ip, tcp) = (ip.as_mut_ptr().cast(), tcp.as_mut_ptr().cast());
        // SAFETY: as above, and both headers have as many bytes. The kernel checks them once more.
        found = unsafe { bpf_tcp_gen_syncookie(socket.cast(), ip, ip_length, tcp, tcp_length) };
    }
    // SAFETY: as above, and it is not used afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    if found < 0 { Err(Outcome::NotNeeded) } else { Ok(found as u32) }
}

impl Resize for Writable<'_> {
    #[inline(always)]
    fn resize(&mut self, by: i32) -> bool {
        // SAFETY: the context is the kernel's own; no pointer into the packet is used afterwards.
        unsafe { bpf_xdp_adjust_tail(self.ctx().ctx, by) == 0 }
    }
}

const _: () = assert!(size_of::<[u32; 10]>() == IPV6 as usize);
