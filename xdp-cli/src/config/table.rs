//! One table of the configuration. Keys are asked for by name and type; keys that nothing asked for
//! are unknown, and reported.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::define::{Defines, Expanded};
use super::report::{Report, quote};
use super::spelling::{alternatives, closest};
use super::value::{Value, integer};

/// Something that was read, with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// A table that is being read.
pub(super) struct TomlTable<'t> {
    /// What messages call it.
    pub(super) title: String,
    /// The place of its header.
    pub(super) at: usize,
    /// The value of its key `name`, once that was read.
    pub(super) name: Option<Placed<&'t str>>,
    /// The place at which its file begins.
    base: usize,
    entries: &'t DeTable<'t>,
    /// What names of `[define]` stand for.
    defines: Option<&'t Defines<'t>>,
    asked: Vec<&'static str>,
}

impl<'t> TomlTable<'t> {
    /// A table of the file that begins at the place `base`.
    pub(super) fn new(
        title: impl Into<String>,
        base: usize,
        at: usize,
        entries: &'t DeTable<'t>,
    ) -> Self {
        let title = title.into();
        Self { title, at, name: None, base, entries, defines: None, asked: Vec::new() }
    }

    /// The same table, in which these names may be used.
    pub(super) fn with(self, defines: &'t Defines<'t>) -> Self {
        Self { defines: Some(defines), ..self }
    }

    /// A table inside this one.
    pub(super) fn inner(
        &self,
        title: impl Into<String>,
        at: usize,
        entries: &'t DeTable<'t>,
    ) -> Self {
        Self { defines: self.defines, ..Self::new(title, self.base, at, entries) }
    }

    /// The place to report mistakes of the table at: that of its name, or else of its header.
    pub(super) fn place(&self) -> usize {
        self.name.map_or(self.at, |name| name.at)
    }

    /// Replaces names among values of this table by what they stand for.
    pub(super) fn expand(&self, values: Vec<Value<'t>>, report: &mut Report<'_>) -> Expanded<'t> {
        match self.defines {
            Some(defines) => defines.expand(&self.title, values, report),
            None => Expanded { values, is_partial: false },
        }
    }

    /// The value of a key, which is known from then on.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'t>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let value = Value::new(self.base, self.entries.get(key)?);
        value.is_written().then_some(value)
    }

    /// Whether a key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether a key is there and its value is an empty array.
    pub(super) fn is_empty_array(&self, key: &str) -> bool {
        let value = self.entries.get(key).map(Spanned::get_ref);
        value.and_then(DeValue::as_array).is_some_and(|array| array.is_empty())
    }

    /// Reports a value of the wrong type.
    pub(super) fn wrong_type(
        &self,
        key: &str,
        expected: &str,
        value: &Value<'_>,
        hint: impl Into<String>,
        report: &mut Report<'_>,
    ) {
        let found = value.found(report);
        let message = format!("{}: {key} must be {expected}, found {found}", self.title);
        report.error(value.at, message, hint);
    }

    /// The value of a key that takes a string; another type is reported.
    pub(super) fn string(
        &mut self,
        key: &'static str,
        hint: &str,
        report: &mut Report<'_>,
    ) -> Option<Placed<&'t str>> {
        let value = self.value(key)?;
        match value.value {
            DeValue::String(text) => Some(Placed { at: value.at, value: text }),
            _ => {
                self.wrong_type(key, "a string", &value, hint, report);
                None
            }
        }
    }

    /// The values of a key that takes an array of strings; none if it is missing.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        hint: &str,
        report: &mut Report<'_>,
    ) -> Vec<Placed<&'t str>> {
        let values = self.array(key, hint, report);
        self.only_strings(key, values, hint, report)
    }

    /// Like [`Self::strings`], but names of `[define]` may be among them. Also returns whether some
    /// values are missing, which has been reported.
    pub(super) fn strings_and_names(
        &mut self,
        key: &'static str,
        hint: &str,
        report: &mut Report<'_>,
    ) -> (Vec<Placed<&'t str>>, bool) {
        let values = self.array(key, hint, report);
        let Expanded { values, is_partial } = self.expand(values, report);
        (self.only_strings(key, values, hint, report), is_partial)
    }

    /// The values of an array that should hold strings.
    fn array(&mut self, key: &'static str, hint: &str, report: &mut Report<'_>) -> Vec<Value<'t>> {
        let Some(array) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(values) = array.value else {
            let hint = match array.value {
                DeValue::String(text) => format!("write [{}]", quote(text, 60)),
                _ => hint.into(),
            };
            self.wrong_type(key, "an array of strings", &array, hint, report);
            return Vec::new();
        };
        values.iter().map(|value| Value::new(self.base, value)).collect()
    }

    fn only_strings(
        &self,
        key: &'static str,
        values: Vec<Value<'t>>,
        hint: &str,
        report: &mut Report<'_>,
    ) -> Vec<Placed<&'t str>> {
        let mut strings = Vec::with_capacity(values.len());
        for value in values {
            match value.value {
                DeValue::String(text) => strings.push(Placed { at: value.at, value: &**text }),
                _ => self.wrong_type(&format!("each of {key}"), "a string", &value, hint, report),
            }
        }
        strings
    }

    /// The value of a key that takes `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let value = self.value(key)?;
        match value.value {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => {
                self.wrong_type(key, "a boolean", &value, "write true or false", report);
                None
            }
        }
    }

    /// The value of a key that takes a whole number of 0 to `most`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        most: u32,
        hint: &str,
        report: &mut Report<'_>,
    ) -> Option<u32> {
        let value = self.value(key)?;
        let DeValue::Integer(number) = value.value else {
            self.wrong_type(key, "an integer", &value, hint, report);
            return None;
        };
        let number = integer(number).and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| *number <= most);
        if number.is_none() {
            let message = format!("{}: {key} {} is out of range", self.title, value.raw(report));
            report.error(value.at, message, hint);
        }
        number
    }

    /// The meaning of a key that takes one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        report: &mut Report<'_>,
    ) -> Option<T> {
        let all = alternatives(words.iter().map(|(word, _)| *word));
        let text = self.string(key, &format!("write {all}"), report)?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*meant);
        }
        let message = format!("{}: {key} cannot be {}", self.title, quote(text.value, 60));
        report.error(text.at, message, did_you_mean(text.value, words.iter().map(|w| w.0), &all));
        None
    }

    /// Reports every key that nothing asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        self.finish_with(|_| None, report);
    }

    /// As [`Self::finish`], where a hint is known for some of these keys.
    pub(super) fn finish_with(
        self,
        hint_of: impl Fn(&str) -> Option<String>,
        report: &mut Report<'_>,
    ) {
        for (key, value) in self.entries {
            if self.asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let said = || {
                let message = format!("{}: unknown key {}", self.title, quote(key.get_ref(), 60));
                let known = alternatives(self.asked.iter().copied());
                let hint = hint_of(key.get_ref()).unwrap_or_else(|| {
                    match closest(key.get_ref(), self.asked.iter().copied()) {
                        Some(meant) => format!("did you mean {meant:?}?"),
                        None => format!("the keys here are {}", known.replace(" or ", " and ")),
                    }
                });
                (message, hint)
            };
            // In an array of tables, each table has a header, and so a mistake of its own.
            match value.get_ref() {
                DeValue::Array(tables)
                    if tables.iter().next().is_some_and(|v| v.get_ref().is_table()) =>
                {
                    for table in tables {
                        report.error_with(self.base + table.span().start, said);
                    }
                }
                _ => report.error_with(self.base + key.span().start, said),
            }
        }
    }
}

/// A hint: `did you mean "a"?` if a word is close, and in any case all words that are allowed.
pub(super) fn did_you_mean<'w>(
    word: &str,
    words: impl IntoIterator<Item = &'w str>,
    all: &str,
) -> String {
    match closest(word, words) {
        Some(meant) => format!("did you mean {meant:?}? It may be {all}"),
        None => format!("write {all}"),
    }
}
