//! `xdpctl bans`.

use std::time::SystemTime;

use super::holders;
use super::{Failure, Session};
use crate::args::Bans;
use crate::config::prefix::IpPrefix;
use crate::notation::{grouped, plain};
use crate::views::entries::{json, text};

/// Shows the entries of an interface, or removes them. It is no error if there are none.
pub fn run(args: &Bans, session: &mut Session<'_>) -> Result<(), Failure> {
    // Takes the lock, since this removes expired entries, and nothing may change while it lists.
    let (listed, without_notes, would_return) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        let mut store = namespace.entries(attachment)?;
        let listed = store.list(args.owner.as_deref())?;
        let mut would_return = None;
        if args.flush {
            let prefixes: Vec<IpPrefix> = listed.iter().map(|listed| listed.prefix).collect();
            store.remove(&prefixes, args.owner.as_deref())?;
            would_return = holders::forget(&[attachment.name()], &prefixes, args.owner.as_deref());
        }
        Ok((listed, store.without_notes().cloned(), would_return))
    })?;
    holders::tell_would_return(would_return, session);
    if args.flush && !args.json {
        let entries = match listed.len() as u64 {
            1 => "1 run-time entry".to_owned(),
            number => format!("{} run-time entries", grouped(number)),
        };
        let of = args.owner.as_ref().map_or_else(String::new, |owner| format!(" of {owner}"));
        return session
            .print(format_args!("removed {entries}{of} on {}\n", plain(&args.interface)));
    }
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
