//! The program at the egress of an interface, as the ruleset in force needs it: for replies.

use std::path::Path;

use xdp_common::packet::LinkType;
use xdp_common::stages::{Group, Needs};

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::egress;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::replying;
use crate::datapath::maps::handles::Maps;
use crate::datapath::maps::sent;

/// Whether a ruleset with these needs wants to know what the interface has sent.
pub fn is_needed(needs: Needs) -> bool {
    needs.cover(Group::Replies.alone())
}

/// Sees to it that what the interface sends is noted, for a ruleset that is to be put in force. Where that cannot be
/// had, replies are known by sockets alone, and the error says so.
pub fn provide(
    directory: &Path,
    interface: &str,
    ifindex: u32,
    link_type: LinkType,
    maps: &Maps,
) -> Result<()> {
    let provide = || -> Result<()> {
        let standing = egress::standing(directory, ifindex, maps);
        if standing.context("look for the program at the egress")?.is_none() {
            egress::put(directory, ifindex, link_type, maps)?;
        }
        room(maps)
    };
    provide().map_err(|error| replying::by_sockets_alone(interface, error))
}

/// Room for what is sent.
pub fn room(maps: &Maps) -> Result<()> {
    let provided = sent::provide(maps);
    if provided.is_err() {
        // Best effort: the filter would go by a part of it.
        let _ = sent::release(maps);
    }
    provided.context("make room for what is sent")
}

/// Takes off again what no ruleset needs any more.
pub fn release(directory: &Path, ifindex: u32, maps: &Maps) -> Result<()> {
    // The filter goes by it as long as it is there.
    sent::release(maps).context("forget what was sent")?;
    if !egress::is_noted(directory) {
        return Ok(());
    }
    egress::take_off(Some(directory), ifindex).context("take the program off the egress")
}

/// Puts right what an interrupted command or somebody else left. What cannot be done is told by `status`.
pub fn mend(attachment: &Attachment) {
    if let Err(Error { message, .. }) = try_to_mend(attachment) {
        log::info!("the program at the egress of {}: {message}", attachment.name());
    }
}

fn try_to_mend(attachment: &Attachment) -> Result<()> {
    // Until it is confirmed, the command that waits holds what there is.
    let (Ok((maps, in_force)), Some(ifindex), None) =
        (attachment.readable(), attachment.ifindex(), attachment.pending())
    else {
        return Ok(());
    };
    let before = attachment.trial().and_then(|trial| trial.before.as_ref());
    let needs = before.map_or(in_force.needs, |before| before.needs.and(in_force.needs));
    if !is_needed(needs) {
        return release(attachment.directory(), ifindex, maps);
    }
    // Where it could not be had, the next reload tries again.
    if !sent::is_there(maps).context("look for what was sent")? {
        return Ok(());
    }
    let link_type = attachment.link_type()?;
    provide(attachment.directory(), &attachment.name(), ifindex, link_type, maps)
}
