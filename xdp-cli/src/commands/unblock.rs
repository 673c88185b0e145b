//! `xdpctl unblock`.

use super::holders::{self, Holders};
use super::prefixes::{self, Given, shown};
use super::{Failure, Session};
use crate::args::Unblock;
use crate::config::prefix::IpPrefix;
use crate::datapath::change::detach;
use crate::datapath::error::Error;
use crate::datapath::maps::dynamic::Store;
use crate::notation::plain;

/// A message names at most so many prefixes.
const NAMED: usize = 10;

/// Removes entries of either kind, of one owner or of all. Removes none if one of them does not
/// exist. With all interfaces, it is enough if one interface has it.
pub fn run(args: &Unblock, session: &mut Session<'_>) -> Result<(), Failure> {
    let Given { interface, prefixes } = prefixes::read(&args.interface, &args.prefixes, session)?;
    let (owner, all) = (args.owner.as_deref(), args.prefixes.all_interfaces);
    let (done, left_out, would_return) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let Holders { attachments, left_out } =
            holders::chosen(&attached, interface.as_deref(), all)?;
        let mut there: Vec<(String, Store<'_>, Vec<IpPrefix>)> = Vec::new();
        for attachment in attachments {
            let store = namespace.entries(attachment)?;
            let there_on = store.having(&prefixes, owner)?;
            there.push((attachment.name(), store, there_on));
        }
        let is_there = |prefix: &&IpPrefix| {
            there.iter().any(|(.., there_on)| there_on.binary_search(prefix).is_ok())
        };
        let missing: Vec<IpPrefix> =
            prefixes.iter().filter(|prefix| !is_there(prefix)).copied().collect();
        if !missing.is_empty() {
            let names: Vec<String> = there.iter().map(|(name, ..)| plain(name)).collect();
            return Err(not_there(&missing, owner, &names));
        }
        let mut done: Vec<(String, Vec<IpPrefix>)> = Vec::new();
        for nth in 0..there.len() {
            let (name, store, there_on) = &mut there[nth];
            if let Err(error) = store.take(there_on, owner) {
                for (_, store, _) in &mut there[..nth] {
                    store.take_back()?;
                }
                return Err(error);
            }
            done.push((name.clone(), std::mem::take(there_on)));
        }
        there.iter_mut().for_each(|(_, store, _)| store.sweep_removed());
        // The entries are removed, even if that cannot be written to disk.
        let names: Vec<String> = there.into_iter().map(|(name, ..)| name).collect();
        let would_return = holders::forget(&names, &prefixes, owner);
        Ok((done, left_out, would_return))
    })?;
    holders::tell_would_return(would_return, session);
    holders::tell_left_out(&left_out, session);
    for (name, removed) in done.iter().filter(|(_, removed)| !removed.is_empty() || !all) {
        session.print(format_args!("unblocked {} on {}\n", shown(removed), plain(name)))?;
    }
    Ok(())
}

fn not_there(missing: &[IpPrefix], owner: Option<&str>, names: &[String]) -> Error {
    let named: Vec<String> = missing.iter().take(NAMED).map(ToString::to_string).collect();
    let rest = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let of = owner.map_or_else(String::new, |owner| format!(" of {}", plain(owner)));
    let (has, name) = match names {
        [name] => (format!("{name} has no"), name.as_str()),
        _ => ("no attached interface has a".to_owned(), "IFACE"),
    };
    let told = format!("{has} run-time entry{of} for {}{rest}", named.join(", "));
    Error::new(told).hint(format!(
        "nothing was removed; an entry has the prefix that it was given, and `xdpctl bans {name}` \
         lists them"
    ))
}
