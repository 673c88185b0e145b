//! Where captures join the filter: two arrays of one program each, empty unless a capture runs
//! (`xdp_common::capture::slot`).

use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;

/// The programs of up to two captures. Each is written by the command that captures, for as long as it
/// runs.
#[btf_map]
pub static CAPTURE_FIRST: ProgramArray<1> = ProgramArray::new();
#[btf_map]
pub static CAPTURE_SECOND: ProgramArray<1> = ProgramArray::new();

/// Goes on with the first capture's program, or with the second's if there is none, and does not
/// come back: that program returns the packet's verdict. Comes back where nobody captures; then the
/// kernel has jumps in place of both calls.
#[allow(dead_code, reason = "the filter's; the first capture's program asks for the second alone")]
#[inline(always)]
pub fn show(ctx: &XdpContext) {
    // SAFETY: whatever the filter has to do is done.
    unsafe { CAPTURE_FIRST.tail_call(ctx, 0) };
    show_second(ctx);
}

/// As above, for the second capture alone.
#[inline(always)]
pub fn show_second(ctx: &XdpContext) {
    // SAFETY: as above.
    unsafe { CAPTURE_SECOND.tail_call(ctx, 0) };
}
