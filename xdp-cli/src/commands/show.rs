//! `xdpctl show`.

use std::time::{Duration, UNIX_EPOCH};

use super::{Failure, Session};
use crate::args;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::Error;
use crate::notation::{plain, word};
use crate::views::show::{Shown, json, text};

/// Shows rulesets in force.
pub fn run(args: &args::Show, session: &mut Session<'_>) -> Result<(), Failure> {
    let namespace = match (Namespace::look()?, &args.interface) {
        (Some(namespace), _) => namespace,
        (None, Some(name)) => return Err(not_attached(name, &[]).into()),
        (None, None) => return Err(super::nothing_attached().into()),
    };
    let attached = namespace.attachments()?;
    let chosen: Vec<&Attachment> = match &args.interface {
        Some(name) => vec![attached.require(name)?],
        None => attached.iter().collect(),
    };
    if chosen.is_empty() {
        return Err(super::nothing_attached().into());
    }
    let all: Result<Vec<Shown>, Error> =
        chosen.into_iter().map(|attachment| shown(&namespace, attachment, args.terse)).collect();
    let write = if args.json { json::write } else { text::write };
    write(session.out, &all?).map_err(Failure::from_output)
}

/// How often to look again if a reload came between asking which ruleset is in force and reading
/// its file.
const ATTEMPTS: u32 = 100;

fn shown(namespace: &Namespace, attachment: &Attachment, terse: bool) -> Result<Shown, Error> {
    for _ in 0..ATTEMPTS {
        let in_force = attachment.in_force_now()?;
        let kept = namespace.kept_ruleset(attachment.key(), &in_force)?;
        let Some(kept) = kept else {
            if attachment.in_force_now()?.generation != in_force.generation {
                continue;
            }
            break;
        };
        let metadata = in_force.metadata;
        return Ok(Shown {
            interface: attachment.name(),
            mode: metadata.mode,
            generation: in_force.generation,
            loaded_at: UNIX_EPOCH + Duration::from_millis(metadata.loaded_at),
            loaded_from: metadata.loaded_from,
            ruleset: kept.ruleset,
            terse,
        });
    }
    let name = plain(&attachment.name());
    let as_word = word(&name);
    Err(Error::new(format!("the ruleset in force on {name} is not kept any more"))
        .hint(format!("`xdpctl reload {as_word}` keeps it again")))
}
