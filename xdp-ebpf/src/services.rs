//! The program that finds the service of a packet and the backend that it goes to, where the fast path
//! ([`crate::fast_path`]) does not. Another one sends it there ([`crate::serve`]).

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::capacity::{CONNECTION_SLOTS, STATE_SLOTS};
use xdp_common::filter::order::{Scratch, onward};
use xdp_common::filter::serve;
use xdp_common::filter::services::{Report, Work, asked};
use xdp_common::filter::tracking::{Beside, LINES_PER_SLOT, STATES_PER_SLOT};
use xdp_common::image::{Header, LINE_WORDS, Line};
use xdp_common::packet::tunnel::is_plain;
use xdp_common::packet::{echo, quotation};
use xdp_common::stages;
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::{black_box, launder, name};

use crate::capture;
use crate::exit::{apply, exit, this_cpu};
use crate::frame::Linear;
use crate::image::Image;
use crate::maps::{BACKEND_STATES, CONNECTIONS, SENT, SWITCHES};
use crate::stages::{broken, go_on, same_image};

/// Goes on with the program that is asked about the packet next, and comes back where there is none. Whether
/// it may end as it was decided: where that program is not there, the filter is broken.
#[inline(always)]
pub fn ask(ctx: &XdpContext, scratch: &Scratch) -> bool {
    // The command line finds the program's maps by what the filter names.
    name(&BACKEND_STATES);
    name(&CONNECTIONS);
    name(&SENT);
    if scratch.onward == 0 {
        return true;
    }
    if scratch.onward & onward::SERVICES != 0 {
        go_on::<{ stages::FAST }>(ctx);
    } else if scratch.onward & onward::CATCH != 0 {
        go_on::<{ stages::CATCH }>(ctx);
    } else if scratch.onward & onward::SYN_COOKIE != 0 {
        go_on::<{ stages::SYN_COOKIE }>(ctx);
    } else {
        go_on::<{ stages::REPLIES }>(ctx);
    }
    false
}

/// Finds the service and the backend. A packet that no service takes goes the way that was decided before.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_services(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let header = image.header();
    let Scratch { packet, serving, onward: asked, zero, .. } = &mut cpu.scratch;
    let frame = Linear::new(&ctx, *zero);
    serving.report = Report::None as u32;
    // In this order: the verifier follows what comes next once, and not for each way to it.
    if is_plain(packet, serve::before(&frame, packet))
        && *asked & asked::ICMP != 0
        && (quotation::is_error(packet) || echo::is_request(packet))
    {
        go_on::<{ stages::ICMP }>(&ctx);
        return broken(cpu);
    }
    if serve::find(&image, header, &frame, packet, *asked, serving).is_none() {
        return broken(cpu);
    }
    let cpu = launder(cpu);
    if cpu.scratch.serving.work == Work::None as u32 {
        return not_served(&ctx, cpu);
    }
    if cpu.scratch.serving.work == Work::Forward as u32
        && choose(&ctx, &image, header, &mut cpu.scratch).is_none()
    {
        return broken(cpu);
    }
    go_on::<{ stages::SERVE }>(&ctx);
    broken(launder(cpu))
}

/// Ends with what was decided before, unless the packet may be a reply.
#[inline(always)]
pub fn not_served(ctx: &XdpContext, cpu: &mut PerCpu) -> u32 {
    if cpu.scratch.onward & onward::REPLIES != 0 {
        go_on::<{ stages::REPLIES }>(ctx);
        return broken(cpu);
    }
    apply(ctx, &mut cpu.scratch.effect);
    let action = exit(cpu);
    capture::show(ctx);
    action
}

/// Chooses the backend, and leaves it in the scratch.
#[inline(always)]
fn choose(ctx: &XdpContext, image: &Image, header: &Header, scratch: &mut Scratch) -> Option<()> {
    let Scratch { packet, serving, question, zero, .. } = scratch;
    let frame = Linear::new(ctx, *zero);
    let mut beside = InForce { lines: header.connection_lines, question: *question };
    serve::choose(image, &mut beside, header, &frame, packet, serving)
}

/// The maps beside the image.
pub struct InForce {
    /// Lines of connections, a power of two; 0 where there are none.
    pub lines: u32,
    pub question: u32,
}

impl Beside for InForce {
    #[inline(always)]
    fn state(&self, id: u32) -> u64 {
        let slot = id / STATES_PER_SLOT;
        let Some(memory) = BACKEND_STATES.get(slot % STATE_SLOTS).and_then(|slot| slot.get(0))
        else {
            return 0;
        };
        let place = black_box(u64::from(id)) as usize & (STATES_PER_SLOT as usize - 1);
        // SAFETY: masked to the map's words. It may be written at any time.
        unsafe { core::ptr::read_volatile(memory.as_ptr().add(place)) }
    }

    #[inline(always)]
    fn connections(&mut self, number: u32) -> Option<&mut Line> {
        if self.lines == 0 {
            return None;
        }
        let line = number & (self.lines - 1);
        let slot = line / LINES_PER_SLOT % CONNECTION_SLOTS;
        let memory = CONNECTIONS.get(slot)?.get(0)?;
        let place = black_box(u64::from(line)) as usize & (LINES_PER_SLOT as usize - 1);
        // SAFETY: masked to the map's lines. Other CPUs may write there too: words are read and written
        // whole, and any bits are an entry.
        Some(unsafe { &mut *memory.as_ptr().cast_mut().add(place * LINE_WORDS).cast::<Line>() })
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        SWITCHES.get(0).map_or(0, |switches| switches.multipliers[0])
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn writes(&self) -> bool {
        self.question == 0
    }
}
