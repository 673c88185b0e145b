//! The generator. BPF_PROG_TEST_RUN runs it on live frames; it turns each into the next frame of
//! the traffic and sends it into one end of a veth pair.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, DevMap};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

use crate::frame::{FrameDns, FrameV4, FrameV6};
use crate::traffic::{
    Control, FLOWS_V4, FLOWS_V6, FlowV4, FlowV6, LINES, Line, NAMES_V4, NameLine, SERVED_V4,
    SOURCES_V4, SOURCES_V6,
};

/// What to generate. Written by the benchmark before each run; the generator counts frames there.
#[btf_map]
static CONTROL: Array<Control, 1> = Array::new();

/// Prepared traffic. Written by the benchmark, read by the generator.
#[btf_map]
static TRAFFIC: Array<Line, { LINES as usize }> = Array::new();

/// The generator's ends of the veth pairs. Written by the benchmark.
#[btf_map]
static DEVICES: DevMap<3> = DevMap::new();

/// Destination and source. The destination is not the interface's own address, so that the stack
/// does as little as possible with a frame that passes. Both are written into every frame, because
/// the kernel uses frames again, and a rule may have rewritten them.
const MACS: [u16; 6] = [
    u16::from_ne_bytes([0x02, 0x00]),
    u16::from_ne_bytes([0x00, 0x00]),
    u16::from_ne_bytes([0x00, 0xbe]),
    u16::from_ne_bytes([0x02, 0x00]),
    u16::from_ne_bytes([0x00, 0x00]),
    u16::from_ne_bytes([0x00, 0xef]),
];

/// An IPv4 header of a packet of 68 bytes with UDP, from 10.1.2.3 to 198.51.100.1.
const QUERY_IP: [u16; 10] = {
    let mut words = [0x4500, 68, 0, 0x4000, 0x4011, 0, 0x0a01, 0x0203, 0xc633, 0x6401];
    let (mut sum, mut word) = (0_u32, 0);
    while word < words.len() {
        sum += words[word] as u32;
        word += 1;
    }
    words[5] = checksum(sum);
    let mut word = 0;
    while word < words.len() {
        words[word] = words[word].to_be();
        word += 1;
    }
    words
};
/// A DNS header: recursion desired, one question.
const QUERY: [u16; 6] = [0x1234, 0x0100_u16.to_be(), 1_u16.to_be(), 0, 0, 0];

#[xdp(frags)]
pub fn bench_generate(mut ctx: XdpContext) -> u32 {
    // The benchmark notices a frame that is not sent: it does not arrive.
    generate(&mut ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn generate(ctx: &mut XdpContext) -> Option<u32> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: the benchmark writes the element only while no run is on, and runs one at a time.
    let control = unsafe { &mut *control };
    let number = control.generated;
    control.generated = number.wrapping_add(1);
    match control.kind {
        SOURCES_V4 => {
            let sources: &[[u16; 2]; 16] = piece(number / 16)?;
            let frame: &mut FrameV4 = frame(ctx)?;
            frame.macs = MACS;
            let [high, low] = sources[(number & 15) as usize];
            frame.source = [high, low];
            frame.checksum = checksum(control.header_sum + u32::from(high) + u32::from(low));
            frame.ports[0] = number as u16;
        }
        FLOWS_V4 => {
            let flows: &[FlowV4; 4] = piece(number / 4)?;
            let flow = &flows[(number & 3) as usize];
            let frame: &mut FrameV4 = frame(ctx)?;
            frame.macs = MACS;
            frame.source = flow.source;
            frame.destination = flow.destination;
            frame.ports = flow.ports;
            frame.protocol = flow.protocol;
            frame.checksum = flow.checksum;
            frame.tcp_flags = flow.tcp_flags;
        }
        SERVED_V4 => {
            let flows: &[FlowV4; 4] = piece(number / 4)?;
            let flow = &flows[(number & 3) as usize];
            let frame: &mut FrameV4 = frame(ctx)?;
            frame.macs = MACS;
            // An outer header has been where these were.
            frame.ether_type = 0x0800_u16.to_be();
            frame.version_to_fragment[0] = 0x4500_u16.to_be();
            frame.ttl = 64;
            frame.source = flow.source;
            frame.destination = flow.destination;
            let round = (number / (4 * u64::from(LINES))) as u32;
            let varied = (round << 16 | round & 0xffff) & control.vary;
            frame.ports = [flow.ports[0] ^ varied as u16, flow.ports[1] ^ (varied >> 16) as u16];
            frame.protocol = flow.protocol;
            frame.checksum = flow.checksum;
            frame.tcp_flags = flow.tcp_flags;
        }
        SOURCES_V6 => {
            let sources: &[[u16; 8]; 4] = piece(number / 4)?;
            let frame: &mut FrameV6 = frame(ctx)?;
            frame.macs = MACS;
            frame.source = sources[(number & 3) as usize];
            frame.ports[0] = number as u16;
        }
        FLOWS_V6 => {
            let flow: &FlowV6 = piece(number)?;
            let frame: &mut FrameV6 = frame(ctx)?;
            frame.macs = MACS;
            frame.source = flow.source;
            frame.destination = flow.destination;
            frame.ports = flow.ports;
            frame.next_header = flow.protocol;
            frame.tcp_flags = flow.tcp_flags;
        }
        NAMES_V4 => {
            let names: &[NameLine; 2] = piece(number / 2)?;
            let name = &names[(number & 1) as usize];
            let frame: &mut FrameDns = frame(ctx)?;
            frame.macs = MACS;
            // All of it: an answer has been written over the query.
            frame.ip = QUERY_IP;
            frame.ports = [number as u16, 53_u16.to_be()];
            frame.length_and_checksum = [48_u16.to_be(), 0];
            frame.message = QUERY;
            let mut place = 0;
            while place < frame.name.len() {
                frame.name[place] = name[place];
                place += 1;
            }
            frame.type_and_class = [1_u16.to_be(); 2];
        }
        _ => return None,
    }
    DEVICES.redirect(control.device, 0).ok()
}

/// The checksum of an IPv4 header (RFC 1071), from the sum of its two-byte pieces, in either byte
/// order. Without a right one, no network stack takes the frame.
#[inline(always)]
const fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Line `number` of the traffic as a `T`; behind the last line comes the first again.
#[inline(always)]
fn piece<T>(number: u64) -> Option<&'static T> {
    const { assert!(size_of::<T>() == size_of::<Line>() && align_of::<T>() <= align_of::<Line>()) };
    let line = TRAFFIC.get(number as u32 % LINES)?;
    // SAFETY: same size, no stricter alignment, and all that is asked for is made of integers.
    Some(unsafe { &*core::ptr::from_ref(line).cast::<T>() })
}

/// The frame, which the benchmark made long enough.
#[inline(always)]
fn frame<T>(ctx: &mut XdpContext) -> Option<&mut T> {
    let start = ctx.data();
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie before `data_end`, as just checked; frames begin at an even address,
    // and nobody else has this one.
    Some(unsafe { &mut *(start as *mut T) })
}
