//! The program for ICMP about services: errors that quote a packet of theirs go the way of its connection,
//! translated where that is translated, and requests for an echo are answered if a service says so.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve;
use xdp_common::filter::services::{Found, Report, Serving, Work};
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::services::{Front, Origin};
use xdp_common::packet::{Packet, echo};
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::frame::{Linear, Writable};
use crate::image::Image;
use crate::next_hop::{Way, came_by};
use crate::serve::{DROP, SEND_BACK};
use crate::services::{InForce, not_served};
use crate::stages::{broken, go_on, same_image};

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
        serve::leave_echo(service, serving);
        serving.to = came_by(&ctx);
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
    serve::find_of_icmp(image, header, &Linear::new(ctx, *zero), packet, serving)
}

/// Chooses the backend as for the packet that it is about, and leaves it in the scratch. `None` is a corrupt
/// image.
#[inline(always)]
fn choose(image: &Image, header: &Header, scratch: &mut Scratch) -> Option<()> {
    let Scratch { serving, question, .. } = scratch;
    let mut beside = InForce { lines: header.connection_lines, question: *question };
    serve::choose_for_icmp(image, &mut beside, header, serving)
}

/// Rewrites an error about a packet of a nat service, unless it is for this host. `None` where it cannot be
/// reached.
#[inline(always)]
fn translate(
    ctx: &XdpContext,
    image: &Image,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<()> {
    if serving.work == Work::Return as u32 {
        let origin = Origin::of(image.line(serving.origin)?);
        if origin.has_mac == 0 && is_here(ctx, image.header(), packet, serving) {
            serving.work = Work::None as u32;
            return Some(());
        }
    }
    serve::translate_error(image, &mut Writable::new(ctx), packet, serving)
}

/// Whether an error is for this host, which has asked the backend itself, as its checks do.
#[inline(always)]
fn is_here(ctx: &XdpContext, header: &Header, packet: &Packet, serving: &mut Serving) -> bool {
    let way = Way::of(packet, packet.parts.end.wrapping_sub(packet.parts.l3));
    let hop = launder(&mut serving.hop);
    way.ask(ctx, header, packet, hop);
    launder(hop).found == Found::Here as u32
}
