//! The XDP program: a packet's way from the driver to its verdict.
//!
//! [`filter`] reads the frame into the CPU's scratch (`xdp_common::packet`), [`judge_frame`] judges it
//! by the ruleset in force (`xdp_common::filter::order`), [`act`] does what was decided, and [`exit`] is
//! the one place where anything is counted.

#![no_std]
#![no_main]

mod dynamic;
mod frame;
mod image;
mod maps;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use frame::{Linear, Scattered, length};
use image::Image;
use xdp_common::capacity::REDIRECT_SLOTS;
use xdp_common::filter::order::{Judgement, Outcome, Scratch, judge};
use xdp_common::image::ActionKind;
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::{Counter, CounterId};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::stats::verdict::{Reason, Verdict};
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

/// For links whose frames begin with IP. A program of its own, so that no packet is asked on which
/// kind of link it came.
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
        // What the headers speak of may lie beyond the driver's first buffer: only bytes decide
        // that a frame is malformed, not where they are.
        let whole = length(&ctx);
        if frame.here() < whole {
            scratch.read(link_type, &Scattered { ctx: &ctx, whole, zero: scratch.zero });
        }
    }
    let cpu = launder(cpu);
    let mut outcome = judge_frame(&mut cpu.scratch);
    let mut lost = CounterId::NONE;
    if outcome.by_rule() {
        (outcome, lost) = act(&ctx, &cpu.scratch, outcome);
    }
    exit(outcome, cpu, lost)
}

/// Judges what lies in the scratch by the ruleset in force, which is looked up here and nowhere else:
/// whatever is read of it is of one ruleset.
#[inline(always)]
fn judge_frame(scratch: &mut Scratch) -> Outcome {
    let Some(image) = Image::in_force() else {
        scratch.list = CounterId::NONE;
        return BROKEN;
    };
    let judgement = judge(&image, &dynamic::InForce, image.header(), scratch);
    scratch.conclude(&judgement)
}

const BROKEN: Outcome = Outcome::new(Judgement::BROKEN.verdict, Judgement::BROKEN.reason, false);

/// This CPU's counters, and its place to work.
#[inline(always)]
fn this_cpu() -> Option<&'static mut PerCpu> {
    // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
    maps::COUNTERS.get_ptr_mut(0).map(|cpu| unsafe { &mut *cpu })
}

/// Does what a rule asks beside passing or dropping. A redirect that cannot be made drops the
/// packet, and is counted apart: that counter is returned too.
#[inline(always)]
fn act(ctx: &XdpContext, scratch: &Scratch, outcome: Outcome) -> (Outcome, CounterId) {
    let action = &scratch.action;
    if action.kind < ActionKind::Bounce as u8 {
        return (outcome, CounterId::NONE);
    }
    if action.kind == ActionKind::Redirect as u8
        && maps::REDIRECTS.redirect(action.slot % REDIRECT_SLOTS, 0).is_err()
    {
        let dropped = Outcome::new(Verdict::Drop, Reason::Rule, true);
        return (dropped, CounterId(action.lost_counter));
    }
    // The packet's pointers are taken anew, see `Linear::new`.
    let frame = Linear::new(ctx, 0);
    if action.set_source_mac != 0 {
        frame.write_mac(6, &action.source_mac);
    }
    if action.set_destination_mac != 0 {
        frame.write_mac(0, &action.destination_mac);
    }
    (outcome, CounterId::NONE)
}

/// The one exit: counts the packet once in the matrix, and to its list and its rule.
#[inline(always)]
fn exit(outcome: Outcome, cpu: &mut PerCpu, lost: CounterId) -> u32 {
    let bytes = u64::from(cpu.scratch.length);
    if let Some(cell) = cpu.matrix.cells.get_mut(black_box(outcome.cell().into()) as usize) {
        add(cell, bytes);
    }
    count(cpu.scratch.list, bytes);
    if outcome.by_rule() {
        count(CounterId(cpu.scratch.action.counter), bytes);
        count(lost, bytes);
    }
    XDP_ACTIONS >> (4 * outcome.verdict()) & 0xf
}

/// What the kernel calls each verdict, by its number: four bits each.
const XDP_ACTIONS: u32 = xdp_action::XDP_PASS << (4 * Verdict::Pass as u32)
    | xdp_action::XDP_DROP << (4 * Verdict::Drop as u32)
    | xdp_action::XDP_TX << (4 * Verdict::Tx as u32)
    | xdp_action::XDP_REDIRECT << (4 * Verdict::Redirect as u32)
    | xdp_action::XDP_ABORTED << (4 * Verdict::Aborted as u32);

/// Counts to a list or a rule.
#[inline(always)]
fn count(id: CounterId, bytes: u64) {
    if let Some((page, place)) = id.place()
        && let Some(counter) = maps::RULE_COUNTERS.get_value_ptr_mut(page, &place)
    {
        // SAFETY: as above.
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
    // Nothing here panics; the verifier refuses a program that could loop.
    loop {}
}
