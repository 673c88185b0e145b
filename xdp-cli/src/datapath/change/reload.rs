//! Another ruleset for what is attached.

use std::path::Path;
use std::time::Duration;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::attached::tried::Tried;
use crate::datapath::change::configured::{Configured, keep};
use crate::datapath::change::egress;
use crate::datapath::change::kernel::{self, BuildContext};
use crate::datapath::change::next_hops;
use crate::datapath::change::nic;
use crate::datapath::change::outcome::{Deferred, Reloaded};
use crate::datapath::change::pins::{provide_stages, repair_pins};
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::change::trial;
use crate::datapath::error::Result;
use crate::datapath::host::interface::Mode;
use crate::image::metadata::Redirect;
use crate::image::services::Before;
use crate::ruleset::Ruleset;

/// A ruleset that is ready for where it is to run.
pub enum Prepared {
    Kernel(kernel::PreparedKernel),
    Nic(nic::PreparedNic),
}

impl Prepared {
    /// Redirect targets that the ruleset before had and that are missing now.
    pub fn missing(&self) -> &[Redirect] {
        match self {
            Self::Kernel(prepared) => &prepared.missing,
            Self::Nic(_) => &[],
        }
    }

    /// Indexes of the interfaces that have to take frames that the program redirects.
    fn targets(&self) -> Vec<u32> {
        match self {
            Self::Kernel(prepared) if prepared.metadata.mode == Mode::Native => {
                kernel::targets(prepared)
            }
            _ => Vec::new(),
        }
    }
}

/// A ruleset that is to be put in force.
pub struct Change<'a> {
    /// The attachment that it was prepared for, as it was then.
    pub before: &'a Attachment,
    pub configured: Configured<'a>,
    pub prepared: Prepared,
}

/// Compiles another ruleset for an attached interface, read from the file `loaded_from`. Changes
/// nothing, and needs no lock.
pub fn prepare(attachment: &Attachment, ruleset: &Ruleset, loaded_from: &Path) -> Result<Prepared> {
    if let Some(error) = attachment.on_trial() {
        return Err(error);
    }
    let before = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
    let tables = match attachment.nic() {
        Some(_) => Before::default(),
        None => kernel::tables_in_force(attachment.readable()?.0, before)?,
    };
    let context = BuildContext {
        interface: &before.metadata.interface,
        mode: before.metadata.mode,
        link_type: attachment.link_type()?,
        // A file given to this reload is read only once: the next reload reads the one given at
        // attach.
        config: &before.metadata.config,
        loaded_from,
        attached_at: before.metadata.attached_at,
        before: Some(before),
        tables,
    };
    Ok(match attachment.nic() {
        Some(nic) => Prepared::Nic(nic::prepare(attachment, nic, ruleset, &context)?),
        None => Prepared::Kernel(kernel::prepare(ruleset, &context)?),
    })
}

/// Puts rulesets in force. Entries added at run time stay as they are, but for those that have ended.
/// Where one interface fails, the others still get their rulesets.
///
/// With `life`, the rulesets before come back after so long, unless the new ones are confirmed.
///
/// Returns `None`, and changes nothing, where something else has come into force on one of them
/// since these rulesets were prepared: their counters and their generation may be taken by now.
pub fn activate(
    namespace: &Locked,
    attached: &Attachments,
    changes: &[&Change<'_>],
    life: Option<Duration>,
) -> Result<Option<Vec<Result<Reloaded>>>> {
    let mut current = Vec::new();
    for change in changes {
        let now = attached.get(change.before.key()).filter(|now| now.is_as(change.before));
        let Some(attachment) = now else { return Ok(None) };
        if let Prepared::Kernel(prepared) = &change.prepared
            && !prepared.is_current(change.configured.ruleset, attachment.in_force())?
        {
            return Ok(None);
        }
        current.push(attachment);
    }

    // Before the reload: pass programs for the targets both of the rulesets in force and of those
    // to come.
    let standing = redirect_targets::targets(attached.iter());
    let coming: Vec<u32> = changes.iter().flat_map(|change| change.prepared.targets()).collect();
    let made_ready = if coming.is_empty() {
        Ok(())
    } else {
        redirect_targets::reconcile(namespace, &[standing, coming].concat()).map(drop)
    };
    let mut results: Vec<Result<Reloaded>> = Vec::new();
    for (attachment, change) in current.into_iter().zip(changes) {
        let ready = if change.prepared.targets().is_empty() { Ok(()) } else { made_ready.clone() };
        results.push(ready.and_then(|()| one(namespace, attachment, change, life)));
    }

    // After it: only those for the targets of what is in force now, or may come back.
    let done = |key: Key| {
        let mut done = changes.iter().zip(&results).filter(|(_, result)| result.is_ok());
        done.find(|(change, _)| change.before.key() == key).map(|(change, _)| change)
    };
    let now = attached.iter().flat_map(|attachment| match done(attachment.key()) {
        Some(change) if life.is_some() => {
            [change.prepared.targets(), redirect_targets::targets([attachment])].concat()
        }
        Some(change) => change.prepared.targets(),
        None => redirect_targets::targets([attachment]),
    });
    let now: Vec<u32> = now.collect();
    let settled = redirect_targets::reconcile(namespace, &now);
    let released = match life {
        // What was in force may come back.
        Some(_) => Ok(()),
        None => next_hops::release_replaced(
            attached.iter().filter(|it| done(it.key()).is_some()),
            attached.iter().filter(|it| done(it.key()).is_none()),
            changes.iter().filter_map(|change| match &change.prepared {
                Prepared::Kernel(prepared) => Some(&prepared.metadata),
                Prepared::Nic(_) => None,
            }),
        ),
    };
    if let Err(error) = released {
        log::warn!("cannot leave next hops of services to the kernel again: {error}");
    }
    for (change, reloaded) in changes.iter().zip(&mut results) {
        let (Ok(reloaded), Prepared::Kernel(prepared)) = (reloaded, &change.prepared) else {
            continue;
        };
        let settled = reloaded.deferred.note(settled.clone());
        reloaded.redirects = kernel::of_targets(prepared, settled.unwrap_or_default());
    }
    Ok(Some(results))
}

fn one(
    namespace: &Locked,
    attachment: &Attachment,
    change: &Change<'_>,
    life: Option<Duration>,
) -> Result<Reloaded> {
    let Change { configured, prepared, .. } = change;
    match (prepared, attachment.nic()) {
        (Prepared::Kernel(prepared), _) => {
            in_kernel(namespace, attachment, configured, prepared, life)
        }
        (Prepared::Nic(prepared), Some(nic)) => {
            nic::reload(namespace, attachment, nic, configured, prepared)
        }
        (Prepared::Nic(_), None) => Err(attachment.unreadable()),
    }
}

fn in_kernel(
    namespace: &Locked,
    attachment: &Attachment,
    configured: &Configured<'_>,
    prepared: &kernel::PreparedKernel,
    life: Option<Duration>,
) -> Result<Reloaded> {
    let (maps, _) = attachment.readable()?;
    provide_stages(attachment, maps, prepared.needs())?;
    keep(namespace, attachment.key(), configured, prepared)?;
    let tried = life.map(|_| Tried::prepare(attachment, maps, prepared.generation)).transpose()?;
    let mut deferred = Deferred::default();
    if egress::is_needed(prepared.needs())
        && let Some(ifindex) = attachment.ifindex()
    {
        let (directory, name) = (attachment.directory(), attachment.name());
        let link_type = prepared.link_type;
        deferred.note(egress::provide(directory, &name, ifindex, link_type, maps));
    }
    kernel::activate(maps, prepared, life)?;
    if life.is_none() {
        let stays = (prepared.generation, &prepared.metadata);
        trial::release(namespace, attachment, maps, stays, &mut deferred);
    }
    deferred.note(repair_pins(attachment));
    deferred.note(namespace.entries(attachment));
    let generation = prepared.generation;
    Ok(Reloaded { generation, tried, redirects: Vec::new(), deferred })
}
