//! The way of ordinary packets (`xdp_common::packet::ordinary`) where a ruleset asks them nothing but lists of
//! addresses and services, and nothing was added at run time: all in one function, without programs that follow.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::{Decision, Stage};
use xdp_common::filter::fast_path;
use xdp_common::filter::order::{self, Scratch};
use xdp_common::filter::{replies, services};
use xdp_common::image::{Header, flag};
use xdp_common::packet::ordinary::{self, BYTES};
use xdp_common::packet::{Packet, PacketBytes};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::launder;

use crate::action;
use crate::dynamic;
use crate::exit::{count, count_decision, this_cpu};
use crate::fast_path::{forward, give_back};
use crate::frame::{Headers, Linear};
use crate::image::{Image, Merged};

/// What [`judge_ordinary`] says where it did nothing: no action has that number.
pub const NOT_JUDGED: u32 = u32::MAX;

/// Whether a frame may have an ordinary packet: what is not IPv4 has none, and need not be asked more.
#[inline(always)]
pub fn may_be(ctx: &XdpContext) -> bool {
    Headers::<BYTES>::new(ctx).is_some_and(|frame| ordinary::may_be(&frame.window()))
}

/// Judges an ordinary packet and does what becomes of it, and says with which action; [`NOT_JUDGED`] where it has to
/// go the longer way. Then it is as it came.
///
/// It is a global function: the verifier goes through it once, on its own, and it knows nothing of the number returned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_ordinary(ctx: *mut xdp_md) -> u32 {
    judge(&XdpContext::new(ctx)).unwrap_or(NOT_JUDGED)
}

#[inline(always)]
fn judge(ctx: &XdpContext) -> Option<u32> {
    let cpu = this_cpu()?;
    let image = Image::in_force()?;
    let header = image.header();
    if !header.has(flag::ORDINARY) || !dynamic::is_idle() {
        return None;
    }
    let whole = Linear::new(ctx, 0).length();
    let frame = Headers::<BYTES>::new(ctx)?;
    let packet = ordinary::read(&frame.window(), whole)?;
    // Whoever looks at it later finds it where all packets are.
    let Scratch { packet: kept, length, malformed, effect, .. } = &mut cpu.scratch;
    (*kept, *length, *malformed) = (packet, whole, 0);
    // Read back from there, these are unknown to the verifier: otherwise it would go through the rest for TCP and for UDP.
    let Packet { protocol, transport, l4_octet, .. } = *launder(kept);
    let packet = Packet { protocol, transport, l4_octet, ..packet };
    effect.begin();
    let judged = order::judge_ordinary(&Merged(image), header, &packet, effect);
    let (Stage::Break(decision) | Stage::Continue(decision)) = judged;
    let list = effect.list;
    let decision = behind(ctx, frame, &Merged(image), header, &packet, cpu, decision)?;
    cpu.scratch.effect.decision = decision;
    count_decision(cpu, decision, whole.into());
    count(list, whole.into());
    Some(action::of(decision))
}

/// What becomes of a packet of which that was decided by the lists: what services say, where there are some.
#[inline(always)]
fn behind(
    ctx: &XdpContext,
    mut frame: Headers<'_, BYTES>,
    image: &Merged,
    header: &Header,
    packet: &Packet,
    cpu: &mut PerCpu,
    decision: Decision,
) -> Option<Decision> {
    let asked = match header.has(flag::SERVICES) {
        true => services::concerns(image, header, packet, 0, decision),
        false => 0,
    };
    if asked == 0 {
        let may_be_reply = header.has(flag::REPLIES) && replies::concerns(packet, decision);
        return (!may_be_reply).then_some(decision);
    }
    let Scratch { serving, length, .. } = &mut cpu.scratch;
    let bytes = u64::from(*length);
    match fast_path::service(image, header, packet, asked)? {
        0 => give_back(ctx, &mut frame, image, packet, serving, bytes),
        line => forward(ctx, &mut frame, image, packet, line, serving, bytes),
    }
}
