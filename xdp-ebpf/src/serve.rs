//! The program that sends a packet to its backend, or a backend's reply to its client: it rewrites the
//! packet, and finds the way.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_fib_lookup, xdp_action};
use aya_ebpf::helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_redirect};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::services::{self, Serving, Work};
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::services::{Backend, Front, Lost, Mode, Origin};
use xdp_common::packet::rewrite::{FrameMut, Rewritten, Side, WindowMut, translate};
use xdp_common::packet::tunnel::{Outer, put_into};
use xdp_common::packet::{NO_MACS, Network, Packet, Window};
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::frame::Writable;
use crate::image::Image;
use crate::names::{broken, same_image};

const PASS: Decision = Decision::new(Verdict::Pass, Reason::Service);
const DROP: Decision = Decision::new(Verdict::Drop, Reason::Service);
const SEND_BACK: Decision = Decision::new(Verdict::Tx, Reason::Service);
const SEND_ON: Decision = Decision::new(Verdict::Redirect, Reason::Service);

/// What becomes of a packet, and why not what was meant to.
#[derive(Clone, Copy)]
struct Served(Decision, Option<Lost>);

impl Served {
    const BACK: Self = Self(SEND_BACK, None);
    const ON: Self = Self(SEND_ON, None);
    const SLOW: Self = Self(PASS, Some(Lost::Slow));

    const fn lost(why: Lost) -> Self {
        Self(DROP, Some(why))
    }
}

/// Sends a packet that a service takes to where it goes.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_serve(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    let Some([service, backend, losses]) = services::counters(&image, &cpu.scratch.serving) else {
        return broken(cpu);
    };
    let Scratch { packet, serving, effect, .. } = &mut cpu.scratch;
    // What cannot be rewritten where it lies is dropped.
    let Served(decision, lost) =
        serve(&ctx, &image, header, packet, serving).unwrap_or(Served(DROP, None));
    // The verifier would follow each decision through the exit.
    effect.decision = decision;
    serving.lost = lost.map_or(u32::MAX, |lost| lost as u32);
    let cpu = launder(cpu);
    let Scratch { length, serving, .. } = &cpu.scratch;
    let bytes = u64::from(*length);
    count(service, bytes);
    count(backend, bytes);
    if serving.lost != u32::MAX {
        count(CounterId(losses.0.wrapping_add(serving.lost)), bytes);
    }
    if serving.is_new != 0 && serving.work == Work::Forward as u32 {
        count(CounterId(losses.0.wrapping_add(Lost::New as u32)), bytes);
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
) -> Option<Served> {
    if serving.work == Work::Fragment as u32 {
        return Some(Served::lost(Lost::Fragment));
    }
    if serving.work == Work::Return as u32 {
        return give_back(ctx, image, packet, serving);
    }
    if serving.work == Work::Unserved as u32 {
        let front = Front::of(image.line(serving.front)?);
        let decision = if front.pass_unserved != 0 { PASS } else { DROP };
        return Some(Served(decision, Some(Lost::NoBackend)));
    }
    forward(ctx, image, header, packet, serving)
}

/// Rewrites the source of a backend's reply.
#[inline(always)]
fn give_back(
    ctx: &XdpContext,
    image: &Image,
    packet: &Packet,
    serving: &Serving,
) -> Option<Served> {
    let origin = Origin::of(image.line(serving.origin)?);
    let to = Rewritten {
        side: Side::Source,
        address: origin.address,
        port: (origin.has_port != 0).then_some(origin.port),
    };
    let mut frame = Writable::new(ctx);
    if !translate(&mut frame, packet, &to)? {
        return Some(Served::lost(Lost::TimeToLive));
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
) -> Option<Served> {
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
        if front.mtu != 0 && length > front.mtu.into() {
            return Some(Served::lost(Lost::TooBig));
        }
        if !translate(&mut frame, packet, &to)? {
            return Some(Served::lost(Lost::TimeToLive));
        }
    } else if front.mode != Mode::L2dsr as u8 {
        let outer = Outer {
            inner: length,
            inner_is_v6: packet.network == Network::IPV6,
            class: class_of(&mut frame, packet)?,
            destination: backend.address,
            flow: (serving.flow >> 32) as u32,
            port: front.gue_port,
        };
        way.length = length + Outer::length(way.is_v6, outer.port);
        if front.mtu != 0 && way.length > front.mtu.into() {
            return Some(Served::lost(Lost::TooBig));
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
fn send_to(frame: &mut Writable<'_>, packet: &Packet, mac: &[u8; 6]) -> Option<Served> {
    if packet.macs == NO_MACS {
        return Some(Served::SLOW);
    }
    let [a, b, c, d, e, f] = *mac;
    let mut addresses = frame.window_mut::<12>(0)?;
    let source = packet.destination_mac();
    let word = u64::from_be_bytes([a, b, c, d, e, f, (source >> 40) as u8, (source >> 32) as u8]);
    addresses.put_u64(0, word);
    addresses.put_u32(8, source as u32);
    Some(Served::BACK)
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
    fn ask(&self, ctx: &XdpContext, frame: &mut Writable<'_>, packet: &Packet) -> Option<Served> {
        // Answers of the helper (enum in include/uapi/linux/bpf.h).
        const SUCCESS: i64 = 0;
        const NOT_FORWARDED: i64 = 4;
        const NO_NEIGHBOUR: i64 = 7;
        const FRAGMENTATION_NEEDED: i64 = 8;
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
        if answer == NO_NEIGHBOUR || answer == NOT_FORWARDED || packet.macs == NO_MACS {
            return Some(Served::SLOW);
        }
        if answer == FRAGMENTATION_NEEDED {
            return Some(Served::lost(Lost::TooBig));
        }
        if answer != SUCCESS {
            return Some(Served::lost(Lost::NoRoute));
        }
        // SAFETY: as above.
        let came_by = unsafe { (*ctx.ctx).ingress_ifindex };
        if query.ifindex != came_by && packet.parts.l3 != 14 {
            // Tags mean something on this side alone.
            return Some(Served::SLOW);
        }
        // The two addresses lie side by side at the answer's end, the source first. They are read as
        // words: Linux 6.1 wants what is read from the stack aligned.
        const { assert!(offset_of!(bpf_fib_lookup, dmac) == offset_of!(bpf_fib_lookup, smac) + 6) };
        let words = (&raw const query.smac).cast::<u32>();
        // SAFETY: twelve bytes, and their place is a multiple of four.
        let [a, b, c] = [0, 1, 2].map(|at| u32::from_be(unsafe { words.add(at).read_volatile() }));
        let mut addresses = frame.window_mut::<12>(0)?;
        addresses.put_u64(0, u64::from(b << 16 | c >> 16) << 32 | u64::from(c << 16 | a >> 16));
        addresses.put_u32(8, a << 16 | b >> 16);
        if query.ifindex == came_by {
            return Some(Served::BACK);
        }
        // SAFETY: takes numbers.
        match unsafe { bpf_redirect(query.ifindex, 0) } as u32 {
            xdp_action::XDP_REDIRECT => Some(Served::ON),
            _ => Some(Served::lost(Lost::NoRoute)),
        }
    }
}

#[inline(always)]
fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32].map(u32::to_be)
}
