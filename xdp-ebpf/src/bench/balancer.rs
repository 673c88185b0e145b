//! A load balancer with nothing around it: one hash map of services, one table of places, one line a
//! backend, and one counter. IPv4 and TCP alone, no options, no tags, one table, nothing remembered, no state of
//! backends, no replies, no ICMP: the distance to a service of the packet filter is what all of that costs.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use xdp_common::verifier::black_box;

/// Written by the benchmark, as the next two. The key is a destination's address, its port and 6, as they
/// lie in the frame.
#[btf_map]
static BALANCER_SERVICES: HashMap<[u16; 4], u32, 1024> = HashMap::new();
/// The number of the backend at each place.
#[btf_map]
static BALANCER_PLACES: Array<[u16; PLACES], 1> = Array::new();
/// Of each backend its address as it lies in a frame, and its MAC address.
#[btf_map]
static BALANCER_BACKENDS: Array<[u16; 8 * BACKENDS], 1> = Array::new();

/// Packets and bytes of each backend.
#[btf_map]
static BALANCER_COUNTED: PerCpuArray<[u64; 2], BACKENDS> = PerCpuArray::new();

const PLACES: usize = 1 << 14;
const BACKENDS: usize = 1 << 7;

/// Two-byte words of a frame up to TCP's urgent pointer.
const WORDS: usize = 27;
const DESTINATION: usize = 15;
const TCP: u8 = 6;

#[xdp(frags)]
pub fn bench_balancer(ctx: XdpContext) -> u32 {
    balance(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn balance(ctx: &XdpContext) -> Option<u32> {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + WORDS * 2 > end {
        return None;
    }
    // SAFETY: the bytes lie before `data_end`, as just checked; frames begin at an even address, and nobody else
    // reads or writes them meanwhile.
    let frame = unsafe { &mut *(start as *mut [u16; WORDS]) };
    let [ttl, protocol] = frame[11].to_ne_bytes();
    let is_plain = frame[6] == 0x0800_u16.to_be() && frame[7].to_ne_bytes()[0] == 0x45;
    if !is_plain || protocol != TCP || ttl <= 1 {
        return None;
    }
    let key = [frame[DESTINATION], frame[DESTINATION + 1], frame[18], TCP.into()];
    // SAFETY: nothing removes services while the program runs.
    let _service = unsafe { BALANCER_SERVICES.get(key) }?;
    let source = u64::from(frame[13]) << 16 | u64::from(frame[14]);
    let ports = u64::from(frame[17]) << 16 | u64::from(frame[18]);
    let hash = (source << 32 | ports).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let place = black_box(hash >> 50) as usize & (PLACES - 1);
    let number = black_box(BALANCER_PLACES.get(0)?[place].into()) as usize & (BACKENDS - 1);
    let backends = BALANCER_BACKENDS.get(0)?;
    let of_backend = |word: usize| backends[number * 8 + word];

    let mut address_changed = 0;
    for half in 0..2 {
        address_changed += u32::from(!frame[DESTINATION + half]) + u32::from(of_backend(half));
        frame[DESTINATION + half] = of_backend(half);
    }
    let lowered = u16::from_ne_bytes([ttl - 1, protocol]);
    let ttl_changed = u32::from(!frame[11]) + u32::from(lowered);
    frame[11] = lowered;
    frame[12] = mended(frame[12], address_changed + ttl_changed);
    frame[25] = mended(frame[25], address_changed);
    for half in 0..3 {
        frame[3 + half] = frame[half];
        frame[half] = of_backend(2 + half);
    }
    let counted = BALANCER_COUNTED.get_ptr_mut(number as u32)?;
    // SAFETY: this CPU's own, and a program does not interrupt itself.
    let [packets, bytes] = unsafe { &mut *counted };
    *packets += 1;
    *bytes += (end - start) as u64;
    Some(xdp_action::XDP_TX)
}

/// A checksum after words below it have changed (RFC 1624).
#[inline(always)]
fn mended(checksum: u16, changed: u32) -> u16 {
    let sum = u32::from(!checksum) + changed;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
