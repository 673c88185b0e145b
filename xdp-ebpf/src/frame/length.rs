//! How long a frame is.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;

/// Length of the frame with all its buffers, as the kernel knows it.
#[inline(always)]
pub fn length(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called the program with.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as u32 }
}
