//! `xdpctl unblock`.

use super::prefixes::{self, shown};
use super::{Failure, Session};
use crate::args::Unblock;
use crate::config::prefix::IpPrefix;
use crate::datapath::bans::Store;
use crate::datapath::error::Error;
use crate::datapath::lifecycle;
use crate::datapath::namespace::Namespace;
use crate::notation::plain;

/// Most prefixes that a message names.
const NAMED: usize = 10;

/// Removes entries of either kind. All that are there go, also where others are not.
pub fn run(args: &Unblock, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut prefixes = prefixes::read(&args.prefixes, session)?;
    prefixes.sort_unstable();
    prefixes.dedup();
    let namespace = Namespace::lock()?;
    lifecycle::tidy(&namespace)?;
    let attachment = namespace.require_attachment(&args.interface)?;
    let missing = Store::open(&namespace, &attachment)?.remove(&prefixes)?;

    let name = plain(&attachment.name());
    prefixes.retain(|prefix| missing.binary_search(prefix).is_err());
    let printed = if !prefixes.is_empty() || missing.is_empty() {
        session.print(format_args!("unblocked {} on {name}\n", shown(&prefixes)))
    } else {
        Ok(())
    };
    // The status says that some were not there also where nobody reads what was.
    if missing.is_empty() { printed } else { Err(not_there(&missing, &name).into()) }
}

fn not_there(missing: &[IpPrefix], name: &str) -> Error {
    let named: Vec<String> = missing.iter().take(NAMED).map(ToString::to_string).collect();
    let rest = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    Error::new(format!("{name} has no run-time entry for {}{rest}", named.join(", ")))
        .hint(format!("an entry has the prefix that it was given; `xdpctl bans {name}` lists them"))
}
