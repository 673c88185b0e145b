//! The programs that the filter goes on with where lists of names have to be asked: the first reads
//! the question of a DNS message and asks the lists, the second goes on with long names, the third
//! asks the rules, if there are any.
//!
//! They are programs of their own, so that other packets do not pay for them, and so that the verifier
//! follows the ways through one of them without those through the others. What was read and decided
//! so far lies in the CPU's scratch. If the ruleset was exchanged in between, the filter judges the
//! packet once more from the beginning: no packet is judged by parts of two.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::domains;
use xdp_common::filter::effect::{Decision, Effect, Stage};
use xdp_common::filter::order::{self, AskNames, Scratch};
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::names::Found;
use xdp_common::packet::answer::{self, BEFORE, LONGEST, SESSION_LENGTH};
use xdp_common::packet::dns::{self, COPIED, Message};
use xdp_common::packet::{NO_MACS, Packet};
use xdp_common::stages;
use xdp_common::stats::names::Names;
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::{black_box, launder, name};

use crate::capture;
use crate::exit::{apply, count, exit, this_cpu};
use crate::frame::Linear;
use crate::image::{Image, Merged};
use crate::maps::NAMES;
use crate::services;
use crate::stages::{broken, go_on, same_image};

/// Goes on with [`xdpctl_question`].
pub struct GoOn<'a> {
    pub ctx: &'a XdpContext,
}

impl AskNames for GoOn<'_> {
    /// Does not come back, unless that program is not there: then the filter is broken.
    #[inline(always)]
    fn judge<L: Lines>(&mut self, _: &L, _: &Header, _: &Packet, _: &mut Effect) -> Stage {
        // The command line finds the program's maps by what the filter names.
        name(&NAMES);
        go_on::<{ stages::QUESTION }>(self.ctx);
        Stage::Break(Decision::BROKEN)
    }
}

/// Reads the question, and looks its name up.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_question(ctx: XdpContext) -> u32 {
    let (Some(cpu), Some(names)) = (this_cpu(), this_cpus_names()) else {
        return xdp_action::XDP_ABORTED;
    };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let Scratch { packet, effect, onward, .. } = &mut cpu.scratch;
    // If the lists decide, nobody else is asked.
    *onward = 0;
    copy_message(&ctx, packet, &mut names.message);
    if !domains::read(packet, &mut names.message, effect) {
        return decide(&ctx, launder(cpu), launder(names), &image, Stage::Continue(()));
    }
    let Names { message, search, .. } = launder(names);
    if search.begin(&image, image.header(), message.labels()).is_none() {
        return broken(cpu);
    }
    search_on(&ctx, launder(cpu), names, &image)
}

/// Goes on with a search that [`xdpctl_question`] could not end.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_names(ctx: XdpContext) -> u32 {
    let (Some(cpu), Some(names)) = (this_cpu(), this_cpus_names()) else {
        return xdp_action::XDP_ABORTED;
    };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    search_on(&ctx, cpu, names, &image)
}

/// Goes on with the search, and decides by what it finds.
#[inline(always)]
fn search_on(ctx: &XdpContext, cpu: &mut PerCpu, names: &mut Names, image: &Image) -> u32 {
    let Names { message, search, .. } = launder(names);
    let (header, effect) = (image.header(), &mut cpu.scratch.effect);
    let found = match search.advance(image, header, message) {
        Some(Found::Said(found)) => found,
        Some(Found::More) => {
            go_on::<{ stages::NAMES }>(ctx);
            return broken(cpu);
        }
        None => return broken(cpu),
    };
    let stage = domains::judge(image, header, message, found, effect);
    decide(ctx, launder(cpu), launder(names), image, stage)
}

/// Ends with what the lists say, or goes on with the rules.
#[inline(always)]
fn decide(
    ctx: &XdpContext,
    cpu: &mut PerCpu,
    names: &mut Names,
    image: &Image,
    stage: Stage,
) -> u32 {
    let decision = match stage {
        Stage::Break(decision) => decision,
        Stage::Continue(()) => match order::decision_without_rules(image.header()) {
            Some(decision) => decision,
            None => {
                go_on::<{ stages::RULES }>(ctx);
                return broken(cpu);
            }
        },
    };
    cpu.scratch.effect.decision = decision;
    if decision == Decision::ANSWERED && turn_around(ctx, &cpu.scratch, names).is_none() {
        cpu.scratch.effect.decision = decision.dropped();
    }
    end(ctx, launder(cpu))
}

/// Where this CPU works on DNS messages.
#[inline(always)]
fn this_cpus_names() -> Option<&'static mut Names> {
    // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
    NAMES.get_ptr_mut(0).map(|names| unsafe { &mut *names })
}

/// Asks the rules, and decides by what follows them.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_rules(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    order::judge_from_rules(&Merged(image), &mut GoOn { ctx: &ctx }, header, &mut cpu.scratch);
    let cpu = launder(cpu);
    count_names(&cpu.scratch);
    if !services::ask(&ctx, &cpu.scratch) {
        return broken(cpu);
    }
    apply(&ctx, &mut cpu.scratch.effect);
    let action = exit(cpu);
    capture::show(&ctx);
    action
}

/// Counts the packet, to a list of names too, and shows it to a capture.
#[inline(always)]
fn end(ctx: &XdpContext, cpu: &mut PerCpu) -> u32 {
    count_names(&cpu.scratch);
    let action = exit(cpu);
    capture::show(ctx);
    action
}

/// Counts the packet to a list of names, and to the messages that could not be read.
#[inline(always)]
pub fn count_names(scratch: &Scratch) {
    let Scratch { effect, length, .. } = scratch;
    count(effect.domain, (*length).into());
    if effect.unreadable != 0
        && let Some(names) = this_cpus_names()
    {
        names.count(effect, *length);
    }
}

/// Copies the message from the frame. One that cannot be copied has no byte, and so no question.
#[inline(always)]
fn copy_message(ctx: &XdpContext, packet: &Packet, message: &mut Message) {
    message.length = 0;
    message.is_first_fragment = 0;
    // As in the capture's program: Linux 6.1 learns nothing from a comparison with 0.
    let less = black_box(u64::from(Message::wanted(packet)).wrapping_sub(1));
    if less >= COPIED.into() {
        return;
    }
    let length = less as u32 + 1;
    let to = message.bytes.as_mut_ptr().cast();
    // SAFETY: the context is the kernel's own, and the buffer has room for as many bytes.
    if unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), packet.parts.l4, to, length) } != 0 {
        return;
    }
    message.length = length;
    if message.claims_more(packet) {
        let mut flags = [0_u8; 2];
        let at = packet.parts.l3 + dns::IPV4_FLAGS;
        // SAFETY: as above.
        unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), at, flags.as_mut_ptr().cast(), 2) };
        message.is_first_fragment =
            u32::from(dns::is_first_fragment(packet, u16::from_be_bytes(flags)));
    }
}

/// Turns the query around into its answer. `None` where that cannot be done; then the frame is to be
/// dropped, for it may be half an answer.
#[inline(always)]
fn turn_around(ctx: &XdpContext, scratch: &Scratch, names: &mut Names) -> Option<()> {
    const ETHERNET: u32 = 14;
    let packet = &scratch.packet;
    let Names { message, answer, .. } = names;
    let raw = ctx.as_ptr().cast();
    let mut before = [0_u8; BEFORE as usize];
    if packet.parts.l3 > ETHERNET {
        let at = packet.parts.l3 - BEFORE;
        // SAFETY: the context is the kernel's own, and the buffer has room for as many bytes.
        if unsafe { bpf_xdp_load_bytes(raw, at, before.as_mut_ptr().cast(), BEFORE) } != 0 {
            return None;
        }
    }
    let before = u64::from_be_bytes(before);
    let action = scratch.effect.answer;
    answer::turn_around(packet, before, scratch.length, action, message, answer)?;
    let (answer, message) = (launder(answer), launder(message));
    let bytes = message.bytes.as_mut_ptr();
    let summed = answer::summed(answer);
    if summed > LONGEST {
        return None;
    }
    // SAFETY: the message has as many bytes; nothing is taken away from the sum.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), summed, 0) };
    answer::write_checksum(answer, sum as u32, message);
    let (answer, message) = (launder(answer), launder(message));
    let ip_length = if answer.ip_length == 40 { 40 } else { 20 };
    let ip = answer.ip.as_mut_ptr().cast();
    // SAFETY: as above: the header has as many bytes.
    if unsafe { bpf_xdp_store_bytes(raw, packet.parts.l3, ip, ip_length) } != 0 {
        return None;
    }
    let less = black_box(u64::from(answer.message_length).wrapping_sub(1));
    if less >= COPIED.into() {
        return None;
    }
    let bytes = message.bytes.as_mut_ptr().cast();
    // SAFETY: as above: the message has as many bytes.
    if unsafe { bpf_xdp_store_bytes(raw, packet.parts.l4, bytes, less as u32 + 1) } != 0 {
        return None;
    }
    if answer.session_length != 0 {
        let mut length = (answer.session_length as u16).to_be_bytes();
        let at = packet.parts.l3.wrapping_sub(SESSION_LENGTH);
        // SAFETY: as above.
        if unsafe { bpf_xdp_store_bytes(raw, at, length.as_mut_ptr().cast(), 2) } != 0 {
            return None;
        }
    }
    if packet.macs != NO_MACS {
        let frame = Linear::new(ctx, 0);
        let [destination, source] = [packet.destination_mac(), packet.source_mac()];
        frame.write_mac(0, &mac(source));
        frame.write_mac(6, &mac(destination));
    }
    let shorter = answer.frame_length.wrapping_sub(scratch.length) as i32;
    // SAFETY: the context is the kernel's own; no pointer into the packet is used afterwards.
    if shorter != 0 && unsafe { bpf_xdp_adjust_tail(raw, shorter) } != 0 {
        return None;
    }
    Some(())
}

/// The bytes of a MAC address, which lies in the lower 48 bits.
#[inline(always)]
fn mac(address: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = address.to_be_bytes();
    [a, b, c, d, e, f]
}
