//! `xdpctl lookup`.

use std::net::IpAddr;

use super::{Failure, Session, configuration};
use crate::args::{LookedUp, Lookup};
use crate::config::qtype;
use crate::datapath::error::Error;
use crate::datapath::maps::dynamic;
use crate::image::metadata::Kind;
use crate::judgement::names::full;
use crate::notation::word;
use crate::ruleset::domains::DomainName;
use crate::ruleset::{ListAction, Ruleset, Side};
use crate::views::entries::{Kind as EntryKind, Listed};
use crate::views::explain::entries::{Address, Held, ListedEntries};
use crate::views::explain::names::HeldName;
use crate::views::lookup::{Holding, json, text};

/// Shows what holds an address or a name. It is no error if nothing does.
pub fn run(args: &Lookup, session: &mut Session<'_>) -> Result<(), Failure> {
    let address = match &args.what {
        LookedUp::Address(IpAddr::V4(address)) => Some(Address::V4(address.to_bits())),
        LookedUp::Address(IpAddr::V6(address)) => Some(Address::V6(address.to_bits())),
        LookedUp::Name(_) => None,
    };
    let (entries, ruleset) = match (&args.judge.config, &args.judge.interface) {
        (Some(path), _) => {
            let loaded = configuration::load(path, session)?;
            session.reporter.diagnostics(&loaded.warnings);
            (Vec::new(), loaded.ruleset)
        }
        (None, interface) => in_force(interface.as_deref().unwrap_or_default(), address)?,
    };
    let mut listed = ListedEntries::of(ruleset);
    let (all, nothing) = match &args.what {
        LookedUp::Name(wire) => {
            let name = DomainName::of_wire(wire);
            let held = listed.holding_name(name);
            (held.iter().map(of_name).collect(), format!("no list holds {name}"))
        }
        LookedUp::Address(shown) => {
            let held = address.map(|address| listed.holding(address)).unwrap_or_default();
            let nothing = format!("no list and no run-time entry holds {shown}");
            (in_order(&entries, &held), nothing)
        }
    };
    let written = if args.json {
        json::write(session.out, &all)
    } else {
        text::write(session.out, &nothing, &all)
    };
    written.map_err(Failure::from_output)
}

/// The run-time entries of an interface that hold an address, and the ruleset in force there. None
/// holds a name.
fn in_force(interface: &str, address: Option<Address>) -> Result<(Vec<Listed>, Ruleset), Error> {
    let (namespace, attachment) = super::look_at(interface)?;
    let key = attachment.key();
    let entries = match (attachment.nic(), address) {
        // A NIC has no run-time entries.
        (Some(_), _) | (_, None) => Vec::new(),
        (None, Some(address)) => {
            let (maps, _) = attachment.readable()?;
            let notes = namespace.notes_directory(key)?;
            dynamic::holding(maps, notes, full(address))?
        }
    };
    let in_force = attachment.in_force_now()?;
    let kept = namespace.kept_ruleset(key, &in_force)?.ok_or_else(|| {
        Error::new("the ruleset in force is not kept any more: its lists cannot be looked through")
            .hint(format!("`xdpctl reload {}` keeps it again", word(&attachment.name())))
    })?;
    Ok((entries, kept.ruleset))
}

/// Sorts by the order of judgement, the deciding one first: run-time entries that allow,
/// allowlists, run-time entries that block, blocklists. Of run-time entries only the longest
/// decides. Those that it hides are listed after it, even an allow hidden by a longer block. Of
/// blocklists, those that drop come before those that count, and those that look at sources before
/// those that look at destinations only.
fn in_order(entries: &[Listed], held: &[Held]) -> Vec<Holding> {
    let (allowlists, blocklists): (Vec<&Held>, Vec<&Held>) =
        held.iter().partition(|held| held.kind == Kind::Allowlist);
    let mut blocklists = blocklists;
    // The sort is stable: the longest entry stays first, and then that of the first list.
    blocklists
        .sort_by_key(|held| (held.action == ListAction::Count, held.side == Side::Destination));
    let allowing = entries.first().is_some_and(|first| first.kind == EntryKind::Allow);
    let (before, behind): (Vec<&Listed>, Vec<&Listed>) =
        entries.iter().partition(|entry| allowing && entry.kind == EntryKind::Allow);
    let mut all = Vec::new();
    all.extend(before.into_iter().map(of_entry));
    all.extend(allowlists.into_iter().map(of_list));
    all.extend(behind.into_iter().map(of_entry));
    all.extend(blocklists.into_iter().map(of_list));
    all
}

fn of_entry(entry: &Listed) -> Holding {
    Holding {
        kind: entry.kind.as_str(),
        entry: entry.prefix.to_string(),
        action: match entry.kind {
            EntryKind::Allow => "pass",
            EntryKind::Block => "drop",
        },
        side: "source",
        expires_in_seconds: entry.expires_in_seconds,
        note: entry.note.clone(),
        owner: Some(entry.owner.clone()),
        ..Holding::default()
    }
}

fn of_name(held: &HeldName) -> Holding {
    let qtypes = held.qtypes.as_ref();
    Holding {
        kind: Kind::Domains.as_str(),
        name: Some(held.list.clone()),
        entry: held.place.entry.clone(),
        action: held.action.as_str(),
        side: "question",
        qtype: qtypes.map(|types| types.iter().map(|number| qtype::text(*number)).collect()),
        file: Some(held.place.file.clone()),
        line: Some(held.place.line),
        ..Holding::default()
    }
}

fn of_list(held: &Held) -> Holding {
    Holding {
        kind: held.kind.as_str(),
        name: Some(held.name.clone()),
        entry: held.place.prefix.to_string(),
        action: match (held.kind, held.action) {
            (Kind::Allowlist, _) => "pass",
            (_, ListAction::Drop) => "drop",
            (_, ListAction::Count) => "count",
        },
        side: match held.side {
            Side::Source => "source",
            Side::Destination => "destination",
            Side::Either => "either",
        },
        file: Some(held.place.file.clone()),
        line: Some(held.place.line),
        ..Holding::default()
    }
}
