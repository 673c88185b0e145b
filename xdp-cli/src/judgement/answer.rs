//! What was made of a frame: by the program in the kernel, or by the same code here.

use xdp_common::image::Action;
use xdp_common::packet::Packet;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};

/// What was made of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The list that decided or only counts.
    pub list: CounterId,
    /// The counter of the run-time entry that decided, by its number; 0 where none did.
    pub entry: u32,
    /// What the rule that decided does.
    pub action: Option<Action>,
    /// What was read of the frame, unless it is malformed.
    pub packet: Option<Packet>,
    /// The frame as it goes on, where that is not as it came.
    pub changed: Option<Vec<u8>>,
}
