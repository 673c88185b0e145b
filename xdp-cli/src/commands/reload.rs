//! `xdpctl reload`.

use super::{Failure, Session, attach, configuration};
use crate::args::Reload;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::{Locked, Namespace};
use crate::datapath::change::{detach, reload};
use crate::datapath::error::Error;
use crate::notation::plain;

/// Reads configurations again, all of them first, then exchanges each ruleset.
pub fn run(args: &Reload, session: &mut Session<'_>) -> Result<(), Failure> {
    let namespace = Namespace::lock()?;
    detach::tidy(&namespace)?;
    let attachments = chosen(&namespace, args, session)?;

    // All of the mistakes of all of the files are told before giving up.
    let mut loaded = Vec::new();
    let mut failure = None;
    for attachment in &attachments {
        let in_force = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
        let path = args.config.as_ref().unwrap_or(&in_force.metadata.config);
        match configuration::load(path, session) {
            Ok(configuration) => loaded.push(configuration),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut prepared = Vec::new();
    for (attachment, loaded) in attachments.iter().zip(&loaded) {
        prepared.push(reload::prepare(attachment, &loaded.ruleset, loaded.configured().path)?);
    }
    // Told when all is done: that nobody reads the output, keeps no interface from its ruleset.
    // One that fails keeps no other from its ruleset either.
    let mut done = Vec::new();
    let mut failed = None;
    for ((attachment, loaded), prepared) in attachments.iter().zip(&loaded).zip(prepared) {
        let name = attachment.name();
        for missing in prepared.missing() {
            session.reporter.warning(
                &format!(
                    "{name}: {} is not there any more; what rule \"{}\" sends there is dropped and \
                     counted as lost",
                    missing.to,
                    missing.rules.join("\", \"")
                ),
                Some("`xdpctl reload` picks it up when it is back"),
            );
        }
        attach::say_never_matching(&name, attachment.link_type()?, &loaded.ruleset, session);
        let configured = loaded.configured();
        let reloaded = reload::activate(&namespace, attachment, &configured, &prepared);
        let reloaded = match reloaded {
            Ok(reloaded) => reloaded,
            Err(error) => {
                let error = match attachments.as_slice() {
                    [_] => error,
                    _ => Error { message: format!("{name}: {}", error.message), ..error },
                };
                if let Some(before) = failed.replace(error) {
                    session.reporter.error(&before.message, before.hint.as_deref());
                }
                continue;
            }
        };
        attach::say_deferred(&name, &reloaded.deferred, session);
        if let (Some(interface), Some(in_force)) = (attachment.interface(), attachment.in_force()) {
            let mode = in_force.metadata.mode;
            attach::say_redirects(&interface, mode, &reloaded.redirects, session);
        }
        done.push((name, reloaded.generation));
    }
    for (name, generation) in done {
        session.print(format_args!("reloaded {}, generation {generation}\n", plain(&name)))?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// What is to be reloaded: what is named, or all that judges anything.
fn chosen(
    namespace: &Locked,
    args: &Reload,
    session: &mut Session<'_>,
) -> Result<Vec<Attachment>, Error> {
    if let Some(name) = &args.interface {
        let attachment = namespace.require_attachment(name)?;
        return match attachment.stranded() {
            Some(error) => Err(error),
            None => Ok(vec![attachment]),
        };
    }
    let mut attachments = namespace.attachments()?;
    if attachments.is_empty() {
        return Err(super::nothing_attached());
    }
    let stranded: Vec<Error> = attachments.iter().filter_map(Attachment::stranded).collect();
    if stranded.len() == attachments.len()
        && let Some(error) = stranded.into_iter().next()
    {
        return Err(error);
    }
    attachments.retain(|attachment| match attachment.stranded() {
        Some(error) => {
            session.reporter.warning(&error.message, error.hint.as_deref());
            false
        }
        None => true,
    });
    Ok(attachments)
}
