//! A ruleset that is in force to be tried (`reload --confirm`): the program itself goes back to the
//! one before at the deadline in the image's header. Until somebody confirms it, what the ruleset
//! before needs stays as it was: its image, its redirect slots, its counters, its kept file, and the
//! pass programs on its targets.

use std::io;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::outcome::Deferred;
use crate::datapath::change::{egress, kernel, redirect_targets};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::maps::image;
use crate::image::metadata::Metadata;

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
    release(namespace, attachment, maps, stays, &mut deferred);
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
        release(namespace, attachment, maps, stays, &mut deferred);
        deferred.note(kernel::settle_services(maps));
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
    attachment: &Attachment,
    maps: &Maps,
    (generation, metadata): (u64, &Metadata),
    deferred: &mut Deferred,
) {
    deferred.note(kernel::release(maps));
    kept_ruleset::keep_only(&namespace.state_directory(attachment.key()), generation);
    deferred.note(
        kernel::drop_unused_counters(maps, metadata)
            .context("give back counters that are not used any more"),
    );
    if let Some(ifindex) = attachment.ifindex().filter(|_| !metadata.passes_replies) {
        deferred.note(egress::release(attachment.directory(), ifindex, maps));
    }
}

/// Leaves pass programs only on the targets of what is in force now.
pub(super) fn settle_targets(namespace: &Locked) -> Result<()> {
    let attached = namespace.attachments()?;
    let targets = redirect_targets::targets(attached.iter());
    redirect_targets::reconcile(namespace, &targets).map(drop)
}
