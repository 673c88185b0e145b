//! The program that sends a packet to its backend, or a backend's reply to its client: it rewrites the
//! packet, and finds the way.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve::{overhead, rewrite};
use xdp_common::filter::services::{self, Found, NextHop, Report, Serving, Work};
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::services::{Backend, Front, Lost, Mode, Origin, answers};
use xdp_common::packet::Packet;
use xdp_common::packet::icmp_error::Problem;
use xdp_common::packet::rewrite::{Side, translate};
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdp_common::verifier::launder;

use crate::capture;
use crate::exit::{count, exit, this_cpu};
use crate::frame::Writable;
use crate::image::Image;
use crate::next_hop::{self, Way};
use crate::services::not_served;
use crate::stages::{broken, go_on, is_other_image, same_image};

const PASS: Decision = Decision::new(Verdict::Pass, Reason::Service);
pub const DROP: Decision = Decision::new(Verdict::Drop, Reason::Service);
pub const SEND_BACK: Decision = Decision::new(Verdict::Tx, Reason::Service);
pub const SEND_ON: Decision = Decision::new(Verdict::Redirect, Reason::Service);

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
    if cpu.scratch.serving.report == Report::Error as u32 && is_other_image(&cpu.scratch) {
        // It is translated already, and would be judged as it is now.
        cpu.scratch.effect.decision = DROP;
        return exit(launder(cpu));
    }
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    let Some([service, backend, losses]) = services::counters(&image, &cpu.scratch.serving) else {
        return broken(cpu);
    };
    let Scratch { packet, serving, effect, .. } = &mut cpu.scratch;
    (serving.service, serving.backend_counter) = (service, backend);
    // What cannot be rewritten where it lies is dropped.
    let Served(decision, lost) =
        serve(&ctx, &image, header, packet, serving).unwrap_or(Served(DROP, None));
    // The verifier would follow each decision through the exit.
    let serving = launder(serving);
    if serving.work == Work::None as u32 {
        // The answer to a check of this host, say.
        return not_served(&ctx, launder(cpu));
    }
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
    let cpu = launder(cpu);
    if cpu.scratch.serving.answer.problem != Problem::None as u32 {
        go_on::<{ stages::REJECT }>(&ctx);
        return broken(cpu);
    }
    let action = exit(cpu);
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
    serving: &mut Serving,
) -> Option<Served> {
    serving.answer.problem = Problem::None as u32;
    serving.to = 0;
    if serving.work == Work::Fragment as u32 {
        return Some(Served::lost(Lost::Fragment));
    }
    if serving.report == Report::Expired as u32 {
        return Some(Served::lost(Lost::TimeToLive));
    }
    if serving.report == Report::Broken as u32 {
        return None;
    }
    if serving.work == Work::Return as u32 {
        return give_back(ctx, image, packet, serving);
    }
    if serving.work == Work::Unserved as u32 {
        let front = Front::of(image.line(serving.front)?);
        if front.pass_unserved != 0 {
            return Some(Served(PASS, Some(Lost::NoBackend)));
        }
        if front.answers & answers::UNREACHABLE != 0 && serving.report == Report::None as u32 {
            serving.answer.problem = Problem::NoSuchPort as u32;
            serving.answer.from = packet.destination;
        }
        return Some(Served::lost(Lost::NoBackend));
    }
    forward(ctx, image, header, packet, serving)
}

/// A packet that is too big: `mtu` is the longest that would fit.
#[inline(always)]
fn too_big(serving: &mut Serving, answers: u8, mtu: u32, from: [u64; 2]) -> Served {
    if answers & answers::TOO_BIG != 0 && serving.report == Report::None as u32 {
        serving.answer.problem = Problem::TooBig as u32;
        serving.answer.mtu = mtu;
        serving.answer.from = from;
    }
    Served::lost(Lost::TooBig)
}

/// Rewrites the source of a backend's reply. An error about one has been rewritten.
#[inline(always)]
fn give_back(
    ctx: &XdpContext,
    image: &Image,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<Served> {
    let origin = Origin::of(image.line(serving.origin)?);
    let hop = launder(&mut serving.hop);
    if origin.has_mac != 0 {
        next_hop::fixed(ctx, packet, &origin.mac, hop);
    } else {
        let length = packet.parts.end.wrapping_sub(packet.parts.l3);
        let way = Way { source: origin.address, ..Way::of(packet, length) };
        way.ask(ctx, image.header(), packet, hop);
    }
    let NextHop { found, mtu, .. } = *launder(hop);
    if found == Found::Here as u32 && serving.report == Report::None as u32 {
        // This host has asked the backend itself, as its checks do.
        serving.work = Work::None as u32;
        return Some(Served(DROP, None));
    }
    if found == Found::TooBig as u32 {
        // As if the service told its backend.
        return Some(too_big(serving, origin.answers, mtu, origin.address));
    }
    if found == Found::Nothing as u32 {
        return Some(Served::lost(Lost::NoRoute));
    }
    let mut frame = Writable::new(ctx);
    if serving.report == Report::None as u32
        && !translate(&mut frame, packet, &origin.rewritten(Side::Source))?
    {
        return Some(Served::lost(Lost::TimeToLive));
    }
    leave(&mut frame, serving)
}

#[inline(always)]
fn forward(
    ctx: &XdpContext,
    image: &Image,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<Served> {
    let front = Front::of(image.line(serving.front)?);
    let backend = Backend::of(image.line(serving.backend)?);
    let is_nat = front.mode == Mode::Nat as u8;
    let is_tunnel = !is_nat && front.mode != Mode::L2dsr as u8;
    let inner = packet.parts.end.wrapping_sub(packet.parts.l3);
    let overhead = overhead(front, backend);
    let length = inner.wrapping_add(overhead);
    let mtu = u32::from(front.mtu);
    if (is_nat || is_tunnel) && mtu != 0 && length > mtu {
        let fits = mtu.saturating_sub(overhead);
        return Some(too_big(serving, front.answers, fits, packet.destination));
    }
    let hop = launder(&mut serving.hop);
    if backend.has_mac != 0 {
        next_hop::fixed(ctx, packet, &backend.mac, hop);
    } else {
        let is_v6 = backend.is_v6 != 0;
        let way = Way { is_v6, destination: backend.address, ..Way::of(packet, length) };
        way.ask(ctx, header, packet, hop);
    }
    let NextHop { found, mtu, .. } = *launder(hop);
    if found == Found::TooBig as u32 {
        let fits = mtu.saturating_sub(overhead);
        return Some(too_big(serving, front.answers, fits, packet.destination));
    }
    let by_stack = found == Found::Stack as u32 || found == Found::Here as u32;
    // The stack would find the way to the service's address, and not to the backend's.
    if found == Found::Nothing as u32 || by_stack && !is_nat && !is_tunnel {
        return Some(Served::lost(Lost::NoRoute));
    }
    let mut frame = Writable::new(ctx);
    // An error about one has been rewritten.
    if (!is_nat || serving.report == Report::None as u32)
        && !rewrite(&mut frame, header, packet, front, backend, serving.flow)?
    {
        return Some(Served::lost(Lost::TimeToLive));
    }
    leave(&mut frame, serving)
}

/// Sends the rewritten frame on.
#[inline(always)]
fn leave(frame: &mut Writable<'_>, serving: &mut Serving) -> Option<Served> {
    let hop = launder(&mut serving.hop);
    let found = next_hop::leave(frame, hop)?;
    if found == Found::Back || found == Found::On {
        serving.to = hop.interface;
    }
    Some(match found {
        Found::Back => Served::BACK,
        Found::On => Served::ON,
        Found::Stack | Found::Here => Served::SLOW,
        Found::TooBig | Found::Nothing => Served::lost(Lost::NoRoute),
    })
}
