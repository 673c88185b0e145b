//! Prints a reload as lines: a summary, and below it a line for each change.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{MapBytes, MovedPlaces, Reload};
use crate::config::written::Value;
use crate::difference::{
    BackendChange, Difference, EntryChange, Fate, KeyChange, ListChange, Move, NAMED, RuleChange,
    ServiceChange,
};
use crate::notation::{counted, grouped, memory, plain};
use crate::ruleset::EntryCount;

/// Writes a reload. For a dry run, the first entries of each change are named.
pub fn write(out: &mut dyn Write, reload: &Reload) -> io::Result<()> {
    let name = plain(&reload.interface);
    let generation = reload.generation;
    let mut text = if reload.dry_run {
        format!("{name}: generation {generation} stays in force; a reload would change this\n")
    } else {
        format!("reloaded {name}, generation {generation}\n")
    };
    for line in lines(&reload.difference, reload.dry_run) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    for moved in &reload.moved_places {
        let _ = writeln!(text, "  {}", moved_places(moved));
    }
    if !reload.difference.is_empty() {
        let _ = writeln!(text, "  maps: {}", map_bytes(reload.map_bytes));
    }
    out.write_all(text.as_bytes())
}

/// A line for each change, or one line that says that there is none. With `names`, the first entries
/// that were added and removed are named.
pub fn lines(difference: &Difference, names: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, changes) in [("policy", &difference.policy), ("arp", &difference.arp)] {
        lines.extend(changes.iter().map(|change| format!("{table} {}", key_change(change))));
    }
    for list in &difference.lists {
        lines.push(list_change(list));
        if let (true, Some(entries)) = (names, &list.entries) {
            lines.extend(named('+', &entries.first_added, entries.added));
            lines.extend(named('-', &entries.first_removed, entries.removed));
        }
    }
    lines.extend(difference.rules.iter().map(rule_change));
    let settings = difference.service_settings.iter();
    lines.extend(settings.map(|change| format!("services {}", key_change(change))));
    for service in &difference.services {
        lines.push(service_change(service));
        lines.extend(backend_changes(service, names));
    }
    if difference.by_numbers {
        lines.push(
            "the ruleset before is not kept any more: only names and numbers could be compared"
                .to_owned(),
        );
    } else if lines.is_empty() {
        lines.push("no change: the ruleset is the same".to_owned());
    }
    lines
}

fn moved_places(moved: &MovedPlaces) -> String {
    let MovedPlaces { service, places, of, percent } = moved;
    format!(
        "service {}: {} of the {} places of its table move to another backend ({percent:.1} %)",
        plain(service),
        grouped(*places as u64),
        grouped(*of as u64)
    )
}

/// Names the first entries, and says how many more there are.
fn named(sign: char, first: &[String], all: EntryCount) -> Option<String> {
    if first.is_empty() {
        return None;
    }
    let more = all.total() - first.len() as u64;
    let mut line = format!("  {sign} {}", first.join(", "));
    if more > 0 {
        let _ = write!(line, " and {} more", grouped(more));
    }
    Some(line)
}

fn list_change(list: &ListChange) -> String {
    let mut what = Vec::new();
    match (list.fate, &list.entries) {
        (Fate::Added, _) => what.push(format!("added, with {}", entries(list.after.total()))),
        (Fate::Removed, _) => what.push(format!("removed, with {}", entries(list.before.total()))),
        (Fate::Changed, Some(EntryChange { added, removed, .. })) => {
            let changes = [(added, "added"), (removed, "removed")];
            let changes = changes.into_iter().filter(|(count, _)| count.total() > 0);
            let changes = changes.map(|(count, word)| format!("{} {word}", entries(count.total())));
            let changes: Vec<String> = changes.collect();
            if !changes.is_empty() {
                what.push(format!("{}, {} now", changes.join(", "), grouped(list.after.total())));
            }
        }
        (Fate::Changed, None) if list.before != list.after => {
            let after = grouped(list.after.total());
            what.push(format!("{} before, {after} now", entries(list.before.total())));
        }
        (Fate::Changed, None) => {}
    }
    what.extend(list.settings.iter().map(key_change));
    what.extend(list.moved.map(moved));
    format!("{} {}: {}", list.kind.as_str(), plain(&list.name), what.join("; "))
}

fn rule_change(rule: &RuleChange) -> String {
    let mut what = Vec::new();
    match rule.fate {
        Fate::Added => what.push("added".to_owned()),
        Fate::Removed => what.push("removed".to_owned()),
        Fate::Changed => {}
    }
    what.extend(rule.settings.iter().map(key_change));
    what.extend(rule.moved.map(moved));
    format!("rule {}: {}", plain(&rule.name), what.join("; "))
}

fn service_change(service: &ServiceChange) -> String {
    let ServiceChange { name, fate, settings, moved: move_, before, after, backends } = service;
    let number = |number: usize| counted(number as u64, "backend");
    let mut what = Vec::new();
    match fate {
        Fate::Added => what.push(format!("added, with {}", number(*after))),
        Fate::Removed => what.push(format!("removed, with {}", number(*before))),
        Fate::Changed => {}
    }
    what.extend(settings.iter().map(key_change));
    let of = |fate: Fate| backends.iter().filter(|it| it.fate == fate).count();
    let changes = [(Fate::Added, "added"), (Fate::Removed, "removed"), (Fate::Changed, "changed")];
    let changes = changes.map(|(fate, word)| (of(fate), word)).into_iter();
    let changes = changes.filter(|(number, _)| *number > 0);
    let changes: Vec<String> =
        changes.map(|(many, word)| format!("{} {word}", number(many))).collect();
    if !changes.is_empty() {
        what.push(format!("{}, {} now", changes.join(", "), grouped(*after as u64)));
    } else if *fate == Fate::Changed && before != after {
        what.push(format!("{} before, {} now", number(*before), grouped(*after as u64)));
    }
    what.extend(move_.map(moved));
    format!("service {}: {}", plain(name), what.join("; "))
}

/// A line for each backend that changed, and with `names` the first that came and went.
fn backend_changes(service: &ServiceChange, names: bool) -> Vec<String> {
    let of = |fate: Fate| service.backends.iter().filter(move |it| it.fate == fate);
    let mut lines: Vec<String> = Vec::new();
    for BackendChange { name, settings, .. } in of(Fate::Changed).take(NAMED) {
        let settings: Vec<String> = settings.iter().map(key_change).collect();
        lines.push(format!("  backend {}: {}", plain(name), settings.join("; ")));
    }
    let more = of(Fate::Changed).count().saturating_sub(NAMED);
    if more > 0 {
        lines.push(format!("  and {} more", counted(more as u64, "backend")));
    }
    if names {
        for (sign, fate) in [('+', Fate::Added), ('-', Fate::Removed)] {
            let first: Vec<String> = of(fate).take(NAMED).map(|it| plain(&it.name)).collect();
            let all = EntryCount { ipv4: 0, ipv6: 0, names: of(fate).count() as u64 };
            lines.extend(named(sign, &first, all));
        }
    }
    lines
}

fn moved(Move { from, to }: Move) -> String {
    format!("moved from place {from} to {to}")
}

/// At most so many values are written out.
const WRITTEN: usize = 8;

fn key_change(KeyChange { key, before, after }: &KeyChange) -> String {
    if let (Some(before), Some(after)) = (before, after) {
        let (old, new) = (values(before), values(after));
        if old.len().max(new.len()) > WRITTEN {
            let missing = |from: &[&Value], value: &&&Value| from.binary_search(value).is_err();
            let added = new.iter().filter(|value| missing(&old, value)).count();
            let removed = old.iter().filter(|value| missing(&new, value)).count();
            let [added, removed, now] =
                [added, removed, new.len()].map(|number| grouped(number as u64));
            return format!("{key}: {added} added, {removed} removed, {now} now");
        }
    }
    format!("{key} {} -> {}", value(before), value(after))
}

/// All values in order; a single value as one.
fn values(value: &Value) -> Vec<&Value> {
    let mut values: Vec<&Value> = match value {
        Value::Several(values) => values.iter().collect(),
        one => vec![one],
    };
    values.sort_unstable();
    values
}

fn value(value: &Option<Value>) -> String {
    match value {
        None => "(not set)".to_owned(),
        Some(Value::Several(values)) if values.len() > WRITTEN => {
            format!("({} values)", grouped(values.len() as u64))
        }
        Some(value) => value.to_string(),
    }
}

fn entries(number: u64) -> String {
    counted(number, "entry")
}

fn map_bytes(MapBytes { before, meanwhile, after }: MapBytes) -> String {
    let [shown_before, shown_meanwhile, shown_after] = [before, meanwhile, after].map(memory);
    if before == after {
        format!("{shown_after}, as before; {shown_meanwhile} while both rulesets are there")
    } else {
        format!(
            "{shown_before} before, {shown_after} after; {shown_meanwhile} while both rulesets are \
             there"
        )
    }
}
