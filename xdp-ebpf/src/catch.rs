//! The program that the filter goes on with where a rule blocks the source of what it matched: it makes the
//! run-time entry, and drops the packet.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::caught::{Bucket, Buckets, Cells, catch};
use xdp_common::filter::dynamic::{Switches, flag};
use xdp_common::filter::order::Scratch;
use xdp_common::verifier::launder;
use xdp_common::word::Word;

use crate::capture;
use crate::dynamic::Caught;
use crate::exit::{exit, this_cpu};
use crate::image::Merged;
use crate::maps::SWITCHES;
use crate::stages::{broken, same_image};

/// Makes the entry, unless this is a question.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_catch(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let deadline = image.header().deadline();
    let Scratch { packet, effect, question, .. } = &cpu.scratch;
    if *question == 0
        && let Some(switches) = SWITCHES.get_ptr_mut(0)
        && catch(&Merged(image), &InForce { switches, deadline }, packet, effect).is_none()
    {
        return broken(cpu);
    }
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// The maps of run-time entries.
struct InForce {
    switches: *mut Switches,
    /// Of the ruleset, if it is on trial; else 0.
    deadline: u64,
}

impl InForce {
    /// A word of the switches that other CPUs and the command line write too.
    #[inline(always)]
    fn word(&self, at: *const u64) -> &Word {
        // SAFETY: a field of the map's value, aligned as words are, and written in one step by all.
        unsafe { &*at.cast::<Word>() }
    }
}

impl Buckets for InForce {
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        Caught.bucket(number)
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        Caught.secret()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        Caught.now()
    }
}

impl Cells for InForce {
    #[inline(always)]
    fn made(&self) {
        // SAFETY: places of fields, of which nothing is read.
        let (flags, caught) =
            unsafe { (&raw const (*self.switches).flags, &raw const (*self.switches).caught) };
        self.word(caught).add(1);
        // The flags are the lower half of their word. They are set behind the entry: a command that clears
        // this one because there is no entry looks once more afterwards.
        self.word(flags.cast()).set(flag::CAUGHT.into());
    }

    #[inline(always)]
    fn lost(&self, now: u64) {
        // SAFETY: as above.
        let (lost, last) = unsafe {
            (&raw const (*self.switches).not_caught, &raw const (*self.switches).last_not_caught)
        };
        self.word(lost).add(1);
        self.word(last).store(now);
    }

    #[inline(always)]
    fn latest(&self) -> u64 {
        if self.deadline == 0 { u64::MAX } else { self.deadline }
    }
}
