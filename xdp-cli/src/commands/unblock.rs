//! `xdpctl unblock`.

use super::prefixes::{self, shown};
use super::{Failure, Session};
use crate::args::Unblock;
use crate::config::prefix::IpPrefix;
use crate::datapath::change::detach;
use crate::datapath::error::Error;
use crate::notation::plain;

/// Most prefixes that a message names.
const NAMED: usize = 10;

/// Removes entries of either kind, those of one owner or of all: all of them, or none where one is not
/// there.
pub fn run(args: &Unblock, session: &mut Session<'_>) -> Result<(), Failure> {
    let prefixes = prefixes::read(&args.prefixes, session)?;
    let owner = args.owner.as_deref();
    let name = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attachment = attached.require_here(&args.interface)?;
        let mut store = namespace.entries(attachment)?;
        let name = attachment.name();
        let listed = store.list(owner)?;
        let is_listed =
            |prefix: &IpPrefix| listed.binary_search_by_key(prefix, |listed| listed.prefix).is_ok();
        let missing: Vec<IpPrefix> =
            prefixes.iter().filter(|prefix| !is_listed(prefix)).copied().collect();
        if !missing.is_empty() {
            return Err(not_there(&missing, owner, &plain(&name)));
        }
        store.remove(&prefixes, owner)?;
        Ok(name)
    })?;
    session.print(format_args!("unblocked {} on {}\n", shown(&prefixes), plain(&name)))
}

fn not_there(missing: &[IpPrefix], owner: Option<&str>, name: &str) -> Error {
    let named: Vec<String> = missing.iter().take(NAMED).map(ToString::to_string).collect();
    let rest = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let of = owner.map_or_else(String::new, |owner| format!(" of {}", plain(owner)));
    let told = format!("{name} has no run-time entry{of} for {}{rest}", named.join(", "));
    Error::new(told).hint(format!(
        "nothing was removed; an entry has the prefix that it was given, and `xdpctl bans {name}` \
         lists them"
    ))
}
