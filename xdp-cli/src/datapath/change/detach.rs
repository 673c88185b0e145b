//! Detaching, and removing what interrupted commands left.

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::namespace::{self, Locked};
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::sys::bpf;

/// Removes what an interrupted command left. Each command that changes something begins with it.
pub fn tidy(namespace: &Locked) -> Result<()> {
    namespace.clean_up()?;
    redirect_targets::reconcile(namespace, &[]).map(drop)
}

/// Takes the program off and removes everything that belongs to it.
pub fn detach(namespace: &Locked, attachment: &Attachment) -> Result<()> {
    // The link's pin first: the link is held by this process alone then, and ends with it wherever
    // it is cut off. A link that is pinned and on no interface would look as if that were gone.
    namespace::remove(&attachment.directory().join(LINK)).context("remove the link's pin")?;
    // At once, and not when the last descriptor of the link is closed: another process may hold
    // one. An interface that is gone has nothing to detach.
    if attachment.ifindex().is_some()
        && let Err(error) = bpf::detach_link(attachment.link())
    {
        // It judges packets until this process ends: with its pin, it goes on.
        let again = bpf::pin(attachment.link(), &attachment.directory().join(LINK));
        again.context("detach the program, nor put its pin back")?;
        return Err(error).context("detach the program");
    }
    let rest = namespace
        .forget(attachment.key())
        .and_then(|()| redirect_targets::reconcile(namespace, &[]));
    rest.map(drop).map_err(|error| {
        let name = attachment.name();
        let message = format!("detached from {name}, but {}", error.message);
        Error { message, ..error }.hint("the next xdpctl command removes what is left")
    })
}
