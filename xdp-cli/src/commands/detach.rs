//! `xdpctl detach`.

use super::{Failure, Session};
use crate::args::Detach;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::change::detach;
use crate::notation::plain;

/// Takes the program off one interface, or off all.
pub fn run(args: &Detach, session: &mut Session<'_>) -> Result<(), Failure> {
    let namespace = Namespace::lock()?;
    let result = detach::tidy(&namespace).and_then(|()| {
        let attachments = match &args.interface {
            Some(name) => vec![namespace.require_attachment(name)?],
            None => namespace.attachments()?,
        };
        if attachments.is_empty() {
            return Err(super::nothing_attached());
        }
        // One that fails keeps no other from being taken off.
        let (mut detached, mut failed) = (Vec::new(), None);
        for attachment in attachments {
            match detach::detach(&namespace, &attachment) {
                Ok(()) => detached.push(attachment.name()),
                Err(error) => {
                    if let Some(before) = failed.replace(error) {
                        session.reporter.error(&before.message, before.hint.as_deref());
                    }
                }
            }
        }
        Ok((detached, failed))
    });
    // Directories that are empty now go, also where nothing was attached.
    let finished = if result.is_ok() || namespace.attachments().is_ok_and(|all| all.is_empty()) {
        namespace.finish()
    } else {
        Ok(())
    };
    let (detached, failed) = result?;
    for name in detached {
        session.print(format_args!("detached from {}\n", plain(&name)))?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(finished?),
    }
}
