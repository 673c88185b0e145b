//! What a change came to, for whoever tells it.

use crate::datapath::attached::pending::Held;
use crate::datapath::change::redirect_targets::Outcome;
use crate::datapath::error::{Error, Result};
use crate::datapath::host::interface::Mode;

/// What attaching came to.
pub struct Attached {
    /// What ends with this command, where it is to be confirmed.
    pub held: Option<Held>,
    pub mode: Mode,
    /// Better modes, and why they could not be had.
    pub instead_of: Vec<(Mode, String)>,
    pub generation: u64,
    pub redirects: Vec<Outcome>,
    /// What the program before had and this one has not, each a sentence.
    pub lost: Vec<&'static str>,
    /// How many run-time entries that outlive a restart were put back, or why not all of them.
    pub restored: Result<u64>,
    pub deferred: Deferred,
}

/// What a reload came to.
pub struct Reloaded {
    pub generation: u64,
    pub redirects: Vec<Outcome>,
    pub deferred: Deferred,
}

/// What detaching came to.
pub struct Detached {
    /// The interface's name, or the last that is known.
    pub name: String,
    /// It was taken off an interface of another network namespace.
    pub was_moved: bool,
}

/// What could not be done after the ruleset was in force. Nothing of it has to do with how packets
/// are judged, it cannot be taken back, and the next reload does it: so it is no failure.
#[derive(Debug, Default)]
pub struct Deferred(pub Vec<Error>);

impl Deferred {
    /// Keeps the error, if it is one.
    pub(super) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}
