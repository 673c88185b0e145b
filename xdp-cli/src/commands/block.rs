//! `xdpctl block` and `xdpctl allow`.

use super::prefixes::{self, shown};
use super::{Failure, Session};
use crate::args::Put;
use crate::datapath::change::detach;
use crate::datapath::maps::dynamic::Order;
use crate::notation::{grouped, plain};
use crate::views::entries::Kind;

/// Puts entries on an attached interface.
pub fn run(args: &Put, kind: Kind, session: &mut Session<'_>) -> Result<(), Failure> {
    // Mistakes in them are told without root too, and before anybody waits for a lock.
    let prefixes = prefixes::read(&args.prefixes, session)?;
    prefixes::refuse_catch_all(&prefixes, args.catch_all, session)?;
    let (owner, life, note) = (args.owner.clone(), args.life, args.note.clone());
    let order = Order { owner, kind, life, note };
    let (name, put) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attachment = attached.require(&args.interface)?;
        if let Some(error) = attachment.stranded() {
            return Err(error);
        }
        let put = namespace.entries(attachment)?.put(&prefixes, &order)?;
        Ok((attachment.name(), put))
    })?;

    let verb = match kind {
        Kind::Block => "blocked",
        Kind::Allow => "allowed",
    };
    let life = args
        .life
        .map_or_else(String::new, |life| format!(" for {}", humantime::format_duration(life)));
    let replaced = match put.replaced {
        0 => String::new(),
        _ if prefixes.len() == 1 => ", in place of an entry before".to_owned(),
        some => format!(", {} of them in place of entries before", grouped(some as u64)),
    };
    let name = plain(&name);
    session.print(format_args!("{verb} {} on {name}{life}{replaced}\n", shown(&prefixes)))
}
