//! The program that the filter goes on with where a rule has a limit: it asks the limit, and then, where the packet
//! is under, the rules behind that one.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::capacity::{HEAVY_LINES, LIMIT_LINES, LIMIT_SLOTS, LINES_PER_LIMIT_SLOT};
use xdp_common::filter::effect::{Decision, Stage};
use xdp_common::filter::limits::{AskLimits, Beside, Cells, Judged};
use xdp_common::filter::order;
use xdp_common::image::{Header, LINE_WORDS, Lines};
use xdp_common::packet::Packet;
use xdp_common::stages;
use xdp_common::stats::counter::CounterId;
use xdp_common::verifier::{black_box, launder, name};

use crate::exit::{apply, count, exit, this_cpu};
use crate::image::Merged;
use crate::maps::{LIMITS, SWITCHES};
use crate::names::{GoOn, count_names};
use crate::stages::{broken, go_on, same_image};
use crate::{capture, services};

impl AskLimits for GoOn<'_> {
    /// Does not come back, unless that program is not there: then the filter is broken.
    #[inline(always)]
    fn go_on<L: Lines>(&mut self, _: &L, _: &Header, _: &Packet, _: Judged<'_>) -> Stage {
        // The command line finds the program's maps by what the filter names.
        name(&LIMITS);
        go_on::<{ stages::LIMITS }>(self.ctx);
        Stage::Break(Decision::BROKEN)
    }
}

/// Asks one limit. A packet that is under, and that matches a rule with another limit, goes on with this program once
/// more: so the verifier follows it once.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_limits(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let scratch = &mut cpu.scratch;
    let mut beside = InForce { question: scratch.question, length: scratch.length };
    let header = image.header();
    if order::judge_from_limit(&Merged(image), &mut beside, header, scratch) {
        go_on::<{ stages::LIMITS }>(&ctx);
        return broken(launder(cpu));
    }
    let cpu = launder(cpu);
    count_names(&cpu.scratch);
    if !services::ask(&ctx, &cpu.scratch) {
        return broken(cpu);
    }
    apply(&ctx, &mut cpu.scratch.effect);
    let action = exit(cpu);
    capture::show(&ctx);
    action
}

/// The maps beside the image.
struct InForce {
    question: u32,
    /// Bytes of the frame.
    length: u32,
}

/// A line of one of the mebibytes.
#[inline(always)]
fn line(slot: u32, line: u32) -> Option<&'static Cells> {
    let memory = LIMITS.get(slot)?.get(0)?;
    let place = black_box(u64::from(line)) as usize & (LINES_PER_LIMIT_SLOT as usize - 1);
    // SAFETY: masked to the map's lines. Other CPUs write there too, by atomic operations alone, and any bits are a
    // line.
    Some(unsafe { &*memory.as_ptr().add(place * LINE_WORDS).cast::<Cells>() })
}

impl Beside for InForce {
    #[inline(always)]
    fn cells(&self, number: u32) -> Option<&Cells> {
        let number = number & (LIMIT_LINES - 1);
        line(number / LINES_PER_LIMIT_SLOT, number)
    }

    #[inline(always)]
    fn heavy(&self, number: u32) -> Option<&Cells> {
        line(LIMIT_SLOTS - 1, number & (HEAVY_LINES - 1))
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        SWITCHES.get(0).map_or(0, |switches| switches.multipliers[0])
    }

    #[inline(always)]
    fn now(&self, precise: bool) -> u64 {
        // SAFETY: helpers without arguments.
        unsafe { if precise { bpf_ktime_get_ns() } else { bpf_ktime_get_coarse_ns() } }
    }

    #[inline(always)]
    fn writes(&self) -> bool {
        self.question == 0
    }

    #[inline(always)]
    fn count(&mut self, counter: CounterId) {
        count(counter, self.length.into());
    }
}
