//! The program that the filter goes on with where there are services: it sends most of their packets to where
//! they go, all in one. Whatever is not usual is left to [`crate::services`], as the packet came.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::fast_path::{self, Forwarded, is_usual};
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve::{overhead, rewrite};
use xdp_common::filter::services::{Serving, Work, asked};
use xdp_common::filter::tracking::By;
use xdp_common::image::{Header, flag};
use xdp_common::lookup::services::{Lost, Mode};
use xdp_common::packet::rewrite::{FrameMut, Rewritten, Side, WindowMut, translate};
use xdp_common::packet::{Packet, Window};
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::frame::Writable;
use crate::image::Merged;
use crate::next_hop::came_by;
use crate::serve::{DROP, SEND_BACK};
use crate::services::InForce;
use crate::stages::{broken, go_on, same_image};

/// Sends the packet of a service to its backend, or a backend's reply to its client.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_fast(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    let Scratch { packet, serving, effect, onward, length, .. } = &mut cpu.scratch;
    let mut served = None;
    if header.has(flag::FAST_PATH) && is_usual(packet) {
        let bytes = u64::from(*length);
        let image = Merged(image);
        served = if *onward & asked::DESTINATION != 0 {
            forward(&ctx, &image, header, packet, serving, bytes)
        } else {
            give_back(&ctx, &image, header, packet, serving, bytes)
        };
    }
    let Some(decision) = served else {
        go_on::<{ stages::SERVICES }>(&ctx);
        return broken(launder(cpu));
    };
    serving.lost = u32::MAX;
    serving.to = came_by(&ctx);
    effect.decision = decision;
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// Sends a packet to its backend. `None` where the longer way has to be gone; then it is as it came.
#[inline(always)]
fn forward(
    ctx: &XdpContext,
    image: &Merged,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
    bytes: u64,
) -> Option<Decision> {
    // Connections are not looked up.
    let beside = InForce { lines: 0, question: 1 };
    let Forwarded { front, backend, flow, is_new } =
        fast_path::forward(image, &beside, header, packet, &mut serving.choice)?;
    let length = packet.parts.end.wrapping_sub(packet.parts.l3) + overhead(front, backend);
    if front.mode != Mode::L2dsr as u8 && front.mtu != 0 && length > front.mtu.into() {
        return None;
    }
    let mut frame = Writable::new(ctx);
    let rewritten = rewrite(&mut frame, header, packet, front, backend, flow);
    if rewritten == Some(false) {
        return None;
    }
    let sent = rewritten.and_then(|_| send_back(&mut frame, &backend.mac));
    serving.work = Work::Forward as u32;
    serving.by = By::Hash as u32;
    serving.is_new = is_new;
    (serving.service, serving.backend_counter) =
        (CounterId(front.counter), CounterId(backend.counter));
    count(CounterId(front.counter), bytes);
    count(CounterId(backend.counter), bytes);
    if is_new != 0 {
        count(CounterId(front.losses.wrapping_add(Lost::New as u32)), bytes);
    }
    Some(sent.unwrap_or(DROP))
}

/// Sends a backend's reply to its client. `None` as above.
#[inline(always)]
fn give_back(
    ctx: &XdpContext,
    image: &Merged,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
    bytes: u64,
) -> Option<Decision> {
    let origin = fast_path::give_back(image, header, packet)?;
    let to = Rewritten {
        side: Side::Source,
        address: origin.address,
        port: (origin.has_port != 0).then_some(origin.port),
    };
    let mut frame = Writable::new(ctx);
    let rewritten = translate(&mut frame, packet, &to);
    if rewritten == Some(false) {
        return None;
    }
    let sent = rewritten.and_then(|_| send_back(&mut frame, &origin.mac));
    serving.work = Work::Return as u32;
    let service = CounterId(origin.service_counter);
    let backend = CounterId(origin.backend_counter);
    (serving.service, serving.backend_counter) = (service, backend);
    count(service, bytes);
    count(backend, bytes);
    Some(sent.unwrap_or(DROP))
}

/// Writes a frame's addresses: to `mac`, from the one that it came to. `None` where it cannot be reached.
#[inline(always)]
fn send_back(frame: &mut Writable<'_>, mac: &[u8; 6]) -> Option<Decision> {
    let [a, b, c, d, e, f] = *mac;
    let mut addresses = frame.window_mut::<12>(0)?;
    let (upper, lower) = (addresses.u32(0), addresses.u16(4));
    addresses.put_u32(6, upper);
    addresses.put_u16(10, lower);
    addresses.put_u32(0, u32::from_be_bytes([a, b, c, d]));
    addresses.put_u16(4, u16::from_be_bytes([e, f]));
    Some(SEND_BACK)
}
