//! Another ruleset for what is attached.

use std::path::Path;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::attached::nic::Nic;
use crate::datapath::change::configured::{Configured, keep};
use crate::datapath::change::kernel::{self, BuildContext};
use crate::datapath::change::nic;
use crate::datapath::change::outcome::{Deferred, Reloaded};
use crate::datapath::change::pins::repair_pins;
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::error::{Context, Result};
use crate::datapath::host::interface::Mode;
use crate::image::metadata::Redirect;
use crate::ruleset::Ruleset;

/// A ruleset that is ready for where it is to run.
pub enum Prepared<'a> {
    Kernel(kernel::PreparedKernel),
    Nic(&'a Nic, nic::PreparedNic),
}

impl Prepared<'_> {
    /// Redirect targets that are missing now and were there before.
    pub fn missing(&self) -> &[Redirect] {
        match self {
            Self::Kernel(prepared) => &prepared.missing,
            Self::Nic(..) => &[],
        }
    }
}

/// Compiles another ruleset for an attached interface, read from the file `loaded_from`. Changes
/// nothing.
pub fn prepare<'a>(
    attachment: &'a Attachment,
    ruleset: &Ruleset,
    loaded_from: &Path,
) -> Result<Prepared<'a>> {
    let before = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
    let context = BuildContext {
        interface: &before.metadata.interface,
        mode: before.metadata.mode,
        link_type: attachment.link_type()?,
        // Another file is read this once: the next reload reads the one given at attach.
        config: &before.metadata.config,
        loaded_from,
        attached_at: before.metadata.attached_at,
        before: Some(before),
    };
    Ok(match attachment.nic() {
        Some(nic) => Prepared::Nic(nic, nic::prepare(attachment, nic, ruleset, &context)?),
        None => Prepared::Kernel(kernel::prepare(ruleset, &context)?),
    })
}

/// Puts a ruleset in force that was prepared for this interface under the same lock. Entries added at
/// run time stay as they are, but for those that have ended.
pub fn activate(
    namespace: &Locked,
    attachment: &Attachment,
    configured: &Configured<'_>,
    prepared: &Prepared<'_>,
) -> Result<Reloaded> {
    match prepared {
        Prepared::Kernel(prepared) => in_kernel(namespace, attachment, configured, prepared),
        Prepared::Nic(nic, prepared) => {
            nic::reload(namespace, attachment, nic, configured, prepared)
        }
    }
}

fn in_kernel(
    namespace: &Locked,
    attachment: &Attachment,
    configured: &Configured<'_>,
    prepared: &kernel::PreparedKernel,
) -> Result<Reloaded> {
    let (maps, before) = attachment.readable()?;
    let coming =
        if before.metadata.mode == Mode::Native { kernel::targets(prepared) } else { Vec::new() };
    if !coming.is_empty() {
        redirect_targets::reconcile(namespace, &coming)?;
    }
    keep(namespace, attachment.key(), configured, prepared)?;
    let exchanged = kernel::activate(maps, prepared)?;
    let mut deferred = Deferred::default();
    deferred.note(exchanged.release(maps));
    kept_ruleset::keep_only(&namespace.state_directory(attachment.key()), prepared.generation);
    deferred.note(
        kernel::drop_unused_counters(maps, &prepared.metadata)
            .context("give back counters that are not used any more"),
    );
    deferred.note(repair_pins(attachment));
    deferred.note(namespace.entries(attachment));
    let settled = deferred.note(redirect_targets::reconcile(namespace, &[])).unwrap_or_default();
    let redirects = kernel::of_targets(prepared, settled);
    Ok(Reloaded { generation: prepared.generation, redirects, deferred })
}
