//! `xdpctl services`.

use super::{Failure, Session};
use crate::args::Services;
use crate::datapath::attached::services::{Remarks, read};
use crate::datapath::error::Error;
use crate::notation::{counted, plain, word};
use crate::ruleset::Ruleset;
use crate::served::InKernel;
use crate::views::services::{Service, json, text};
use xdp_common::lookup::services::State;

/// Shows services, or says whether one has a backend that is up.
pub fn run(args: &Services, session: &mut Session<'_>) -> Result<(), Failure> {
    let (namespace, attachment) = super::look_at(&args.interface)?;
    let (in_force, mut services) = read(&attachment)?;
    let name = plain(&attachment.name());
    if let Some(wanted) = args.up.as_ref().or(args.name.as_ref()) {
        services = vec![one(services, wanted, &name)?];
    }
    if args.up.is_some() {
        return tell_up(&services, session);
    }
    // Where the kept ruleset is lost, what only the configuration says is not shown.
    let kept = namespace.kept_ruleset(attachment.key(), &in_force).ok().flatten();
    if kept.is_none() && !services.is_empty() {
        session.reporter.warning(
            &format!(
                "the ruleset in force on {name} is not kept any more: addresses are not shown"
            ),
            Some(&format!("`xdpctl reload {}` keeps it again", word(&name))),
        );
    }
    let ruleset = kept.map_or_else(Ruleset::default, |kept| kept.ruleset);
    let directory = namespace.notes_directory(attachment.key())?;
    let remarks = directory.map(|directory| Remarks::read(&directory)).unwrap_or_default();
    let shown: Vec<Service> = services
        .iter()
        .map(|service| {
            let written = ruleset.services.iter().find(|it| it.name == service.name);
            let note = |service: &str, backend: &str| remarks.get(service, backend)?.text.clone();
            Service::new(service, written, note)
        })
        .collect();
    let write = if args.json { json::write } else { text::write };
    write(session.out, &shown).map_err(Failure::from_output)
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
        let up = service.backends.iter().filter(|it| it.state == State::Up).count();
        let all = counted(service.backends.len() as u64, "backend");
        let name = plain(&service.name);
        if up == 0 {
            return Err(Error::new(format!("{name}: none of {all} is up")).into());
        }
        let are = if up == 1 { "is" } else { "are" };
        session.print(format_args!("{name}: {up} of {all} {are} up\n"))?;
    }
    Ok(())
}
