//! The XDP program: a packet's way from the driver to its verdict.
//!
//! One lookup brings the image of the ruleset in force; `xdp_common::packet` reads the frame,
//! `xdp_common::judge` judges it, [`act`] does what was decided, and [`exit`] is the one place
//! where anything is counted.

#![no_std]
#![no_main]

mod access;
mod maps;

use access::{Image, Linear, Scattered, length};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::counter::{Counter, CounterId, Matrix};
use xdp_common::image::{Action, Header, Lines, REDIRECT_SLOTS};
use xdp_common::judge::{Judgement, judge};
use xdp_common::packet::parse;
use xdp_common::verdict::Verdict;

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp(frags)]
#[inline(always)]
pub fn xdpctl(ctx: XdpContext) -> u32 {
    let whole = length(&ctx);
    let Some(image) = Image::in_force() else {
        return exit(whole, Verdict::Aborted, &Judgement::BROKEN, CounterId::NONE);
    };
    let Some(block) = image.block(0) else {
        return exit(whole, Verdict::Aborted, &Judgement::BROKEN, CounterId::NONE);
    };
    let header = Header::of(block);

    let frame = Linear::new(&ctx, whole, header.zero);
    let mut parsed = parse(&frame);
    if parsed.is_err() && frame.is_partial() {
        // Headers may reach beyond the driver's first buffer: only bytes decide that a frame is
        // malformed, not where they lie.
        parsed = parse(&Scattered { ctx: &ctx, whole, zero: header.zero });
    }
    let frame = Linear::new(&ctx, whole, header.zero);
    let judgement = judge(&image, header, &frame, &parsed);

    let mut verdict = judgement.verdict;
    let mut lost = CounterId::NONE;
    if let Some(action) = judgement.action {
        (verdict, lost) = act(&frame, verdict, action);
    }
    exit(whole, verdict, &judgement, lost)
}

/// Does what a rule asks beside passing or dropping. A redirect that cannot be made drops the
/// packet, and is counted apart.
#[inline(always)]
fn act(frame: &Linear, verdict: Verdict, action: &Action) -> (Verdict, CounterId) {
    if !matches!(verdict, Verdict::Tx | Verdict::Redirect) {
        return (verdict, CounterId::NONE);
    }
    if verdict == Verdict::Redirect {
        let found = maps::REDIRECTS.redirect(action.slot % REDIRECT_SLOTS, 0);
        if found.is_err() {
            return (Verdict::Drop, CounterId(action.lost_counter));
        }
    }
    if action.set_source_mac != 0 {
        frame.write_mac(6, &action.source_mac);
    }
    if action.set_destination_mac != 0 {
        frame.write_mac(0, &action.destination_mac);
    }
    (verdict, CounterId::NONE)
}

/// The one exit: counts the packet once in the matrix, and to its list and its rule.
#[inline(always)]
fn exit(bytes: u32, verdict: Verdict, judgement: &Judgement, lost: CounterId) -> u32 {
    let bytes = u64::from(bytes);
    if let Some(matrix) = maps::COUNTERS.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
        let matrix = unsafe { &mut *matrix };
        if let Some(cell) = matrix.cells.get_mut(Matrix::cell(verdict, judgement.reason)) {
            add(cell, bytes);
        }
    }
    count(judgement.list, bytes);
    if let Some(action) = judgement.action {
        count(CounterId(action.counter), bytes);
    }
    count(lost, bytes);
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Tx => xdp_action::XDP_TX,
        Verdict::Redirect => xdp_action::XDP_REDIRECT,
        Verdict::Aborted => xdp_action::XDP_ABORTED,
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
