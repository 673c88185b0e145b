//! `xdpctl confirm`, and the wait for it.

use std::io::{self, IsTerminal as _, Read as _, Stdin};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::{Failure, Session, told};
use crate::args::Confirm;
use crate::datapath::attached::pending::{self, Held};
use crate::datapath::attached::tried::{Now, Tried};
use crate::datapath::change::confirm::{self, Settled, Wish};
use crate::datapath::change::detach;
use crate::datapath::change::trial;
use crate::datapath::error::Error;
use crate::event::{Unconfirmed, What};
use crate::notation::{plain, word};
use crate::views::stats::stop::Stop;

/// The time between two looks whether another command has confirmed.
const PAUSE: Duration = Duration::from_millis(100);

/// Confirms what another command put in force for a while, so that it stays.
pub fn run(args: &Confirm, session: &mut Session<'_>) -> Result<(), Failure> {
    let (kept, deferred, done) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attachment = attached.require(&args.interface)?;
        if attachment.pending().is_some() {
            let deferred = confirm::keep(&namespace, attachment)?;
            let done = told::Done::to(attachment, What::Confirm { generation: None });
            return Ok((Kept::Attachment, deferred, done));
        }
        if attachment.trial().is_some() {
            let generation = attachment.in_force().map_or(0, |in_force| in_force.generation);
            let deferred = trial::keep(&namespace, attachment)?;
            let what = What::Confirm { generation: Some(generation) };
            let done = told::Done::to(attachment, what);
            return Ok((Kept::Ruleset { generation }, deferred, done));
        }
        Err(Error::new(format!(
            "nothing on {} waits to be confirmed: what is in force there stays",
            plain(&attachment.name())
        )))
    })?;
    told::tell([done]);
    super::say_deferred(&args.interface, &deferred, session);
    say_kept(&plain(&args.interface), kept, session);
    Ok(())
}

/// What was confirmed.
#[derive(Clone, Copy)]
enum Kept {
    Attachment,
    Ruleset { generation: u64 },
}

fn say_kept(name: &str, kept: Kept, session: &mut Session<'_>) {
    match kept {
        Kept::Attachment => {
            session.print_done(format_args!("confirmed {name}: it stays attached\n"));
        }
        Kept::Ruleset { generation } => session
            .print_done(format_args!("confirmed {name}: generation {generation} stays in force\n")),
    }
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
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Entered,
    /// Another command settled it.
    Elsewhere,
    TimeOver,
    Stopped,
}

impl End {
    fn wish(self) -> Wish {
        if self == Self::Entered { Wish::Keep } else { Wish::Undo }
    }

    /// What to tell of what became of it; `None` if another command did it, and told. `kept` and
    /// `back` are the generations of a ruleset that stays, and of the one that comes back.
    fn told(self, settled: Settled, kept: Option<u64>, back: Option<u64>) -> Option<What> {
        let rollback = |why| Some(What::Rollback { why, generation: back });
        match (settled, self) {
            (Settled::Kept, Self::Entered) => Some(What::Confirm { generation: kept }),
            (Settled::Undone, Self::Stopped) => rollback(Unconfirmed::Stopped),
            (Settled::Undone, _) => rollback(Unconfirmed::Timeout),
            (Settled::Kept | Settled::Gone, _) => None,
        }
    }
}

/// How long to wait, and what ends the wait early.
pub struct Limit<'s> {
    pub life: Duration,
    pub stop: &'s Stop,
    /// Since when the time runs.
    pub since: Instant,
}

/// Waits until the attachment is confirmed, and takes it off if it is not in time.
pub fn wait(
    name: &str,
    held: Held,
    limit: &Limit<'_>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let (told_of, name) = (name, plain(name));
    let life = humantime::format_duration(limit.life);
    let terminal = terminal();
    session.ask(&terminal, &name, limit, "it is taken off again", false);
    let end = until_settled(&terminal, limit, || !pending::is_noted(&held.state));
    let Held { key, link_id, link, egress, .. } = held;
    let wish = end.wish();
    // Without a pin the program ends with this link, at once: what is left to be removed can wait for
    // another command, and the program must not. With a pin, another command has confirmed it.
    let links = Some((link, egress)).filter(|_| wish == Wish::Keep);
    let settled = session.locked(|namespace| {
        let settled = confirm::settle(&namespace, key, link_id, wish)?;
        if settled.0 == Settled::Undone {
            namespace.finish()?;
        }
        Ok(settled)
    });
    // Even if that failed: unless it was pinned, the attachment ends here.
    drop(links);
    let (settled, deferred) = settled?;
    super::say_deferred(told_of, &deferred, session);
    let settled = match (settled, &end) {
        // The kernel took it off when the link went, unless somebody else had before.
        (Settled::Gone, End::TimeOver | End::Stopped) => Settled::Undone,
        (settled, _) => settled,
    };
    let what = end.told(settled, None, None);
    told::tell(what.map(|what| told::Done::on(told_of, Some(key.ifindex()), what)));
    match (settled, end) {
        (Settled::Kept, _) => {
            say_kept(&name, Kept::Attachment, session);
            Ok(())
        }
        (Settled::Gone, _) => Err(gone(&name).into()),
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

/// Waits until the rulesets are confirmed. If they are not in time, the program has the ones before
/// in force again; if the wait is stopped, this puts them back. With `json`, what else is said goes
/// to standard error.
pub fn wait_for_rulesets(
    all: &[Tried],
    limit: &Limit<'_>,
    json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let life = humantime::format_duration(limit.life);
    let terminal = terminal();
    let (name, back) = match all {
        [one] => (plain(&one.name), format!("generation {} comes back", one.before)),
        _ => ("IFACE".into(), "the rulesets before come back".to_owned()),
    };
    session.ask(&terminal, &name, limit, &back, json);
    let waits = |tried: &Tried| tried.now() == Now::Waiting;
    let end = until_settled(&terminal, limit, || !all.iter().any(waits));
    let mut failed = Vec::new();
    for tried in all {
        let settled =
            session.locked(|namespace| confirm::settle_ruleset(&namespace, tried, end.wish()));
        let Tried { key, generation, before, .. } = tried;
        if let Ok((settled, _)) = &settled {
            let what = end.told(*settled, Some(*generation), Some(*before));
            told::tell(what.map(|what| told::Done::on(&tried.name, Some(key.ifindex()), what)));
        }
        let name = plain(&tried.name);
        let settled = settled.map(|(settled, deferred)| {
            super::say_deferred(&tried.name, &deferred, session);
            settled
        });
        match (settled, end) {
            (Ok(Settled::Kept), _) if json => {}
            (Ok(Settled::Kept), _) => {
                say_kept(&name, Kept::Ruleset { generation: *generation }, session);
            }
            (Ok(Settled::Gone), _) => failed.push(gone(&name)),
            (Ok(Settled::Undone), End::Stopped) => failed.push(Error::new(format!(
                "stopped before {name} was confirmed: generation {before} is in force again"
            ))),
            (Ok(Settled::Undone), _) => failed.push(Error::new(format!(
                "{name}: generation {generation} was not confirmed within {life}: generation {before} \
                 is in force again"
            ))),
            (Err(error), _) => failed.push(error),
        }
    }
    session.all_but_last(failed).map_or(Ok(()), |error| Err(error.into()))
}

fn gone(name: &str) -> Error {
    Error::new(format!("{name} was detached before it was confirmed"))
}

fn terminal() -> Option<Stdin> {
    Some(io::stdin()).filter(|stdin| stdin.is_terminal())
}

impl Session<'_> {
    /// Says how to confirm, and what happens `otherwise`. If nobody can read it, the wait shows that.
    fn ask(
        &mut self,
        terminal: &Option<Stdin>,
        name: &str,
        limit: &Limit<'_>,
        otherwise: &str,
        aside: bool,
    ) {
        let as_word = word(name);
        let life = humantime::format_duration(limit.life);
        let (enter, where_else) = match terminal {
            Some(_) => ("press Enter to keep it, or say ", "elsewhere, "),
            None => ("", "keeps it, "),
        };
        let told = format!(
            "{enter}`xdpctl confirm {as_word}` {where_else}within {life}; else {otherwise}"
        );
        if aside {
            self.reporter.note(&told, None);
        } else {
            let _ = self.print(format_args!("{told}\n"));
            let _ = self.out.flush();
        }
    }
}

/// Waits for Enter, for another command, for the end of the time, or to be stopped.
fn until_settled(terminal: &Option<Stdin>, limit: &Limit<'_>, elsewhere: impl Fn() -> bool) -> End {
    let deadline = limit.since + limit.life;
    loop {
        if limit.stop.is_set() {
            return End::Stopped;
        }
        if elsewhere() {
            return End::Elsewhere;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return End::TimeOver;
        }
        let pause = left.min(PAUSE);
        match terminal.as_ref().map(|stdin| typed(stdin, pause)) {
            Some(Typed::Enter) => return End::Entered,
            Some(Typed::HungUp) => return End::Stopped,
            Some(Typed::Nothing) => {}
            Some(Typed::NotOurs) | None => {
                limit.stop.wait_until(Some(Instant::now() + pause));
            }
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
