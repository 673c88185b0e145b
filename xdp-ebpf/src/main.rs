//! The XDP program: a packet's way from the driver to its verdict.
//!
//! [`filter`] reads the frame into the CPU's scratch (`xdp_common::packet`). [`judge_frame`] judges
//! it by the ruleset in force (`xdp_common::filter::order`) and leaves its effect in the scratch
//! (`xdp_common::filter::effect`): what becomes of the packet. [`apply`] does that, [`exit`] is the
//! one place where anything is counted, and behind it a capture may look ([`capture`]). Where lists
//! of domain names have to be asked, another program goes on from there ([`names`]).

#![no_std]
#![no_main]

mod action;
mod capture;
mod dynamic;
mod frame;
mod image;
mod maps;
mod names;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use frame::{Linear, Scattered, length};
use image::Image;
use names::GoOn;
use xdp_common::capacity::REDIRECT_SLOTS;
use xdp_common::filter::effect::{Decision, Effect};
use xdp_common::filter::order::{Scratch, judge};
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::{Counter, CounterId};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::{black_box, launder};

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// For links whose frames have Ethernet headers.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl(ctx: XdpContext) -> u32 {
    filter(ctx, LinkType::Ethernet)
}

/// For links whose frames begin with IP. It is a program of its own, so that the kind of link need
/// not be found out for each packet.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_raw(ctx: XdpContext) -> u32 {
    filter(ctx, LinkType::Raw)
}

#[inline(always)]
fn filter(ctx: XdpContext, link_type: LinkType) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let scratch = &mut cpu.scratch;
    let frame = Linear::new(&ctx, scratch.zero);
    scratch.read(link_type, &frame);
    if scratch.malformed != 0 {
        // It may seem malformed only because its headers reach beyond the driver's first buffer. So
        // it is read again from all buffers: whether a frame is malformed depends on its bytes, not
        // on where they lie.
        let whole = length(&ctx);
        if frame.here() < whole {
            scratch.read(link_type, &Scattered { ctx: &ctx, whole, zero: scratch.zero });
        }
    }
    let cpu = launder(cpu);
    judge_frame(&ctx, &mut cpu.scratch);
    let cpu = launder(cpu);
    apply(&ctx, &mut cpu.scratch.effect);
    let action = exit(cpu);
    capture::show(&ctx);
    action
}

/// Judges what lies in the scratch by the ruleset in force. The image is looked up here and nowhere
/// else, so whatever is read of it is of one ruleset.
#[inline(always)]
fn judge_frame(ctx: &XdpContext, scratch: &mut Scratch) {
    match Image::in_force() {
        Some(image) => judge(&image, &dynamic::InForce, &mut GoOn { ctx }, image.header(), scratch),
        None => scratch.effect.conclude(Decision::BROKEN),
    }
}

/// This CPU's counters and scratch.
#[inline(always)]
fn this_cpu() -> Option<&'static mut PerCpu> {
    // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
    maps::COUNTERS.get_ptr_mut(0).map(|cpu| unsafe { &mut *cpu })
}

/// Redirects the packet and rewrites its MAC addresses, if its effect says so. A packet that cannot
/// be redirected is dropped.
#[inline(always)]
fn apply(ctx: &XdpContext, effect: &mut Effect) {
    if !effect.leaves() {
        return;
    }
    if let Some(slot) = effect.redirect()
        && maps::REDIRECTS.redirect(slot % REDIRECT_SLOTS, 0).is_err()
    {
        effect.fail();
        return;
    }
    let action = &effect.action;
    // The packet's pointers are taken anew, see `Linear::new`.
    let frame = Linear::new(ctx, 0);
    if action.set_source_mac != 0 {
        frame.write_mac(6, &action.source_mac);
    }
    if action.set_destination_mac != 0 {
        frame.write_mac(0, &action.destination_mac);
    }
}

/// The one exit: counts the packet once in the matrix, and in each counter that its effect names,
/// and returns the kernel's number for its verdict.
#[inline(always)]
fn exit(cpu: &mut PerCpu) -> u32 {
    let Effect { decision, list, rule, entry, failure, .. } = cpu.scratch.effect;
    let bytes = u64::from(cpu.scratch.length);
    if let Some(cell) = cpu.matrix.cells.get_mut(black_box(decision.cell().into()) as usize) {
        add(cell, bytes);
    }
    count(list, bytes);
    count(rule, bytes);
    dynamic::count(entry);
    count(failure, bytes);
    action::of(decision)
}

/// Counts the packet to a list or a rule.
#[inline(always)]
fn count(id: CounterId, bytes: u64) {
    if let Some((page, place)) = id.place()
        && let Some(counter) = maps::RULE_COUNTERS.get_value_ptr_mut(page, &place)
    {
        // SAFETY: the value is this CPU's own, two words as a counter has, and the program does not
        // interrupt itself there.
        add(unsafe { &mut *counter.cast::<Counter>() }, bytes);
    }
}

#[inline(always)]
fn add(counter: &mut Counter, bytes: u64) {
    counter.packets += 1;
    counter.bytes += bytes;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: if anything here could panic, the verifier would refuse this loop.
    loop {}
}
