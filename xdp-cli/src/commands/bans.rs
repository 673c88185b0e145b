//! `xdpctl bans`.

use std::time::SystemTime;

use super::holders::{self, Holders};
use super::prefixes::named;
use super::{Failure, Session, lockout, told};
use crate::args::Bans;
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::error::{Error, Result};
use crate::datapath::maps::dynamic::{self, Seen, Store, caught};
use crate::event::What;
use crate::notation::{counted, plain, word};
use crate::views::entries::{Listed, json, text};

/// Shows the entries of an interface or of all, or removes them. It is no error if there are none.
pub fn run(args: &Bans, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    if args.flush {
        return flush(args, session);
    }
    let (all, left_out) = look(args, session)?;
    holders::tell_left_out(&left_out, session);
    for one in all.iter().filter(|one| !one.not_in_force.is_empty()) {
        tell_not_in_force(one, args.owner.as_deref(), session);
    }
    for warning in all.iter().filter_map(|one| one.not_caught.as_ref()) {
        session.reporter.warning(warning, None);
    }
    let without_notes = all.iter().find_map(|one| one.without_notes.clone());
    let listed = all.into_iter().map(|one| (one.name, one.listed)).collect();
    show(listed, without_notes, args, session)
}

/// What there is to show of one interface.
struct Found {
    name: String,
    listed: Vec<Listed>,
    without_notes: Option<Error>,
    /// Prefixes of entries that the next attach puts back and that are not in force.
    not_in_force: Vec<IpPrefix>,
    /// A command is changing entries, or was killed while it did.
    changing: bool,
    /// That rules could not block some sources, if so.
    not_caught: Option<String>,
}

/// Looks without the lock, so that this waits for no other command. Only where a command seems to
/// have been killed, this repairs what it left, and looks again. Also returns the names of
/// interfaces that are left out.
fn look(args: &Bans, session: &mut Session<'_>) -> Result<(Vec<Found>, Vec<String>)> {
    let named = args.interface.as_deref().unwrap_or_default();
    let namespace = Namespace::look()?.ok_or_else(|| match &args.interface {
        Some(name) => not_attached(name, &[]),
        None => super::nothing_attached(),
    })?;
    let attached = namespace.attachments()?;
    let all = |namespace: &Namespace, attachments: &[&Attachment]| -> Result<Vec<Found>> {
        attachments.iter().map(|one| of(namespace, one, args.owner.as_deref())).collect()
    };
    let (attachments, left_out) = if args.all_interfaces {
        let Holders { attachments, left_out } = holders::chosen(&attached, None, true)?;
        (attachments, left_out)
    } else {
        (vec![attached.require_here(named)?], Vec::new())
    };
    let found = all(&namespace, &attachments)?;
    if !found.iter().any(|one| one.changing || !one.not_in_force.is_empty()) {
        return Ok((found, left_out));
    }
    let again = session.locked_at_once(|namespace| {
        let attached = namespace.attachments()?;
        let chosen = holders::chosen(&attached, args.interface.as_deref(), args.all_interfaces)?;
        for attachment in &chosen.attachments {
            // This repairs.
            drop(namespace.entries(attachment)?);
        }
        all(&namespace, &chosen.attachments)
    })?;
    // If another command has the lock, it is at work: what is not in force yet may be soon.
    let at_work = |one| Found { not_in_force: Vec::new(), ..one };
    Ok((again.unwrap_or_else(|| found.into_iter().map(at_work).collect()), left_out))
}

fn of(namespace: &Namespace, attachment: &Attachment, owner: Option<&str>) -> Result<Found> {
    let (maps, _) = attachment.readable()?;
    let notes = namespace.notes_directory(attachment.key())?;
    let Seen { listed, without_notes, changing } = dynamic::list(maps, notes, owner)?;
    // What is in force can be shown even if the file cannot be read: the next attach says so.
    let kept = Persisted::read(&attachment.name());
    let not_in_force = kept.map_or_else(|_| Vec::new(), |kept| kept.not_in_force(&listed, owner));
    let not_caught = caught::lately_lost(maps)?;
    Ok(Found { name: attachment.name(), listed, without_notes, not_in_force, changing, not_caught })
}

fn tell_not_in_force(one: &Found, owner: Option<&str>, session: &mut Session<'_>) {
    let of = owner.map_or_else(String::new, |owner| format!(" --owner {}", word(owner)));
    session.reporter.warning(
        &format!(
            "{} not in force, and the next attach puts back: {}",
            match one.not_in_force.len() as u64 {
                1 => "1 run-time entry is".to_owned(),
                number => counted(number, "run-time entry") + " are",
            },
            named(&one.not_in_force)
        ),
        Some(&format!(
            "a command was cut off, or could not put them: `xdpctl unblock` removes them, and so \
             does `xdpctl bans {}{of} --flush`",
            word(&one.name)
        )),
    );
}

/// The entries of one interface, while they are removed.
struct OfOne<'m> {
    name: String,
    ifindex: Option<u32>,
    store: Store<'m>,
    listed: Vec<Listed>,
    /// How many more only the next attach would put back.
    kept: usize,
}

/// What was removed from one interface.
struct Removed {
    name: String,
    ifindex: Option<u32>,
    listed: Vec<Listed>,
    prefixes: Vec<IpPrefix>,
    /// With those that only the next attach would have put back.
    number: u64,
}

/// Removes the entries of an interface or of all, those too that only the next attach would put back.
fn flush(args: &Bans, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    let owner = args.owner.as_deref();
    let is_removed = |it: &Listed| owner.is_none_or(|owner| owner == it.owner);
    let (interface, all) = (args.interface.as_deref(), args.all_interfaces);
    lockout::keep_let_in(interface, all, is_removed, args.force, session)?;
    let (removed, without_notes, would_return, left_out) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let Holders { attachments, left_out } =
            holders::chosen(&attached, args.interface.as_deref(), args.all_interfaces)?;
        let mut all: Vec<OfOne<'_>> = Vec::new();
        for attachment in attachments {
            let store = namespace.entries(attachment)?;
            let listed = store.list(owner)?;
            let kept = Persisted::read(&attachment.name());
            let kept = kept.map_or(0, |kept| kept.not_in_force(&listed, owner).len());
            let (name, ifindex) = (attachment.name(), attachment.ifindex());
            all.push(OfOne { name, ifindex, store, listed, kept });
        }
        remove(&mut all, owner)?;
        let mut would_return = None;
        let without_notes = all.iter().find_map(|one| one.store.without_notes().cloned());
        let mut removed = Vec::new();
        for OfOne { name, ifindex, listed, kept, .. } in all {
            let forgotten = holders::forget_all(name.clone(), owner);
            let number = listed.len() + if forgotten.is_none() { kept } else { 0 };
            would_return = would_return.or(forgotten);
            let prefixes = listed.iter().map(|listed| listed.prefix).collect();
            removed.push(Removed { name, ifindex, listed, prefixes, number: number as u64 });
        }
        Ok((removed, without_notes, would_return, left_out))
    })?;
    told::tell(
        removed
            .iter()
            .filter(|one| !one.prefixes.is_empty())
            .map(|one| told::Done::on(&one.name, one.ifindex, What::unset(owner, &one.prefixes))),
    );
    holders::tell_would_return(would_return, session);
    holders::tell_left_out(&left_out, session);
    if args.json {
        let listed = removed.into_iter().map(|one| (one.name, one.listed)).collect();
        return show(listed, without_notes, args, session);
    }
    let of = owner.map_or_else(String::new, |owner| format!(" of {owner}"));
    for Removed { name, number, .. } in &removed {
        let entries = counted(*number, "run-time entry");
        session.print_done(format_args!("removed {entries}{of} on {}\n", plain(name)));
    }
    Ok(())
}

/// Removes what is listed, on all interfaces or on none.
fn remove(all: &mut [OfOne<'_>], owner: Option<&str>) -> Result<()> {
    for nth in 0..all.len() {
        let prefixes: Vec<IpPrefix> = all[nth].listed.iter().map(|listed| listed.prefix).collect();
        if let Err(error) = all[nth].store.take(&prefixes, owner) {
            for before in &mut all[..nth] {
                before.store.take_back()?;
            }
            return Err(error);
        }
    }
    all.iter_mut().for_each(|one| one.store.sweep_removed());
    Ok(())
}

/// Shows the entries of the only interface that was asked for, or of all, by interface.
fn show(
    found: Vec<(String, Vec<Listed>)>,
    without_notes: Option<Error>,
    args: &Bans,
    session: &mut Session<'_>,
) -> std::result::Result<(), Failure> {
    if let Some(error) = without_notes {
        session.reporter.warning(
            &format!("the entries are told without their notes: {}", error.message),
            error.hint.as_deref(),
        );
    }
    let one = |found: Vec<(String, Vec<Listed>)>| -> Vec<Listed> {
        found.into_iter().flat_map(|(_, listed)| listed).collect()
    };
    let written = match (args.all_interfaces, args.json) {
        (true, true) => json::write_all(session.out, &found),
        (true, false) => text::write_all(session.out, &found, SystemTime::now()),
        (false, true) => json::write(session.out, &one(found)),
        (false, false) => text::write(session.out, &one(found), SystemTime::now()),
    };
    if args.flush {
        session.done(written);
        return Ok(());
    }
    written.map_err(Failure::from_output)
}
