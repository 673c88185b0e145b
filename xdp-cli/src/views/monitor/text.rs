//! Writes an event as one line.

use std::io::{self, Write};

use crate::event::{Actor, Changes, Event, Link, RULES, Target, Unconfirmed, What};
use crate::notation::{counted, duration, grouped, memory, plain, timestamp};
use crate::views::entries::Kind;

/// How many lines of a reload's difference, and how many prefixes, a line names.
const CHANGES: usize = 4;
const PREFIXES: usize = 3;

/// Writes an event, with its time.
pub fn write(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    out.write_all(format!("{} {}\n", timestamp(event.time), sentence(event)).as_bytes())
}

/// An event as a sentence: where, what, and by whom.
pub fn sentence(event: &Event) -> String {
    let mut text = match &event.interface {
        Some(name) => format!("{}: ", plain(name)),
        None => String::new(),
    };
    text.push_str(&what(&event.what));
    match &event.by {
        Some(actor) => text.push_str(&by(actor)),
        None if event.what.is_done() && !is_of_rule(&event.what) => {
            text.push_str(", by a command that did not say so");
        }
        None => {}
    }
    text
}

/// Whether the program itself put the entries, for a rule.
fn is_of_rule(what: &What) -> bool {
    matches!(what, What::Set { owner, .. } if owner.starts_with(RULES))
}

fn by(Actor { user, pid, command, .. }: &Actor) -> String {
    format!(", by {} ({}, process {pid})", plain(user), plain(command))
}

fn what(what: &What) -> String {
    match what {
        What::Attach { mode, generation, config, replaced, confirm_seconds, restored } => {
            let verb = if *replaced { "program replaced" } else { "attached" };
            let mut text =
                format!("{verb} in {mode} mode, generation {generation}, from {}", plain(config));
            if *restored > 0 {
                text.push_str(&format!(", {} put back", entries(*restored)));
            }
            text.push_str(&to_confirm(*confirm_seconds));
            text
        }
        What::Reload { generation, config, changes, confirm_seconds } => {
            let (from, changes) = (plain(config), difference(changes));
            let confirm = to_confirm(*confirm_seconds);
            format!("reloaded from {from}, generation {generation}{confirm}{changes}")
        }
        What::Detach { moved: false } => "detached".to_owned(),
        What::Detach { moved: true } => "detached, in another network namespace".to_owned(),
        What::Confirm { generation: None } => "confirmed, it stays attached".to_owned(),
        What::Confirm { generation: Some(generation) } => {
            format!("confirmed, generation {generation} stays in force")
        }
        What::Rollback { why, generation: None } => {
            format!("{}, detached again", unconfirmed(*why))
        }
        What::Rollback { why, generation: Some(generation) } => {
            format!("{}, generation {generation} is in force again", unconfirmed(*why))
        }
        What::Set { kind, owner, for_seconds, note, count, prefixes } => {
            let verb = match kind {
                Kind::Block => "blocked",
                Kind::Allow => "allowed",
            };
            let life = for_seconds
                .map_or_else(String::new, |seconds| format!(" for {}", duration(seconds)));
            format!("{verb} {}{life} ({})", some(*count, prefixes), whose(owner, note.as_deref()))
        }
        What::Unset { owner, count, prefixes } => {
            let owner =
                owner.as_ref().map_or_else(String::new, |it| format!(" (owner {})", plain(it)));
            format!("unblocked {}{owner}", some(*count, prefixes))
        }
        What::Ended { kind, owner, prefix, note } => {
            let whose = whose(owner, note.as_deref());
            format!("{} of {prefix} ended ({whose})", kind.as_str())
        }
        What::Backend { service, backend, state, for_seconds, note } => {
            let life = for_seconds
                .map_or_else(String::new, |seconds| format!(" for {}", duration(seconds)));
            let note = note.as_ref().map_or_else(String::new, |note| format!(" ({})", plain(note)));
            format!("service {}, backend {}: {state}{life}{note}", plain(service), plain(backend))
        }
        What::Bypass { on: true } => "bypass on, everything passes".to_owned(),
        What::Bypass { on: false } => "bypass off, the ruleset judges again".to_owned(),
        What::Sweep { interfaces, map_bytes } => {
            let mut left = vec![format!("{} of maps", memory(*map_bytes))];
            if !interfaces.is_empty() {
                left.insert(0, plain(&interfaces.join(", ")));
            }
            let told = "removed what was left of a network namespace that no longer exists";
            format!("{told} ({})", left.join("; "))
        }
        What::Health { service, backend, up, why, in_a_row } => {
            health(service, backend, *up, why.as_deref(), *in_a_row)
        }
        What::Link { link, from } => match (link, from) {
            (Link::Up, _) => "link up".to_owned(),
            (Link::Down, _) => "link down".to_owned(),
            (Link::Gone, _) => "the interface is gone".to_owned(),
            (Link::Moved, _) => {
                "the interface was moved to another network namespace, and is filtered still"
                    .to_owned()
            }
            (Link::Renamed, Some(from)) => format!("renamed, it was {}", plain(from)),
            (Link::Renamed, None) => "renamed".to_owned(),
            (Link::Stripped, _) => {
                "the program was taken off by other means than xdpctl: nothing is filtered"
                    .to_owned()
            }
        },
        What::Target { to, target, rules } => {
            let (to, rules) = (plain(to), plain(&rules.join("\", \"")));
            match target {
                Target::Up => format!("redirect target {to} is up again"),
                Target::Down => format!(
                    "redirect target {to} is down: what rule \"{rules}\" sends there is dropped"
                ),
                Target::Gone => format!(
                    "redirect target {to} is gone: what rule \"{rules}\" sends there is dropped"
                ),
                Target::Back => format!(
                    "redirect target {to} is back: a reload has rule \"{rules}\" send there again"
                ),
            }
        }
    }
}

/// `web: b1 is down: connection refused (3 in a row)`
pub fn health(service: &str, backend: &str, up: bool, why: Option<&str>, in_a_row: u32) -> String {
    let state = if up { "up" } else { "down" };
    let why = why.map_or_else(String::new, |why| format!(": {}", plain(why)));
    format!("{}: {} is {state}{why} ({in_a_row} in a row)", plain(service), plain(backend))
}

fn to_confirm(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| {
        format!(", to be confirmed within {}", duration(seconds))
    })
}

const fn unconfirmed(why: Unconfirmed) -> &'static str {
    match why {
        Unconfirmed::Timeout => "not confirmed in time",
        Unconfirmed::Stopped => "stopped before it was confirmed",
        Unconfirmed::Killed => "killed before it was confirmed",
    }
}

/// The first lines of a difference, and how many more there are.
fn difference(Changes(lines): &Changes) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = lines.iter().take(CHANGES).map(|line| plain(line)).collect();
    let more = lines.len().saturating_sub(CHANGES);
    if more > 0 {
        shown.push(counted(more as u64, "more change"));
    }
    format!(" [{}]", shown.join(" | "))
}

/// The prefix if there is just one, or how many there are with the first.
fn some(count: u64, prefixes: &[String]) -> String {
    if let ([prefix], 1) = (prefixes, count) {
        return plain(prefix);
    }
    let first: Vec<String> = prefixes.iter().take(PREFIXES).map(|prefix| plain(prefix)).collect();
    let more = count.saturating_sub(first.len() as u64);
    let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
    format!("{} prefixes, {}{more}", grouped(count), first.join(", "))
}

fn whose(owner: &str, note: Option<&str>) -> String {
    let note = note.map_or_else(String::new, |note| format!(", note \"{}\"", plain(note)));
    format!("owner {}{note}", plain(owner))
}

fn entries(number: u64) -> String {
    let plural = if number == 1 { "entry" } else { "entries" };
    format!("{} run-time {plural}", grouped(number))
}
