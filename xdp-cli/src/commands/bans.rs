//! `xdpctl bans`.

use std::time::SystemTime;

use super::{Failure, Session};
use crate::args::Bans;
use crate::views::entries::{json, text};

/// Shows the entries of an interface. That there are none, is an answer and no error.
pub fn run(args: &Bans, session: &mut Session<'_>) -> Result<(), Failure> {
    // Under the lock, since it sweeps: nothing is listed while it changes.
    let (listed, without_notes) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        let store = namespace.entries(attachment)?;
        Ok((store.list(args.owner.as_deref())?, store.without_notes().cloned()))
    })?;
    if let Some(error) = without_notes {
        session.reporter.warning(
            &format!("the entries are told without their notes: {}", error.message),
            error.hint.as_deref(),
        );
    }
    let written = if args.json {
        json::write(session.out, &listed)
    } else {
        text::write(session.out, &listed, SystemTime::now())
    };
    written.map_err(Failure::from_output)
}
