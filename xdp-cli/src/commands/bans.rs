//! `xdpctl bans`.

use std::time::SystemTime;

use super::holders;
use super::prefixes::named;
use super::{Failure, Session};
use crate::args::Bans;
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::error::{Error, Result};
use crate::datapath::maps::dynamic::{self, Seen};
use crate::notation::{counted, plain};
use crate::views::entries::{Listed, json, text};

/// Shows the entries of an interface, or removes them. It is no error if there are none.
pub fn run(args: &Bans, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    if args.flush {
        return flush(args, session);
    }
    let found = look(args, session)?;
    if !found.not_in_force.is_empty() {
        let of = args.owner.as_ref().map_or_else(String::new, |owner| format!(" --owner {owner}"));
        session.reporter.warning(
            &format!(
                "{} not in force, and the next attach puts back: {}",
                match found.not_in_force.len() as u64 {
                    1 => "1 run-time entry is".to_owned(),
                    number => counted(number, "run-time entry") + " are",
                },
                named(&found.not_in_force)
            ),
            Some(&format!(
                "a command was cut off, or could not put them: `xdpctl unblock` removes them, and so \
                 does `xdpctl bans {}{of} --flush`",
                plain(&args.interface)
            )),
        );
    }
    show(&found.listed, found.without_notes, args.json, session)
}

/// What there is to show.
struct Found {
    listed: Vec<Listed>,
    without_notes: Option<Error>,
    /// Prefixes of entries that the next attach puts back and that are not in force.
    not_in_force: Vec<IpPrefix>,
}

/// Looks without the lock, so that this waits for no other command. Only where a command seems to
/// have been killed, this repairs what it left, and looks again.
fn look(args: &Bans, session: &mut Session<'_>) -> Result<Found> {
    let (namespace, attachment) = super::look_at(&args.interface)?;
    let (found, changing) = of(&namespace, &attachment, args.owner.as_deref())?;
    if !changing && found.not_in_force.is_empty() {
        return Ok(found);
    }
    let again = session.locked_at_once(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        // This repairs.
        drop(namespace.entries(attachment)?);
        Ok(of(&namespace, attachment, args.owner.as_deref())?.0)
    })?;
    // If another command has the lock, it is at work: what is not in force yet may be soon.
    Ok(again.unwrap_or(Found { not_in_force: Vec::new(), ..found }))
}

/// Also returns whether a command is changing entries, or was killed while it did.
fn of(
    namespace: &Namespace,
    attachment: &Attachment,
    owner: Option<&str>,
) -> Result<(Found, bool)> {
    let (maps, _) = attachment.readable()?;
    let notes = namespace.notes_directory(attachment.key())?;
    let Seen { listed, without_notes, changing } = dynamic::list(maps, notes, owner)?;
    // What is in force can be shown even if the file cannot be read: the next attach says so.
    let kept = Persisted::read(&attachment.name());
    let not_in_force = kept.map_or_else(|_| Vec::new(), |kept| kept.not_in_force(&listed, owner));
    Ok((Found { listed, without_notes, not_in_force }, changing))
}

/// Removes the entries of an interface, those too that only the next attach would put back.
fn flush(args: &Bans, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    let owner = args.owner.as_deref();
    let (listed, without_notes, number, would_return) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        let mut store = namespace.entries(attachment)?;
        let listed = store.list(owner)?;
        let prefixes: Vec<IpPrefix> = listed.iter().map(|listed| listed.prefix).collect();
        let kept = Persisted::read(&attachment.name());
        let kept = kept.map_or(0, |kept| kept.not_in_force(&listed, owner).len());
        store.remove(&prefixes, owner)?;
        let would_return = holders::forget_all(attachment.name(), owner);
        let number = listed.len() + if would_return.is_none() { kept } else { 0 };
        Ok((listed, store.without_notes().cloned(), number as u64, would_return))
    })?;
    holders::tell_would_return(would_return, session);
    if args.json {
        return show(&listed, without_notes, true, session);
    }
    let entries = counted(number, "run-time entry");
    let of = owner.map_or_else(String::new, |owner| format!(" of {owner}"));
    session.print(format_args!("removed {entries}{of} on {}\n", plain(&args.interface)))
}

fn show(
    listed: &[Listed],
    without_notes: Option<Error>,
    as_json: bool,
    session: &mut Session<'_>,
) -> std::result::Result<(), Failure> {
    if let Some(error) = without_notes {
        session.reporter.warning(
            &format!("the entries are told without their notes: {}", error.message),
            error.hint.as_deref(),
        );
    }
    let written = if as_json {
        json::write(session.out, listed)
    } else {
        text::write(session.out, listed, SystemTime::now())
    };
    written.map_err(Failure::from_output)
}
