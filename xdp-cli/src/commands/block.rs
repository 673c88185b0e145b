//! `xdpctl block` and `xdpctl allow`.

use std::time::SystemTime;

use super::holders::{self, Files, Holders};
use super::prefixes::{self, Given, shown};
use super::{Failure, Session, lockout, told};
use crate::args::{Block, Put};
use crate::datapath::attached::allowlisted;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::change::detach;
use crate::datapath::error::{Error, Result};
use crate::datapath::maps::dynamic::{self, Order, Store};
use crate::event::What;
use crate::notation::{grouped, plain, word};
use crate::ruleset::List;
use crate::views::entries::{Kind, Listed, overruled};
use xdp_common::capacity::MAX_SHOWN_WARNINGS;

/// Blocks, unless that would cut off the connection that the command runs in.
pub fn block(args: &Block, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    let given = read(&args.put, session)?;
    keep_connection(&given, args, session)?;
    put(&args.put, Kind::Block, given, session)
}

pub fn allow(args: &Put, session: &mut Session<'_>) -> std::result::Result<(), Failure> {
    let given = read(args, session)?;
    put(args, Kind::Allow, given, session)
}

/// Reports mistakes in prefixes even without root, and before waiting for a lock.
fn read(args: &Put, session: &mut Session<'_>) -> std::result::Result<Given, Failure> {
    let given = prefixes::read(&args.interface, &args.prefixes, session)?;
    prefixes::refuse_catch_all(&given.prefixes, args.catch_all, session)?;
    Ok(given)
}

/// Refuses to block the source of the connection that this command runs in; with `--force`, only
/// warns of it.
fn keep_connection(given: &Given, args: &Block, session: &mut Session<'_>) -> Result<()> {
    let connections = lockout::connections_from(&given.prefixes);
    if connections.is_empty() {
        return Ok(());
    }
    let Some(namespace) = Namespace::look()? else { return Ok(()) };
    let attached = namespace.attachments()?;
    let all = args.put.prefixes.all_interfaces;
    let chosen = holders::chosen(&attached, given.interface.as_deref(), all)?;
    let mut cut = chosen.attachments.into_iter().filter_map(|attachment| {
        lockout::cut_off_by_block(attachment, &given.prefixes, &args.put.owner, &connections)
    });
    match cut.next() {
        Some(error) if args.force => session.reporter.warning(&error.message, None),
        Some(error) => return Err(error),
        None => {}
    }
    Ok(())
}

/// Adds entries on an attached interface, or on all of them. If one interface cannot take them,
/// none gets them.
fn put(
    args: &Put,
    kind: Kind,
    given: Given,
    session: &mut Session<'_>,
) -> std::result::Result<(), Failure> {
    let Given { interface, prefixes } = given;
    let (owner, life, note) = (args.owner.clone(), args.life, args.note.clone());
    let order = Order { owner, kind, life, note, created: SystemTime::now() };
    let all = args.prefixes.all_interfaces;
    let (done, left_out, would_return) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let Holders { attachments, left_out } =
            holders::chosen(&attached, interface.as_deref(), all)?;
        let mut stores: Vec<Opened<'_>> = Vec::new();
        let mut files = Files::default();
        for attachment in attachments {
            if let Some(error) = attachment.stranded() {
                return Err(error);
            }
            if args.persist {
                files.add(&attachment.name())?;
            }
            stores.push(Opened { attachment, store: namespace.entries(attachment)? });
        }
        // What is to outlive a restart is written to disk first: later, that could fail.
        files.change(|kept| kept.put(&prefixes, &order))?;
        let mut puts: Vec<dynamic::Put> = Vec::new();
        for nth in 0..stores.len() {
            match stores[nth].store.put(&prefixes, &order) {
                Ok(put) => puts.push(put),
                Err(error) => {
                    files.take_back();
                    for one in &mut stores[..nth] {
                        one.store.take_back()?;
                    }
                    return Err(holders::on(&stores[nth].attachment.name(), all, error));
                }
            }
        }
        let mut would_return = None;
        if !args.persist {
            // These replace the owner's earlier entries, which may have been meant to outlive a
            // restart.
            let names: Vec<String> = stores.iter().map(|one| one.attachment.name()).collect();
            would_return = holders::forget(&names, &prefixes, Some(&order.owner));
        }
        // The entries are in force. Failing to find out what keeps them from acting is no failure.
        let done = stores.into_iter().zip(puts).map(|(Opened { attachment, store }, put)| Done {
            name: attachment.name(),
            ifindex: attachment.ifindex(),
            put,
            against: store.against(&prefixes, kind),
            may_be_allowlisted: match kind {
                Kind::Block => allowlisted::may_be(attachment, &prefixes),
                Kind::Allow => Ok(false),
            },
        });
        Ok((done.collect::<Vec<_>>(), left_out, would_return))
    })?;
    let set = || {
        let life = order.life.map(told::seconds);
        What::set(kind, &order.owner, life, order.note.as_deref(), &prefixes)
    };
    // `xdpctl monitor` recognizes the entries by the time that they were put.
    let set_on = |done: &Done| told::Done::on(&done.name, done.ifindex, set()).at(order.created);
    told::tell(done.iter().filter(|_| !prefixes.is_empty()).map(set_on));
    holders::tell_left_out(&left_out, session);
    holders::tell_would_return(would_return, session);

    let verb = match kind {
        Kind::Block => "blocked",
        Kind::Allow => "allowed",
    };
    let life = args
        .life
        .map_or_else(String::new, |life| format!(" for {}", humantime::format_duration(life)));
    let several = done.len() > 1;
    for Done { name, put, against, may_be_allowlisted, .. } in done {
        let replaced = match put.replaced {
            0 => String::new(),
            _ if prefixes.len() == 1 => ", in place of an entry before".to_owned(),
            some => format!(", {} of them in place of entries before", grouped(some as u64)),
        };
        let on = plain(&name);
        session.print_done(format_args!("{verb} {} on {on}{life}{replaced}\n", shown(&prefixes)));
        let found = against.and_then(|against| {
            let lists = if may_be_allowlisted? { allowlists(&name)? } else { Vec::new() };
            Ok(overruled::sentences(kind, &prefixes, &lists, &against))
        });
        tell(found, &if several { format!("{on}: ") } else { String::new() }, session);
    }
    Ok(())
}

/// An interface whose entries are being changed.
struct Opened<'a> {
    attachment: &'a Attachment,
    store: Store<'a>,
}

/// What was done on one interface, and what may keep the entries from acting.
struct Done {
    name: String,
    ifindex: Option<u32>,
    put: dynamic::Put,
    against: Result<Vec<Listed>>,
    may_be_allowlisted: Result<bool>,
}

/// The allowlists in force on an interface.
fn allowlists(name: &str) -> Result<Vec<List>> {
    let (namespace, attachment) = super::look_at(name)?;
    let in_force = attachment.in_force_now()?;
    let kept = namespace.kept_ruleset(attachment.key(), &in_force)?;
    let kept = kept.ok_or_else(|| {
        Error::new("the ruleset in force is not kept any more")
            .hint(format!("`xdpctl reload {}` keeps it again", word(name)))
    })?;
    Ok(kept.ruleset.allowlists)
}

/// Reports what keeps the entries from acting, or that this could not be found out. The latter is
/// no failure, since the entries are in force.
fn tell(found: Result<Vec<String>>, on: &str, session: &mut Session<'_>) {
    match found {
        Ok(sentences) => {
            for sentence in sentences.iter().take(MAX_SHOWN_WARNINGS) {
                session.reporter.warning(&format!("{on}{sentence}"), None);
            }
            if let rest @ 1.. = sentences.len().saturating_sub(MAX_SHOWN_WARNINGS) {
                let told = format!("{on}{} more like these", grouped(rest as u64));
                session.reporter.warning(&told, None);
            }
        }
        Err(error) => session.reporter.warning(
            &format!("{on}whether something overrules it cannot be told: {}", error.message),
            error.hint.as_deref(),
        ),
    }
}
