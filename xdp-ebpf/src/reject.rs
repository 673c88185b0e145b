//! The program that answers a packet of a service with an ICMP error, where it does not fit or where no
//! backend takes it. It was counted, but for its verdict.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_tail};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::pace::ERRORS;
use xdp_common::packet::icmp_error::{Reshape, may_answer, write};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{exit, this_cpu};
use crate::frame::Writable;
use crate::next_hop::came_by;
use crate::serve::{DROP, SEND_BACK};

/// Turns the frame into the error, if there may be one, and drops it otherwise.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_reject(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let decision = if answer(&ctx, cpu).is_some() { SEND_BACK } else { DROP };
    cpu.scratch.effect.decision = decision;
    cpu.scratch.serving.to = came_by(&ctx);
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// `None` where there is no error; then the frame is to be dropped, for it may be half of one.
#[inline(always)]
fn answer(ctx: &XdpContext, cpu: &mut PerCpu) -> Option<()> {
    let PerCpu { scratch, errors, .. } = cpu;
    let Scratch { packet, serving, length, question, .. } = scratch;
    let mut frame = Writable::new(ctx);
    if !may_answer(&mut frame, packet, &serving.answer) {
        return None;
    }
    // Questions are about what happens to one packet.
    // SAFETY: a helper without arguments.
    if *question == 0 && !errors.take(unsafe { bpf_ktime_get_coarse_ns() }, ERRORS) {
        return None;
    }
    write(&mut frame, packet, &serving.answer, *length)
}

impl Reshape for Writable<'_> {
    #[inline(always)]
    fn cut(&mut self, bytes: u32) -> bool {
        // SAFETY: the context is the kernel's own; no pointer into the packet is used afterwards.
        unsafe { bpf_xdp_adjust_tail(self.ctx().ctx, -(bytes as i32)) == 0 }
    }
}
