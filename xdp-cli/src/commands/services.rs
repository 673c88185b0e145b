//! `xdpctl services`.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Failure, Session};
use crate::agent::health::report::{self, Word};
use crate::args::Services;
use crate::datapath::attached::services::{Remarks, read};
use crate::datapath::error::Error;
use crate::notation::{counted, millis, plain, word};
use crate::ruleset::Ruleset;
use crate::ruleset::services::Backend;
use crate::served::InKernel;
use crate::views::services::{Checked, Service, json, text};
use crate::views::stats::follow::Ticks;
use crate::views::stats::stop::Stop;
use crate::views::stats::terminal::CLEAR_SCREEN;
use xdp_common::lookup::services::State;

/// Shows services, once or again and again, or says whether one has a backend that is up.
pub fn run(args: &Services, session: &mut Session<'_>) -> Result<(), Failure> {
    if !args.watch {
        return show(args, true, session);
    }
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let clears = !args.json && io::stdout().is_terminal() && !is_dumb;
    let mut ticks = Ticks::new(args.interval);
    let mut looks = 0;
    while !stop.is_set() {
        if clears {
            session.print(format_args!("{CLEAR_SCREEN}"))?;
        } else if looks > 0 && !args.json {
            session.print(format_args!("\n"))?;
        }
        show(args, looks == 0, session)?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) || stop.wait_until(ticks.next_tick()) {
            break;
        }
    }
    Ok(())
}

/// Everything is opened anew each time, since meanwhile it may have been detached. `is_first` has what is
/// wrong told.
fn show(args: &Services, is_first: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let (namespace, attachment) = super::look_at(&args.interface)?;
    let (in_force, mut services) = read(&attachment)?;
    let name = plain(&attachment.name());
    if let Some(wanted) = args.up.as_ref().or(args.name.as_ref()) {
        services = vec![one(services, wanted, &name)?];
    }
    if args.up.is_some() && !args.json {
        return tell_up(&services, session);
    }
    // Where the kept ruleset is lost, what only the configuration says is not shown.
    let kept = namespace.kept_ruleset(attachment.key(), &in_force)?;
    if kept.is_none() && !services.is_empty() && is_first {
        session.reporter.warning(
            &format!(
                "the ruleset in force on {name} is not kept any more: addresses are not shown"
            ),
            Some(&format!("`xdpctl reload {}` keeps it again", word(&name))),
        );
    }
    let ruleset = kept.map_or_else(Ruleset::default, |kept| kept.ruleset);
    let directory = namespace.notes_directory(attachment.key())?;
    let remarks = directory.as_deref().map(Remarks::read).unwrap_or_default();
    // What checks found is in the kernel; without this file, less is shown of it.
    let report = directory.and_then(|directory| report::read(&directory).ok().flatten());
    let unchecked = match in_force.metadata.is_checked {
        true => {
            let (loaded, now) = (in_force.metadata.loaded_at, millis(SystemTime::now()));
            report::unchecked(&ruleset, report.as_ref(), loaded, now)
        }
        false => Vec::new(),
    };
    let shown: Vec<Service> = services
        .iter()
        .map(|service| {
            let written = ruleset.services.iter().find(|it| it.name == service.name);
            let note = |service: &str, backend: &str| remarks.get(service, backend)?.text.clone();
            let checked = |service: &str, backend: &Backend| {
                let found = report.as_ref()?.of(service, &backend.name)?;
                // Another address under the same name is another backend. Through a service, the place is the service's.
                let address = found.address.unwrap_or_else(|| found.place.ip());
                (address == backend.address).then(|| Checked {
                    is_up: found.is_up,
                    since: found.since.map(|it| UNIX_EPOCH + Duration::from_millis(it)),
                    rtt_ms: found.last.as_ref().map(|last| last.rtt_ms),
                    at: found.last.as_ref().map(|it| UNIX_EPOCH + Duration::from_millis(it.at)),
                    // Why a check could not be made is not why the backend is down.
                    message: found
                        .last
                        .as_ref()
                        .filter(|last| last.result == Word::Failed)
                        .and_then(|last| last.message.clone()),
                })
            };
            let unchecked = unchecked.iter().find(|it| it.service == service.name);
            Service::new(service, written, note, checked, unchecked.map(|it| it.age))
        })
        .collect();
    let write = if args.json { json::write } else { text::write };
    write(session.out, &shown).map_err(Failure::from_output)?;
    // With --up and --json, the object says how many are up, and the status whether one is.
    let mut asked = services.iter().filter(|_| args.up.is_some());
    Ok(asked.try_for_each(is_up)?)
}

fn one(services: Vec<InKernel>, wanted: &str, interface: &str) -> Result<InKernel, Error> {
    let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    services.into_iter().find(|service| service.name == wanted).ok_or_else(|| {
        let hint = match names.as_slice() {
            [] => "its ruleset has no services".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        Error::new(format!("no service \"{}\" on {interface}", plain(wanted))).hint(hint)
    })
}

fn tell_up(services: &[InKernel], session: &mut Session<'_>) -> Result<(), Failure> {
    for service in services {
        is_up(service)?;
        let up = up(service);
        let all = counted(service.backends.len() as u64, "backend");
        let name = plain(&service.name);
        let are = if up == 1 { "is" } else { "are" };
        session.print(format_args!("{name}: {up} of {all} {are} up\n"))?;
    }
    Ok(())
}

/// How many of its backends are up.
fn up(service: &InKernel) -> usize {
    service.backends.iter().filter(|it| it.state == State::Up).count()
}

/// The error that none of its backends is up.
fn is_up(service: &InKernel) -> Result<(), Error> {
    if up(service) > 0 {
        return Ok(());
    }
    let all = counted(service.backends.len() as u64, "backend");
    Err(Error::new(format!("{}: none of {all} is up", plain(&service.name))))
}
