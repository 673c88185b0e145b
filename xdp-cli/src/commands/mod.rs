//! One command a file: settings in, exit status out.

pub mod attach;
pub mod backend;
pub mod bans;
pub mod block;
pub mod bypass;
pub mod capture;
pub mod check;
pub mod completions;
mod configuration;
pub mod confirm;
pub mod detach;
pub mod explain;
pub mod health;
mod holders;
pub mod limits;
mod lockout;
pub mod lookup;
pub mod man;
pub mod metrics;
pub mod monitor;
mod named;
mod prefixes;
pub mod reload;
pub mod services;
pub mod show;
mod shrink;
pub mod stats;
pub mod status;
mod told;
pub mod top;
pub mod unblock;

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::namespace::{Locked, Namespace};
use crate::datapath::change::outcome::Deferred;
use crate::datapath::change::sweep::{self, Swept};
use crate::datapath::error::Error;
use crate::datapath::host::waiting;
use crate::event::What;
use crate::logging;
use crate::notation::{memory, took};
use crate::report::Reporter;

/// Where a command prints.
pub struct Session<'a> {
    pub out: &'a mut dyn Write,
    pub reporter: Reporter<'a>,
    /// Whether `out` shows colours.
    pub colours: bool,
    /// Whether something that was done could not be told on `out`: then it is not tried again.
    pub is_untold: bool,
}

impl Session<'_> {
    /// Prints what was done. It stays done if that cannot be written: then a warning says so.
    fn print_done(&mut self, text: fmt::Arguments<'_>) {
        if !self.is_untold {
            let written = self.out.write_fmt(text);
            self.done(written);
        }
    }

    /// Takes note of whether what was done could be written.
    fn done(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        self.is_untold = true;
        // Who has stopped reading does not want to know.
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.reporter.warning(
                &format!("it is done, but that cannot be written to the output: {error}"),
                Some("`xdpctl status` says what is in force"),
            );
        }
    }

    fn print(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.out.write_fmt(text).map_err(Failure::from_output)
    }

    /// Does `work` while no other command changes this network namespace. Until it has the lock,
    /// says which command it waits for.
    ///
    /// Meanwhile `work` must not print, or read a configuration: output that nobody reads, or a
    /// file that never ends, would stop every other command. So `work` cannot reach the session,
    /// which is borrowed here, and has to return what there is to say. Log lines are kept back and
    /// written afterwards.
    fn locked<T>(&mut self, work: impl FnOnce(Locked) -> Result<T, Error>) -> Result<T, Error> {
        let _kept_back = logging::keep_back();
        let (reporter, begun) = (&mut self.reporter, Instant::now());
        let namespace = Namespace::lock(&mut |holder| {
            reporter.note(&format!("waiting for {}", waiting::named(holder)), None);
        })?;
        let locked = Instant::now();
        let waited = took(locked.duration_since(begun));
        log::info!("locked this network namespace for other commands after {waited}");
        let result = work(namespace);
        log::info!("unlocked it after {}", took(locked.elapsed()));
        result
    }

    /// As [`Self::locked`], but only if no other command has the lock; `None` otherwise.
    fn locked_at_once<T>(
        &mut self,
        work: impl FnOnce(Locked) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let _kept_back = logging::keep_back();
        Namespace::try_lock()?.map(work).transpose()
    }

    /// Reports all errors but the last, and returns that for the command to end with.
    fn all_but_last(&mut self, mut errors: Vec<Error>) -> Option<Error> {
        let last = errors.pop();
        for error in errors {
            self.tell(&error);
        }
        last
    }

    /// Reports an error, and what else keeps the same thing from being done.
    pub fn tell(&mut self, error: &Error) {
        for one in error.each() {
            self.reporter.error(&one.message, one.hint.as_deref());
        }
    }
}

/// Why a command did not do what it was told to.
#[derive(Debug)]
pub enum Failure {
    /// Mistakes in a configuration, which were reported already: status 2.
    Configuration,
    /// It could not be done: status 1.
    Impossible(Error),
    /// Nobody reads the output any more, as in `xdpctl stats | head`: a good end.
    ClosedPipe,
}

impl Failure {
    /// The failure for output that cannot be written.
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

/// Runs a command. Once it has ended, removes what is left of network namespaces that no longer
/// exist, since no command can run in those.
pub fn then_sweep<T>(
    session: &mut Session<'_>,
    command: impl FnOnce(&mut Session<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // A command that fails sweeps too: where xdpctl was attached in the deleted namespace alone,
    // `detach --all` finds nothing here, and that must not be the reason why it stays.
    let done = command(session);
    // The command is done, so it does not fail if something cannot be removed.
    let swept = sweep::sweep().unwrap_or_else(|error| vec![Err(error)]);
    for one in swept {
        match one {
            Ok(Swept { interfaces, map_bytes }) => {
                let what = What::Sweep { interfaces: interfaces.clone(), map_bytes };
                told::tell([told::Done::elsewhere(what)]);
                let mut left = vec![format!("{} of maps", memory(map_bytes))];
                if !interfaces.is_empty() {
                    left.insert(0, interfaces.join(", "));
                }
                let told = "removed what was left of a network namespace that no longer exists";
                session.reporter.note(&format!("{told} ({})", left.join("; ")), None);
            }
            // What the command failed for is reported, and may be the same.
            Err(_) if done.is_err() => {}
            Err(error) => session.reporter.warning(
                &format!(
                    "a network namespace that no longer exists left something: {}",
                    error.message
                ),
                error.hint.as_deref().or(Some("the next command tries again")),
            ),
        }
    }
    done
}

/// How often a command starts over because another one was faster, before it gives up. Each time,
/// the other one has put a ruleset in force.
const ATTEMPTS: u32 = 50;

/// The error if others were faster each time.
fn outpaced() -> Error {
    Error::new("other commands put rulesets in force faster than this one could be made ready")
        .hint("nothing was changed: see what runs `xdpctl reload` or `attach` all the time")
}

/// The namespace and the attachment of one interface, for a command that only looks. Fails if
/// nothing is attached, or if the interface is in another network namespace now.
fn look_at(interface: &str) -> Result<(Namespace, Attachment), Error> {
    let namespace = Namespace::look()?.ok_or_else(|| not_attached(interface, &[]))?;
    let attachment = namespace.attachments()?.into_required_here(interface)?;
    Ok((namespace, attachment))
}

/// Reports what is left to do for a later command.
fn say_deferred(name: &str, deferred: &Deferred, session: &mut Session<'_>) {
    for error in &deferred.0 {
        session.reporter.warning(
            &format!("{name}: the ruleset is in force, but xdpctl {}", error.message),
            Some("the next `xdpctl reload` sees to it"),
        );
    }
}

fn nothing_attached() -> Error {
    Error::new("xdpctl is not attached to any interface of this network namespace")
        .hint("`xdpctl attach IFACE` attaches it")
}
