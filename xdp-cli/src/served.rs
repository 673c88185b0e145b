//! Services as they stand in the kernel, as plain data.

use std::time::Duration;

use xdp_common::lookup::services::{Lost, State};
use xdp_common::stats::counter::Counter;

/// A service as it stands in the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct InKernel {
    pub name: String,
    pub mode: String,
    pub counter: Counter,
    /// By [`Lost`].
    pub losses: [Counter; Lost::ALL.len()],
    /// Places of its table, and how many of them had another backend before.
    pub places: usize,
    pub changed_places: usize,
    /// Whether checks are disregarded, for too few backends would be left.
    pub panics: bool,
    /// Whether connections are looked up: some backend is not up, or was not a short while ago.
    pub watches: bool,
    pub backends: Vec<BackendInKernel>,
}

/// A backend likewise.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendInKernel {
    pub name: String,
    pub counter: Counter,
    pub state: State,
    pub by: SaidBy,
    /// How long that holds yet; `None` for ever.
    pub left: Option<Duration>,
    /// What checks found; `None` where nothing is known.
    pub check: Option<bool>,
    /// How many places of the table are its own.
    pub places: usize,
    /// How many connections are remembered to be with it.
    pub connections: u64,
}

/// Who decides a backend's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaidBy {
    File,
    Command,
    Health,
}

impl SaidBy {
    /// As it is called in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Health => "health",
        }
    }
}
