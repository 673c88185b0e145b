//! What is in force for a while only, until somebody confirms it: an attachment, or a ruleset.

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::attached::pending;
use crate::datapath::attached::tried::Tried;
use crate::datapath::change::detach;
use crate::datapath::change::egress;
use crate::datapath::change::outcome::Deferred;
use crate::datapath::change::trial;
use crate::datapath::error::{Context, Result};
use crate::datapath::sys::bpf;

/// What is to become of what waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Keep,
    Undo,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It stays: by this command, or because another one confirmed it before.
    Kept,
    Undone,
    /// Somebody detached before.
    Gone,
}

/// Lets an attachment stay after the command that made it has ended. What is left to be done afterwards may be
/// deferred.
pub fn keep(namespace: &Locked, attachment: &Attachment) -> Result<Deferred> {
    let link = attachment.link()?;
    bpf::pin(&link, &attachment.directory().join(LINK)).context("pin the link")?;
    let mut deferred = Deferred::default();
    // The program at the egress ends with the command that waited: another one stays.
    if let (Ok((maps, in_force)), Some(ifindex)) = (attachment.readable(), attachment.ifindex())
        && egress::is_needed(in_force.needs)
    {
        let (directory, name) = (attachment.directory(), attachment.name());
        deferred.note(
            attachment
                .link_type()
                .and_then(|link_type| egress::provide(directory, &name, ifindex, link_type, maps)),
        );
    }
    // It is an attachment like any other now. The note means nothing any more, so it does no harm
    // where it cannot be removed.
    let _ = pending::remove(&namespace.state_directory(attachment.key()));
    Ok(deferred)
}

/// Keeps the attachment of that link, or takes it off; unless another command did either in the meantime.
pub fn settle(
    namespace: &Locked,
    key: Key,
    link_id: u32,
    wish: Wish,
) -> Result<(Settled, Deferred)> {
    let none = Deferred::default();
    let attached = detach::tidy(namespace)?;
    let Some(attachment) = attached.get(key).filter(|it| it.link_id() == link_id) else {
        return Ok((Settled::Gone, none));
    };
    if attachment.pending().is_none() {
        return Ok((Settled::Kept, none));
    }
    match wish {
        Wish::Keep => keep(namespace, attachment).map(|deferred| (Settled::Kept, deferred)),
        Wish::Undo => {
            let results = detach::detach(namespace, &attached, &[attachment]);
            results.into_iter().collect::<Result<Vec<_>>>().map(|_| (Settled::Undone, none))
        }
    }
}

/// Keeps the ruleset on trial or puts the one before back, unless another command did either in the
/// meantime. What is left to be released afterwards may be deferred.
pub fn settle_ruleset(
    namespace: &Locked,
    tried: &Tried,
    wish: Wish,
) -> Result<(Settled, Deferred)> {
    let mut deferred = Deferred::default();
    let attached = detach::tidy(namespace)?;
    let Some(attachment) = attached.get(tried.key).filter(|it| it.link_id() == tried.link_id)
    else {
        return Ok((Settled::Gone, deferred));
    };
    let (_, in_force) = attachment.readable()?;
    if in_force.map_id == tried.image_before {
        return Ok((Settled::Undone, deferred));
    }
    if attachment.trial().is_none() {
        return Ok((Settled::Kept, deferred));
    }
    match wish {
        Wish::Keep => Ok((Settled::Kept, trial::keep(namespace, attachment)?)),
        Wish::Undo => {
            deferred = trial::undo(namespace, attachment)?;
            deferred.note(trial::settle_targets(namespace));
            Ok((Settled::Undone, deferred))
        }
    }
}
