//! `xdpctl monitor`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Failure, Session};
use crate::args::Monitor;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::Error;
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::events::Listener;
use crate::datapath::host::interface::{self, Interface};
use crate::datapath::host::links::Links;
use crate::datapath::host::netns;
use crate::datapath::maps::dynamic::{self, Mark, bypass};
use crate::event::{Event, Link, Target, What};
use crate::image::metadata::{Mode, Redirect};
use crate::notation::plain;
use crate::ruleset::RedirectTarget;
use crate::views::monitor::{json, text};
use crate::views::stats::stop::Stop;
use crate::watch::{Entry, Now, Seen, SeenTarget, State, Watch};

/// Most time between two looks: this long it may take until something is noticed that nobody told.
const PAUSE: Duration = Duration::from_secs(1);
/// How many looks may fail one after the other. One may, where a command changes things meanwhile.
const FAILURES: u32 = 10;

/// Tells what happens, until Ctrl-C. Needs no lock, and changes nothing.
pub fn run(args: &Monitor, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    // Privileges first, so that a lack of them gets its own message.
    Namespace::look()?;
    // Before the first look: then nothing gets lost in between.
    let listen = |error: io::Error| Error::new(format!("cannot listen to what happens: {error}"));
    let (mut told, mut links) = (Listener::open().map_err(listen)?, Links::open().map_err(listen)?);
    let mut eyes = Eyes::default();
    let state = eyes.look(true)?;
    let (mut only, missing) = match args.interface.as_deref().map(canonical).transpose()? {
        Some((name, missing)) => (Some(name), missing),
        None => (None, None),
    };
    say_begun(&state, only.as_deref(), missing.as_ref(), session);
    let mut watch = Watch::new(state, netns::name());
    let mut failures = 0;
    while !stop.is_set() {
        let left = watch.next().map(|next| next.saturating_duration_since(Instant::now()));
        wait(&told, &links, left.map_or(PAUSE, |left| left.min(PAUSE)))?;
        if stop.is_set() {
            break;
        }
        let said: Vec<Event> =
            told.take().map_err(listen)?.iter().filter_map(|it| read(it)).collect();
        let changed = links.take().map_err(listen)?;
        let now = || Now { time: SystemTime::now(), instant: Instant::now() };
        let mut events = Vec::new();
        for Interface { index, name, up, .. } in &changed {
            events.extend(watch.interface(*index, name, *up, now()));
        }
        match eyes.look(!said.is_empty()) {
            Ok(state) => {
                failures = 0;
                events.extend(watch.look(state, now()));
            }
            Err(error) if failures == FAILURES => return Err(error.into()),
            Err(error) => {
                failures += 1;
                log::debug!("looked in vain: {error}");
            }
        }
        for event in said {
            watch.said(&event);
            events.push(event);
        }
        events.extend(watch.unsaid(now()));
        events.sort_by_key(|event| event.time);
        for event in events.iter().filter(|event| is_wanted(event, &mut only)) {
            let write = if args.json { json::write } else { text::write };
            write(session.out, event).map_err(Failure::from_output)?;
        }
        session.out.flush().map_err(Failure::from_output)?;
    }
    Ok(())
}

/// The name proper of an interface, which may be given by an alternative one. It need not be there:
/// then the error says so.
fn canonical(name: &str) -> Result<(String, Option<Error>), Error> {
    match Interface::by_name(name) {
        Ok(interface) => Ok((interface.name, None)),
        Err(error @ interface::Error::NotFound { .. }) => Ok((name.to_owned(), Some(error.into()))),
        Err(error) => Err(error.into()),
    }
}

/// Says what is watched, on stderr: standard output has nothing but events. `missing` says that there is
/// no interface of the name that is asked for.
fn say_begun(
    state: &State,
    only: Option<&str>,
    missing: Option<&Error>,
    session: &mut Session<'_>,
) {
    let names: Vec<&str> = state.values().map(|seen| seen.name.as_str()).collect();
    match only {
        Some(name) if names.contains(&name) => {
            session.reporter.note(&format!("watching {}; Ctrl-C ends", plain(name)), None);
        }
        Some(name) => {
            let not_attached = Error::new(format!("xdpctl is not attached to {}", plain(name)));
            let Error { message, hint, .. } = missing.unwrap_or(&not_attached);
            let told = format!("{message}: waiting for that; Ctrl-C ends");
            session.reporter.warning(&told, hint.as_deref());
        }
        None if names.is_empty() => {
            session.reporter.note("watching; nothing is attached yet; Ctrl-C ends", None);
        }
        None => {
            let told = format!("watching {}; Ctrl-C ends", plain(&names.join(", ")));
            session.reporter.note(&told, None);
        }
    }
}

/// Whether an event is about the interface that was asked for; it is followed when it is renamed.
fn is_wanted(event: &Event, only: &mut Option<String>) -> bool {
    let Some(name) = only else { return true };
    if let What::Link { link: Link::Renamed, from: Some(from) } = &event.what
        && from == name
    {
        *only = event.interface.clone();
        return true;
    }
    event.interface.as_ref() == Some(name)
}

/// Waits until something comes.
fn wait(told: &Listener, links: &Links, most: Duration) -> Result<(), Error> {
    let mut asked = [
        PollFd::new(told.as_fd(), PollFlags::POLLIN),
        PollFd::new(links.as_fd(), PollFlags::POLLIN),
    ];
    // Rounded up: otherwise the last millisecond before an end would be spent on looks.
    let most = PollTimeout::try_from(most + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut asked, most) {
        // A signal, which the caller checks for.
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::new(format!("cannot wait for what happens: {errno}"))),
    }
}

/// An event as a command told it. What another version tells and this one does not know is found by
/// looking.
fn read(message: &[u8]) -> Option<Event> {
    serde_json::from_slice(message)
        .inspect_err(|error| log::debug!("an event cannot be read: {error}"))
        .ok()
}

/// Looks at what is attached, and remembers which entries it has read.
#[derive(Default)]
struct Eyes {
    /// For each key, the XDP link's id, and the mark of the entries that were read last.
    marks: BTreeMap<String, (u32, Mark)>,
}

impl Eyes {
    /// Everything that is attached. Entries are read only where they may have changed, or all of them
    /// are asked for.
    fn look(&mut self, all: bool) -> Result<State, Error> {
        let Some(namespace) = Namespace::look()? else {
            self.marks.clear();
            return Ok(State::new());
        };
        let attached = namespace.attachments()?;
        let mut state = State::new();
        for attachment in attached.iter() {
            let key = attachment.key().to_string();
            state.insert(key, self.seen(&namespace, &attached, attachment, all)?);
        }
        self.marks.retain(|key, _| state.contains_key(key));
        Ok(state)
    }

    fn seen(
        &mut self,
        namespace: &Namespace,
        attached: &Attachments,
        attachment: &Attachment,
        all: bool,
    ) -> Result<Seen, Error> {
        let carriers = attached.carriers();
        let metadata = attachment.in_force().map(|in_force| &in_force.metadata);
        let (mut bypass, mut entries) = (false, None);
        if let Ok((maps, _)) = attachment.readable() {
            bypass = bypass::is_on(maps)?;
            let key = attachment.key().to_string();
            let known = self.marks.get(&key).filter(|(link, _)| *link == attachment.link_id());
            let known = known.map(|(_, mark)| *mark);
            // `None` while a command changes them: then the next look reads them.
            if let Some(mark) = dynamic::mark(maps)?
                && (all || known != Some(mark))
            {
                let live = dynamic::live(maps, namespace.notes_directory(attachment.key())?)?;
                let live = live.into_iter().map(|live| {
                    let dynamic::Live { prefix, owner, kind, ends, created, note } = live;
                    ((prefix, owner), Entry { kind, ends, created, note })
                });
                entries = Some(live.collect());
                self.marks.insert(key, (attachment.link_id(), mark));
            }
        }
        let redirects = metadata.map(|metadata| metadata.redirects.as_slice()).unwrap_or_default();
        Ok(Seen {
            name: attachment.name(),
            ifindex: attachment.ifindex().unwrap_or(attachment.key().ifindex()),
            link: link(attachment, carriers),
            link_id: attachment.link_id(),
            program_id: attachment.program_id(),
            mode: attachment.mode().unwrap_or(Mode::Native).to_string(),
            generation: attachment.in_force().map_or(0, |in_force| in_force.generation),
            config: metadata.map_or_else(String::new, |it| it.loaded_from.display().to_string()),
            pending: attachment.pending().is_some(),
            trial: attachment.trial().is_some_and(|trial| trial.left.is_some()),
            bypass,
            targets: redirects.iter().map(|redirect| target(redirect, carriers)).collect(),
            entries,
        })
    }
}

fn link(attachment: &Attachment, carriers: &Carriers) -> Link {
    match attachment.ifindex().and_then(|index| carriers.by_index(index)) {
        Some(interface) if interface.up => Link::Up,
        Some(_) => Link::Down,
        None if attachment.is_moved() => Link::Moved,
        None if attachment.left().is_some() => Link::Stripped,
        None => Link::Gone,
    }
}

fn target(redirect: &Redirect, carriers: &Carriers) -> SeenTarget {
    let known = redirect.ifindex.and_then(|index| carriers.by_index(index));
    let target = match (known, &redirect.to) {
        (Some(interface), _) if interface.up => Target::Up,
        (Some(_), _) => Target::Down,
        (None, RedirectTarget::Name(name))
            if carriers.interfaces().iter().any(|interface| interface.name == *name) =>
        {
            Target::Back
        }
        (None, _) => Target::Gone,
    };
    SeenTarget { to: redirect.to.to_string(), target, rules: redirect.rules.clone() }
}
