//! One lookup of a socket, and nothing else: what asking the kernel costs at least.

use core::mem::size_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4, xdp_action,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::verifier::black_box;

use crate::frame::FrameV4;
use crate::prototype::{count, frame};

/// BPF_F_CURRENT_NETNS (include/uapi/linux/bpf.h): the network namespace of the interface.
const OF_THE_INTERFACE: u64 = u64::MAX;
const TCP: u8 = 6;

/// Passes what a socket gets, a listener's too, and drops all else.
#[xdp(frags)]
pub fn bench_lookup(ctx: XdpContext) -> u32 {
    let Some(found) = frame(&ctx).map(|frame| is_there(&ctx, frame)) else {
        return xdp_action::XDP_ABORTED;
    };
    match count(found) {
        Some(()) if found => xdp_action::XDP_PASS,
        Some(()) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_ABORTED,
    }
}

#[inline(always)]
fn is_there(ctx: &XdpContext, frame: &FrameV4) -> bool {
    // A black box, so that LLVM does not copy eight bytes at once to where they are not aligned.
    let word =
        |[first, second]: [u16; 2]| black_box(u64::from(second) << 16 | u64::from(first)) as u32;
    let mut tuple = TupleV4 {
        saddr: word(frame.source),
        daddr: word(frame.destination),
        sport: frame.ports[0],
        dport: frame.ports[1],
    };
    let (protocol, ctx, length) = (frame.protocol, ctx.as_ptr(), size_of::<TupleV4>() as u32);
    let tuple = (&raw mut tuple).cast::<bpf_sock_tuple>();
    // SAFETY: the tuple has as many bytes, of which the helpers read no more, and the context is the kernel's own.
    let socket = unsafe {
        if protocol == TCP {
            bpf_skc_lookup_tcp(ctx, tuple, length, OF_THE_INTERFACE, 0)
        } else {
            bpf_sk_lookup_udp(ctx, tuple, length, OF_THE_INTERFACE, 0)
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the helper returned a socket, and it is not used afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
