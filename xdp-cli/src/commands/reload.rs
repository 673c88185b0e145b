//! `xdpctl reload`.

use std::time::{Duration, Instant};

use xdp_common::packet::LinkType;

use super::confirm::Limit;
use super::lockout::{self, Coming};
use super::{Failure, Session, attach, bypass, configuration, confirm, told};
use crate::args::Reload;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::{Attachments, not_attached};
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::tried::Tried;
use crate::datapath::change::outcome::Reloaded;
use crate::datapath::change::reload::{self, Change, Prepared};
use crate::datapath::change::{detach, memory};
use crate::datapath::error::Error;
use crate::datapath::host::checking;
use crate::diagnostic::Diagnostics;
use crate::difference::Difference;
use crate::event::{Changes, What};
use crate::judgement::reach::role::Warning;
use crate::notation::{took, word};
use crate::ruleset::Ruleset;
use crate::views::difference::{MapBytes, MovedPlaces, Reload as View, json, text};

/// Reads all configurations again, and then exchanges each ruleset, or with `--dry-run` only says
/// what would change.
pub fn run(args: &Reload, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop = args.confirm.map(|_| confirm::listen()).transpose()?;
    for _ in 0..super::ATTEMPTS {
        let namespace = Namespace::look()?;
        let namespace = match (&namespace, &args.interface) {
            (Some(namespace), _) => namespace,
            (None, Some(name)) => return Err(not_attached(name, &[]).into()),
            (None, None) => return Err(super::nothing_attached().into()),
        };
        let attached = namespace.attachments()?;
        let (chosen, left_out) = chosen(&attached, args)?;
        let loaded = read(&chosen, args, session)?;
        // Ask before anything is changed: afterwards, a question that fails would be too late.
        let link_types: Result<Vec<LinkType>, Error> =
            chosen.iter().map(|attachment| attachment.link_type()).collect();
        let link_types = link_types?;
        let since = Instant::now();
        let mut taken = Vec::new();
        let prepared = prepare(namespace, &chosen, &loaded).and_then(|ready| {
            if args.confirm.is_some() {
                refuse_on_nics(&ready)?;
            }
            for ready in &ready {
                keep_connection(&ready.change, args.force, &mut taken, session)?;
            }
            Ok(ready)
        });
        let done = match &prepared {
            Ok(prepared) if !args.dry_run => {
                put_in_force(prepared, args.confirm, session).map(|done| match done {
                    Some(done) => Outcome::Done(done),
                    None => Outcome::Outpaced,
                })
            }
            _ => Ok(Outcome::Asked),
        };
        if let Ok(Outcome::Outpaced) = done {
            // Another command was faster, and may have read newer files than this one did.
            continue;
        }
        if let (Ok(ready), Ok(Outcome::Done(results))) = (&prepared, &done) {
            told::tell(ready.iter().zip(results).filter_map(|(ready, result)| {
                Some(ready.told(result.as_ref().ok()?.generation, args.confirm))
            }));
        }
        for error in &left_out {
            session.reporter.warning(&error.message, error.hint.as_deref());
        }
        for ((attachment, configuration), link_type) in chosen.iter().zip(&loaded).zip(link_types) {
            session.reporter.diagnostics(&configuration.warnings);
            let name = attachment.name();
            attach::say_never_matching(&name, link_type, &configuration.ruleset, session);
            if let (Some(interface), Some(mode)) = (attachment.interface(), attachment.mode()) {
                attach::say_sent_back(&interface, mode, &configuration.ruleset, session);
            }
            attach::say_notes(checking::note(&configuration.ruleset).as_slice(), session);
            bypass::warn(attachment, session);
        }
        attach::say_taken(&taken, session);
        let results = match done? {
            Outcome::Done(results) => Some(results),
            Outcome::Asked | Outcome::Outpaced => None,
        };
        let (tried, said) = tell(prepared?, results, args.json, session);
        return match (args.confirm, stop) {
            // Wait even if printing failed: if the terminal is gone, the wait takes it back.
            (Some(life), Some(stop)) if !tried.is_empty() => {
                let limit = Limit { life, stop: &stop, since };
                let waited = confirm::wait_for_rulesets(&tried, &limit, args.json, session);
                waited.and(said)
            }
            _ => said,
        };
    }
    Err(super::outpaced().into())
}

/// The attachments to reload: the named one, or all that judge packets here. Also returns why
/// others do not, to be reported.
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

/// Reads the configuration of each. Reports all mistakes in all files before it fails.
fn read(
    chosen: &[&Attachment],
    args: &Reload,
    session: &mut Session<'_>,
) -> Result<Vec<configuration::Loaded>, Failure> {
    let mut all: Vec<Result<configuration::Loaded, Diagnostics>> = Vec::new();
    for attachment in chosen {
        let in_force = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
        let path = match &args.config {
            Some(path) => Ok(path.as_path()),
            None => configuration::given_at_attach(&attachment.name(), &in_force.metadata),
        };
        all.push(path.and_then(|path| configuration::read_in_place_of(path, &in_force.metadata)));
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

/// What happened to the rulesets that were ready.
enum Outcome {
    Done(Vec<Result<Reloaded, Error>>),
    /// It was a dry run.
    Asked,
    /// Another command changed something in between.
    Outpaced,
}

/// A ruleset that is ready, and what it changes.
struct Ready<'a> {
    change: Change<'a>,
    missing: Vec<Error>,
    /// Why not everything could be compared.
    unkept: Option<Error>,
    difference: Difference,
    map_bytes: MapBytes,
}

impl Ready<'_> {
    /// What to tell once it is in force.
    fn told(&self, generation: u64, confirm: Option<Duration>) -> told::Done {
        let config = self.change.configured.path.display().to_string();
        let changes = Changes::of(&text::lines(&self.difference, false));
        let confirm_seconds = confirm.map(told::seconds);
        let what = What::Reload { generation, config, changes, confirm_seconds };
        told::Done::to(self.change.before, what)
    }
}

/// Compiles a ruleset and compares it with what is in force. Changes nothing.
fn prepare<'a>(
    namespace: &Namespace,
    chosen: &[&'a Attachment],
    loaded: &'a [configuration::Loaded],
) -> Result<Vec<Ready<'a>>, Error> {
    let mut all = Vec::new();
    for (&before, loaded) in chosen.iter().zip(loaded) {
        let configured = loaded.configured();
        // First, while there is no image yet: each takes much memory.
        let (difference, unkept) = compare(namespace, before, configured.ruleset)?;
        let prepared = reload::prepare(before, configured.ruleset, configured.path)?;
        let map_bytes = memory::map_bytes(before, &prepared)?;
        let missing = missing(&before.name(), &prepared);
        let change = Change { before, configured, prepared };
        all.push(Ready { change, missing, unkept, difference, map_bytes });
    }
    Ok(all)
}

/// The difference to the ruleset in force. If its file is lost or unreadable, only numbers are
/// compared. That is no failure, since this reload will write the file anew.
fn compare(
    namespace: &Namespace,
    before: &Attachment,
    after: &Ruleset,
) -> Result<(Difference, Option<Error>), Error> {
    let in_force = before.in_force().ok_or_else(|| before.unreadable())?;
    let begun = Instant::now();
    let compared = match namespace.kept_ruleset(before.key(), in_force) {
        Ok(Some(kept)) => (Difference::between(&kept.ruleset, after), None),
        Ok(None) => (Difference::by_numbers(&in_force.metadata, after), None),
        Err(error) => (Difference::by_numbers(&in_force.metadata, after), Some(error)),
    };
    log::info!(
        "compared it with generation {}, which is in force on {}, in {}",
        in_force.generation,
        before.name(),
        took(begun.elapsed())
    );
    Ok(compared)
}

/// Refuses to try a ruleset where nothing could take it back.
fn refuse_on_nics(all: &[Ready<'_>]) -> Result<(), Error> {
    for ready in all {
        if let Prepared::Nic(_) = ready.change.prepared {
            let name = ready.change.before.name();
            let as_word = word(&name);
            return Err(Error::new(format!(
                "{name} is attached in offload mode, and its NIC keeps one ruleset alone: without \
                 this command, nothing could put the one before back"
            ))
            .hint(format!(
                "`xdpctl reload {as_word}` without --confirm; or attach it in native mode"
            )));
        }
    }
    Ok(())
}

/// Refuses what would cut off the connection that this command runs in. Adds to `taken` what else
/// the interface would lose.
fn keep_connection(
    change: &Change<'_>,
    force: bool,
    taken: &mut Vec<Warning>,
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
    let coming = Coming { interface: &interface, ruleset, image, metadata, maps, persisted: None };
    taken.extend(lockout::warnings(&coming));
    attach::refuse_lockout(&coming, force, session)
}

/// Warnings of redirect targets that are missing.
fn missing(name: &str, prepared: &Prepared) -> Vec<Error> {
    let missing = prepared.missing().iter().map(|missing| {
        Error::new(format!(
            "{name}: {} is not there any more; what rule \"{}\" sends there is dropped and \
             counted as lost",
            missing.to,
            missing.rules.join("\", \"")
        ))
        .hint("`xdpctl reload` picks it up when it is back")
    });
    missing.collect()
}

/// How many places of services' tables move.
fn moved_places(prepared: &Prepared) -> Vec<MovedPlaces> {
    match prepared {
        Prepared::Kernel(prepared) => {
            let moved = prepared.moved.iter();
            moved.map(|(name, moved)| MovedPlaces::new(name, moved.places, moved.of)).collect()
        }
        Prepared::Nic(_) => Vec::new(),
    }
}

/// Puts all rulesets in force; `None` if another command changed something in between.
fn put_in_force(
    ready: &[Ready<'_>],
    life: Option<Duration>,
    session: &mut Session<'_>,
) -> Result<Option<Vec<Result<Reloaded, Error>>>, Error> {
    let changes: Vec<&Change<'_>> = ready.iter().map(|ready| &ready.change).collect();
    session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        reload::activate(&namespace, &attached, &changes, life)
    })
}

/// Reports what was done, or without `results` what would be. Returns what has to be confirmed.
fn tell(
    all: Vec<Ready<'_>>,
    results: Option<Vec<Result<Reloaded, Error>>>,
    json: bool,
    session: &mut Session<'_>,
) -> (Vec<Tried>, Result<(), Failure>) {
    let (mut told, mut failed, mut tried) = (Vec::new(), Vec::new(), Vec::new());
    let (number, dry_run) = (all.len(), results.is_none());
    let results: Vec<Option<Result<Reloaded, Error>>> = match results {
        Some(results) => results.into_iter().map(Some).collect(),
        None => all.iter().map(|_| None).collect(),
    };
    for (ready, result) in all.into_iter().zip(results) {
        let Ready { change, missing, unkept, difference, map_bytes } = ready;
        // If the ruleset was not put in force, its error is reported, which may be the same.
        let unkept = unkept.filter(|_| !matches!(result, Some(Err(_))));
        for warning in missing.iter().chain(&unkept) {
            session.reporter.warning(&warning.message, warning.hint.as_deref());
        }
        let moved_places = moved_places(&change.prepared);
        let attachment = change.before;
        let name = attachment.name();
        let in_force = attachment.in_force();
        let generation = match result {
            None => in_force.map_or(0, |in_force| in_force.generation),
            Some(Ok(mut reloaded)) => {
                tried.extend(reloaded.tried.take());
                super::say_deferred(&name, &reloaded.deferred, session);
                if let (Some(interface), Some(in_force)) = (attachment.interface(), in_force) {
                    let mode = in_force.metadata.mode;
                    attach::say_redirects(&interface, mode, &reloaded.redirects, session);
                }
                reloaded.generation
            }
            Some(Err(error)) if number == 1 => {
                failed.push(error);
                continue;
            }
            Some(Err(error)) => {
                failed.push(Error { message: format!("{name}: {}", error.message), ..error });
                continue;
            }
        };
        told.push(View {
            interface: name,
            generation,
            dry_run,
            difference,
            moved_places,
            map_bytes,
        });
    }
    let failed = session.all_but_last(failed);
    for view in &told {
        let write = if json { json::write } else { text::write };
        let written = if session.is_untold { Ok(()) } else { write(session.out, view) };
        if !dry_run {
            session.done(written);
        } else if let Err(error) = written {
            return (tried, Err(Failure::from_output(error)));
        }
    }
    (tried, failed.map_or(Ok(()), |error| Err(error.into())))
}
