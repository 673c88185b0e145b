//! How a packet leaves, whichever program decided: what its effect says is done, and it is counted.

use aya_ebpf::programs::XdpContext;
use xdp_common::capacity::REDIRECT_SLOTS;
use xdp_common::filter::effect::{Decision, Effect};
use xdp_common::stats::counter::{Counter, CounterId};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::black_box;

use crate::frame::Linear;
use crate::maps::{COUNTERS, REDIRECTS, RULE_COUNTERS};
use crate::{action, dynamic};

/// This CPU's counters and scratch.
#[inline(always)]
pub fn this_cpu() -> Option<&'static mut PerCpu> {
    // SAFETY: the value is this CPU's own, and the program does not interrupt itself there.
    COUNTERS.get_ptr_mut(0).map(|cpu| unsafe { &mut *cpu })
}

/// Redirects the packet and rewrites its MAC addresses, if its effect says so. A packet that cannot
/// be redirected is dropped.
#[inline(always)]
pub fn apply(ctx: &XdpContext, effect: &mut Effect) {
    if !effect.leaves() {
        return;
    }
    if let Some(slot) = effect.redirect()
        && REDIRECTS.redirect(slot % REDIRECT_SLOTS, 0).is_err()
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
pub fn exit(cpu: &mut PerCpu) -> u32 {
    let Effect { decision, list, rule, entry, failure, .. } = cpu.scratch.effect;
    let bytes = u64::from(cpu.scratch.length);
    count_decision(cpu, decision, bytes);
    count(list, bytes);
    count(rule, bytes);
    dynamic::count(entry);
    count(failure, bytes);
    action::of(decision)
}

/// Counts the packet in the matrix of verdicts and reasons.
#[inline(always)]
pub fn count_decision(cpu: &mut PerCpu, decision: Decision, bytes: u64) {
    if let Some(cell) = cpu.matrix.cells.get_mut(black_box(decision.cell().into()) as usize) {
        add(cell, bytes);
    }
}

/// Counts the packet to a list or a rule.
#[inline(always)]
pub fn count(id: CounterId, bytes: u64) {
    if let Some((page, place)) = id.place()
        && let Some(counter) = RULE_COUNTERS.get_value_ptr_mut(page, &place)
    {
        // SAFETY: the value is this CPU's own, two words as a counter has, and the program does not
        // interrupt itself there.
        add(unsafe { &mut *counter.cast::<Counter>() }, bytes);
    }
}

/// Counts the packet to a service and to its backend, whose counters mostly lie on the same page.
#[inline(always)]
pub fn count_both([service, backend]: [CounterId; 2], bytes: u64) {
    let (Some((page, place)), Some((other, there))) = (service.place(), backend.place()) else {
        return;
    };
    let Some(mut counters) = RULE_COUNTERS.get(page) else { return };
    if let Some(counter) = counters.get_ptr_mut(place) {
        // SAFETY: as in `count`.
        add(unsafe { &mut *counter.cast::<Counter>() }, bytes);
    }
    if other != page {
        let Some(others) = RULE_COUNTERS.get(other) else { return };
        counters = others;
    }
    if let Some(counter) = counters.get_ptr_mut(there) {
        // SAFETY: as in `count`.
        add(unsafe { &mut *counter.cast::<Counter>() }, bytes);
    }
}

#[inline(always)]
fn add(counter: &mut Counter, bytes: u64) {
    counter.packets += 1;
    counter.bytes += bytes;
}
