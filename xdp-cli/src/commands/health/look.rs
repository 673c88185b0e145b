//! Looks at what is attached, for what there is to check, and writes down what was found; and has the kernel keep the
//! next hops of services fresh again where it has forgotten them. This may take a while, so a thread of its own does it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::agent::health::keeper::Planned;
use crate::agent::health::plan::Targets;
use crate::agent::health::report::{self, Report};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::change::next_hops;
use crate::datapath::error::{Context as _, Error, Result};
use crate::notation::{plain, word};

/// Time between two looks: this long it may take until a reload is noticed.
const PAUSE: Duration = Duration::from_secs(1);
/// How often to look again where a reload comes between asking which ruleset is in force and
/// reading it.
const ATTEMPTS: u32 = 100;

/// What there is to check, and what is wrong.
pub struct Looked {
    pub planned: Vec<Planned<Attachment>>,
    pub problems: Vec<Error>,
}

pub struct Looker {
    /// Only this interface.
    only: Option<String>,
    /// What was planned last: for each attachment, its link's id, and the id of the image's map.
    seen: Option<BTreeMap<String, (u32, u32)>>,
    /// Where the state of each lies.
    directories: BTreeMap<String, PathBuf>,
}

impl Looker {
    pub fn new(only: Option<String>) -> Self {
        Self { only, seen: None, directories: BTreeMap::new() }
    }

    /// What there is to check; `None` where that is as it was.
    pub fn look(&mut self) -> Result<Option<Looked>> {
        let all = self.attachments()?;
        let mut seen = BTreeMap::new();
        for attachment in &all {
            let in_force = attachment.in_force().map_or(0, |it| it.map_id);
            seen.insert(attachment.key().to_string(), (attachment.link_id(), in_force));
        }
        if self.seen.as_ref() == Some(&seen) {
            return Ok(None);
        }
        let mut looked = Looked { planned: Vec::new(), problems: Vec::new() };
        self.directories.clear();
        for attachment in all {
            match self.planned(attachment) {
                Ok(Some(planned)) => looked.planned.push(planned),
                Ok(None) => {}
                Err(problem) => looked.problems.push(problem),
            }
        }
        self.seen = Some(seen);
        Ok(Some(looked))
    }

    /// The attachments whose services can be checked.
    fn attachments(&self) -> Result<Vec<Attachment>> {
        let Some(namespace) = Namespace::look()? else { return Ok(Vec::new()) };
        let attached = namespace.attachments()?;
        let only = match &self.only {
            None => None,
            // Nothing is there until it is attached.
            Some(name) => match attached.find(name)? {
                Some(attachment) => Some(attachment.key()),
                None => return Ok(Vec::new()),
            },
        };
        let all = attached.into_all().into_iter();
        // A NIC has no services.
        let can_serve = |it: &Attachment| it.readable().is_ok() && it.ifindex().is_some();
        Ok(all.filter(|it| only.is_none_or(|key| it.key() == key) && can_serve(it)).collect())
    }

    /// When a cable was out, the kernel has forgotten the next hops beyond it.
    fn keep_next_hops(&self) -> Result<()> {
        let all = self.attachments()?;
        let mut forgotten = all.iter().map(next_hops::unmanaged);
        let is_any = forgotten.any(|it| it.is_ok_and(|hops| !hops.is_empty()));
        drop(all);
        if !is_any {
            return Ok(());
        }
        // Another command may detach them meanwhile. Whoever has the lock is done in a moment.
        let Some(_locked) = Namespace::try_lock()? else { return Ok(()) };
        for attachment in self.attachments()? {
            next_hops::manage_again(&attachment)
                .context("have the kernel keep next hops of services fresh")?;
        }
        Ok(())
    }

    fn planned(&mut self, attachment: Attachment) -> Result<Option<Planned<Attachment>>> {
        let Some(namespace) = Namespace::look()? else { return Ok(None) };
        for _ in 0..ATTEMPTS {
            let in_force = attachment.in_force_now()?;
            let Some(kept) = namespace.kept_ruleset(attachment.key(), &in_force)? else {
                if attachment.in_force_now()?.generation != in_force.generation {
                    continue;
                }
                break;
            };
            let key = attachment.key().to_string();
            let mut before = None;
            if let Some(directory) = namespace.notes_directory(attachment.key())? {
                before = report::read(&directory)?;
                self.directories.insert(key.clone(), directory);
            }
            let targets = Targets::of(&kept.ruleset, attachment.ifindex().unwrap_or(0));
            return Ok(Some(Planned { key, states: attachment, targets, before }));
        }
        let name = plain(&attachment.name());
        let as_word = word(&name);
        Err(Error::new(format!(
            "the ruleset in force on {name} is not kept any more: nothing is checked there"
        ))
        .hint(format!("`xdpctl reload {as_word}` keeps it again")))
    }

    /// Looks again and again, and writes what was found in between, until nobody sends any more.
    pub fn run(
        mut self,
        reports: &Receiver<BTreeMap<String, Report>>,
        tell: impl Fn(Result<Looked>),
    ) {
        let mut next = Instant::now() + PAUSE;
        loop {
            match reports.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(reports) => {
                    if let Err(error) = self.write(&reports) {
                        tell(Err(error));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next {
                if let Err(error) = self.keep_next_hops() {
                    tell(Err(error));
                }
                match self.look() {
                    Ok(None) => {}
                    Ok(Some(looked)) => tell(Ok(looked)),
                    Err(error) => tell(Err(error)),
                }
                next = Instant::now() + PAUSE;
            }
        }
    }

    /// Writes what was found on each interface.
    fn write(&self, reports: &BTreeMap<String, Report>) -> Result<()> {
        if self.directories.is_empty() {
            return Ok(());
        }
        // With the lock, no command removes a directory meanwhile. Who has it now is done in a
        // moment, and there is another report in a second.
        let Some(_locked) = Namespace::try_lock()? else { return Ok(()) };
        for (key, report) in reports {
            if let Some(directory) = self.directories.get(key).filter(|it| it.is_dir()) {
                report::write(directory, report)?;
            }
        }
        Ok(())
    }
}
