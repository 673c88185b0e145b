//! The way of ordinary packets (`xdp_common::packet::ordinary`) where a ruleset has services and nothing else that
//! they are asked: in one program, and without a detour through the scratch.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::{Decision, policy};
use xdp_common::filter::fast_path;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::services;
use xdp_common::image::flag;
use xdp_common::packet::PacketBytes;
use xdp_common::packet::ordinary::{self, BYTES};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::action;
use crate::dynamic;
use crate::exit::{count_decision, this_cpu};
use crate::fast_path::{forward, give_back};
use crate::frame::{Headers, Linear};
use crate::image::{Image, Merged};

/// What [`serve_ordinary`] says where it did nothing: no action has that number.
pub const NOT_SERVED: u32 = u32::MAX;

/// Judges and serves an ordinary packet, and says with which action; [`NOT_SERVED`] where it has to go the longer
/// way. Then it is as it came.
///
/// It is a global function: the verifier goes through it once, on its own, and it knows nothing of the number returned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn serve_ordinary(ctx: *mut xdp_md) -> u32 {
    serve(&XdpContext::new(ctx)).unwrap_or(NOT_SERVED)
}

#[inline(always)]
fn serve(ctx: &XdpContext) -> Option<u32> {
    let cpu = this_cpu()?;
    let image = Image::in_force()?;
    let header = image.header();
    if !header.has(flag::SERVICES_ALONE) || !dynamic::is_idle() {
        return None;
    }
    let whole = Linear::new(ctx, 0).length();
    let mut frame = Headers::<BYTES>::new(ctx)?;
    let packet = ordinary::read(&frame.window(), whole)?;
    // Whoever looks at it later finds it where all packets are.
    let Scratch { packet: kept, length, malformed, serving, effect, .. } = &mut cpu.scratch;
    (*kept, *length, *malformed) = (packet, whole, 0);
    let asked = services::concerns(
        &image,
        header,
        &packet,
        0,
        Decision::new(Verdict::Pass, Reason::Default),
    );
    let bytes = u64::from(whole);
    let image = Merged(image);
    let decision = if asked == 0 {
        if header.has(flag::REPLIES) {
            return None;
        }
        policy(header, flag::DEFAULT_DROP, Reason::Default)
    } else {
        match fast_path::service(&image, header, &packet, asked)? {
            0 => give_back(ctx, &mut frame, &image, &packet, serving, bytes)?,
            line => forward(ctx, &mut frame, &image, &packet, line, serving, bytes)?,
        }
    };
    effect.conclude(decision);
    count_decision(cpu, decision, bytes);
    Some(action::of(decision))
}
