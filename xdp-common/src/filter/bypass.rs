//! The emergency switch: while it is on, everything passes, before anything else is asked.

use crate::filter::dynamic::DynamicEntries;
use crate::filter::effect::{Stage, decide};
use crate::stats::verdict::{Reason, Verdict};

/// Lets every frame pass, malformed ones too, while the switch is on.
#[inline(always)]
pub fn judge<E: DynamicEntries>(entries: &E) -> Stage {
    if entries.bypass() {
        return decide(Verdict::Pass, Reason::Bypass);
    }
    Stage::Continue(())
}
