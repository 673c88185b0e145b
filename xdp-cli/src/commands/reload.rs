//! `xdpctl reload`.

use xdp_common::packet::LinkType;

use super::lockout::{self, Coming};
use super::{Failure, Session, attach, configuration};
use crate::args::Reload;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::{Attachments, not_attached};
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::change::detach;
use crate::datapath::change::outcome::Reloaded;
use crate::datapath::change::reload::{self, Change, Prepared};
use crate::datapath::error::Error;
use crate::diagnostic::Diagnostics;
use crate::notation::plain;

/// Reads configurations again, all of them first, then exchanges each ruleset.
pub fn run(args: &Reload, session: &mut Session<'_>) -> Result<(), Failure> {
    for _ in 0..super::ATTEMPTS {
        let namespace = Namespace::look()?;
        let attached = match (&namespace, &args.interface) {
            (Some(namespace), _) => namespace.attachments()?,
            (None, Some(name)) => return Err(not_attached(name, &[]).into()),
            (None, None) => return Err(super::nothing_attached().into()),
        };
        let (chosen, left_out) = chosen(&attached, args)?;
        let loaded = read(&chosen, args, session)?;
        // Asked before anything is changed: afterwards, no question may fail.
        let link_types: Result<Vec<LinkType>, Error> =
            chosen.iter().map(|attachment| attachment.link_type()).collect();
        let link_types = link_types?;
        let done = put_in_force(&chosen, &loaded, args.force, session);
        if let Ok(None) = done {
            // Another command was faster, and what it read may be newer than what was read here.
            continue;
        }
        for error in &left_out {
            session.reporter.warning(&error.message, error.hint.as_deref());
        }
        for ((attachment, configuration), link_type) in chosen.iter().zip(&loaded).zip(link_types) {
            session.reporter.diagnostics(&configuration.warnings);
            let name = attachment.name();
            attach::say_never_matching(&name, link_type, &configuration.ruleset, session);
        }
        return tell(&chosen, done?.unwrap_or_default(), session);
    }
    Err(super::outpaced().into())
}

/// What is to be reloaded: what is named, or all that judges anything here. Why others do not, is to be
/// told.
fn chosen<'a>(
    attached: &'a Attachments,
    args: &Reload,
) -> Result<(Vec<&'a Attachment>, Vec<Error>), Error> {
    if let Some(name) = &args.interface {
        let attachment = attached.require(name)?;
        return match attachment.stranded() {
            Some(error) => Err(error),
            None => Ok((vec![attachment], Vec::new())),
        };
    }
    if attached.is_empty() {
        return Err(super::nothing_attached());
    }
    let (mut chosen, mut stranded) = (Vec::new(), Vec::new());
    for attachment in attached.iter() {
        match attachment.stranded() {
            Some(error) => stranded.push(error),
            None => chosen.push(attachment),
        }
    }
    if chosen.is_empty() {
        return Err(stranded.swap_remove(0));
    }
    Ok((chosen, stranded))
}

/// Reads the configuration of each. All of the mistakes of all of the files are told before giving up.
fn read(
    chosen: &[&Attachment],
    args: &Reload,
    session: &mut Session<'_>,
) -> Result<Vec<configuration::Loaded>, Failure> {
    let mut all: Vec<Result<configuration::Loaded, Diagnostics>> = Vec::new();
    for attachment in chosen {
        let in_force = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
        let path = args.config.as_ref().unwrap_or(&in_force.metadata.config);
        all.push(configuration::read_in_place_of(path, &in_force.metadata));
    }
    if all.iter().any(Result::is_err) {
        for one in &all {
            session.reporter.diagnostics(match one {
                Ok(loaded) => &loaded.warnings,
                Err(diagnostics) => diagnostics,
            });
        }
        return Err(Failure::Configuration);
    }
    Ok(all.into_iter().flatten().collect())
}

/// A reload, with the targets that are missing.
struct Done {
    missing: Vec<Error>,
    reloaded: Result<Reloaded, Error>,
}

/// Compiles and puts in force; `None` where another command came in between.
fn put_in_force(
    chosen: &[&Attachment],
    loaded: &[configuration::Loaded],
    force: bool,
    session: &mut Session<'_>,
) -> Result<Option<Vec<Done>>, Error> {
    let mut changes = Vec::new();
    for (&before, loaded) in chosen.iter().zip(loaded) {
        let configured = loaded.configured();
        let prepared = reload::prepare(before, configured.ruleset, configured.path)?;
        changes.push(Change { before, configured, prepared });
    }
    for change in &changes {
        keep_connection(change, force, session)?;
    }
    let results = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        reload::activate(&namespace, &attached, &changes)
    })?;
    let Some(results) = results else { return Ok(None) };
    let done = changes.iter().zip(results).map(|(change, reloaded)| {
        let name = change.before.name();
        let missing = change.prepared.missing().iter().map(|missing| {
            Error::new(format!(
                "{name}: {} is not there any more; what rule \"{}\" sends there is dropped and \
                 counted as lost",
                missing.to,
                missing.rules.join("\", \"")
            ))
            .hint("`xdpctl reload` picks it up when it is back")
        });
        Done { missing: missing.collect(), reloaded }
    });
    Ok(Some(done.collect()))
}

/// Refuses what would cut off the connection that this command runs in.
fn keep_connection(
    change: &Change<'_>,
    force: bool,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    let Some(interface) = change.before.interface() else { return Ok(()) };
    let ruleset = change.configured.ruleset;
    let (of_kernel, maps);
    let (image, metadata) = match &change.prepared {
        Prepared::Kernel(prepared) => {
            maps = change.before.readable().ok().map(|(maps, _)| maps);
            (&prepared.image, &prepared.metadata)
        }
        Prepared::Nic(_) => {
            maps = None;
            of_kernel = lockout::image_of(ruleset)?;
            (&of_kernel.0, &of_kernel.1)
        }
    };
    let coming = Coming { interface: &interface, ruleset, image, metadata, maps };
    attach::refuse_lockout(&coming, force, session)
}

fn tell(chosen: &[&Attachment], done: Vec<Done>, session: &mut Session<'_>) -> Result<(), Failure> {
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for (attachment, Done { missing, reloaded }) in chosen.iter().zip(done) {
        for warning in &missing {
            session.reporter.warning(&warning.message, warning.hint.as_deref());
        }
        let name = attachment.name();
        match reloaded {
            Ok(reloaded) => {
                attach::say_deferred(&name, &reloaded.deferred, session);
                if let (Some(interface), Some(in_force)) =
                    (attachment.interface(), attachment.in_force())
                {
                    let mode = in_force.metadata.mode;
                    attach::say_redirects(&interface, mode, &reloaded.redirects, session);
                }
                lines.push((name, reloaded.generation));
            }
            Err(error) if chosen.len() == 1 => failed.push(error),
            Err(error) => {
                failed.push(Error { message: format!("{name}: {}", error.message), ..error });
            }
        }
    }
    let failed = session.all_but_last(failed);
    for (name, generation) in lines {
        session.print(format_args!("reloaded {}, generation {generation}\n", plain(&name)))?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
