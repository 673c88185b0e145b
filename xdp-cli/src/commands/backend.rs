//! `xdpctl backend`.

use std::time::SystemTime;

use xdp_common::lookup::services::State;

use super::{Failure, Session, told};
use crate::args::{Backend, BackendState};
use crate::datapath::attached::services::{Remark, Remarks, Says, command_of, say};
use crate::datapath::maps::states::By;
use crate::event::What;
use crate::notation::{duration, plain};

/// Says whether a backend gets packets.
pub fn run(args: &Backend, session: &mut Session<'_>) -> Result<(), Failure> {
    let state = match args.state {
        BackendState::Up => Some(State::Up),
        BackendState::Drain => Some(State::Drain),
        BackendState::Down => Some(State::Down),
        BackendState::Auto => None,
    };
    let which = (args.service.as_str(), args.backend.as_str());
    let (name, ifindex, unkept) = session.locked(|namespace| {
        let attached = namespace.attachments()?;
        let attachment = attached.require_here(&args.interface)?;
        say(attachment, which, By::Command, Says { state, life: args.life })?;
        // It is in force: whatever fails now is no reason to say that it is not.
        let directory = namespace.state_directory(attachment.key());
        let remark = state.map(|_| Remark { text: args.note.clone(), at: SystemTime::now() });
        let kept = Remarks::read(&directory).set(&directory, which, remark);
        Ok((attachment.name(), attachment.ifindex(), kept.err()))
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
    let life = for_seconds.map_or_else(String::new, |it| format!(" for {}", duration(it)));
    let (service, backend) = (plain(&args.service), plain(&args.backend));
    let told = match args.state {
        BackendState::Auto => format!("as the configuration and checks say, {}", command_of(&name)),
        other => format!("{}{life}", other.as_str()),
    };
    session.print(format_args!("{}: {service}, {backend}: {told}\n", plain(&name)))
}
