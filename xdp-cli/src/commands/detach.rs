//! `xdpctl detach`.

use super::{Failure, Session, told};
use crate::args::Detach;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::detach;
use crate::datapath::change::outcome::Detached;
use crate::datapath::error::Error;
use crate::datapath::host::interface::Interface;
use crate::event::What;
use crate::notation::plain;

/// Takes the program off one interface, or off all of them.
pub fn run(args: &Detach, session: &mut Session<'_>) -> Result<(), Failure> {
    let (results, finished) = session.locked(|namespace| {
        let result = under_lock(args.interface.as_deref(), &namespace);
        // Remove directories that are empty now, even if nothing was attached.
        let is_empty = || namespace.attachments().is_ok_and(|attached| attached.is_empty());
        let finished = if result.is_ok() || is_empty() { namespace.finish() } else { Ok(()) };
        Ok((result?, finished))
    })?;
    told::tell(results.iter().flatten().map(|Detached { name, ifindex, was_moved }| {
        told::Done::on(name, *ifindex, What::Detach { moved: *was_moved })
    }));
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(Detached { name, was_moved, .. }) => {
                let note = if was_moved { ", which is in another network namespace" } else { "" };
                session.print_done(format_args!("detached from {}{note}\n", plain(&name)));
            }
            Err(error) => failed.push(error),
        }
    }
    match session.all_but_last(failed) {
        Some(error) => Err(error.into()),
        None => Ok(finished?),
    }
}

fn under_lock(
    name: Option<&str>,
    namespace: &Locked,
) -> Result<Vec<Result<Detached, Error>>, Error> {
    let attached = detach::tidy(namespace)?;
    let chosen = match name {
        Some(name) => vec![by_name(&attached, name)?],
        None => attached.iter().collect(),
    };
    if chosen.is_empty() {
        return Err(without_attach(super::nothing_attached()));
    }
    Ok(detach::detach(namespace, &attached, &chosen))
}

/// The attachment to take off by the name of its interface. If there is an interface of that name
/// without our program, an attachment whose interface had the name before it was moved to another
/// network namespace is not meant.
fn by_name<'a>(attached: &'a Attachments, name: &str) -> Result<&'a Attachment, Error> {
    let attachment = attached.require(name).map_err(|error| match attached.is_empty() {
        true if Interface::by_name(name).is_ok() => without_attach(error),
        _ => error,
    })?;
    if attachment.is_moved() && attached.carriers().index_of(name)?.is_some() {
        return Err(attachment.stranded().unwrap_or_else(super::nothing_attached));
    }
    Ok(attachment)
}

/// The error that nothing is attached, without the hint how to attach: nobody who detaches wants that.
fn without_attach(error: Error) -> Error {
    Error { hint: None, ..error }
}
