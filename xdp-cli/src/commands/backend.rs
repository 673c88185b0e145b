//! `xdpctl backend`.

use std::time::SystemTime;

use xdp_common::lookup::services::State;

use super::{Failure, Session, told};
use crate::args::{Backend, BackendState};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::services::{Remark, Remarks, Says, command_of, say, state};
use crate::datapath::maps::states::By;
use crate::event::What;
use crate::notation::{duration, plain, word};
use crate::served::SaidBy;

/// Says whether a backend gets packets.
pub fn run(args: &Backend, session: &mut Session<'_>) -> Result<(), Failure> {
    let wanted = match args.state {
        BackendState::Up => Some(State::Up),
        BackendState::Drain => Some(State::Drain),
        BackendState::Down => Some(State::Down),
        BackendState::Auto => None,
    };
    let which = (args.service.as_str(), args.backend.as_str());
    let (name, ifindex, unkept, elsewhere) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        say(attachment, which, By::Command, Says { state: wanted, life: args.life })?;
        // It is in force: whatever fails now is no reason to say that it is not.
        let directory = namespace.state_directory(attachment.key());
        let remark = wanted.map(|_| Remark { text: args.note.clone(), at: SystemTime::now() });
        let kept = Remarks::read(&directory).set(&directory, which, remark);
        let elsewhere = elsewhere(&attached, attachment, which, wanted);
        Ok((attachment.name(), attachment.ifindex(), kept.err(), elsewhere))
    })?;
    let for_seconds = args.life.map(|life| life.as_secs());
    told::tell([told::Done::on(
        &name,
        ifindex,
        What::Backend {
            service: args.service.clone(),
            backend: args.backend.clone(),
            state: args.state.as_str().to_owned(),
            for_seconds,
            note: args.note.clone(),
        },
    )]);
    if let Some(error) = unkept {
        session.reporter.warning(
            &format!("it is in force, but xdpctl {}", error.message),
            error.hint.as_deref(),
        );
    }
    if args.state == BackendState::Auto && args.note.is_some() {
        session.reporter.note(
            "the note is for `xdpctl monitor` alone: nothing that a command said is left to have one",
            None,
        );
    }
    let for_so_long = args.life.map_or_else(String::new, |it| {
        format!(" --for {}", word(&humantime::format_duration(it).to_string()))
    });
    for (other, state) in elsewhere {
        let (service, backend) = (word(&args.service), word(&args.backend));
        session.reporter.note(
            &format!(
                "service \"{}\" is on {} too, where {} is {state} still",
                plain(&args.service),
                plain(&other),
                plain(&args.backend)
            ),
            Some(&format!(
                "`xdpctl backend {} {service} {backend} {}{for_so_long}` says it there",
                word(&other),
                args.state.as_str()
            )),
        );
    }
    let life = for_seconds.map_or_else(String::new, |it| format!(" for {}", duration(it)));
    let (service, backend) = (plain(&args.service), plain(&args.backend));
    let told = match args.state {
        BackendState::Auto => format!("as the configuration and checks say, {}", command_of(&name)),
        other => format!("{}{life}", other.as_str()),
    };
    session.print_done(format_args!("{}: {service}, {backend}: {told}\n", plain(&name)));
    Ok(())
}

/// The other interfaces on which a service of that name has a backend of that name, which is in another state than
/// `wanted`, or where no state is wanted, in one that a command said; with the state.
fn elsewhere(
    attached: &Attachments,
    here: &Attachment,
    which: (&str, &str),
    wanted: Option<State>,
) -> Vec<(String, &'static str)> {
    let others = attached.iter().filter(|it| it.key() != here.key() && it.stranded().is_none());
    let differing = others.filter_map(|other| {
        // What cannot be read is no reason to say anything.
        let (found, by) = state(other, which).ok()??;
        let differs = match wanted {
            Some(wanted) => found != wanted,
            None => by == SaidBy::Command,
        };
        let found = match found {
            State::Up => "up",
            State::Drain => "drain",
            State::Down => "down",
        };
        differs.then(|| (other.name(), found))
    });
    differing.collect()
}
