//! Where a CPU works on a DNS message, and what it counts of those.

use crate::filter::effect::Effect;
use crate::lookup::names::Search;
use crate::packet::answer::Answer;
use crate::packet::dns::{Message, Unreadable};
use crate::stats::counter::Counter;
use crate::verifier::black_box;

/// A power of two.
const COUNTERS: usize = Unreadable::COUNT + 1;
const _: () = assert!(COUNTERS.is_power_of_two());

/// The value of the map `NAMES`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Names {
    /// Messages whose question could not be read, by the numbers of [`Unreadable`]: the first counts
    /// nothing.
    pub unreadable: [Counter; COUNTERS],
    pub message: Message,
    pub search: Search,
    pub answer: Answer,
}

impl Names {
    /// Counts a message whose question could not be read.
    #[inline(always)]
    pub fn count(&mut self, effect: &Effect, bytes: u32) {
        // Linux 6.1 takes nothing from a comparison with what the number is less 1, so it is masked.
        let number = black_box(effect.unreadable.into()) as usize & (COUNTERS - 1);
        let counter = &mut self.unreadable[number];
        counter.packets += 1;
        counter.bytes += u64::from(bytes);
    }
}
