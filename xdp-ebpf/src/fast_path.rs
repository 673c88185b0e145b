//! The program that the filter goes on with where there are services: it sends most of their packets to where
//! they go, all in one. Whatever is not usual is left to [`crate::services`], as the packet came: what has no backend or
//! no next hop, is too big, or whose time to live is over, too.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::fast_path::{self, Forwarded, is_usual};
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve::{overhead, rewrite};
use xdp_common::filter::services::{Found, Serving, Work};
use xdp_common::filter::tracking::By;
use xdp_common::image::Header;
use xdp_common::lookup::services::{Lost, Mode};
use xdp_common::packet::rewrite::{FrameMut, Side, WindowMut, translate};
use xdp_common::packet::tunnel::Grow;
use xdp_common::packet::{Packet, Window};
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, count_both, exit, this_cpu};
use crate::frame::Writable;
use crate::image::Merged;
use crate::next_hop::{self, Way, came_by};
use crate::serve::{DROP, SEND_BACK, SEND_ON};
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
    if is_usual(packet) {
        let bytes = u64::from(*length);
        let image = Merged(image);
        served = match fast_path::service(&image, header, packet, *onward) {
            Some(0) => {
                let mut frame = Writable::new(&ctx);
                give_back(&ctx, &mut frame, &image, packet, serving, bytes)
            }
            Some(line) => {
                let mut frame = Writable::new(&ctx);
                forward(&ctx, &mut frame, &image, packet, line, serving, bytes)
            }
            None => None,
        };
    }
    let Some(decision) = served else {
        go_on::<{ stages::SERVICES }>(&ctx);
        return broken(launder(cpu));
    };
    effect.decision = decision;
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// Sends a packet to a backend of the service of that line. `None` where the longer way has to be gone; then it is
/// as it came.
#[inline(always)]
pub fn forward<F: Grow>(
    ctx: &XdpContext,
    frame: &mut F,
    image: &Merged,
    packet: &Packet,
    line: u32,
    serving: &mut Serving,
    bytes: u64,
) -> Option<Decision> {
    let header = image.0.header();
    // Connections are not looked up.
    let beside = InForce { lines: 0, question: 1 };
    let Forwarded { front, backend, flow, is_new } =
        fast_path::forward(image, &beside, header, packet, line, &mut serving.choice)?;
    let length = packet.parts.end.wrapping_sub(packet.parts.l3) + overhead(front, backend);
    if front.mode != Mode::L2dsr as u8 && front.mtu != 0 && length > front.mtu.into() {
        return None;
    }
    if backend.has_mac == 0 {
        let is_v6 = backend.is_v6 != 0;
        let way = Way { is_v6, destination: backend.address, ..Way::of(packet, length) };
        ask(ctx, header, packet, &way, serving)?;
    }
    let rewritten = rewrite(frame, header, packet, front, backend, flow);
    if rewritten == Some(false) {
        return None;
    }
    let mac = (backend.has_mac != 0).then_some(&backend.mac);
    let sent = rewritten.and_then(|_| send(ctx, frame, mac, serving));
    serving.work = Work::Forward as u32;
    serving.by = By::Hash as u32;
    serving.is_new = is_new;
    let counters = [front.counter, backend.counter, front.losses].map(CounterId);
    let decision = conclude(counters, sent, serving, bytes);
    if is_new != 0 {
        count(CounterId(front.losses.wrapping_add(Lost::New as u32)), bytes);
    }
    Some(decision)
}

/// Sends a backend's reply to its client. `None` as above.
#[inline(always)]
pub fn give_back<F: Grow>(
    ctx: &XdpContext,
    frame: &mut F,
    image: &Merged,
    packet: &Packet,
    serving: &mut Serving,
    bytes: u64,
) -> Option<Decision> {
    let header = image.0.header();
    let origin = fast_path::give_back(image, header, packet)?;
    if origin.has_mac == 0 {
        let length = packet.parts.end.wrapping_sub(packet.parts.l3);
        let way = Way { source: origin.address, ..Way::of(packet, length) };
        ask(ctx, header, packet, &way, serving)?;
    }
    let rewritten = translate(frame, packet, &origin.rewritten(Side::Source));
    if rewritten == Some(false) {
        return None;
    }
    let mac = (origin.has_mac != 0).then_some(&origin.mac);
    let sent = rewritten.and_then(|_| send(ctx, frame, mac, serving));
    serving.work = Work::Return as u32;
    let counters = [origin.service_counter, origin.backend_counter, origin.losses].map(CounterId);
    Some(conclude(counters, sent, serving, bytes))
}

/// Asks the kernel for the next hop, and leaves it in `serving`. `None` where the packet does not leave by an
/// interface at once.
#[inline(always)]
fn ask(
    ctx: &XdpContext,
    header: &Header,
    packet: &Packet,
    way: &Way,
    serving: &mut Serving,
) -> Option<()> {
    let hop = launder(&mut serving.hop);
    way.ask(ctx, header, packet, hop);
    let found = launder(hop).found;
    (found == Found::Back as u32 || found == Found::On as u32).then_some(())
}

/// Sends a rewritten frame to `mac`, from the address that it came to; or where the kernel has said. `None` where it
/// cannot be reached.
#[inline(always)]
fn send<F: FrameMut>(
    ctx: &XdpContext,
    frame: &mut F,
    mac: Option<&[u8; 6]>,
    serving: &mut Serving,
) -> Option<Found> {
    let Some(mac) = mac else {
        let hop = launder(&mut serving.hop);
        serving.to = hop.interface;
        return next_hop::leave(frame, hop);
    };
    serving.to = came_by(ctx);
    let [a, b, c, d, e, f] = *mac;
    let mut addresses = frame.window_mut::<12>(0)?;
    let (upper, lower) = (addresses.u32(0), addresses.u16(4));
    addresses.put_u32(6, upper);
    addresses.put_u16(10, lower);
    addresses.put_u32(0, u32::from_be_bytes([a, b, c, d]));
    addresses.put_u16(4, u16::from_be_bytes([e, f]));
    Some(Found::Back)
}

/// Counts a packet to a service and its backend, and says what becomes of it.
#[inline(always)]
fn conclude(
    [service, backend, losses]: [CounterId; 3],
    sent: Option<Found>,
    serving: &mut Serving,
    bytes: u64,
) -> Decision {
    (serving.service, serving.backend_counter) = (service, backend);
    serving.lost = u32::MAX;
    count_both([service, backend], bytes);
    match sent {
        Some(Found::Back) => SEND_BACK,
        Some(Found::On) => SEND_ON,
        None => DROP,
        // The interface is gone since it was found.
        Some(_) => {
            serving.lost = Lost::NoRoute as u32;
            count(CounterId(losses.0.wrapping_add(serving.lost)), bytes);
            DROP
        }
    }
}
