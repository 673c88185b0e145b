//! `xdpctl block` and `xdpctl allow`.

use super::holders::{self, Holders};
use super::prefixes::{self, Given, shown};
use super::{Failure, Session};
use crate::args::Put;
use crate::datapath::change::detach;
use crate::datapath::maps::dynamic::{self, Order, Store};
use crate::notation::{grouped, plain};
use crate::views::entries::Kind;

/// Puts entries on an attached interface, or on all of them: on each, or on none where one cannot have
/// them.
pub fn run(args: &Put, kind: Kind, session: &mut Session<'_>) -> Result<(), Failure> {
    // Mistakes in them are told without root too, and before anybody waits for a lock.
    let Given { interface, prefixes } = prefixes::read(&args.interface, &args.prefixes, session)?;
    prefixes::refuse_catch_all(&prefixes, args.catch_all, session)?;
    let (owner, life, note) = (args.owner.clone(), args.life, args.note.clone());
    let order = Order { owner, kind, life, note };
    let all = args.prefixes.all_interfaces;
    let (done, left_out) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let Holders { attachments, left_out } =
            holders::chosen(&attached, interface.as_deref(), all)?;
        let mut stores: Vec<(String, Store<'_>)> = Vec::new();
        for attachment in attachments {
            if let Some(error) = attachment.stranded() {
                return Err(error);
            }
            stores.push((attachment.name(), namespace.entries(attachment)?));
        }
        let mut done: Vec<(String, dynamic::Put)> = Vec::new();
        for nth in 0..stores.len() {
            let (name, store) = &mut stores[nth];
            match store.put(&prefixes, &order) {
                Ok(put) => done.push((name.clone(), put)),
                Err(error) => {
                    for (_, store) in &mut stores[..nth] {
                        store.take_back()?;
                    }
                    return Err(error);
                }
            }
        }
        Ok((done, left_out))
    })?;
    holders::tell_left_out(&left_out, session);

    let verb = match kind {
        Kind::Block => "blocked",
        Kind::Allow => "allowed",
    };
    let life = args
        .life
        .map_or_else(String::new, |life| format!(" for {}", humantime::format_duration(life)));
    for (name, put) in done {
        let replaced = match put.replaced {
            0 => String::new(),
            _ if prefixes.len() == 1 => ", in place of an entry before".to_owned(),
            some => format!(", {} of them in place of entries before", grouped(some as u64)),
        };
        let name = plain(&name);
        session.print(format_args!("{verb} {} on {name}{life}{replaced}\n", shown(&prefixes)))?;
    }
    Ok(())
}
