//! What happens on interfaces, found by comparing what is with what was, and matched with what
//! commands say that they did. Asks no kernel.
//!
//! A command changes something, and then says so. What was found and no command has said is told
//! after a while by itself: the command was killed in between, or it was not xdpctl's. So nothing is
//! missed, and nothing is told twice.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::prefix::IpPrefix;
use crate::event::{Changes, Event, Link, RULES, Target, Unconfirmed, What};
use crate::views::entries::Kind;

/// How long a command has to say what it did.
const GRACE: Duration = Duration::from_secs(3);

/// What is attached, by the keys of attachments.
pub type State = BTreeMap<String, Seen>;

/// An attachment at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The interface's name, or the last known one.
    pub name: String,
    /// The interface's index; the one that it had, where it is not here any more.
    pub ifindex: u32,
    pub link: Link,
    /// The kernel's ids of the XDP link and of the program.
    pub link_id: u32,
    pub program_id: u32,
    pub mode: String,
    pub generation: u64,
    pub config: String,
    /// The attachment waits to be confirmed.
    pub pending: bool,
    /// The ruleset in force waits to be confirmed.
    pub trial: bool,
    pub bypass: bool,
    pub targets: Vec<SeenTarget>,
    /// `None` where they are as they were at the look before.
    pub entries: Option<Entries>,
}

/// An interface that rules redirect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTarget {
    pub to: String,
    pub target: Target,
    pub rules: Vec<String>,
}

/// Run-time entries by prefix and owner.
pub type Entries = BTreeMap<(IpPrefix, String), Entry>;

/// A run-time entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub ends: Option<Instant>,
    /// When it was put, in milliseconds since 1970.
    pub created: u64,
    pub note: Option<String>,
}

impl Entry {
    /// Whether it is the same one. Its end is left out: it is read anew each time, by two clocks.
    fn is(&self, other: &Self) -> bool {
        (self.kind, self.created) == (other.kind, other.created)
            && self.ends.is_some() == other.ends.is_some()
    }
}

/// When a look took place, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub time: SystemTime,
    pub instant: Instant,
}

/// What was found, and no command has said yet.
struct Found {
    since: Instant,
    time: SystemTime,
    name: String,
    ifindex: u32,
    change: Change,
}

/// A change that a command makes.
enum Change {
    Appeared(What),
    Exchanged(What),
    Reloaded {
        generation: u64,
        config: String,
    },
    Vanished {
        was_pending: bool,
    },
    Confirmed {
        generation: Option<u64>,
    },
    /// The ruleset on trial gave way to the one before.
    WentBack {
        generation: u64,
    },
    Bypass(bool),
    Set {
        prefix: IpPrefix,
        owner: String,
        entry: Entry,
    },
    Unset {
        prefix: IpPrefix,
        owner: String,
    },
}

/// Knows what was, and tells what is different.
pub struct Watch {
    known: State,
    found: Vec<Found>,
    namespace: Option<String>,
}

impl Watch {
    /// Begins with what is: nothing of that is told.
    pub fn new(state: State, namespace: Option<String>) -> Self {
        Self { known: state, found: Vec::new(), namespace }
    }

    /// When the next entry ends, or something that was found is told.
    pub fn next(&self) -> Option<Instant> {
        let entries = self.known.values().filter_map(|seen| seen.entries.as_ref());
        let ends = entries.flat_map(BTreeMap::values).filter_map(|entry| entry.ends);
        ends.chain(self.found.iter().map(|found| found.since + GRACE)).min()
    }

    /// What an interface has become, as the kernel told it: it may have changed again by now.
    pub fn interface(&mut self, index: u32, name: &str, is_up: bool, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        for seen in self.known.values_mut() {
            let is_here = matches!(seen.link, Link::Up | Link::Down);
            if !is_here || seen.ifindex != index {
                continue;
            }
            if seen.name != name {
                let from = std::mem::replace(&mut seen.name, name.to_owned());
                let what = What::Link { link: Link::Renamed, from: Some(from) };
                events.push(on(seen, what, now, &self.namespace));
            }
            let link = if is_up { Link::Up } else { Link::Down };
            if seen.link != link {
                seen.link = link;
                let what = What::Link { link, from: None };
                events.push(on(seen, what, now, &self.namespace));
            }
        }
        events
    }

    /// Compares what is with what was. Returns what no command has to say: what became of
    /// interfaces, and entries that ended. The rest waits to be explained.
    pub fn look(&mut self, mut state: State, now: Now) -> Vec<Event> {
        let mut events = self.ended(now);
        let mut known = std::mem::take(&mut self.known);
        for (key, seen) in &mut state {
            match known.remove(key) {
                Some(before) if before.link_id == seen.link_id => {
                    self.compare(&before, seen, now, &mut events);
                    if seen.entries.is_none() {
                        seen.entries = before.entries;
                    }
                }
                other => {
                    if let Some(before) = other {
                        self.find(&before, Change::Vanished { was_pending: before.pending }, now);
                    }
                    self.find(seen, Change::Appeared(attach(seen, false)), now);
                }
            }
        }
        for before in known.into_values() {
            self.find(&before, Change::Vanished { was_pending: before.pending }, now);
        }
        self.known = state;
        events
    }

    fn compare(&mut self, before: &Seen, seen: &Seen, now: Now, events: &mut Vec<Event>) {
        let namespace = self.namespace.clone();
        let is_here = |seen: &Seen| matches!(seen.link, Link::Up | Link::Down);
        if is_here(before) && is_here(seen) && before.name != seen.name {
            let what = What::Link { link: Link::Renamed, from: Some(before.name.clone()) };
            events.push(on(seen, what, now, &namespace));
        }
        if before.link != seen.link {
            let what = What::Link { link: seen.link, from: None };
            events.push(on(seen, what, now, &namespace));
        }
        if before.pending && !seen.pending {
            self.find(seen, Change::Confirmed { generation: None }, now);
        }
        if before.bypass != seen.bypass {
            self.find(seen, Change::Bypass(seen.bypass), now);
        }
        if before.program_id != seen.program_id {
            self.find(seen, Change::Exchanged(attach(seen, true)), now);
        } else if before.trial && seen.generation < before.generation {
            self.find(seen, Change::WentBack { generation: seen.generation }, now);
        } else if before.generation != seen.generation {
            let (generation, config) = (seen.generation, seen.config.clone());
            self.find(seen, Change::Reloaded { generation, config }, now);
        } else {
            if before.trial && !seen.trial {
                let generation = Some(seen.generation);
                self.find(seen, Change::Confirmed { generation }, now);
            }
            // With another ruleset, its targets are others.
            for (before, after) in before.targets.iter().zip(&seen.targets) {
                if before.target != after.target {
                    let SeenTarget { to, target, rules } = after.clone();
                    events.push(on(seen, What::Target { to, target, rules }, now, &namespace));
                }
            }
        }
        let (Some(old), Some(new)) = (&before.entries, &seen.entries) else { return };
        for ((prefix, owner), entry) in new {
            if old.get(&(*prefix, owner.clone())).is_some_and(|before| before.is(entry)) {
                continue;
            }
            let (prefix, owner, entry) = (*prefix, owner.clone(), entry.clone());
            self.find(seen, Change::Set { prefix, owner, entry }, now);
        }
        for (prefix, owner) in old.keys().filter(|key| !new.contains_key(*key)) {
            let (prefix, owner) = (*prefix, owner.clone());
            self.find(seen, Change::Unset { prefix, owner }, now);
        }
    }

    fn find(&mut self, seen: &Seen, change: Change, now: Now) {
        let Seen { name, ifindex, .. } = seen;
        let (name, ifindex) = (name.clone(), *ifindex);
        self.found.push(Found { since: now.instant, time: now.time, name, ifindex, change });
    }

    /// The entries whose time is over.
    fn ended(&mut self, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        for seen in self.known.values_mut() {
            let Some(mut entries) = seen.entries.take() else { continue };
            entries.retain(|(prefix, owner), entry| {
                let is_over = entry.ends.is_some_and(|ends| ends <= now.instant);
                if is_over {
                    let (kind, note) = (entry.kind, entry.note.clone());
                    let (prefix, owner) = (prefix.to_string(), owner.clone());
                    let what = What::Ended { kind, owner, prefix, note };
                    events.push(on(seen, what, now, &self.namespace));
                }
                !is_over
            });
            seen.entries = Some(entries);
        }
        events
    }

    /// Takes what a command said as the reason for what was found.
    pub fn said(&mut self, event: &Event) {
        let created = millis(event.time);
        self.found.retain(|found| {
            let is_there = match event.ifindex {
                Some(index) => index == found.ifindex,
                None => event.interface.as_ref() == Some(&found.name),
            };
            !(is_there && explains(&event.what, created, &found.change))
        });
    }

    /// What was found, and no command has said in time.
    pub fn unsaid(&mut self, now: Now) -> Vec<Event> {
        let is_due = |found: &Found| {
            // The program itself says nothing.
            matches!(&found.change, Change::Set { owner, .. } if owner.starts_with(RULES))
                || now.instant.duration_since(found.since) >= GRACE
        };
        let (due, rest) = std::mem::take(&mut self.found).into_iter().partition(is_due);
        self.found = rest;
        // Entries that one command put are one event.
        let mut events: Vec<(Event, Vec<IpPrefix>)> = Vec::new();
        for Found { since, time, name, ifindex, change } in due {
            let (what, prefixes) = told(change, since);
            let same = events.iter_mut().find(|(event, _)| {
                !prefixes.is_empty()
                    && event.what == what
                    && (event.ifindex, event.time) == (Some(ifindex), time)
            });
            match same {
                Some((_, all)) => all.extend(prefixes),
                None => {
                    let (interface, ifindex) = (Some(name), Some(ifindex));
                    let namespace = self.namespace.clone();
                    let event = Event { time, interface, ifindex, what, by: None, namespace };
                    events.push((event, prefixes));
                }
            }
        }
        events.into_iter().map(|(event, prefixes)| with(event, &prefixes)).collect()
    }
}

/// An event on an attachment, which nobody did.
fn on(seen: &Seen, what: What, now: Now, namespace: &Option<String>) -> Event {
    Event {
        time: now.time,
        interface: Some(seen.name.clone()),
        ifindex: Some(seen.ifindex),
        what,
        by: None,
        namespace: namespace.clone(),
    }
}

fn attach(seen: &Seen, replaced: bool) -> What {
    What::Attach {
        mode: seen.mode.clone(),
        generation: seen.generation,
        config: seen.config.clone(),
        replaced,
        confirm_seconds: None,
        restored: 0,
    }
}

/// Whether a command that did `what` made that change.
fn explains(what: &What, created: u64, change: &Change) -> bool {
    match (what, change) {
        (What::Attach { .. }, Change::Appeared(_) | Change::Exchanged(_)) => true,
        (What::Attach { generation, .. }, Change::Reloaded { generation: found, .. }) => {
            found <= generation
        }
        (What::Reload { generation, .. }, Change::Reloaded { generation: found, .. }) => {
            generation == found
        }
        (What::Detach { .. } | What::Rollback { .. }, Change::Vanished { .. }) => true,
        (What::Confirm { generation }, Change::Confirmed { generation: found }) => {
            generation == found
        }
        (What::Rollback { generation, .. }, Change::WentBack { generation: found }) => {
            *generation == Some(*found)
        }
        (What::Bypass { on }, Change::Bypass(found)) => on == found,
        (What::Set { kind, owner, .. }, Change::Set { owner: of, entry, .. }) => {
            (kind, owner, created) == (&entry.kind, of, entry.created)
        }
        (What::Unset { owner, count, prefixes }, Change::Unset { prefix, owner: of }) => {
            // Of many, only the first are named.
            let is_named = *count > prefixes.len() as u64 || prefixes.contains(&prefix.to_string());
            is_named && owner.as_ref().is_none_or(|owner| owner == of)
        }
        _ => false,
    }
}

/// What to tell of a change, without prefixes, and the prefix that it is about.
fn told(change: Change, since: Instant) -> (What, Vec<IpPrefix>) {
    let what = match change {
        Change::Appeared(what) | Change::Exchanged(what) => what,
        Change::Reloaded { generation, config } => {
            let changes = Changes::default();
            What::Reload { generation, config, changes, confirm_seconds: None }
        }
        Change::Vanished { was_pending: false } => What::Detach { moved: false },
        Change::Vanished { was_pending: true } => {
            What::Rollback { why: Unconfirmed::Killed, generation: None }
        }
        Change::WentBack { generation } => {
            What::Rollback { why: Unconfirmed::Timeout, generation: Some(generation) }
        }
        Change::Confirmed { generation } => What::Confirm { generation },
        Change::Bypass(on) => What::Bypass { on },
        Change::Set { prefix, owner, entry: Entry { kind, ends, note, .. } } => {
            let left = ends.map(|ends| ends.saturating_duration_since(since));
            let seconds = left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
            return (What::set(kind, &owner, seconds, note.as_deref(), &[]), vec![prefix]);
        }
        Change::Unset { prefix, owner } => return (What::unset(Some(&owner), &[]), vec![prefix]),
    };
    (what, Vec::new())
}

/// The event, about these prefixes.
fn with(mut event: Event, about: &[IpPrefix]) -> Event {
    event.what = match event.what {
        What::Set { kind, owner, for_seconds, note, .. } => {
            What::set(kind, &owner, for_seconds, note.as_deref(), about)
        }
        What::Unset { owner, .. } => What::unset(owner.as_deref(), about),
        other => other,
    };
    event
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
