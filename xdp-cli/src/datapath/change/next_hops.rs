//! The next hops of services' packets, which the kernel keeps fresh while a ruleset in force needs them.

use std::collections::BTreeSet;
use std::io;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::host::neighbours::{self, Neighbour};
use crate::image::metadata::Metadata;

/// The next hops of a ruleset.
fn of(metadata: &Metadata) -> impl Iterator<Item = Neighbour> {
    metadata.next_hops.iter().map(|hop| (hop.ifindex, hop.address))
}

/// The next hops of what is in force there, or may come back.
fn of_attached<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
) -> impl Iterator<Item = Neighbour> {
    attachments
        .flat_map(|attachment| {
            let before = attachment.trial().and_then(|trial| trial.before.as_ref());
            [attachment.in_force(), before].into_iter().flatten()
        })
        .flat_map(|in_force| of(&in_force.metadata))
}

/// Has the kernel keep the next hops of a ruleset fresh.
pub(super) fn manage(metadata: &Metadata) -> io::Result<()> {
    let wanted: Vec<Neighbour> = of(metadata).collect();
    neighbours::manage(&wanted)
}

/// The next hops of what is in force there that the kernel does not keep fresh any more.
///
/// # Errors
///
/// Where the kernel cannot be asked.
pub fn unmanaged(attachment: &Attachment) -> io::Result<Vec<Neighbour>> {
    let wanted: Vec<Neighbour> = of_attached(std::iter::once(attachment)).collect();
    neighbours::unmanaged(&wanted)
}

/// Has the kernel keep fresh again what [`unmanaged`] finds, as far as it can. Whoever calls this has the lock, so that
/// nothing is kept for what another command detaches meanwhile.
///
/// # Errors
///
/// Where the kernel refuses it.
pub fn manage_again(attachment: &Attachment) -> io::Result<()> {
    neighbours::manage(&unmanaged(attachment)?)
}

/// Leaves those of `gone` to the kernel again that nothing of `others` needs.
pub(super) fn release<'a>(
    gone: impl Iterator<Item = &'a Attachment>,
    others: impl Iterator<Item = &'a Attachment>,
) -> io::Result<()> {
    let needed: BTreeSet<Neighbour> = of_attached(others).collect();
    let unwanted: BTreeSet<Neighbour> = of_attached(gone).collect();
    let unwanted: Vec<Neighbour> = unwanted.difference(&needed).copied().collect();
    neighbours::release(&unwanted)
}

/// As [`release`], where rulesets in force were exchanged for others: `now` are theirs.
pub(super) fn release_replaced<'a>(
    before: impl Iterator<Item = &'a Attachment>,
    others: impl Iterator<Item = &'a Attachment>,
    now: impl Iterator<Item = &'a Metadata>,
) -> io::Result<()> {
    let needed: BTreeSet<Neighbour> = of_attached(others).chain(now.flat_map(of)).collect();
    let unwanted: BTreeSet<Neighbour> = of_attached(before).collect();
    let unwanted: Vec<Neighbour> = unwanted.difference(&needed).copied().collect();
    neighbours::release(&unwanted)
}
