//! Prints a reload as one JSON object on a line.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::{MapBytes, MovedPlaces, Reload};
use crate::difference::{
    BackendChange, EntryChange, Fate, KeyChange, ListChange, Move, RuleChange, ServiceChange,
};
use crate::image::metadata::Kind;
use crate::notation::json_line;
use crate::views::list_size::ListSize;

#[derive(Serialize)]
struct Object<'a> {
    interface: &'a str,
    generation: u64,
    dry_run: bool,
    /// Whether anything that could be compared is different.
    changed: bool,
    compared: &'static str,
    policy: &'a [KeyChange],
    arp: &'a [KeyChange],
    lists: Vec<List<'a>>,
    rules: Vec<Rule<'a>>,
    service_settings: &'a [KeyChange],
    services: Vec<Service<'a>>,
    moved_places: &'a [MovedPlaces],
    map_bytes: MapBytes,
}

#[derive(Serialize)]
struct List<'a> {
    name: &'a str,
    #[serde(serialize_with = "kind")]
    kind: Kind,
    change: Fate,
    before: ListSize,
    after: ListSize,
    /// `null` if the entries before are not known.
    added: Option<ListSize>,
    removed: Option<ListSize>,
    settings: &'a [KeyChange],
    moved: Option<Move>,
}

#[derive(Serialize)]
struct Rule<'a> {
    name: &'a str,
    change: Fate,
    settings: &'a [KeyChange],
    moved: Option<Move>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    change: Fate,
    /// How many backends it had, and how many it has.
    before: usize,
    after: usize,
    backends: &'a [BackendChange],
    settings: &'a [KeyChange],
    moved: Option<Move>,
}

fn kind<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl<'a> From<&'a ListChange> for List<'a> {
    fn from(list: &'a ListChange) -> Self {
        let ListChange { name, kind, fate, before, after, entries, settings, moved } = list;
        let [added, removed] = match entries {
            Some(EntryChange { added, removed, .. }) => [Some(*added), Some(*removed)],
            None => [None, None],
        };
        let size = |count| ListSize::of(*kind, count);
        let (before, after) = (size(*before), size(*after));
        let (added, removed) = (added.map(size), removed.map(size));
        let (kind, change, moved) = (*kind, *fate, *moved);
        Self { name, kind, change, before, after, added, removed, settings, moved }
    }
}

impl<'a> From<&'a RuleChange> for Rule<'a> {
    fn from(rule: &'a RuleChange) -> Self {
        let RuleChange { name, fate, settings, moved } = rule;
        Self { name, change: *fate, settings, moved: *moved }
    }
}

impl<'a> From<&'a ServiceChange> for Service<'a> {
    fn from(service: &'a ServiceChange) -> Self {
        let ServiceChange { name, fate, settings, moved, before, after, backends } = service;
        let (before, after) = (*before, *after);
        Self { name, change: *fate, before, after, backends, settings, moved: *moved }
    }
}

/// Writes a reload.
pub fn write(out: &mut dyn Write, reload: &Reload) -> io::Result<()> {
    let difference = &reload.difference;
    out.write_all(&json_line(&Object {
        interface: &reload.interface,
        generation: reload.generation,
        dry_run: reload.dry_run,
        changed: !difference.is_empty(),
        compared: if difference.by_numbers { "numbers" } else { "all" },
        policy: &difference.policy,
        arp: &difference.arp,
        lists: difference.lists.iter().map(List::from).collect(),
        rules: difference.rules.iter().map(Rule::from).collect(),
        service_settings: &difference.service_settings,
        services: difference.services.iter().map(Service::from).collect(),
        moved_places: &reload.moved_places,
        map_bytes: reload.map_bytes,
    })?)
}
