//! Tells what a command did: the journal, and every `xdpctl monitor` of its network namespace.
//!
//! It is told once it is done and the lock is released, before anything is printed: a reader that
//! does not read must not keep it from the journal. Nothing here can fail the command.

use std::time::{Duration, SystemTime};

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::host::{actor, events, journal, netns};
use crate::event::{Event, What};
use crate::notation::json_line;
use crate::views::monitor::journal as view;

/// Something that this command did.
pub struct Done {
    time: SystemTime,
    interface: Option<(String, Option<u32>)>,
    what: What,
}

impl Done {
    /// On an interface, with that name and index.
    pub fn on(name: &str, ifindex: Option<u32>, what: What) -> Self {
        Self { time: SystemTime::now(), interface: Some((name.to_owned(), ifindex)), what }
    }

    /// On the interface of an attachment.
    pub fn to(attachment: &Attachment, what: What) -> Self {
        Self::on(&attachment.name(), attachment.ifindex(), what)
    }

    /// On no interface of this network namespace.
    pub fn elsewhere(what: What) -> Self {
        Self { time: SystemTime::now(), interface: None, what }
    }

    /// At another time than now.
    pub fn at(self, time: SystemTime) -> Self {
        Self { time, ..self }
    }
}

/// Tells all of it.
pub fn tell(all: impl IntoIterator<Item = Done>) {
    let mut all = all.into_iter().peekable();
    if all.peek().is_none() {
        return;
    }
    let (by, namespace) = (actor::current(), netns::name());
    for Done { time, interface, what } in all {
        let (interface, ifindex) = match interface {
            Some((name, ifindex)) => (Some(name), ifindex),
            None => (None, None),
        };
        let (by, namespace) = (Some(by.clone()), namespace.clone());
        let event = Event { time, interface, ifindex, what, by, namespace };
        let priority = view::priority(&event.what);
        journal::write(&view::fields(&event), priority, &view::message(&event));
        if let Ok(line) = json_line(&event) {
            events::send(&line);
        }
    }
}

/// A time to live in whole seconds, rounded up, so that it is never 0.
pub fn seconds(life: Duration) -> u64 {
    life.as_secs() + u64::from(life.subsec_nanos() > 0)
}
