//! One command a file: settings in, exit status out.

pub mod attach;
pub mod bans;
pub mod block;
pub mod check;
pub mod completions;
mod configuration;
pub mod detach;
pub mod explain;
pub mod lookup;
pub mod man;
mod prefixes;
pub mod reload;
pub mod stats;
pub mod status;
pub mod unblock;

use std::fmt;
use std::io::{self, Write};

use crate::datapath::attached::namespace::{Namespace, not_attached};
use crate::datapath::error::Error;
use crate::report::Reporter;

/// Where a command prints.
pub struct Session<'a> {
    pub out: &'a mut dyn Write,
    pub reporter: Reporter<'a>,
    /// Whether `out` shows colours.
    pub colours: bool,
}

impl Session<'_> {
    fn print(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.out.write_fmt(text).map_err(Failure::from_output)
    }
}

/// Why a command did not do what it was told to.
#[derive(Debug)]
pub enum Failure {
    /// Mistakes in a configuration, which were told already: status 2.
    Configuration,
    /// It could not be done: status 1.
    Impossible(Error),
    /// Nobody reads the output any more, as in `xdpctl stats | head`: a good end.
    ClosedPipe,
}

impl Failure {
    /// Output that cannot be written.
    pub fn from_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::Impossible(Error::new(format!("cannot write the output: {error}")))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Impossible(error)
    }
}

/// The namespace, for a command that only looks at one interface.
fn attached(interface: &str) -> Result<Namespace, Error> {
    Namespace::look()?.ok_or_else(|| not_attached(interface, &[]))
}

fn nothing_attached() -> Error {
    Error::new("xdpctl is not attached to any interface of this network namespace")
        .hint("`xdpctl attach IFACE` attaches it")
}
