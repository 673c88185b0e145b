//! `xdpctl top`.

mod sampler;
mod terminal;

use std::env;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use log::LevelFilter;
use ratatui::crossterm::event::{self, Event};

use super::{Failure, Session, block, look_at, stats, then_sweep};
use crate::args::{self, Prefixes, Put};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::capture::Capture;
use crate::datapath::error::Error;
use crate::notation::{plain, word};
use crate::report::Reporter;
use crate::views::stats::Sample;
use crate::views::stats::stop::Stop;
use crate::views::top::keys::Wish;
use crate::views::top::{Sampling, Top};
use sampler::Sampler;
use terminal::{Before, Screen, Side};

/// How often is looked for signals and for frames.
const LOOK: Duration = Duration::from_millis(100);
/// Keys that are taken before a picture is drawn.
const KEYS: usize = 1 << 10;
/// How long a source stays blocked.
const BLOCKED: Duration = Duration::from_secs(600);
/// Whose entries they are.
const OWNER: &str = "top";

/// Shows the picture until `q`.
pub fn run(args: &args::Top, session: &mut Session<'_>) -> Result<u8, Failure> {
    require_terminal(&args.interface, session)?;
    match terminal::fork_and_wait()? {
        Side::Waited(status) => Ok(status),
        Side::Drawing(before) => show(args, &before, session).map(|()| 0),
    }
}

/// Refuses to draw where nobody would see it.
fn require_terminal(interface: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let terminal = env::var("TERM").unwrap_or_default();
    let why = if !terminal::is_there() {
        "top needs a terminal, and standard input or output is none"
    } else if terminal.is_empty() {
        "top draws on the whole screen, and TERM does not say which terminal this is"
    } else if terminal == "dumb" {
        "top draws on the whole screen, which a terminal with TERM=dumb does not let it do"
    } else {
        return Ok(());
    };
    let hint = format!("`xdpctl stats {}` shows the same counters line by line", word(interface));
    session.reporter.error(why, Some(&hint));
    Err(Failure::Configuration)
}

fn show(args: &args::Top, before: &Before, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    let (_, attachment) = look_at(&args.interface)?;
    if let Some(error) = attachment.stranded() {
        return Err(error.into());
    }
    let name = attachment.name();
    let first = sample(&name)?;
    let sampler = begin(attachment, session);
    let colours = session.colours;
    let mut showing = Showing::new(args.interval, name, first, sampler, colours);
    let keys = read_keys().map_err(|error| Error::new(format!("cannot read keys: {error}")))?;
    // What is logged would be drawn over, and would move the picture.
    if terminal::is_on_stderr() {
        log::set_max_level(LevelFilter::Off);
    }
    let failed = |error: io::Error| Error::new(format!("cannot draw on the terminal: {error}"));
    let mut screen = Screen::open(before).map_err(failed)?;
    showing.follow(&mut screen, &keys, &stop)
}

/// Begins to sample, if there is room for another capture.
fn begin(attachment: Attachment, session: &mut Session<'_>) -> Sampled {
    match Sampler::begin(attachment, session) {
        Ok(sampler) => Sampled::On(Box::new(sampler)),
        Err(failed) => {
            let (attachment, error) = *failed;
            let is_full = matches!(Capture::has_room(&attachment), Ok(false));
            let why = told(&error);
            if is_full { Sampled::NoRoom(Box::new(attachment), why) } else { Sampled::Off(why) }
        }
    }
}

/// The counters of one interface.
fn sample(name: &str) -> Result<Sample, Error> {
    stats::sample(Some(name))?.pop().ok_or_else(super::nothing_attached)
}

/// Reads keys on a thread of its own, which ends with the process: reading can wait for the rest of
/// a key's sequence, and does not end where the terminal hangs up.
fn read_keys() -> io::Result<Receiver<Event>> {
    let (sender, keys) = mpsc::sync_channel(KEYS);
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                break;
            }
        }
    })?;
    Ok(keys)
}

/// How it stands with the sample of sources.
enum Sampled {
    On(Box<Sampler>),
    /// Captures have all the places. One may end.
    NoRoom(Box<Attachment>, String),
    /// Not at all any more, and why.
    Off(String),
}

impl Sampled {
    fn as_shown(&self) -> Sampling {
        match self {
            Self::On(sampler) => Sampling::OneIn(sampler.one_in()),
            Self::NoRoom(_, why) | Self::Off(why) => Sampling::Off(why.clone()),
        }
    }
}

/// A picture that goes on.
struct Showing {
    interval: Duration,
    name: String,
    top: Top,
    sampler: Sampled,
    /// When the counters were read.
    sampled: Instant,
}

impl Showing {
    fn new(
        interval: Duration,
        name: String,
        first: Sample,
        sampler: Sampled,
        colours: bool,
    ) -> Self {
        let top = Top::new(first, sampler.as_shown(), colours);
        Self { interval, name, top, sampler, sampled: Instant::now() }
    }

    /// Draws until a signal or a key ends it: after each interval, and after keys.
    fn follow(
        &mut self,
        screen: &mut Screen,
        keys: &Receiver<Event>,
        stop: &Stop,
    ) -> Result<(), Failure> {
        let mut is_changed = true;
        while !stop.is_set() && !terminal::hung_up() {
            if is_changed && let Err(error) = screen.draw(&self.top) {
                // Nobody looks at a terminal that hung up.
                if terminal::hung_up() {
                    return Ok(());
                }
                return Err(Error::new(format!("cannot draw on the terminal: {error}")).into());
            }
            is_changed = false;
            let left = self.interval.saturating_sub(self.sampled.elapsed());
            match keys.recv_timeout(left.min(LOOK)) {
                Ok(first) => {
                    is_changed = true;
                    for event in [first].into_iter().chain(keys.try_iter().take(KEYS)) {
                        if self.take(event, screen)? {
                            return Ok(());
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new("keys cannot be read any more").into());
                }
            }
            self.attempt(Sampler::take);
            let elapsed = self.sampled.elapsed();
            if elapsed >= self.interval {
                self.sampled = Instant::now();
                self.top.count(sample(&self.name)?, elapsed);
                self.attempt(|sampler| quietly(|session| sampler.follow(session)).0);
                self.retry();
                if let Sampled::On(sampler) = &mut self.sampler {
                    let sources = sampler.rank();
                    self.top.rank(sources, Sampling::OneIn(sampler.one_in()));
                }
                is_changed = true;
            }
        }
        Ok(())
    }

    /// Does what a key asks for. Returns whether that is to end.
    fn take(&mut self, event: Event, screen: &mut Screen) -> Result<bool, Failure> {
        let Event::Key(key) = event else { return Ok(false) };
        match self.top.press(key) {
            None => {}
            Some(Wish::End) => return Ok(true),
            Some(Wish::Block(source)) => {
                // It may take a while, where another command has the lock.
                self.top.say(format!("blocking {source} on {} …", plain(&self.name)));
                let drawn = screen.draw(&self.top);
                drawn.map_err(|error| Error::new(format!("cannot draw: {error}")))?;
                self.top.say(block_source(&self.name, source));
            }
        }
        Ok(false)
    }

    /// Does something with the sampler. If that fails, the picture goes on without it.
    fn attempt(&mut self, work: impl FnOnce(&mut Sampler) -> Result<(), Error>) {
        let Sampled::On(sampler) = &mut self.sampler else { return };
        if let Err(error) = work(sampler) {
            self.sampler = Sampled::Off(told(&error));
            self.top.rank(Vec::new(), self.sampler.as_shown());
        }
    }

    /// Begins to sample where a capture has ended that had the place.
    fn retry(&mut self) {
        let Sampled::NoRoom(attachment, _) = &self.sampler else { return };
        if !Capture::has_room(attachment).unwrap_or(false) {
            return;
        }
        let (sampler, _) = quietly(|session| match look_at(&self.name) {
            Ok((_, attachment)) => begin(attachment, session),
            Err(error) => Sampled::Off(told(&error)),
        });
        self.sampler = sampler;
        self.top.rank(Vec::new(), self.sampler.as_shown());
    }
}

/// An error and what to do about it, on one line.
fn told(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message.clone(),
    }
}

/// Blocks a source as `xdpctl block` does, and returns what that says.
fn block_source(interface: &str, source: IpAddr) -> String {
    let prefixes =
        Prefixes { prefixes: vec![source.to_string()], all_interfaces: false, aggregate: None };
    let put = Put {
        interface: interface.to_owned(),
        prefixes,
        life: Some(BLOCKED),
        note: None,
        owner: OWNER.to_owned(),
        persist: false,
        catch_all: false,
    };
    let args = args::Block { put, force: false };
    let (_, said) = quietly(|session| {
        let result = then_sweep(session, |session| block::block(&args, session));
        if let Err(Failure::Impossible(error)) = &result {
            session.reporter.error(&error.message, error.hint.as_deref());
        }
    });
    said
}

/// Does what writes to a session, and returns what it wrote, to be shown in the picture.
fn quietly<T>(work: impl FnOnce(&mut Session<'_>) -> T) -> (T, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut session = Session {
        out: &mut out,
        reporter: Reporter::new(&mut err, false),
        colours: false,
        is_untold: false,
    };
    let done = work(&mut session);
    out.extend(err);
    (done, String::from_utf8_lossy(&out).trim_end().to_owned())
}
