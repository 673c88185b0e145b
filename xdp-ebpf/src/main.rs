//! The XDP program: a packet's way from the driver to its verdict.
//!
//! [`xdpctl`] reads the frame onto the CPU's desk (`xdp_common::packet`), [`judge_desk`] judges it
//! by the ruleset in force (`xdp_common::judge`), [`act`] does what was decided, and [`exit`] is
//! the one place where anything is counted.

#![no_std]
#![no_main]

mod access;
mod maps;

use access::{Image, Linear, Scattered, length};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::counter::{Counter, CounterId};
use xdp_common::image::{ActionKind, REDIRECT_SLOTS};
use xdp_common::judge::{Desk, Judgement, Outcome, judge};
use xdp_common::opaque::{opaque, relocated};
use xdp_common::verdict::{Reason, Verdict};

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp(frags)]
#[inline(always)]
pub fn xdpctl(ctx: XdpContext) -> u32 {
    let whole = length(&ctx);
    let Some(desk) = desk() else { return xdp_action::XDP_ABORTED };
    let frame = Linear::new(&ctx, whole, desk.zero);
    desk.read(&frame);
    if desk.malformed != 0 && frame.is_partial() {
        // Headers may reach beyond the driver's first buffer: only bytes decide that a frame is
        // malformed, not where they lie.
        desk.read(&Scattered { ctx: &ctx, whole, zero: desk.zero });
    }
    judge_desk();
    let desk = relocated(desk);
    let frame = Linear::new(&ctx, whole, 0);
    let lost = act(&frame, &mut desk.outcome);
    exit(whole, &desk.outcome, lost)
}

/// Judges what lies on the desk by the ruleset in force, which is looked up here and nowhere else:
/// whatever is read of it is of one ruleset.
///
/// A function of its own, and global, so that the verifier goes through it once and not once for
/// each way that a packet can come here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_desk() -> u32 {
    let Some(desk) = desk() else { return 1 };
    let image = Image::in_force();
    let judgement = match &image {
        Some(image) => judge(image, image.header(), desk),
        None => Judgement::BROKEN,
    };
    desk.conclude(&judgement);
    0
}

/// This CPU's place to work.
#[inline(always)]
fn desk() -> Option<&'static mut Desk> {
    // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
    maps::DESK.get_ptr_mut(0).map(|desk| unsafe { &mut *desk })
}

/// Does what a rule asks beside passing or dropping. A redirect that cannot be made drops the
/// packet, and is counted apart: that counter is returned.
#[inline(always)]
fn act(frame: &Linear, outcome: &mut Outcome) -> CounterId {
    let action = &outcome.action;
    if outcome.by_rule == 0 || action.kind < ActionKind::Bounce as u8 {
        return CounterId::NONE;
    }
    if action.kind == ActionKind::Redirect as u8
        && maps::REDIRECTS.redirect(action.slot % REDIRECT_SLOTS, 0).is_err()
    {
        outcome.verdict = Verdict::Drop as u32;
        return CounterId(action.lost_counter);
    }
    if action.set_source_mac != 0 {
        frame.write_mac(6, &action.source_mac);
    }
    if action.set_destination_mac != 0 {
        frame.write_mac(0, &action.destination_mac);
    }
    CounterId::NONE
}

/// The one exit: counts the packet once in the matrix, and to its list and its rule.
#[inline(always)]
fn exit(bytes: u32, outcome: &Outcome, lost: CounterId) -> u32 {
    let bytes = u64::from(bytes);
    let cell = outcome.verdict * Reason::COUNT as u32 + outcome.reason;
    if let Some(matrix) = maps::COUNTERS.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
        let matrix = unsafe { &mut *matrix };
        if let Some(cell) = matrix.cells.get_mut(opaque(u64::from(cell)) as usize) {
            add(cell, bytes);
        }
    }
    count(outcome.list, bytes);
    if outcome.by_rule != 0 {
        count(CounterId(outcome.action.counter), bytes);
        count(lost, bytes);
    }
    match Verdict::of(outcome.verdict) {
        Some(Verdict::Pass) => xdp_action::XDP_PASS,
        Some(Verdict::Drop) => xdp_action::XDP_DROP,
        Some(Verdict::Tx) => xdp_action::XDP_TX,
        Some(Verdict::Redirect) => xdp_action::XDP_REDIRECT,
        Some(Verdict::Aborted) | None => xdp_action::XDP_ABORTED,
    }
}

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
