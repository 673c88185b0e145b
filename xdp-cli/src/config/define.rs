//! `[define]`: names for prefixes and ports. `"$name"` may stand where a prefix or a port may.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use toml::de::{DeTable, DeValue};
use xdp_common::capacity::{MAX_DEFINE_DEPTH, MAX_DEFINED, MAX_NAME};

use super::name;
use super::report::{Report, quote};
use super::spelling::closest;
use super::value::Value;

/// All names of a configuration and of what it includes.
#[derive(Default)]
pub(super) struct Defines<'t> {
    /// `None` if something is wrong with the values, which has been reported.
    named: HashMap<&'t str, Option<Vec<Value<'t>>>>,
    /// How many values names were replaced by so far.
    used: Cell<usize>,
}

/// Values in which each name was replaced by what it stands for.
pub(super) struct Expanded<'t> {
    pub(super) values: Vec<Value<'t>>,
    /// Whether some values are missing. Why has been reported.
    pub(super) is_partial: bool,
}

/// What a name stands for, as its file says.
struct Definition<'t> {
    /// The place of the name.
    at: usize,
    /// Names among the values are not replaced yet; `None` if one has a wrong type.
    values: Option<Vec<Value<'t>>>,
}

impl<'t> Defines<'t> {
    /// Reads the `[define]` of each file. The number with each tree is the place at which its file
    /// begins. A name may be used before its definition, and among the values of another name.
    pub(super) fn read(
        trees: impl Iterator<Item = (usize, &'t DeTable<'t>)>,
        report: &mut Report<'_>,
    ) -> Self {
        let mut definitions = HashMap::new();
        let mut order = Vec::new();
        for (base, table) in trees {
            let Some(value) = table.get("define") else { continue };
            let value = Value::new(base, value);
            let DeValue::Table(entries) = value.value else {
                let message = format!("[define] must be a table, found {}", value.found(report));
                report.error(
                    value.at,
                    message,
                    "write [define], and lines such as web = [80, 443]",
                );
                continue;
            };
            for (key, value) in entries {
                let at = base + key.span().start;
                let name = key.get_ref().as_ref();
                if let Some(hint) = name::fault(name) {
                    let shown = quote(name, MAX_NAME);
                    report.error(at, format!("[define]: {shown} cannot be a name"), hint);
                }
                let values = written(name, Value::new(base, value), report);
                let definition = Definition { at, values };
                if let Some(Definition { at: first, .. }) = definitions.get(name) {
                    let message = format!(
                        "[define]: {} is defined in {} already",
                        quote(name, MAX_NAME),
                        report.line_seen_from(*first, at)
                    );
                    report.error(at, message, "a name is defined once, over all files");
                } else {
                    definitions.insert(name, definition);
                    order.push(name);
                }
            }
        }
        let mut resolving = Resolving { definitions, open: Vec::new(), defines: Self::default() };
        for name in order {
            resolving.resolve(name, report);
        }
        resolving.defines
    }

    /// Replaces the names among some values. `title` is the table that they belong to, for
    /// messages.
    pub(super) fn expand(
        &self,
        title: &str,
        values: Vec<Value<'t>>,
        report: &mut Report<'_>,
    ) -> Expanded<'t> {
        if values.iter().all(|value| reference(value).is_none()) {
            return Expanded { values, is_partial: false };
        }
        let mut expanded = Expanded { values: Vec::with_capacity(values.len()), is_partial: false };
        for value in values {
            let Some(name) = reference(&value) else {
                expanded.values.push(value);
                continue;
            };
            match self.named.get(name) {
                Some(Some(values)) if self.count(values.len()) => {
                    expanded.values.extend_from_slice(values);
                }
                Some(Some(_)) => {
                    expanded.is_partial = true;
                    too_many(title, &value, report);
                    break;
                }
                Some(None) => expanded.is_partial = true,
                None => {
                    expanded.is_partial = true;
                    unknown(title, name, &value, self.named.keys().copied(), report);
                }
            }
        }
        expanded
    }

    /// Counts so many more values, and returns whether there may be that many.
    fn count(&self, more: usize) -> bool {
        let used = self.used.get().saturating_add(more);
        self.used.set(used);
        used <= MAX_DEFINED
    }
}

/// The name that a value stands for.
fn reference<'t>(value: &Value<'t>) -> Option<&'t str> {
    match value.value {
        DeValue::String(text) => text.strip_prefix('$'),
        _ => None,
    }
}

/// The values as they are written; `None` if one has a wrong type.
fn written<'t>(name: &str, value: Value<'t>, report: &mut Report<'_>) -> Option<Vec<Value<'t>>> {
    let at = value.at;
    let values = value.one_or_more();
    if values.is_empty() {
        let message = format!("[define]: {} stands for nothing", quote(name, MAX_NAME));
        report.error(at, message, "write a prefix or a port, or an array of them");
        return None;
    }
    let right =
        |value: &&Value<'_>| matches!(value.value, DeValue::String(_) | DeValue::Integer(_));
    let wrong: Vec<&Value<'_>> = values.iter().filter(|value| !right(value)).collect();
    for value in &wrong {
        let message = format!(
            "[define]: {} must be prefixes or ports, found {}",
            quote(name, MAX_NAME),
            value.found(report)
        );
        let hint = "write a string or an integer, or an array of them";
        report.error(value.at, message, hint);
    }
    wrong.is_empty().then_some(values)
}

fn unknown<'n>(
    title: &str,
    name: &str,
    value: &Value<'_>,
    names: impl Iterator<Item = &'n str>,
    report: &mut Report<'_>,
) {
    // The name may be defined in a file, or on a line, that could not be read.
    if report.lacks_files() || report.is_broken() {
        return;
    }
    let shown = quote(&format!("${name}"), 64);
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let hint = match closest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean \"${meant}\"?"),
        None if names.is_empty() => {
            "define it: [define], and a line such as web = [\"192.0.2.10\"], or http = [80, 443] of ports"
                .into()
        }
        None => {
            let shown: Vec<_> = names.iter().take(10).map(|name| format!("${name}")).collect();
            let more = if names.len() > shown.len() { " and more" } else { "" };
            format!("add it to [define]; there are {}{more}", shown.join(", "))
        }
    };
    report.error(value.at, format!("{title}: {shown} is not defined"), hint);
}

fn too_many(title: &str, value: &Value<'_>, report: &mut Report<'_>) {
    let message = format!("{title}: with it, names stand for more than {MAX_DEFINED} values");
    report.error(value.at, message, "put prefixes into a list");
}

/// Replaces the names among the values of other names.
struct Resolving<'t> {
    definitions: HashMap<&'t str, Definition<'t>>,
    /// The names that are being resolved, each one found among the values of the one before it.
    open: Vec<&'t str>,
    defines: Defines<'t>,
}

impl<'t> Resolving<'t> {
    fn resolve(&mut self, name: &'t str, report: &mut Report<'_>) {
        if self.defines.named.contains_key(name) {
            return;
        }
        let written = self.definitions.get_mut(name).and_then(|it| it.values.take());
        self.open.push(name);
        let values = written.and_then(|written| self.replace(name, written, report));
        self.open.pop();
        self.defines.named.insert(name, values);
    }

    fn replace(
        &mut self,
        name: &str,
        written: Vec<Value<'t>>,
        report: &mut Report<'_>,
    ) -> Option<Vec<Value<'t>>> {
        let title = format!("[define]: {}", quote(name, MAX_NAME));
        let mut values = Vec::with_capacity(written.len());
        let mut is_whole = true;
        let mut seen = HashSet::new();
        for value in written {
            let Some(other) = reference(&value) else {
                values.push(value);
                continue;
            };
            // A name that stands there twice would be reported twice.
            if !seen.insert(other) {
                continue;
            }
            if let Some(first) = self.open.iter().position(|open| *open == other) {
                let uses = self.open[first + 1..].iter().chain([&other]);
                let uses: Vec<_> = uses.map(|name| format!("${name}")).collect();
                let message = format!(
                    "[define]: ${other} would stand for itself: it uses {}",
                    uses.join(", which uses ")
                );
                report.error(value.at, message, "write values in place of one of these names");
                is_whole = false;
            } else if !self.definitions.contains_key(other) {
                unknown(&title, other, &value, self.definitions.keys().copied(), report);
                is_whole = false;
            } else if self.open.len() >= MAX_DEFINE_DEPTH {
                let message =
                    format!("{title}: more than {MAX_DEFINE_DEPTH} names inside each other");
                report.error(value.at, message, "name the values themselves");
                is_whole = false;
            } else {
                self.resolve(other, report);
                match self.defines.named.get(other) {
                    Some(Some(more)) if self.defines.count(more.len()) => {
                        values.extend_from_slice(more);
                    }
                    Some(Some(_)) => {
                        too_many(&title, &value, report);
                        return None;
                    }
                    _ => is_whole = false,
                }
            }
        }
        is_whole.then_some(values)
    }
}
