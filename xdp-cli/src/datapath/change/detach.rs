//! Detaching, and removing what interrupted commands left.

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::{self, Locked};
use crate::datapath::change::outcome::Detached;
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::sys::bpf;

/// Removes what an interrupted command left, and says what is attached. Each command that changes
/// something begins with it.
pub fn tidy(namespace: &Locked) -> Result<Attachments> {
    let attached = namespace.attachments()?;
    namespace.clean_up(&attached)?;
    redirect_targets::reconcile(namespace, &redirect_targets::targets(attached.iter()))?;
    Ok(attached)
}

/// Takes the program off these of those that are `attached`, and removes everything that belongs to
/// them. One that fails keeps no other from being taken off.
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
    let others = attached.iter().filter(|attachment| !is_off(attachment.key()));
    let others = redirect_targets::targets(others);
    if let Err(error) = redirect_targets::reconcile(namespace, &others) {
        // What nobody needs any more is left on the targets of all of them.
        for result in &mut results {
            if let Ok(detached) = result {
                *result = Err(half_done(&detached.name, error.clone()));
            }
        }
    }
    results
}

fn one(namespace: &Locked, attachment: &Attachment) -> Result<Detached> {
    // The link's pin first: the link is held by this process alone then, and ends with it wherever
    // it is cut off. A link that is pinned and on no interface would look as if that were gone.
    let link = attachment.link();
    namespace::remove(&attachment.directory().join(LINK)).context("remove the link's pin")?;
    // At once, and not when the last descriptor of the link is closed: another process may hold
    // one. An interface that is gone has nothing to detach.
    // Where the command ended that held it unconfirmed, so has the link.
    let link = match link {
        Err(_) if attachment.pending().is_some() => None,
        link => Some(link?),
    };
    if attachment.is_on_an_interface()
        && let Some(link) = link
        && let Err(error) = bpf::detach_link(&link)
    {
        if attachment.pending().is_none() {
            // It judges packets until this process ends: with its pin, it goes on.
            let again = bpf::pin(&link, &attachment.directory().join(LINK));
            again.context("detach the program, nor put its pin back")?;
        }
        return Err(error).context("detach the program");
    }
    let name = attachment.name();
    namespace.forget(attachment.key()).map_err(|error| half_done(&name, error))?;
    Ok(Detached { name, was_moved: attachment.is_moved() })
}

fn half_done(name: &str, error: Error) -> Error {
    let message = format!("detached from {name}, but {}", error.message);
    Error { message, ..error }.hint("the next xdpctl command removes what is left")
}
