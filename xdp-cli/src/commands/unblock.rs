//! `xdpctl unblock`.

use super::holders::{self, Holders};
use super::prefixes::{self, Given, named, shown};
use super::{Failure, Session, lockout, told};
use crate::args::Unblock;
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::change::detach;
use crate::datapath::error::Error;
use crate::datapath::maps::dynamic::Store;
use crate::event::What;
use crate::notation::{plain, word};
use crate::views::entries::Listed;

/// Removes entries of either kind, of one owner or of all. Removes none if one of them does not
/// exist, unless missing ones are to be passed over. With all interfaces, it is enough if one
/// interface has it.
pub fn run(args: &Unblock, session: &mut Session<'_>) -> Result<(), Failure> {
    let Given { interface, prefixes } = prefixes::read(&args.interface, &args.prefixes, session)?;
    let (owner, all) = (args.owner.as_deref(), args.prefixes.all_interfaces);
    let is_removed = |it: &Listed| {
        owner.is_none_or(|owner| owner == it.owner) && prefixes.binary_search(&it.prefix).is_ok()
    };
    lockout::keep_let_in(interface.as_deref(), all, is_removed, args.force, session)?;
    let (done, left_out, would_return) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let Holders { attachments, left_out } =
            holders::chosen(&attached, interface.as_deref(), all)?;
        let mut there: Vec<Holder<'_>> = Vec::new();
        for attachment in attachments {
            let store = namespace.entries(attachment)?;
            let in_force = store.having(&prefixes, owner)?;
            let (name, ifindex) = (attachment.name(), attachment.ifindex());
            there.push(Holder { name, ifindex, store, in_force, kept: Vec::new() });
        }
        if !not_there(&prefixes, &there).is_empty() {
            // A command that was cut off may have left them only where the next attach finds them.
            for holder in &mut there {
                let kept = Persisted::read(&holder.name);
                holder.kept =
                    kept.map_or_else(|_| Vec::new(), |kept| kept.having(&prefixes, owner));
            }
        }
        let missing = not_there(&prefixes, &there);
        if !missing.is_empty() && !args.if_present {
            let names: Vec<String> = there.iter().map(|holder| plain(&holder.name)).collect();
            return Err(refusal(&missing, owner, &names));
        }
        for nth in 0..there.len() {
            let Holder { name, store, in_force, .. } = &mut there[nth];
            if let Err(error) = store.take(in_force, owner) {
                let error = holders::on(name, all, error);
                for holder in &mut there[..nth] {
                    holder.store.take_back()?;
                }
                return Err(error);
            }
        }
        there.iter_mut().for_each(|holder| holder.store.sweep_removed());
        // The entries are removed, even if that cannot be written to disk.
        let names: Vec<String> = there.iter().map(|holder| holder.name.clone()).collect();
        let would_return = holders::forget(&names, &prefixes, owner);
        let was_in_force = there.iter().any(|holder| !holder.in_force.is_empty());
        if let (Some(error), false) = (&would_return, was_in_force || prefixes.is_empty()) {
            return Err(error.clone());
        }
        let done: Vec<_> = there.into_iter().map(Holder::removed).collect();
        Ok((done, left_out, would_return))
    })?;
    told::tell(
        done.iter().filter(|done| !done.prefixes.is_empty()).map(|done| {
            told::Done::on(&done.name, done.ifindex, What::unset(owner, &done.prefixes))
        }),
    );
    holders::tell_would_return(would_return, session);
    holders::tell_left_out(&left_out, session);
    for Removed { name, prefixes, .. } in done.iter().filter(|one| !one.prefixes.is_empty()) {
        session.print_done(format_args!("unblocked {} on {}\n", shown(prefixes), plain(name)));
    }
    Ok(())
}

/// An interface, and which of the prefixes have an entry there.
struct Holder<'a> {
    name: String,
    ifindex: Option<u32>,
    store: Store<'a>,
    /// Sorted.
    in_force: Vec<IpPrefix>,
    /// Those that the next attach would put back, if it was looked for them. Sorted.
    kept: Vec<IpPrefix>,
}

impl Holder<'_> {
    fn has(&self, prefix: &IpPrefix) -> bool {
        self.in_force.binary_search(prefix).is_ok() || self.kept.binary_search(prefix).is_ok()
    }

    /// What was removed there.
    fn removed(self) -> Removed {
        let mut removed = [self.in_force, self.kept].concat();
        removed.sort_unstable();
        removed.dedup();
        Removed { name: self.name, ifindex: self.ifindex, prefixes: removed }
    }
}

/// An interface, and the prefixes whose entries were removed there.
struct Removed {
    name: String,
    ifindex: Option<u32>,
    prefixes: Vec<IpPrefix>,
}

/// The prefixes that have no entry on any of these interfaces.
fn not_there(prefixes: &[IpPrefix], there: &[Holder<'_>]) -> Vec<IpPrefix> {
    let is_missing = |prefix: &&IpPrefix| there.iter().all(|holder| !holder.has(prefix));
    prefixes.iter().filter(is_missing).copied().collect()
}

fn refusal(missing: &[IpPrefix], owner: Option<&str>, names: &[String]) -> Error {
    let of = owner.map_or_else(String::new, |owner| format!(" of {}", plain(owner)));
    let (has, name) = match names {
        [name] => (format!("{name} has no"), name.as_str()),
        _ => ("no attached interface has a".to_owned(), "IFACE"),
    };
    let as_word = word(name);
    let told = format!("{has} run-time entry{of} for {}", named(missing));
    Error::new(told).hint(format!(
        "nothing was removed; an entry has the prefix that it was given, and `xdpctl bans {as_word}` \
         lists them"
    ))
}
