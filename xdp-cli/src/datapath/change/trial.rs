//! A ruleset that is in force to be tried (`reload --confirm`): the program itself goes back to the
//! one before at the deadline in the image's header. Until somebody confirms it, what the ruleset
//! before needs stays as it was: its image, its redirect slots, its counters, its kept file, and the
//! pass programs on its targets.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::{fs, io};

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::outcome::Deferred;
use crate::datapath::change::{kernel, redirect_targets};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::maps::image::{self, Current, Standing};
use crate::image::metadata::Metadata;

/// What is on trial, for whoever waits until it is settled.
pub struct Tried {
    pub key: Key,
    /// The interface's name.
    pub name: String,
    /// The generations of the ruleset on trial, and of the one before.
    pub generation: u64,
    pub before: u64,
    pub(super) link_id: u32,
    /// The image before, and where to see which one is in force.
    pub(super) image_before: u32,
    ruleset: OwnedFd,
    /// The link's pin, which a detach removes.
    pin: PathBuf,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    Waiting,
    Confirmed,
    /// The ruleset before is in force again, or none.
    Over,
}

impl Tried {
    /// For a ruleset that is about to be put in force. No question is left for afterwards.
    pub(super) fn prepare(attachment: &Attachment, maps: &Maps, generation: u64) -> Result<Self> {
        let in_force = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
        Ok(Self {
            key: attachment.key(),
            name: attachment.name(),
            generation,
            before: in_force.generation,
            link_id: attachment.link_id(),
            image_before: in_force.map_id,
            pin: attachment.directory().join(LINK),
            ruleset: maps.ruleset.try_clone().context("keep a handle of the ruleset")?,
        })
    }

    /// Looks at what is in force. Where that cannot be told, it still waits.
    pub fn now(&self) -> Now {
        match Current::of(&self.ruleset).look() {
            Ok(Some((id, Standing::Settled))) if id != self.image_before => Now::Confirmed,
            Ok(Some((id, _))) if id == self.image_before => Now::Over,
            _ if self.is_detached() => Now::Over,
            _ => Now::Waiting,
        }
    }

    fn is_detached(&self) -> bool {
        fs::symlink_metadata(&self.pin).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// Has the ruleset on trial stay. What is left to be released afterwards may be deferred.
pub fn keep(namespace: &Locked, attachment: &Attachment) -> Result<Deferred> {
    let (maps, in_force) = attachment.readable()?;
    image::confirm(&maps.ruleset).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Error::new(format!(
            "it is too late to confirm {}: the ruleset before is in force again",
            attachment.name()
        )),
        _ => Error::new(format!("cannot confirm the ruleset: {error}")),
    })?;
    let mut deferred = Deferred::default();
    let stays = (in_force.generation, &in_force.metadata);
    release(namespace, attachment.key(), maps, stays, &mut deferred);
    deferred.note(settle_targets(namespace));
    Ok(deferred)
}

/// Puts the ruleset before back, whether the program has gone back to it already or not.
pub(super) fn undo(namespace: &Locked, attachment: &Attachment) -> Result<Deferred> {
    let (maps, _) = attachment.readable()?;
    image::take_back(&maps.ruleset).context("put the ruleset before back")?;
    let mut deferred = Deferred::default();
    if let Some(before) = attachment.trial().and_then(|trial| trial.before.as_ref()) {
        let stays = (before.generation, &before.metadata);
        release(namespace, attachment.key(), maps, stays, &mut deferred);
        deferred.note(
            kernel::empty_redirects(&maps.redirects, before.generation + 1)
                .context("forget the redirect targets of the ruleset on trial"),
        );
    }
    Ok(deferred)
}

/// Where a ruleset's time on trial is over, puts the one before in its place, as the program has gone
/// back to that one already. Says whether there were any.
pub(super) fn end(namespace: &Locked, attached: &Attachments) -> Result<bool> {
    let over = |it: &&Attachment| it.trial().is_some_and(|trial| trial.left.is_none());
    let mut any = false;
    for attachment in attached.iter().filter(over) {
        // What cannot be released now is released by the next reload.
        undo(namespace, attachment)?;
        any = true;
    }
    Ok(any)
}

/// Releases what all rulesets held but the one in force, which these are the generation and the
/// metadata of.
pub(super) fn release(
    namespace: &Locked,
    key: Key,
    maps: &Maps,
    (generation, metadata): (u64, &Metadata),
    deferred: &mut Deferred,
) {
    deferred.note(kernel::release(maps));
    kept_ruleset::keep_only(&namespace.state_directory(key), generation);
    deferred.note(
        kernel::drop_unused_counters(maps, metadata)
            .context("give back counters that are not used any more"),
    );
}

/// Leaves pass programs only on the targets of what is in force now.
pub(super) fn settle_targets(namespace: &Locked) -> Result<()> {
    let attached = namespace.attachments()?;
    let targets = redirect_targets::targets(attached.iter());
    redirect_targets::reconcile(namespace, &targets).map(drop)
}
