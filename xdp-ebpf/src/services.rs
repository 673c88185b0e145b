//! The program that the filter goes on with where there are services: it finds the service and the
//! backend of a packet, rewrites the packet, and sends it on.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_fib_lookup, xdp_action};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup as fib_lookup, bpf_redirect, bpf_xdp_adjust_head,
};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::services::{self, Serving, Work};
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::services::{Backend, Front, Mode, Origin};
use xdp_common::packet::rewrite::{FrameMut, Rewritten, Side, WindowMut, translate};
use xdp_common::packet::tunnel::{Grow, Outer, is_plain, put_into};
use xdp_common::packet::{NO_MACS, Network, Packet, Window};
use xdp_common::stages;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdp_common::verifier::{black_box, launder};

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::image::Image;
use crate::names::{self, broken, same_image};

const PASS: Decision = Decision::new(Verdict::Pass, Reason::Service);
const DROP: Decision = Decision::new(Verdict::Drop, Reason::Service);
const SEND_BACK: Decision = Decision::new(Verdict::Tx, Reason::Service);
const SEND_ON: Decision = Decision::new(Verdict::Redirect, Reason::Service);

/// Goes on with [`xdpctl_services`] where services are asked about the packet; then it does not come
/// back.
#[inline(always)]
pub fn go_on(ctx: &XdpContext, scratch: &Scratch) {
    if scratch.serve != 0 {
        names::go_on::<{ stages::SERVICES }>(ctx);
    }
}

/// Serves a packet that a service takes. Any other goes the way that was decided before.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_services(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    let Scratch { packet, serving, .. } = &mut cpu.scratch;
    if services::judge(&image, header, packet, serving).is_none() {
        return broken(cpu);
    }
    let cpu = launder(cpu);
    if cpu.scratch.serving.work != Work::None as u32 {
        let Some([service, backend]) = services::counters(&image, &cpu.scratch.serving) else {
            return broken(cpu);
        };
        let cpu = launder(cpu);
        let Scratch { packet, serving, effect, .. } = &mut cpu.scratch;
        let served = serve(&ctx, &image, header, packet, serving);
        // The verifier would follow each decision through the exit.
        effect.decision = served;
        let cpu = launder(cpu);
        let length = cpu.scratch.length;
        count(service, length.into());
        count(backend, length.into());
    }
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// What becomes of a packet that a service takes.
#[inline(always)]
fn serve(
    ctx: &XdpContext,
    image: &Image,
    header: &Header,
    packet: &Packet,
    serving: &Serving,
) -> Decision {
    if serving.work == Work::Fragment as u32 {
        return DROP;
    }
    if serving.work == Work::Return as u32 {
        return give_back(ctx, image, packet, serving).unwrap_or(DROP);
    }
    if serving.work == Work::Unserved as u32 {
        let Some(line) = image.line(serving.front) else { return Decision::BROKEN };
        return if Front::of(line).pass_unserved != 0 { PASS } else { DROP };
    }
    forward(ctx, image, header, packet, serving).unwrap_or(DROP)
}

/// Rewrites the source of a backend's reply.
#[inline(always)]
fn give_back(
    ctx: &XdpContext,
    image: &Image,
    packet: &Packet,
    serving: &Serving,
) -> Option<Decision> {
    let origin = Origin::of(image.line(serving.origin)?);
    let to = Rewritten {
        side: Side::Source,
        address: origin.address,
        port: (origin.has_port != 0).then_some(origin.port),
    };
    let mut frame = Writable::new(ctx);
    if !translate(&mut frame, packet, &to)? {
        return Some(DROP);
    }
    if origin.has_mac != 0 {
        return send_to(&mut frame, packet, &origin.mac);
    }
    let way = Way {
        is_v6: packet.network == Network::IPV6,
        source: origin.address,
        destination: packet.destination,
        protocol: packet.protocol as u8,
        length: packet.parts.end.wrapping_sub(packet.parts.l3),
    };
    way.ask(ctx, &mut frame, packet)
}

#[inline(always)]
fn forward(
    ctx: &XdpContext,
    image: &Image,
    header: &Header,
    packet: &Packet,
    serving: &Serving,
) -> Option<Decision> {
    let front = Front::of(image.line(serving.front)?);
    let backend = Backend::of(image.line(serving.backend)?);
    let mut frame = Writable::new(ctx);
    let length = packet.parts.end.wrapping_sub(packet.parts.l3);
    let mut way = Way {
        is_v6: backend.is_v6 != 0,
        source: packet.source,
        destination: backend.address,
        protocol: packet.protocol as u8,
        length,
    };
    if front.mode == Mode::Nat as u8 {
        let to = Rewritten {
            side: Side::Destination,
            address: backend.address,
            port: (backend.has_port != 0).then_some(backend.port),
        };
        if !translate(&mut frame, packet, &to)? {
            return Some(DROP);
        }
    } else if front.mode != Mode::L2dsr as u8 {
        let outer = Outer {
            inner: length,
            inner_is_v6: packet.network == Network::IPV6,
            class: class_of(&mut frame, packet)?,
            destination: backend.address,
            flow: serving.flow,
            port: front.gue_port,
        };
        way.length = length + Outer::length(way.is_v6, outer.port);
        if front.mtu != 0 && way.length > front.mtu.into() {
            return Some(DROP);
        }
        let before = frame.window_mut::<2>(packet.parts.l3.wrapping_sub(2)).map(|it| it.u16(0));
        if !is_plain(packet, before.unwrap_or(0)) {
            return Some(DROP);
        }
        put_into(&mut frame, header, packet, &outer, way.is_v6)?;
    }
    if backend.has_mac != 0 {
        return send_to(&mut frame, packet, &backend.mac);
    }
    way.ask(ctx, &mut frame, packet)
}

/// The type of service, or traffic class, of a packet.
#[inline(always)]
fn class_of(frame: &mut Writable<'_>, packet: &Packet) -> Option<u8> {
    let first = frame.window_mut::<4>(packet.parts.l3)?.u32(0);
    let shift = if packet.network == Network::IPV6 { 20 } else { 16 };
    Some((first >> shift) as u8)
}

/// Sends the frame back out of the interface that it came in by, to `mac` and from the address that it was
/// sent to. A frame without addresses goes to the stack.
#[inline(always)]
fn send_to(frame: &mut Writable<'_>, packet: &Packet, mac: &[u8; 6]) -> Option<Decision> {
    if packet.macs == NO_MACS {
        return Some(PASS);
    }
    let [a, b, c, d, e, f] = *mac;
    let mut addresses = frame.window_mut::<12>(0)?;
    let source = packet.destination_mac();
    let word = u64::from_be_bytes([a, b, c, d, e, f, (source >> 40) as u8, (source >> 32) as u8]);
    addresses.put_u64(0, word);
    addresses.put_u32(8, source as u32);
    Some(SEND_BACK)
}

/// The way of a packet, by the kernel's routes and neighbours.
struct Way {
    is_v6: bool,
    source: [u64; 2],
    destination: [u64; 2],
    protocol: u8,
    length: u32,
}

impl Way {
    /// Asks the kernel, and sends the frame there. What the kernel cannot say at once goes to its stack,
    /// which finds the way for itself.
    #[inline(always)]
    fn ask(&self, ctx: &XdpContext, frame: &mut Writable<'_>, packet: &Packet) -> Option<Decision> {
        const SUCCESS: i64 = 0;
        const NOT_FORWARDED: i64 = 4;
        const FORWARDING_DISABLED: i64 = 5;
        const NO_NEIGHBOUR: i64 = 7;
        // SAFETY: zeros are a query.
        let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        // SAFETY: the context is the one that the kernel called the program with.
        query.ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
        query.l4_protocol = self.protocol;
        query.__bindgen_anon_1.tot_len = self.length as u16;
        if self.is_v6 {
            query.family = 10;
            query.__bindgen_anon_3.ipv6_src = words(self.source);
            query.__bindgen_anon_4.ipv6_dst = words(self.destination);
        } else {
            query.family = 2;
            query.__bindgen_anon_3.ipv4_src = (self.source[0] as u32).to_be();
            query.__bindgen_anon_4.ipv4_dst = (self.destination[0] as u32).to_be();
        }
        let size = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: the query is as long as is said.
        let answer = unsafe { fib_lookup(ctx.as_ptr(), &raw mut query, size, 0) };
        if answer == NO_NEIGHBOUR || answer == NOT_FORWARDED {
            return Some(PASS);
        }
        if answer != SUCCESS {
            let _ = FORWARDING_DISABLED;
            return Some(DROP);
        }
        if packet.macs == NO_MACS {
            return Some(PASS);
        }
        // SAFETY: as above.
        let came_by = unsafe { (*ctx.ctx).ingress_ifindex };
        if query.ifindex != came_by && packet.parts.l3 != 14 {
            // Tags mean something on this side alone.
            return Some(PASS);
        }
        let [a, b, c, d, e, f] = query.dmac;
        let [g, h, i, j, k, l] = query.smac;
        let mut addresses = frame.window_mut::<12>(0)?;
        addresses.put_u64(0, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        addresses.put_u32(8, u32::from_be_bytes([i, j, k, l]));
        if query.ifindex == came_by {
            return Some(SEND_BACK);
        }
        // SAFETY: takes numbers.
        match unsafe { bpf_redirect(query.ifindex, 0) } as u32 {
            xdp_action::XDP_REDIRECT => Some(SEND_ON),
            _ => Some(DROP),
        }
    }
}

#[inline(always)]
fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32].map(u32::to_be)
}

/// A frame's first buffer, which may be written.
struct Writable<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Writable<'a> {
    #[inline(always)]
    fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }
}

impl FrameMut for Writable<'_> {
    type WindowMut<'a, const N: usize>
        = CheckedMut<N>
    where
        Self: 'a;

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<CheckedMut<N>> {
        // SAFETY: the context is the one that the kernel called the program with.
        let data = unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ctx).data) };
        // SAFETY: as above.
        let end = unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ctx).data_end) };
        let offset = black_box(u64::from(offset));
        if offset > 0x7fff {
            return None;
        }
        let start = black_box(u64::from(data) + offset) as usize;
        if start + N > end as usize {
            return None;
        }
        Some(CheckedMut { start })
    }
}

impl Grow for Writable<'_> {
    #[inline(always)]
    fn grow(&mut self, bytes: u32) -> bool {
        // SAFETY: the context is the kernel's own; no pointer into the packet is used afterwards.
        unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) == 0 }
    }
}

/// `N` bytes of a packet that lie before its end, to be written.
struct CheckedMut<const N: usize> {
    start: usize,
}

impl<const N: usize> CheckedMut<N> {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> T {
        assert!(at + size_of::<T>() <= N);
        // SAFETY: the bytes are inside the window, which was checked to be inside the packet, and any bytes
        // are an integer.
        unsafe { core::ptr::read_unaligned((self.start + at) as *const T) }
    }

    #[inline(always)]
    fn write<T>(&mut self, at: usize, value: T) {
        assert!(at + size_of::<T>() <= N);
        // SAFETY: as above.
        unsafe { core::ptr::write_unaligned((self.start + at) as *mut T, value) }
    }
}

impl<const N: usize> Window for CheckedMut<N> {
    #[inline(always)]
    fn u8(&self, at: usize) -> u8 {
        self.read(at)
    }
    #[inline(always)]
    fn u16(&self, at: usize) -> u16 {
        u16::from_be(self.read(at))
    }
    #[inline(always)]
    fn u32(&self, at: usize) -> u32 {
        u32::from_be(self.read(at))
    }
    #[inline(always)]
    fn u64(&self, at: usize) -> u64 {
        u64::from_be(self.read(at))
    }
}

impl<const N: usize> WindowMut for CheckedMut<N> {
    #[inline(always)]
    fn put_u8(&mut self, at: usize, value: u8) {
        self.write(at, value);
    }
    #[inline(always)]
    fn put_u16(&mut self, at: usize, value: u16) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn put_u32(&mut self, at: usize, value: u32) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn put_u64(&mut self, at: usize, value: u64) {
        self.write(at, value.to_be());
    }
}
