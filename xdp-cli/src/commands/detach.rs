//! `xdpctl detach`.

use super::{Failure, Session};
use crate::args::Detach;
use crate::datapath::lifecycle;
use crate::datapath::namespace::Namespace;
use crate::notation::plain;

/// Takes the program off one interface, or off all.
pub fn run(args: &Detach, session: &mut Session<'_>) -> Result<(), Failure> {
    let namespace = Namespace::lock()?;
    let result = lifecycle::tidy(&namespace).and_then(|()| {
        let attachments = match &args.interface {
            Some(name) => vec![namespace.require_attachment(name)?],
            None => namespace.attachments()?,
        };
        if attachments.is_empty() {
            return Err(super::nothing_attached());
        }
        let mut detached = Vec::new();
        for attachment in attachments {
            let name = attachment.name();
            lifecycle::detach(&namespace, &attachment)?;
            detached.push(name);
        }
        Ok(detached)
    });
    // Directories that are empty now go, also where nothing was attached.
    let finished = if result.is_ok() || namespace.attachments().is_ok_and(|all| all.is_empty()) {
        namespace.finish()
    } else {
        Ok(())
    };
    for name in result? {
        session.print(format_args!("detached from {}\n", plain(&name)))?;
    }
    Ok(finished?)
}
