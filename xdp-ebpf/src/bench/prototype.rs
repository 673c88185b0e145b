//! The best known structure for a list of IPv4 prefixes, with nothing around it: a bitmap
//! of the /24s that hold a listed address, with rank, and one descriptor for each of them. No tags,
//! no options, no IPv6, no names of lists, no rules, and one counter: the distance to the packet
//! filter is what all of that costs.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use xdp_common::lookup::bits::count_ones;
use xdp_common::verifier::black_box;

use crate::frame::FrameV4;
use crate::structure::{BLOCKS, DESCRIPTORS, LEAF, LEAVES, descriptor_holds};

/// Written by the benchmark, as the next two.
#[btf_map]
static PROTOTYPE_BLOCKS: Array<[u64; 2 * BLOCKS], 1> = Array::new();
#[btf_map]
static PROTOTYPE_DESCRIPTORS: Array<[u32; DESCRIPTORS], 1> = Array::new();
#[btf_map]
static PROTOTYPE_LEAVES: Array<[u64; 4 * LEAVES], 1> = Array::new();

/// For how many packets a prototype found nothing, and for how many it did.
#[btf_map]
static PROTOTYPE_COUNTED: PerCpuArray<[u64; 2], 1> = PerCpuArray::new();

#[xdp(frags)]
pub fn bench_prototype(ctx: XdpContext) -> u32 {
    let Some(()) = source(&ctx).and_then(is_listed).and_then(count) else {
        return xdp_action::XDP_ABORTED;
    };
    xdp_action::XDP_DROP
}

/// Counts a packet, as every prototype does.
#[inline(always)]
pub fn count(found: bool) -> Option<()> {
    let counted = PROTOTYPE_COUNTED.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, and a program does not interrupt itself.
    unsafe { (*counted)[usize::from(found)] += 1 };
    Some(())
}

/// The frame, if it is of IPv4.
#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Option<&FrameV4> {
    let start = ctx.data();
    if start + size_of::<FrameV4>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie before `data_end`, as just checked; frames begin at an even address.
    let frame = unsafe { &*(start as *const FrameV4) };
    (frame.ether_type == 0x0800_u16.to_be()).then_some(frame)
}

/// The source of a frame of IPv4.
#[inline(always)]
pub fn source(ctx: &XdpContext) -> Option<u32> {
    let [high, low] = frame(ctx)?.source;
    Some(u32::from(u16::from_be(high)) << 16 | u32::from(u16::from_be(low)))
}

#[inline(always)]
fn is_listed(address: u32) -> Option<bool> {
    let blocks = PROTOTYPE_BLOCKS.get(0)?;
    let (network, host) = (address >> 8, address & 0xff);
    // A black box, here and below, so that the bound stays one that the verifier sees.
    let block = black_box((network / 64).into()) as usize & (BLOCKS - 1);
    let (bits, before) = (blocks[2 * block], blocks[2 * block + 1]);
    if bits >> (network % 64) & 1 == 0 {
        return Some(false);
    }
    let below = bits & ((1 << (network % 64)) - 1);
    let rank = before.wrapping_add(count_ones(below).into());
    let descriptor = PROTOTYPE_DESCRIPTORS.get(0)?[black_box(rank) as usize & (DESCRIPTORS - 1)];
    if descriptor & LEAF == 0 {
        return Some(descriptor_holds(descriptor, host));
    }
    let word =
        black_box(u64::from(descriptor) * 4 + u64::from(host / 64)) as usize & (4 * LEAVES - 1);
    Some(PROTOTYPE_LEAVES.get(0)?[word] >> (host % 64) & 1 != 0)
}
