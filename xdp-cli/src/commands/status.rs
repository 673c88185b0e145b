//! `xdpctl status`.

use std::time::{Duration, UNIX_EPOCH};

use super::{Failure, Session};
use crate::args;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::{Namespace, not_attached};
use crate::datapath::change::kernel;
use crate::datapath::change::redirect_targets::{self, Outcome};
use crate::datapath::error::Error;
use crate::datapath::host::interface::Interface;
use crate::datapath::maps::dynamic;
use crate::views::status::{EntryCounts, Link, Redirect, Status, json, text};

/// Shows what is attached. That nothing is, is an answer and no error.
pub fn run(args: &args::Status, session: &mut Session<'_>) -> Result<(), Failure> {
    let all = gather(args.interface.as_deref())?;
    let written = if args.json {
        json::write(session.out, &all)
    } else {
        text::write(session.out, &all, session.colours)
    };
    written.map_err(Failure::from_output)
}

fn gather(interface: Option<&str>) -> Result<Vec<Status>, Error> {
    let Some(namespace) = Namespace::look()? else {
        return match interface {
            Some(name) => Err(not_attached(name, &[])),
            None => Ok(Vec::new()),
        };
    };
    let attachments = match interface {
        Some(name) => vec![namespace.require_attachment(name)?],
        None => namespace.attachments()?,
    };
    let interfaces = Interface::all()?;
    attachments
        .iter()
        .map(|attachment| {
            let outcomes = redirect_targets::inspect(&namespace, [attachment])?;
            Ok(view(attachment, &interfaces, &outcomes))
        })
        .collect()
}

fn view(attachment: &Attachment, interfaces: &[Interface], outcomes: &[Outcome]) -> Status {
    // Where the link is on no interface, the one that it was on may still be there.
    let index = attachment.ifindex().or_else(|| Some(attachment.left()?.index));
    let interface =
        index.and_then(|index| interfaces.iter().find(|interface| interface.index == index));
    let link = match interface {
        Some(interface) if interface.up => Link::Up,
        Some(_) => Link::Down,
        None => Link::Gone,
    };
    let mut problems = Vec::new();
    let name = attachment.name();
    match (interface, link) {
        (None, _) => problems.push(format!(
            "the interface is gone: `xdpctl detach {name}` removes what is left of it"
        )),
        (Some(interface), Link::Down) if !interface.admin_up => {
            problems.push(format!("the interface is down: `ip link set {name} up`"));
        }
        (Some(_), Link::Down) => problems.push("the interface has no carrier".to_owned()),
        (Some(interface), _) => {
            let on = |xdp: &crate::datapath::host::interface::AttachedXdp| {
                xdp.program_id == attachment.program_id()
            };
            if !interface.xdp.iter().any(on) {
                problems.push(format!(
                    "xdpctl's program is not on the interface: `xdpctl detach {name}`, then attach"
                ));
            }
        }
    }
    let ifindex = attachment.ifindex().unwrap_or(attachment.key());
    let map_bytes = attachment.map_bytes().unwrap_or_else(|error| {
        problems.push(error.message);
        0
    });
    let Some(in_force) = attachment.in_force() else {
        let error = attachment.unreadable();
        problems.push(match error.hint {
            Some(hint) => format!("{}: {hint}", error.message),
            None => error.message,
        });
        return Status {
            interface: name,
            ifindex,
            mode: interface
                .and_then(|interface| interface.xdp.first())
                .map_or(crate::image::metadata::Mode::Native, |xdp| xdp.mode),
            link,
            generation: 0,
            config: "".into(),
            loaded_at: UNIX_EPOCH,
            uptime_seconds: 0,
            program_id: attachment.program_id(),
            entries: EntryCounts::default(),
            map_bytes,
            bypass: false,
            problems,
            attached_as: None,
            loaded_from: None,
            redirects: Vec::new(),
        };
    };
    let metadata = &in_force.metadata;
    let mut redirects = Vec::new();
    for redirect in &metadata.redirects {
        let present = redirect
            .ifindex
            .filter(|index| interfaces.iter().any(|interface| interface.index == *index));
        if present.is_none() {
            problems.push(format!(
                "{} is not there: what rule \"{}\" sends there is dropped; `xdpctl reload {name}` \
                 picks it up when it is back",
                redirect.to,
                redirect.rules.join("\", \"")
            ));
        }
        let down = |interface: &&Interface| Some(interface.index) == present && !interface.up;
        if let Some(target) = interfaces.iter().find(down) {
            problems.push(format!("{} is down: what is redirected to it is dropped", target.name));
        }
        let outcome =
            outcomes.iter().find(|outcome| Some(outcome.target.index) == redirect.ifindex);
        problems.extend(outcome.and_then(Outcome::problem));
        redirects.push(Redirect {
            to: redirect.to.to_string(),
            ifindex: present,
            rules: redirect.rules.clone(),
            pass_program: outcome.is_some_and(|outcome| outcome.pass_program.is_some()),
        });
    }
    let counted = match attachment.nic() {
        // A NIC has no entries of run time.
        Some(_) => Ok(0),
        None => attachment.readable().and_then(|(maps, _)| dynamic::count(maps)),
    };
    let bans = counted.unwrap_or_else(|error| {
        problems.push(error.message);
        0
    });
    let since_attach = kernel::now().saturating_sub(metadata.attached_at);
    Status {
        attached_as: (metadata.interface != name).then(|| metadata.interface.clone()),
        interface: name,
        ifindex,
        mode: metadata.mode,
        link,
        generation: in_force.generation,
        config: metadata.config.clone(),
        loaded_at: UNIX_EPOCH + Duration::from_millis(metadata.loaded_at),
        uptime_seconds: since_attach / 1000,
        program_id: attachment.program_id(),
        entries: EntryCounts {
            ipv4: metadata.ipv4_entries,
            ipv6: metadata.ipv6_entries,
            domains: 0,
            rules: u64::from(in_force.rules),
            bans,
        },
        map_bytes,
        bypass: false,
        problems,
        loaded_from: (metadata.loaded_from != metadata.config)
            .then(|| metadata.loaded_from.clone()),
        redirects,
    }
}
