//! The program for ICMP about services: errors that quote a packet of theirs go the way of its connection,
//! translated where that is translated, and requests for an echo are answered if a service says so.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve::{flow_of, is_first_fragment};
use xdp_common::filter::services::{self, Found, Report, Serving, Work};
use xdp_common::filter::tracking;
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::services::{Backend, Front, Mode, Origin};
use xdp_common::packet::rewrite::{Rewritten, Side};
use xdp_common::packet::{Network, Packet, echo, quotation};
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::frame::{Linear, Writable};
use crate::image::Image;
use crate::names::{broken, go_on, same_image};
use crate::next_hop::Way;
use crate::serve::{DROP, SEND_BACK};
use crate::services::{InForce, not_served};

/// Finds the service and the backend that a message is about.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_icmp(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    if find(&ctx, &image, header, &mut cpu.scratch).is_none() {
        return broken(cpu);
    }
    let cpu = launder(cpu);
    if cpu.scratch.serving.work == Work::None as u32 {
        return not_served(&ctx, cpu);
    }
    if cpu.scratch.serving.work == Work::Forward as u32
        && choose(&image, header, &mut cpu.scratch).is_none()
    {
        return broken(cpu);
    }
    let cpu = launder(cpu);
    let Scratch { packet, serving, effect, length, .. } = &mut cpu.scratch;
    if serving.report == Report::Error as u32 {
        if translate(&ctx, &image, packet, serving).is_none() {
            // The stage after this one drops what cannot go on.
            serving.report = Report::Broken as u32;
        }
        let cpu = launder(cpu);
        if cpu.scratch.serving.work == Work::None as u32 {
            return not_served(&ctx, cpu);
        }
    } else if serving.work == Work::Forward as u32 {
        let Some(line) = image.line(serving.front) else { return broken(cpu) };
        let service = CounterId(Front::of(line).counter);
        let is_answered = echo::turn_around(&mut Writable::new(&ctx), packet).is_some();
        effect.decision = if is_answered { SEND_BACK } else { DROP };
        count(service, (*length).into());
        let action = exit(launder(cpu));
        capture::show(&ctx);
        return action;
    }
    go_on::<{ stages::SERVE }>(&ctx);
    broken(launder(cpu))
}

/// Finds the service, and leaves what to do. `None` is a corrupt image.
#[inline(always)]
fn find(ctx: &XdpContext, image: &Image, header: &Header, scratch: &mut Scratch) -> Option<()> {
    let Scratch { packet, serving, zero, .. } = scratch;
    let frame = Linear::new(ctx, *zero);
    serving.work = Work::None as u32;
    if is_first_fragment(&frame, packet) {
        return Some(());
    }
    if echo::is_request(packet) {
        serving.report = Report::None as u32;
        echo::read(packet, &mut serving.about);
    } else {
        serving.report = Report::Error as u32;
        if quotation::read(&frame, packet, &mut serving.about).is_none() {
            return Some(());
        }
    }
    let serving = launder(serving);
    let about = serving.about;
    services::find_of_icmp(image, header, &about, serving)
}

/// Chooses the backend as for the packet that it is about, and leaves it in the scratch. `None` is a corrupt
/// image.
#[inline(always)]
fn choose(image: &Image, header: &Header, scratch: &mut Scratch) -> Option<()> {
    let Scratch { serving, question, .. } = scratch;
    let front = Front::of(image.line(serving.front)?);
    let flow = flow_of(image, header, front, &serving.about, 0, true)?;
    serving.flow = flow.number;
    serving.is_new = 0;
    let mut beside = InForce { lines: header.connection_lines, question: *question };
    let choice = launder(&mut serving.choice);
    let (backend, by) = tracking::choose(image, &mut beside, header, front, &flow, choice)?;
    serving.backend = backend;
    serving.by = by as u32;
    if backend == 0 {
        serving.work = Work::Unserved as u32;
    }
    Some(())
}

/// Rewrites an error about a packet of a nat service. `None` where it cannot be reached.
#[inline(always)]
fn translate(
    ctx: &XdpContext,
    image: &Image,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    let (to, outer);
    if serving.work == Work::Return as u32 {
        let origin = Origin::of(image.line(serving.origin)?);
        if origin.has_mac == 0 && is_here(ctx, packet, serving) {
            serving.work = Work::None as u32;
            return Some(());
        }
        let port = (origin.has_port != 0).then_some(origin.port);
        to = Rewritten { side: Side::Destination, address: origin.address, port };
        // What a router says is said by the router.
        let [upper, lower] = serving.about.source;
        let is_of_backend = packet.source[0] == upper
            && (packet.network != Network::IPV6 || packet.source[1] == lower);
        outer = is_of_backend.then_some(Side::Source);
    } else if serving.work == Work::Forward as u32 {
        if Front::of(image.line(serving.front)?).mode != Mode::Nat as u8 {
            return Some(());
        }
        let backend = Backend::of(image.line(serving.backend)?);
        let port = (backend.has_port != 0).then_some(backend.port);
        to = Rewritten { side: Side::Source, address: backend.address, port };
        outer = Some(Side::Destination);
    } else {
        return Some(());
    }
    let mut frame = Writable::new(ctx);
    if !quotation::translate(&mut frame, packet, &serving.about, &to, outer)? {
        serving.report = Report::Expired as u32;
    }
    Some(())
}

/// Whether an error is for this host, which has asked the backend itself, as its checks do.
#[inline(always)]
fn is_here(ctx: &XdpContext, packet: &Packet, serving: &mut Serving) -> bool {
    let way = Way {
        is_v6: packet.network == Network::IPV6,
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol as u8,
        length: packet.parts.end.wrapping_sub(packet.parts.l3),
    };
    let hop = launder(&mut serving.hop);
    way.ask(ctx, packet, hop);
    launder(hop).found == Found::Here as u32
}
