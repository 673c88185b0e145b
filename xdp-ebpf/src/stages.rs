//! How one program goes on with another: see `xdp_common::stages`. What was read and decided so far lies in the
//! CPU's scratch. If the ruleset was exchanged in between, the filter begins anew.

use aya_ebpf::EbpfContext;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::Scratch;
use xdp_common::stages;
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::launder;

use crate::exit::exit;
use crate::image::Image;
use crate::maps::STAGES;

/// Goes on with another program, and comes back only if it is not there.
///
/// The call is written out, with the program's number in it. LLVM would make one call of several that
/// differ by the number alone, and then the kernel cannot jump to the program directly, which takes
/// 10 ns less than by way of a retpoline.
#[inline(always)]
pub fn go_on<const PROGRAM: u32>(ctx: &XdpContext) {
    // SAFETY: as bpf_tail_call is called: the context, a map of programs and a place in it. What the
    // programs know of the packet lies in the scratch.
    unsafe {
        core::arch::asm!(
            "r3 = {program}",
            "call 12",
            program = const PROGRAM,
            inlateout("r1") ctx.as_ptr() => _,
            inlateout("r2") &raw const STAGES => _,
            lateout("r0") _,
            out("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
}

/// The image by which the packet was judged so far. If another one is in force now, begins anew with
/// the filter, and does not come back.
#[inline(always)]
pub fn same_image(ctx: &XdpContext, scratch: &Scratch) -> Option<Image> {
    let image = Image::in_force()?;
    if image.header().generation != scratch.generation {
        go_on::<{ stages::FILTER }>(ctx);
        return None;
    }
    Some(image)
}

/// Whether another image is in force than the one by which the packet was judged so far.
#[inline(always)]
pub fn is_other_image(scratch: &Scratch) -> bool {
    Image::in_force().is_none_or(|image| image.header().generation != scratch.generation)
}

/// Counts a packet that cannot be judged to its end, and ends.
#[inline(always)]
pub fn broken(cpu: &mut PerCpu) -> u32 {
    cpu.scratch.effect.conclude(Decision::BROKEN);
    exit(launder(cpu))
}
