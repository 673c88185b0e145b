//! The XDP program: a packet's way from the driver to its verdict.
//!
//! [`filter`] reads the frame into the CPU's scratch (`xdp_common::packet`). [`judge_frame`] judges
//! it by the ruleset in force (`xdp_common::filter::order`) and leaves its effect in the scratch
//! (`xdp_common::filter::effect`): what becomes of the packet. [`apply`] does that, [`exit`]
//! counts it, once and for all programs, and behind it a capture may look ([`capture`]). Where lists
//! of domain names have to be asked, another program goes on from there ([`names`]).

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod action;
mod capture;
mod catch;
mod dynamic;
mod exit;
mod fast_path;
mod frame;
mod icmp;
mod image;
mod limits;
mod maps;
mod names;
mod next_hop;
mod ordinary;
mod reject;
mod replies;
mod serve;
mod services;
mod stages;
mod syn_cookie;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use exit::{apply, exit, this_cpu};
use frame::{Linear, Scattered, length};
use image::{Image, Merged};
use names::GoOn;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::{Scratch, judge};
use xdp_common::packet::LinkType;
use xdp_common::verifier::launder;

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
    if link_type == LinkType::Ethernet && cpu.scratch.ordinary != 0 && ordinary::may_be(&ctx) {
        let action = ordinary::judge_ordinary(ctx.ctx);
        if action != ordinary::NOT_JUDGED {
            capture::show(&ctx);
            return action;
        }
    }
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
    if !services::ask(&ctx, &cpu.scratch) {
        return stages::broken(cpu);
    }
    apply(&ctx, &mut cpu.scratch.effect);
    let action = exit(cpu);
    capture::show(&ctx);
    action
}

/// Judges what lies in the scratch by the ruleset in force. The image is looked up here, and by
/// [`ordinary::judge_ordinary`] for the packets that it takes: so whatever is read of it is of one ruleset.
#[inline(always)]
fn judge_frame(ctx: &XdpContext, scratch: &mut Scratch) {
    match Image::in_force() {
        Some(image) => {
            let header = image.header();
            judge(&Merged(image), &dynamic::InForce, &mut GoOn { ctx }, header, scratch);
        }
        None => scratch.effect.conclude(Decision::BROKEN),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: if anything here could panic, the verifier would refuse this loop.
    loop {}
}
