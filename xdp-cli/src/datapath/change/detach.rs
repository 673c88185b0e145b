//! Detaching, and removing what interrupted commands left.

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::egress;
use crate::datapath::change::next_hops;
use crate::datapath::change::outcome::Detached;
use crate::datapath::change::pins;
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::change::trial;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::check_route;
use crate::datapath::sys::{bpf, private_dir};

/// Removes what an interrupted command left, and says what is attached. Each command that changes
/// something begins with it.
pub fn tidy(namespace: &Locked) -> Result<Attachments> {
    let mut attached = namespace.attachments()?;
    if trial::end(namespace, &attached)? {
        attached = namespace.attachments()?;
    }
    namespace.clean_up(&attached)?;
    for attachment in attached.iter() {
        pins::finish_exchange(attachment)?;
        egress::mend(attachment);
    }
    redirect_targets::reconcile(namespace, &redirect_targets::targets(attached.iter()))?;
    Ok(attached)
}

/// Takes the program off the `chosen` ones of those that are `attached`, and removes everything
/// that belongs to them. Where one fails, the others are still taken off.
pub fn detach(
    namespace: &Locked,
    attached: &Attachments,
    chosen: &[&Attachment],
) -> Vec<Result<Detached>> {
    let mut results: Vec<Result<Detached>> =
        chosen.iter().map(|attachment| one(namespace, attachment)).collect();
    let is_off = |key: Key| {
        let mut off = chosen.iter().zip(&results).filter(|(_, result)| result.is_ok());
        off.any(|(attachment, _)| attachment.key() == key)
    };
    let others = || attached.iter().filter(|attachment| !is_off(attachment.key()));
    let gone = attached.iter().filter(|attachment| is_off(attachment.key()));
    if let Err(error) = next_hops::release(gone, others()) {
        log::warn!("cannot leave next hops of services to the kernel again: {error}");
    }
    if let Err(error) = check_route::clean_up() {
        log::warn!("{error}");
    }
    let others = redirect_targets::targets(others());
    if let Err(error) = redirect_targets::reconcile(namespace, &others) {
        // Pass programs that nobody needs any more may be left on the targets of any of them.
        for result in &mut results {
            if let Ok(detached) = result {
                *result = Err(half_done(&detached.name, error.clone()));
            }
        }
    }
    results
}

fn one(namespace: &Locked, attachment: &Attachment) -> Result<Detached> {
    // The link's pin goes first. Then only this process holds the link, which ends with it wherever
    // it is cut off. The other order could leave a link that is pinned and on no interface, as if
    // the interface were gone.
    let link = attachment.link();
    private_dir::remove(&attachment.directory().join(LINK)).context("remove the link's pin")?;
    // It is detached by a call, and not by closing the link's last descriptor: another process may
    // hold one. An interface that is gone has nothing to detach. An unconfirmed link may have ended
    // already, with the command that held it.
    let link = match link {
        Err(_) if attachment.pending().is_some() => None,
        link => Some(link?),
    };
    if attachment.is_on_an_interface()
        && let Some(link) = link
        && let Err(error) = bpf::detach_link(&link)
    {
        if attachment.pending().is_none() {
            // Without its pin it would judge packets only until this process ends.
            let again = bpf::pin(&link, &attachment.directory().join(LINK));
            again.context("detach the program, nor put its pin back")?;
        }
        return Err(error).context("detach the program");
    }
    let name = attachment.name();
    log::info!("took the program off {name}");
    namespace.forget(attachment.key()).map_err(|error| half_done(&name, error))?;
    log::info!(
        "removed the pins under {} and the state of {name}",
        namespace.shown(attachment.directory()).display()
    );
    let (ifindex, was_moved) = (attachment.ifindex(), attachment.is_moved());
    Ok(Detached { name, ifindex, was_moved })
}

fn half_done(name: &str, error: Error) -> Error {
    let message = format!("detached from {name}, but {}", error.message);
    Error { message, ..error }.hint("the next xdpctl command removes what is left")
}
