//! The results of changes, for whoever reports them.

use crate::datapath::attached::pending::Held;
use crate::datapath::attached::tried::Tried;
use crate::datapath::change::redirect_targets::Outcome;
use crate::datapath::error::{Error, Result};
use crate::datapath::host::interface::Mode;

/// The result of an attach.
pub struct Attached {
    /// Where it has to be confirmed: what keeps the program attached until then.
    pub held: Option<Held>,
    pub mode: Mode,
    /// Better modes, and why they could not be had.
    pub instead_of: Vec<(Mode, String)>,
    pub generation: u64,
    pub redirects: Vec<Outcome>,
    /// What was not taken over from the program before, each a sentence.
    pub lost: Vec<&'static str>,
    /// How many run-time entries that outlive a restart were put back, or why not all were.
    pub restored: Result<u64>,
    pub deferred: Deferred,
}

/// The result of a reload.
pub struct Reloaded {
    pub generation: u64,
    /// Where it has to be confirmed: what to wait for.
    pub tried: Option<Tried>,
    pub redirects: Vec<Outcome>,
    pub deferred: Deferred,
}

/// The result of a detach.
pub struct Detached {
    /// The interface's name, or the last known one.
    pub name: String,
    /// The interface's index; `None` where it is not in this network namespace.
    pub ifindex: Option<u32>,
    /// It was taken off an interface of another network namespace.
    pub was_moved: bool,
}

/// What could not be done after the ruleset was in force. None of it affects how packets are
/// judged, the ruleset cannot be taken back any more, and the next reload does what is left: so it
/// is no failure.
#[derive(Debug, Default)]
pub struct Deferred(pub Vec<Error>);

impl Deferred {
    /// Keeps the error, if it is one.
    pub(super) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}
