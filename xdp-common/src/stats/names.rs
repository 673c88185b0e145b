//! Where a CPU works on a DNS message, and what it counts of those.

use crate::filter::effect::Effect;
use crate::lookup::names::Search;
use crate::packet::answer::Answer;
use crate::packet::dns::{Message, Unreadable};
use crate::stats::counter::Counter;

/// The value of the map `NAMES`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Names {
    /// Messages whose question could not be read, by [`Unreadable`].
    pub unreadable: [Counter; Unreadable::COUNT],
    pub message: Message,
    pub search: Search,
    pub answer: Answer,
}

impl Names {
    /// Counts a message whose question could not be read.
    #[inline(always)]
    pub fn count(&mut self, effect: &Effect, bytes: u32) {
        if let Some(counter) = self.unreadable.get_mut(effect.unreadable.wrapping_sub(1) as usize) {
            counter.packets += 1;
            counter.bytes += u64::from(bytes);
        }
    }
}
