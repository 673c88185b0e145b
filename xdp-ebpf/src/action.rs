//! The kernel's numbers for verdicts.

use aya_ebpf::bindings::xdp_action;
use xdp_common::filter::effect::Decision;
use xdp_common::stats::verdict::Verdict;

/// The kernel's number for the verdict of a decision.
#[inline(always)]
pub fn of(decision: Decision) -> u32 {
    XDP_ACTIONS >> (4 * (decision.verdict() & 7)) & 0xf
}

/// The kernel's number for each verdict, in four bits each: the lowest four are verdict 0's.
const XDP_ACTIONS: u32 = xdp_action::XDP_PASS << (4 * Verdict::Pass as u32)
    | xdp_action::XDP_DROP << (4 * Verdict::Drop as u32)
    | xdp_action::XDP_TX << (4 * Verdict::Tx as u32)
    | xdp_action::XDP_REDIRECT << (4 * Verdict::Redirect as u32)
    | xdp_action::XDP_ABORTED << (4 * Verdict::Aborted as u32);
