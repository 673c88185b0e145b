//! `xdpctl confirm`, and the wait for it.

use std::io::{self, IsTerminal as _, Read as _, Stdin};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::{Failure, Session};
use crate::args::Confirm;
use crate::datapath::attached::pending::{self, Held};
use crate::datapath::change::confirm::{self, Settled, Wish};
use crate::datapath::change::detach;
use crate::datapath::error::Error;
use crate::notation::plain;
use crate::views::stats::stop::Stop;

/// The time between two looks whether another command has confirmed.
const PAUSE: Duration = Duration::from_millis(100);

/// Confirms what another command attached for a while, so that it stays.
pub fn run(args: &Confirm, session: &mut Session<'_>) -> Result<(), Failure> {
    session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attachment = attached.require(&args.interface)?;
        if attachment.pending().is_none() {
            return Err(Error::new(format!(
                "nothing on {} waits to be confirmed: what is attached there stays",
                plain(&attachment.name())
            )));
        }
        confirm::keep(&namespace, attachment)
    })?;
    session.print(format_args!("confirmed {}: it stays attached\n", plain(&args.interface)))
}

/// Catches the signals that stop the wait. Called before anything is attached that they could leave
/// behind.
pub fn listen() -> Result<Stop, Error> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot heed signals: {error}")))?;
    for ignored in [Signal::SIGTSTP, Signal::SIGTTIN] {
        // SAFETY: no handler is installed: the signal is ignored.
        unsafe { signal(ignored, SigHandler::SigIgn) }.map_err(|error| {
            // Otherwise Ctrl-Z would stop the wait, and with it the limit on its time.
            Error::new(format!("cannot ignore {ignored}: {error}"))
        })?;
    }
    Ok(stop)
}

/// Why the wait ended.
enum End {
    Entered,
    /// Another command confirmed the attachment, or took it off.
    Elsewhere,
    TimeOver,
    Stopped,
}

/// Waits until the attachment is confirmed, and takes it off if it is not in time.
pub fn wait(
    name: &str,
    held: Held,
    life: Duration,
    stop: &Stop,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + life;
    let name = plain(name);
    let life = humantime::format_duration(life);
    let terminal = Some(io::stdin()).filter(|stdin| stdin.is_terminal());
    let enter = if terminal.is_some() { "press Enter to keep it, or say " } else { "" };
    // If the terminal is gone, reading from it shows that below.
    let _ = session.print(format_args!(
        "{enter}`xdpctl confirm {name}` {}within {life}; else it is taken off again\n",
        if terminal.is_some() { "elsewhere, " } else { "keeps it, " }
    ));
    let _ = session.out.flush();
    let end = loop {
        if stop.is_set() {
            break End::Stopped;
        }
        if !pending::is_noted(&held.state) {
            break End::Elsewhere;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break End::TimeOver;
        }
        let pause = left.min(PAUSE);
        match terminal.as_ref().map(|stdin| typed(stdin, pause)) {
            Some(Typed::Enter) => break End::Entered,
            Some(Typed::HungUp) => break End::Stopped,
            Some(Typed::Nothing) => {}
            Some(Typed::NotOurs) | None => {
                stop.wait_until(Some(Instant::now() + pause));
            }
        }
    };
    let Held { key, link_id, link, .. } = held;
    let wish = if matches!(end, End::Entered) { Wish::Keep } else { Wish::Undo };
    // Without a pin the program ends with this link, at once: what is left to be removed can wait for
    // another command, and the program must not. With a pin, another command has confirmed it.
    let link = Some(link).filter(|_| wish == Wish::Keep);
    let settled = session.locked(|namespace| {
        let settled = confirm::settle(&namespace, key, link_id, wish)?;
        if settled == Settled::Undone {
            namespace.finish()?;
        }
        Ok(settled)
    });
    // Even if that failed: unless it was pinned, the attachment ends here.
    drop(link);
    let settled = match (settled?, &end) {
        // The kernel took it off when the link went, unless somebody else had before.
        (Settled::Gone, End::TimeOver | End::Stopped) => Settled::Undone,
        (settled, _) => settled,
    };
    match (settled, end) {
        (Settled::Kept, _) => session.print(format_args!("confirmed {name}: it stays attached\n")),
        (Settled::Gone, _) => {
            Err(Error::new(format!("{name} was detached before it was confirmed")).into())
        }
        (Settled::Undone, End::Stopped) => {
            let told = format!("stopped before {name} was confirmed: it is detached again");
            Err(Error::new(told).into())
        }
        (Settled::Undone, _) => {
            let told = format!("{name} was not confirmed within {life}: it is detached again");
            Err(Error::new(told).into())
        }
    }
}

enum Typed {
    Enter,
    Nothing,
    HungUp,
    /// The shell runs this command in the background, so the terminal is another's.
    NotOurs,
}

/// Waits for something to be typed.
fn typed(stdin: &Stdin, within: Duration) -> Typed {
    let in_front = tcgetpgrp(stdin).is_ok_and(|group| group == getpgrp());
    let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    // Also polled if the terminal is another's, since that shows when it hangs up.
    let within = if in_front { within } else { Duration::ZERO };
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO);
    match poll(&mut asked, within) {
        // An error is a signal, which the caller checks for.
        Err(_) | Ok(0) if in_front => return Typed::Nothing,
        Err(_) | Ok(0) => return Typed::NotOurs,
        Ok(_) => {}
    }
    let flags = asked[0].revents().unwrap_or(PollFlags::empty());
    if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Typed::HungUp;
    }
    if !in_front {
        return Typed::NotOurs;
    }
    // The terminal gives a line at a time.
    let mut line = [0; 256];
    match stdin.lock().read(&mut line) {
        Ok(0) | Err(_) => Typed::HungUp,
        Ok(length) if line[..length].contains(&b'\n') => Typed::Enter,
        Ok(_) => Typed::Nothing,
    }
}
